//! A value with what decides for how long it counts.

use std::{
    ops::Range,
    sync::{
        Arc,
        atomic::{AtomicBool, AtomicU64, Ordering},
    },
    time::Duration,
};

use tokio::time::Instant;

use super::{Rendered, Tag};

/// The parts of its life between which the moment is drawn from which a value is refreshed. The
/// rest is for who asks for it now and then, and for the load.
const REFRESH: Range<f64> = 0.75..0.95;
/// A refresh that came to nothing is tried again after so long.
const REFRESH_AGAIN: Duration = Duration::from_secs(1);
/// What an entry takes beside its text.
const OVERHEAD: usize = 320;

#[derive(Debug, Clone, Copy)]
pub struct Lifetimes {
    pub ttl: Duration,
    pub stale_ttl: Duration,
    pub absent_ttl: Duration,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Phase {
    Fresh,
    /// Counts, and should be loaded again.
    Ageing,
    /// Counts only while it is loaded again.
    Expired,
}

pub struct Entry {
    pub value: Option<Arc<Rendered>>,
    pub tags: Box<[Tag]>,
    /// The epoch up to which nothing of it is marked.
    pub holds_until: AtomicU64,
    /// What had committed by then is in it.
    pub known_at: Instant,
    began: Instant,
    /// Milliseconds after `began`.
    refresh_after: AtomicU64,
    expires_after: Duration,
    gone_after: Duration,
    shared: AtomicBool,
}

impl Entry {
    /// `draw` is from 0 to 1.
    pub fn new(
        value: Option<Arc<Rendered>>,
        tags: &[Tag],
        epoch: u64,
        known_at: Instant,
        lifetimes: Lifetimes,
        draw: f64,
    ) -> Self {
        let Lifetimes { ttl, stale_ttl, absent_ttl } = lifetimes;
        // That nothing is there is neither refreshed nor served for longer.
        let (refresh_after, expires_after, gone_after) = match value {
            Some(_) => {
                let moment = REFRESH.start + (REFRESH.end - REFRESH.start) * draw;
                (ttl.mul_f64(moment), ttl, ttl + stale_ttl)
            }
            None => (absent_ttl, absent_ttl, absent_ttl),
        };
        Self {
            value,
            tags: tags.into(),
            holds_until: AtomicU64::new(epoch),
            known_at,
            began: known_at,
            refresh_after: AtomicU64::new(millis(refresh_after)),
            expires_after,
            gone_after,
            shared: AtomicBool::new(false),
        }
    }

    /// `None` when it is too old for anything.
    pub fn phase(&self, now: Instant) -> Option<Phase> {
        let age = now.saturating_duration_since(self.began);
        if age >= self.gone_after {
            return None;
        }
        if age >= self.expires_after {
            return Some(Phase::Expired);
        }
        let ageing = millis(age) >= self.refresh_after.load(Ordering::Relaxed);
        Some(if ageing { Phase::Ageing } else { Phase::Fresh })
    }

    /// True for one of those who ask, and after a while for another.
    pub fn claim_refresh(&self) -> bool {
        let age = millis(self.began.elapsed());
        let due = self.refresh_after.load(Ordering::Relaxed);
        let next = age + millis(REFRESH_AGAIN);
        let order = Ordering::Relaxed;
        age >= due && self.refresh_after.compare_exchange(due, next, order, order).is_ok()
    }

    /// Whether others were told of it, or need not be.
    pub fn is_shared(&self) -> bool {
        self.shared.load(Ordering::Relaxed)
    }

    /// True for the first who asks.
    pub fn claim_sharing(&self) -> bool {
        !self.shared.swap(true, Ordering::Relaxed)
    }

    pub fn weight(&self, key: &str) -> u32 {
        let text = self.value.as_ref().map_or(0, |value| value.label.len() + value.body.len());
        let all = OVERHEAD + key.len() + text + size_of_val(&*self.tags);
        u32::try_from(all).unwrap_or(u32::MAX)
    }
}

fn millis(duration: Duration) -> u64 {
    duration.as_millis() as u64
}

#[cfg(test)]
mod tests {
    use super::*;
    use bytes::Bytes;

    const SECOND: Duration = Duration::from_secs(1);
    const LIFETIMES: Lifetimes =
        Lifetimes { ttl: Duration::from_secs(60), stale_ttl: SECOND, absent_ttl: SECOND };

    fn entry(there: bool, draw: f64) -> Entry {
        let value = there.then(|| Rendered { label: "1".into(), body: Bytes::from_static(b"{}") });
        Entry::new(value.map(Arc::new), &[], 0, Instant::now(), LIFETIMES, draw)
    }

    fn phases(entry: &Entry, at: [f64; 4]) -> [Option<Phase>; 4] {
        at.map(|seconds| entry.phase(entry.began + Duration::from_secs_f64(seconds)))
    }

    #[tokio::test(start_paused = true)]
    async fn a_value_ages_expires_and_is_gone() {
        let ages = [Some(Phase::Fresh), Some(Phase::Ageing), Some(Phase::Expired), None];
        assert_eq!(phases(&entry(true, 0.0), [44.9, 45.1, 60.5, 61.0]), ages);
        assert_eq!(phases(&entry(true, 0.8), [54.5, 54.7, 60.0, 61.0]), ages);
    }

    #[tokio::test(start_paused = true)]
    async fn that_nothing_is_there_is_believed_for_its_time_and_no_longer() {
        let fresh = Some(Phase::Fresh);
        assert_eq!(phases(&entry(false, 0.0), [0.0, 0.9, 1.0, 2.0]), [fresh, fresh, None, None]);
    }

    #[tokio::test(start_paused = true)]
    async fn one_reader_refreshes_and_after_a_second_in_vain_another() {
        let entry = entry(true, 0.0);
        assert!(!entry.claim_refresh());
        tokio::time::advance(46 * SECOND).await;
        assert_eq!([entry.claim_refresh(), entry.claim_refresh()], [true, false]);
        tokio::time::advance(SECOND).await;
        assert_eq!([entry.claim_refresh(), entry.claim_refresh()], [true, false]);
    }
}
