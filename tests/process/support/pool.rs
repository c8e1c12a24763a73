//! Whether the service's pool of connections is as it was before something happened to it.

use futures_util::future::join_all;

use super::{Database, Instance, eventually};

/// The pool's size in tests that count.
pub const SIZE: usize = 5;

/// Nothing is left open, and as many requests as the pool has connections can be in Postgres at
/// once. The token is of somebody who may read their own account.
pub async fn is_whole(instance: &Instance, database: &Database, access: &str) {
    database.is_at_rest().await;
    is_filled(instance, database, access).await;
    database.is_at_rest().await;
    // The probe behind /health/ready has a connection of its own, and a new one now and then.
    eventually("no other connection is open", async || {
        database.backends("true").await <= SIZE as i64 + 1
    })
    .await;
}

/// Makes the pool open all connections that it may have.
pub async fn is_filled(instance: &Instance, database: &Database, access: &str) {
    let lock = database.lock("users").await;
    let requests = (0..SIZE).map(|_| {
        let (api, access) = (instance.api.clone(), access.to_owned());
        tokio::spawn(async move { api.me(&access).await })
    });
    let requests: Vec<_> = requests.collect();
    eventually("every connection of the pool is in use", async || {
        database.waiting().await == SIZE as i64
    })
    .await;
    lock.release().await;
    for reply in join_all(requests).await {
        reply.expect("the request ends").expect(200);
    }
}
