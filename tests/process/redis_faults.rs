//! Redis is a helper: killed, hung or emptied, no request fails for it or waits long.

use std::{
    io::{Read, Write},
    net::TcpStream,
    time::Duration,
};

use reqwest::Method;
use serde_json::json;

use crate::support::{
    Api, Database, Instance, Load, Person, Reply, Services, Settings, Tokens, eventually,
    load::Outcomes, timing::kept, within,
};

/// A command waits 100 ms at most, and the breaker ends that after five; the rest is the request.
const SLOWEST: Duration = Duration::from_millis(500);
const RECOVERY: Duration = Duration::from_secs(5);

/// With limits, the part of a request that asks Redis.
fn settings(services: &Services, database: &Database) -> Settings {
    Settings::new(&database.url)
        .set("REDIS_URL", services.redis_url())
        .set("APP__LIMITS__ENABLED", "true")
        .set("APP__LIMITS__DEFAULT", "1000000/1m")
        .set("APP__LIMITS__CREDENTIALS", "1000000/1m")
        .set("APP__LIMITS__REFRESH", "1000000/1m")
}

async fn request(api: Api, worker: usize, person: Person, tokens: Tokens) -> Result<Reply, String> {
    let get = async |path| api.attempt(Method::GET, path, Some(&tokens.access), None).await;
    match worker {
        0 => get("/api/v1/ping").await,
        1 => get("/api/v1/users/me").await,
        2 => {
            let body = json!({"refresh_token": "unknown"});
            api.attempt(Method::POST, "/api/v1/auth/refresh", None, Some(body)).await
        }
        _ => {
            tokio::time::sleep(Duration::from_millis(200)).await;
            let body = json!({"email": person.email, "password": person.password});
            api.attempt(Method::POST, "/api/v1/auth/login", None, Some(body)).await
        }
    }
}

async fn load(api: &Api) -> Load {
    let person = api.register().await;
    let tokens = api.login(&person).await;
    let api = api.clone();
    Load::start(4, move |worker, _| request(api.clone(), worker, person.clone(), tokens.clone()))
}

/// An unknown refresh token is 401 whatever happens; everything else works.
fn nobody_noticed(what: &str, outcomes: &Outcomes) {
    outcomes.all(what, |outcome| matches!(outcome.status(), 200 | 401));
    let refused = outcomes.0.iter().filter(|outcome| outcome.status() == 401);
    let refused = refused.filter(|outcome| match &outcome.reply {
        Ok(reply) => reply.code() != "REFRESH_TOKEN_INVALID",
        Err(_) => true,
    });
    assert_eq!(refused.count(), 0, "{what}: {}", outcomes.summary());
    // A login is a password hash, which waits for its turn on this machine.
    let others =
        outcomes.0.iter().filter(|o| o.reply.as_ref().is_ok_and(|r| !r.text.contains("user\":")));
    let slowest = others.map(|outcome| outcome.took).max().unwrap_or_default();
    kept(&format!("{what}: the slowest request"), slowest, SLOWEST);
}

async fn standing(instance: &Instance) -> String {
    instance.api.get("/health/ready").await.expect(200).text_of("status")
}

async fn survives(what: &str, breaks: impl FnOnce(&Services), mends: impl FnOnce(&Services)) {
    let services = Services::private_redis();
    let database = Database::create().await;
    let instance = Instance::ready(&settings(&services, &database)).await;
    eventually("Redis is seen", async || standing(&instance).await == "ok").await;
    let load = load(&instance.api).await;
    tokio::time::sleep(Duration::from_millis(500)).await;
    breaks(&services);
    let noticed = format!("{what}: noticed");
    within(&noticed, RECOVERY, async || standing(&instance).await == "degraded").await;
    tokio::time::sleep(Duration::from_secs(3)).await;
    assert_eq!(standing(&instance).await, "degraded");
    mends(&services);
    let recovered = format!("{what}: recovered");
    within(&recovered, RECOVERY, async || standing(&instance).await == "ok").await;
    tokio::time::sleep(Duration::from_secs(1)).await;
    nobody_noticed(what, &load.stop(what).await);
    database.is_at_rest().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn redis_killed_fails_no_request_and_is_used_again_when_it_is_back() {
    survives("Redis killed", |redis| redis.signal_redis("KILL"), Services::start_redis).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn redis_hung_fails_no_request_and_is_used_again_when_it_goes_on() {
    let hang = |redis: &Services| redis.signal_redis("STOP");
    survives("Redis hung", hang, |redis| redis.signal_redis("CONT")).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn redis_emptied_again_and_again_fails_no_request() {
    let services = Services::private_redis();
    let database = Database::create().await;
    let instance = Instance::ready(&settings(&services, &database)).await;
    eventually("Redis is seen", async || standing(&instance).await == "ok").await;
    let load = load(&instance.api).await;
    for _ in 0..10 {
        tokio::time::sleep(Duration::from_millis(200)).await;
        command(&services.redis_url(), "FLUSHALL");
        command(&services.redis_url(), "SCRIPT FLUSH");
    }
    assert_eq!(standing(&instance).await, "ok");
    nobody_noticed("Redis emptied", &load.stop("Redis emptied").await);
}

#[tokio::test(flavor = "multi_thread")]
async fn redis_that_is_down_at_boot_is_met_later() {
    let services = Services::private_redis();
    let database = Database::create().await;
    services.signal_redis("KILL");
    let instance = Instance::ready(&settings(&services, &database)).await;
    assert_eq!(standing(&instance).await, "degraded");
    instance.api.sign_in().await;
    services.start_redis();
    within("Redis is met", RECOVERY, async || standing(&instance).await == "ok").await;
}

fn command(url: &str, command: &str) {
    let url = url::Url::parse(url).expect("a URL");
    let address = (url.host_str().expect("a host"), url.port().expect("a port"));
    let mut stream = TcpStream::connect(address).expect("Redis listens");
    let password = url.password().unwrap_or_default();
    write!(stream, "AUTH {password}\r\n{command}\r\nQUIT\r\n").expect("Redis reads");
    let mut answer = String::new();
    stream.read_to_string(&mut answer).expect("Redis answers");
    assert_eq!(answer.matches("+OK").count(), 3, "{answer}");
}
