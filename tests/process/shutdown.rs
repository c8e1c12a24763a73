//! SIGTERM: not ready at once, served for a while, finished in peace.

use std::time::{Duration, Instant};

use reqwest::Method;
use tokio::io::AsyncWriteExt;

use crate::support::{
    Database, Instance, Load, Settings,
    drain::{blocked_change, short},
    raw,
    timing::kept,
    within,
};

async fn drains_after(signal: &str) {
    let database = Database::create().await;
    let mut instance = Instance::ready(&short(&database, "2s")).await;
    let tokens = instance.api.sign_in().await;
    let api = instance.api.without_keep_alive();
    let load = {
        let (api, access) = (api.clone(), tokens.access.clone());
        Load::start(2, move |_, _| {
            let (api, access) = (api.clone(), access.clone());
            async move { api.attempt(Method::GET, "/api/v1/users/me", Some(&access), None).await }
        })
    };
    let started = Instant::now();
    instance.signal(signal);
    let bound = Duration::from_millis(100);
    within(&format!("not ready after {signal}"), bound, async || {
        api.get("/health/ready").await.status == 503
    })
    .await;
    let ready = api.get("/health/ready").await.expect(503).json();
    assert_eq!(ready["checks"]["process"]["detail"], "shutting down");
    while started.elapsed() < Duration::from_millis(1700) {
        assert_eq!(api.me(&tokens.access).await.expect(200).header("connection"), "close");
        api.get("/health/live").await.expect(200);
        tokio::time::sleep(Duration::from_millis(50)).await;
    }
    load.stop("requests while draining").await.all_ok("while draining");
    assert!(instance.exit().await.success(), "{}", instance.whole_log().await);
    let took = started.elapsed();
    assert!(took >= Duration::from_secs(2), "it served for {took:?} only");
    kept("the end after the drain delay", took, Duration::from_millis(2500));
    assert_eq!(database.backends("true").await, 0, "connections are left behind");
}

#[tokio::test(flavor = "multi_thread")]
async fn after_sigterm_it_is_not_ready_at_once_and_serves_until_the_drain_delay_is_over() {
    drains_after("TERM").await;
}

#[tokio::test(flavor = "multi_thread")]
async fn sigint_is_treated_like_sigterm() {
    drains_after("INT").await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_request_in_flight_is_finished_before_the_end() {
    let database = Database::create().await;
    let mut instance = Instance::ready(&short(&database, "100ms")).await;
    let tokens = instance.api.sign_in().await;
    let lock = database.lock("users").await;
    let change = blocked_change(&instance.api, &database, &tokens).await;
    instance.signal("TERM");
    tokio::time::sleep(Duration::from_secs(1)).await;
    assert!(instance.exited().is_none(), "it did not wait");
    let refused = tokio::net::TcpStream::connect(instance.api.address()).await;
    assert!(refused.is_err(), "it takes something new");
    lock.release().await;
    let reply = change.await.expect("a task").expect("an answer").expect(200);
    assert_eq!(reply.text_of("name"), "at the last moment");
    assert!(instance.exit().await.success());
    let query = format!("select name from users where id = '{}'", tokens.user);
    assert_eq!(database.text(&query).await, "at the last moment");
}

#[tokio::test(flavor = "multi_thread")]
async fn the_work_of_a_client_that_has_left_is_finished_before_the_end() {
    let database = Database::create().await;
    let mut instance = Instance::ready(&short(&database, "0s")).await;
    let tokens = instance.api.sign_in().await;
    let lock = database.lock("users").await;
    let change = blocked_change(&instance.api, &database, &tokens).await;
    change.abort();
    instance.signal("TERM");
    tokio::time::sleep(Duration::from_secs(1)).await;
    assert!(instance.exited().is_none(), "it did not wait");
    lock.release().await;
    assert!(instance.exit().await.success());
    let query = format!("select name from users where id = '{}'", tokens.user);
    assert_eq!(database.text(&query).await, "at the last moment");
}

#[tokio::test(flavor = "multi_thread")]
async fn idle_connections_and_half_requests_hold_nobody_up() {
    let database = Database::create().await;
    let mut instance = Instance::ready(&short(&database, "0s")).await;
    let mut idle = Vec::new();
    for used in [false, true, true] {
        let mut stream = raw::connect(&instance.api).await;
        if used {
            let ping = b"GET /api/v1/ping HTTP/1.1\r\nHost: test\r\n\r\n";
            assert!(raw::exchange(&mut stream, ping).await.starts_with("HTTP/1.1 200"));
        }
        idle.push(stream);
    }
    let mut half = raw::connect(&instance.api).await;
    let head = b"POST /api/v1/auth/login HTTP/1.1\r\nHost: test\r\nContent-Le";
    half.write_all(head).await.expect("it reads");
    let started = Instant::now();
    instance.signal("TERM");
    assert!(instance.exit().await.success());
    kept("the end with idle connections", started.elapsed(), Duration::from_secs(1));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_signal_during_start_up_ends_it() {
    let settings = Settings::new("postgres://nobody@127.0.0.1:1/nothing")
        .set("APP__SERVER__DRAIN_DELAY", "0s");
    let mut instance = Instance::start(&settings).await;
    tokio::time::sleep(Duration::from_millis(200)).await;
    let started = Instant::now();
    instance.signal("TERM");
    assert!(instance.exit().await.success());
    kept("the end during start-up", started.elapsed(), Duration::from_secs(1));
}

/// As behind a load balancer that nobody has told.
#[tokio::test(flavor = "multi_thread")]
async fn clients_that_keep_coming_are_served_until_the_door_closes_and_do_not_hold_it_open() {
    let database = Database::create().await;
    let mut instance = Instance::ready(&short(&database, "500ms")).await;
    let api = instance.api.without_keep_alive();
    let load = {
        let api = api.clone();
        Load::start(24, move |_, _| {
            let api = api.clone();
            async move { api.attempt(Method::GET, "/api/v1/ping", None, None).await }
        })
    };
    tokio::time::sleep(Duration::from_millis(300)).await;
    let started = Instant::now();
    instance.signal("TERM");
    assert!(instance.exit().await.success(), "{}", instance.whole_log().await);
    kept("the end under a stream of clients", started.elapsed(), Duration::from_millis(1500));
    let outcomes = load.stop("clients that keep coming").await;
    // Whoever was taken in was served; the others were turned away at the door.
    outcomes.all("a client that was taken in", |outcome| match &outcome.reply {
        Ok(reply) => reply.status == 200,
        Err(error) => error.contains("ConnectionRefused"),
    });
}
