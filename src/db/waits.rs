//! Whether there is a queue before the pool.

use std::{
    sync::{
        Arc,
        atomic::{AtomicU64, Ordering},
    },
    time::Duration,
};

const NOBODY: u64 = u64::MAX;

/// The shortest wait of those that got a connection. One long wait is bad luck; when even the
/// shortest is long, a queue stands. Who got none says nothing of load: the server may be away.
#[derive(Clone)]
pub struct Waits(Arc<AtomicU64>);

impl Default for Waits {
    fn default() -> Self {
        Self(Arc::new(AtomicU64::new(NOBODY)))
    }
}

impl Waits {
    pub fn note(&self, wait: Duration) {
        self.0.fetch_min(wait.as_micros() as u64, Ordering::Relaxed);
    }

    pub fn take_shortest(&self) -> Option<Duration> {
        let shortest = self.0.swap(NOBODY, Ordering::Relaxed);
        (shortest != NOBODY).then(|| Duration::from_micros(shortest))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_shortest_wait_is_told_once() {
        let waits = Waits::default();
        assert_eq!(waits.take_shortest(), None);
        for ms in [7, 3, 9] {
            waits.note(Duration::from_millis(ms));
        }
        assert_eq!(waits.take_shortest(), Some(Duration::from_millis(3)));
        assert_eq!(waits.take_shortest(), None);
    }
}
