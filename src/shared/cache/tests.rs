//! The cache without a database: a table of changes in memory, and loaders that count.

use std::{
    sync::{
        Mutex,
        atomic::{AtomicBool, AtomicI64, AtomicU32, Ordering::SeqCst},
    },
    time::Duration,
};

use chrono::{DateTime, Utc};
use futures_util::future::join_all;
use tokio::{
    sync::{Notify, broadcast},
    time::{advance, sleep},
};
use tokio_util::sync::CancellationToken;
use uuid::Uuid;

use super::*;
use crate::{
    domain::feed::Change,
    error::{Code, Error},
    shared::{
        clock::Clock,
        feed::{Batch, News},
    },
};

const SECOND: Duration = Duration::from_secs(1);
const SETTINGS: Settings = Settings {
    enabled: true,
    memory_bytes: 1 << 20,
    ttl: Duration::from_secs(60),
    stale_ttl: Duration::from_secs(60),
    absent_ttl: Duration::from_secs(5),
};
const TAG: Tag = Tag::all("thing");

static THINGS: Family = Family::new("things", 1, Sharing::Always);
static QUERIES: Family = Family::new("queries", 1, Sharing::WhenReused);

/// The one row there is, and the feed beside it.
#[derive(Clone, Default)]
struct Table(Arc<Rows>);

#[derive(Default)]
struct Rows {
    value: AtomicI64,
    changes: Mutex<Vec<Change>>,
    loads: AtomicU32,
    unreadable: AtomicBool,
    /// What holds loads up after they have read.
    gate: Notify,
    gated: AtomicBool,
    abandoned: AtomicU32,
}

impl Table {
    /// Writes, and gives the id of the change.
    fn write(&self, value: i64) -> i64 {
        self.0.value.store(value, SeqCst);
        let mut changes = self.0.changes.lock().unwrap();
        let id = changes.len() as i64 + 1;
        let (kind, key) = ("thing".to_owned(), Uuid::nil());
        changes.push(Change { id, at: now(), kind, key, value: 0 });
        id
    }

    fn look(&self, after: i64) -> Result<Batch> {
        if self.0.unreadable.load(SeqCst) {
            return Err(Error::unavailable("the table is away"));
        }
        let changes = self.0.changes.lock().unwrap();
        let rows = changes.iter().filter(|change| change.id > after).cloned().collect();
        Ok(Batch { rows, newest: changes.len() as i64, now: now() })
    }

    /// What the row says now, told when the gate is open. Negative values are no row.
    async fn load(self) -> Result<Option<Rendered>> {
        let mut watch = Abandoned(Some(self.clone()));
        self.0.loads.fetch_add(1, SeqCst);
        let value = self.0.value.load(SeqCst);
        if self.0.gated.load(SeqCst) {
            self.0.gate.notified().await;
        }
        sleep(Duration::from_millis(1)).await;
        watch.0 = None;
        Ok((value >= 0).then(|| rendered(value)))
    }

    fn loads(&self) -> u32 {
        self.0.loads.load(SeqCst)
    }

    fn gate(&self, closed: bool) {
        self.0.gated.store(closed, SeqCst);
    }
}

/// Counts the loads that were dropped half way.
struct Abandoned(Option<Table>);

impl Drop for Abandoned {
    fn drop(&mut self) {
        if let Some(table) = &self.0 {
            table.0.abandoned.fetch_add(1, SeqCst);
        }
    }
}

fn now() -> DateTime<Utc> {
    Clock::default().now()
}

fn rendered(value: i64) -> Rendered {
    Rendered { label: value.to_string(), body: value.to_string().into() }
}

/// A cache on that table, with a follower of its own.
struct Instance {
    cache: Cache,
    table: Table,
    feed: Feed,
    _stop: tokio_util::sync::DropGuard,
}

impl Instance {
    async fn with(table: &Table, settings: Settings, redis: Option<Redis>) -> Self {
        let feed = Feed::default();
        let cache = Cache::new(settings, redis, feed.clone());
        let stop = CancellationToken::new();
        let (looked, applied) = (table.clone(), cache.clone());
        let look = move |after| std::future::ready(looked.look(after));
        let apply = move |news: &News| {
            news.rows.iter().for_each(|row| applied.apply(row.id, Scope::Tags(&[TAG])));
        };
        let (_, hints) = broadcast::channel(1);
        tokio::spawn(feed.clone().follow(hints, look, apply, stop.clone()));
        let this =
            Self { cache, table: table.clone(), feed: feed.clone(), _stop: stop.drop_guard() };
        while feed.looked_at().is_none() {
            sleep(Duration::from_millis(1)).await;
        }
        this
    }

    async fn alone() -> Self {
        Self::with(&Table::default(), SETTINGS, None).await
    }

    async fn served(&self, family: &'static Family) -> Result<Served> {
        let table = self.table.clone();
        self.cache.get_or_load(family, "1", &[TAG], move || table.load()).await
    }

    /// The value (-1 for none) and how it was found.
    async fn read(&self) -> (i64, Found) {
        let served = self.served(&THINGS).await.expect("served");
        let value = served.value.map_or(-1, |value| value.label.parse().expect("a number"));
        (value, served.found)
    }

    fn read_in_background(&self) -> tokio::task::JoinHandle<(i64, Found)> {
        let (cache, table) = (self.cache.clone(), self.table.clone());
        tokio::spawn(async move {
            let load = move || table.load();
            let served = cache.get_or_load(&THINGS, "1", &[TAG], load).await.expect("served");
            (served.value.map_or(-1, |value| value.label.parse().unwrap()), served.found)
        })
    }

    fn write(&self, value: i64) {
        let change = self.table.write(value);
        self.cache.invalidate(change, Scope::Tags(&[TAG]));
        self.feed.nudge();
    }
}

#[tokio::test(start_paused = true)]
async fn a_crowd_of_readers_costs_one_load_and_later_ones_none() {
    let one = Instance::alone().await;
    let crowd = join_all((0..500).map(|_| one.read())).await;
    assert!(crowd.iter().all(|read| *read == (0, Found::Miss)));
    assert_eq!(one.read().await, (0, Found::Hit));
    assert_eq!(one.table.loads(), 1);
}

#[tokio::test(start_paused = true)]
async fn a_write_is_seen_at_once_here_and_by_the_next_look_elsewhere() {
    let one = Instance::alone().await;
    let other = Instance::with(&one.table, SETTINGS, None).await;
    assert_eq!((one.read().await.0, other.read().await.0), (0, 0));
    one.write(1);
    assert_eq!(one.read().await, (1, Found::Miss));
    assert_eq!(other.read().await, (0, Found::Hit));
    sleep(Duration::from_millis(310)).await;
    assert_eq!(other.read().await, (1, Found::Miss));
    // The feed has told the writer nothing new.
    assert_eq!(one.read().await, (1, Found::Hit));
}

#[tokio::test(start_paused = true)]
async fn a_read_that_began_before_a_write_puts_nothing_back_and_nobody_joins_it() {
    let one = Instance::alone().await;
    one.table.gate(true);
    let early = one.read_in_background();
    sleep(Duration::from_millis(5)).await;
    one.write(1);
    one.table.gate(false);
    assert_eq!(one.read().await, (1, Found::Miss));
    one.table.0.gate.notify_one();
    assert_eq!(early.await.unwrap().0, 0);
    assert_eq!(one.read().await, (1, Found::Hit));
}

#[tokio::test(start_paused = true)]
async fn who_leads_may_leave_and_the_others_have_the_value_of_the_same_load() {
    let one = Instance::alone().await;
    one.table.gate(true);
    let leader = one.read_in_background();
    sleep(Duration::from_millis(5)).await;
    let others: Vec<_> = (0..20).map(|_| one.read_in_background()).collect();
    sleep(Duration::from_millis(5)).await;
    leader.abort();
    sleep(Duration::from_millis(5)).await;
    one.table.0.gate.notify_one();
    for other in others {
        assert_eq!(other.await.unwrap().0, 0);
    }
    assert_eq!(one.table.loads(), 1);
}

#[tokio::test(start_paused = true)]
async fn when_nobody_waits_any_more_the_load_stops_and_the_next_reader_begins_anew() {
    let one = Instance::alone().await;
    one.table.gate(true);
    let readers: Vec<_> = (0..3).map(|_| one.read_in_background()).collect();
    sleep(Duration::from_millis(5)).await;
    readers.iter().for_each(|reader| reader.abort());
    sleep(Duration::from_millis(5)).await;
    assert_eq!(one.table.0.abandoned.load(SeqCst), 1);
    one.table.gate(false);
    assert_eq!(one.read().await, (0, Found::Miss));
}

#[tokio::test(start_paused = true)]
async fn a_failure_is_told_to_all_who_waited_and_is_not_kept() {
    let one = Instance::alone().await;
    let fail = async || {
        let load = || async {
            sleep(Duration::from_millis(1)).await;
            Err(Error::unavailable("the disk is on fire"))
        };
        one.cache.get_or_load(&THINGS, "1", &[TAG], load).await.expect_err("failed")
    };
    let errors = join_all((0..10).map(|_| fail())).await;
    let alike = |error: &Error| {
        error.code() == Code::DependencyUnavailable && error.retry_after_secs() == Some(1)
    };
    assert!(errors.iter().all(alike));
    let told = errors.iter().filter(|error| error.chain().contains("on fire")).count();
    assert_eq!(told, 1, "one of them is logged with the cause");
    assert_eq!(one.read().await, (0, Found::Miss));
}

#[tokio::test(start_paused = true)]
async fn a_load_that_panics_leaves_nobody_waiting() {
    let one = Instance::alone().await;
    let panic = || async { panic!("a bug") };
    let answer = one.cache.get_or_load(&THINGS, "1", &[TAG], panic).await;
    assert_eq!(answer.expect_err("failed").code(), Code::Internal);
    assert_eq!(one.read().await, (0, Found::Miss));
}

#[tokio::test(start_paused = true)]
async fn a_load_that_panics_before_it_begins_holds_nobody_up() {
    let one = Instance::alone().await;
    let cache = one.cache.clone();
    let panic = || -> std::future::Ready<Result<Option<Rendered>>> { panic!("a bug") };
    let reader = tokio::spawn(async move { cache.get_or_load(&THINGS, "1", &[TAG], panic).await });
    assert!(reader.await.expect_err("it panicked").is_panic());
    assert_eq!(one.read().await, (0, Found::Miss));
}

#[tokio::test(start_paused = true)]
async fn that_nothing_is_there_is_kept_for_five_seconds_or_until_it_is_made() {
    let one = Instance::alone().await;
    one.table.write(-1);
    sleep(SECOND).await;
    assert_eq!([one.read().await, one.read().await], [(-1, Found::Miss), (-1, Found::Hit)]);
    sleep(Duration::from_millis(4990)).await;
    assert_eq!(one.read().await, (-1, Found::Hit));
    sleep(Duration::from_millis(20)).await;
    assert_eq!(one.read().await, (-1, Found::Miss));
    one.write(3);
    assert_eq!(one.read().await, (3, Found::Miss));
}

#[tokio::test(start_paused = true)]
async fn a_crowd_at_expiry_is_served_while_one_load_refreshes() {
    let one = Instance::alone().await;
    one.read().await;
    sleep(61 * SECOND).await;
    let crowd = join_all((0..500).map(|_| one.read())).await;
    assert!(crowd.iter().all(|read| *read == (0, Found::Stale)));
    sleep(Duration::from_millis(5)).await;
    assert_eq!(one.read().await, (0, Found::Hit));
    assert_eq!(one.table.loads(), 2);
}

#[tokio::test(start_paused = true)]
async fn a_value_in_use_is_refreshed_before_it_expires() {
    let one = Instance::alone().await;
    for _ in 0..600 {
        assert_ne!(one.read().await.1, Found::Stale);
        sleep(Duration::from_millis(500)).await;
    }
    let loads = one.table.loads();
    assert!((6..=7).contains(&loads), "{loads} loads in 300 s");
}

#[tokio::test(start_paused = true)]
async fn what_was_invalidated_is_not_served_for_being_expired() {
    let one = Instance::alone().await;
    one.read().await;
    sleep(61 * SECOND).await;
    one.write(1);
    assert_eq!(one.read().await, (1, Found::Miss));
}

#[tokio::test(start_paused = true)]
async fn while_the_feed_cannot_be_read_values_live_a_second_and_loads_stay_single() {
    let one = Instance::alone().await;
    one.table.0.unreadable.store(true, SeqCst);
    sleep(2 * SECOND).await;
    for _ in 0..100 {
        // Somebody else writes, and this instance hears nothing of it.
        let written = one.table.0.value.fetch_add(1, SeqCst) + 1;
        let begun = Instant::now();
        advance(SECOND).await;
        let crowd = join_all((0..10).map(|_| one.read())).await;
        assert!(crowd.iter().all(|(value, _)| *value >= written), "{:?}", begun.elapsed());
    }
    assert_eq!(one.table.loads(), 100);
    assert_eq!(one.read().await.1, Found::Hit);
    one.table.0.unreadable.store(false, SeqCst);
    sleep(SECOND).await;
    one.read().await;
    sleep(10 * SECOND).await;
    assert_eq!(one.read().await.1, Found::Hit);
}

#[tokio::test(start_paused = true)]
async fn switched_off_it_loads_every_time() {
    let off = Settings { enabled: false, ..SETTINGS };
    let one = Instance::with(&Table::default(), off, None).await;
    assert_eq!([one.read().await, one.read().await], [(0, Found::Bypass); 2]);
    assert_eq!(one.table.loads(), 2);
}

#[tokio::test(start_paused = true)]
async fn memory_stays_within_its_bound() {
    let one = Instance::alone().await;
    for id in 0..2000 {
        let load = || async {
            Ok(Some(Rendered { label: String::new(), body: vec![b'x'; 10_000].into() }))
        };
        one.cache.get_or_load(&THINGS, &id.to_string(), &[TAG], load).await.unwrap();
    }
    let (entries, bytes) = one.cache.size();
    assert!(entries > 50 && bytes <= SETTINGS.memory_bytes, "{entries} {bytes}");
}

#[tokio::test(start_paused = true)]
async fn a_restored_table_makes_everything_unknown() {
    let one = Instance::alone().await;
    one.read().await;
    one.cache.restart();
    assert_eq!(one.read().await, (0, Found::Miss));
}

fn redis(prefix: &str) -> Redis {
    let url = std::env::var("REDIS_URL");
    let url = url.expect("set REDIS_URL to a Redis for the tests, as `make test` does");
    Redis::new(&url, prefix, Duration::from_millis(100)).expect("a URL")
}

fn prefix() -> String {
    format!("test:{}:", Clock::default().new_id().simple())
}

/// Two instances that share a Redis.
async fn pair() -> (Instance, Instance, Redis) {
    let (table, redis) = (Table::default(), redis(&prefix()));
    // The first command pays for the connection.
    redis.ping().await.expect("REDIS_URL answers");
    let one = Instance::with(&table, SETTINGS, Some(redis.clone())).await;
    (one, Instance::with(&table, SETTINGS, Some(redis.clone())).await, redis)
}

async fn stored(redis: &Redis, key: &str) -> Option<Vec<u8>> {
    let mut get = deadpool_redis::redis::cmd("GET");
    redis.run("test", get.arg(redis.key("cache", key))).await.expect("answers")
}

async fn store(redis: &Redis, key: &str, text: &[u8]) {
    let mut set = deadpool_redis::redis::cmd("SET");
    let set = set.arg(redis.key("cache", key)).arg(text);
    redis.run::<()>("test", set).await.expect("stored");
}

async fn until_stored(redis: &Redis, key: &str) -> Vec<u8> {
    for _ in 0..600 {
        if let Some(text) = stored(redis, key).await {
            return text;
        }
        sleep(Duration::from_millis(5)).await;
    }
    panic!("{key} never came to Redis");
}

/// Until both followers have seen all changes.
async fn caught_up(instances: &[&Instance]) {
    for instance in instances {
        let newest = instance.table.0.changes.lock().unwrap().len() as i64;
        while instance.feed.complete() < newest {
            instance.feed.nudge();
            sleep(Duration::from_millis(2)).await;
        }
    }
}

#[tokio::test]
async fn what_one_instance_has_loaded_the_other_finds_in_redis() {
    let (one, other, redis) = pair().await;
    one.read().await;
    until_stored(&redis, "things:1").await;
    assert_eq!([other.read().await, other.read().await], [(0, Found::Hit); 2]);
    assert_eq!(one.table.loads(), 1);
}

#[tokio::test]
async fn an_instance_takes_nothing_from_redis_that_it_knows_to_be_replaced() {
    let (one, other, redis) = pair().await;
    one.read().await;
    let old = until_stored(&redis, "things:1").await;
    other.write(1);
    // Its follower has not seen the change: its own mark is what counts.
    assert_eq!(other.read().await, (1, Found::Miss));
    caught_up(&[&one, &other]).await;
    store(&redis, "things:1", &old).await;
    assert_eq!([one.read().await, other.read().await], [(1, Found::Miss), (1, Found::Hit)]);
}

#[tokio::test]
async fn an_old_read_that_ends_late_is_not_believed_by_who_knows_better() {
    let (one, other, redis) = pair().await;
    caught_up(&[&one, &other]).await;
    // The reader hears nothing of the write: it takes what it has read for the truth.
    one.table.gate(true);
    let early = one.read_in_background();
    sleep(Duration::from_millis(20)).await;
    one.table.gate(false);
    let change = other.table.write(1);
    other.cache.invalidate(change, Scope::Tags(&[TAG]));
    one.table.0.gate.notify_one();
    assert_eq!(early.await.unwrap().0, 0);
    until_stored(&redis, "things:1").await;
    assert_eq!(other.read().await, (1, Found::Miss));
    caught_up(&[&one, &other]).await;
    assert_eq!(one.read().await.0, 1);
}

#[tokio::test]
async fn what_others_would_not_take_is_not_written() {
    let (one, other, redis) = pair().await;
    let change = one.table.write(5);
    one.cache.invalidate(change, Scope::Tags(&[TAG]));
    assert!(one.feed.complete() < change, "the follower was quicker than this test");
    assert_eq!(one.read().await, (5, Found::Miss));
    caught_up(&[&one, &other]).await;
    assert_eq!(stored(&redis, "things:1").await, None);
    assert_eq!(one.read().await, (5, Found::Hit));
    until_stored(&redis, "things:1").await;
    assert_eq!(other.read().await, (5, Found::Hit));
}

#[tokio::test]
async fn entries_that_are_corrupt_or_of_another_schema_or_timeline_are_misses() {
    let (one, other, redis) = pair().await;
    let foreign = Family::new("things", 2, Sharing::Always);
    let sealed = |family, as_of| envelope::seal(family, "things:1", as_of, &rendered(99));
    for text in [b"rubbish".to_vec(), Vec::new(), sealed(&foreign, 0), sealed(&THINGS, 1_000)] {
        one.write(7);
        caught_up(&[&one, &other]).await;
        store(&redis, "things:1", &text).await;
        assert_eq!(one.read().await, (7, Found::Miss));
    }
    one.write(7);
    caught_up(&[&one, &other]).await;
    store(&redis, "things:1", &sealed(&THINGS, one.feed.complete())).await;
    assert_eq!(one.read().await, (99, Found::Hit), "the test would not have noticed");
}

#[tokio::test]
async fn what_clients_make_up_comes_to_redis_only_when_it_is_asked_for_again() {
    let (one, _, redis) = pair().await;
    one.served(&QUERIES).await.unwrap();
    sleep(Duration::from_millis(50)).await;
    assert_eq!(stored(&redis, "queries:1").await, None);
    one.served(&QUERIES).await.unwrap();
    until_stored(&redis, "queries:1").await;
}

#[tokio::test]
async fn that_nothing_is_there_is_told_to_nobody_else() {
    let (one, other, redis) = pair().await;
    one.write(-1);
    caught_up(&[&one, &other]).await;
    assert_eq!(one.read().await, (-1, Found::Miss));
    sleep(Duration::from_millis(50)).await;
    assert_eq!(stored(&redis, "things:1").await, None);
    assert_eq!(other.read().await, (-1, Found::Miss));
}

#[tokio::test]
async fn without_memory_redis_alone_is_the_cache() {
    let redis = redis(&prefix());
    redis.ping().await.expect("REDIS_URL answers");
    let none = Settings { memory_bytes: 0, ..SETTINGS };
    let one = Instance::with(&Table::default(), none, Some(redis.clone())).await;
    one.read().await;
    until_stored(&redis, "things:1").await;
    assert_eq!([one.read().await, one.read().await], [(0, Found::Hit); 2]);
    assert_eq!((one.table.loads(), one.cache.size().0), (1, 0));
}

#[tokio::test]
async fn a_redis_that_is_away_costs_nothing_but_the_loads() {
    let away = Redis::new("redis://127.0.0.1:1", "x:", Duration::from_millis(100)).expect("a URL");
    let one = Instance::with(&Table::default(), SETTINGS, Some(away)).await;
    for value in 0..50 {
        one.write(value);
        assert_eq!(one.read().await, (value, Found::Miss));
        assert_eq!(one.read().await, (value, Found::Hit));
    }
}

#[tokio::test]
async fn chance_reads_over_three_instances_are_never_older_than_promised() {
    let seed: u64 = u64::from_be_bytes(crate::shared::crypto::random());
    println!("seed {seed}");
    let (table, redis) = (Table::default(), redis(&prefix()));
    let mut instances = Vec::new();
    for _ in 0..3 {
        instances.push(Instance::with(&table, SETTINGS, Some(redis.clone())).await);
    }
    let mut state = seed;
    let mut acknowledged: Vec<(Instant, i64)> = vec![(Instant::now(), 0)];
    let mut written_by = 0;
    for step in 0..3000 {
        state = state.wrapping_mul(6364136223846793005).wrapping_add(1442695040888963407);
        let (dice, who) = ((state >> 33) % 100, (state >> 50) as usize % 3);
        match dice {
            0..8 => {
                instances[who].write(step);
                acknowledged.push((Instant::now(), step));
                written_by = who;
            }
            8..10 => sleep(Duration::from_millis((state >> 40) % 40)).await,
            _ => {
                let begun = Instant::now();
                let (value, found) = instances[who].read().await;
                let old = |at: &Instant| who == written_by || begun.duration_since(*at) > SECOND;
                let least = acknowledged.iter().rev().find(|(at, _)| old(at));
                let least = least.map_or(0, |(_, value)| *value);
                assert!(value >= least, "step {step}: {value} < {least}, {found:?}, seed {seed}");
            }
        }
    }
    println!("{} writes, {} loads", acknowledged.len(), table.loads());
}
