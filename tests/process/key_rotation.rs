//! Rotation of the signing keys under load: nobody notices.

use std::{sync::Arc, time::Duration};

use reqwest::Method;
use serde_json::json;
use tokio::sync::Mutex;

use crate::support::{
    Api, Database, Instance, Load, Reply, Tokens,
    keys::{kid, pair, rotate, short_lives},
    load::Outcomes,
};

/// Each worker refreshes on one instance and uses the new token at once, and for a while, on the
/// other.
async fn worker_request(
    apis: [Api; 2],
    tokens: Arc<Mutex<Tokens>>,
    n: usize,
) -> Result<Reply, String> {
    let mut tokens = tokens.lock().await;
    if n.is_multiple_of(20) {
        let body = json!({"refresh_token": tokens.refresh});
        let path = "/api/v1/auth/refresh";
        let reply = apis[n / 20 % 2].attempt(Method::POST, path, None, Some(body)).await?;
        if reply.status != 200 {
            return Ok(reply);
        }
        (tokens.access, tokens.refresh) =
            (reply.text_of("access_token"), reply.text_of("refresh_token"));
    }
    let path = "/api/v1/users/me";
    apis[n % 2].attempt(Method::GET, path, Some(&tokens.access), None).await
}

async fn under_load(instances: &[Instance; 2], what: &str, work: impl AsyncFnOnce()) -> Outcomes {
    let apis = [instances[0].api.clone(), instances[1].api.clone()];
    let mut people = Vec::new();
    for _ in 0..4 {
        let tokens = apis[0].sign_in().await;
        people.push(Arc::new(Mutex::new(tokens)));
    }
    let load =
        Load::start(4, move |worker, n| worker_request(apis.clone(), people[worker].clone(), n));
    work().await;
    load.stop(what).await
}

#[tokio::test(flavor = "multi_thread")]
async fn rotations_under_load_fail_no_request() {
    let database = Database::create().await;
    let settings = short_lives(&database).set("APP__AUTH__ACCESS_TTL", "10m");
    let instances = pair(&settings).await;
    let outcomes = under_load(&instances, "requests during rotations", async || {
        for more in [&[][..], &[], &["--now"], &["--now"], &[], &["--now"]] {
            rotate(&settings, more);
            tokio::time::sleep(Duration::from_millis(700)).await;
        }
        tokio::time::sleep(Duration::from_secs(3)).await;
    })
    .await;
    outcomes.all_ok("a rotation");
    let events = "select count(*) from audit_events where action = 'auth.keys_rotated'";
    assert_eq!(database.number(events).await, 6);
}

/// A key whose turn was already set, overtaken by `--now`, must not come back to sign: it is
/// honoured for less time than the tokens it would sign.
#[tokio::test(flavor = "multi_thread")]
async fn a_scheduled_key_that_was_overtaken_never_signs() {
    let database = Database::create().await;
    let settings = short_lives(&database);
    let instances = pair(&settings).await;
    rotate(&settings, &[]);
    let scheduled = rotate(&settings, &[]);
    let immediate = rotate(&settings, &["--now"]);
    let outcomes = under_load(&instances, "requests around an overtaken key", async || {
        tokio::time::sleep(Duration::from_secs(10)).await;
    })
    .await;
    outcomes.all_ok("an overtaken key");
    let signer = kid(&instances[0].api.sign_in().await.access);
    assert_ne!(signer, scheduled);
    assert_eq!(signer, immediate);
}
