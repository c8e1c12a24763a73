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
mod served;
mod shared_tier;
#[cfg(test)]
mod tests;
mod tiers;

use std::{sync::Arc, time::Duration};

use tokio::time::Instant;

use crate::{error::Result, redis::Redis, shared::feed::Feed, telemetry::work};
use entry::{Entry, Phase};
pub use family::{Family, Sharing};
use flights::Source;
pub use served::{Found, Rendered, Scope, Served, Tag};
use tiers::Tiers;

/// How old news may be: what a second of freshness leaves after the way to the client.
pub const BOUND: Duration = Duration::from_millis(950);

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

/// A handle; clones share everything.
#[derive(Clone)]
pub struct Cache(Arc<Tiers>);

impl Cache {
    pub fn new(settings: Settings, redis: Option<Redis>, feed: Feed) -> Self {
        Self(Arc::new(Tiers::new(settings, redis, feed)))
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
        let tiers = &self.0;
        let usable = |epoch: u64, began: Instant| {
            tiers.vouches_for(began, Instant::now()) && tiers.marks.of(tags).epoch <= epoch
        };
        let begin = || {
            let (tiers, key, tags, loading) = (tiers.clone(), key.clone(), tags.to_vec(), load());
            work::inherit(
                async move { tiers.obtain(family, &key, &tags, ask_redis, loading).await },
            )
        };
        tiers.flights.board(&key, tiers.marks.epoch(), usable, begin).await
    }
}
