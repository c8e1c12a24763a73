//! What HTTP/2 lets a client do that costs it nothing: ask and withdraw, ask and not read, and
//! send frames that ask for nothing. Each is borne up to a bound; beyond it the connection ends.

use std::{
    collections::HashMap,
    sync::{
        Mutex, MutexGuard,
        atomic::{AtomicU64, AtomicUsize, Ordering},
    },
    time::Duration,
};

use tokio::time::Instant;

/// Requests withdrawn beyond those that were seen through (CVE-2023-44487).
const MAX_WITHDRAWN: usize = 100;
/// Bytes that come while no request is under way: pings, settings, priorities. More than what may
/// still come of a body that was refused (`body::drain`, and a window of a mebibyte).
const MAX_STRAY: usize = 6 << 20;

#[derive(Default)]
pub struct Streams {
    withdrawn: AtomicUsize,
    stray: AtomicUsize,
    /// Since when the client has left each answer unread.
    unread: Mutex<HashMap<u64, Instant>>,
    next: AtomicU64,
}

impl Streams {
    pub fn began(&self) {
        self.stray.store(0, Ordering::Relaxed);
    }

    pub fn ended(&self, seen_through: bool) {
        let change = |withdrawn: usize| {
            Some(if seen_through { withdrawn.saturating_sub(1) } else { withdrawn + 1 })
        };
        let _ = self.withdrawn.fetch_update(Ordering::Relaxed, Ordering::Relaxed, change);
    }

    pub fn stray_bytes(&self, count: usize) {
        self.stray.fetch_add(count, Ordering::Relaxed);
    }

    pub fn is_abused(&self) -> bool {
        self.withdrawn.load(Ordering::Relaxed) > MAX_WITHDRAWN
            || self.stray.load(Ordering::Relaxed) > MAX_STRAY
    }

    pub fn new_answer(&self) -> u64 {
        self.next.fetch_add(1, Ordering::Relaxed)
    }

    /// The answer has something to send: the client's turn.
    pub fn waits_for_client(&self, answer: u64) {
        self.unread().insert(answer, Instant::now());
    }

    /// The answer has nothing to send, or has ended.
    pub fn waits_for_us(&self, answer: u64) {
        self.unread().remove(&answer);
    }

    /// Until when the answer that was left unread for longest must be read on.
    pub fn unread_deadline(&self, patience: Duration) -> Option<Instant> {
        self.unread().values().min().map(|since| *since + patience)
    }

    fn unread(&self) -> MutexGuard<'_, HashMap<u64, Instant>> {
        self.unread.lock().unwrap_or_else(|poisoned| poisoned.into_inner())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn withdrawn_requests_are_borne_as_long_as_others_are_seen_through() {
        let streams = Streams::default();
        for _ in 0..1000 {
            streams.ended(false);
            streams.ended(true);
        }
        (0..MAX_WITHDRAWN).for_each(|_| streams.ended(false));
        assert!(!streams.is_abused());
        streams.ended(false);
        assert!(streams.is_abused());
    }

    #[test]
    fn stray_bytes_count_from_the_last_request() {
        let streams = Streams::default();
        for _ in 0..10 {
            streams.stray_bytes(MAX_STRAY);
            assert!(!streams.is_abused());
            streams.began();
        }
        streams.stray_bytes(MAX_STRAY + 1);
        assert!(streams.is_abused());
    }

    #[tokio::test(start_paused = true)]
    async fn the_answer_left_unread_for_longest_counts() {
        let (streams, patience) = (Streams::default(), Duration::from_secs(20));
        let began = Instant::now();
        assert_eq!(streams.unread_deadline(patience), None);
        streams.waits_for_client(1);
        tokio::time::advance(Duration::from_secs(5)).await;
        streams.waits_for_client(2);
        assert_eq!(streams.unread_deadline(patience), Some(began + patience));
        streams.waits_for_us(1);
        assert_eq!(streams.unread_deadline(patience), Some(Instant::now() + patience));
    }
}
