//! Following a table of changes without missing any.
//!
//! Ids are taken from a sequence but become visible when their transactions commit, which may
//! be in another order: a follower that remembers only the highest id loses the late ones. So
//! the position is the highest id below which nothing is missing, and a missing id holds it
//! until it appears or is older than any transaction can be ([`PATIENCE`]); then it was rolled
//! back. While nothing is missing, only new rows are read.

use std::{
    collections::BTreeSet,
    sync::{
        Arc,
        atomic::{AtomicI64, AtomicU64, Ordering},
    },
    time::Duration,
};

use chrono::{DateTime, TimeDelta, Utc};
use tokio::{
    sync::{Notify, broadcast},
    time::{Instant, MissedTickBehavior},
};
use tokio_util::sync::CancellationToken;

use crate::{domain::feed::Change, error::Result};

/// How often the table is asked when nobody says that something changed.
const POLL: Duration = Duration::from_millis(300);
/// Longer than a transaction that writes to the feed can last (see `Db`'s limits).
const PATIENCE: TimeDelta = TimeDelta::seconds(30);
/// Without news for this long a follower no longer vouches for what it knows.
pub const STALE_AFTER: Duration = Duration::from_secs(30);

/// What one look at the table gave.
pub struct Batch {
    /// All rows with an id above the position, in order.
    pub rows: Vec<Change>,
    /// The highest id in the table, 0 when it is empty.
    pub newest: i64,
    /// The database's clock.
    pub now: DateTime<Utc>,
}

/// Where a follower stands.
#[derive(Debug, Default)]
pub struct Position {
    /// Everything up to here was seen or will never appear.
    complete: i64,
    /// Seen above it.
    seen: BTreeSet<i64>,
}

impl Position {
    pub fn after(&self) -> i64 {
        self.complete
    }

    /// The rows not seen before; remembers them.
    pub fn take(&mut self, batch: Batch) -> Vec<Change> {
        if batch.newest > 0 && batch.newest < self.complete {
            // The table was restored from an older copy: ids start again.
            *self = Self::default();
            return Vec::new();
        }
        let mut fresh = Vec::new();
        for row in batch.rows {
            if row.id > self.complete + 1 && batch.now - row.at > PATIENCE {
                self.give_up_below(row.id);
            }
            if row.id > self.complete && self.seen.insert(row.id) {
                fresh.push(row);
            }
            self.advance();
        }
        fresh
    }

    fn give_up_below(&mut self, id: i64) {
        self.complete = self.complete.max(id - 1);
        self.seen = self.seen.split_off(&id);
    }

    fn advance(&mut self) {
        while self.seen.remove(&(self.complete + 1)) {
            self.complete += 1;
        }
    }
}

/// What a look found that was not known before.
pub struct News {
    pub rows: Vec<Change>,
    /// The database's clock at the look.
    pub now: DateTime<Utc>,
    /// The table was restored from an older copy: what is known of its ids is void.
    pub restarted: bool,
    /// The first look: what it found was written before anybody here could wait for it.
    pub first: bool,
}

/// The handle others hold: wakes the follower and tells how far it has come.
#[derive(Clone)]
pub struct Feed {
    wake: Arc<Notify>,
    started: Instant,
    progress: Arc<Progress>,
}

#[derive(Default)]
struct Progress {
    /// Milliseconds after `started` at which the last successful look began; 0 for none yet.
    looked: AtomicU64,
    complete: AtomicI64,
    newest: AtomicI64,
}

impl Default for Feed {
    fn default() -> Self {
        Self { wake: Arc::default(), started: Instant::now(), progress: Arc::default() }
    }
}

impl Feed {
    /// Makes the follower look at once.
    pub fn nudge(&self) {
        self.wake.notify_one();
    }

    /// When the last successful look began: what had committed by then has been applied.
    pub fn looked_at(&self) -> Option<Instant> {
        let looked = self.progress.looked.load(Ordering::Acquire);
        (looked > 0).then(|| self.started + Duration::from_millis(looked))
    }

    /// Time since then; `None` before the first look.
    pub fn age(&self) -> Option<Duration> {
        self.looked_at().map(|at| at.elapsed())
    }

    /// Every change with an id up to here is visible to a read that begins now, or was rolled back.
    pub fn complete(&self) -> i64 {
        self.progress.complete.load(Ordering::Acquire)
    }

    /// The highest id in the table at the last look.
    pub fn newest(&self) -> i64 {
        self.progress.newest.load(Ordering::Acquire)
    }

    pub fn is_current(&self) -> bool {
        self.age().is_some_and(|age| age < STALE_AFTER)
    }

    /// Looks until `stop`: every [`POLL`], when nudged, and when another instance says so.
    pub async fn follow<F: Future<Output = Result<Batch>>>(
        self,
        mut hints: broadcast::Receiver<String>,
        look: impl Fn(i64) -> F,
        apply: impl Fn(&News),
        stop: CancellationToken,
    ) {
        let mut position = Position::default();
        let mut tick = tokio::time::interval(POLL);
        tick.set_missed_tick_behavior(MissedTickBehavior::Delay);
        loop {
            tokio::select! {
                () = stop.cancelled() => return,
                _ = tick.tick() => {}
                () = self.wake.notified() => {}
                () = heard(&mut hints) => {}
            }
            let began = Instant::now();
            match look(position.after()).await {
                Ok(batch) => self.note(began, &mut position, batch, &apply),
                Err(error) => {
                    tracing::warn!(error = error.chain(), "the change feed cannot be read")
                }
            }
        }
    }

    /// Applied first and told then: whoever reads how far we are may rely on it.
    fn note(&self, began: Instant, position: &mut Position, batch: Batch, apply: &impl Fn(&News)) {
        let (before, newest, now) = (position.after(), batch.newest, batch.now);
        let rows = position.take(batch);
        let first = self.looked_at().is_none();
        let news = News { rows, now, restarted: position.after() < before, first };
        if !news.rows.is_empty() || news.restarted {
            apply(&news);
        }
        self.progress.newest.store(newest.max(position.after()), Ordering::Release);
        self.progress.complete.store(position.after(), Ordering::Release);
        let looked = began.saturating_duration_since(self.started).as_millis() as u64;
        self.progress.looked.store(looked.max(1), Ordering::Release);
    }
}

/// Returns when a hint came (or some were missed, which is one as well), never when the bus ends.
async fn heard(hints: &mut broadcast::Receiver<String>) {
    if let Err(broadcast::error::RecvError::Closed) = hints.recv().await {
        std::future::pending::<()>().await;
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use uuid::Uuid;

    fn at(seconds: i64) -> DateTime<Utc> {
        DateTime::UNIX_EPOCH + TimeDelta::seconds(seconds)
    }

    /// A batch read at `now` of rows `(id, second of writing)`.
    fn batch(now: i64, rows: &[(i64, i64)]) -> Batch {
        let rows = rows.iter().map(|&(id, second)| Change {
            id,
            at: at(second),
            kind: "user".to_owned(),
            key: Uuid::nil(),
            value: 0,
        });
        let rows: Vec<_> = rows.collect();
        let newest = rows.iter().map(|row| row.id).max().unwrap_or_default();
        Batch { rows, newest, now: at(now) }
    }

    fn ids(rows: Vec<Change>) -> Vec<i64> {
        rows.iter().map(|row| row.id).collect()
    }

    #[test]
    fn a_row_that_commits_late_is_still_seen_and_the_others_only_once() {
        let mut position = Position::default();
        assert_eq!(ids(position.take(batch(1, &[(1, 1), (3, 1)]))), [1, 3]);
        assert_eq!(position.after(), 1);
        assert_eq!(ids(position.take(batch(2, &[(2, 1), (3, 1)]))), [2]);
        assert_eq!(position.after(), 3);
    }

    #[test]
    fn a_rolled_back_id_is_given_up_when_no_transaction_can_be_that_old() {
        let mut position = Position::default();
        position.take(batch(1, &[(1, 1), (3, 1)]));
        assert_eq!(ids(position.take(batch(31, &[(3, 1), (4, 30)]))), [4]);
        assert_eq!(position.after(), 1);
        assert!(position.take(batch(32, &[(3, 1), (4, 30)])).is_empty());
        assert_eq!(position.after(), 4);
    }

    #[test]
    fn a_follower_that_starts_late_skips_what_was_reaped() {
        let mut position = Position::default();
        assert_eq!(ids(position.take(batch(1000, &[(5000, 10), (5001, 999)]))), [5000, 5001]);
        assert_eq!(position.after(), 5001);
    }

    #[test]
    fn a_restored_table_starts_over() {
        let mut position = Position::default();
        position.take(batch(1, &[(1, 1), (2, 1), (3, 1)]));
        position.take(Batch { rows: Vec::new(), newest: 1, now: at(2) });
        assert_eq!(position.after(), 0);
    }

    #[tokio::test(start_paused = true)]
    async fn a_look_vouches_for_what_had_committed_when_it_began() {
        let feed = Feed::default();
        tokio::time::advance(Duration::from_secs(1)).await;
        let began = Instant::now();
        tokio::time::advance(Duration::from_secs(2)).await;
        feed.note(began, &mut Position::default(), batch(1, &[]), &|_: &News| {});
        assert_eq!(feed.age(), Some(Duration::from_secs(2)));
    }

    #[tokio::test]
    async fn whoever_applies_is_told_that_the_table_was_restored() {
        let (feed, mut position) = (Feed::default(), Position::default());
        let restarts = AtomicU64::new(0);
        let apply = |news: &News| _ = restarts.fetch_add(news.restarted.into(), Ordering::Relaxed);
        feed.note(Instant::now(), &mut position, batch(1, &[(1, 1), (2, 1)]), &apply);
        let older = Batch { rows: Vec::new(), newest: 1, now: at(2) };
        feed.note(Instant::now(), &mut position, older, &apply);
        assert_eq!((restarts.into_inner(), feed.complete()), (1, 0));
    }

    #[tokio::test]
    async fn only_the_first_look_tells_what_was_before_it() {
        let (feed, mut position) = (Feed::default(), Position::default());
        let told = std::sync::Mutex::new(Vec::new());
        let apply = |news: &News| told.lock().unwrap().push((news.rows[0].id, news.first));
        feed.note(Instant::now(), &mut position, batch(20, &[(1, 1)]), &apply);
        feed.note(Instant::now(), &mut position, batch(21, &[(2, 21)]), &apply);
        assert_eq!(told.into_inner().unwrap(), [(1, true), (2, false)]);
    }

    /// With what it takes to tell the others, a change must be known everywhere within a second.
    #[tokio::test(start_paused = true)]
    async fn the_feed_is_looked_at_three_times_a_second() {
        let (looks, stop) = (AtomicU64::new(0), CancellationToken::new());
        let look = async |_| {
            looks.fetch_add(1, Ordering::Relaxed);
            Ok(batch(1, &[]))
        };
        let (_nobody, hints) = broadcast::channel(1);
        let following = Feed::default().follow(hints, look, |_: &News| {}, stop);
        let _ = tokio::time::timeout(Duration::from_secs(10), following).await;
        let looks = looks.into_inner();
        assert!((30..=40).contains(&looks), "{looks} looks in ten seconds");
    }

    #[tokio::test(start_paused = true)]
    async fn a_feed_is_current_only_after_a_look_and_for_thirty_seconds() {
        let feed = Feed::default();
        assert!(!feed.is_current());
        tokio::time::advance(Duration::from_millis(5)).await;
        let mut position = Position::default();
        feed.note(Instant::now(), &mut position, batch(1, &[(1, 1)]), &|_: &News| {});
        assert!(feed.is_current());
        assert_eq!((feed.complete(), feed.newest()), (1, 1));
        tokio::time::advance(STALE_AFTER).await;
        assert!(!feed.is_current());
    }
}
