-- Two things that search lacked: parts of what is written without spaces, and words it forgets.

-- Chinese, Japanese and Korean are written in runs: of one, every two neighbours are a word, and so
-- is its last character. Whatever is a part of the run is found then, a single character as the
-- beginning of two.
create function search_run() returns text
    language sql immutable strict parallel safe
    return '\u3005-\u3007\u3040-\u30ff\u31f0-\u31ff\u3400-\u4dbf\u4e00-\u9fff\uac00-\ud7a3\uf900-\ufaff\U00020000-\U0003ffff';

create function search_is_run(input text) returns boolean
    language sql immutable strict parallel safe
    return (input collate "C") ~ ('[' || search_run() || ']');

-- Nobody misspells these. Before anything here makes others wait.
delete from search_words where search_is_run(word);

-- The pairs that begin at every second character of a run, before the text with the others: what
-- was typed last stays last.
create function search_pairs(input text) returns text
    language sql immutable strict parallel safe
    return regexp_replace(
               regexp_replace(input, '(^|[^' || search_run() || ']+)[' || search_run() || ']?', ' ', 'g'),
               '[' || search_run() || ']{1,2}', ' \& ', 'g')
        || regexp_replace(input, '[' || search_run() || ']{1,2}', ' \& ', 'g');

-- Not strict, or Postgres would not put it in the place of its calls.
create or replace function search_words_of(input text) returns tsvector
    language sql immutable parallel safe
    return to_tsvector(
        'pg_catalog.simple'::regconfig,
        translate(
            lower((case when search_is_run(input) then search_pairs(input) else input end)
                  collate "und-x-icu"),
            '-/.@_=', '      ')
    );

create or replace function search_vector(sku text, name text, description text, attributes jsonb)
    returns tsvector
    language sql immutable strict parallel safe
begin atomic
    select setweight(called.words, 'A')
        || array_to_tsvector(array(select '=' || word from unnest(tsvector_to_array(called.words)) word))
        || setweight(
               case when search_is_run(attributes::text) then (
                   select search_words_of(coalesce(string_agg(its.value #>> '{}', ' '), ''))
                   from jsonb_path_query(attributes, 'strict $.** ? (@.type() == "string")') its(value)
               ) else jsonb_to_tsvector('pg_catalog.simple'::regconfig, attributes, '["string"]') end, 'C')
        || search_words_of(description)
    from (select search_words_of(normalize(name, nfkc) || ' ' || sku) as words offset 0) called;
end;

-- A word that no product has any more would keep a misspelt one from finding its likes: it counts
-- as unknown from here on, and goes when nobody can be about to use it (services/reaper).
alter table search_words add column unused_since timestamptz;

create function search_learn(words text[]) returns void language plpgsql as $$
begin
    insert into search_words (word)
    select distinct its.word from unnest(words) as its(word)
    where char_length(its.word) between 2 and 40 and its.word !~ '[0-9=]'
      and not search_is_run(its.word)
      and not exists (
          select from search_words known where known.word = its.word and known.unused_since is null);
end;
$$;

create or replace function search_learn_inserted() returns trigger language plpgsql as $$
begin
    perform search_learn(array(
        select distinct its.word from new_rows, unnest(tsvector_to_array(search)) as its(word)));
    return null;
end;
$$;

create or replace function search_learn_updated() returns trigger language plpgsql as $$
begin
    perform search_learn(tsvector_to_array(new.search));
    return null;
end;
$$;

create or replace function search_similar(misspelt text) returns setof text
    language sql stable strict parallel safe
    set pg_trgm.similarity_threshold = 0.15
as $$
    with swapped as (
        select distinct known.word
        from generate_series(1, char_length(misspelt) - 1) at
        join search_words known on known.word = overlay(misspelt
            placing substr(misspelt, at + 1, 1) || substr(misspelt, at, 1) from at for 2)
        where known.unused_since is null
    ), near as (
        select distinct known.word, similarity(known.word, misspelt) as likeness
        from search_words known
        where known.word % misspelt and known.unused_since is null
          and char_length(known.word) between char_length(misspelt) - 2 and char_length(misspelt) + 2
        order by likeness desc, known.word
        limit 200
    ), likes as (
        select word, 0 as edits, 1 as likeness from swapped
        union all
        select word, edits, likeness
        from near cross join lateral levenshtein(near.word, misspelt) as edits
        where edits <= case when char_length(misspelt) < 6 then 1 else 2 end
    )
    select word from likes group by word order by min(edits), max(likeness) desc, word limit 8
$$;

create function search_quoted(word text) returns text
    language sql immutable strict parallel safe
    return '''' || replace(replace(word, '\', '\\'), '''', '''''') || '''';

-- As before; of a run's last character its pair says more.
create or replace function search_query(input text, mark text) returns tsquery
    language sql stable strict parallel safe
as $$
    with all_words as (
        select lexeme as word, positions[1] as at,
               char_length(lexeme) = 1 and search_is_run(lexeme) as is_single
        from unnest(search_words_of(normalize(input, nfkc)))
    ), words as (
        select word, is_single,
               row_number() over (order by at) as number, count(*) over () as count
        from (
            select word, at, is_single from all_words single
            where not is_single or not exists (
                select from all_words pair
                where char_length(pair.word) = 2 and right(pair.word, 1) = single.word)
            order by at limit 10
        ) first
    ), alternatives as (
        select number, word as alternative,
               is_single or number = count and octet_length(word) >= 3 as is_beginning
        from words
        union all
        select words.number, likes.word, false
        from words cross join lateral search_similar(words.word) as likes(word)
        where char_length(words.word) between 4 and 40 and words.word !~ '[0-9]'
          and not exists (
              select from search_words known
              where known.word = words.word and known.unused_since is null)
    ), groups as (
        select number,
               string_agg(
                   search_quoted(mark || alternative) || case when is_beginning then ':*' else '' end,
                   ' | ') as text
        from alternatives group by number
    )
    select string_agg('(' || text || ')', ' & ')::tsquery from groups
$$;
