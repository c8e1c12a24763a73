use futures_util::FutureExt;

use super::*;
use crate::shared::clock::Clock;
use futures_util::future::join_all;
use tokio::io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::watch;
use tokio::time::{Instant, sleep};

const TIMEOUT: Duration = Duration::from_millis(100);

fn url() -> String {
    let url = std::env::var("REDIS_URL");
    url.expect("set REDIS_URL to a Redis for the tests, as `make test` does")
}

fn connect_to(url: &str) -> Redis {
    let prefix = format!("test:{}:", Clock::default().new_id().simple());
    Redis::new(url, &prefix, TIMEOUT).expect("a URL")
}

async fn client_id(redis: &Redis) -> Result<u64, RedisError> {
    redis.run("test", redis::cmd("CLIENT").arg("ID")).await
}

/// The URL of something between the tests and Redis, which passes nothing on while it hangs.
async fn proxy(hangs: watch::Receiver<bool>) -> String {
    let listener = TcpListener::bind("127.0.0.1:0").await.expect("a port");
    let server = url().as_str().into_connection_info().expect("a URL");
    let mut url = url::Url::parse(&url()).expect("a URL");
    url.set_host(Some("127.0.0.1")).expect("a host");
    url.set_port(Some(listener.local_addr().expect("bound").port())).expect("a port");
    tokio::spawn(async move {
        while let Ok((client, _)) = listener.accept().await {
            let server = TcpStream::connect(server.addr().to_string()).await;
            let (from, to) = client.into_split();
            let (back, forth) = server.expect("REDIS_URL answers").into_split();
            tokio::spawn(pass(from, forth, hangs.clone()));
            tokio::spawn(pass(back, to, hangs.clone()));
        }
    });
    url.to_string()
}

async fn pass(
    mut from: impl AsyncRead + Unpin,
    mut to: impl AsyncWrite + Unpin,
    mut hangs: watch::Receiver<bool>,
) {
    let mut buffer = [0; 4096];
    while let Ok(length @ 1..) = from.read(&mut buffer).await {
        let flows = hangs.wait_for(|hangs| !hangs).await.is_ok();
        if !flows || to.write_all(&buffer[..length]).await.is_err() {
            return;
        }
    }
}

/// How long it takes until Redis is available again.
async fn recovery(redis: &Redis) -> Duration {
    let start = Instant::now();
    while redis.ping().await.is_err() {
        assert!(start.elapsed() < Duration::from_secs(15), "never");
        sleep(Duration::from_millis(20)).await;
    }
    start.elapsed()
}

#[test]
fn a_url_that_cannot_be_read_is_refused_without_being_repeated() {
    let error = Redis::new("redis//:secret@host", "", TIMEOUT).err();
    assert!(!error.expect("refused").to_string().contains("secret"));
}

#[tokio::test]
async fn keys_and_channels_carry_the_prefix() {
    let redis = Redis::new("redis://127.0.0.1", "shop:", TIMEOUT).expect("a URL");
    assert_eq!(redis.key("rate", "7"), "shop:rate:7");
    assert_eq!(redis.channel("bus"), "shop:bus");
}

#[tokio::test]
async fn simultaneous_commands_share_one_connection() {
    let redis = connect_to(&url());
    let ids = join_all((0..50).map(|_| client_id(&redis))).await;
    assert!(ids[0].is_ok() && ids.iter().all(|id| id == &ids[0]));
}

#[tokio::test]
async fn a_connection_that_was_cut_is_replaced() {
    let redis = connect_to(&url());
    let first = client_id(&redis).await.expect("connected");
    let other = connect_to(&url());
    let mut kill = redis::cmd("CLIENT");
    kill.arg("KILL").arg("ID").arg(first);
    other.run::<u32>("test", &kill).await.expect("killed");
    assert!(recovery(&redis).await < 3 * OPEN_FOR);
    assert_ne!(client_id(&redis).await, Ok(first));
}

#[tokio::test]
async fn a_script_the_server_does_not_know_is_taught_to_it() {
    let redis = connect_to(&url());
    let unknown = format!("return ARGV[1] + 1 -- {}", redis.key("a", "b"));
    let script = redis::Script::new(&unknown);
    for _ in 0..2 {
        let sum = redis.run_script("test", script.arg(41).key("k")).await;
        assert_eq!(sum, Ok(42));
    }
}

#[tokio::test]
async fn a_wrong_command_is_named_and_does_not_open_the_breaker() {
    let redis = connect_to(&url());
    let key = redis.key("test", "list");
    let mut push = redis::cmd("LPUSH");
    assert_eq!(redis.run("test", push.arg(&key).arg("secret")).await, Ok(1));
    let mut get = redis::cmd("GET");
    get.arg(&key);
    for _ in 0..2 * FAILURES_TO_OPEN {
        let answer = redis.run::<String>("test", &get).await;
        assert_eq!(answer, Err(RedisError::Server("WRONGTYPE".to_owned())));
    }
    assert!(redis.available());
    assert_eq!(redis.run("test", redis::cmd("DEL").arg(&key)).await, Ok(1));
}

#[tokio::test]
async fn a_redis_that_is_away_is_not_tried_after_five_failures() {
    let redis = connect_to("redis://127.0.0.1:1");
    for _ in 0..FAILURES_TO_OPEN {
        assert!(redis.available());
        assert_eq!(redis.ping().await, Err(RedisError::Unavailable));
    }
    assert!(!redis.available());
}

#[tokio::test]
async fn a_hanging_redis_costs_five_timeouts_and_comes_back_by_itself() {
    let (hang, hangs) = watch::channel(false);
    let redis = connect_to(&proxy(hangs).await);
    redis.ping().await.expect("connected");
    hang.send_replace(true);
    for _ in 0..FAILURES_TO_OPEN {
        assert_eq!(redis.ping().await, Err(RedisError::Timeout));
    }
    let hung = Instant::now();
    while hung.elapsed() < 3 * OPEN_FOR {
        let answer = redis.ping().now_or_never();
        assert!(matches!(answer, Some(Err(_))), "somebody waited for the probe");
        sleep(Duration::from_millis(5)).await;
    }
    hang.send_replace(false);
    let recovery = recovery(&redis).await;
    println!("recovery {recovery:?}");
    assert!(recovery < Duration::from_secs(15));
}

#[tokio::test]
async fn a_subscription_hears_its_channel_and_that_somebody_is_there() {
    let redis = connect_to(&url());
    let channel = redis.channel("news");
    let mut subscription = redis.subscribe(&channel).await.expect("subscribed");
    let mut publish = redis::cmd("PUBLISH");
    publish.arg(&channel).arg("hello");
    assert_eq!(redis.run("test", &publish).await, Ok(1));
    assert_eq!(subscription.next().await.as_deref(), Some("hello"));
    subscription.somebody_there().await.expect("it answers");
}
