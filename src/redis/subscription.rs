//! Listening on a channel.

use std::time::Duration;

use deadpool_redis::redis::{
    RedisResult, Value,
    aio::{PubSubSink, PubSubStream},
};
use futures_util::stream::StreamExt;
use tokio::time::timeout;

use super::{CONNECT_DEADLINE, Redis, RedisError};

/// One that heard nothing for so long asks whether anybody is there.
const SILENCE: Duration = Duration::from_secs(5);

/// Messages of one channel. Those sent while nobody is connected are lost.
pub struct Subscription {
    sink: PubSubSink,
    messages: PubSubStream,
}

impl Redis {
    /// Listens on a channel (its full name) over a connection of its own, past the breaker: the
    /// subscriber has its own patience. Takes a second at most.
    pub async fn subscribe(&self, channel: &str) -> Result<Subscription, RedisError> {
        let subscribing = async {
            let mut connection = self.0.client.get_async_pubsub().await?;
            connection.subscribe(channel).await?;
            RedisResult::Ok(connection.split())
        };
        match timeout(CONNECT_DEADLINE, subscribing).await {
            Ok(Ok((sink, messages))) => Ok(Subscription { sink, messages }),
            Ok(Err(error)) => Err(RedisError::from(&error)),
            Err(_) => Err(RedisError::Timeout),
        }
    }
}

impl Subscription {
    /// The next message, or `None` when the connection is gone: subscribe again. A connection
    /// that died without a word is found out within 6 s. Messages that are not text are skipped.
    pub async fn next(&mut self) -> Option<String> {
        loop {
            match timeout(SILENCE, self.messages.next()).await {
                Ok(message) => match message?.get_payload() {
                    Ok(text) => return Some(text),
                    Err(_) => continue,
                },
                Err(_) => self.somebody_there().await?,
            }
        }
    }

    pub(super) async fn somebody_there(&mut self) -> Option<()> {
        let answer = timeout(CONNECT_DEADLINE, self.sink.ping::<Value>()).await;
        answer.ok()?.ok().map(drop)
    }
}
