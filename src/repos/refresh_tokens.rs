//! The refresh tokens of sessions: a line of generations, of which only hashes are kept.

use sqlx::PgConnection;

use crate::{domain::ids::SessionId, error::Result};

pub struct TokenRow {
    pub generation: i32,
    pub salt: Vec<u8>,
    /// Seconds since its first use.
    pub used_secs: Option<f64>,
}

/// To be asked after `sessions::lock`, in a statement of its own: then it sees what the transaction
/// that held the lock before has written.
pub async fn find(conn: &mut PgConnection, id: SessionId, hash: &[u8]) -> Result<Option<TokenRow>> {
    Ok(sqlx::query_as!(
        TokenRow,
        "select generation, salt,
                extract(epoch from clock_timestamp() - used_at)::float8 as used_secs
         from refresh_tokens where session_id = $1 and token_hash = $2",
        id.0,
        hash,
    )
    .fetch_optional(conn)
    .await?)
}

pub async fn insert(
    conn: &mut PgConnection,
    id: SessionId,
    generation: i32,
    hash: &[u8],
    salt: &[u8],
) -> Result<()> {
    sqlx::query!(
        "insert into refresh_tokens (session_id, generation, token_hash, salt)
         values ($1, $2, $3, $4)",
        id.0,
        generation,
        hash,
        salt,
    )
    .execute(conn)
    .await?;
    Ok(())
}

pub async fn mark_used(conn: &mut PgConnection, id: SessionId, generation: i32) -> Result<()> {
    sqlx::query!(
        "update refresh_tokens set used_at = clock_timestamp()
         where session_id = $1 and generation = $2",
        id.0,
        generation,
    )
    .execute(conn)
    .await?;
    Ok(())
}

/// Tokens of sessions that ended a month ago.
pub async fn reap(conn: &mut PgConnection) -> Result<()> {
    sqlx::query!(
        "delete from refresh_tokens where (session_id, generation) in (
             select t.session_id, t.generation from sessions s join refresh_tokens t on t.session_id = s.id
             where s.absolute_expires_at < now() - interval '30 days' limit 5000)",
    )
    .execute(conn)
    .await?;
    Ok(())
}
