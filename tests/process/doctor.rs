//! `mainstay doctor`: what an operator is told of a place, and how to mend it.

use base64::{Engine, engine::general_purpose::STANDARD};
use serde_json::Value;

use crate::support::{
    Database, Services, Settings,
    canaries::Canaries,
    command::{Finished, run},
};

fn examine(settings: &Settings, more: &[&str]) -> (Finished, Value) {
    let done = run(settings, &[&["doctor", "--json"], more].concat());
    let report = serde_json::from_str(&done.out);
    let report = report.unwrap_or_else(|_| panic!("no JSON: {}", done.all()));
    (done, report)
}

fn check<'a>(report: &'a Value, name: &str) -> &'a Value {
    let all = report["checks"].as_array().expect("checks");
    let found = all.iter().find(|it| it["name"] == name);
    found.unwrap_or_else(|| panic!("{name} is missing: {report}"))
}

#[track_caller]
fn expect(report: &Value, name: &str, outcome: &str, says: &str) {
    let found = check(report, name);
    assert_eq!(found["outcome"], outcome, "{found}");
    let all = format!("{} {}", found["detail"], found["fix"]);
    assert!(all.contains(says), "{found} does not say: {says}");
    assert_eq!(found["fix"].is_string(), outcome != "ok", "{found}");
}

/// Migrated, with everything that production asks for.
async fn production() -> (Database, Settings) {
    let database = Database::create().await;
    run(&Settings::new(&database.url), &["migrate", "up"]).expect("migrate up");
    let key: Vec<u8> = (0..32_u8).map(|i| i.wrapping_mul(i).wrapping_mul(91) ^ 0x5a ^ i).collect();
    let settings = Settings::bare()
        .set("DATABASE_URL", &database.url)
        .set("APP_ENVIRONMENT", "production")
        .set("APP__AUTH__MASTER_KEY", STANDARD.encode(key))
        .set("APP__AUTH__REQUIRE_VERIFIED_EMAIL", "false")
        .set("APP__MAIL__LOCAL_DELIVERY", "memory")
        .set("APP__SERVER__PUBLIC_URL", "https://api.example.com")
        .set("APP__SERVER__FORWARDED_HEADER", "x-forwarded-for")
        .set("APP__SERVER__TRUSTED_PROXIES", "10.0.0.0/8")
        .set("APP__SERVER__MAX_CONNECTIONS", "200")
        .set("APP__OPS__LISTEN", "127.0.0.1:18081")
        .with_redis();
    (database, settings)
}

#[tokio::test(flavor = "multi_thread")]
async fn a_healthy_place_is_left_with_exit_code_0() {
    let (_database, settings) = production().await;
    let (done, report) = examine(&settings, &[]);
    assert!(done.success, "{}", done.out);
    // That the tests' role may do everything, and has a short password, is worth a look.
    let worst = |it: &Value| it["outcome"] == "ok" || it["outcome"] == "warn";
    assert!(report["checks"].as_array().unwrap().iter().all(worst), "{report}");
    // A busy machine may be slow, and is told so.
    for name in ["migrations", "keep-alive", "master key", "descriptors", "rate limits"] {
        assert_eq!(check(&report, name)["outcome"], "ok", "{report}");
    }
    for (name, says) in [("postgres", "per statement"), ("redis", "per command")] {
        assert!(check(&report, name)["detail"].as_str().unwrap().contains(says), "{report}");
    }
    let text = run(&settings, &["doctor"]).expect("doctor");
    assert!(text.contains("ok    migrations: all") && text.contains("0 failed"), "{text}");
}

#[tokio::test(flavor = "multi_thread")]
async fn missing_migrations_fail_and_name_the_command() {
    let database = Database::create().await;
    let (done, report) = examine(&Settings::new(&database.url), &[]);
    assert!(!done.success);
    expect(&report, "migrations", "fail", "mainstay migrate up");
    expect(&report, "master key", "warn", "openssl rand");
    assert_eq!(
        database.number("select count(*) from pg_tables where schemaname = 'public'").await,
        0
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn without_redis_it_warns_and_without_postgres_it_fails() {
    let (_database, settings) = production().await;
    let nobody = settings.clone().set("REDIS_URL", "redis://:lost-canary@127.0.0.1:1/");
    let (done, report) = examine(&nobody, &[]);
    assert!(done.success, "{}", done.out);
    expect(&report, "redis", "warn", "REDIS_URL");
    let services = Services::private_postgres();
    services.kill_postgres();
    let (done, report) = examine(&services.settings(), &[]);
    assert!(!done.success);
    expect(&report, "postgres", "fail", "DATABASE_URL");
    expect(&report, "migrations", "warn", "not known");
    assert!(check(&report, "redis")["detail"].as_str().unwrap().starts_with("Redis "), "{report}");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_postgres_that_hangs_is_given_up() {
    let services = Services::private_postgres();
    services.signal_postgres("STOP");
    let (done, report) = examine(&services.settings(), &[]);
    assert!(!done.success && done.took.as_secs() < 60, "{:?}", done.took);
    expect(&report, "postgres", "fail", "DATABASE_URL");
}

#[tokio::test(flavor = "multi_thread")]
async fn what_fits_once_may_not_fit_for_many_instances() {
    let (_database, settings) = production().await;
    let (done, report) = examine(&settings, &["--instances", "1000"]);
    assert!(!done.success);
    expect(&report, "database connections", "fail", "1000 x (database.max_connections 20 + 1)");
    let alone = settings.clone().set("REDIS_URL", "");
    expect(&examine(&alone, &[]).1, "redis", "ok", "single instance");
    expect(&examine(&alone, &["--instances", "2"]).1, "redis", "warn", "REDIS_URL");
}

#[tokio::test(flavor = "multi_thread")]
async fn settings_that_hold_and_are_unwise_are_named_with_their_fix() {
    let (_database, settings) = production().await;
    let weak = settings
        .set("APP__AUTH__MASTER_KEY", STANDARD.encode("correct horse battery staple 42!"))
        .set("APP__SERVER__IDLE_TIMEOUT", "60s")
        .set("APP__SERVER__MAX_CONNECTIONS", "10000000")
        .set("APP__SERVER__FORWARDED_HEADER", "none")
        .set("APP__SERVER__PUBLIC_URL", "")
        .set("APP__LIMITS__ENABLED", "false")
        .set("APP__OPS__LISTEN", "");
    let (done, report) = examine(&weak, &[]);
    assert!(!done.success);
    expect(&report, "master key", "fail", "openssl rand -base64 32");
    expect(&report, "keep-alive", "fail", "75s");
    expect(&report, "rate limits", "fail", "APP__LIMITS__ENABLED=true");
    expect(&report, "client addresses", "warn", "APP__SERVER__TRUSTED_PROXIES");
    expect(&report, "browsers", "warn", "APP__SERVER__PUBLIC_URL");
    expect(&report, "operations port", "warn", "APP__OPS__LISTEN");
    expect(&report, "database rights", "warn", "deploy/postgres/roles.sql");
    if cfg!(target_os = "linux") {
        expect(&report, "descriptors", "fail", "LimitNOFILE");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_configuration_with_faults_is_a_failed_check_too() {
    let settings = Settings::bare().set("APP_ENVIRONMENT", "production");
    let (done, report) = examine(&settings, &[]);
    assert!(!done.success);
    expect(&report, "configuration", "fail", "auth.master_key");
    expect(&report, "configuration", "fail", "check-config");
}

#[tokio::test(flavor = "multi_thread")]
async fn stock_that_was_written_past_the_ledger_fails_and_is_named() {
    let (database, settings) = production().await;
    let seed = ["admin", "seed", "--products", "40"];
    assert!(!run(&settings, &seed).success, "samples in production");
    run(&Settings::new(&database.url), &seed).expect("admin seed");
    expect(&examine(&settings, &[]).1, "stock", "ok", "of 40 products");
    database.execute("update products set stock = stock + 1 where sku = 'SAMPLE-00000007'").await;
    let (done, report) = examine(&settings, &[]);
    assert!(!done.success);
    expect(&report, "stock", "fail", "of 40 products 1 have");
}

#[tokio::test(flavor = "multi_thread")]
async fn no_secret_is_part_of_what_it_says() {
    let (database, settings) = production().await;
    let mut canaries = Canaries::default();
    let mut with_password = |what, url: &str| {
        let mut url = url::Url::parse(url).expect("a URL");
        url.set_password(Some(&canaries.make(what))).expect("a password");
        url.to_string()
    };
    let settings = settings
        .set("DATABASE_URL", with_password("a database password", &database.url))
        .set("DATABASE_MIGRATION_URL", with_password("a migrator's password", &database.url))
        .set("REDIS_URL", with_password("a redis password", "redis://127.0.0.1:1"));
    let key = "Y2FuYXJ5LWNhbmFyeS1jYW5hcnktY2FuYXJ5LTMyYnk=";
    canaries.add("the master key", key);
    let settings = settings.set("APP__AUTH__MASTER_KEY", key).set("RUST_LOG", "debug");
    for arguments in [&["doctor"][..], &["doctor", "--json"]] {
        let said = run(&settings, arguments).all();
        assert!(said.contains("it can be guessed"), "{said}");
        canaries.are_absent_from("the report", &said);
    }
}
