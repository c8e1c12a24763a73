//! What happens to connections and effects when somebody stops waiting.

use std::time::Duration;

use mainstay::error::{Code, Error};
use serde_json::json;

use super::support::{TestApp, eventually, people::PASSWORD};

const IN_TRANSACTION: &str = "select count(*) from pg_stat_activity
    where datname = current_database() and state like 'idle in transaction%'";

#[tokio::test]
async fn transactions_cancelled_at_any_point_leave_no_connection_inside_one() {
    let app = TestApp::with(&[("APP__DATABASE__MAX_CONNECTIONS", "4")]).await;
    for round in 0..200_u64 {
        let db = app.app.db.clone();
        let work = db.tx("test.cancelled", async |tx| {
            sqlx::query("select pg_sleep(0.002)").execute(tx).await?;
            Ok(())
        });
        let _ = tokio::time::timeout(Duration::from_micros(round * 40), work).await;
    }
    eventually("no transaction is open", async || app.count(IN_TRANSACTION).await == 0).await;
    for _ in 0..16 {
        let inside = app.app.db.read("test.look", async |conn| {
            let age: f64 = sqlx::query_scalar(
                "select extract(epoch from now() - statement_timestamp())::float8",
            )
            .fetch_one(conn)
            .await?;
            Ok(age)
        });
        assert!(inside.await.unwrap().abs() < 0.001, "a connection was lent inside a transaction");
    }
}

#[tokio::test]
async fn no_session_of_the_service_is_without_its_limits() {
    let app = TestApp::new().await;
    let config = &app.app.config.database;
    let limits = [
        ("statement_timeout", config.statement_timeout),
        ("lock_timeout", config.lock_timeout),
        ("idle_in_transaction_session_timeout", config.idle_in_transaction_timeout),
        ("client_connection_check_interval", Duration::from_millis(500)),
    ];
    for (name, expected) in limits {
        let set = app.app.db.read("test.look", async |conn| {
            let millis = "select setting::bigint from pg_settings where name = $1";
            Ok(sqlx::query_scalar::<_, i64>(millis).bind(name).fetch_one(conn).await?)
        });
        assert_eq!(u128::try_from(set.await.unwrap()), Ok(expected.as_millis()), "{name}");
    }
}

#[tokio::test]
async fn an_error_rolls_back_all_that_was_done() {
    let app = TestApp::new().await;
    let failed: Result<(), Error> = app
        .app
        .db
        .tx("test.rollback", async |tx| {
            sqlx::query("insert into change_feed (kind, key) values ('test', gen_random_uuid())")
                .execute(tx)
                .await?;
            Err(Error::of(Code::Conflict))
        })
        .await;
    assert_eq!(failed.unwrap_err().code(), Code::Conflict);
    assert_eq!(app.count("select count(*) from change_feed where kind = 'test'").await, 0);
}

#[tokio::test]
async fn deadlocked_transactions_are_tried_again_and_both_succeed() {
    let app = TestApp::new().await;
    app.execute("create table pairs (id int primary key, n int not null default 0)").await;
    app.execute("insert into pairs values (1), (2)").await;
    app.execute("grant all on pairs to public").await;
    let bump = |first: i32, second: i32| {
        let db = app.app.db.clone();
        tokio::spawn(async move {
            mainstay::db::retry_conflicts(|| {
                db.tx("test.deadlock", async |tx| {
                    for id in [first, second] {
                        sqlx::query("update pairs set n = n + 1 where id = $1")
                            .bind(id)
                            .execute(&mut *tx)
                            .await?;
                        tokio::time::sleep(Duration::from_millis(50)).await;
                    }
                    Ok(())
                })
            })
            .await
        })
    };
    let (one, two) = (bump(1, 2), bump(2, 1));
    one.await.unwrap().unwrap();
    two.await.unwrap().unwrap();
    assert_eq!(app.count("select sum(n) from pairs").await, 4);
}

#[tokio::test]
async fn a_client_that_leaves_during_a_post_leaves_a_whole_effect() {
    let app = TestApp::new().await;
    for n in 0..20_u64 {
        let body =
            json!({"email": format!("u{n}@example.com"), "password": PASSWORD, "name": "Ada"});
        let call = app.post("/api/v1/auth/register").json(&body).send();
        let _ = tokio::time::timeout(Duration::from_millis(n * 4), call).await;
    }
    app.app.lifecycle.finish_work().await;
    let halves = "select count(*) from users u full join
        (select * from audit_events where action = 'user.registered') a on a.target_id = u.id
        where u.id is null or a.id is null";
    assert_eq!(app.count(halves).await, 0);
    assert!(app.count("select count(*) from users").await > 0, "work goes on without its client");
    assert_eq!(app.count(IN_TRANSACTION).await, 0);
}

#[tokio::test]
async fn a_client_that_leaves_during_a_read_stops_the_statement() {
    let app = TestApp::new().await;
    let ada = app.customer("ada").await;
    let mut lock = app.app.db.connect().await.unwrap();
    sqlx::raw_sql("begin; lock table users in access exclusive mode")
        .execute(&mut lock)
        .await
        .unwrap();
    let waiting = "select count(*) from pg_stat_activity where datname = current_database()
        and wait_event_type = 'Lock' and query like '%from users%'";
    let call = tokio::spawn(app.get("/api/v1/users/me").bearer(&ada.access).send());
    eventually("the read waits for the lock", async || app.count(waiting).await == 1).await;
    call.abort();
    let left = std::time::Instant::now();
    eventually("the statement is gone", async || app.count(waiting).await == 0).await;
    assert!(left.elapsed() < Duration::from_millis(1900), "{:?}", left.elapsed());
    sqlx::raw_sql("rollback").execute(&mut lock).await.unwrap();
    app.get("/api/v1/users/me").bearer(&ada.access).send().await.expect(200);
}

#[tokio::test]
async fn an_unsafe_request_past_its_deadline_is_answered_504_and_still_finishes() {
    let vars = [
        ("APP__SERVER__REQUEST_TIMEOUT", "600ms"),
        ("APP__DATABASE__STATEMENT_TIMEOUT", "500ms"),
        ("APP__DATABASE__LOCK_TIMEOUT", "400ms"),
        ("APP__DATABASE__ACQUIRE_TIMEOUT", "300ms"),
    ];
    let app = TestApp::with(&vars).await;
    let ada = app.customer("ada").await;
    // Two statements of the transaction wait for 350 ms each.
    app.execute("create function slow() returns trigger language plpgsql as 'begin perform pg_sleep(0.35); return new; end'").await;
    app.execute(
        "create trigger slow_users before update on users for each row execute function slow()",
    )
    .await;
    app.execute("create trigger slow_audit before insert on audit_events for each row execute function slow()").await;
    let call =
        app.call("PATCH", "/api/v1/users/me").bearer(&ada.access).json(&json!({"name": "Late"}));
    call.send().await.expect_problem(504, "REQUEST_TIMED_OUT");
    eventually("the change is stored", async || {
        app.count("select count(*) from users where name = 'Late'").await == 1
    })
    .await;
}

#[tokio::test]
async fn a_full_pool_refuses_in_a_second_and_says_when_to_come_back() {
    let app = TestApp::with(&[
        ("APP__DATABASE__MAX_CONNECTIONS", "2"),
        ("APP__DATABASE__ACQUIRE_TIMEOUT", "300ms"),
    ])
    .await;
    let ada = app.customer("ada").await;
    let hold = (0..2).map(|_| {
        let db = app.app.db.clone();
        tokio::spawn(async move {
            db.read("test.hold", async |conn| {
                sqlx::query("select pg_sleep(3)").execute(conn).await?;
                Ok(())
            })
            .await
        })
    });
    let hold: Vec<_> = hold.collect();
    tokio::time::sleep(Duration::from_millis(100)).await;
    let started = std::time::Instant::now();
    let answer = app.get("/api/v1/users/me").bearer(&ada.access).send().await;
    let answer = answer.expect_problem(503, "DEPENDENCY_UNAVAILABLE");
    assert_eq!(answer.header("retry-after"), "1");
    assert!(started.elapsed() < Duration::from_secs(2), "{:?}", started.elapsed());
    for one in hold {
        one.abort();
    }
    eventually("it serves again", async || {
        app.get("/api/v1/users/me").bearer(&ada.access).send().await.status == 200
    })
    .await;
}

#[tokio::test]
async fn old_rows_are_reaped_and_young_ones_are_not() {
    let app = TestApp::new().await;
    let ada = app.customer("ada").await;
    app.post("/api/v1/auth/logout").bearer(&ada.access).send().await.expect(204);
    app.execute("insert into change_feed (at, kind, key) select now() - interval '2 hours', 'test', gen_random_uuid() from generate_series(1, 6000)").await;
    app.execute("insert into login_failures select decode(lpad(to_hex(n), 64, '0'), 'hex'), 1, now() - n * interval '1 day', now() from generate_series(0, 5) n").await;
    mainstay::services::reaper::reap(&app.app.db, app.app.config.outbox.keep).await.unwrap();
    mainstay::services::reaper::reap(&app.app.db, app.app.config.outbox.keep).await.unwrap();
    assert_eq!(app.count("select count(*) from change_feed").await, 1);
    assert_eq!(app.count("select count(*) from login_failures").await, 2);
    assert_eq!(app.count("select count(*) from sessions").await, 1);
}
