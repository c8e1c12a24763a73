//! Faults of the configuration are told at once and all together, and no value is shown.

use std::{fs, time::Duration};

use crate::support::{
    Database, Instance, Settings,
    command::{Finished, run},
    required,
    settings::BINARY,
    timing::kept,
    unique,
};

const CANARY: &str = "c4n4ry";
const BOUND: Duration = Duration::from_secs(2);

fn production() -> Settings {
    Settings::bare().set("APP_ENVIRONMENT", "production")
}

fn refuses(settings: &Settings, command: &[&str]) -> Finished {
    let finished = run(settings, command);
    assert!(!finished.success, "{command:?} accepts it");
    kept("a refused configuration", finished.took, BOUND);
    assert!(!finished.all().contains(CANARY), "a value is shown: {}", finished.all());
    finished
}

#[track_caller]
fn names(finished: &Finished, keys: &[&str]) {
    for key in keys {
        assert!(finished.err.contains(key), "{key} is not named: {}", finished.err);
    }
}

#[test]
fn production_names_every_fault_in_one_run_and_shows_no_value() {
    let development_key = "bWFpbnN0YXkgZGV2ZWxvcG1lbnQga2V5LCBwdWJsaWM=";
    let settings = production()
        .set("DATABASE_URL", format!("mysql://root:{CANARY}@db.example/mainstay"))
        .set("REDIS_URL", format!("http://:{CANARY}@cache.example"))
        .set("PORT", CANARY)
        .set("APP__AUTH__MASTER_KEY", development_key)
        .set("APP__AUTH__COOKIE_SECURE", "false")
        .set("APP__SERVER__FORWARDED_HEADER", "x-forwarded-for")
        .set("APP__SERVER__REQUEST_TIMEOUT", "60s")
        .set("APP__DATABASE__LOCK_TIMEOUT", "9s")
        .set("APP__DATABSE__URL", format!("postgres://{CANARY}"));
    let finished = refuses(&settings, &["serve"]);
    let keys = [
        "database.url",
        "redis.url",
        "server.port",
        "auth.master_key",
        "auth.cookie_secure",
        "server.forwarded_header",
        "server.request_timeout",
        "database.lock_timeout",
        "APP__DATABSE__URL",
        "did you mean APP__DATABASE__URL?",
    ];
    names(&finished, &keys);
    assert!(!finished.all().contains(development_key));
}

#[test]
fn an_empty_production_says_which_variables_to_set() {
    let finished = refuses(&production(), &["serve"]);
    names(&finished, &["set DATABASE_URL", "set APP__AUTH__MASTER_KEY", "set SMTP_URL"]);
}

#[test]
fn every_command_refuses_a_faulty_configuration() {
    let settings = production().set("DATABASE_URL", format!("postgres://{CANARY}@[broken"));
    for command in [&["migrate", "up"][..], &["check-config"], &["admin", "rotate-keys"]] {
        names(&refuses(&settings, command), &["database.url"]);
    }
}

#[test]
fn a_key_of_a_file_that_is_not_known_comes_with_a_suggestion() {
    let folder = std::env::temp_dir().join(unique("mainstay-config"));
    fs::create_dir_all(&folder).unwrap();
    fs::write(folder.join("development.toml"), format!("[server]\nprot = \"{CANARY}\"\n")).unwrap();
    let settings = Settings::bare()
        .set("DATABASE_URL", "postgres://localhost/mainstay")
        .set("APP_CONFIG_DIR", folder.to_str().unwrap());
    let finished = refuses(&settings, &["serve"]);
    fs::remove_dir_all(&folder).unwrap();
    names(&finished, &["server.prot", "did you mean server.port?"]);
}

#[test]
fn check_config_shows_values_with_their_origin_and_masks_secrets() {
    let settings = Settings::bare()
        .set("DATABASE_URL", format!("postgres://mainstay:{CANARY}@localhost/mainstay"))
        .set("REDIS_URL", format!("redis://:{CANARY}@localhost"))
        .set("PORT", "7321");
    let shown = run(&settings, &["check-config"]).expect("check-config");
    assert!(!shown.contains(CANARY), "{shown}");
    assert!(shown.contains("server.port = 7321  (environment variable PORT)"), "{shown}");
    assert!(shown.contains("database.url = [secret]  (environment variable DATABASE_URL)"));
    assert!(shown.contains("auth.master_key = [secret]"));
    assert!(shown.contains("server.request_timeout = 10s  (built-in config/default.toml)"));
}

/// Only what a developer has to set, from a folder without any file of ours.
async fn starts_with(settings: Settings, redis: &str) {
    let folder = std::env::temp_dir().join(unique("mainstay-empty"));
    fs::create_dir_all(&folder).unwrap();
    let instance = Instance::start_in(&settings, &folder).await;
    instance.becomes_ready().await;
    let tokens = instance.api.sign_in().await;
    instance.api.me(&tokens.access).await.expect(200);
    let ready = instance.api.get("/health/ready").await.expect(200).json();
    assert_eq!(ready["status"], "ok", "{ready}");
    assert!(ready["checks"]["redis"].to_string().contains(redis), "{ready}");
    fs::remove_dir_all(&folder).unwrap();
}

#[tokio::test(flavor = "multi_thread")]
async fn development_starts_from_any_folder_with_database_redis_and_port_alone() {
    let database = Database::create().await;
    let settings = Settings::bare()
        .set("DATABASE_URL", &database.url)
        .set("REDIS_URL", required("REDIS_URL"))
        .set("PORT", "0");
    assert!(std::path::Path::new(BINARY).is_absolute());
    starts_with(settings, "ok").await;
}

#[tokio::test(flavor = "multi_thread")]
async fn without_redis_it_is_a_single_instance_that_is_ready() {
    let database = Database::create().await;
    let settings = Settings::bare().set("DATABASE_URL", &database.url).set("PORT", "0");
    starts_with(settings, "single instance").await;
}
