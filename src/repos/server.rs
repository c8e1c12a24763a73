//! What the database server says of itself and of the role that asks.

use chrono::{DateTime, Utc};
use sqlx::PgConnection;

use crate::error::Result;

pub struct Version {
    /// As in `server_version_num`: 150018 for 15.18.
    pub number: i32,
    pub text: String,
}

pub async fn version(conn: &mut PgConnection) -> Result<Version> {
    Ok(sqlx::query_as!(
        Version,
        r#"select current_setting('server_version_num')::integer as "number!",
                  current_setting('server_version') as "text!""#,
    )
    .fetch_one(conn)
    .await?)
}

pub async fn now(conn: &mut PgConnection) -> Result<DateTime<Utc>> {
    Ok(sqlx::query_scalar!(r#"select clock_timestamp() as "now!""#).fetch_one(conn).await?)
}

pub struct Connections {
    /// Those that a role without privileges can have.
    pub available: i32,
    /// Those that somebody other than this service has now.
    pub foreign: i32,
}

/// `reserved_connections` came with Postgres 16. A role without privileges sees how many connections
/// others have, and nothing more of them.
pub async fn connections(conn: &mut PgConnection) -> Result<Connections> {
    Ok(sqlx::query_as!(
        Connections,
        r#"select current_setting('max_connections')::integer
                      - current_setting('superuser_reserved_connections')::integer
                      - coalesce(current_setting('reserved_connections', true)::integer, 0)
                      as "available!",
                  greatest(
                      (select sum(numbackends) from pg_stat_database)
                          - (select count(*) from pg_stat_activity
                              where application_name = 'mainstay'),
                      0)::integer as "foreign!""#,
    )
    .fetch_one(conn)
    .await?)
}

pub struct Rights {
    pub role: String,
    pub superuser: bool,
    /// May make tables, and so change the schema.
    pub changes_schema: bool,
    /// May rewrite the audit trail, had it no trigger.
    pub rewrites_audit: bool,
}

pub async fn rights(conn: &mut PgConnection) -> Result<Rights> {
    Ok(sqlx::query_as!(
        Rights,
        r#"select current_user::text as "role!",
                  (select rolsuper from pg_roles where rolname = current_user) as "superuser!",
                  has_schema_privilege('public', 'create') as "changes_schema!",
                  coalesce(has_table_privilege(to_regclass('audit_events'), 'update, delete'), false)
                      as "rewrites_audit!""#,
    )
    .fetch_one(conn)
    .await?)
}
