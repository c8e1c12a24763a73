//! Failed logins per account and per network, on the database's clock. The rule is in
//! `domain::throttle`; locks are taken in the order of the buckets.

use sqlx::PgConnection;

use crate::{
    domain::throttle::{Bucket, Penalty, Standing},
    error::Result,
};

/// Locks the buckets, making those that are missing, and tells how they stand.
pub async fn lock(conn: &mut PgConnection, buckets: &[Vec<u8>]) -> Result<Vec<Standing>> {
    let rows = sqlx::query!(
        r#"insert into login_failures as f (bucket, failures, last_failed_at, blocked_until)
           select bucket, 0, clock_timestamp(), to_timestamp(0) from unnest($1::bytea[]) bucket order by bucket
           on conflict (bucket) do update set failures = f.failures
           returning bucket, failures,
               extract(epoch from clock_timestamp() - last_failed_at)::float8 as "quiet_secs!",
               greatest(extract(epoch from blocked_until - clock_timestamp()), 0)::float8 as "blocked_secs!""#,
        buckets,
    )
    .fetch_all(conn)
    .await?;
    let standing = |bucket: &Bucket| {
        let row = rows.iter().find(|row| &row.bucket == bucket);
        row.map_or_else(Standing::default, |row| Standing {
            failures: row.failures,
            quiet_secs: row.quiet_secs,
            blocked_secs: row.blocked_secs,
        })
    };
    Ok(buckets.iter().map(standing).collect())
}

/// Writes what [`lock`]ed buckets have become, in the same order.
pub async fn store(
    conn: &mut PgConnection,
    buckets: &[Bucket],
    penalties: &[Penalty],
) -> Result<()> {
    let failures: Vec<i32> = penalties.iter().map(|penalty| penalty.failures).collect();
    let delays: Vec<f64> = penalties.iter().map(|penalty| penalty.delay.as_secs_f64()).collect();
    sqlx::query!(
        "update login_failures f
         set failures = new.failures, last_failed_at = clock_timestamp(),
             blocked_until = clock_timestamp() + make_interval(secs => new.delay)
         from unnest($1::bytea[], $2::int[], $3::float8[]) as new (bucket, failures, delay)
         where f.bucket = new.bucket",
        buckets,
        &failures,
        &delays,
    )
    .execute(conn)
    .await?;
    Ok(())
}

/// Seconds for which one of the buckets is still blocked; none of them changes meanwhile.
pub async fn blocked_secs(conn: &mut PgConnection, buckets: &[Vec<u8>]) -> Result<Option<f64>> {
    Ok(sqlx::query_scalar!(
        "select (max(extract(epoch from blocked_until - clock_timestamp()))
                 filter (where blocked_until > clock_timestamp()))::float8
         from (select blocked_until from login_failures
               where bucket = any($1) order by bucket for update) locked",
        buckets,
    )
    .fetch_one(conn)
    .await?)
}

/// A success ends the row of failures.
pub async fn clear(conn: &mut PgConnection, bucket: &[u8]) -> Result<()> {
    sqlx::query!("delete from login_failures where bucket = $1", bucket).execute(conn).await?;
    Ok(())
}

pub async fn reap(conn: &mut PgConnection) -> Result<()> {
    sqlx::query!(
        "delete from login_failures where bucket in (
             select bucket from login_failures
             where last_failed_at < now() - interval '2 days' order by last_failed_at limit 5000)",
    )
    .execute(conn)
    .await?;
    Ok(())
}
