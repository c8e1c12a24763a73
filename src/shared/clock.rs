//! The only source of the time and of ids. It is passed in, so that tests own their time.
//!
//! Durable decisions (expiry of sessions, throttling) are made on the database's clock; this one
//! dates tokens and ids. Where the machine's clock is wrong it follows the database's, because
//! tokens of this instance are read by others, and those of others here.

use std::{
    sync::{
        Arc,
        atomic::{AtomicI64, Ordering::Relaxed},
    },
    time::Duration,
};

use chrono::{DateTime, TimeDelta, Utc};
use uuid::{Timestamp, Uuid, timestamp::context::NoContext};

/// Less than this is left to NTP: tokens have more leeway.
const TOLERATED: TimeDelta = TimeDelta::seconds(2);
/// Less than this is how long the question took.
const NOISE: TimeDelta = TimeDelta::milliseconds(500);
/// A question that took longer says too little.
const LONGEST: Duration = Duration::from_secs(1);

/// The system's clock, as far as it is right, plus an offset that only tests move.
#[derive(Debug, Clone, Default)]
pub struct Clock(Arc<Offsets>);

#[derive(Debug, Default)]
struct Offsets {
    passed_ms: AtomicI64,
    wrong_ms: AtomicI64,
    /// What is added to be with the database.
    corrected_ms: AtomicI64,
}

impl Clock {
    pub fn now(&self) -> DateTime<Utc> {
        let Offsets { passed_ms, corrected_ms, .. } = &*self.0;
        self.system()
            + TimeDelta::milliseconds(passed_ms.load(Relaxed) + corrected_ms.load(Relaxed))
    }

    /// Without what it follows.
    #[expect(clippy::disallowed_methods, reason = "the one place that asks the system")]
    fn system(&self) -> DateTime<Utc> {
        Utc::now() + TimeDelta::milliseconds(self.0.wrong_ms.load(Relaxed))
    }

    /// Told what the database's clock said during a question that took so long and has just been
    /// answered. How far the system's clock is behind it, if that can be told.
    pub fn follow(&self, there: DateTime<Utc>, took: Duration) -> Option<TimeDelta> {
        if took > LONGEST {
            return None;
        }
        let asked = TimeDelta::from_std(took / 2).unwrap_or_default();
        let behind = there - (self.system() - asked);
        let before = TimeDelta::milliseconds(self.0.corrected_ms.load(Relaxed));
        let after = match behind.abs() <= TOLERATED {
            true => TimeDelta::zero(),
            false if (behind - before).abs() <= NOISE => before,
            false => behind,
        };
        if after != before {
            tracing::warn!(
                seconds = behind.as_seconds_f64(),
                "the system's clock is behind that of the database"
            );
            self.0.corrected_ms.store(after.num_milliseconds(), Relaxed);
        }
        Some(behind)
    }

    /// Time passes on this clock and its clones.
    pub fn advance(&self, by: TimeDelta) {
        self.0.passed_ms.fetch_add(by.num_milliseconds(), Relaxed);
    }

    /// The system's clock is wrong by so much.
    pub fn misset(&self, by: TimeDelta) {
        self.0.wrong_ms.store(by.num_milliseconds(), Relaxed);
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

    #[test]
    fn a_clock_that_is_wrong_follows_the_database_and_comes_back() {
        let (right, clock) = (Clock::default(), Clock::default());
        let is_right =
            |clock: &Clock| (clock.now() - right.now()).abs() < TimeDelta::milliseconds(400);
        for wrong in [TimeDelta::hours(1), TimeDelta::hours(-1)] {
            clock.misset(wrong);
            assert!(!is_right(&clock));
            assert_eq!(clock.follow(right.now(), Duration::from_secs(2)), None);
            let behind = clock.follow(right.now(), Duration::from_millis(10)).unwrap();
            assert!((behind + wrong).abs() < TimeDelta::seconds(1), "{behind}");
            assert!(is_right(&clock));
            let before = clock.0.corrected_ms.load(Relaxed);
            clock.follow(right.now(), Duration::from_millis(300));
            assert_eq!(clock.0.corrected_ms.load(Relaxed), before, "noise moves nothing");
        }
        clock.misset(TimeDelta::seconds(1));
        clock.follow(right.now(), Duration::ZERO);
        assert_eq!(clock.0.corrected_ms.load(Relaxed), 0, "that is for NTP");
        clock.advance(TimeDelta::minutes(1));
        clock.follow(right.now(), Duration::ZERO);
        assert!(
            clock.now() - right.now() > TimeDelta::seconds(59),
            "time that passes is not wrong"
        );
    }
}
