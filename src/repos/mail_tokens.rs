//! The links in mails: at most one per account and purpose, of which only a hash is kept.

use sqlx::PgConnection;

use crate::{
    domain::{
        ids::{MailTokenId, UserId},
        mail_tokens::Purpose,
    },
    error::Result,
};

pub struct NewToken<'a> {
    pub id: MailTokenId,
    /// `None` for an address without an account.
    pub user_id: Option<UserId>,
    pub purpose: Purpose,
    pub hash: &'a [u8],
    pub salt: &'a [u8],
    /// Address and key, if the link changes them.
    pub new_email: Option<(&'a str, &'a str)>,
    pub ttl_secs: f64,
}

/// Takes the place of an older one. False, and nothing is changed, when there is no account that
/// may be used, or it has been sent as many within the hour as are allowed and the last one still
/// holds: nobody keeps an owner from a link by asking for links.
pub async fn issue(conn: &mut PgConnection, token: &NewToken<'_>, allowed: i32) -> Result<bool> {
    let (new_email, new_key) = token.new_email.unzip();
    let issued = sqlx::query!(
        "insert into mail_tokens as t
             (id, user_id, purpose, token_hash, salt, new_email, new_email_key, expires_at)
         select $1::uuid, u.id, $3::text, $4::bytea, $5::bytea, $6::text, $7::text,
                now() + make_interval(secs => $8)
         from users u where u.id = $2 and u.deleted_at is null and u.disabled_at is null
         on conflict (user_id, purpose) do update
         set id = excluded.id, token_hash = excluded.token_hash, salt = excluded.salt,
             new_email = excluded.new_email, new_email_key = excluded.new_email_key,
             created_at = now(), expires_at = excluded.expires_at,
             issues = case when t.window_start > now() - interval '1 hour' then t.issues + 1 else 1 end,
             window_start = case when t.window_start > now() - interval '1 hour'
                            then t.window_start else now() end
         where t.issues < $9 or t.window_start <= now() - interval '1 hour' or t.expires_at <= now()",
        token.id.0,
        token.user_id.map(|id| id.0),
        token.purpose.as_str(),
        token.hash,
        token.salt,
        new_email,
        new_key,
        token.ttl_secs,
        allowed,
    );
    Ok(issued.execute(conn).await?.rows_affected() > 0)
}

/// What a letter needs, while its link holds.
pub struct Pending {
    pub user_id: UserId,
    pub salt: Vec<u8>,
    /// Where the letter goes: the stored address, or the one that is to become it.
    pub address: String,
}

pub async fn find(
    conn: &mut PgConnection,
    id: MailTokenId,
    purpose: Purpose,
) -> Result<Option<Pending>> {
    Ok(sqlx::query_as!(
        Pending,
        r#"select t.user_id as "user_id: UserId", t.salt, coalesce(t.new_email, u.email) as "address!"
           from mail_tokens t join users u on u.id = t.user_id
           where t.id = $1 and t.purpose = $2 and t.expires_at > now()
             and u.deleted_at is null and u.disabled_at is null"#,
        id.0,
        purpose.as_str(),
    )
    .fetch_optional(conn)
    .await?)
}

/// Whose link it is.
pub struct Holder {
    pub user_id: UserId,
    pub email: String,
    pub name: String,
}

/// As long as the link holds; it is not used up.
pub async fn holder(
    conn: &mut PgConnection,
    id: MailTokenId,
    purposes: &[Purpose],
    hash: &[u8],
) -> Result<Option<Holder>> {
    Ok(sqlx::query_as!(
        Holder,
        r#"select u.id as "user_id: UserId", u.email as "email!", u.name
           from mail_tokens t join users u on u.id = t.user_id
           where t.id = $1 and t.purpose = any($2) and t.token_hash = $3 and t.expires_at > now()
             and u.deleted_at is null and u.disabled_at is null"#,
        id.0,
        &words(purposes),
        hash,
    )
    .fetch_optional(conn)
    .await?)
}

/// Whose link it was.
pub struct Used {
    pub user_id: UserId,
    pub purpose: Purpose,
    pub new_email: Option<String>,
}

/// Uses a link up. Of simultaneous calls one alone finds the row.
pub async fn take(
    conn: &mut PgConnection,
    id: MailTokenId,
    purposes: &[Purpose],
    hash: &[u8],
) -> Result<Option<Used>> {
    Ok(sqlx::query_as!(
        Used,
        r#"delete from mail_tokens
           where id = $1 and purpose = any($2) and token_hash = $3 and expires_at > now()
           returning user_id as "user_id: UserId", purpose as "purpose: Purpose", new_email"#,
        id.0,
        &words(purposes),
        hash,
    )
    .fetch_optional(conn)
    .await?)
}

/// Makes the links of these purposes void.
pub async fn void(conn: &mut PgConnection, user: UserId, purposes: &[Purpose]) -> Result<()> {
    sqlx::query!(
        "delete from mail_tokens where user_id = $1 and purpose = any($2)",
        user.0,
        &words(purposes),
    )
    .execute(conn)
    .await?;
    Ok(())
}

fn words(purposes: &[Purpose]) -> Vec<String> {
    purposes.iter().map(|purpose| purpose.as_str().to_owned()).collect()
}

/// Those that have expired, once they are not counted any more.
pub async fn reap(conn: &mut PgConnection) -> Result<()> {
    sqlx::query!(
        "delete from mail_tokens where (user_id, purpose) in (
             select user_id, purpose from mail_tokens
             where expires_at < now() - interval '1 hour' limit 5000)",
    )
    .execute(conn)
    .await?;
    Ok(())
}
