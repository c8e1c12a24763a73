//! What a connection is doing: the service tells when requests begin and end, the IO sees bytes
//! come, and the timers follow from both.

use std::sync::{
    Arc, Mutex, MutexGuard,
    atomic::{AtomicBool, AtomicUsize, Ordering},
};

use tokio::time::Instant;

use super::{connection::Timers, streams::Streams};

#[derive(Clone)]
pub struct Activity(Arc<Inner>);

struct Inner {
    in_flight: AtomicUsize,
    /// Bytes of an answer wait for the client to read.
    stuck: AtomicBool,
    waiting: Mutex<Waiting>,
    streams: Streams,
}

/// Between requests.
#[derive(Clone, Copy)]
struct Waiting {
    since: Instant,
    /// When the first byte of the next head came.
    head: Option<Instant>,
    /// No request has come yet.
    fresh: bool,
    /// Several requests share the connection, and frames beside them mean nothing.
    multiplexed: bool,
}

impl Activity {
    pub fn new() -> Self {
        let waiting =
            Waiting { since: Instant::now(), head: None, fresh: true, multiplexed: false };
        Self(Arc::new(Inner {
            in_flight: AtomicUsize::new(0),
            stuck: AtomicBool::new(false),
            waiting: Mutex::new(waiting),
            streams: Streams::default(),
        }))
    }

    /// A request's head is complete. It is under way until the guard is dropped.
    pub fn begin(&self, multiplexed: bool) -> Working {
        self.0.in_flight.fetch_add(1, Ordering::Relaxed);
        let mut waiting = self.waiting();
        *waiting = Waiting { head: None, fresh: false, multiplexed, ..*waiting };
        drop(waiting);
        self.0.streams.began();
        Working { activity: self.clone(), multiplexed, seen_through: false }
    }

    pub fn is_idle(&self) -> bool {
        self.0.in_flight.load(Ordering::Relaxed) == 0
    }

    /// Nothing is under way, and all that was answered has gone.
    pub fn is_quiet(&self) -> bool {
        self.is_idle() && !self.0.stuck.load(Ordering::Relaxed)
    }

    pub fn set_stuck(&self, stuck: bool) {
        self.0.stuck.store(stuck, Ordering::Relaxed);
    }

    pub fn bytes_came(&self, count: usize) {
        if self.is_idle() {
            let mut waiting = self.waiting();
            if !waiting.multiplexed || waiting.fresh {
                waiting.head.get_or_insert_with(Instant::now);
            } else {
                self.0.streams.stray_bytes(count);
            }
        }
    }

    pub fn streams(&self) -> &Streams {
        &self.0.streams
    }

    /// Until when the next head must have come, or while requests are under way, until when an
    /// answer that the client's window holds back must be read on.
    pub fn read_deadline(&self, timers: &Timers) -> Option<Instant> {
        if !self.is_quiet() {
            return self.0.streams.unread_deadline(timers.write);
        }
        let waiting = *self.waiting();
        Some(match waiting.head {
            Some(began) => began + timers.head,
            None if waiting.fresh => waiting.since + timers.head,
            None => waiting.since + timers.idle,
        })
    }

    fn waiting(&self) -> MutexGuard<'_, Waiting> {
        self.0.waiting.lock().unwrap_or_else(|poisoned| poisoned.into_inner())
    }
}

/// A request that is under way.
pub struct Working {
    activity: Activity,
    pub multiplexed: bool,
    /// Whether the client took all of the answer.
    pub seen_through: bool,
}

impl Working {
    pub fn streams(&self) -> &Streams {
        self.activity.streams()
    }
}

impl Drop for Working {
    fn drop(&mut self) {
        if self.multiplexed {
            self.streams().ended(self.seen_through);
        }
        self.activity.waiting().since = Instant::now();
        self.activity.0.in_flight.fetch_sub(1, Ordering::Relaxed);
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::time::Duration;

    const TIMERS: Timers = Timers {
        head: Duration::from_secs(10),
        idle: Duration::from_secs(75),
        body_grace: Duration::from_secs(5),
        write: Duration::from_secs(20),
    };

    fn left(activity: &Activity) -> Option<u64> {
        activity.read_deadline(&TIMERS).map(|at| (at - Instant::now()).as_secs())
    }

    #[tokio::test(start_paused = true)]
    async fn a_first_head_has_ten_seconds_from_the_start_and_a_later_one_from_its_first_byte() {
        let activity = Activity::new();
        assert_eq!(left(&activity), Some(10));
        drop(activity.begin(false));
        assert_eq!(left(&activity), Some(75));
        tokio::time::advance(Duration::from_secs(60)).await;
        activity.bytes_came(1);
        assert_eq!(left(&activity), Some(10));
        tokio::time::advance(Duration::from_secs(4)).await;
        activity.bytes_came(1);
        assert_eq!(left(&activity), Some(6));
    }

    #[tokio::test(start_paused = true)]
    async fn nothing_runs_while_a_request_is_under_way() {
        let activity = Activity::new();
        let (one, two) = (activity.begin(true), activity.begin(true));
        drop(one);
        assert_eq!(left(&activity), None);
        drop(two);
        activity.bytes_came(1);
        assert_eq!(left(&activity), Some(75), "a ping is no head");
    }
}
