//! Requests that come twice are done once.

use std::time::{Duration, Instant};

use mainstay::{
    db::waiting_at_most, middleware::route_info::Access, repos, routes, services::reaper,
};
use serde_json::{Value, json};
use sqlx::{AssertSqlSafe, Connection, Executor, PgConnection};

use super::support::{Answer, Call, Person, TestApp, eventually, notes};

const NOTES: &str = "select count(*) from notes";
const KEYS: &str = "select count(*) from idempotency_keys";

async fn with(vars: &[(&str, &str)]) -> (TestApp, Person) {
    let mut app = TestApp::with(vars).await;
    app.execute(notes::TABLE).await;
    app.execute("grant select, insert, update, delete on notes to mainstay_app").await;
    app.router = app.app.router_with(notes::rows());
    let ada = app.customer("ada").await;
    (app, ada)
}

async fn start() -> (TestApp, Person) {
    with(&[]).await
}

async fn sibling(app: &TestApp) -> TestApp {
    let mut sibling = app.sibling().await;
    sibling.router = sibling.app.router_with(notes::rows());
    sibling
}

fn note(app: &TestApp, who: &Person, key: &str, body: &Value) -> Call {
    let call = app.post("/api/v1/notes").bearer(&who.access).json(body);
    call.header("idempotency-key", key)
}

/// All that belongs to an outcome.
fn outcome(answer: &Answer) -> (u16, Vec<u8>, [&str; 3]) {
    let headers = ["content-type", "location", "etag"].map(|name| answer.header(name));
    (answer.status.as_u16(), answer.body.clone(), headers)
}

fn is_replay(answer: &Answer) -> bool {
    answer.header("idempotent-replayed") == "true"
}

#[track_caller]
fn assert_replays(first: &Answer, again: &Answer) {
    assert!(!is_replay(first) && is_replay(again));
    assert_eq!(outcome(first), outcome(again));
    assert_ne!(first.header("x-request-id"), again.header("x-request-id"));
}

#[tokio::test]
async fn a_repetition_gets_the_first_outcome_again_byte_for_byte() {
    let (app, ada) = start().await;
    let first = note(&app, &ada, "k1", &json!({"text": "milk"})).send().await.expect(201);
    assert_eq!(first.header("content-type"), "application/json");
    assert!(first.header("location").starts_with("/api/v1/notes/"));
    for key in ["k1", "\"k1\""] {
        let again = note(&app, &ada, key, &json!({"text": "milk"})).send().await;
        assert_replays(&first, &again);
    }
    assert_eq!((app.count(NOTES).await, app.count(KEYS).await), (1, 1));
    let metrics = app.get("/metrics").send().await.expect(200);
    let metrics = String::from_utf8(metrics.body).unwrap();
    for outcome in ["claimed", "replayed"] {
        assert!(metrics.contains(&format!("idempotency_keys_total{{outcome=\"{outcome}\"}}")));
    }
}

#[tokio::test]
async fn the_order_of_members_and_white_space_make_no_other_request() {
    let (app, ada) = start().await;
    let first = note(&app, &ada, "k", &json!({"text": "a", "slow_ms": 0})).send().await;
    let again = app.post("/api/v1/notes").bearer(&ada.access).header("idempotency-key", "k");
    let again = again.text("application/json", "{ \"slow_ms\":0,\n \"text\" : \"\\u0061\" }");
    assert_replays(&first, &again.send().await);
}

#[tokio::test]
async fn a_key_is_good_for_one_request() {
    let (app, ada) = start().await;
    note(&app, &ada, "k", &json!({"text": "a"})).send().await.expect(201);
    // A default that is written out is another request too.
    for body in [json!({"text": "b"}), json!({"text": "a", "slow_ms": 0})] {
        let answer = note(&app, &ada, "k", &body).send().await;
        answer.expect_problem(422, "IDEMPOTENCY_KEY_REUSED");
    }
    let order = app.post("/api/v1/orders").bearer(&ada.access).header("idempotency-key", "k");
    let order = order.json(&json!({"text": "a"})).send().await;
    order.expect_problem(422, "IDEMPOTENCY_KEY_REUSED");
    assert_eq!(app.count(NOTES).await, 1);
}

#[tokio::test]
async fn what_stands_in_the_path_belongs_to_the_request() {
    let (app, ada) = start().await;
    let copy = |id: &str| {
        let call = app.post(&format!("/api/v1/notes/{id}/copy")).bearer(&ada.access);
        call.header("idempotency-key", "k").send()
    };
    let first = copy(&ada.id).await.expect(204);
    assert_replays(&first, &copy(&ada.id).await);
    let other = "0193f0a2-6f3a-7c51-9d0e-2b7a4c5d6e7f";
    copy(other).await.expect_problem(422, "IDEMPOTENCY_KEY_REUSED");
    assert_eq!(app.count(NOTES).await, 1);
}

#[tokio::test]
async fn keys_of_two_users_have_nothing_to_do_with_each_other() {
    let (app, ada) = start().await;
    let bob = app.customer("bob").await;
    let body = json!({"text": "a"});
    let first = note(&app, &ada, "k", &body).send().await.expect(201);
    let other = note(&app, &bob, "k", &body).send().await.expect(201);
    assert!(!is_replay(&other) && first.body != other.body);
    let different = note(&app, &bob, "j", &json!({"text": "b"})).send().await.expect(201);
    assert!(!is_replay(&different));
    assert_eq!(app.count(NOTES).await, 3);
}

#[tokio::test]
async fn without_a_key_each_request_is_done_and_a_required_key_must_be_there() {
    let (app, ada) = start().await;
    let body = json!({"text": "a"});
    for _ in 0..2 {
        let call = app.post("/api/v1/notes").bearer(&ada.access).json(&body);
        assert!(!is_replay(&call.send().await.expect(201)));
    }
    let order = || app.post("/api/v1/orders").bearer(&ada.access).json(&body);
    order().send().await.expect_problem(400, "IDEMPOTENCY_KEY_REQUIRED");
    let first = order().header("idempotency-key", "k").send().await.expect(201);
    assert_replays(&first, &order().header("idempotency-key", "k").send().await);
    assert_eq!((app.count(NOTES).await, app.count(KEYS).await), (3, 1));
}

#[tokio::test]
async fn what_is_no_key_is_refused() {
    let (app, ada) = start().await;
    let body = json!({"text": "a"});
    let long = "k".repeat(256);
    for key in ["", "\"\"", "a b", "\"a", "kä", long.as_str()] {
        let answer = note(&app, &ada, key, &body).send().await;
        answer.expect_problem(400, "MALFORMED_REQUEST");
    }
    let twice = note(&app, &ada, "a", &body).header("idempotency-key", "a").send().await;
    twice.expect_problem(400, "MALFORMED_REQUEST");
    note(&app, &ada, &long[1..], &body).send().await.expect(201);
    assert_eq!(app.count(NOTES).await, 1);
}

#[tokio::test]
async fn a_final_refusal_is_an_outcome_and_undoes_the_work() {
    let (app, ada) = start().await;
    let body = json!({"text": "refuse"});
    let first = note(&app, &ada, "k", &body).send().await.expect_problem(409, "CONFLICT");
    assert!(!is_replay(&first));
    let again = note(&app, &ada, "k", &body).send().await.expect(409);
    assert_replays(&first, &again);
    assert_eq!(again.header("content-type"), "application/problem+json");
    assert_eq!(again.json()["request_id"], first.header("x-request-id"));
    assert_eq!((app.count(NOTES).await, app.count(KEYS).await), (0, 1));
}

#[tokio::test]
async fn every_other_refusal_leaves_the_key_free() {
    let (app, ada) = start().await;
    let fail = json!({"text": "fail"});
    for _ in 0..2 {
        let answer = note(&app, &ada, "k", &fail).send().await;
        assert!(!is_replay(&answer.expect_problem(503, "DEPENDENCY_UNAVAILABLE")));
    }
    let long = json!({"text": "a".repeat(101)});
    note(&app, &ada, "k", &long).send().await.expect_problem(422, "VALIDATION_FAILED");
    let anonymous = app.post("/api/v1/notes").header("idempotency-key", "k").json(&fail);
    anonymous.send().await.expect_problem(401, "UNAUTHENTICATED");
    assert_eq!((app.count(NOTES).await, app.count(KEYS).await), (0, 0));
    note(&app, &ada, "k", &json!({"text": "at last"})).send().await.expect(201);
}

#[tokio::test]
async fn a_connection_that_is_lost_on_the_way_leaves_nothing_and_the_retry_works() {
    let (app, ada) = start().await;
    let lose = note(&app, &ada, "k", &json!({"text": "lose"})).send().await;
    lose.expect_problem(503, "DEPENDENCY_UNAVAILABLE");
    assert_eq!((app.count(NOTES).await, app.count(KEYS).await), (0, 0));
    note(&app, &ada, "k", &json!({"text": "kept"})).send().await.expect(201);
    assert_eq!(app.count(NOTES).await, 1);
}

/// Transactions that are open on behalf of requests under a key.
async fn open_transactions(app: &TestApp) -> i64 {
    app.count(
        "select count(*) from pg_stat_activity
         where datname = current_database() and application_name = 'mainstay'
           and (state = 'idle in transaction' or wait_event_type = 'Lock')",
    )
    .await
}

/// Transactions that have claimed their key and written their note.
async fn at_work(app: &TestApp) -> i64 {
    app.count(
        "select count(*) from pg_stat_activity
         where datname = current_database() and state = 'idle in transaction'
           and query like 'insert into notes%'",
    )
    .await
}

async fn two_hundred_at_once(vars: &[(&str, &str)]) {
    let crowd = [("APP__SERVER__MAX_IN_FLIGHT_PER_CLIENT", "512")];
    let (app, ada) = with(&[&crowd, vars].concat()).await;
    let other = sibling(&app).await;
    let body = json!({"text": "once", "slow_ms": 400});
    let started = Instant::now();
    let sent = (0..200).map(|n| {
        let here = if n % 2 == 0 { &app } else { &other };
        tokio::spawn(note(here, &ada, "k", &body).send())
    });
    let sent: Vec<_> = sent.collect();
    eventually("one works and one waits", async || open_transactions(&app).await == 2).await;
    // The pool has room for everybody else.
    app.get("/api/v1/users/me").bearer(&ada.access).send().await.expect(200);
    assert!(open_transactions(&app).await <= 2, "one connection per instance");
    let mut answers = Vec::new();
    for answer in sent {
        answers.push(answer.await.unwrap());
    }
    eprintln!("    200 at once over two instances: {} ms", started.elapsed().as_millis());
    assert_eq!(app.count(NOTES).await, 1);
    let done: Vec<_> = answers.iter().filter(|it| it.status == 201).collect();
    assert_eq!(done.iter().filter(|it| !is_replay(it)).count(), 1);
    assert!(done.iter().all(|it| outcome(it) == outcome(done[0])));
    for late in answers.into_iter().filter(|it| it.status != 201) {
        let late = late.expect_problem(409, "IDEMPOTENCY_IN_PROGRESS");
        assert_eq!(late.header("retry-after"), "1");
    }
    assert!(is_replay(&note(&other, &ada, "k", &body).send().await.expect(201)));
}

#[tokio::test]
async fn two_hundred_identical_requests_over_two_instances_are_done_once() {
    two_hundred_at_once(&[]).await;
}

#[tokio::test]
async fn redis_has_no_part_in_it() {
    two_hundred_at_once(&[("REDIS_URL", "")]).await;
    two_hundred_at_once(&[("REDIS_URL", "redis://127.0.0.1:1")]).await;
}

/// So that who waited in the process does not wait as long again for another instance.
#[tokio::test]
async fn a_wait_for_locks_can_be_shorter_than_that_of_the_transaction_around_it() {
    let (app, _) = with(&[("APP__DATABASE__LOCK_TIMEOUT", "4s")]).await;
    let mut other = PgConnection::connect_with(&app.pool.connect_options()).await.unwrap();
    other.execute("select pg_advisory_lock(7)").await.unwrap();
    let lock = "select pg_advisory_xact_lock(7)";
    let take = async |tx: &mut PgConnection| Ok(sqlx::query(lock).execute(tx).await?);
    let hurry = Duration::from_millis(200);
    let started = Instant::now();
    let blocked = app.app.db.tx("test", async |tx| waiting_at_most(tx, hurry, take).await).await;
    assert!(blocked.is_err() && started.elapsed() < Duration::from_secs(3));
    other.close().await.unwrap();
    let after = app.app.db.tx("test", async |tx| {
        waiting_at_most(tx, hurry, take).await?;
        let setting = sqlx::query_scalar("select current_setting('lock_timeout')");
        Ok::<String, _>(setting.fetch_one(tx).await?)
    });
    assert_eq!(after.await.unwrap(), "4s");
}

#[tokio::test]
async fn those_behind_a_slow_one_are_told_that_it_still_runs() {
    let (app, ada) = with(&[("APP__DATABASE__LOCK_TIMEOUT", "500ms")]).await;
    let other = sibling(&app).await;
    let body = json!({"text": "a", "slow_ms": 3500});
    let slow = tokio::spawn(note(&app, &ada, "k", &body).send());
    eventually("it works", async || at_work(&app).await == 1).await;
    let started = Instant::now();
    let here = tokio::spawn(note(&app, &ada, "k", &body).send());
    let there = note(&other, &ada, "k", &body).send().await;
    let there = there.expect_problem(409, "IDEMPOTENCY_IN_PROGRESS");
    assert!(started.elapsed() < Duration::from_secs(2), "as long as its lock_timeout");
    let here = here.await.unwrap().expect_problem(409, "IDEMPOTENCY_IN_PROGRESS");
    assert!(started.elapsed() >= Duration::from_secs(2), "as long as anybody waits");
    assert_eq!((here.header("retry-after"), there.header("retry-after")), ("1", "1"));
    let first = slow.await.unwrap().expect(201);
    for app in [&app, &other] {
        assert_replays(&first, &note(app, &ada, "k", &body).send().await);
    }
    assert_eq!(app.count(NOTES).await, 1);
}

#[tokio::test]
async fn another_request_under_the_key_learns_so_when_the_first_is_done() {
    let (app, ada) = start().await;
    let slow = tokio::spawn(note(&app, &ada, "k", &json!({"text": "a", "slow_ms": 200})).send());
    eventually("it works", async || at_work(&app).await == 1).await;
    let other = note(&app, &ada, "k", &json!({"text": "b"})).send().await;
    other.expect_problem(422, "IDEMPOTENCY_KEY_REUSED");
    slow.await.unwrap().expect(201);
}

#[tokio::test]
async fn a_key_that_has_expired_is_free_again_and_is_reaped() {
    let (app, ada) = start().await;
    let expire = "update idempotency_keys set expires_at = now()";
    note(&app, &ada, "k", &json!({"text": "a"})).send().await.expect(201);
    let day = "select count(*) from idempotency_keys
               where expires_at between now() + interval '23 hours' and now() + interval '24 hours'";
    assert_eq!(app.count(day).await, 1);
    app.execute(expire).await;
    let other = note(&app, &ada, "k", &json!({"text": "b"})).send().await.expect(201);
    assert!(!is_replay(&other));
    assert_replays(&other, &note(&app, &ada, "k", &json!({"text": "b"})).send().await);
    reaper::reap(&app.app.db, app.app.config.outbox.keep).await.unwrap();
    assert_eq!(app.count(KEYS).await, 1, "it lives");
    app.execute(
        "insert into idempotency_keys (user_id, key, fingerprint, expires_at)
         select user_id, n::text, fingerprint, now() - interval '1 s'
         from idempotency_keys, generate_series(1, 2500) n",
    )
    .await;
    reaper::reap(&app.app.db, app.app.config.outbox.keep).await.unwrap();
    assert_eq!(app.count(KEYS).await, 1, "all bites are taken");
}

#[tokio::test]
async fn a_table_that_cannot_be_reaped_keeps_no_other_from_it() {
    let (app, ada) = start().await;
    note(&app, &ada, "k", &json!({"text": "a"})).send().await.expect(201);
    app.execute("update idempotency_keys set expires_at = now()").await;
    app.execute(
        "create function refuse() returns trigger language plpgsql as
         $$ begin raise exception 'refused'; end $$",
    )
    .await;
    app.execute(
        "create trigger refuse before delete on idempotency_keys
         for each row execute function refuse()",
    )
    .await;
    let old = "insert into change_feed (kind, key, value, at)
               values ('user', gen_random_uuid(), 1, now() - interval '3 hours')";
    app.execute(old).await;
    let recent = async || {
        let read = app.app.db.read("test", async |conn| repos::feed::recent(conn).await);
        read.await.unwrap().len() as i64
    };
    let all = "select count(*) from change_feed";
    assert_eq!(recent().await, app.count(all).await - 1, "who starts has no use for the old one");
    let ended = reaper::reap(&app.app.db, app.app.config.outbox.keep).await;
    assert!(ended.is_err(), "it is told");
    assert_eq!(recent().await, app.count(all).await, "the old one is gone");
}

#[tokio::test]
async fn with_the_account_go_the_outcomes() {
    let (app, ada) = start().await;
    note(&app, &ada, "k", &json!({"text": "a"})).send().await.expect(201);
    app.call("DELETE", "/api/v1/users/me").bearer(&ada.access).send().await.expect(204);
    assert_eq!(app.count(KEYS).await, 0);
}

#[tokio::test]
async fn a_row_that_is_claimed_and_has_no_outcome_is_never_seen() {
    let (app, ada) = start().await;
    let broken = "insert into idempotency_keys (user_id, key, fingerprint, status, expires_at)
                  values ($1::uuid, 'k', sha256(''), 201, now())";
    let refused = sqlx::query(AssertSqlSafe(broken)).bind(&ada.id).execute(&app.pool).await;
    assert!(refused.unwrap_err().to_string().contains("idempotency_keys_outcome_whole"));
}

/// POSTs behind a login that take no key, and why.
const WITHOUT_A_KEY: &[(&str, &str)] = &[
    ("/api/v1/auth/", "answers hold secrets that must not be stored, or end what they are sent by"),
    ("/api/v1/api-keys", "the answer holds a secret"),
    ("/api/v1/webhooks", "the answer holds a secret"),
    ("/api/v1/graphql", "has no status and body per mutation"),
    ("/api/v1/files", "the file remembers the key"),
];

/// Whether each POST behind a login takes the header or is excused.
fn faults(rows: Vec<routes::Route>) -> Vec<String> {
    let lines: Vec<_> = rows.iter().map(|row| (row.method.clone(), row.path, row.access)).collect();
    let document = serde_json::to_value(routes::openapi::describe_all(rows)).unwrap();
    let behind_login = lines.into_iter().filter(|(method, _, access)| {
        *method == "POST" && matches!(access, Access::User | Access::Staff | Access::Admin)
    });
    let fault = |(_, path, _): (_, &str, _)| {
        let parameters = &document["paths"][path]["post"]["parameters"];
        let takes_key = parameters.as_array().unwrap().iter().any(|it| {
            it["name"] == "Idempotency-Key"
                || it["$ref"] == "#/components/parameters/IdempotencyKey"
        });
        let excused = WITHOUT_A_KEY.iter().any(|(prefix, _)| path.starts_with(prefix));
        (takes_key == excused).then(|| format!("POST {path}: takes a key: {takes_key}"))
    };
    behind_login.filter_map(fault).collect()
}

#[test]
fn every_post_behind_a_login_takes_a_key_or_has_its_reason() {
    assert_eq!(faults(routes::table()), Vec::<String>::new());
    assert_eq!(faults(notes::rows()), Vec::<String>::new());
}

#[test]
fn what_takes_a_key_says_so_in_the_api_description() {
    let document = serde_json::to_value(routes::openapi::describe_all(notes::rows())).unwrap();
    let resolve = |value: &Value| match value["$ref"].as_str() {
        Some(path) => document.pointer(path.trim_start_matches('#')).unwrap().clone(),
        None => value.clone(),
    };
    for (path, required) in [("/api/v1/notes", false), ("/api/v1/orders", true)] {
        let operation = &document["paths"][path]["post"];
        let parameters = operation["parameters"].as_array().unwrap().iter().map(resolve);
        let key = parameters.into_iter().find(|it| it["name"] == "Idempotency-Key").unwrap();
        assert_eq!(key["required"], required, "{path}");
        let responses = &operation["responses"];
        assert!(resolve(&responses["201"])["headers"]["Idempotent-Replayed"].is_object());
        for (status, code) in [
            ("400", "IDEMPOTENCY_KEY_REQUIRED"),
            ("409", "IDEMPOTENCY_IN_PROGRESS"),
            ("422", "IDEMPOTENCY_KEY_REUSED"),
        ] {
            let text = resolve(&responses[status])["description"].to_string();
            assert!(text.contains(code), "{path} {status}: {text}");
        }
    }
}
