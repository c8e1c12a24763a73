//! The tier in Redis. Reading waits as long as any command of Redis may, and not at all while the
//! breaker is open; writing happens beside the request, and is left undone rather than queued.

use std::{sync::Arc, time::Duration};

use bytes::Bytes;
use deadpool_redis::redis;
use tokio::sync::Semaphore;

use super::{
    Family, Rendered,
    envelope::{self, Found, Refusal},
};
use crate::redis::Redis;

const NAMESPACE: &str = "cache";
/// Writes under way.
const WRITES: usize = 64;
/// Larger values are cheaper to load than to keep for everybody.
const LARGEST: usize = 512 * 1024;

pub struct SharedTier {
    redis: Option<Redis>,
    ttl: Duration,
    writes: Arc<Semaphore>,
}

impl SharedTier {
    pub fn new(redis: Option<Redis>, ttl: Duration) -> Self {
        Self { redis, ttl, writes: Arc::new(Semaphore::new(WRITES)) }
    }

    /// What does not answer or cannot be read is a miss.
    pub async fn get(&self, family: &Family, key: &str) -> Option<Found> {
        let redis = self.redis.as_ref()?;
        let mut get = redis::cmd("GET");
        get.arg(redis.key(NAMESPACE, key));
        let text: Option<Bytes> = redis.run("cache.get", &get).await.ok()?;
        let refused = |refusal: Refusal| {
            family.count_refused(match refusal {
                Refusal::Corrupt => "corrupt",
                Refusal::OtherSchema => "schema",
            });
        };
        envelope::open(family, key, text?).inspect_err(|refusal| refused(*refusal)).ok()
    }

    pub fn put(&self, family: &'static Family, key: &str, as_of: i64, value: Arc<Rendered>) {
        let Some(redis) = self.redis.clone().filter(|redis| redis.available()) else { return };
        if value.body.len() > LARGEST {
            return;
        }
        let Ok(permit) = self.writes.clone().try_acquire_owned() else { return };
        let (key, ttl) = (key.to_owned(), self.ttl.as_millis() as u64);
        tokio::spawn(async move {
            let _permit = permit;
            let text = envelope::seal(family, &key, as_of, &value);
            let mut set = redis::cmd("SET");
            set.arg(redis.key(NAMESPACE, &key)).arg(text).arg("PX").arg(ttl);
            // Counted by what talks to Redis; the next load tries again.
            let _ = redis.run::<redis::Value>("cache.set", &set).await;
        });
    }
}
