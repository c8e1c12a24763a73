//! What the tests of shutting down share.

use reqwest::Method;
use serde_json::json;
use tokio::task::JoinHandle;

use super::{Api, Database, Reply, Settings, Tokens, eventually};

/// Limits that nest as closely as the rules of the configuration allow.
pub fn short(database: &Database, drain_delay: &str) -> Settings {
    Settings::new(&database.url)
        .with_redis()
        .set("APP__DATABASE__ACQUIRE_TIMEOUT", "500ms")
        .set("APP__DATABASE__LOCK_TIMEOUT", "4s")
        .set("APP__DATABASE__STATEMENT_TIMEOUT", "5s")
        .set("APP__SERVER__REQUEST_TIMEOUT", "6s")
        .set("APP__SERVER__HARD_TIMEOUT", "7s")
        .set("APP__SERVER__SHUTDOWN_TIMEOUT", "7s")
        .set("APP__SERVER__DRAIN_DELAY", drain_delay)
}

/// A change that cannot be made until the lock on `users` is released.
pub async fn blocked_change(
    api: &Api,
    database: &Database,
    tokens: &Tokens,
) -> JoinHandle<Result<Reply, String>> {
    let (client, access) = (api.without_keep_alive(), tokens.access.clone());
    let change = tokio::spawn(async move {
        let body = Some(json!({"name": "at the last moment"}));
        client.attempt(Method::PATCH, "/api/v1/users/me", Some(&access), body).await
    });
    eventually("the change stands before the lock", async || database.waiting().await == 1).await;
    change
}
