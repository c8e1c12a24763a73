//! Publishes every event to a Redis stream, for programs that are none of ours. A stream may hold
//! an event twice after a crash; `id` tells.

use deadpool_redis::redis::cmd;
use futures_util::future::{BoxFuture, FutureExt};

use super::{Consumer, Handler, Outside};
use crate::{
    domain::events::{Event, Wants},
    error::{Error, Result},
    redis::Redis,
};

struct Publisher {
    redis: Redis,
    key: String,
    max_len: u32,
}

/// `stream` stands behind the prefix of all keys; beyond about `max_len` entries the oldest go.
pub fn consumer(redis: Redis, stream: &str, max_len: u32) -> Consumer {
    let key = redis.channel(stream);
    Consumer {
        name: "redis_stream",
        wants: Wants::All,
        blocking: false,
        handler: Handler::Outside(Box::new(Publisher { redis, key, max_len })),
    }
}

impl Publisher {
    async fn publish(&self, event: &Event) -> Result<()> {
        let mut add = cmd("XADD");
        add.arg(&self.key).arg("MAXLEN").arg("~").arg(self.max_len).arg("*");
        let sequence = event.sequence.to_string();
        for (name, value) in [
            ("id", event.id.to_string().as_str()),
            ("at", &event.at.to_rfc3339()),
            ("type", &event.kind),
            ("version", &event.version.to_string()),
            ("aggregate", &format!("{}:{}", event.aggregate_kind, event.aggregate_id)),
            ("sequence", &sequence),
            ("actor_id", &event.actor_id.map(|id| id.to_string()).unwrap_or_default()),
            ("request_id", &event.request_id),
            ("traceparent", event.traceparent.as_deref().unwrap_or_default()),
            ("payload", &event.payload.to_string()),
        ] {
            add.arg(name).arg(value);
        }
        let added = self.redis.run::<String>("outbox", &add).await;
        added.map(drop).map_err(|error| Error::unavailable(format!("Redis: {error:?}")))
    }
}

impl Outside for Publisher {
    fn handle<'a>(&'a self, event: &'a Event) -> BoxFuture<'a, Result<()>> {
        self.publish(event).boxed()
    }
}
