//! What one instance knows about one client under one policy. Times are milliseconds of the
//! limiter's clock.

use std::sync::Arc;

use tokio::sync::watch;

use super::lease::Lease;
use super::refill::{Grant, Order};
use super::window::Window;
use super::{Policy, Standing};

/// A refusal is remembered for so long at most: tokens that another instance gave back are seen
/// then. So a refused flood costs four commands a second.
const DENIAL_LIFE: u64 = 250;

/// Turns true when the refill is done; its sender is dropped if it failed.
pub(super) type Refill = watch::Receiver<bool>;

pub(super) struct Entry {
    /// The key of the log in Redis, once it was needed.
    pub key: Option<Arc<str>>,
    /// Whether the table has it on the list of those with a lease.
    pub listed: bool,
    /// The last request.
    pub touched: u64,
    limit: u64,
    window: u64,
    lease: Lease,
    /// What Redis said last: requests still possible, and when more are.
    left: u64,
    next_release: u64,
    denied: Option<Denial>,
    refill: Option<Refill>,
    /// Requests that no refill has been asked for yet.
    waiting: u64,
    /// What this instance admitted, by lease or alone, so that it knows its part of the traffic
    /// when Redis goes away.
    admitted: Window,
    /// The part of it that Redis was not told.
    debt: u64,
}

struct Denial {
    at: u64,
    until: u64,
}

/// In ascending order: the highest among its policies is a request's.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum State {
    /// A lease is in hand.
    Ready,
    /// Redis must be asked.
    Empty,
    /// Redis has refused a moment ago.
    Denied,
}

impl Entry {
    pub fn new(policy: &Policy, now: u64) -> Self {
        let window = policy.quota.window_ms();
        Self {
            key: None,
            listed: false,
            touched: now,
            limit: policy.quota.limit,
            window,
            lease: Lease::default(),
            left: policy.quota.limit,
            next_release: now.saturating_add(window),
            denied: None,
            refill: None,
            waiting: 0,
            admitted: Window::default(),
            debt: 0,
        }
    }

    /// For a request that waits for Redis since some time, or does not yet. What Redis refused in
    /// the meantime, it refused to this request too.
    pub fn state(&self, since: Option<u64>, now: u64) -> State {
        let concerns = |denial: &Denial| {
            let while_waiting = since.is_some_and(|since| denial.at >= since);
            while_waiting || now < denial.until
        };
        if self.lease.has_one(since.is_some(), now) {
            State::Ready
        } else if self.denied.as_ref().is_some_and(concerns) {
            State::Denied
        } else {
            State::Empty
        }
    }

    /// Admits one by the lease.
    pub fn take(&mut self, waited: bool, now: u64) {
        self.lease.take(waited);
        self.admitted.used(now, self.window);
        self.admitted.add(1, now, self.window);
    }

    /// The refill under way, if any, which the caller is going to wait for.
    pub fn join(&mut self) -> Option<Refill> {
        let refill = self.under_way()?.clone();
        self.waiting += 1;
        Some(refill)
    }

    /// Begins a refill for the caller, who may have waited already, and all others who wait.
    /// `cap` bounds the lease.
    pub fn order(&mut self, waited: bool, cap: u64, now: u64) -> Order {
        let newcomer = u64::from(!waited);
        let need = std::mem::take(&mut self.waiting) + newcomer;
        let debt = std::mem::take(&mut self.debt);
        Order {
            limit: self.limit,
            window: self.window,
            need: need.max(1),
            extra: self.lease.demand(now).min(cap),
            debt: debt.min(self.admitted.used(now, self.window)),
            back: self.lease.take_ended(now),
        }
    }

    /// Whoever comes from now on waits for this one.
    pub fn refilling(&mut self, refill: Refill) {
        self.refill = Some(refill);
    }

    pub fn granted(&mut self, order: &Order, grant: &Grant, now: u64) {
        self.refill = None;
        self.lease.renew(grant.tokens, order.need + self.waiting, now);
        self.left = grant.left;
        self.next_release = now.saturating_add(grant.next_release);
        let denied = self.lease.is_empty() && grant.left == 0;
        let until = self.next_release.min(now + DENIAL_LIFE);
        self.denied = denied.then_some(Denial { at: now, until });
        // Those who came meanwhile are refused with the others, or served by what was leased; the
        // rest of them asks again at once.
        let served = grant.tokens.count.saturating_sub(order.need);
        let rest = self.waiting.saturating_sub(served);
        self.waiting = if denied { 0 } else { rest };
    }

    /// Redis did not answer: nobody waits any more, and what it was to be told is kept for the
    /// next time.
    pub fn failed(&mut self, order: &Order) {
        self.refill = None;
        self.waiting = 0;
        self.debt += order.debt;
    }

    /// Hands the lease back.
    pub fn give_back(&mut self) -> Order {
        Order {
            limit: self.limit,
            window: self.window,
            need: 0,
            extra: 0,
            debt: 0,
            back: self.lease.take_all(),
        }
    }

    /// Whether `share` has room for one more, by what this instance itself has admitted.
    pub fn fits(&mut self, share: u64, now: u64) -> bool {
        self.admitted.used(now, self.window) < share
    }

    /// Admits one without Redis. `owed`: Redis is to be told when it is back.
    pub fn admit_alone(&mut self, owed: bool, now: u64) {
        self.admitted.add(1, now, self.window);
        self.debt += u64::from(owed);
    }

    pub fn has_lease(&self) -> bool {
        !self.lease.is_empty()
    }

    pub fn lease_is_spare(&self, now: u64) -> bool {
        self.lease.is_spare(self.touched, now)
    }

    /// Whether nothing would be lost by forgetting this client.
    pub fn is_idle(&self, now: u64) -> bool {
        let quiet = now >= self.touched.saturating_add(self.window);
        quiet && !self.has_lease() && self.under_way().is_none()
    }

    pub fn standing(&self, policy: &Policy, violated: bool, now: u64) -> Standing {
        let remaining = self.left + self.lease.in_hand(now);
        let remaining = if violated { 0 } else { remaining };
        let reset = self.next_release.saturating_sub(now);
        Standing::new(policy, remaining, reset, violated)
    }

    pub fn standing_alone(&mut self, policy: &Policy, share: u64, no: bool, now: u64) -> Standing {
        let remaining = share.saturating_sub(self.admitted.used(now, self.window));
        let reset = self.admitted.next_release(share, now, self.window);
        Standing::new(policy, remaining, reset, no)
    }

    /// A refill whose task died is none.
    fn under_way(&self) -> Option<&Refill> {
        let refill = self.refill.as_ref();
        refill.filter(|refill| refill.has_changed().is_ok())
    }
}

#[cfg(test)]
mod tests {
    use super::super::lease::Tokens;
    use super::*;
    use crate::shared::rate_limit::Quota;
    use std::time::Duration;

    fn entry() -> Entry {
        let quota = Quota { limit: 1_000, window: Duration::from_secs(60) };
        Entry::new(&Policy { name: "test", quota }, 0)
    }

    fn grant(count: u64, left: u64, next_release: u64) -> Grant {
        let granted_at = 123;
        Grant { tokens: Tokens { count, granted_at }, left, next_release }
    }

    #[test]
    fn everybody_who_waits_is_asked_for_once() {
        let mut entry = entry();
        assert!(entry.join().is_none());
        let order = entry.order(false, 0, 0);
        assert_eq!(order.need, 1);
        let (_done, refill) = watch::channel(false);
        entry.refilling(refill);
        (0..29).for_each(|_| assert!(entry.join().is_some()));
        // One of the 29 is served by a lease, and one of the others asks for all of them.
        entry.granted(&order, &grant(2, 500, 9_000), 0);
        assert_eq!(entry.order(true, 0, 0).need, 28);
        assert_eq!(entry.order(false, 0, 0).need, 1);
    }

    #[test]
    fn nobody_waits_for_a_refill_whose_task_died() {
        let mut entry = entry();
        let (done, refill) = watch::channel(false);
        entry.refilling(refill);
        drop(done);
        assert!(entry.join().is_none());
        assert!(entry.is_idle(60_000));
    }

    #[test]
    fn a_refusal_is_remembered_for_a_quarter_of_a_second_and_by_all_who_waited() {
        let mut entry = entry();
        let order = entry.order(false, 0, 1_000);
        entry.granted(&order, &grant(0, 0, 9_000), 1_000);
        assert_eq!(entry.state(None, 1_249), State::Denied);
        assert_eq!(entry.state(None, 1_250), State::Empty);
        entry.granted(&order, &grant(0, 0, 30), 1_250);
        assert_eq!(entry.state(None, 1_280), State::Empty);
        assert_eq!(entry.state(Some(1_240), 1_280), State::Denied);
        assert_eq!(entry.state(Some(1_260), 1_280), State::Empty);
    }

    #[test]
    fn what_was_admitted_alone_is_told_once_redis_answers_and_only_while_it_counts() {
        let mut entry = entry();
        (0..3).for_each(|_| entry.admit_alone(true, 1_000));
        let order = entry.order(false, 0, 2_000);
        assert_eq!(order.debt, 3);
        entry.failed(&order);
        assert_eq!(entry.order(false, 0, 3_000).debt, 3);
        assert_eq!(entry.order(false, 0, 4_000).debt, 0, "told once");
        entry.failed(&order);
        assert_eq!(entry.order(false, 0, 61_000).debt, 0, "out of the window");
    }
}
