//! Background work: the rows that workers claim and finish.

mod admin;
mod run;
mod schedules;
mod workers;

pub use admin::*;
pub use run::*;
pub use schedules::*;
pub use workers::*;

use std::time::Duration;

use serde_json::Value;
use sqlx::PgConnection;

use crate::{domain::ids::JobId, error::Result};

pub struct NewJob<'a> {
    pub id: JobId,
    pub queue: &'a str,
    pub kind: &'a str,
    pub payload: Value,
    pub priority: i16,
    pub delay: Duration,
    pub max_attempts: i32,
    pub unique_key: Option<&'a str>,
    pub request_id: &'a str,
    pub traceparent: Option<&'a str>,
}

/// Jobs of one transaction are due in the order in which they were added. False when a live job of the kind has the key. Another transaction that is about to add one
/// with the same key is waited for.
pub async fn insert(conn: &mut PgConnection, job: &NewJob<'_>) -> Result<bool> {
    let inserted = sqlx::query!(
        "insert into jobs (id, queue, kind, payload, priority, run_at, max_attempts, unique_key,
                           request_id, traceparent)
         values ($1, $2, $3, $4, $5, clock_timestamp() + make_interval(secs => $6), $7, $8, $9, $10)
         on conflict (kind, unique_key)
             where unique_key is not null and state in ('pending', 'running') do nothing",
        job.id.0,
        job.queue,
        job.kind,
        job.payload,
        job.priority,
        job.delay.as_secs_f64(),
        job.max_attempts,
        job.unique_key,
        job.request_id,
        job.traceparent,
    )
    .execute(conn)
    .await?;
    Ok(inserted.rows_affected() == 1)
}

/// Deletes finished jobs that have been kept long enough, in one small bite; how many.
pub async fn reap(
    conn: &mut PgConnection,
    keep_succeeded: Duration,
    keep_dead: Duration,
) -> Result<u64> {
    let reaped = sqlx::query!(
        "delete from jobs where id in (
             (select id from jobs
              where state = 'succeeded' and finished_at < now() - make_interval(secs => $1)
              limit 2500)
             union all
             (select id from jobs
              where state = 'dead' and finished_at < now() - make_interval(secs => $2)
              limit 2500))",
        keep_succeeded.as_secs_f64(),
        keep_dead.as_secs_f64(),
    )
    .execute(conn)
    .await?;
    Ok(reaped.rows_affected())
}
