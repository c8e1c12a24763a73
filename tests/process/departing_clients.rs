//! Clients that leave: an unsafe request is finished or rolled back by itself, and a read stops in
//! Postgres too.

use std::time::Duration;

use serde_json::json;

use crate::support::{Api, Database, Instance, Person, Settings, eventually, pool, raw, within};

const STAYS_MS: [u64; 12] = [0, 0, 0, 1, 2, 5, 10, 20, 40, 60, 80, 120];

async fn instance(database: &Database) -> Instance {
    let size = pool::SIZE.to_string();
    let settings = Settings::new(&database.url)
        .with_redis()
        .set("APP__DATABASE__MAX_CONNECTIONS", size)
        .set("APP__DATABASE__STATEMENT_TIMEOUT", "8s")
        .set("APP__DATABASE__LOCK_TIMEOUT", "7s");
    Instance::ready(&settings).await
}

/// Everything that was begun has ended.
async fn is_quiet(api: &Api) {
    eventually("no request is worked on", async || {
        let metrics = api.get("/metrics").await.expect(200).text;
        // The one that asks is worked on.
        metrics.lines().any(|line| line == "http_requests_in_flight 1")
    })
    .await;
}

/// Leaves after every seventh byte, and right after the last.
async fn leave_at_every_byte(api: &Api, request: &[u8]) {
    for end in (1..request.len()).step_by(7) {
        raw::send_and_leave(api, &request[..end], Duration::ZERO).await;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_client_that_leaves_during_registration_leaves_a_whole_account_or_none() {
    let database = Database::create().await;
    let instance = instance(&database).await;
    let request = |person: &Person| {
        let body = json!({"email": person.email, "password": person.password, "name": "Grace"});
        raw::post("/api/v1/auth/register", &body)
    };
    leave_at_every_byte(&instance.api, &request(&Person::new())).await;
    is_quiet(&instance.api).await;
    assert_eq!(database.number("select count(*) from users").await, 0, "half a request counted");
    for stay in STAYS_MS {
        let request = request(&Person::new());
        raw::send_and_leave(&instance.api, &request, Duration::from_millis(stay)).await;
    }
    is_quiet(&instance.api).await;
    let halves = "select count(*) from users u full join
        (select * from audit_events where action = 'user.registered') e on e.target_id = u.id
        where u.id is null or e.id is null";
    assert_eq!(database.number(halves).await, 0, "an account without its event, or the reverse");
    let tokens = instance.api.sign_in().await;
    pool::is_whole(&instance, &database, &tokens.access).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_client_that_leaves_during_login_leaves_a_whole_session_or_none() {
    let database = Database::create().await;
    let instance = instance(&database).await;
    let person = instance.api.register().await;
    let body = json!({"email": person.email, "password": person.password});
    let request = raw::post("/api/v1/auth/login", &body);
    leave_at_every_byte(&instance.api, &request).await;
    for stay in STAYS_MS {
        raw::send_and_leave(&instance.api, &request, Duration::from_millis(stay)).await;
    }
    is_quiet(&instance.api).await;
    let halves = "select count(*) from sessions s
        full join (select * from audit_events where action = 'auth.login_succeeded') e
            on e.target_id = s.id
        left join refresh_tokens r on r.session_id = s.id and r.generation = 0
        where s.id is null or e.id is null or r.session_id is null";
    assert_eq!(database.number(halves).await, 0, "a session without its token or its event");
    let tokens = instance.api.login(&person).await;
    pool::is_whole(&instance, &database, &tokens.access).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_read_stops_in_postgres_within_a_second_after_its_client_has_left() {
    let database = Database::create().await;
    let instance = instance(&database).await;
    let tokens = instance.api.sign_in().await;
    let lock = database.lock("users").await;
    let mut stream = raw::connect(&instance.api).await;
    let request = raw::get("/api/v1/users/me", &tokens.access);
    tokio::io::AsyncWriteExt::write_all(&mut stream, &request).await.expect("it reads");
    eventually("the read stands before the lock", async || database.waiting().await == 1).await;
    drop(stream);
    within("the read is gone from Postgres", Duration::from_secs(1), async || {
        database.waiting().await == 0
    })
    .await;
    lock.release().await;
    is_quiet(&instance.api).await;
    let metrics = instance.api.get("/metrics").await.text;
    assert!(metrics.contains("http_requests_abandoned_total 1"), "{metrics}");
    pool::is_whole(&instance, &database, &tokens.access).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn an_unsafe_request_goes_on_after_its_client_has_left() {
    let database = Database::create().await;
    let instance = instance(&database).await;
    let tokens = instance.api.sign_in().await;
    let lock = database.lock("users").await;
    let mut stream = raw::connect(&instance.api).await;
    let body = json!({"name": "Rear Admiral"}).to_string();
    let request = format!(
        "PATCH /api/v1/users/me HTTP/1.1\r\nHost: test\r\nAuthorization: Bearer {}\r\n\
         Content-Type: application/json\r\nContent-Length: {}\r\n\r\n{body}",
        tokens.access,
        body.len()
    );
    tokio::io::AsyncWriteExt::write_all(&mut stream, request.as_bytes()).await.expect("it reads");
    eventually("the change stands before the lock", async || database.waiting().await == 1).await;
    drop(stream);
    tokio::time::sleep(Duration::from_secs(2)).await;
    assert_eq!(database.waiting().await, 1, "the change was given up");
    lock.release().await;
    let query = format!("select name from users where id = '{}'", tokens.user);
    eventually("the change is stored", async || database.text(&query).await == "Rear Admiral")
        .await;
    let events = "select count(*) from audit_events where action = 'user.updated'";
    assert_eq!(database.number(events).await, 1);
    pool::is_whole(&instance, &database, &tokens.access).await;
}
