//! Claiming and finishing. Every finish names the fence of its claim: whoever was given up in the
//! meantime changes nothing.

use std::time::Duration;

use serde_json::Value;
use sqlx::PgConnection;

use crate::{
    domain::{
        ids::{JobId, WorkerId},
        jobs::{Became, Claimed, Ended, Lease, Progress},
    },
    error::Result,
};

/// What a worker asks for: each line is a kind and a priority, and lines are served in order.
pub struct Wanted<'a> {
    pub worker: WorkerId,
    pub queue: &'a str,
    pub kinds: &'a [String],
    pub priorities: &'a [i16],
    pub limit: i64,
}

struct Row {
    id: JobId,
    fence: i64,
    kind: String,
    payload: Value,
    attempts: i32,
    max_attempts: i32,
    request_id: String,
    traceparent: Option<String>,
    waited: f64,
}

impl From<Row> for Claimed {
    fn from(row: Row) -> Self {
        Self {
            lease: Lease { job: row.id, fence: row.fence },
            kind: row.kind,
            payload: row.payload,
            attempt: row.attempts,
            max_attempts: row.max_attempts,
            request_id: row.request_id,
            traceparent: row.traceparent,
            waited: Duration::try_from_secs_f64(row.waited).unwrap_or_default(),
        }
    }
}

/// Claims what is due, unless the queue is paused. The rows that others are claiming are skipped.
pub async fn claim(conn: &mut PgConnection, wanted: &Wanted<'_>) -> Result<Vec<Claimed>> {
    let rows = sqlx::query_as!(
        Row,
        r#"with due as (
               select job.id
               from unnest($3::text[], $4::smallint[]) as line(kind, priority)
               cross join lateral (
                   select id from jobs
                   where state = 'pending' and crashes < 2 and kind = line.kind
                     and priority = line.priority and run_at <= now()
                   order by run_at, id limit $5
                   for no key update skip locked
               ) job
               where not exists (select from job_queues where name = $2)
               limit $5
           )
           update jobs
           set state = 'running', worker_id = $1, fence = fence + 1, attempts = attempts + 1,
               started_at = now(), updated_at = now()
           from due where jobs.id = due.id
           returning jobs.id as "id: JobId", fence, kind, payload, attempts, max_attempts,
                     request_id, traceparent,
                     extract(epoch from now() - run_at)::float8 as "waited!""#,
        wanted.worker.0,
        wanted.queue,
        wanted.kinds,
        wanted.priorities,
        wanted.limit,
    )
    .fetch_all(conn)
    .await?;
    Ok(rows.into_iter().map(Claimed::from).collect())
}

/// One of those that have cost workers their lives.
pub async fn claim_suspect(
    conn: &mut PgConnection,
    worker: WorkerId,
    queue: &str,
    kinds: &[String],
) -> Result<Option<Claimed>> {
    let row = sqlx::query_as!(
        Row,
        r#"with due as (
               select id from jobs
               where state = 'pending' and crashes >= 2 and queue = $2 and kind = any($3)
                 and run_at <= now()
                 and not exists (select from job_queues where name = $2)
               order by run_at, id limit 1
               for no key update skip locked
           )
           update jobs
           set state = 'running', worker_id = $1, fence = fence + 1, attempts = attempts + 1,
               started_at = now(), updated_at = now()
           from due where jobs.id = due.id
           returning jobs.id as "id: JobId", fence, kind, payload, attempts, max_attempts,
                     request_id, traceparent,
                     extract(epoch from now() - run_at)::float8 as "waited!""#,
        worker.0,
        queue,
        kinds,
    )
    .fetch_optional(conn)
    .await?;
    Ok(row.map(Claimed::from))
}

/// Until the transaction ends nobody else claims jobs of a kind whose number is limited; false
/// when somebody else is about to.
pub async fn try_lock_kind(conn: &mut PgConnection, kind: &str) -> Result<bool> {
    Ok(sqlx::query_scalar!(
        r#"select pg_try_advisory_xact_lock(hashtextextended('jobs.' || $1, 0)) as "locked!""#,
        kind,
    )
    .fetch_one(conn)
    .await?)
}

pub async fn count_running(conn: &mut PgConnection, kind: &str) -> Result<i64> {
    Ok(sqlx::query_scalar!(
        r#"select count(*) as "count!" from jobs where state = 'running' and kind = $1"#,
        kind,
    )
    .fetch_one(conn)
    .await?)
}

/// Marks jobs as succeeded, each with its result; those whose lease still held.
pub async fn succeed(
    conn: &mut PgConnection,
    leases: &[Lease],
    results: &[Value],
) -> Result<Vec<JobId>> {
    let ids: Vec<_> = leases.iter().map(|lease| lease.job.0).collect();
    let fences: Vec<_> = leases.iter().map(|lease| lease.fence).collect();
    Ok(sqlx::query_scalar!(
        r#"update jobs
           set state = 'succeeded', worker_id = null, finished_at = now(), updated_at = now(),
               result = nullif(done.result, 'null'), last_error = null
           from unnest($1::uuid[], $2::bigint[], $3::jsonb[]) as done(id, fence, result)
           where jobs.id = done.id and jobs.fence = done.fence and state = 'running'
           returning jobs.id as "id: JobId""#,
        &ids,
        &fences,
        results,
    )
    .fetch_all(conn)
    .await?)
}

/// Ends an attempt that did not succeed; `None` when the lease was lost. One that was to be
/// cancelled is not tried again.
pub async fn end(
    conn: &mut PgConnection,
    lease: Lease,
    ended: &Ended<'_>,
) -> Result<Option<Became>> {
    let dead = sqlx::query_scalar!(
        r#"update jobs
         set state = case when $3::float8 is null or cancel_requested then 'dead' else 'pending' end,
             finished_at = case when $3::float8 is null or cancel_requested then now() end,
             run_at = coalesce(now() + make_interval(secs => $3), run_at),
             history = job_history(history, $4, attempts, $5),
             attempts = attempts - case when $6 then 0 else 1 end,
             worker_id = null, cancel_requested = false, last_error = $5, updated_at = now()
         where id = $1 and fence = $2 and state = 'running'
         returning state = 'dead' as "dead!""#,
        lease.job.0,
        lease.fence,
        ended.again_in.map(|delay| delay.as_secs_f64()),
        ended.event,
        ended.detail,
        ended.counts,
    )
    .fetch_optional(conn)
    .await?;
    Ok(dead.map(|dead| if dead { Became::Dead } else { Became::Waiting }))
}

/// Until the transaction ends nobody can take the job over; false when somebody has.
pub async fn hold(conn: &mut PgConnection, lease: Lease) -> Result<bool> {
    let held = sqlx::query_scalar!(
        r#"select 1 as "one!" from jobs
           where id = $1 and fence = $2 and state = 'running' for no key update"#,
        lease.job.0,
        lease.fence,
    );
    Ok(held.fetch_optional(conn).await?.is_some())
}

pub async fn set_progress(
    conn: &mut PgConnection,
    lease: Lease,
    progress: Progress,
) -> Result<bool> {
    let updated = sqlx::query!(
        "update jobs set progress = $3, updated_at = now()
         where id = $1 and fence = $2 and state = 'running'",
        lease.job.0,
        lease.fence,
        serde_json::json!(progress),
    )
    .execute(conn)
    .await?;
    Ok(updated.rows_affected() == 1)
}

/// Progress that stays, whatever becomes of the worker: the job is not to blame for what died
/// before it got this far.
pub async fn advance(conn: &mut PgConnection, lease: Lease, progress: Progress) -> Result<bool> {
    let updated = sqlx::query!(
        "update jobs set progress = $3, crashes = 0, updated_at = now()
         where id = $1 and fence = $2 and state = 'running'",
        lease.job.0,
        lease.fence,
        serde_json::json!(progress),
    );
    Ok(updated.execute(conn).await?.rows_affected() == 1)
}
