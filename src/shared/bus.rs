//! Messages between instances, and how many instances there are.
//!
//! A message is a hint that may be lost: whoever needs the truth reads it elsewhere and lets the
//! bus only shorten the wait. Subscribers of this instance get it at once, with or without Redis;
//! those of the others by Redis pub/sub, over one channel for all topics.
//!
//! Every instance writes down every 5 s, by the clock of the Redis server, that it is there.

use crate::telemetry::metrics as names;
use std::collections::HashMap;
use std::hash::{BuildHasher, RandomState};
use std::sync::{Arc, LazyLock, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use deadpool_redis::redis::{Script, cmd};
use tokio::sync::{broadcast, mpsc, watch};
use tokio::time::{MissedTickBehavior, interval, sleep};
use tokio_util::sync::CancellationToken;

use crate::redis::{Redis, RedisError};

/// Messages that wait to be sent; more are lost.
const OUTBOX: usize = 1_024;
/// Messages that a subscriber may lag behind before it is told that it missed some.
const BACKLOG: usize = 256;
const HEARTBEAT: Duration = Duration::from_secs(5);
/// Who was silent for longer, in seconds, is gone.
const SILENT: u64 = 15;
const RETRY_FIRST: Duration = Duration::from_millis(100);
const RETRY_MOST: Duration = Duration::from_secs(2);

static COUNT_IN: LazyLock<Script> = LazyLock::new(|| {
    Script::new(
        r"local now = tonumber(redis.call('TIME')[1])
        redis.call('ZADD', KEYS[1], now, ARGV[1])
        redis.call('ZREMRANGEBYSCORE', KEYS[1], '-inf', '(' .. (now - ARGV[2]))
        redis.call('EXPIRE', KEYS[1], ARGV[2])
        return redis.call('ZCARD', KEYS[1])",
    )
});

/// Clones share everything.
#[derive(Clone)]
pub struct Bus(Arc<Inner>);

struct Inner {
    redis: Option<Redis>,
    instance: String,
    topics: Mutex<Topics>,
    outbox: mpsc::Sender<String>,
    unsent: tokio::sync::Mutex<mpsc::Receiver<String>>,
    instances: watch::Sender<u32>,
}

type Topics = HashMap<&'static str, broadcast::Sender<String>>;

impl Bus {
    /// `instance` is a name that no other process has, without a line break. [`Bus::run`] must be
    /// spawned.
    pub fn new(redis: Option<Redis>, instance: impl Into<String>) -> Self {
        let (outbox, unsent) = mpsc::channel(OUTBOX);
        Self(Arc::new(Inner {
            redis,
            instance: instance.into(),
            topics: Mutex::default(),
            outbox,
            unsent: tokio::sync::Mutex::new(unsent),
            instances: watch::Sender::new(1),
        }))
    }

    /// Never waits and never fails. `topic` has no line break.
    pub fn publish(&self, topic: &'static str, payload: &str) {
        self.deliver(topic, payload);
        if self.0.redis.is_some() {
            let frame = format!("{}\n{topic}\n{payload}", self.0.instance);
            let sent = self.0.outbox.try_send(frame);
            sent.unwrap_or_else(|_| metrics::counter!(names::BUS_LOST).increment(1));
        }
    }

    /// What is published from now on. A `Lagged` receiver has missed messages, and one that lives
    /// through an outage of Redis has too, without being told.
    pub fn subscribe(&self, topic: &'static str) -> broadcast::Receiver<String> {
        let mut topics = self.topics();
        let sender = topics.entry(topic);
        sender.or_insert_with(|| broadcast::Sender::new(BACKLOG)).subscribe()
    }

    /// How many instances live, this one included. While Redis is away the last count stands;
    /// without Redis, and at the start, it is 1. One that crashed is counted for 15 s more.
    pub fn instances(&self) -> watch::Receiver<u32> {
        self.0.instances.subscribe()
    }

    /// Connects the instance with the others until stopped; then sends what is unsent and leaves.
    /// Returns at once if there is no Redis.
    pub async fn run(&self, stop: CancellationToken) {
        let Some(redis) = &self.0.redis else {
            return;
        };
        let work = async { tokio::join!(self.send(redis), self.listen(redis), self.beat(redis)) };
        tokio::select! {
            () = stop.cancelled() => {}
            _ = work => {}
        }
        metrics::gauge!(names::BUS_CONNECTED).set(0.0);
        self.leave(redis).await;
    }

    async fn send(&self, redis: &Redis) {
        let mut unsent = self.0.unsent.lock().await;
        while let Some(frame) = unsent.recv().await {
            transmit(redis, &frame).await;
        }
    }

    async fn listen(&self, redis: &Redis) {
        let channel = redis.channel("bus");
        let mut attempt = 0;
        loop {
            if let Ok(mut subscription) = redis.subscribe(&channel).await {
                metrics::gauge!(names::BUS_CONNECTED).set(1.0);
                tracing::info!("the bus is connected");
                attempt = 0;
                while let Some(frame) = subscription.next().await {
                    self.receive(&frame);
                }
                metrics::gauge!(names::BUS_CONNECTED).set(0.0);
                tracing::warn!("the bus lost its connection");
            }
            sleep(pause(attempt)).await;
            attempt += 1;
        }
    }

    async fn beat(&self, redis: &Redis) {
        let mut ticks = interval(HEARTBEAT);
        ticks.set_missed_tick_behavior(MissedTickBehavior::Delay);
        loop {
            ticks.tick().await;
            if let Ok(alive) = self.count_in(redis).await {
                metrics::gauge!(names::INSTANCES).set(alive);
                let changed = |last: &mut u32| std::mem::replace(last, alive) != alive;
                self.0.instances.send_if_modified(changed);
            }
        }
    }

    async fn count_in(&self, redis: &Redis) -> Result<u32, RedisError> {
        let mut call = COUNT_IN.key(instances_key(redis));
        call.arg(&self.0.instance).arg(SILENT);
        let alive: u32 = redis.run_script("heartbeat", &call).await?;
        Ok(alive.max(1))
    }

    async fn leave(&self, redis: &Redis) {
        let mut unsent = self.0.unsent.lock().await;
        while let Ok(frame) = unsent.try_recv() {
            transmit(redis, &frame).await;
        }
        let mut forget = cmd("ZREM");
        forget.arg(instances_key(redis)).arg(&self.0.instance);
        // Whoever cannot say good-bye is missed in 15 s.
        _ = redis.run::<u32>("heartbeat", &forget).await;
    }

    /// A frame of another instance; one of our own was delivered when it was published.
    fn receive(&self, frame: &str) {
        let mut parts = frame.splitn(3, '\n');
        let parts = (parts.next(), parts.next(), parts.next());
        if let (Some(from), Some(topic), Some(payload)) = parts
            && from != self.0.instance
        {
            self.deliver(topic, payload);
        }
    }

    fn deliver(&self, topic: &str, payload: &str) {
        if let Some(subscribers) = self.topics().get(topic) {
            // An error means that nobody listens any more.
            _ = subscribers.send(payload.to_owned());
        }
    }

    /// Nothing that can panic runs while a topic is added, so a poisoned lock is as good.
    fn topics(&self) -> MutexGuard<'_, Topics> {
        self.0.topics.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

fn instances_key(redis: &Redis) -> String {
    redis.key("instances", "alive")
}

async fn transmit(redis: &Redis, frame: &str) {
    let mut publish = cmd("PUBLISH");
    publish.arg(redis.channel("bus")).arg(frame);
    if redis.run::<u32>("publish", &publish).await.is_err() {
        metrics::counter!(names::BUS_LOST).increment(1);
    }
}

/// Doubles from 100 ms to 2 s. The upper half is left to chance, so that instances which lost the
/// same Redis do not come back to it together.
fn pause(attempt: u32) -> Duration {
    let whole = RETRY_FIRST.saturating_mul(1 << attempt.min(10));
    let whole = whole.min(RETRY_MOST);
    let chance = RandomState::new().hash_one(attempt) % 1_000;
    whole.mul_f64(0.5 + chance as f64 / 2_000.0)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::shared::clock::Clock;
    use tokio::time::{Instant, timeout};

    const PATIENCE: Duration = Duration::from_secs(10);

    /// Instances over one Redis, with a prefix of their own.
    fn fleet(size: usize) -> Vec<(Bus, CancellationToken)> {
        let url = std::env::var("REDIS_URL");
        let url = url.expect("set REDIS_URL to a Redis for the tests, as `make test` does");
        let prefix = format!("test:{}:", Clock::default().new_id().simple());
        let start = |i| {
            let redis = Redis::new(&url, &prefix, Duration::from_millis(100));
            let bus = Bus::new(redis.ok(), format!("instance-{i}"));
            let (running, stop) = (bus.clone(), CancellationToken::new());
            let stopped = stop.clone();
            tokio::spawn(async move { running.run(stopped).await });
            (bus, stop)
        };
        (0..size).map(start).collect()
    }

    async fn heard(receiver: &mut broadcast::Receiver<String>) -> Option<String> {
        let message = timeout(Duration::from_millis(50), receiver.recv()).await;
        message.ok()?.ok()
    }

    #[tokio::test]
    async fn a_message_reaches_its_own_instance_at_once_even_without_redis() {
        let bus = Bus::new(None, "alone");
        let (mut here, mut elsewhere) = (bus.subscribe("users"), bus.subscribe("orders"));
        bus.publish("users", "1");
        assert_eq!(here.try_recv().as_deref(), Ok("1"));
        assert!(elsewhere.try_recv().is_err());
        bus.run(CancellationToken::new()).await;
        assert_eq!(*bus.instances().borrow(), 1);
    }

    #[tokio::test]
    async fn a_message_reaches_every_other_instance_and_its_own_only_once() {
        let fleet = fleet(2);
        let mut receivers: Vec<_> = fleet.iter().map(|(b, _)| b.subscribe("users")).collect();
        let start = Instant::now();
        let arrived = loop {
            fleet[0].0.publish("users", "a\nb");
            assert_eq!(heard(&mut receivers[0]).await.as_deref(), Some("a\nb"));
            if let Some(message) = heard(&mut receivers[1]).await {
                break message;
            }
            assert!(start.elapsed() < PATIENCE, "nothing arrives");
        };
        assert_eq!(arrived, "a\nb");
        assert_eq!(heard(&mut receivers[0]).await, None, "no echo");
    }

    #[tokio::test]
    async fn instances_are_counted_and_one_that_stops_is_not_counted_any_more() {
        let fleet = fleet(3);
        let mut counts = fleet[2].0.instances();
        let mut becomes = async |n| {
            let counted = timeout(2 * PATIENCE, counts.wait_for(|count| *count == n)).await;
            assert!(counted.is_ok(), "never {n}");
        };
        becomes(3).await;
        fleet[0].1.cancel();
        becomes(2).await;
    }

    #[tokio::test]
    async fn publishing_to_a_redis_that_is_away_neither_waits_nor_fails() {
        let redis = Redis::new("redis://127.0.0.1:1", "test:", Duration::from_millis(100));
        let bus = Bus::new(redis.ok(), "lonely");
        let mut here = bus.subscribe("users");
        let start = Instant::now();
        (0..2 * OUTBOX).for_each(|_| bus.publish("users", "1"));
        assert!(start.elapsed() < Duration::from_millis(200));
        assert!(here.recv().await.is_err(), "lagged, and told so");
    }

    #[test]
    fn pauses_grow_to_two_seconds_and_are_never_short() {
        for attempt in 0..100 {
            let whole = RETRY_MOST.min(RETRY_FIRST * (1 << attempt.min(5)));
            assert!((whole / 2..=whole).contains(&pause(attempt)));
        }
    }
}
