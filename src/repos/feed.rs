//! The change feed's rows.

use chrono::{DateTime, Utc};
use sqlx::PgConnection;
use uuid::Uuid;

use crate::{
    domain::feed::{Change, ChangeKind},
    error::Result,
};

/// Appends one row per key; they become visible with the transaction that made them true.
/// The rows' ids.
pub async fn append(
    conn: &mut PgConnection,
    kind: ChangeKind,
    keys: &[Uuid],
    value: i64,
) -> Result<Vec<i64>> {
    let ids = sqlx::query_scalar!(
        "insert into change_feed (kind, key, value) select $1, key, $3 from unnest($2::uuid[]) key
         returning id",
        kind.as_str(),
        keys,
        value,
    );
    Ok(ids.fetch_all(conn).await?)
}

/// The highest id in the table (0 when empty) and the database's time.
pub async fn newest(conn: &mut PgConnection) -> Result<(i64, DateTime<Utc>)> {
    let row = sqlx::query!(
        r#"select coalesce(max(id), 0) as "newest!", clock_timestamp() as "now!" from change_feed"#,
    );
    let row = row.fetch_one(conn).await?;
    Ok((row.newest, row.now))
}

pub async fn after(conn: &mut PgConnection, id: i64) -> Result<Vec<Change>> {
    Ok(sqlx::query_as!(
        Change,
        "select id, at, kind, key, value from change_feed where id > $1 order by id",
        id,
    )
    .fetch_all(conn)
    .await?)
}

/// What may matter to an instance that starts. Rows that nobody threw away could be many millions.
pub async fn recent(conn: &mut PgConnection) -> Result<Vec<Change>> {
    Ok(sqlx::query_as!(
        Change,
        "select id, at, kind, key, value from change_feed
         where at > now() - interval '2 hours' order by id",
    )
    .fetch_all(conn)
    .await?)
}

/// Rows of one bite; few enough that nobody waits behind them.
pub const BITE: u64 = 5_000;

/// An hour is longer than any access token or cached value lives, so nobody needs older rows.
/// How many were removed: [`BITE`] when there may be more.
pub async fn reap(conn: &mut PgConnection) -> Result<u64> {
    let removed = sqlx::query!(
        "delete from change_feed where id in (
             select id from change_feed where at < now() - interval '1 hour' order by at limit 5000)",
    );
    Ok(removed.execute(conn).await?.rows_affected())
}
