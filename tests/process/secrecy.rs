//! No secret reaches a log line, a metric, a trace, a refusal or the audit trail, whatever is done with it.

use std::time::Duration;

use reqwest::header::{AUTHORIZATION, CONTENT_TYPE, COOKIE};
use serde_json::{Value, json};

use crate::support::{
    Database, Instance, Settings,
    canaries::{Canaries, Sender},
    collector::Collector,
    required, unique,
};

const MASTER_KEY: &str = "Y2FuYXJ5LWNhbmFyeS1jYW5hcnktY2FuYXJ5LTMyYnk=";

/// A member that is not known is named in the refusal.
const NAME: &str = "a secret where the name of a member belongs";

const LOGIN: &str = "/api/v1/auth/login";
const REFRESH: &str = "/api/v1/auth/refresh";

/// The way things should go, with tokens in bodies and in cookies.
async fn use_an_account(sender: &Sender, canaries: &mut Canaries) {
    let (email, password) = (unique("ada") + "@example.com", canaries.make("a password"));
    canaries.add("an address", &email);
    let account = json!({"email": email, "password": password, "name": "Grace"});
    sender.post("/api/v1/auth/register", &[], account.to_string()).await;
    let login = json!({"email": email, "password": password, "token_delivery": "body"});
    let tokens = sender.post(LOGIN, &[], login.to_string()).await;
    for name in ["access_token", "refresh_token", "device_token"] {
        canaries.add("a token", tokens[name].as_str().expect("a token"));
    }
    let body = json!({"refresh_token": tokens["refresh_token"]}).to_string();
    let refreshed = sender.post(REFRESH, &[], body.clone()).await;
    canaries.add("a refreshed token", refreshed["access_token"].as_str().expect("a token"));
    canaries.add("a successor", refreshed["refresh_token"].as_str().expect("a token"));
    let body_of_successor = json!({"refresh_token": refreshed["refresh_token"]}).to_string();
    sender.post(REFRESH, &[], body_of_successor).await;
    assert_eq!(sender.post(REFRESH, &[], body).await["code"], "REFRESH_TOKEN_REUSED");
    let login = json!({"email": email, "password": password, "remember_me": true});
    let answer = sender.post(LOGIN, &[], login.to_string()).await;
    for cookie in answer["cookies"].as_array().expect("cookies") {
        let pair = cookie.as_str().expect("text").split(';').next().expect("a pair");
        canaries.add("a cookie", pair.split_once('=').expect("a value").1);
        sender.post(REFRESH, &[(COOKIE.as_str(), pair)], "").await;
    }
    let bearer = format!("Bearer {}", answer["access_token"].as_str().expect("a token"));
    sender.get("/api/v1/users/me", &[(AUTHORIZATION.as_str(), &bearer)]).await;
    let new = canaries.make("a new password");
    let body = json!({"current_password": password, "new_password": new}).to_string();
    let url = format!("{}/api/v1/auth/password", sender.base);
    let change = sender.http.put(url).header(AUTHORIZATION, bearer);
    let done = change.header(CONTENT_TYPE, "application/json").body(body).send().await;
    assert_eq!(done.expect("an answer").status(), 204);
}

/// Every way to send a secret that will be refused.
async fn send_it_wrongly(sender: &Sender, canaries: &mut Canaries) {
    let (secret, name) = (canaries.make("a secret in a bad request"), canaries.make(NAME));
    let bodies = [
        format!(r#"{{"email":"a@example.com","password":"{secret}"}}"#),
        format!(r#"{{"email":"a@example.com","password":"{secret}"#),
        format!(r#"{{"email":"a@example.com","password":"{secret}","password":"{secret}"}}"#),
        format!(r#"{{"email":"a@example.com","password":["{secret}"]}}"#),
        format!(r#"{{"email":"a@example.com","password":"x","token_delivery":"{secret}"}}"#),
        format!(r#"{{"email":"a@example.com","password":"x","{name}":1}}"#),
        format!(r#"{{"refresh_token":"{secret}"}}"#),
        format!(r#"{{"refresh_token":{{"{name}":0}}}}"#),
        secret.clone(),
        format!("\"{secret}\""),
    ];
    for path in [LOGIN, REFRESH, "/api/v1/auth/register", "/api/v1/auth/logout"] {
        for body in &bodies {
            sender.post(path, &[], body.clone()).await;
        }
    }
    let header = |scheme: &str| format!("{scheme} {secret}");
    for value in [header("Bearer"), header("Basic"), header(""), format!("Bearer a.{secret}.c")] {
        sender.get("/api/v1/users/me", &[(AUTHORIZATION.as_str(), value.trim())]).await;
    }
    let cookie = format!("refresh={secret}; device={secret}; other={secret}");
    sender.post(REFRESH, &[(COOKIE.as_str(), &cookie)], "").await;
    sender.get("/api/v1/users/me", &[("x-api-key", &secret), ("x-auth-token", &secret)]).await;
    let sent = ("user-agent", "Mozilla\u{85}\u{2028}\u{9b}31m\"}{");
    sender.get("/api/v1/ping", &[sent, ("baggage", &secret), ("tracestate", &secret)]).await;
    for path in ["/api/v1/ping", "/api/v1/users", "/api/v1/nowhere", "/health/ready"] {
        sender.get(&format!("{path}?access_token={secret}&cursor={secret}"), &[]).await;
    }
}

/// A refusal of Postgres tells the whole row, hash of the password included.
async fn make_postgres_refuse(sender: &Sender, canaries: &mut Canaries, database: &Database) {
    let refuse = "alter table users add constraint never check (name <> 'Nobody')";
    database.execute(refuse).await;
    let password = canaries.make("a password that Postgres refused");
    let account = json!({"email": "b@example.com", "password": password, "name": "Nobody"});
    let answer = sender.post("/api/v1/auth/register", &[], account.to_string()).await;
    assert_eq!(answer["code"], "INTERNAL");
    assert!(!answer.to_string().contains("constraint"), "{answer}");
    canaries.add("the hash of a password", "$argon2id$");
}

fn every_line_is_json(log: &str) {
    assert!(log.contains(r"Mozilla\u2028"), "the browser with the odd name was there");
    assert!(!log.contains(['\u{2028}', '\u{85}', '\u{9b}', '\u{1b}']));
    for line in log.lines() {
        let parsed: Result<Value, _> = serde_json::from_str(line);
        assert!(parsed.is_ok_and(|line| line["timestamp"].is_string()), "not JSON: {line}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn no_secret_reaches_the_log_the_metrics_the_traces_the_refusals_or_the_audit_trail() {
    let (database, collector) = (Database::create().await, Collector::start().await);
    let settings = Settings::new(&database.url)
        .with_redis()
        .set("APP__AUTH__MASTER_KEY", MASTER_KEY)
        .set("APP__LIMITS__ENABLED", "true")
        .set("APP__LIMITS__CREDENTIALS", "10000/1m")
        .set("OTEL_EXPORTER_OTLP_ENDPOINT", &collector.url)
        .set("RUST_LOG", "debug,mainstay=trace");
    let mut canaries = Canaries::default();
    canaries.add("the master key", MASTER_KEY);
    canaries.add_password_of("the password of Postgres", &database.url);
    canaries.add_password_of("the password of Redis", &required("REDIS_URL"));
    let mut instance = Instance::ready(&settings).await;
    let sender = Sender::new(&instance.api);
    use_an_account(&sender, &mut canaries).await;
    send_it_wrongly(&sender, &mut canaries).await;
    make_postgres_refuse(&sender, &mut canaries, &database).await;
    let metrics = instance.api.get("/metrics").await.expect(200).text;
    canaries.are_absent_from("/metrics", &metrics);
    let trail = "select coalesce(string_agg(e::text, chr(10)), '') from audit_events e";
    canaries.are_absent_from("the audit trail", &database.text(trail).await);
    instance.signal("TERM");
    assert!(instance.exit().await.success());
    let log = instance.whole_log().await;
    assert!(log.contains(r#""level":"DEBUG""#), "it was told to say more");
    canaries.are_absent_from("the log", &log);
    every_line_is_json(&log);
    let spans = collector.spans();
    assert!(spans.len() > 50, "{} spans were exported", spans.len());
    canaries.are_absent_from("the traces", &format!("{spans:?}"));
    canaries.without(NAME).are_absent_from("a refusal", &sender.refusals());
}

/// Errors of connecting are where drivers like to repeat what they were given.
#[tokio::test(flavor = "multi_thread")]
async fn passwords_that_postgres_and_redis_refuse_are_not_logged() {
    let mut canaries = Canaries::default();
    let mut wrong = |what, url: &str| {
        let mut url = url::Url::parse(url).expect("a URL");
        url.set_password(Some(&canaries.make(what))).expect("a password");
        url.to_string()
    };
    let settings = Settings::new(&wrong("a database password", &required("DATABASE_URL")))
        .set("REDIS_URL", wrong("a redis password", &required("REDIS_URL")))
        .set("RUST_LOG", "debug");
    let instance = Instance::start(&settings).await;
    tokio::time::sleep(Duration::from_secs(2)).await;
    instance.api.get("/health/ready").await.expect(503);
    let refused = instance.api.get("/api/v1/ping").await;
    assert!(refused.is_clear_503(), "{}", refused.text);
    canaries.are_absent_from("an answer", &refused.text);
    let log = instance.whole_log().await;
    assert!(log.contains("start-up work is tried again"), "{log}");
    canaries.are_absent_from("the log", &log);
}
