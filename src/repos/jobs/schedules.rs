//! What runs by the clock.

use chrono::{DateTime, Utc};
use sqlx::PgConnection;

use crate::{
    domain::{ids::JobId, jobs::Schedule},
    error::Result,
};

pub async fn now(conn: &mut PgConnection) -> Result<DateTime<Utc>> {
    Ok(sqlx::query_scalar!(r#"select now() as "now!""#).fetch_one(conn).await?)
}

/// Adds a schedule, or gives it a new time when its expression has changed.
pub async fn put_schedule(
    conn: &mut PgConnection,
    name: &str,
    kind: &str,
    cron: &str,
    next_at: DateTime<Utc>,
) -> Result<()> {
    sqlx::query!(
        "insert into job_schedules (name, kind, cron, next_at) values ($1, $2, $3, $4)
         on conflict (name) do update
         set kind = excluded.kind, cron = excluded.cron, next_at = excluded.next_at,
             updated_at = now()
         where (job_schedules.kind, job_schedules.cron) <> (excluded.kind, excluded.cron)",
        name,
        kind,
        cron,
        next_at,
    )
    .execute(conn)
    .await?;
    Ok(())
}

/// Locks one of these that is due and that nobody else is firing.
pub async fn lock_due_schedule(
    conn: &mut PgConnection,
    names: &[String],
) -> Result<Option<Schedule>> {
    Ok(sqlx::query_as!(
        Schedule,
        r#"select name, kind, cron, next_at, last_at, last_job as "last_job: JobId"
           from job_schedules where name = any($1) and next_at <= now()
           order by next_at limit 1 for no key update skip locked"#,
        names,
    )
    .fetch_optional(conn)
    .await?)
}

/// Notes that a schedule has fired; `next_at` never goes back.
pub async fn fired(
    conn: &mut PgConnection,
    name: &str,
    next_at: DateTime<Utc>,
    job: Option<JobId>,
) -> Result<()> {
    sqlx::query!(
        "update job_schedules
         set last_at = now(), last_job = coalesce($3, last_job), next_at = greatest(next_at, $2),
             updated_at = now()
         where name = $1",
        name,
        next_at,
        job.map(|job| job.0),
    )
    .execute(conn)
    .await?;
    Ok(())
}

pub async fn schedules(conn: &mut PgConnection) -> Result<Vec<Schedule>> {
    Ok(sqlx::query_as!(
        Schedule,
        r#"select name, kind, cron, next_at, last_at, last_job as "last_job: JobId"
           from job_schedules order by name"#,
    )
    .fetch_all(conn)
    .await?)
}
