//! Imports, the files they come from, and the rows that were refused.

use std::time::Duration;

use sqlx::PgConnection;

use crate::{
    domain::{
        csv::Place,
        idempotency::{Fingerprint, Key},
        ids::{ImportId, JobId, UserId},
        imports::{Column, Failure, Head, Import, ImportMode, ImportState, Options},
    },
    error::{Error, Result},
};

pub mod chunks;
pub mod merge;
pub mod rejects;

/// Rows of one bite of the reaper.
pub const BITE: u64 = 100;

struct RawImport {
    id: ImportId,
    user_id: UserId,
    state: String,
    mode: String,
    dry_run: bool,
    sets_stock: bool,
    columns: Option<Vec<String>>,
    bytes_total: i64,
    bytes_done: i64,
    next_line: i64,
    rows_at: i64,
    rows_line: i64,
    rows_read: i64,
    rows_upserted: i64,
    rows_rejected: i64,
    error_code: Option<String>,
    error_detail: Option<String>,
    error_line: Option<i64>,
    job_id: Option<JobId>,
    created_at: chrono::DateTime<chrono::Utc>,
    updated_at: chrono::DateTime<chrono::Utc>,
    finished_at: Option<chrono::DateTime<chrono::Utc>>,
}

impl TryFrom<RawImport> for Import {
    type Error = Error;

    fn try_from(row: RawImport) -> Result<Self> {
        let unknown = |what: &str| Error::internal(format!("an import has an unknown {what}"));
        let column = |name: &String| Column::parse(name).ok_or_else(|| unknown("column"));
        let failure = row.error_code.map(|code| Failure {
            code,
            detail: row.error_detail.unwrap_or_default(),
            line: row.error_line,
        });
        Ok(Self {
            id: row.id,
            user_id: row.user_id,
            state: ImportState::parse(&row.state).ok_or_else(|| unknown("state"))?,
            options: Options {
                mode: ImportMode::parse(&row.mode).ok_or_else(|| unknown("mode"))?,
                dry_run: row.dry_run,
                sets_stock: row.sets_stock,
            },
            columns: row.columns.iter().flatten().map(column).collect::<Result<_>>()?,
            bytes_total: row.bytes_total,
            bytes_done: row.bytes_done,
            next_line: row.next_line,
            rows_at: row.rows_at,
            rows_line: row.rows_line,
            rows_read: row.rows_read,
            rows_upserted: row.rows_upserted,
            rows_rejected: row.rows_rejected,
            failure,
            job_id: row.job_id,
            created_at: row.created_at,
            updated_at: row.updated_at,
            finished_at: row.finished_at,
        })
    }
}

pub async fn find(conn: &mut PgConnection, id: ImportId) -> Result<Option<Import>> {
    let row = sqlx::query_as!(
        RawImport,
        r#"select id as "id: ImportId", user_id as "user_id: UserId", state, mode, dry_run, sets_stock,
                  columns, bytes_total, bytes_done, next_line, rows_at, rows_line, rows_read,
                  rows_upserted, rows_rejected, error_code, error_detail, error_line,
                  job_id as "job_id: JobId", created_at, updated_at, finished_at
           from imports where id = $1"#,
        id.0,
    );
    row.fetch_optional(conn).await?.map(Import::try_from).transpose()
}

/// What an import is made under.
pub struct Claim<'a> {
    pub key: &'a Key,
    pub fingerprint: &'a Fingerprint,
}

/// Begins an upload; false when the user has one under this key.
pub async fn insert(
    conn: &mut PgConnection,
    id: ImportId,
    user: UserId,
    options: Options,
    claim: Option<&Claim<'_>>,
) -> Result<bool> {
    let made = sqlx::query!(
        "insert into imports (id, user_id, idempotency_key, fingerprint, mode, dry_run, sets_stock)
         values ($1, $2, $3, $4, $5, $6, $7)
         on conflict (user_id, idempotency_key) where idempotency_key is not null do nothing",
        id.0,
        user.0,
        claim.map(|claim| claim.key.as_str()),
        claim.map(|claim| claim.fingerprint.as_bytes()),
        options.mode.as_str(),
        options.dry_run,
        options.sets_stock,
    );
    Ok(made.execute(conn).await?.rows_affected() == 1)
}

/// The import that a user made under a key, and what was asked for.
pub async fn find_by_key(
    conn: &mut PgConnection,
    user: UserId,
    key: &Key,
) -> Result<Option<(ImportId, Fingerprint)>> {
    let row = sqlx::query!(
        r#"select id as "id: ImportId", fingerprint as "fingerprint!" from imports
           where user_id = $1 and idempotency_key = $2"#,
        user.0,
        key.as_str(),
    );
    Ok(row.fetch_optional(conn).await?.map(|row| (row.id, row.fingerprint.into())))
}

/// SHA-256 of the text that an import was made of; imports of former releases have none.
pub async fn digest(conn: &mut PgConnection, id: ImportId) -> Result<Option<Vec<u8>>> {
    let digest = sqlx::query_scalar!("select content_digest from imports where id = $1", id.0);
    Ok(digest.fetch_optional(conn).await?.flatten())
}

/// Frees a key that has been known for long enough, or whose upload has come to nothing: it ended,
/// or nothing of it has come for `idle`. True when it was freed.
pub async fn free_key(
    conn: &mut PgConnection,
    id: ImportId,
    ttl: Duration,
    idle: Duration,
) -> Result<bool> {
    let freed = sqlx::query!(
        "update imports
         set idempotency_key = null, fingerprint = null,
             state = case when state = 'uploading' then 'failed' else state end,
             finished_at = case when state = 'uploading' then now() else finished_at end,
             error_code = case when state = 'uploading' then 'upload_interrupted' else error_code end,
             error_detail = case when state = 'uploading' then 'the file did not come to its end'
                            else error_detail end
         where id = $1 and (created_at < now() - make_interval(secs => $2)
             or (state = 'uploading' and updated_at < now() - make_interval(secs => $3)))",
        id.0,
        ttl.as_secs_f64(),
        idle.as_secs_f64(),
    );
    Ok(freed.execute(conn).await?.rows_affected() == 1)
}

/// The file has come whole; false when it was given up.
pub async fn queue(
    conn: &mut PgConnection,
    id: ImportId,
    head: &Head,
    digest: &[u8; 32],
    job: Option<JobId>,
) -> Result<bool> {
    let columns: Vec<_> = head.columns.iter().map(|column| column.as_str().to_owned()).collect();
    let queued = sqlx::query!(
        "update imports
         set state = 'queued', columns = $2, rows_at = $3, rows_line = $4, bytes_done = $3,
             next_line = $4, job_id = $5, content_digest = $6, updated_at = now()
         where id = $1 and state = 'uploading'",
        id.0,
        &columns,
        head.rows.offset as i64,
        head.rows.line as i64,
        job.map(|job| job.0),
        digest.as_slice(),
    );
    Ok(queued.execute(conn).await?.rows_affected() == 1)
}

pub async fn start(conn: &mut PgConnection, id: ImportId) -> Result<()> {
    sqlx::query!(
        "update imports set state = 'running', updated_at = now() where id = $1 and state = 'queued'",
        id.0,
    )
    .execute(conn)
    .await?;
    Ok(())
}

/// What a batch adds.
pub struct Step {
    pub from: Place,
    pub to: Place,
    pub read: i64,
    pub upserted: i64,
    pub rejected: i64,
}

/// Moves the checkpoint; false when the import was cancelled, or somebody else has moved it.
pub async fn advance(conn: &mut PgConnection, id: ImportId, step: &Step) -> Result<bool> {
    let moved = sqlx::query!(
        "update imports
         set bytes_done = $3, next_line = $4, rows_read = rows_read + $5,
             rows_upserted = rows_upserted + $6, rows_rejected = rows_rejected + $7,
             updated_at = now()
         where id = $1 and state = 'running' and bytes_done = $2",
        id.0,
        step.from.offset as i64,
        step.to.offset as i64,
        step.to.line as i64,
        step.read,
        step.upserted,
        step.rejected,
    );
    Ok(moved.execute(conn).await?.rows_affected() == 1)
}

/// All rows of an atomic import are stored; false when it was cancelled meanwhile.
pub async fn set_upserted(conn: &mut PgConnection, id: ImportId, rows: i64) -> Result<bool> {
    let set = sqlx::query!(
        "update imports set rows_upserted = $2, updated_at = now() where id = $1 and state = 'running'",
        id.0,
        rows,
    );
    Ok(set.execute(conn).await?.rows_affected() == 1)
}

/// Ends an import that has not ended; false when it has. With `free_key` it may be tried again
/// under its key.
pub async fn finish(
    conn: &mut PgConnection,
    id: ImportId,
    state: ImportState,
    failure: Option<&Failure>,
    free_key: bool,
) -> Result<bool> {
    let ended = sqlx::query!(
        "update imports
         set state = $2, error_code = $3, error_detail = $4, error_line = $5,
             idempotency_key = case when $6 then null else idempotency_key end,
             fingerprint = case when $6 then null else fingerprint end,
             finished_at = now(), updated_at = now()
         where id = $1 and finished_at is null",
        id.0,
        state.as_str(),
        failure.map(|failure| failure.code.as_str()),
        failure.map(|failure| failure.detail.as_str()),
        failure.and_then(|failure| failure.line),
        free_key,
    );
    Ok(ended.execute(conn).await?.rows_affected() == 1)
}

/// Until the transaction ends the import stays as it is.
pub async fn lock(conn: &mut PgConnection, id: ImportId) -> Result<Option<ImportState>> {
    let state =
        sqlx::query_scalar!("select state from imports where id = $1 for no key update", id.0);
    let state = state.fetch_optional(conn).await?;
    Ok(state.as_deref().and_then(ImportState::parse))
}

/// An import that was failed because nobody works on it.
pub struct Abandoned {
    pub id: ImportId,
    pub user_id: UserId,
    /// Its file had come whole.
    pub begun: bool,
    /// Of its job, if that is there still.
    pub request_id: Option<String>,
}

/// Fails what nobody works on: uploads of which nothing more came, whose keys are free then, and
/// imports whose job is gone or dead.
pub async fn fail_abandoned(conn: &mut PgConnection, idle: Duration) -> Result<Vec<Abandoned>> {
    let failed = sqlx::query_as!(
        Abandoned,
        "update imports
         set state = 'failed', finished_at = now(), updated_at = now(),
             error_code = case when state = 'uploading' then 'upload_interrupted' else 'given_up' end,
             error_detail = case when state = 'uploading' then 'the file did not come to its end'
                            else 'its job was given up' end,
             idempotency_key = case when state <> 'uploading' then idempotency_key end,
             fingerprint = case when state <> 'uploading' then fingerprint end
         where id in (
             select id from imports
             where finished_at is null
               and case when state = 'uploading' then updated_at < now() - make_interval(secs => $1)
                   else not exists (select from jobs where jobs.id = imports.job_id
                                    and jobs.state in ('pending', 'running')) end
             order by updated_at limit 100 for update skip locked)
         returning id as \"id: ImportId\", user_id as \"user_id: UserId\", job_id is not null as \"begun!\",
             (select request_id from jobs where jobs.id = imports.job_id)",
        idle.as_secs_f64(),
    );
    Ok(failed.fetch_all(conn).await?)
}

/// Throws away imports that ended long ago; how many: [`BITE`] when there may be more.
pub async fn reap(conn: &mut PgConnection, keep: Duration) -> Result<u64> {
    let reaped = sqlx::query!(
        "delete from imports where id in (
             select id from imports where finished_at < now() - make_interval(secs => $1)
             order by finished_at limit 100 for update skip locked)",
        keep.as_secs_f64(),
    );
    Ok(reaped.execute(conn).await?.rows_affected())
}
