//! Accounts.

use sqlx::{PgConnection, Postgres, QueryBuilder};

use crate::{
    db::OnConstraint,
    domain::{
        email::Email,
        ids::UserId,
        page::PageRequest,
        users::{Role, User, UserFilter},
    },
    error::{Code, Error, Result},
};

pub struct NewUser<'a> {
    pub id: UserId,
    pub email: &'a Email,
    pub name: &'a str,
    pub role: Role,
    pub password_hash: &'a str,
    pub email_verified: bool,
}

/// Fails with `EMAIL_TAKEN` when another account has the mailbox.
pub async fn insert(conn: &mut PgConnection, user: &NewUser<'_>) -> Result<User> {
    sqlx::query_as!(
        User,
        r#"insert into users (id, email, email_key, name, role, password_hash, email_verified)
           values ($1, $2, $3, $4, $5, $6, $7)
           returning id as "id: UserId", email as "email!", name, role as "role: Role", email_verified,
                     disabled_at is not null as "disabled!", version, authz_version, created_at, updated_at"#,
        user.id.0,
        user.email.address(),
        user.email.key(),
        user.name,
        user.role.as_str(),
        user.password_hash,
        user.email_verified,
    )
    .fetch_one(conn)
    .await
    .on_constraint("users_email_key", || Error::of(Code::EmailTaken))
}

/// Whose the mailbox is afterwards: the new user's, or that of the account it had. `None` when
/// another account takes it in this very moment.
pub async fn insert_or_find(conn: &mut PgConnection, user: &NewUser<'_>) -> Result<Option<UserId>> {
    let id = sqlx::query_scalar!(
        r#"with made as (
               insert into users (id, email, email_key, name, role, password_hash, email_verified)
               values ($1, $2, $3, $4, $5, $6, $7)
               on conflict (email_key) do nothing returning id)
           select coalesce((select id from made), (select id from users where email_key = $3))
                  as "id: UserId""#,
        user.id.0,
        user.email.address(),
        user.email.key(),
        user.name,
        user.role.as_str(),
        user.password_hash,
        user.email_verified,
    );
    Ok(id.fetch_one(conn).await?)
}

/// The account of a mailbox, for whoever writes to it; `None` also while somebody else is about to.
/// Waiting for the other one would take time for accounts alone, and tell that there is one.
pub async fn find_unless_written_to(
    conn: &mut PgConnection,
    email: &Email,
) -> Result<Option<User>> {
    Ok(sqlx::query_as!(
        User,
        r#"select id as "id: UserId", email as "email!", name, role as "role: Role", email_verified,
                  disabled_at is not null as "disabled!", version, authz_version, created_at, updated_at
           from users where email_key = $1 and deleted_at is null
             and pg_try_advisory_xact_lock(hashtextextended('mail.' || id::text, 0))"#,
        email.key(),
    )
    .fetch_optional(conn)
    .await?)
}

pub async fn find(conn: &mut PgConnection, id: UserId) -> Result<Option<User>> {
    Ok(sqlx::query_as!(
        User,
        r#"select id as "id: UserId", email as "email!", name, role as "role: Role", email_verified,
                  disabled_at is not null as "disabled!", version, authz_version, created_at, updated_at
           from users where id = $1 and deleted_at is null"#,
        id.0,
    )
    .fetch_optional(conn)
    .await?)
}

/// As [`find`], and nobody else changes the row until the transaction ends.
pub async fn lock(conn: &mut PgConnection, id: UserId) -> Result<Option<User>> {
    Ok(sqlx::query_as!(
        User,
        r#"select id as "id: UserId", email as "email!", name, role as "role: Role", email_verified,
                  disabled_at is not null as "disabled!", version, authz_version, created_at, updated_at
           from users where id = $1 and deleted_at is null for no key update"#,
        id.0,
    )
    .fetch_optional(conn)
    .await?)
}

/// Locks every administrator who can act, in id order, so that two of them cannot remove each
/// other at the same time.
pub async fn lock_admins(conn: &mut PgConnection) -> Result<Vec<UserId>> {
    let rows = sqlx::query_scalar!(
        r#"select id as "id: UserId" from users
           where role = 'admin' and deleted_at is null and disabled_at is null
           order by id for no key update"#,
    );
    Ok(rows.fetch_all(conn).await?)
}

/// Writes name, role and disabling. With `raise_version` the authorisation version rises, and
/// access tokens that carry a smaller one become stale.
pub async fn update(conn: &mut PgConnection, user: &User, raise_version: bool) -> Result<User> {
    Ok(sqlx::query_as!(
        User,
        r#"update users
           set name = $2, role = $3, version = version + 1, updated_at = now(),
               disabled_at = case when $4 then coalesce(disabled_at, now()) end,
               authz_version = authz_version + $5::int
           where id = $1
           returning id as "id: UserId", email as "email!", name, role as "role: Role", email_verified,
                     disabled_at is not null as "disabled!", version, authz_version, created_at, updated_at"#,
        user.id.0,
        user.name,
        user.role.as_str(),
        user.disabled,
        i32::from(raise_version),
    )
    .fetch_one(conn)
    .await?)
}

/// Takes address, name and password from the row; the id stays for orders and the audit trail.
/// Returns the raised authorisation version.
pub async fn anonymise(conn: &mut PgConnection, id: UserId) -> Result<i64> {
    Ok(sqlx::query_scalar!(
        "update users
         set email = null, email_key = null, name = 'deleted user', password_hash = null,
             role = 'customer', email_verified = false, deleted_at = now(), updated_at = now(),
             version = version + 1, authz_version = authz_version + 1
         where id = $1
         returning authz_version",
        id.0,
    )
    .fetch_one(conn)
    .await?)
}

pub async fn set_password_hash(conn: &mut PgConnection, id: UserId, hash: &str) -> Result<()> {
    sqlx::query!("update users set password_hash = $2 where id = $1", id.0, hash)
        .execute(conn)
        .await?;
    Ok(())
}

/// The owner has proved to read what is sent to the address. False when that was known before.
pub async fn verify_email(conn: &mut PgConnection, id: UserId) -> Result<bool> {
    let verified = sqlx::query!(
        "update users set email_verified = true, version = version + 1, updated_at = now()
         where id = $1 and not email_verified",
        id.0,
    );
    Ok(verified.execute(conn).await?.rows_affected() > 0)
}

/// Sets an address that was proved to be the owner's. Fails with `EMAIL_TAKEN` when another
/// account has the mailbox.
pub async fn set_email(conn: &mut PgConnection, id: UserId, email: &Email) -> Result<()> {
    sqlx::query!(
        "update users
         set email = $2, email_key = $3, email_verified = true, version = version + 1, updated_at = now()
         where id = $1",
        id.0,
        email.address(),
        email.key(),
    )
    .execute(conn)
    .await
    .on_constraint("users_email_key", || Error::of(Code::EmailTaken))?;
    Ok(())
}

/// The user, if the account may still be used and has the hash that a password was compared
/// with; locked until the transaction ends.
pub async fn confirm(conn: &mut PgConnection, id: UserId, hash: &str) -> Result<Option<User>> {
    Ok(sqlx::query_as!(
        User,
        r#"select id as "id: UserId", email as "email!", name, role as "role: Role", email_verified,
                  disabled_at is not null as "disabled!", version, authz_version, created_at, updated_at
           from users
           where id = $1 and password_hash = $2 and disabled_at is null and deleted_at is null
           for no key update"#,
        id.0,
        hash,
    )
    .fetch_optional(conn)
    .await?)
}

/// The hash to compare a password with; `None` for a deleted user.
pub async fn password_hash(conn: &mut PgConnection, id: UserId) -> Result<Option<String>> {
    let hash = sqlx::query_scalar!(
        "select password_hash from users where id = $1 and deleted_at is null",
        id.0,
    );
    Ok(hash.fetch_optional(conn).await?.flatten())
}

/// One row more than the page holds tells whether another page follows.
pub async fn list(
    conn: &mut PgConnection,
    filter: &UserFilter,
    page: &PageRequest,
) -> Result<Vec<User>> {
    let mut query = QueryBuilder::new(
        "select id, email, name, role, email_verified, disabled_at is not null as disabled,
                version, authz_version, created_at, updated_at
         from users",
    );
    push_filter(&mut query, filter);
    if let Some(after) = page.after {
        query.push(" and (created_at, id) < (").push_bind(after.at);
        query.push(", ").push_bind(after.id).push(")");
    }
    query.push(" order by created_at desc, id desc limit ").push_bind(page.limit + 1);
    Ok(query.build_query_as().fetch_all(conn).await?)
}

pub async fn count(conn: &mut PgConnection, filter: &UserFilter) -> Result<i64> {
    let mut query = QueryBuilder::new("select count(*) from users");
    push_filter(&mut query, filter);
    Ok(query.build_query_scalar().fetch_one(conn).await?)
}

fn push_filter(query: &mut QueryBuilder<Postgres>, filter: &UserFilter) {
    query.push(" where deleted_at is null");
    if let Some(role) = filter.role {
        query.push(" and role = ").push_bind(role.as_str());
    }
    if let Some(q) = &filter.q {
        query.push(" and (strpos(email_key, lower(").push_bind(q.clone());
        query.push(")) > 0 or strpos(lower(name), lower(").push_bind(q.clone()).push(")) > 0)");
    }
}
