//! Devices on which users have signed in before, and what a login must know of everything.

use sqlx::PgConnection;

use crate::{domain::ids::UserId, error::Result};

/// What was known of a user's devices before a login.
pub struct Remembered {
    pub known: bool,
    /// The user was known on another one.
    pub others: bool,
}

/// Remembers that the user has signed in on the device, and that it behaves.
pub async fn remember(
    conn: &mut PgConnection,
    user: UserId,
    hash: &[u8],
    ttl_secs: f64,
) -> Result<Remembered> {
    // What is returned is read as it was before the statement.
    Ok(sqlx::query_as!(
        Remembered,
        r#"insert into known_devices (token_hash, user_id, expires_at)
           values ($1, $2, now() + make_interval(secs => $3))
           on conflict (token_hash, user_id) do update
           set failures = 0, last_used_at = now(), expires_at = excluded.expires_at
           returning
               exists(select from known_devices d where d.user_id = $2 and d.token_hash = $1
                      and d.expires_at > now()) as "known!",
               exists(select from known_devices d where d.user_id = $2 and d.token_hash <> $1)
                      as "others!""#,
        hash,
        user.0,
        ttl_secs,
    )
    .fetch_one(conn)
    .await?)
}

/// Counts a failure of a user on a device; false when it has had as many as are allowed, and so
/// is not known any more.
pub async fn count_failure(
    conn: &mut PgConnection,
    user: UserId,
    hash: &[u8],
    allowed: i32,
) -> Result<bool> {
    let counted = sqlx::query!(
        "update known_devices set failures = failures + 1
         where token_hash = $1 and user_id = $2 and failures < $3",
        hash,
        user.0,
        allowed,
    );
    Ok(counted.execute(conn).await?.rows_affected() > 0)
}

/// Whether the device is still known; it stays so until the transaction ends.
pub async fn confirm(
    conn: &mut PgConnection,
    user: UserId,
    hash: &[u8],
    allowed: i32,
) -> Result<bool> {
    let known = sqlx::query_scalar!(
        r#"select failures < $3 as "known!" from known_devices
           where token_hash = $1 and user_id = $2 and expires_at > now() for update"#,
        hash,
        user.0,
        allowed,
    );
    Ok(known.fetch_optional(conn).await?.unwrap_or(false))
}

/// What a login needs to know, in one statement whether or not the account exists.
pub struct LoginView {
    pub user_id: Option<UserId>,
    pub password_hash: Option<String>,
    pub disabled: bool,
    /// Failures of this user on the presented device, if the user is known there.
    pub device_failures: Option<i32>,
    /// The presented device token is one we gave, to whomever.
    pub device_exists: bool,
    /// Seconds for which logins of this account, or from this network, are refused.
    pub blocked_secs: Option<f64>,
}

pub async fn login_view(
    conn: &mut PgConnection,
    email_key: &str,
    device_hash: Option<&[u8]>,
    buckets: &[Vec<u8>],
) -> Result<LoginView> {
    Ok(sqlx::query_as!(
        LoginView,
        r#"select u.id as "user_id?: UserId", u.password_hash as "password_hash?",
                  coalesce(u.disabled_at is not null, false) as "disabled!",
                  d.failures as "device_failures?",
                  exists(select from known_devices where token_hash = $2) as "device_exists!",
                  (select extract(epoch from max(blocked_until) - now())::float8
                   from login_failures where bucket = any($3) and blocked_until > now()) as blocked_secs
           from (select) one
           left join users u on u.email_key = $1 and u.deleted_at is null
           left join known_devices d on d.token_hash = $2 and d.user_id = u.id and d.expires_at > now()"#,
        email_key,
        device_hash,
        buckets,
    )
    .fetch_one(conn)
    .await?)
}

pub async fn forget(conn: &mut PgConnection, user: UserId) -> Result<()> {
    sqlx::query!("delete from known_devices where user_id = $1", user.0).execute(conn).await?;
    Ok(())
}

pub async fn reap(conn: &mut PgConnection) -> Result<()> {
    sqlx::query!(
        "delete from known_devices where (token_hash, user_id) in (
             select token_hash, user_id from known_devices where expires_at < now() limit 5000)",
    )
    .execute(conn)
    .await?;
    Ok(())
}
