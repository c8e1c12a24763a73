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

/// Sessions that ended a month ago, when they have no tokens left.
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
