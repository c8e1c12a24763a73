//! How long to wait before the next attempt.

use std::time::Duration;

/// Grows with every failed attempt; the wait itself is drawn evenly from nothing to there ("full
/// jitter"), so that what failed together is not tried again together.
#[derive(Debug, Clone, Copy)]
pub enum Backoff {
    /// Doubles from `first` to `longest`.
    Exponential { first: Duration, longest: Duration },
    /// These seconds, then doubling to `longest`; drawn from the upper half, for those who want to
    /// be early and not at once.
    Steps { secs: &'static [u64], longest: Duration },
}

impl Backoff {
    /// The wait after attempt number `attempt` (from 1) has failed; `draw` is from 0 to 1.
    pub fn delay(&self, attempt: i32, draw: f64) -> Duration {
        let draw = draw.clamp(0.0, 1.0);
        match self {
            Backoff::Exponential { .. } => self.bound(attempt).mul_f64(draw),
            Backoff::Steps { .. } => self.bound(attempt).mul_f64(0.5 + draw / 2.0),
        }
    }

    /// The longest wait after that attempt.
    pub fn bound(&self, attempt: i32) -> Duration {
        let failed = usize::try_from(attempt.max(1) - 1).unwrap_or(0);
        match *self {
            Backoff::Exponential { first, longest } => doubled(first, failed).min(longest),
            Backoff::Steps { secs, longest } => match secs.get(failed) {
                Some(secs) => Duration::from_secs(*secs),
                None => {
                    let last = Duration::from_secs(secs.last().copied().unwrap_or(1));
                    doubled(last, failed + 1 - secs.len()).min(longest)
                }
            },
        }
    }
}

fn doubled(start: Duration, times: usize) -> Duration {
    start.saturating_mul(1_u32.checked_shl(times as u32).unwrap_or(u32::MAX))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn seconds(backoff: Backoff, attempts: std::ops::RangeInclusive<i32>) -> Vec<u64> {
        attempts.map(|attempt| backoff.bound(attempt).as_secs()).collect()
    }

    #[test]
    fn an_exponential_wait_doubles_up_to_its_longest() {
        let backoff = Backoff::Exponential {
            first: Duration::from_secs(2),
            longest: Duration::from_secs(60),
        };
        assert_eq!(seconds(backoff, 1..=7), [2, 4, 8, 16, 32, 60, 60]);
        assert_eq!(backoff.bound(i32::MAX).as_secs(), 60);
    }

    #[test]
    fn steps_are_followed_and_then_doubled() {
        let backoff =
            Backoff::Steps { secs: &[1, 2, 5, 10, 30], longest: Duration::from_secs(600) };
        assert_eq!(seconds(backoff, 1..=11), [1, 2, 5, 10, 30, 60, 120, 240, 480, 600, 600]);
    }

    #[test]
    fn the_jitter_covers_the_whole_range() {
        let first = Duration::from_secs(8);
        let backoff = Backoff::Exponential { first, longest: first };
        assert_eq!(backoff.delay(1, 0.0), Duration::ZERO);
        assert_eq!(backoff.delay(1, 0.5), first / 2);
        assert_eq!(backoff.delay(1, 1.0), first);
        let steps = Backoff::Steps { secs: &[8], longest: first };
        assert_eq!(steps.delay(1, 0.0), first / 2);
        assert_eq!(steps.delay(1, 1.0), first);
    }
}
