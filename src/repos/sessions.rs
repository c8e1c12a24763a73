//! Sessions, their refresh tokens, and the devices they came from.

use chrono::{DateTime, Utc};
use sqlx::PgConnection;

use crate::{
    domain::{
        auth::{EndReason, Session},
        ids::{SessionId, UserId},
        page::PageRequest,
        users::Role,
    },
    error::Result,
};

pub struct NewSession<'a> {
    pub id: SessionId,
    pub user_id: UserId,
    pub remember: bool,
    pub device_name: Option<&'a str>,
    pub user_agent: Option<&'a str>,
    pub address: Option<&'a str>,
    /// Seconds without use after which it ends, and seconds after which it ends in any case.
    pub sliding_secs: f64,
    pub absolute_secs: f64,
}

/// Returns when the session ends if it is not used.
pub async fn insert(conn: &mut PgConnection, session: &NewSession<'_>) -> Result<DateTime<Utc>> {
    Ok(sqlx::query_scalar!(
        "insert into sessions (id, user_id, remember, device_name, user_agent, address,
                               expires_at, absolute_expires_at)
         values ($1, $2, $3, $4, $5, $6::text::inet,
                 now() + make_interval(secs => $7), now() + make_interval(secs => $8))
         returning expires_at",
        session.id.0,
        session.user_id.0,
        session.remember,
        session.device_name,
        session.user_agent,
        session.address,
        session.sliding_secs,
        session.absolute_secs,
    )
    .fetch_one(conn)
    .await?)
}

/// A session as a refresh sees it.
pub struct Refreshable {
    pub user_id: UserId,
    pub remember: bool,
    pub generation: i32,
    pub role: Role,
    pub authz_version: i64,
    /// Neither ended nor expired, and the user may act.
    pub live: bool,
    pub expires_at: DateTime<Utc>,
}

/// Locks the session, so that refreshes of it follow one another.
pub async fn lock(conn: &mut PgConnection, id: SessionId) -> Result<Option<Refreshable>> {
    Ok(sqlx::query_as!(
        Refreshable,
        r#"select s.user_id as "user_id: UserId", s.remember, s.generation, u.role as "role: Role",
                  u.authz_version, s.expires_at,
                  (s.ended_at is null and s.expires_at > now()
                   and u.disabled_at is null and u.deleted_at is null) as "live!"
           from sessions s join users u on u.id = s.user_id
           where s.id = $1 for no key update of s"#,
        id.0,
    )
    .fetch_optional(conn)
    .await?)
}

pub struct TokenRow {
    pub generation: i32,
    pub salt: Vec<u8>,
    /// Seconds since its first use.
    pub used_secs: Option<f64>,
}

/// To be asked after [`lock`], in a statement of its own: then it sees what the transaction
/// that held the lock before has written.
pub async fn find_token(
    conn: &mut PgConnection,
    id: SessionId,
    hash: &[u8],
) -> Result<Option<TokenRow>> {
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

pub async fn insert_token(
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

pub async fn mark_token_used(
    conn: &mut PgConnection,
    id: SessionId,
    generation: i32,
) -> Result<()> {
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

pub struct Rotation<'a> {
    pub id: SessionId,
    pub generation: i32,
    pub sliding_secs: f64,
    pub user_agent: Option<&'a str>,
    pub address: Option<&'a str>,
}

/// Records the new generation and slides the end, never beyond the absolute one.
pub async fn rotate(conn: &mut PgConnection, rotation: &Rotation<'_>) -> Result<DateTime<Utc>> {
    Ok(sqlx::query_scalar!(
        "update sessions
         set generation = $2, last_used_at = now(), user_agent = coalesce($4, user_agent),
             address = coalesce($5::text::inet, address),
             expires_at = least(now() + make_interval(secs => $3), absolute_expires_at)
         where id = $1
         returning expires_at",
        rotation.id.0,
        rotation.generation,
        rotation.sliding_secs,
        rotation.user_agent,
        rotation.address,
    )
    .fetch_one(conn)
    .await?)
}

/// Ends one session of a user, if it is live.
pub async fn end(
    conn: &mut PgConnection,
    user: UserId,
    id: SessionId,
    reason: EndReason,
) -> Result<Vec<SessionId>> {
    let ended = sqlx::query_scalar!(
        r#"update sessions set ended_at = now(), end_reason = $3
           where id = $1 and user_id = $2 and ended_at is null
           returning id as "id: SessionId""#,
        id.0,
        user.0,
        reason.as_str(),
    );
    Ok(ended.fetch_all(conn).await?)
}

/// Ends all sessions of a user, except one if it is given.
pub async fn end_all(
    conn: &mut PgConnection,
    user: UserId,
    except: Option<SessionId>,
    reason: EndReason,
) -> Result<Vec<SessionId>> {
    let ended = sqlx::query_scalar!(
        r#"update sessions set ended_at = now(), end_reason = $3
           where user_id = $1 and ended_at is null and ($2::uuid is null or id <> $2)
           returning id as "id: SessionId""#,
        user.0,
        except.map(|id| id.0),
        reason.as_str(),
    );
    Ok(ended.fetch_all(conn).await?)
}

/// The live sessions of a user, newest first.
pub async fn list(
    conn: &mut PgConnection,
    user: UserId,
    page: &PageRequest,
) -> Result<Vec<Session>> {
    let after = page.after;
    Ok(sqlx::query_as!(
        Session,
        r#"select id as "id: SessionId", device_name, user_agent, host(address) as address,
                  created_at, last_used_at, expires_at
           from sessions
           where user_id = $1 and ended_at is null and expires_at > now()
             and ($2::timestamptz is null or (created_at, id) < ($2, $3))
           order by created_at desc, id desc limit $4"#,
        user.0,
        after.map(|after| after.at),
        after.map(|after| after.id),
        page.limit + 1,
    )
    .fetch_all(conn)
    .await?)
}

pub async fn count(conn: &mut PgConnection, user: UserId) -> Result<i64> {
    Ok(sqlx::query_scalar!(
        r#"select count(*) as "count!" from sessions
           where user_id = $1 and ended_at is null and expires_at > now()"#,
        user.0,
    )
    .fetch_one(conn)
    .await?)
}

/// Remembers that the user has signed in on the device, and that it behaves.
pub async fn remember_device(
    conn: &mut PgConnection,
    user: UserId,
    hash: &[u8],
    ttl_secs: f64,
) -> Result<()> {
    sqlx::query!(
        "insert into known_devices (token_hash, user_id, expires_at)
         values ($1, $2, now() + make_interval(secs => $3))
         on conflict (token_hash, user_id) do update
         set failures = 0, last_used_at = now(), expires_at = excluded.expires_at",
        hash,
        user.0,
        ttl_secs,
    )
    .execute(conn)
    .await?;
    Ok(())
}

/// Counts a failure of a user on a device; false when it has had as many as are allowed, and so
/// is not known any more.
pub async fn count_device_failure(
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
pub async fn confirm_device(
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

/// Takes what tells of the person from all sessions of a user.
pub async fn anonymise(conn: &mut PgConnection, user: UserId) -> Result<()> {
    sqlx::query!(
        "update sessions set device_name = null, user_agent = null, address = null where user_id = $1",
        user.0,
    )
    .execute(conn)
    .await?;
    Ok(())
}

pub async fn forget_devices(conn: &mut PgConnection, user: UserId) -> Result<()> {
    sqlx::query!("delete from known_devices where user_id = $1", user.0).execute(conn).await?;
    Ok(())
}

/// Tokens of sessions that ended a month ago.
pub async fn reap_tokens(conn: &mut PgConnection) -> Result<()> {
    sqlx::query!(
        "delete from refresh_tokens where (session_id, generation) in (
             select t.session_id, t.generation from sessions s join refresh_tokens t on t.session_id = s.id
             where s.absolute_expires_at < now() - interval '30 days' limit 5000)",
    )
    .execute(conn)
    .await?;
    Ok(())
}

/// Those sessions, when they have no tokens left.
pub async fn reap(conn: &mut PgConnection) -> Result<()> {
    sqlx::query!(
        "delete from sessions where id in (
             select id from sessions s
             where absolute_expires_at < now() - interval '30 days'
               and not exists (select from refresh_tokens t where t.session_id = s.id) limit 1000)",
    )
    .execute(conn)
    .await?;
    Ok(())
}

pub async fn reap_devices(conn: &mut PgConnection) -> Result<()> {
    sqlx::query!(
        "delete from known_devices where (token_hash, user_id) in (
             select token_hash, user_id from known_devices where expires_at < now() limit 5000)",
    )
    .execute(conn)
    .await?;
    Ok(())
}
