//! Postgres that lets nobody in, while a session that is open goes on.

use std::time::Duration;

use sqlx::PgConnection;

use crate::support::{
    Database, Instance, Services, Settings,
    database::{connect, execute},
    pool, required, within,
};

const RECOVERY: Duration = Duration::from_secs(5);

/// All connections but the one that asks for readiness.
async fn cut_the_pool(operator: &mut PgConnection, database: &Database) {
    let name = database.name();
    let cut = format!(
        "select pg_terminate_backend(pid) from pg_stat_activity where datname = '{name}'
         and application_name = 'mainstay' and query not like '%_sqlx_migrations%'"
    );
    execute(operator, &cut).await;
}

async fn is_told_and_met_again(
    settings: Settings,
    database: &Database,
    operator: &mut PgConnection,
    [shut, open]: [&str; 2],
) {
    let settings = settings.set("APP__DATABASE__MAX_CONNECTIONS", pool::SIZE.to_string());
    let instance = Instance::ready(&settings).await;
    let (api, tokens) = (&instance.api, instance.api.sign_in().await);
    execute(operator, shut).await;
    cut_the_pool(operator, database).await;
    for _ in 0..10 {
        let reply = api.me(&tokens.access).await;
        assert!(reply.is_clear_503(), "{} {}", reply.status, reply.text);
    }
    within("not ready when no connection can be opened", Duration::from_secs(5), async || {
        api.get("/health/ready").await.status == 503
    })
    .await;
    execute(operator, open).await;
    within("recovered when they can", RECOVERY, async || {
        api.get("/health/ready").await.status == 200 && api.me(&tokens.access).await.status == 200
    })
    .await;
    pool::is_whole(&instance, database, &tokens.access).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_password_that_was_changed_is_told_whatever_the_probes_own_session_says() {
    let services = Services::private_postgres();
    let database = services.database();
    let mut operator = database.connect().await;
    let url = url::Url::parse(&database.url).expect("a URL");
    let password = |it: &str| format!("alter role current_user password '{it}'");
    let turns = [password("another one"), password(url.password().expect("a password"))];
    let turns = turns.each_ref().map(String::as_str);
    is_told_and_met_again(services.settings(), &database, &mut operator, turns).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_database_that_was_closed_is_told_whatever_the_probes_own_session_says() {
    let database = Database::create().await;
    let mut operator = connect(&required("DATABASE_URL")).await;
    let name = database.name();
    let turns = ["false", "true"].map(|it| format!("alter database {name} allow_connections {it}"));
    let turns = turns.each_ref().map(String::as_str);
    let settings = Settings::new(&database.url).with_redis();
    is_told_and_met_again(settings, &database, &mut operator, turns).await;
}
