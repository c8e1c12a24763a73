//! Rate limits over a sliding window, shared by all instances through Redis.
//!
//! What was admitted is written down with its time, in 32 slices of the window, and a slice is
//! given back when the youngest of its requests has left the window. So no window of that length,
//! wherever it begins, holds more than the limit; the price is that a request may be given back up
//! to a thirty-second part of the window late. (Two buckets weighted by their overlap admit nearly
//! twice the limit when a burst near the end of a bucket is followed by a flood: they take the
//! burst for an even flow.)
//!
//! A busy client's instance takes several requests' worth at a time, a lease, and decides on its
//! own until that is used up, for a second at most; what is left of it then is given back. Leases
//! are a small part of the limit and of what remains of it, and near the end there are none.
//! Without Redis each instance counts alone, against its share of the limit.
//!
//! A request is counted by all its policies or by none.

mod decide;
mod entry;
mod lease;
mod limiter;
mod refill;
mod table;
#[cfg(test)]
mod tests;
mod window;

use std::time::Duration;

use smallvec::SmallVec;

pub use limiter::Limiter;

/// How finely a window is divided.
const SLICES: u64 = 32;

/// `limit` requests in any `window`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Quota {
    pub limit: u64,
    /// At least 32 ms; anything finer is counted as that.
    pub window: Duration,
}

/// A quota with a name. The name stands in metrics, headers and Redis keys, so one name means one
/// quota.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Policy {
    pub name: &'static str,
    pub quota: Quota,
}

/// One policy that a request falls under, and whom it counts for, such as `user:<id>`.
#[derive(Debug, Clone, Copy)]
pub struct Ask<'a> {
    pub policy: &'a Policy,
    pub key: &'a str,
}

/// Where a client stands with one policy, for the `RateLimit` headers. `remaining` is as of the
/// last word from Redis, at most a second or so ago, less what this instance admitted since.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Standing {
    pub policy: &'static str,
    pub limit: u64,
    pub window_secs: u64,
    /// What the client may still do before `reset_secs` are over.
    pub remaining: u64,
    /// When more than that becomes possible; rounded up, at least 1.
    pub reset_secs: u64,
    /// Whether this policy refused the request.
    pub violated: bool,
}

/// One per policy of a request, which has one or two: on the stack.
pub type Few<T> = SmallVec<[T; 2]>;

/// The decision over all policies of one request.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Verdict {
    pub allowed: bool,
    /// In the order of the asks.
    pub standings: Few<Standing>,
    /// Set if refused: a retry after that long is admitted, unless somebody else under the same
    /// key was faster. Whole seconds, at least 1 and at least every `reset_secs` of the verdict.
    pub retry_after: Option<Duration>,
}

impl Verdict {
    fn allow(standings: Few<Standing>) -> Self {
        Self { allowed: true, standings, retry_after: None }
    }

    /// A policy that did not refuse reports no later `reset_secs` than the retry: what remains of
    /// it is there until then in any case.
    fn refuse(mut standings: Few<Standing>) -> Self {
        let violated = standings.iter().filter(|standing| standing.violated);
        let wait = violated.map(|standing| standing.reset_secs).max();
        let wait = wait.unwrap_or(1);
        for standing in &mut standings {
            standing.reset_secs = standing.reset_secs.min(wait);
        }
        Self { allowed: false, standings, retry_after: Some(Duration::from_secs(wait)) }
    }

    /// The policies that refused the request.
    pub fn violated(&self) -> impl Iterator<Item = &'static str> + '_ {
        let violated = self.standings.iter().filter(|standing| standing.violated);
        violated.map(|standing| standing.policy)
    }
}

impl Standing {
    fn new(policy: &Policy, remaining: u64, reset_ms: u64, violated: bool) -> Self {
        Self {
            policy: policy.name,
            limit: policy.quota.limit,
            window_secs: policy.quota.window.as_secs().max(1),
            remaining,
            reset_secs: reset_ms.div_ceil(1_000).max(1),
            violated,
        }
    }
}

impl Quota {
    /// Milliseconds: the unit of everything below.
    fn window_ms(&self) -> u64 {
        u64::try_from(self.window.as_millis()).map_or(u64::MAX, |window| window.max(SLICES))
    }
}
