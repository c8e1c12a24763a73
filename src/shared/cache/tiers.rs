//! Both tiers, and what decides whether a value counts.

use std::{
    hash::{BuildHasher, RandomState},
    sync::Arc,
};

use tokio::{sync::Semaphore, time::Instant};

use super::{
    BOUND, Rendered, Settings, Tag,
    entry::{Entry, Lifetimes},
    family::{Family, Sharing},
    flights::{Flights, Outcome, Source},
    marks::Marks,
    shared_tier::SharedTier,
};
use crate::{error::Result, redis::Redis, shared::feed::Feed};

/// More refreshes at once would be a crowd of their own.
const REFRESHES: usize = 8;

pub struct Tiers {
    pub settings: Settings,
    lifetimes: Lifetimes,
    pub memory: moka::sync::Cache<Arc<str>, Arc<Entry>>,
    shared: SharedTier,
    pub marks: Marks,
    pub flights: Flights,
    feed: Feed,
    pub refreshes: Arc<Semaphore>,
    /// Its seed differs from process to process, and so does the moment of a refresh.
    dice: RandomState,
}

impl Tiers {
    pub fn new(settings: Settings, redis: Option<Redis>, feed: Feed) -> Self {
        let Settings { ttl, stale_ttl, absent_ttl, .. } = settings;
        let memory = moka::sync::Cache::builder()
            .max_capacity(settings.memory_bytes)
            .weigher(|key: &Arc<str>, entry: &Arc<Entry>| entry.weight(key))
            .time_to_live(ttl + stale_ttl)
            .build();
        Self {
            settings,
            lifetimes: Lifetimes { ttl, stale_ttl, absent_ttl },
            memory,
            shared: SharedTier::new(redis, ttl),
            marks: Marks::default(),
            flights: Flights::default(),
            feed,
            refreshes: Arc::new(Semaphore::new(REFRESHES)),
            dice: RandomState::new(),
        }
    }

    /// Whether what was true at `known` has been watched since, up to [`BOUND`] ago.
    pub fn vouches_for(&self, known: Instant, now: Instant) -> bool {
        let recent = |at: Instant| now.saturating_duration_since(at) < BOUND;
        recent(known) || self.feed.looked_at().is_some_and(recent)
    }

    fn feed_is_current(&self) -> bool {
        self.feed.age().is_some_and(|age| age < BOUND)
    }

    /// From Redis, if it has a value that counts, else from the loader.
    pub async fn obtain(
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
    pub fn share(&self, family: &'static Family, key: &str, entry: &Entry) {
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
