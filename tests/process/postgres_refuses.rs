//! Postgres that lets nobody in, while a session that is open goes on: a rotated password.

use std::time::Duration;

use crate::support::{Instance, Services, database::execute, pool, within};

const RECOVERY: Duration = Duration::from_secs(5);

/// All but the one that asks for readiness.
const CUT_THE_POOL: &str = "select pg_terminate_backend(pid) from pg_stat_activity
    where application_name = 'mainstay' and query not like '%_sqlx_migrations%'";

#[tokio::test(flavor = "multi_thread")]
async fn a_pool_that_cannot_open_connections_is_told_whatever_the_probes_own_says() {
    let services = Services::private_postgres();
    let database = services.database();
    let settings =
        services.settings().set("APP__DATABASE__MAX_CONNECTIONS", pool::SIZE.to_string());
    let instance = Instance::ready(&settings).await;
    let (api, tokens) = (&instance.api, instance.api.sign_in().await);
    let mut operator = database.connect().await;
    execute(&mut operator, "alter role current_user password 'another one'").await;
    execute(&mut operator, CUT_THE_POOL).await;
    for _ in 0..10 {
        let reply = api.me(&tokens.access).await;
        assert!(reply.is_clear_503(), "{} {}", reply.status, reply.text);
    }
    within("not ready when no connection can be opened", Duration::from_secs(5), async || {
        api.get("/health/ready").await.status == 503
    })
    .await;
    let url = url::Url::parse(&database.url).expect("a URL");
    let password = url.password().expect("a password");
    execute(&mut operator, &format!("alter role current_user password '{password}'")).await;
    within("recovered from a password that was changed", RECOVERY, async || {
        api.get("/health/ready").await.status == 200 && api.me(&tokens.access).await.status == 200
    })
    .await;
    pool::is_whole(&instance, &database, &tokens.access).await;
}
