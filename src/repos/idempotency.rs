//! Requests under a key, and their outcomes.

use std::time::Duration;

use sqlx::{PgConnection, types::Json};

use crate::{
    domain::{
        idempotency::{Claim, Fingerprint, Stored, in_progress},
        ids::UserId,
    },
    error::{Error, Result},
};

/// Rows of one bite; few enough that nobody waits behind them.
pub const BITE: u64 = 1_000;

/// Takes the key for the caller's transaction; false when it has an outcome already. Whoever
/// holds it in another transaction is waited for, up to `lock_timeout`: then it is
/// `IDEMPOTENCY_IN_PROGRESS`, and the transaction is lost.
pub async fn claim(conn: &mut PgConnection, claim: &Claim, ttl: Duration) -> Result<bool> {
    let taken = sqlx::query!(
        "insert into idempotency_keys as held (user_id, key, fingerprint, expires_at)
         values ($1, $2, $3, now() + make_interval(secs => $4))
         on conflict (user_id, key) do update
         set fingerprint = excluded.fingerprint, expires_at = excluded.expires_at,
             status = null, headers = null, body = null
         where held.expires_at <= now()",
        claim.user.0,
        claim.key.as_str(),
        claim.fingerprint.as_bytes(),
        ttl.as_secs_f64(),
    );
    match taken.execute(conn).await {
        Ok(done) => Ok(done.rows_affected() > 0),
        Err(error) if is_lock_timeout(&error) => Err(in_progress().because(error)),
        Err(error) => Err(error.into()),
    }
}

fn is_lock_timeout(error: &sqlx::Error) -> bool {
    error.as_database_error().and_then(|error| error.code()).is_some_and(|code| code == "55P03")
}

/// What was asked for under the key, and the outcome.
pub async fn find(conn: &mut PgConnection, claim: &Claim) -> Result<Option<(Fingerprint, Stored)>> {
    let row = sqlx::query!(
        r#"select fingerprint, status as "status!", headers as "headers!: Json<Vec<(String, String)>>",
                  body as "body!"
           from idempotency_keys where user_id = $1 and key = $2 and status is not null"#,
        claim.user.0,
        claim.key.as_str(),
    );
    let Some(row) = row.fetch_optional(conn).await? else { return Ok(None) };
    let status = u16::try_from(row.status).map_err(Error::internal)?;
    let stored = Stored { status, headers: row.headers.0, body: row.body };
    Ok(Some((row.fingerprint.into(), stored)))
}

/// Becomes visible with all that the outcome tells of.
pub async fn store(conn: &mut PgConnection, claim: &Claim, outcome: &Stored) -> Result<()> {
    sqlx::query!(
        "update idempotency_keys set status = $3, headers = $4, body = $5
         where user_id = $1 and key = $2",
        claim.user.0,
        claim.key.as_str(),
        i32::from(outcome.status),
        Json(&outcome.headers) as _,
        outcome.body,
    )
    .execute(conn)
    .await?;
    Ok(())
}

/// Outcomes tell of the person.
pub async fn forget(conn: &mut PgConnection, user: UserId) -> Result<()> {
    sqlx::query!("delete from idempotency_keys where user_id = $1", user.0).execute(conn).await?;
    Ok(())
}

/// How many were removed: [`BITE`] when there may be more.
pub async fn reap(conn: &mut PgConnection) -> Result<u64> {
    let removed = sqlx::query!(
        "delete from idempotency_keys where (user_id, key) in (
             select user_id, key from idempotency_keys
             where expires_at < now() order by expires_at limit 1000 for update skip locked)",
    );
    Ok(removed.execute(conn).await?.rows_affected())
}
