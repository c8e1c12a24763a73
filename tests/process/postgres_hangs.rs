//! Postgres that hangs: connected, and silent. Every answer comes within the deadline of requests,
//! and tokens are honoured only as long as the change feed vouches for them.

use std::time::{Duration, Instant};

use reqwest::Method;
use serde_json::json;

use crate::support::{Api, Instance, Load, Reply, Services, Tokens, pool, timing::kept, within};

const DEADLINE: Duration = Duration::from_secs(10);
const FEED_STALE: Duration = Duration::from_secs(30);
const RECOVERY: Duration = Duration::from_secs(5);

/// Whoever refreshes with the same token again and again loses the session in the end, so that is
/// somebody else's.
async fn request(api: Api, worker: usize, people: [Tokens; 2]) -> Result<Reply, String> {
    let [tokens, other] = &people;
    let token = Some(tokens.access.as_str());
    let path = "/api/v1/users/me";
    match worker {
        0 => api.attempt(Method::PATCH, path, token, Some(json!({"name": "Grace"}))).await,
        1 => {
            let body = json!({"refresh_token": other.refresh});
            api.attempt(Method::POST, "/api/v1/auth/refresh", None, Some(body)).await
        }
        _ => api.attempt(Method::GET, path, token, None).await,
    }
}

/// A token is verified without Postgres, until the feed is too old.
async fn tokens_are_refused_when_the_feed_is_stale(api: &Api, tokens: &Tokens, hung: Instant) {
    let path = "/api/v1/ping";
    while hung.elapsed() < FEED_STALE - Duration::from_secs(5) {
        api.get_as(&tokens.access, path).await.expect(200);
        api.get("/health/live").await.expect(200);
        tokio::time::sleep(Duration::from_secs(1)).await;
    }
    let bound = Duration::from_secs(8);
    within("tokens are refused after that and 25 s more", bound, async || {
        let reply = api.get_as(&tokens.access, path).await;
        assert!(reply.status == 200 || reply.is_clear_503(), "{}", reply.text);
        reply.status == 503
    })
    .await;
    api.get(path).await.expect(200);
}

#[tokio::test(flavor = "multi_thread")]
async fn postgres_hung_for_half_a_minute_is_survived_with_clear_answers_and_a_whole_pool() {
    let services = Services::private_postgres();
    let database = services.database();
    let settings =
        services.settings().set("APP__DATABASE__MAX_CONNECTIONS", pool::SIZE.to_string());
    let instance = Instance::ready(&settings).await;
    let api = instance.api.clone();
    let (tokens, other) = (api.sign_in().await, api.sign_in().await);
    let load = {
        let (api, people) = (api.clone(), [tokens.clone(), other]);
        Load::start(4, move |worker, _| request(api.clone(), worker, people.clone()))
    };
    tokio::time::sleep(Duration::from_millis(500)).await;
    services.signal_postgres("STOP");
    let hung = Instant::now();
    within("not ready when Postgres hangs", Duration::from_secs(5), async || {
        api.get("/health/ready").await.status == 503
    })
    .await;
    tokens_are_refused_when_the_feed_is_stale(&api, &tokens, hung).await;
    services.signal_postgres("CONT");
    within("recovered from a hang of Postgres", RECOVERY, async || {
        api.get("/health/ready").await.status == 200 && api.me(&tokens.access).await.status == 200
    })
    .await;
    tokio::time::sleep(Duration::from_secs(1)).await;
    let outcomes = load.stop("requests while Postgres hangs").await;
    outcomes.all("while Postgres hangs", |outcome| match &outcome.reply {
        Ok(reply) => {
            matches!(reply.status, 200 | 504)
                || reply.is_clear_503()
                || reply.code().starts_with("REFRESH_TOKEN_")
        }
        Err(_) => false,
    });
    kept("the slowest answer while Postgres hangs", outcomes.slowest(), DEADLINE);
    assert!(outcomes.slowest() < DEADLINE + Duration::from_secs(2), "{}", outcomes.summary());
    pool::is_whole(&instance, &database, &tokens.access).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_short_hang_of_postgres_loses_nothing_and_leaves_a_whole_pool() {
    let services = Services::private_postgres();
    let database = services.database();
    let settings =
        services.settings().set("APP__DATABASE__MAX_CONNECTIONS", pool::SIZE.to_string());
    let instance = Instance::ready(&settings).await;
    let tokens = instance.api.sign_in().await;
    for hang_ms in [300, 3000] {
        let api = instance.api.clone();
        let body = json!({"name": format!("hung for {hang_ms}")});
        services.signal_postgres("STOP");
        let access = tokens.access.clone();
        let writing = tokio::spawn(async move {
            api.call(&access, Method::PATCH, "/api/v1/users/me", Some(body)).await
        });
        tokio::time::sleep(Duration::from_millis(hang_ms)).await;
        services.signal_postgres("CONT");
        let reply = writing.await.expect("a reply");
        assert!(reply.status == 200 || reply.is_clear_503(), "{} {}", reply.status, reply.text);
        within("recovered from a short hang", RECOVERY, async || {
            instance.api.me(&tokens.access).await.status == 200
        })
        .await;
        let name = format!("select name from users where id = '{}'", tokens.user);
        let stored = database.text(&name).await == format!("hung for {hang_ms}");
        assert!(stored || reply.status != 200, "an acknowledged change is lost");
    }
    pool::is_whole(&instance, &database, &tokens.access).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn sigterm_while_postgres_hangs_ends_the_process_within_its_timeout() {
    let services = Services::private_postgres();
    let settings = services
        .settings()
        .set("APP__DATABASE__ACQUIRE_TIMEOUT", "500ms")
        .set("APP__DATABASE__LOCK_TIMEOUT", "1s")
        .set("APP__DATABASE__STATEMENT_TIMEOUT", "2s")
        .set("APP__SERVER__REQUEST_TIMEOUT", "3s")
        .set("APP__SERVER__HARD_TIMEOUT", "4s")
        .set("APP__SERVER__SHUTDOWN_TIMEOUT", "5s");
    let mut instance = Instance::ready(&settings).await;
    let tokens = instance.api.sign_in().await;
    services.signal_postgres("STOP");
    let api = instance.api.clone();
    let waiting = tokio::spawn(async move { api.me(&tokens.access).await });
    tokio::time::sleep(Duration::from_millis(300)).await;
    let started = Instant::now();
    instance.signal("TERM");
    let reply = waiting.await.expect("a reply");
    assert!(matches!(reply.status, 503 | 504), "{} {}", reply.status, reply.text);
    instance.exit().await;
    kept("the end while Postgres hangs", started.elapsed(), Duration::from_secs(6));
}
