//! How much is worked on at once. The limit follows the queues behind it: while even the luckiest
//! had to wait for a connection or a processor, more at once only makes everybody slower; so the
//! limit falls quickly, and rises slowly once the queues are gone. What is refused is refused at
//! once, and a part of the limit is kept for what matters most.

use std::{
    sync::{
        Arc, Mutex, MutexGuard,
        atomic::{AtomicUsize, Ordering},
    },
    time::Duration,
};

use tokio::time::Instant;

use crate::telemetry::metrics as names;

/// Of every five places one is never given to normal work.
const KEPT: usize = 5;
/// How often the limit is set, and how often in between the wait for a processor is measured.
const INTERVAL: Duration = Duration::from_millis(100);
const TICK: Duration = Duration::from_millis(10);

/// What a request is worth when not all of them can be served.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Priority {
    Normal,
    /// May also use the places that are kept.
    Critical,
}

impl Priority {
    pub fn as_str(self) -> &'static str {
        match self {
            Priority::Normal => "normal",
            Priority::Critical => "critical",
        }
    }
}

#[derive(Clone)]
pub struct Capacity(Arc<Inner>);

struct Inner {
    bounds: Bounds,
    limit: AtomicUsize,
    busy: Mutex<Busy>,
}

#[derive(Default)]
struct Busy {
    normal: usize,
    critical: usize,
}

impl Busy {
    fn of(&mut self, priority: Priority) -> &mut usize {
        match priority {
            Priority::Normal => &mut self.normal,
            Priority::Critical => &mut self.critical,
        }
    }
}

/// Where the limit may lie, and which wait is no overload yet.
#[derive(Debug, Clone, Copy)]
pub struct Bounds {
    pub least: usize,
    pub most: usize,
    pub tolerated_wait: Duration,
}

impl Capacity {
    pub fn new(bounds: Bounds) -> Self {
        let least = bounds.least.min(bounds.most);
        let bounds = Bounds { least, ..bounds };
        let limit = AtomicUsize::new(bounds.most);
        Self(Arc::new(Inner { bounds, limit, busy: Mutex::default() }))
    }

    /// A place, given back when it is dropped; `None` when there is none for this priority.
    pub fn enter(&self, priority: Priority) -> Option<Entered> {
        let limit = self.0.limit.load(Ordering::Relaxed);
        let kept = limit.div_ceil(KEPT).min(limit - 1);
        let mut busy = self.0.busy();
        let below = busy.normal + busy.critical < limit;
        let open = match priority {
            Priority::Normal => below && busy.normal < limit - kept,
            // What is kept is kept also while more normal work than that finishes.
            Priority::Critical => below || busy.critical < kept,
        };
        open.then(|| {
            *busy.of(priority) += 1;
            Entered(self.0.clone(), priority)
        })
    }

    /// Sets the limit again and again. `shortest_wait` tells how long the luckiest waited for what
    /// work needs since it was asked last; `None` when nobody asked for it.
    pub async fn follow(self, mut shortest_wait: impl FnMut() -> Option<Duration>) {
        loop {
            let lag = shortest_lag().await;
            let wait = shortest_wait().unwrap_or_default().max(lag);
            self.adapt(wait);
            metrics::gauge!(names::HTTP_LIMIT).set(self.0.limit.load(Ordering::Relaxed) as f64);
        }
    }

    fn adapt(&self, wait: Duration) {
        let Bounds { least, most, tolerated_wait } = self.0.bounds;
        let limit = self.0.limit.load(Ordering::Relaxed);
        let next = match wait > tolerated_wait {
            true => limit * 7 / 10,
            false => limit + limit.div_ceil(20),
        };
        self.0.limit.store(next.clamp(least, most), Ordering::Relaxed);
    }
}

/// How late the punctual wake up: a queue before the processors.
async fn shortest_lag() -> Duration {
    let (started, mut shortest) = (Instant::now(), Duration::MAX);
    while started.elapsed() < INTERVAL {
        let asleep = Instant::now();
        tokio::time::sleep(TICK).await;
        shortest = shortest.min(asleep.elapsed().saturating_sub(TICK));
    }
    shortest
}

impl Inner {
    fn busy(&self) -> MutexGuard<'_, Busy> {
        self.busy.lock().unwrap_or_else(|poisoned| poisoned.into_inner())
    }
}

pub struct Entered(Arc<Inner>, Priority);

impl Drop for Entered {
    fn drop(&mut self) {
        *self.0.busy().of(self.1) -= 1;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const LONG: Duration = Duration::from_millis(26);

    fn capacity(least: usize, most: usize) -> Capacity {
        Capacity::new(Bounds { least, most, tolerated_wait: Duration::from_millis(25) })
    }

    fn fill(capacity: &Capacity, priority: Priority) -> Vec<Entered> {
        std::iter::from_fn(|| capacity.enter(priority)).collect()
    }

    #[test]
    fn a_fifth_is_kept_for_what_is_critical_whatever_the_limit() {
        for most in [2, 5, 16, 512] {
            let capacity = capacity(1, most);
            let normal = fill(&capacity, Priority::Normal);
            let critical = fill(&capacity, Priority::Critical);
            assert_eq!(normal.len() + critical.len(), most);
            assert!(critical.len() * 5 >= most, "{} of {most}", critical.len());
        }
        assert_eq!(fill(&capacity(1, 1), Priority::Normal).len(), 1, "one place serves somebody");
    }

    #[test]
    fn places_come_back() {
        let capacity = capacity(1, 10);
        for _ in 0..3 {
            assert_eq!(fill(&capacity, Priority::Normal).len(), 8);
        }
    }

    #[test]
    fn a_queue_that_stands_lowers_the_limit_within_a_second_and_never_below_the_least() {
        let capacity = capacity(20, 512);
        (0..10).for_each(|_| capacity.adapt(LONG));
        assert_eq!(fill(&capacity, Priority::Critical).len(), 20);
    }

    #[test]
    fn without_a_queue_the_limit_is_back_within_ten_seconds() {
        let capacity = capacity(20, 512);
        (0..10).for_each(|_| capacity.adapt(LONG));
        (0..100).for_each(|_| capacity.adapt(Duration::ZERO));
        assert_eq!(fill(&capacity, Priority::Critical).len(), 512);
    }

    #[test]
    fn above_a_limit_that_fell_only_what_is_kept_is_open_until_the_rest_has_finished() {
        let capacity = capacity(10, 100);
        let working = fill(&capacity, Priority::Normal);
        (0..10).for_each(|_| capacity.adapt(LONG));
        assert!(capacity.enter(Priority::Normal).is_none());
        assert_eq!(fill(&capacity, Priority::Critical).len(), 2);
        drop(working);
        assert_eq!(fill(&capacity, Priority::Normal).len(), 8);
    }
}
