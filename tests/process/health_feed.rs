//! An instance that cannot read the change feed, though Postgres answers: where no token is
//! honoured, no traffic should go.

use std::time::Duration;

use crate::support::{Database, Instance, Settings, within};

const RECOVERY: Duration = Duration::from_secs(5);

#[tokio::test(flavor = "multi_thread")]
async fn an_instance_that_refuses_tokens_for_its_feed_is_not_ready() {
    let database = Database::create().await;
    let instance = Instance::ready(&Settings::new(&database.url).with_redis()).await;
    let (api, tokens) = (&instance.api, instance.api.sign_in().await);
    let standing = async |check: &str| {
        let ready = api.get("/health/ready").await;
        (ready.status, ready.json()["checks"][check]["status"].as_str().unwrap_or("").to_owned())
    };
    assert_eq!(standing("feed").await, (200, "ok".to_owned()));
    let lock = database.lock("change_feed").await;
    within("degraded by a late feed", Duration::from_secs(6), async || {
        standing("feed").await == (200, "degraded".to_owned())
    })
    .await;
    api.get_as(&tokens.access, "/api/v1/ping").await.expect(200);
    within("not ready with a stale feed", Duration::from_secs(26), async || {
        standing("feed").await == (503, "unavailable".to_owned())
    })
    .await;
    assert!(api.get_as(&tokens.access, "/api/v1/ping").await.is_clear_503());
    assert_eq!(standing("postgres").await.1, "ok");
    lock.release().await;
    within("ready when the feed is read again", RECOVERY, async || {
        standing("feed").await == (200, "ok".to_owned())
            && api.get_as(&tokens.access, "/api/v1/ping").await.status == 200
    })
    .await;
}
