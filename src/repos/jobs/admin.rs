//! What those who look after the queues see and do.

use std::time::Duration;

use chrono::{DateTime, Utc};
use serde_json::Value;
use sqlx::{FromRow, PgConnection, Postgres, QueryBuilder};

use crate::{
    db::OnConstraint,
    domain::{
        ids::{JobId, UserId, WorkerId},
        jobs::{Depth, Job, JobFilter, JobState},
        page::PageRequest,
    },
    error::{Code, Error, Result},
};

#[derive(FromRow)]
struct Row {
    id: JobId,
    kind: String,
    queue: String,
    state: String,
    priority: i16,
    attempts: i32,
    max_attempts: i32,
    crashes: i16,
    unique_key: Option<String>,
    run_at: DateTime<Utc>,
    worker_id: Option<WorkerId>,
    cancel_requested: bool,
    progress: Option<Value>,
    result: Option<Value>,
    last_error: Option<String>,
    request_id: String,
    payload: Value,
    history: Value,
    created_at: DateTime<Utc>,
    updated_at: DateTime<Utc>,
    started_at: Option<DateTime<Utc>>,
    finished_at: Option<DateTime<Utc>>,
}

impl TryFrom<Row> for Job {
    type Error = Error;

    fn try_from(row: Row) -> Result<Self> {
        let state = JobState::parse(&row.state)
            .ok_or_else(|| Error::internal(format!("a job's state is {}", row.state)))?;
        let progress = row.progress.map(serde_json::from_value).transpose();
        Ok(Self {
            id: row.id,
            kind: row.kind,
            queue: row.queue,
            state,
            priority: row.priority,
            attempts: row.attempts,
            max_attempts: row.max_attempts,
            crashes: row.crashes,
            unique_key: row.unique_key,
            run_at: row.run_at,
            worker_id: row.worker_id,
            cancel_requested: row.cancel_requested,
            progress: progress.map_err(Error::internal)?,
            result: row.result,
            last_error: row.last_error,
            request_id: row.request_id,
            payload: row.payload,
            history: serde_json::from_value(row.history).map_err(Error::internal)?,
            created_at: row.created_at,
            updated_at: row.updated_at,
            started_at: row.started_at,
            finished_at: row.finished_at,
        })
    }
}

/// `state` as the outside names it.
const SELECT: &str = "select id, kind, queue,
           case when state <> 'pending' then state
                when run_at <= now() then 'ready'
                when attempts > 0 then 'failed'
                else 'scheduled' end as state,
           priority, attempts, max_attempts, crashes, unique_key, run_at, worker_id,
           cancel_requested, progress, result, last_error, request_id, payload, history,
           created_at, updated_at, started_at, finished_at
    from jobs where true";

pub async fn find(conn: &mut PgConnection, id: JobId) -> Result<Option<Job>> {
    let mut query = QueryBuilder::<Postgres>::new(SELECT);
    query.push(" and id = ").push_bind(id);
    let row: Option<Row> = query.build_query_as().fetch_optional(conn).await?;
    row.map(Job::try_from).transpose()
}

/// As [`find`], and the job stays as it is until the transaction ends.
pub async fn lock(conn: &mut PgConnection, id: JobId) -> Result<Option<Job>> {
    let mut query = QueryBuilder::<Postgres>::new(SELECT);
    query.push(" and id = ").push_bind(id).push(" for no key update");
    let row: Option<Row> = query.build_query_as().fetch_optional(conn).await?;
    row.map(Job::try_from).transpose()
}

/// Newest first.
pub async fn list(
    conn: &mut PgConnection,
    filter: &JobFilter,
    page: &PageRequest,
) -> Result<Vec<Job>> {
    let mut query = QueryBuilder::new(SELECT);
    push_filter(&mut query, filter);
    if let Some(after) = page.after {
        query.push(" and id < ").push_bind(after.id);
    }
    query.push(" order by id desc limit ").push_bind(page.limit + 1);
    let rows: Vec<Row> = query.build_query_as().fetch_all(conn).await?;
    rows.into_iter().map(Job::try_from).collect()
}

pub async fn count(conn: &mut PgConnection, filter: &JobFilter) -> Result<i64> {
    let mut query = QueryBuilder::new("select count(*) from jobs where true");
    push_filter(&mut query, filter);
    Ok(query.build_query_scalar().fetch_one(conn).await?)
}

fn push_filter(query: &mut QueryBuilder<Postgres>, filter: &JobFilter) {
    match filter.state {
        None => {}
        Some(JobState::Running) => drop(query.push(" and state = 'running'")),
        Some(JobState::Succeeded) => drop(query.push(" and state = 'succeeded'")),
        Some(JobState::Dead) => drop(query.push(" and state = 'dead'")),
        Some(JobState::Ready) => drop(query.push(" and state = 'pending' and run_at <= now()")),
        Some(JobState::Scheduled) => {
            query.push(" and state = 'pending' and run_at > now() and attempts = 0");
        }
        Some(JobState::Failed) => {
            query.push(" and state = 'pending' and run_at > now() and attempts > 0");
        }
    }
    if let Some(queue) = filter.queue {
        query.push(" and queue = ").push_bind(queue.as_str());
    }
    if let Some(kind) = &filter.kind {
        query.push(" and kind = ").push_bind(kind.clone());
    }
}

/// Makes a waiting or dead job due now, with all its attempts before it. Fails with `CONFLICT`
/// when a live job has its unique key.
pub async fn retry(conn: &mut PgConnection, id: JobId, by: UserId) -> Result<()> {
    sqlx::query!(
        "update jobs
         set state = 'pending', run_at = now(), attempts = 0, crashes = 0, finished_at = null,
             cancel_requested = false,
             history = job_history(history, 'retried_by_hand', null, $2), updated_at = now()
         where id = $1",
        id.0,
        by.to_string(),
    )
    .execute(conn)
    .await
    .on_constraint("jobs_unique_live_idx", || {
        Error::new(Code::Conflict, "another job does the same work already")
    })?;
    Ok(())
}

/// Ends a waiting job.
pub async fn cancel(conn: &mut PgConnection, id: JobId, by: UserId) -> Result<()> {
    sqlx::query!(
        "update jobs
         set state = 'dead', finished_at = now(), last_error = 'cancelled',
             history = job_history(history, 'cancelled', null, $2), updated_at = now()
         where id = $1",
        id.0,
        by.to_string(),
    )
    .execute(conn)
    .await?;
    Ok(())
}

/// Asks the worker of a running job to stop it.
pub async fn request_cancel(conn: &mut PgConnection, id: JobId, by: UserId) -> Result<()> {
    sqlx::query!(
        "update jobs
         set cancel_requested = true, updated_at = now(),
             history = job_history(history, 'cancel_requested', null, $2)
         where id = $1 and not cancel_requested",
        id.0,
        by.to_string(),
    )
    .execute(conn)
    .await?;
    Ok(())
}

/// The live jobs of every kind there is, known to this release or not. Counting stops at
/// `bound` a kind and priority, so that a huge backlog costs no more than a large one.
pub async fn depths(conn: &mut PgConnection, bound: i64) -> Result<Vec<Depth>> {
    let rows = sqlx::query!(
        r#"with recursive kinds(kind) as (
               (select kind from jobs where state = 'pending' and crashes < 2
                order by kind limit 1)
               union all
               select (select kind from jobs
                       where state = 'pending' and crashes < 2 and jobs.kind > kinds.kind
                       order by kind limit 1)
               from kinds where kinds.kind is not null
           ),
           known as (
               select kind from kinds where kind is not null
               union select kind from jobs where state = 'running'
           )
           select known.kind as "kind!", ready as "ready!", scheduled as "scheduled!",
               failed as "failed!", extract(epoch from now() - first)::float8 as oldest,
               (select count(*) from jobs where state = 'running' and jobs.kind = known.kind
               ) as "running!"
           from known cross join lateral (
               -- Priority by priority, so that each count is a stretch of the index, and no more
               -- of it is read than is counted.
               select sum(due.ready)::bigint as ready, min(due.first) as first,
                      sum(later.scheduled)::bigint as scheduled, sum(later.failed)::bigint as failed
               from unnest(array[1, 2, 3]::smallint[]) as level(priority)
               cross join lateral (
                   select count(*) as ready, min(run_at) as first from (
                       select run_at from jobs where state = 'pending' and crashes < 2
                          and jobs.kind = known.kind and jobs.priority = level.priority
                          and run_at <= now() order by run_at limit $1) stretch
               ) due
               cross join lateral (
                   select count(*) filter (where attempts = 0) as scheduled,
                          count(*) filter (where attempts > 0) as failed
                   from (
                       select attempts from jobs where state = 'pending' and crashes < 2
                          and jobs.kind = known.kind and jobs.priority = level.priority
                          and run_at > now() order by run_at limit $1) stretch
               ) later
           ) waiting"#,
        bound,
    )
    .fetch_all(conn)
    .await?;
    let depths = rows.into_iter().map(|row| Depth {
        kind: row.kind,
        scheduled: row.scheduled,
        ready: row.ready,
        failed: row.failed,
        running: row.running,
        oldest: row.oldest.and_then(|secs| Duration::try_from_secs_f64(secs).ok()),
    });
    Ok(depths.collect())
}

/// Dead jobs by queue; no more than `bound` are counted in all.
pub async fn count_dead(conn: &mut PgConnection, bound: i64) -> Result<Vec<(String, i64)>> {
    let rows = sqlx::query!(
        r#"select queue, count(*) as "count!" from (
               select queue from jobs where state = 'dead' order by id limit $1) counted
           group by queue"#,
        bound,
    );
    Ok(rows.fetch_all(conn).await?.into_iter().map(|row| (row.queue, row.count)).collect())
}

/// Paused queues: since when, and by whom.
pub async fn paused(
    conn: &mut PgConnection,
) -> Result<Vec<(String, DateTime<Utc>, Option<UserId>)>> {
    let rows = sqlx::query!(
        r#"select name, paused_at, paused_by as "paused_by: UserId" from job_queues"#,
    );
    let rows = rows.fetch_all(conn).await?.into_iter();
    Ok(rows.map(|row| (row.name, row.paused_at, row.paused_by)).collect())
}

/// False when it was paused already.
pub async fn pause(conn: &mut PgConnection, queue: &str, by: UserId) -> Result<bool> {
    let paused = sqlx::query!(
        "insert into job_queues (name, paused_by) values ($1, $2) on conflict (name) do nothing",
        queue,
        by.0,
    );
    Ok(paused.execute(conn).await?.rows_affected() == 1)
}

/// False when it was not paused.
pub async fn resume(conn: &mut PgConnection, queue: &str) -> Result<bool> {
    let resumed = sqlx::query!("delete from job_queues where name = $1", queue);
    Ok(resumed.execute(conn).await?.rows_affected() == 1)
}

/// Tells every worker of this database that there is work in these queues.
pub async fn notify(conn: &mut PgConnection, queues: &str) -> Result<()> {
    sqlx::query!("select pg_notify('mainstay_jobs', $1)", queues).execute(conn).await?;
    Ok(())
}
