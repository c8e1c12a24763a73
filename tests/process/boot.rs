//! Starting: many instances at once, and a database that is not there yet.

use std::time::Duration;

use futures_util::future::join_all;
use serde_json::Value;

use crate::support::{Database, Instance, Services, Settings, timing::say, within};

#[tokio::test(flavor = "multi_thread")]
async fn ten_instances_that_start_at_once_migrate_once_and_share_their_keys() {
    let database = Database::create().await;
    let settings =
        Settings::new(&database.url).with_redis().set("APP__DATABASE__MAX_CONNECTIONS", "3");
    let instances = join_all((0..10).map(|_| Instance::ready(&settings))).await;
    let applied = "select count(*) from _sqlx_migrations where success";
    assert_eq!(database.number(applied).await, known_migrations(&settings));
    assert_eq!(database.number("select count(*) from signing_keys").await, 2);
    let tokens = instances[0].api.sign_in().await;
    let mut sets = Vec::new();
    for instance in &instances {
        instance.api.me(&tokens.access).await.expect(200);
        sets.push(instance.api.get("/.well-known/jwks.json").await.expect(200).json());
        let log = instance.log();
        assert!(!log.contains(r#""level":"ERROR""#), "{log}");
    }
    assert!(sets.iter().all(|set| *set == sets[0]), "they publish different keys: {sets:?}");
}

fn known_migrations(settings: &Settings) -> i64 {
    let status = crate::support::command::run(settings, &["migrate", "status"]);
    status.expect("migrate status").lines().count().try_into().unwrap()
}

#[tokio::test(flavor = "multi_thread")]
async fn migrations_wait_for_another_process_without_standing_in_the_queue_of_a_lock() {
    let database = Database::create().await;
    let mut holder = database.connect().await;
    let lock = "select pg_advisory_lock(7881696745979404665)";
    crate::support::database::execute(&mut holder, lock).await;
    let instance = Instance::start(&Settings::new(&database.url)).await;
    tokio::time::sleep(Duration::from_secs(1)).await;
    assert_eq!(instance.api.get("/health/startup").await.status, 503);
    let waiting = "select count(*) from pg_locks where not granted";
    assert_eq!(database.number(waiting).await, 0, "it waits inside Postgres");
    drop(holder);
    let bound = Duration::from_secs(2);
    within("ready after another's migration", bound, async || {
        instance.api.get("/health/ready").await.status == 200
    })
    .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_database_that_is_down_at_boot_leaves_the_process_alive_and_is_met_later() {
    let services = Services::private_postgres();
    services.kill_postgres();
    let mut instance = Instance::start(&services.settings()).await;
    tokio::time::sleep(Duration::from_secs(2)).await;
    assert!(instance.exited().is_none(), "it gave up");
    instance.api.get("/health/live").await.expect(200);
    instance.api.get("/health/startup").await.expect(503);
    let ready = instance.api.get("/health/ready").await.expect(503).json();
    assert_eq!(ready["status"], "unavailable");
    assert_eq!(ready["checks"]["postgres"]["status"], "unavailable");
    let refused = instance.api.get("/api/v1/ping").await;
    assert!(refused.is_clear_503(), "{} {}", refused.status, refused.text);
    services.start_postgres();
    within("ready after Postgres has come", Duration::from_secs(5), async || {
        instance.api.get("/health/ready").await.status == 200
    })
    .await;
    let tokens = instance.api.sign_in().await;
    instance.api.me(&tokens.access).await.expect(200);
    assert_eq!(services.database().number("select count(*) from users").await, 1);
}

#[tokio::test(flavor = "multi_thread")]
async fn without_migrate_on_start_it_waits_until_somebody_else_has_migrated() {
    let database = Database::create().await;
    let settings = Settings::new(&database.url).set("APP__DATABASE__MIGRATE_ON_START", "false");
    let instance = Instance::start(&settings).await;
    tokio::time::sleep(Duration::from_millis(1500)).await;
    let ready: Value = instance.api.get("/health/ready").await.expect(503).json();
    assert_eq!(ready["checks"]["postgres"]["status"], "ok", "{ready}");
    assert_eq!(ready["checks"]["migrations"]["status"], "unavailable", "{ready}");
    let said = crate::support::command::run(&settings, &["migrate", "up"]).expect("migrate up");
    say(&format!("{} migrations applied", said.lines().count()));
    within("ready after a migration", Duration::from_secs(5), async || {
        instance.api.get("/health/ready").await.status == 200
    })
    .await;
}
