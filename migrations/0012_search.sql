-- Search: the words of products, and the words there are, so that a misspelt one finds its likes.

create extension if not exists pg_trgm;
create extension if not exists fuzzystrmatch;

-- Words in small letters, whatever the locale of the server. What is searched and what is searched
-- for pass through here. The few signs are those that would join words (paths, hosts, signed numbers).
create function search_words_of(input text) returns tsvector
    language sql immutable strict parallel safe
    return to_tsvector(
        'pg_catalog.simple'::regconfig,
        translate(lower(input collate "und-x-icu"), '-/.@_=', '      ')
    );

-- Name and SKU weigh most. Their words stand there a second time, behind a mark that no word
-- contains: an index knows no weights, and those who have all words in the name come first.
create function search_vector(sku text, name text, description text, attributes jsonb) returns tsvector
    language sql immutable strict parallel safe
begin atomic
    select setweight(called.words, 'A')
        || array_to_tsvector(array(select '=' || word from unnest(tsvector_to_array(called.words)) word))
        || setweight(
               jsonb_to_tsvector('pg_catalog.simple'::regconfig, attributes, '["string"]'), 'C')
        || search_words_of(description)
    from (select search_words_of(normalize(name, nfkc) || ' ' || sku) as words offset 0) called;
end;

alter table products
    add column search tsvector not null
        generated always as (search_vector(sku, name, description, attributes)) stored;

create index products_search_idx on products using gin (search) where archived_at is null;

-- Every word of letters that a product has or had. Two who add the same word at once both do: a
-- unique index would make one wait for the other's whole transaction.
create table search_words (
    word text not null collate "C"
);

create index search_words_word_idx on search_words (word);
create index search_words_trigrams_idx on search_words using gin (word gin_trgm_ops);

-- For many rows at once.
create function search_learn_inserted() returns trigger language plpgsql as $$
begin
    insert into search_words (word)
    select distinct its.word from new_rows, unnest(tsvector_to_array(search)) as its(word)
    where char_length(its.word) between 2 and 40 and its.word !~ '[0-9=]'
      and not exists (select from search_words known where known.word = its.word);
    return null;
end;
$$;

create function search_learn_updated() returns trigger language plpgsql as $$
begin
    insert into search_words (word)
    select its.word from unnest(tsvector_to_array(new.search)) as its(word)
    where char_length(its.word) between 2 and 40 and its.word !~ '[0-9=]'
      and not exists (select from search_words known where known.word = its.word);
    return null;
end;
$$;

create trigger products_learn_inserted after insert on products
    referencing new table as new_rows
    for each statement execute function search_learn_inserted();

create trigger products_learn_updated after update of sku, name, description, attributes on products
    for each row when (old.search is distinct from new.search)
    execute function search_learn_updated();

-- The words that a misspelt one may have meant, best first: with two neighbours that changed places,
-- or near by trigrams and at most two edits away, of a short word one.
create function search_similar(misspelt text) returns setof text
    language sql stable strict parallel safe
    set pg_trgm.similarity_threshold = 0.15
as $$
    with swapped as (
        select distinct known.word
        from generate_series(1, char_length(misspelt) - 1) at
        join search_words known on known.word = overlay(misspelt
            placing substr(misspelt, at + 1, 1) || substr(misspelt, at, 1) from at for 2)
    ), near as (
        select distinct known.word, similarity(known.word, misspelt) as likeness
        from search_words known
        where known.word % misspelt
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

-- What to look for: all of the words, each as it is or, when nobody knows it, as one of those that
-- are like it; the last may be the beginning of one. `mark` is '=' for words of the name.
create function search_query(input text, mark text) returns tsquery
    language sql stable strict parallel safe
as $$
    with words as (
        select word, row_number() over (order by at) as number, count(*) over () as count
        from (
            select lexeme as word, positions[1] as at from unnest(search_words_of(normalize(input, nfkc)))
            order by at limit 10
        ) first
    ), alternatives as (
        select number, word as alternative,
               number = count and octet_length(word) >= 3 as is_beginning
        from words
        union all
        select words.number, likes.word, false
        from words cross join lateral search_similar(words.word) as likes(word)
        where char_length(words.word) between 4 and 40 and words.word !~ '[0-9]'
          and not exists (select from search_words known where known.word = words.word)
    ), groups as (
        select number,
               string_agg(
                   '''' || mark || replace(replace(alternative, '\', '\\'), '''', '''''') || ''''
                       || case when is_beginning then ':*' else '' end,
                   ' | ') as text
        from alternatives group by number
    )
    select string_agg('(' || text || ')', ' & ')::tsquery from groups
$$;
