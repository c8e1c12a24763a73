//! Workers: who is alive, and what becomes of the jobs of those who are not.

use sqlx::PgConnection;

use crate::{
    domain::{
        ids::{JobId, WorkerId},
        jobs::Lease,
    },
    error::Result,
};

pub async fn insert_worker(conn: &mut PgConnection, id: WorkerId, queues: &[String]) -> Result<()> {
    sqlx::query!("insert into job_workers (id, queues) values ($1, $2)", id.0, queues)
        .execute(conn)
        .await?;
    Ok(())
}

/// False when the others have given this worker up.
pub async fn beat(conn: &mut PgConnection, id: WorkerId) -> Result<bool> {
    let beat = sqlx::query!(
        "update job_workers set beats = beats + 1, seen_at = now() where id = $1",
        id.0,
    );
    Ok(beat.execute(conn).await?.rows_affected() == 1)
}

/// How often each worker has given a sign of life.
pub async fn beats(conn: &mut PgConnection) -> Result<Vec<(WorkerId, i64)>> {
    let rows = sqlx::query!(r#"select id as "id: WorkerId", beats from job_workers"#);
    Ok(rows.fetch_all(conn).await?.into_iter().map(|row| (row.id, row.beats)).collect())
}

/// Gives a worker up, unless it has given a sign of life since.
pub async fn bury(conn: &mut PgConnection, id: WorkerId, beats: i64) -> Result<bool> {
    let buried = sqlx::query!("delete from job_workers where id = $1 and beats = $2", id.0, beats);
    Ok(buried.execute(conn).await?.rows_affected() == 1)
}

/// The last words of a worker that has ended in order.
pub async fn delete_worker(conn: &mut PgConnection, id: WorkerId) -> Result<()> {
    sqlx::query!("delete from job_workers where id = $1", id.0).execute(conn).await?;
    Ok(())
}

pub struct Orphan {
    pub id: JobId,
    pub kind: String,
    pub dead: bool,
    /// It was to be, and is dead for that.
    pub cancelled: bool,
}

/// Jobs whose worker has been given up go to others, soon and not all at once; those that were
/// there each of three times are taken for the cause and die, and so do those that were to be
/// cancelled. A claim that commits after its
/// worker was given up is found here as well.
pub async fn rescue(conn: &mut PgConnection) -> Result<Vec<Orphan>> {
    Ok(sqlx::query_as!(
        Orphan,
        r#"update jobs
           set crashes = crashes + 1, attempts = attempts - 1, worker_id = null,
               state = case when crashes + 1 >= 3 or cancel_requested then 'dead' else 'pending' end,
               finished_at = case when crashes + 1 >= 3 or cancel_requested then now() end,
               run_at = now() + make_interval(secs => random() * (2 ^ crashes)),
               last_error = case when cancel_requested then 'cancelled' else 'its worker was lost' end,
               updated_at = now(),
               history = job_history(history, 'worker_lost', attempts, null)
           where state = 'running'
             and not exists (select from job_workers where job_workers.id = jobs.worker_id)
           returning id as "id: JobId", kind, state = 'dead' as "dead!",
                     cancel_requested as cancelled"#,
    )
    .fetch_all(conn)
    .await?)
}

/// A job that the database says this worker runs.
pub struct Held {
    pub lease: Lease,
    pub cancel_requested: bool,
    /// Claimed long enough ago for the worker to know of it.
    pub settled: bool,
}

pub async fn held(conn: &mut PgConnection, worker: WorkerId) -> Result<Vec<Held>> {
    let rows = sqlx::query!(
        r#"select id as "id: JobId", fence, cancel_requested,
                  started_at < now() - interval '10 seconds' as "settled!"
           from jobs where state = 'running' and worker_id = $1"#,
        worker.0,
    );
    let rows = rows.fetch_all(conn).await?.into_iter().map(|row| Held {
        lease: Lease { job: row.id, fence: row.fence },
        cancel_requested: row.cancel_requested,
        settled: row.settled,
    });
    Ok(rows.collect())
}

/// Gives everything back that the worker still holds, as if it had not been claimed; what was to
/// be cancelled is.
pub async fn release_all(conn: &mut PgConnection, worker: WorkerId) -> Result<u64> {
    let released = sqlx::query!(
        "update jobs
         set state = case when cancel_requested then 'dead' else 'pending' end,
             finished_at = case when cancel_requested then now() end,
             last_error = case when cancel_requested then 'cancelled' else last_error end,
             worker_id = null, attempts = attempts - 1, run_at = now(),
             history = job_history(history, 'released', attempts, null), updated_at = now()
         where state = 'running' and worker_id = $1",
        worker.0,
    );
    Ok(released.execute(conn).await?.rows_affected())
}
