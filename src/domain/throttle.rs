//! How guessing is slowed down: failures are counted per account and per network, and beyond a
//! number that people reach by mistake each further one doubles the wait.

use std::time::Duration;

/// A keyed hash of what is counted.
pub type Bucket = Vec<u8>;

/// From so many failures in a row on, the account waits until they are forgotten, or signs in
/// from a known device (NIST SP 800-63B-4, 3.2.2: no more than 100 consecutive failures).
const CONSECUTIVE_MAX: i32 = 100;

/// How a bucket stands, its row locked.
#[derive(Debug, Clone, Copy, Default)]
pub struct Standing {
    pub failures: i32,
    /// Since the last failure.
    pub quiet_secs: f64,
    /// Until the next attempt is heard; 0 when it is heard now.
    pub blocked_secs: f64,
}

/// What a bucket becomes by one more failure.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Penalty {
    pub failures: i32,
    pub delay: Duration,
}

#[derive(Debug, Clone, Copy)]
pub struct ThrottleRule {
    /// Failures free of delay.
    pub allowed: i32,
    /// Counting starts again after so long without a failure.
    pub forget: Duration,
    /// The wait grows up to this.
    pub delay_max: Duration,
}

impl ThrottleRule {
    pub fn after_failure(&self, standing: Standing) -> Penalty {
        let forgotten = standing.quiet_secs > self.forget.as_secs_f64();
        let failures = if forgotten { 1 } else { standing.failures.saturating_add(1) };
        Penalty { failures, delay: self.delay(failures) }
    }

    fn delay(&self, failures: i32) -> Duration {
        if failures < self.allowed {
            return Duration::ZERO;
        }
        if failures >= CONSECUTIVE_MAX {
            return self.forget.max(self.delay_max);
        }
        let doublings = u32::try_from(failures - self.allowed).unwrap_or_default().min(30);
        Duration::from_secs(1 << doublings).min(self.delay_max)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const RULE: ThrottleRule = ThrottleRule {
        allowed: 10,
        forget: Duration::from_secs(24 * 3600),
        delay_max: Duration::from_secs(900),
    };

    fn after(failures: i32, quiet_secs: f64) -> Penalty {
        RULE.after_failure(Standing { failures, quiet_secs, blocked_secs: 0.0 })
    }

    #[test]
    fn the_first_failures_cost_no_delay_then_it_doubles_to_a_quarter_of_an_hour() {
        assert_eq!(after(8, 0.0), Penalty { failures: 9, delay: Duration::ZERO });
        let secs: Vec<_> = (9..22).map(|n| after(n, 0.0).delay.as_secs()).collect();
        assert_eq!(secs, [1, 2, 4, 8, 16, 32, 64, 128, 256, 512, 900, 900, 900]);
    }

    #[test]
    fn a_day_of_patience_never_buys_more_than_a_hundred_guesses() {
        let (mut failures, mut time, day) = (0, 0, 24 * 3600);
        let mut guesses = 0;
        while time < day {
            let penalty = after(failures, 1.0);
            (failures, guesses) = (penalty.failures, guesses + 1);
            time += penalty.delay.as_secs();
        }
        assert!(guesses <= 100, "{guesses}");
    }

    #[test]
    fn failures_are_forgotten_after_a_quiet_day() {
        assert_eq!(after(99, 24.0 * 3600.0 + 1.0), Penalty { failures: 1, delay: Duration::ZERO });
        assert_eq!(after(99, 3600.0).delay, RULE.forget);
    }
}
