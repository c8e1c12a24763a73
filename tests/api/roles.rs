//! What the role of the service may not do. That it may do what it has to, every other test here
//! shows: all of them run as it.

use sqlx::{AssertSqlSafe, Connection, Executor, PgConnection};

use super::support::{Database, TestApp};

const REFUSED: [&str; 14] = [
    "update audit_events set action = 'nothing'",
    "delete from audit_events",
    "truncate audit_events",
    "alter table audit_events disable trigger all",
    "drop trigger audit_events_no_change on audit_events",
    "drop table audit_events",
    "delete from users",
    "truncate users cascade",
    "create table mine (id integer)",
    "alter table users add column mine integer",
    "create or replace function audit_events_are_append_only() returns trigger
     language plpgsql as $$ begin return new; end $$",
    "update _sqlx_migrations set success = false",
    "select rolpassword from pg_authid",
    "copy (select 1) to program 'true'",
];

#[tokio::test]
async fn the_role_of_the_service_can_neither_rewrite_the_audit_trail_nor_change_the_schema() {
    let database = Database::clone_of_template();
    let mut conn = PgConnection::connect(&database.service_url()).await.unwrap();
    let role: String =
        sqlx::query_scalar("select current_user::text").fetch_one(&mut conn).await.unwrap();
    if role != "mainstay_app" {
        return eprintln!("skipped: this server lets us make no role");
    }
    for statement in REFUSED {
        let refused = conn.execute(AssertSqlSafe(statement)).await;
        let refused = refused.map(|_| ()).expect_err(statement);
        let code = refused.as_database_error().and_then(|it| it.code()).unwrap_or_default();
        assert_eq!(code, "42501", "{statement}: {refused}");
    }
}

#[tokio::test]
async fn the_role_for_reports_sees_no_secret() {
    let app = TestApp::new().await;
    app.customer("ada").await;
    let mut conn = PgConnection::connect_with(&app.pool.connect_options()).await.unwrap();
    if conn.execute("set role mainstay_readonly").await.is_err() {
        return eprintln!("skipped: this server lets us make no role");
    }
    conn.execute("select role, count(id) from users group by role").await.unwrap();
    for secret in [
        "password_hash from users",
        "email from users",
        "token_hash from refresh_tokens",
        "salt from refresh_tokens",
        "token_hash from known_devices",
        "private_key from signing_keys",
        "address from audit_events",
    ] {
        let refused = conn.execute(AssertSqlSafe(format!("select {secret}"))).await;
        let refused = refused.map(|_| ()).expect_err(secret);
        let code = refused.as_database_error().and_then(|it| it.code()).unwrap_or_default();
        assert_eq!(code, "42501", "{secret}: {refused}");
    }
}
