//! Stops asking a dependency that does not answer, and notices when it is back.
//!
//! Closed: everything may pass. A number of failures in a row opens it: nothing may pass, and
//! nobody waits. After a while one caller alone is let through (half-open): its success closes
//! the breaker, anything else opens it again for as long.

use crate::telemetry::metrics as names;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use tokio::time::Instant;

/// One per dependency; clones share their state.
#[derive(Clone)]
pub struct CircuitBreaker(Arc<Shared>);

struct Shared {
    name: &'static str,
    failures: u32,
    open_for: Duration,
    state: Mutex<State>,
}

struct State {
    phase: Phase,
    /// Counts the changes of phase. A permit of an earlier era has nothing to say any more: the
    /// hundredth timeout of an outage must not reopen a breaker that a probe has just closed.
    era: u64,
}

#[derive(Clone, Copy)]
enum Phase {
    Closed { failures: u32 },
    Open { until: Instant },
    HalfOpen,
}

impl CircuitBreaker {
    /// Opens after `failures` failures in a row (at least one), for `open_for` each time.
    pub fn new(name: &'static str, failures: u32, open_for: Duration) -> Self {
        let closed = Phase::Closed { failures: 0 };
        let breaker = Self(Arc::new(Shared {
            name,
            failures: failures.max(1),
            open_for,
            state: Mutex::new(State { phase: closed, era: 0 }),
        }));
        breaker.0.export(closed);
        breaker
    }

    /// Leave to try, or `None`: do without, at once.
    pub fn permit(&self) -> Option<Permit> {
        let mut state = self.0.lock();
        let probe = match state.phase {
            Phase::Closed { .. } => false,
            Phase::Open { until } if Instant::now() >= until => {
                self.0.enter(&mut state, Phase::HalfOpen);
                true
            }
            Phase::Open { .. } | Phase::HalfOpen => return None,
        };
        Some(Permit { shared: Arc::clone(&self.0), era: state.era, probe, settled: false })
    }
}

impl Shared {
    /// Every update of the state is one assignment, so a poisoned lock guards a whole state.
    fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn enter(&self, state: &mut State, phase: Phase) {
        state.phase = phase;
        state.era += 1;
        self.export(phase);
    }

    fn succeeded(&self, era: u64) {
        let mut state = self.lock();
        match state.phase {
            _ if state.era != era => {}
            Phase::Closed { .. } => state.phase = Phase::Closed { failures: 0 },
            Phase::HalfOpen | Phase::Open { .. } => {
                self.enter(&mut state, Phase::Closed { failures: 0 });
                tracing::info!(breaker = self.name, "circuit breaker closed");
            }
        }
    }

    fn failed(&self, era: u64) -> bool {
        let mut state = self.lock();
        let failures = match state.phase {
            _ if state.era != era => return false,
            Phase::Closed { failures } => failures + 1,
            Phase::HalfOpen | Phase::Open { .. } => self.failures,
        };
        if failures < self.failures {
            state.phase = Phase::Closed { failures };
            return false;
        }
        if matches!(state.phase, Phase::Closed { .. }) {
            tracing::warn!(breaker = self.name, failures, "circuit breaker opened");
        }
        let until = Instant::now() + self.open_for;
        self.enter(&mut state, Phase::Open { until });
        true
    }

    fn export(&self, phase: Phase) {
        let value = match phase {
            Phase::Closed { .. } => 0.0,
            Phase::HalfOpen => 1.0,
            Phase::Open { .. } => 2.0,
        };
        metrics::gauge!(names::BREAKER_STATE, "breaker" => self.name).set(value);
    }
}

/// Leave for one attempt; say how it went. Dropped unsaid (the caller was cancelled), it counts
/// for nothing, except that a probe without a result is a failed probe: otherwise the breaker
/// would wait for its answer for ever.
#[must_use = "a permit reports how the attempt went"]
pub struct Permit {
    shared: Arc<Shared>,
    era: u64,
    probe: bool,
    settled: bool,
}

impl Permit {
    /// Whether the breaker's fate hangs on this attempt alone.
    pub fn is_probe(&self) -> bool {
        self.probe
    }

    pub fn success(mut self) {
        self.settled = true;
        self.shared.succeeded(self.era);
    }

    /// True if this failure opened the breaker.
    pub fn failure(mut self) -> bool {
        self.settled = true;
        self.shared.failed(self.era)
    }
}

impl Drop for Permit {
    fn drop(&mut self) {
        if self.probe && !self.settled {
            self.shared.failed(self.era);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use tokio::time::advance;

    const SECOND: Duration = Duration::from_secs(1);

    fn permit(breaker: &CircuitBreaker) -> Permit {
        breaker.permit().expect("the breaker lets this one through")
    }

    fn opened() -> CircuitBreaker {
        let breaker = CircuitBreaker::new("test", 5, SECOND);
        (0..4).for_each(|_| assert!(!permit(&breaker).failure()));
        assert!(permit(&breaker).failure());
        breaker
    }

    #[tokio::test(start_paused = true)]
    async fn five_failures_in_a_row_open_it_and_a_success_in_between_does_not() {
        let breaker = CircuitBreaker::new("test", 5, SECOND);
        for _ in 0..3 {
            (0..4).for_each(|_| assert!(!permit(&breaker).failure()));
            permit(&breaker).success();
        }
        (0..5).for_each(|_| _ = permit(&breaker).failure());
        assert!(breaker.permit().is_none());
    }

    #[tokio::test(start_paused = true)]
    async fn after_its_time_it_lets_one_probe_through_whose_success_closes_it() {
        let breaker = opened();
        advance(SECOND - Duration::from_millis(1)).await;
        assert!(breaker.permit().is_none());
        advance(Duration::from_millis(1)).await;
        let probe = permit(&breaker);
        assert!(probe.is_probe());
        assert!(breaker.permit().is_none(), "one probe at a time");
        probe.success();
        assert!(!permit(&breaker).is_probe());
    }

    #[tokio::test(start_paused = true)]
    async fn a_probe_that_fails_or_is_cancelled_opens_it_for_as_long_again() {
        let breaker = opened();
        for cancelled in [false, true] {
            advance(SECOND).await;
            let probe = permit(&breaker);
            if cancelled {
                drop(probe);
            } else {
                assert!(probe.failure());
            }
            assert!(breaker.permit().is_none());
        }
        advance(SECOND).await;
        assert!(permit(&breaker).is_probe());
    }

    #[tokio::test(start_paused = true)]
    async fn a_cancelled_attempt_counts_for_nothing() {
        let breaker = CircuitBreaker::new("test", 1, SECOND);
        drop(permit(&breaker));
        assert!(breaker.permit().is_some());
    }

    #[tokio::test(start_paused = true)]
    async fn results_that_come_after_the_breaker_changed_are_ignored() {
        let breaker = CircuitBreaker::new("test", 1, SECOND);
        let (late_success, late_failure) = (permit(&breaker), permit(&breaker));
        assert!(permit(&breaker).failure());
        late_success.success();
        assert!(breaker.permit().is_none(), "still open");
        advance(SECOND).await;
        permit(&breaker).success();
        assert!(!late_failure.failure());
        assert!(breaker.permit().is_some(), "still closed");
    }
}
