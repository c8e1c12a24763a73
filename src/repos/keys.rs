//! Signing keys, their private halves sealed.

use chrono::{DateTime, Utc};
use sqlx::PgConnection;

use crate::error::Result;

pub struct KeyRow {
    pub kid: String,
    pub public_key: Vec<u8>,
    pub private_key: Vec<u8>,
    pub created_at: DateTime<Utc>,
    pub activates_at: Option<DateTime<Utc>>,
    pub expires_at: Option<DateTime<Utc>>,
}

/// Every key that may sign or verify, oldest first.
pub async fn list(conn: &mut PgConnection) -> Result<Vec<KeyRow>> {
    Ok(sqlx::query_as!(
        KeyRow,
        "select kid, public_key, private_key, created_at, activates_at, expires_at
         from signing_keys where expires_at is null or expires_at > now()
         order by activates_at nulls last, created_at",
    )
    .fetch_all(conn)
    .await?)
}

/// One rotation at a time, over all instances and the command line.
pub async fn lock(conn: &mut PgConnection) -> Result<()> {
    sqlx::query!("lock table signing_keys in exclusive mode").execute(conn).await?;
    Ok(())
}

/// A key that signs at once when `active`, else one that waits.
pub async fn insert(
    conn: &mut PgConnection,
    kid: &str,
    public_key: &[u8],
    private_key: &[u8],
    active: bool,
) -> Result<()> {
    sqlx::query!(
        "insert into signing_keys (kid, algorithm, public_key, private_key, activates_at)
         values ($1, 'EdDSA', $2, $3, case when $4 then now() end)",
        kid,
        public_key,
        private_key,
        active,
    )
    .execute(conn)
    .await?;
    Ok(())
}

/// Sets when the waiting key begins to sign: when it has been published for `published_secs`.
pub async fn activate_next(
    conn: &mut PgConnection,
    published_secs: f64,
) -> Result<Option<(String, DateTime<Utc>)>> {
    let row = sqlx::query!(
        r#"update signing_keys
           set activates_at = greatest(now(), created_at + make_interval(secs => $1))
           where activates_at is null
           returning kid, activates_at as "activates_at!""#,
        published_secs,
    );
    Ok(row.fetch_optional(conn).await?.map(|row| (row.kid, row.activates_at)))
}

/// The keys before the newest signer are honoured until its turn plus `overlap_secs`. One that
/// was still to have its turn has it before: no key comes after its successor.
pub async fn retire_before(
    conn: &mut PgConnection,
    successor: &str,
    at: DateTime<Utc>,
    overlap_secs: f64,
) -> Result<()> {
    sqlx::query!(
        "update signing_keys 
         set expires_at = least(expires_at, $2::timestamptz + make_interval(secs => $3)),
             activates_at = least(activates_at, $2::timestamptz)
         where kid <> $1 and activates_at is not null
           and (expires_at is null or activates_at > $2)",
        successor,
        at,
        overlap_secs,
    )
    .execute(conn)
    .await?;
    Ok(())
}

/// Removes a retired key at once: what it signed is refused. True when there was one.
pub async fn remove(conn: &mut PgConnection, kid: &str) -> Result<bool> {
    let removed =
        sqlx::query!("delete from signing_keys where kid = $1 and expires_at is not null", kid);
    Ok(removed.execute(conn).await?.rows_affected() > 0)
}

pub async fn reap(conn: &mut PgConnection) -> Result<()> {
    sqlx::query!("delete from signing_keys where expires_at < now() - interval '1 day'")
        .execute(conn)
        .await?;
    Ok(())
}
