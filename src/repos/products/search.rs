//! Products by their words. At most the first thousand that fit are ranked: those that have all
//! words in name or SKU come before the others.

use sqlx::{PgConnection, Postgres, QueryBuilder};

use super::list::{Order, push_after, push_order, push_prices};
use crate::{
    domain::{
        page::PageRequest,
        products::{ProductAfter, ProductFilter},
    },
    error::Result,
};

/// How many are ranked at most.
const RANKED: i64 = 1_000;
/// Of what is searched for, written out.
const MOST_CHARACTERS: u32 = 200;

pub(super) fn found(
    prefix: &'static str,
    filter: &ProductFilter,
    q: &str,
    order: &Order,
    page: &PageRequest<ProductAfter>,
) -> QueryBuilder<Postgres> {
    let mut query = start(prefix, filter, q);
    query.push(", page as (select p.id, p.rank, p.").push(order.key);
    query.push(" as key from ranked p where true");
    push_after(&mut query, order, page);
    push_order(&mut query, order, "key", "p.id");
    query.push(" limit ").push_bind(page.limit + 1);
    query
}

pub(super) fn counted(filter: &ProductFilter, q: &str) -> QueryBuilder<Postgres> {
    let mut query = start("", filter, q);
    query.push(" select count(*) from found");
    query
}

fn start(prefix: &'static str, filter: &ProductFilter, q: &str) -> QueryBuilder<Postgres> {
    let mut query = QueryBuilder::new(prefix);
    query.push("with query as materialized (select ");
    push_words(&mut query, q, "");
    query.push(" as anywhere, ");
    push_words(&mut query, q, "=");
    query.push(" as in_name), found as materialized ((");
    push_matches(&mut query, filter);
    query.push(" and p.search @@ (select in_name from query) limit ").push_bind(RANKED);
    query.push(") union all (");
    push_matches(&mut query, filter);
    query.push(" and p.search @@ (select anywhere from query)");
    query.push(" and not p.search @@ (select in_name from query) limit ").push_bind(RANKED);
    query.push(") limit ").push_bind(RANKED);
    query.push(
        "), ranked as (
             select found.*,
                    (ts_rank('{0.05, 0.2, 0.4, 1}', search, query.anywhere, 1) * 1e6)::bigint as rank
             from found cross join query)",
    );
    query
}

/// Some characters are many when they are written out, and a word beyond what Postgres can look for
/// would fail the statement.
pub(super) fn push_words(query: &mut QueryBuilder<Postgres>, q: &str, mark: &str) {
    query.push("search_query(left(normalize(").push_bind(q.to_owned());
    query.push(format!(", nfkc), {MOST_CHARACTERS}), '{mark}')"));
}

fn push_matches(query: &mut QueryBuilder<Postgres>, filter: &ProductFilter) {
    query.push(
        "select p.id, p.name, p.price, p.created_at, p.search from products p
         where p.archived_at is null",
    );
    if let Some(path) = &filter.category {
        query.push(" and p.category_id in (select id from categories where path = ");
        query.push_bind(path.as_str().to_owned()).push(" or (path > ");
        query.push_bind(format!("{}/", path.as_str())).push(" and path < ");
        query.push_bind(format!("{}0", path.as_str())).push("))");
    }
    if let Some(in_stock) = filter.in_stock {
        query.push(" and p.in_stock = ").push_bind(in_stock);
    }
    push_prices(query, filter);
}

/// Looks at the next few words after one, and forgets those that no product has. Who wrote a
/// product meanwhile may have counted on a word: it goes two hours after it was first seen without a
/// use, which outlasts any transaction, and comes back if it is in use by then. Returns the last
/// word looked at, nothing at the end.
pub async fn forget_words(
    conn: &mut PgConnection,
    after: &str,
    most: i64,
) -> Result<Option<String>> {
    // Without statistics of the word the planner may take the table for the shorter way.
    sqlx::query("set local enable_seqscan = off").execute(&mut *conn).await?;
    let last = sqlx::query_scalar!(
        r#"with bite as materialized (
               select next.word,
                      exists (
                          select from products
                          where archived_at is null and search @@ search_quoted(next.word)::tsquery
                      ) as used
               from (
                   select distinct word from search_words where word > $1 order by word limit $2
               ) next
           ), marked as (
               update search_words words
               set unused_since = case when bite.used then null else now() end
               from bite
               where words.word = bite.word and bite.used = (words.unused_since is not null)
           ), forgotten as (
               delete from search_words words using bite
               where words.word = bite.word and not bite.used
                 and words.unused_since < now() - interval '2 hours'
           )
           select word as "word!" from bite order by word desc limit 1"#,
        after,
        most,
    );
    Ok(last.fetch_optional(conn).await?)
}
