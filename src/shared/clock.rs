//! The only source of the time and of ids. It is passed in, so that tests own their time.
//!
//! Durable decisions (expiry of sessions, throttling) are made on the database's clock;
//! this one dates tokens and ids.

use std::sync::{
    Arc,
    atomic::{AtomicI64, Ordering},
};

use chrono::{DateTime, TimeDelta, Utc};
use uuid::{Timestamp, Uuid, timestamp::context::NoContext};

/// The system's clock, plus an offset that only tests move.
#[derive(Debug, Clone, Default)]
pub struct Clock {
    offset_ms: Arc<AtomicI64>,
}

impl Clock {
    #[expect(clippy::disallowed_methods, reason = "the one place that asks the system")]
    pub fn now(&self) -> DateTime<Utc> {
        Utc::now() + TimeDelta::milliseconds(self.offset_ms.load(Ordering::Relaxed))
    }

    /// Moves this clock and its clones.
    pub fn advance(&self, by: TimeDelta) {
        self.offset_ms.fetch_add(by.num_milliseconds(), Ordering::Relaxed);
    }

    /// A UUIDv7: ordered by time, 74 random bits.
    pub fn new_id(&self) -> Uuid {
        let now = self.now();
        let secs = u64::try_from(now.timestamp()).unwrap_or_default();
        Uuid::new_v7(Timestamp::from_unix(NoContext, secs, now.timestamp_subsec_nanos()))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ids_follow_the_clock_and_never_repeat() {
        let clock = Clock::default();
        let early = clock.new_id();
        clock.advance(TimeDelta::seconds(5));
        let late = clock.new_id();
        assert!(early < late);
        assert_ne!(clock.new_id(), clock.new_id());
        assert_eq!(late.get_version_num(), 7);
    }
}
