//! A cache in two tiers, in the process and in Redis, that never shows what a write has replaced.
//! It knows neither what it holds nor who asks: keys and tags are words of its callers, values are
//! bytes that a door has rendered.
//!
//! **What is promised.** A read that begins after a write was acknowledged sees it: at once on the
//! instance that wrote, within [`BOUND`] on the others, whatever Redis does.
//!
//! **How.** Every entry has tags, and a write leaves a row for its tags in the change feed, in its
//! own transaction. Whoever applies that row remembers a [`Mark`](marks::Mark) for the tags: a
//! local epoch that counts invalidations, and the id of the change.
//!
//! - *In the process.* A load notes the epoch before it reads. Its value counts while none of its
//!   tags has a later mark, so a read that began before a write cannot put the old value back:
//!   the mark comes after the commit, and the epoch was noted before it.
//! - *In Redis.* A value that counts is stored with `as_of`, the position of the feed's follower:
//!   all changes up to there have been applied, so none of them came after the value. A reader
//!   takes it only if no change that it knows of for these tags is later. That holds between
//!   instances, because ids are the database's.
//! - *At once here.* The instance that commits a change marks its tags by itself, id included,
//!   before anybody is told that the write succeeded. Its own row in the feed is then old news.
//! - *In time elsewhere.* The follower looks every 300 ms, sooner when the bus says so. A look
//!   vouches for all that had committed when it began. An entry is served only if that look, or
//!   its own load, began less than [`BOUND`] ago: with a feed that cannot be read this is a cache
//!   for a second, and still one load at a time for each key.
//! - *Memory* of marks is bounded. What is forgotten raises a floor under all tags. An instance
//!   that starts knows the rows of the past hour, and no entry lives that long.
//! - A table that was restored from an older copy starts the ids again: everything here is
//!   dropped, and what Redis holds from beyond the newest id is not taken.
//!
//! **A crowd costs one load.** Concurrent misses of a key share one load, unless something was
//! invalidated since it began: then a reader that may not see its value begins another. The load
//! belongs to all who wait: one that leaves takes nobody along, and when the last one leaves it
//! stops. Entries are refreshed in the background a little before they expire, at a moment that
//! differs from instance to instance; expired ones are served for a while longer meanwhile.
//! Expiry is a second net only: what was invalidated is never served.
//!
//! A failed load is an answer for those who waited and is not kept. That nothing is there is kept
//! for a few seconds, in the process only.

mod entry;
mod envelope;
mod family;
mod flights;
mod marks;
mod shared_tier;
#[cfg(test)]
mod tests;

use std::{
    hash::{BuildHasher, RandomState},
    sync::Arc,
    time::Duration,
};

use bytes::Bytes;
use tokio::{sync::Semaphore, time::Instant};
use uuid::Uuid;

use crate::{error::Result, redis::Redis, shared::feed::Feed, telemetry::work};
use entry::{Entry, Lifetimes, Phase};
pub use family::{Family, Sharing};
use flights::{Flights, Outcome, Source};
use marks::Marks;
use shared_tier::SharedTier;

/// How old news may be: what a second of freshness leaves after the way to the client.
pub const BOUND: Duration = Duration::from_millis(950);
/// More refreshes at once would be a crowd of their own.
const REFRESHES: usize = 8;

#[derive(Debug, Clone, Copy)]
pub struct Settings {
    /// Off, every read is a load.
    pub enabled: bool,
    /// Of the tier in the process; 0 leaves only Redis.
    pub memory_bytes: u64,
    pub ttl: Duration,
    /// For how long after `ttl` a value is served while it is refreshed.
    pub stale_ttl: Duration,
    /// For the news that nothing is there.
    pub absent_ttl: Duration,
}

/// What an entry depends on.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct Tag {
    pub kind: &'static str,
    pub id: Uuid,
}

impl Tag {
    /// One that stands for all of its kind.
    pub const fn all(kind: &'static str) -> Self {
        Self { kind, id: Uuid::nil() }
    }
}

/// What a change made stale.
#[derive(Debug, Clone, Copy)]
pub enum Scope<'a> {
    Tags(&'a [Tag]),
    Everything,
}

/// What a door made of a value, ready to be sent: bytes, and a word beside them such as a version.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Rendered {
    pub label: String,
    pub body: Bytes,
}

/// How a read was answered.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Found {
    Hit,
    Miss,
    /// Expired, and being refreshed.
    Stale,
    /// Loaded, for the cache is off or cannot know what has changed.
    Bypass,
}

impl Found {
    pub fn as_str(self) -> &'static str {
        match self {
            Found::Hit => "hit",
            Found::Miss => "miss",
            Found::Stale => "stale",
            Found::Bypass => "bypass",
        }
    }
}

/// The answer to a read.
#[derive(Debug, Clone)]
pub struct Served {
    /// `None` when nothing is there.
    pub value: Option<Arc<Rendered>>,
    pub found: Found,
}

/// A handle; clones share everything.
#[derive(Clone)]
pub struct Cache(Arc<Inner>);

struct Inner {
    settings: Settings,
    lifetimes: Lifetimes,
    memory: moka::sync::Cache<Arc<str>, Arc<Entry>>,
    shared: SharedTier,
    marks: Marks,
    flights: Flights,
    feed: Feed,
    refreshes: Arc<Semaphore>,
    /// Its seed differs from process to process, and so does the moment of a refresh.
    dice: RandomState,
}

impl Cache {
    pub fn new(settings: Settings, redis: Option<Redis>, feed: Feed) -> Self {
        let Settings { ttl, stale_ttl, absent_ttl, .. } = settings;
        let memory = moka::sync::Cache::builder()
            .max_capacity(settings.memory_bytes)
            .weigher(|key: &Arc<str>, entry: &Arc<Entry>| entry.weight(key))
            .time_to_live(ttl + stale_ttl)
            .build();
        Self(Arc::new(Inner {
            settings,
            lifetimes: Lifetimes { ttl, stale_ttl, absent_ttl },
            memory,
            shared: SharedTier::new(redis, ttl),
            marks: Marks::default(),
            flights: Flights::default(),
            feed,
            refreshes: Arc::new(Semaphore::new(REFRESHES)),
            dice: RandomState::new(),
        }))
    }

    /// The value under `id` in the family, out of the nearest tier that has it, else by `load`.
    /// `id` tells apart everything that the value depends on, and `tags` all that can change it.
    /// What `load` gives must not have read anything before it is polled.
    pub async fn get_or_load<F>(
        &self,
        family: &'static Family,
        id: &str,
        tags: &[Tag],
        load: impl FnOnce() -> F,
    ) -> Result<Served>
    where
        F: Future<Output = Result<Option<Rendered>>> + Send + 'static,
    {
        if !self.0.settings.enabled {
            let value = load().await?.map(Arc::new);
            return Ok(Served { value, found: family.count(Found::Bypass) });
        }
        let key = family.key(id);
        let Some((entry, phase)) = self.in_memory(&key) else {
            return Box::pin(self.miss(family, key.into(), tags, load)).await;
        };
        if phase != Phase::Fresh && entry.claim_refresh() {
            self.refresh(family, key.into(), tags, load);
        } else if !entry.is_shared() {
            self.0.share(family, &key, &entry);
        }
        let found = if phase == Phase::Expired { Found::Stale } else { Found::Hit };
        Ok(Served { value: entry.value.clone(), found: family.count(found) })
    }

    /// What this instance has committed; to be called before anybody is told so.
    pub fn invalidate(&self, change: i64, scope: Scope<'_>) {
        self.0.marks.apply_own(change, scope);
    }

    /// A change as the feed tells it. Own ones come a second time and are passed over.
    pub fn apply(&self, change: i64, scope: Scope<'_>) {
        self.0.marks.apply(change, scope);
    }

    /// The ids of changes start again: nothing that is known counts any more.
    pub fn restart(&self) {
        self.0.marks.restart();
        self.0.memory.invalidate_all();
    }

    /// Entries in the process, and about how many bytes they take.
    pub fn size(&self) -> (u64, u64) {
        self.0.memory.run_pending_tasks();
        (self.0.memory.entry_count(), self.0.memory.weighted_size())
    }

    fn in_memory(&self, key: &str) -> Option<(Arc<Entry>, Phase)> {
        let entry = self.0.memory.get(key)?;
        let now = Instant::now();
        let phase = entry.phase(now)?;
        (self.0.vouches_for(entry.known_at, now) && self.0.marks.hold(&entry))
            .then_some((entry, phase))
    }

    async fn miss<F>(
        &self,
        family: &'static Family,
        key: Arc<str>,
        tags: &[Tag],
        load: impl FnOnce() -> F,
    ) -> Result<Served>
    where
        F: Future<Output = Result<Option<Rendered>>> + Send + 'static,
    {
        let landed = self.fly(family, key, tags, true, load).await?;
        let found = match landed.source {
            Source::Redis => Found::Hit,
            Source::Loader if landed.kept => Found::Miss,
            Source::Loader => Found::Bypass,
        };
        family.count_flight(found, landed.coalesced);
        Ok(Served { value: landed.value, found })
    }

    /// Loads anew, past Redis, while the present value is served. One that is turned away is
    /// tried again with a later read.
    fn refresh<F>(
        &self,
        family: &'static Family,
        key: Arc<str>,
        tags: &[Tag],
        load: impl FnOnce() -> F,
    ) where
        F: Future<Output = Result<Option<Rendered>>> + Send + 'static,
    {
        let Ok(permit) = self.0.refreshes.clone().try_acquire_owned() else { return };
        let (cache, tags, loading) = (self.clone(), tags.to_vec(), load());
        tokio::spawn(async move {
            let _permit = permit;
            if let Err(error) = cache.fly(family, key, &tags, false, || loading).await {
                tracing::warn!(error = error.chain(), cache = family.name, "a refresh failed");
            }
        });
    }

    /// Joins the load of the key that is under way, or begins one.
    async fn fly<F>(
        &self,
        family: &'static Family,
        key: Arc<str>,
        tags: &[Tag],
        ask_redis: bool,
        load: impl FnOnce() -> F,
    ) -> Result<flights::Landed>
    where
        F: Future<Output = Result<Option<Rendered>>> + Send + 'static,
    {
        let inner = &self.0;
        let usable = |epoch: u64, began: Instant| {
            inner.vouches_for(began, Instant::now()) && inner.marks.of(tags).epoch <= epoch
        };
        let begin = || {
            let (inner, key, tags, loading) = (inner.clone(), key.clone(), tags.to_vec(), load());
            work::inherit(
                async move { inner.obtain(family, &key, &tags, ask_redis, loading).await },
            )
        };
        inner.flights.board(&key, inner.marks.epoch(), usable, begin).await
    }
}

impl Inner {
    /// Whether what was true at `known` has been watched since, up to [`BOUND`] ago.
    fn vouches_for(&self, known: Instant, now: Instant) -> bool {
        let recent = |at: Instant| now.saturating_duration_since(at) < BOUND;
        recent(known) || self.feed.looked_at().is_some_and(recent)
    }

    fn feed_is_current(&self) -> bool {
        self.feed.age().is_some_and(|age| age < BOUND)
    }

    /// From Redis, if it has a value that counts, else from the loader.
    async fn obtain(
        &self,
        family: &'static Family,
        key: &Arc<str>,
        tags: &[Tag],
        ask_redis: bool,
        loading: impl Future<Output = Result<Option<Rendered>>>,
    ) -> Result<Outcome> {
        if ask_redis && let Some(outcome) = self.found_in_redis(family, key, tags).await {
            return Ok(outcome);
        }
        let (epoch, began) = (self.marks.epoch(), Instant::now());
        let value = loading.await;
        family.count_load(value.is_ok());
        let value = value?.map(Arc::new);
        let kept = self.feed_is_current();
        let draw = self.draw(key);
        let entry = Entry::new(value.clone(), tags, epoch, began, self.lifetimes, draw);
        self.keep(family, key, entry);
        Ok(Outcome { value, source: Source::Loader, kept })
    }

    async fn found_in_redis(
        &self,
        family: &'static Family,
        key: &Arc<str>,
        tags: &[Tag],
    ) -> Option<Outcome> {
        let found = self.shared.get(family, key).await?;
        // After the answer: what was learnt meanwhile counts, and what comes later has its epoch.
        let (epoch, known) = (self.marks.epoch(), self.feed.looked_at()?);
        let outdated = found.as_of < self.marks.of(tags).change;
        let beyond = found.as_of > self.feed.newest();
        if outdated || beyond || !self.feed_is_current() {
            family.count_refused("outdated");
            return None;
        }
        let value = Some(Arc::new(found.value));
        if self.remembers() {
            let draw = self.draw(key);
            let entry = Entry::new(value.clone(), tags, epoch, known, self.lifetimes, draw);
            entry.claim_sharing();
            self.memory.insert(key.clone(), Arc::new(entry));
        }
        Some(Outcome { value, source: Source::Redis, kept: true })
    }

    /// Only what counts at this moment; whether it still does is asked again at every read.
    fn keep(&self, family: &'static Family, key: &Arc<str>, entry: Entry) {
        if !self.marks.hold(&entry) {
            return;
        }
        let entry = Arc::new(entry);
        if family.sharing == Sharing::Always {
            self.share(family, key, &entry);
        }
        if self.remembers() {
            self.memory.insert(key.clone(), entry);
        }
    }

    fn remembers(&self) -> bool {
        self.settings.memory_bytes > 0
    }

    /// Tells the other instances, unless they would not take it, for the feed has not caught up
    /// with a change of ours; a later reader tries again then.
    fn share(&self, family: &'static Family, key: &str, entry: &Entry) {
        // All changes up to here were applied before: an entry that holds has them in it.
        let as_of = self.feed.complete();
        if !self.marks.hold(entry) || as_of < self.marks.of(&entry.tags).change {
            return;
        }
        if entry.claim_sharing()
            && let Some(value) = &entry.value
        {
            self.shared.put(family, key, as_of, value.clone());
        }
    }

    /// From 0 to 1, another for every key and instance and time.
    fn draw(&self, key: &str) -> f64 {
        let bits = self.dice.hash_one((key, self.marks.epoch(), self.feed.complete()));
        (bits >> 11) as f64 / (1u64 << 53) as f64
    }
}
