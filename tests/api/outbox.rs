//! Events: written with what they tell of, handed over in order, once.

use std::{collections::BTreeMap, time::Duration};

use deadpool_redis::redis::{self, Value as RedisValue};
use futures_util::future::{BoxFuture, FutureExt};
use mainstay::{
    domain::events::{Event, Wants},
    error::Result,
    events::{Consumer, Handler, Outside},
    repos,
    services::reaper,
};
use serde_json::{Value, json};
use sqlx::AssertSqlSafe;
use uuid::Uuid;

use super::support::{TestApp, eventually, ledger::Mood, people::PASSWORD};

const PENDING: &str = "select count(*) from outbox_deliveries where state = 'pending'";
const DEAD: &str = "select count(*) from outbox_deliveries where state = 'dead'";
const LEDGER: &str = "select count(*) from ledger";

fn thing(n: u128) -> Uuid {
    Uuid::from_u128(n)
}

/// The sequences that a consumer has seen of an aggregate, in its order.
async fn seen(app: &TestApp, consumer: &str, aggregate: Uuid) -> Vec<i64> {
    let seen = "select sequence from ledger where consumer = $1 and aggregate_id = $2 order by n";
    let seen = sqlx::query_scalar(seen).bind(consumer).bind(aggregate);
    seen.fetch_all(&app.pool).await.unwrap()
}

async fn drained(app: &TestApp) {
    eventually("all is handed over", async || app.count(PENDING).await == 0).await;
}

#[tokio::test]
async fn what_happens_to_an_account_is_emitted_in_order_and_tells_no_secret() {
    let app = TestApp::new().await;
    app.admin("root").await;
    let root = app.sign_in("root@example.com").await;
    let ada = app.customer("ada").await;
    let login = json!({"email": ada.email, "password": PASSWORD, "token_delivery": "body",
                       "device_token": ada.device});
    let known = app.post("/api/v1/auth/login").json(&login).send().await.expect(200).json();
    let path = format!("/api/v1/users/{}", ada.id);
    let patch = |body: Value| app.call("PATCH", &path).bearer(&root.access).json(&body).send();
    patch(json!({"name": "Only the name"})).await.expect(200);
    patch(json!({"role": "staff"})).await.expect(200);
    let fresh = app.sign_in(&ada.email).await;
    let change = json!({"current_password": PASSWORD, "new_password": "copper-meadow-violin-81"});
    let change = app.call("PUT", "/api/v1/auth/password").bearer(&fresh.access).json(&change);
    change.send().await.expect(204);
    let rotated = app.refresh_call(&fresh.refresh).send().await.expect(200).json();
    app.refresh_call(rotated["refresh_token"].as_str().unwrap()).send().await.expect(200);
    let reused = app.refresh_call(&fresh.refresh).send().await;
    reused.expect_problem(401, "REFRESH_TOKEN_REUSED");
    app.call("DELETE", &path).bearer(&root.access).send().await.expect(204);
    let events = sqlx::query_as::<_, (String, String, i64, Option<Uuid>, Value)>(
        "select type, aggregate_kind, sequence, actor_id, payload from outbox_events
         where aggregate_id = $1::uuid or payload->>'user_id' = $1 order by position",
    );
    let events = events.bind(&ada.id).fetch_all(&app.pool).await.unwrap();
    let told: Vec<_> = events.iter().map(|it| (it.0.as_str(), it.1.as_str(), it.2)).collect();
    assert_eq!(
        told,
        [
            ("user.registered", "user", 1),
            ("device.first_seen", "user", 2),
            ("user.updated", "user", 3),
            ("device.first_seen", "user", 4),
            ("user.password_changed", "user", 5),
            ("session.token_reused", "session", 1),
            ("user.deleted", "user", 6),
        ]
    );
    let (ada_id, root_id) = (ada.id.parse().ok(), root.id.parse().ok());
    let actors: Vec<_> = events.iter().map(|it| it.3).collect();
    assert_eq!(actors, [None, ada_id, root_id, ada_id, ada_id, None, root_id]);
    assert_eq!(events[2].4["role"], json!({"from": "customer", "to": "staff"}));
    let all = format!("{:?}", events.iter().map(|it| &it.4).collect::<Vec<_>>());
    for secret in [&ada.email, &ada.device, &ada.refresh, PASSWORD, "argon2"] {
        assert!(!all.contains(secret), "{all}");
    }
    assert!(known["device_token"].is_string());
}

#[tokio::test]
async fn what_is_rolled_back_is_not_told_and_leaves_no_gap() {
    let app = TestApp::new().await;
    let root = app.admin("root").await;
    let events = "select count(*) from outbox_events";
    let before = app.count(events).await;
    let call = app.call("PATCH", &format!("/api/v1/users/{}", root.id)).bearer(&root.access);
    call.json(&json!({"role": "staff"})).send().await.expect_problem(409, "LAST_ADMIN");
    assert_eq!(app.count(events).await, before);
    app.emit(thing(1), 1).await;
    let failing = app.app.db.tx("tests.fail", async |tx| {
        let event = mainstay::domain::events::NewEvent {
            kind: mainstay::domain::events::EventType::UserUpdated,
            aggregate: mainstay::domain::events::Aggregate { kind: "thing", id: thing(1) },
            actor: None,
            payload: json!({}),
        };
        let origin = mainstay::domain::audit::Origin::command_line();
        app.app.services.outbox.emit(tx, event, &origin).await?;
        Err::<(), _>(mainstay::error::Error::not_found())
    });
    assert!(failing.await.is_err());
    app.emit(thing(1), 1).await;
    let highest = "select max(sequence) from outbox_events where aggregate_kind = 'thing'";
    assert_eq!(app.count(highest).await, 2);
}

#[tokio::test]
async fn events_of_one_aggregate_from_everywhere_at_once_get_one_sequence() {
    let app = TestApp::with_ledgers(&[], &Mood::default()).await;
    let other = app.sibling().await;
    let emitting = (0..8).map(|n| {
        let app = if n % 2 == 0 { &app } else { &other };
        app.emit(thing(1), 10)
    });
    futures_util::future::join_all(emitting).await;
    drained(&app).await;
    let expected: Vec<i64> = (1..=80).collect();
    assert_eq!(seen(&app, "passing", thing(1)).await, expected);
    assert_eq!(seen(&app, "waiting", thing(1)).await, expected);
}

#[tokio::test]
async fn several_instances_hand_each_event_over_once() {
    let app = TestApp::with_ledgers(&[], &Mood::default()).await;
    let others = [app.sibling().await, app.sibling().await];
    for n in 0..200 {
        let from = [&app, &others[0], &others[1]][n % 3];
        from.emit(thing(n as u128 % 20), 1).await;
    }
    drained(&app).await;
    assert_eq!(app.count(LEDGER).await, 400);
    for n in 0..20 {
        assert_eq!(seen(&app, "passing", thing(n)).await, (1..=10).collect::<Vec<i64>>());
    }
    let slowest = "select coalesce(max(extract(epoch from l.at - e.at) * 1000), 0)::bigint
                   from ledger l join outbox_events e on e.id = l.event_id";
    eprintln!("    slowest of 400 deliveries: {} ms", app.count(slowest).await);
}

#[tokio::test]
async fn a_failing_event_holds_up_its_aggregate_and_nobody_else() {
    let mood = Mood::default();
    mood.refuse(thing(1));
    let app = TestApp::with_ledgers(&[("APP__OUTBOX__MAX_ATTEMPTS", "1000000")], &mood).await;
    app.emit(thing(1), 3).await;
    app.emit(thing(2), 3).await;
    eventually("the other aggregate is done", async || app.count(LEDGER).await == 6).await;
    eventually("it is tried again", async || {
        app.count("select min(attempts)::bigint from outbox_deliveries where sequence = 1 and state = 'pending'").await > 2
    })
    .await;
    assert_eq!(seen(&app, "passing", thing(1)).await, Vec::<i64>::new(), "no effect remains");
    let followers = "select max(attempts)::bigint from outbox_deliveries where sequence > 1";
    assert_eq!(app.count(followers).await, 0);
    mood.forgive();
    drained(&app).await;
    assert_eq!(seen(&app, "passing", thing(1)).await, [1, 2, 3]);
    assert_eq!(seen(&app, "waiting", thing(1)).await, [1, 2, 3]);
}

#[tokio::test]
async fn an_event_that_panics_its_consumer_harms_no_other() {
    let mood = Mood::default();
    mood.panic_at(thing(1));
    let app = TestApp::with_ledgers(&[("APP__OUTBOX__MAX_ATTEMPTS", "2")], &mood).await;
    app.emit(thing(1), 1).await;
    app.emit(thing(2), 1).await;
    eventually("given up", async || app.count(DEAD).await == 2).await;
    let told = "select count(*) from outbox_deliveries where last_error like '%panicked%'";
    assert_eq!((app.count(told).await, app.count(LEDGER).await), (2, 2));
}

#[tokio::test]
async fn a_consumer_that_is_away_loses_nothing_and_counts_nothing() {
    let mood = Mood::default();
    mood.go_away(true);
    let app = TestApp::with_ledgers(&[("APP__OUTBOX__MAX_ATTEMPTS", "2")], &mood).await;
    for n in 0..30 {
        app.emit(thing(n), 2).await;
    }
    tokio::time::sleep(Duration::from_secs(2)).await;
    let counted = "select sum(attempts)::bigint from outbox_deliveries";
    assert_eq!((app.count(LEDGER).await, app.count(counted).await), (0, 0));
    app.app.services.outbox.measure().await.unwrap();
    let metrics = app.get("/metrics").send().await.expect(200).body;
    assert!(String::from_utf8(metrics).unwrap().contains("outbox_lag_seconds"));
    mood.go_away(false);
    drained(&app).await;
    assert_eq!(app.count(LEDGER).await, 120);
}

#[tokio::test]
async fn what_a_removed_consumer_left_behind_is_no_lag() {
    let app = TestApp::with_ledgers(&[], &Mood::default()).await;
    app.emit(thing(1), 1).await;
    drained(&app).await;
    app.execute(
        "update outbox_deliveries set state = 'pending', created_at = now() - interval '1 hour',
                consumer = 'removed-' || consumer",
    )
    .await;
    let lag = async |consumers: &[&str]| {
        let consumers: Vec<_> = consumers.iter().map(|&name| name.to_owned()).collect();
        let standing =
            app.app.db.read("test", async |conn| repos::outbox::standing(conn, &consumers).await);
        standing.await.unwrap().lag_secs
    };
    assert!(lag(&["passing", "removed-passing"]).await > 3_599.0);
    assert_eq!(lag(&["passing"]).await, 0.0);
}

/// Two events are dead for both consumers, a third follows.
async fn with_dead(mood: &Mood) -> TestApp {
    mood.refuse(thing(1));
    let app = TestApp::with_ledgers(&[("APP__OUTBOX__MAX_ATTEMPTS", "2")], mood).await;
    app.emit(thing(1), 1).await;
    eventually("given up", async || app.count(DEAD).await == 2).await;
    mood.forgive();
    app.emit(thing(1), 2).await;
    app
}

#[tokio::test]
async fn what_follows_a_dead_event_passes_or_waits_as_its_consumer_says() {
    let app = with_dead(&Mood::default()).await;
    eventually("those that pass", async || seen(&app, "passing", thing(1)).await == [2, 3]).await;
    tokio::time::sleep(Duration::from_millis(700)).await;
    assert_eq!(seen(&app, "waiting", thing(1)).await, Vec::<i64>::new());
    let root = app.admin("root").await;
    replay_all(&app, &root.access).await;
    drained(&app).await;
    assert_eq!(seen(&app, "waiting", thing(1)).await, [1, 2, 3]);
    assert_eq!(seen(&app, "passing", thing(1)).await, [2, 3, 1], "late, and once");
}

async fn replay_all(app: &TestApp, access: &str) {
    let dead = app.get("/api/v1/admin/outbox?state=dead").bearer(access).send().await.json();
    for delivery in dead["data"].as_array().unwrap() {
        let path = format!("/api/v1/admin/outbox/{}/replay", delivery["id"].as_str().unwrap());
        let answer = app.post(&path).bearer(access).send().await.expect(200).json();
        assert_eq!((&answer["state"], &answer["attempts"]), (&json!("pending"), &json!(0)));
    }
}

#[tokio::test]
async fn a_replay_is_for_administrators_once_per_key_and_in_the_audit_trail() {
    let app = with_dead(&Mood::default()).await;
    let (root, staff) = (app.admin("root").await, app.staff("staff").await);
    let list = "/api/v1/admin/outbox?state=dead&consumer=passing";
    let dead = app.get(list).bearer(&staff.access).send().await.expect(200).json();
    let delivery = &dead["data"][0];
    assert_eq!(dead["data"].as_array().unwrap().len(), 1);
    assert_eq!((&delivery["consumer"], &delivery["attempts"]), (&json!("passing"), &json!(2)));
    assert!(delivery["last_error"].as_str().unwrap().contains("refused"));
    assert_eq!(delivery["event"]["type"], "user.updated");
    assert_eq!(delivery["event"]["sequence"], 1);
    let id = delivery["id"].as_str().unwrap();
    let path = format!("/api/v1/admin/outbox/{id}/replay");
    let call = |access: &str| app.post(&path).bearer(access).header("idempotency-key", "k").send();
    call(&staff.access).await.expect_problem(403, "FORBIDDEN");
    let first = call(&root.access).await.expect(200);
    eventually("handed over", async || seen(&app, "passing", thing(1)).await.len() == 3).await;
    let again = call(&root.access).await.expect(200);
    assert_eq!((&again.body, again.header("idempotent-replayed")), (&first.body, "true"));
    let late = app.post(&path).bearer(&root.access).send().await;
    late.expect_problem(409, "CONFLICT");
    let unknown = format!("/api/v1/admin/outbox/{}/replay", root.id);
    let unknown = app.post(&unknown).bearer(&root.access).send().await;
    unknown.expect_problem(404, "NOT_FOUND");
    let audited = "select count(*) from audit_events where action = 'outbox.delivery_replayed'";
    assert_eq!(app.count(audited).await, 1);
    assert_eq!(seen(&app, "passing", thing(1)).await, [2, 3, 1]);
}

#[tokio::test]
async fn the_list_is_walked_in_pages() {
    let app = TestApp::with_ledgers(&[], &Mood::default()).await;
    let root = app.admin("root").await;
    app.emit(thing(1), 4).await;
    let mut path = "/api/v1/admin/outbox?consumer=passing&limit=3&count=exact".to_owned();
    let (mut ids, mut pages) = (Vec::new(), 0);
    loop {
        let page = app.get(&path).bearer(&root.access).send().await.expect(200).json();
        assert_eq!(page["total"], 6, "registration and login of root among them");
        let rows = page["data"].as_array().unwrap().iter();
        ids.extend(rows.map(|row| row["id"].as_str().unwrap().to_owned()));
        pages += 1;
        let Some(cursor) = page["next_cursor"].as_str() else { break };
        path = format!("/api/v1/admin/outbox?consumer=passing&limit=3&count=exact&cursor={cursor}");
    }
    let distinct: std::collections::BTreeSet<_> = ids.iter().collect();
    assert_eq!((pages, ids.len(), distinct.len()), (2, 6, 6));
    let fault = app.get("/api/v1/admin/outbox?state=odd").bearer(&root.access).send().await;
    fault.expect_problem(422, "VALIDATION_FAILED");
}

#[tokio::test]
async fn a_relay_whose_lease_was_taken_writes_nothing_more() {
    let app = TestApp::with_ledgers(&[], &Mood::default()).await;
    app.emit(thing(1), 1).await;
    drained(&app).await;
    app.execute(
        "update outbox_lease set token = token + 1, expires_at = now() + interval '1 hour'",
    )
    .await;
    app.emit(thing(1), 3).await;
    tokio::time::sleep(Duration::from_secs(3)).await;
    assert_eq!((app.count(LEDGER).await, app.count(PENDING).await), (2, 6));
    let attempts = "select sum(attempts)::bigint from outbox_deliveries";
    assert_eq!(app.count(attempts).await, 0);
    app.execute("update outbox_lease set expires_at = now()").await;
    drained(&app).await;
    assert_eq!(seen(&app, "passing", thing(1)).await, [1, 2, 3, 4]);
}

#[tokio::test]
async fn told_events_are_reaped_others_stay_and_sequences_go_on() {
    let mood = Mood::default();
    let app = with_dead(&mood).await;
    eventually("those that pass", async || seen(&app, "passing", thing(1)).await == [2, 3]).await;
    app.execute("update outbox_events set at = now() - interval '8 days'").await;
    app.emit(thing(2), 1).await;
    eventually("told", async || seen(&app, "passing", thing(2)).await.len() == 1).await;
    let keep = app.app.config.outbox.keep;
    reaper::reap(&app.app.db, keep).await.unwrap();
    let left = "select count(*) from outbox_events";
    assert_eq!(app.count(left).await, 4, "one waits for a dead one");
    app.execute("delete from outbox_deliveries where aggregate_id = '00000000-0000-0000-0000-000000000001'::uuid and state <> 'done'").await;
    reaper::reap(&app.app.db, keep).await.unwrap();
    assert_eq!(app.count(left).await, 1, "the young one");
    app.emit(thing(1), 1).await;
    eventually("goes on", async || seen(&app, "waiting", thing(1)).await == [4]).await;
}

struct Slow;

impl Outside for Slow {
    fn handle<'a>(&'a self, _: &'a Event) -> BoxFuture<'a, Result<()>> {
        tokio::time::sleep(Duration::from_millis(200)).map(Ok).boxed()
    }
}

/// What a crash repeats is what was not marked.
#[tokio::test]
async fn what_a_slow_consumer_has_done_is_marked_while_it_goes_on() {
    let slow = || {
        let handler = Handler::Outside(Box::new(Slow));
        vec![Consumer { name: "slow", wants: Wants::All, blocking: false, handler }]
    };
    let app = TestApp::with_consumers(&[], std::sync::Arc::new(slow)).await;
    app.execute("update outbox_lease set token = token + 1, expires_at = now() + interval '2 s'")
        .await;
    for n in 0..60 {
        app.emit(thing(n), 1).await;
    }
    let done = "select count(*) from outbox_deliveries where state = 'done'";
    eventually("some are marked", async || app.count(done).await > 0).await;
    assert!(app.count(PENDING).await > 0, "not all in one round");
    drained(&app).await;
}

/// The entries of a stream, as another program reads them.
async fn entries(key: &str) -> Vec<BTreeMap<String, String>> {
    let client = redis::Client::open(std::env::var("REDIS_URL").unwrap()).unwrap();
    let mut conn = client.get_multiplexed_async_connection().await.unwrap();
    let rows: RedisValue =
        redis::cmd("XRANGE").arg(key).arg("-").arg("+").query_async(&mut conn).await.unwrap();
    let rows: Vec<(String, BTreeMap<String, String>)> = redis::from_redis_value(rows).unwrap();
    rows.into_iter().map(|(_, fields)| fields).collect()
}

#[tokio::test]
async fn another_program_can_follow_a_redis_stream() {
    let app = TestApp::with(&[("APP__OUTBOX__REDIS_STREAM", "events")]).await;
    let ada = app.customer("ada").await;
    app.emit(thing(1), 5).await;
    drained(&app).await;
    let entries = entries(&format!("{}events", app.app.config.redis.prefix)).await;
    let of = |aggregate: String| -> Vec<(&str, &str)> {
        let of = entries.iter().filter(|entry| entry["aggregate"] == aggregate);
        of.map(|entry| (entry["type"].as_str(), entry["sequence"].as_str())).collect()
    };
    assert_eq!(
        of(format!("user:{}", ada.id)),
        [("user.registered", "1"), ("device.first_seen", "2")]
    );
    let updated = |n| ("user.updated", n);
    assert_eq!(of(format!("thing:{}", thing(1))), ["1", "2", "3", "4", "5"].map(updated));
    let first = &entries[0];
    let payload: Value = serde_json::from_str(&first["payload"]).unwrap();
    assert_eq!(payload, json!({"role": "customer", "by_operator": true}));
    let stored = "select count(*) from outbox_events where id = $1::uuid";
    let stored = sqlx::query_scalar::<_, i64>(AssertSqlSafe(stored)).bind(&first["id"]);
    assert_eq!(stored.fetch_one(&app.pool).await.unwrap(), 1);
    assert_eq!((first["version"].as_str(), first["actor_id"].as_str()), ("1", ""));
}
