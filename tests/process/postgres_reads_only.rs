//! Sessions that may only read, as a failover leaves them behind: readiness tells, and none of them
//! stays in the pool once there are others.

use std::time::Duration;

use futures_util::future::join_all;
use reqwest::Method;
use serde_json::json;
use sqlx::PgConnection;

use crate::support::{
    Api, Database, Instance, Reply, Settings, database::execute, pool, unique, within,
};

const RECOVERY: Duration = Duration::from_secs(5);

/// For sessions that begin from now on.
async fn let_sessions(operator: &mut PgConnection, database: &Database, read_only: &str) {
    let name = database.name();
    let set = format!("alter database {name} set default_transaction_read_only = {read_only}");
    execute(operator, &set).await;
}

/// As many as the pool has connections, at once.
async fn writes(api: &Api, access: &str) -> Vec<Reply> {
    let write = async |_| {
        let body = json!({"name": unique("Grace")});
        api.call(access, Method::PATCH, "/api/v1/users/me", Some(body)).await
    };
    join_all((0..pool::SIZE).map(write)).await
}

#[tokio::test(flavor = "multi_thread")]
async fn a_postgres_that_only_reads_is_told_and_its_sessions_leave_the_pool() {
    let database = Database::create().await;
    let settings = Settings::new(&database.url)
        .with_redis()
        .set("APP__DATABASE__MAX_CONNECTIONS", pool::SIZE.to_string());
    let instance = Instance::ready(&settings).await;
    let (api, tokens) = (&instance.api, instance.api.sign_in().await);
    let mut operator = database.connect().await;
    let_sessions(&mut operator, &database, "on").await;
    pool::is_filled(&instance, &database, &tokens.access).await;
    within("not ready when Postgres only reads", Duration::from_secs(5), async || {
        for reply in writes(api, &tokens.access).await {
            assert!(reply.status == 200 || reply.is_clear_503(), "{} {}", reply.status, reply.text);
        }
        api.get("/health/ready").await.status == 503
    })
    .await;
    let ready = api.get("/health/ready").await.expect(503).json();
    assert_eq!(ready["checks"]["postgres"]["detail"], "only reads", "{ready}");
    api.me(&tokens.access).await.expect(200);
    pool::is_filled(&instance, &database, &tokens.access).await;
    let_sessions(&mut operator, &database, "off").await;
    within("ready when Postgres writes again", RECOVERY, async || {
        api.get("/health/ready").await.status == 200
    })
    .await;
    for _ in 0..5 {
        for reply in writes(api, &tokens.access).await {
            reply.expect(200);
        }
    }
    pool::is_whole(&instance, &database, &tokens.access).await;
}
