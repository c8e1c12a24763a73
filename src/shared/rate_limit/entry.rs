//! What one instance knows about one client under one policy. All times are milliseconds of the
//! limiter's clock, except where a lease says otherwise.

use std::sync::Arc;

use tokio::sync::watch;

use super::refill::{Grant, Lease, Order};
use super::window::Window;
use super::{Policy, Standing};

/// How long a lease may be used.
pub(super) const LEASE_LIFE: u64 = 1_000;
/// A lease that nobody used for so long is given back. A client slower than that gets none.
pub(super) const LEASE_IDLE: u64 = 250;
/// A refusal is remembered for so long at most: tokens that another instance gives back are seen
/// then. So a refused flood costs four commands a second.
const DENIAL_LIFE: u64 = 250;

/// For so long the tokens that waiting requests were granted are kept for them. Without it a
/// flood of newcomers would take them before the waiting ones are awake.
const RESERVED_LIFE: u64 = 20;

/// Turns true when the refill is done; its sender is dropped if it failed.
pub(super) type Refill = watch::Receiver<bool>;

pub(super) struct Entry {
    /// The key of the log in Redis, once it was needed.
    pub key: Option<Arc<str>>,
    /// Whether the table has it on the list of those with a lease.
    pub listed: bool,
    pub touched: u64,
    limit: u64,
    window: u64,
    /// What this instance admitted, by lease or alone, so that it knows its part of the traffic
    /// when Redis goes away.
    admitted: Window,
    /// The part of it that Redis was not told.
    debt: u64,
    lease: Lease,
    lease_ends: u64,
    reserved: u64,
    reserved_until: u64,
    left: u64,
    next_release: u64,
    denied: Option<Denial>,
    refill: Option<Refill>,
    waiting: u64,
    refilled_at: u64,
    taken: u64,
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
            admitted: Window::default(),
            debt: 0,
            lease: Lease::default(),
            lease_ends: 0,
            reserved: 0,
            reserved_until: 0,
            left: policy.quota.limit,
            next_release: now.saturating_add(window),
            denied: None,
            refill: None,
            waiting: 0,
            refilled_at: 0,
            taken: 0,
        }
    }

    /// For a request that has been waiting for Redis since some time, or has not. What Redis
    /// refused in the meantime, it refused to this request too.
    pub fn state(&self, now: u64, waiting_since: Option<u64>) -> State {
        let newcomer = waiting_since.is_none();
        let kept = newcomer && now < self.reserved_until;
        if self.in_hand(now) > if kept { self.reserved } else { 0 } {
            return State::Ready;
        }
        let holds = |denial: &Denial| {
            now < denial.until || waiting_since.is_some_and(|since| denial.at >= since)
        };
        let denied = self.denied.as_ref().is_some_and(holds);
        if denied { State::Denied } else { State::Empty }
    }

    /// Uses one token of the lease.
    pub fn take(&mut self, now: u64, waited: bool) {
        self.lease.tokens = self.lease.tokens.saturating_sub(1);
        self.reserved = self.reserved.saturating_sub(u64::from(waited));
        self.taken += 1;
        self.admitted.used(now, self.window);
        self.admitted.add(1, now, self.window);
    }

    /// The refill under way, if any, which the caller is going to wait for. One whose task died
    /// is none.
    pub fn join(&mut self) -> Option<Refill> {
        let refill = self.refill.clone()?;
        refill.has_changed().ok()?;
        self.waiting += 1;
        Some(refill)
    }

    /// Begins a refill for the caller and all who wait. `cap` bounds the lease.
    pub fn order(&mut self, slot: u64, key: Arc<str>, cap: u64, now: u64) -> Order {
        let debt = self.debt.min(self.admitted.used(now, self.window));
        let spare = self.in_hand(now) == 0;
        let order = Order {
            need: self.waiting + 1,
            extra: self.demand(now).min(cap),
            debt,
            back: if spare { self.lease } else { Lease::default() },
            ..self.no_order(slot, key)
        };
        self.lease.tokens -= order.back.tokens;
        (self.debt, self.waiting, self.taken) = (0, 0, 0);
        self.refilled_at = now;
        order
    }

    /// Who comes from now on waits for this one.
    pub fn refilling(&mut self, refill: Refill) {
        self.refill = Some(refill);
    }

    /// Hands the lease back.
    pub fn give_back(&mut self, slot: u64, key: Arc<str>) -> Order {
        let back = std::mem::take(&mut self.lease);
        Order { back, ..self.no_order(slot, key) }
    }

    /// What is still kept for others joins the new lease, and goes back with it as of its time.
    pub fn granted(&mut self, grant: &Grant, need: u64, now: u64) {
        self.refill = None;
        self.reserved = self.lease.tokens + need.min(grant.lease.tokens);
        self.reserved_until = now + RESERVED_LIFE;
        self.lease.tokens += grant.lease.tokens;
        self.lease.granted_at = grant.lease.granted_at;
        self.lease_ends = now + LEASE_LIFE;
        self.left = grant.left;
        self.next_release = now.saturating_add(grant.next_release);
        let until = self.next_release.min(now + DENIAL_LIFE);
        let denied = self.lease.tokens == 0 && grant.left == 0;
        self.denied = denied.then_some(Denial { at: now, until });
    }

    /// Redis did not answer: what it was to be told is kept for the next time.
    pub fn failed(&mut self, debt: u64) {
        self.refill = None;
        self.debt += debt;
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

    /// Whether its lease should go back: it has ended, or nobody came for a while.
    pub fn lease_is_spare(&self, now: u64) -> bool {
        self.lease.tokens > 0 && (now >= self.lease_ends || now >= self.touched + LEASE_IDLE)
    }

    pub fn has_lease(&self) -> bool {
        self.lease.tokens > 0
    }

    /// Whether nothing would be lost by forgetting this client.
    pub fn is_idle(&self, now: u64) -> bool {
        let quiet = now >= self.touched.saturating_add(self.window);
        quiet && !self.has_lease() && self.refill.is_none()
    }

    pub fn standing(&self, policy: &Policy, violated: bool, now: u64) -> Standing {
        let remaining = self.left + self.in_hand(now);
        let reset = self.next_release.saturating_sub(now);
        standing(policy, if violated { 0 } else { remaining }, reset, violated)
    }

    pub fn standing_alone(&mut self, policy: &Policy, share: u64, no: bool, now: u64) -> Standing {
        let remaining = share.saturating_sub(self.admitted.used(now, self.window));
        let reset = self.admitted.next_release(share, now, self.window);
        standing(policy, remaining, reset, no)
    }

    fn no_order(&self, slot: u64, key: Arc<str>) -> Order {
        Order {
            slot,
            key,
            limit: self.limit,
            window: self.window,
            need: 0,
            extra: 0,
            debt: 0,
            back: Lease::default(),
        }
    }

    fn in_hand(&self, now: u64) -> u64 {
        let live = now < self.lease_ends;
        if live { self.lease.tokens } else { 0 }
    }

    /// How much to lease: what the client would use in a lease's life at its present pace, and no
    /// more than twice of what it used since the last refill, so that a lease grows by proof.
    fn demand(&self, now: u64) -> u64 {
        let elapsed = (now - self.refilled_at).max(1);
        let in_a_life = self.taken.saturating_mul(LEASE_LIFE) / elapsed;
        let slow = in_a_life < LEASE_LIFE / LEASE_IDLE;
        if slow { 0 } else { in_a_life.min(2 * self.taken) }
    }
}

fn standing(policy: &Policy, remaining: u64, reset_ms: u64, violated: bool) -> Standing {
    Standing {
        policy: policy.name,
        limit: policy.quota.limit,
        window_secs: policy.quota.window.as_secs().max(1),
        remaining,
        reset_secs: reset_ms.div_ceil(1_000).max(1),
        violated,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::shared::rate_limit::Quota;
    use std::time::Duration;

    const POLICY: Policy =
        Policy { name: "test", quota: Quota { limit: 1_000, window: Duration::from_secs(60) } };

    fn order(entry: &mut Entry, now: u64) -> Order {
        entry.order(7, "key".into(), 100, now)
    }

    fn grant(tokens: u64, left: u64) -> Grant {
        Grant { lease: Lease { tokens, granted_at: 123 }, left, next_release: 10_000 }
    }

    /// Uses up leases at this interval and returns what is asked for in the end.
    fn settled_lease(interval: u64) -> u64 {
        let mut entry = Entry::new(&POLICY, 0);
        let (mut now, mut extra) = (0, 0);
        for _ in 0..500 {
            if entry.state(now, None) == State::Empty {
                extra = order(&mut entry, now).extra;
                entry.granted(&grant(1 + extra, 500), 1, now);
            }
            entry.take(now, false);
            now += interval;
        }
        extra
    }

    #[test]
    fn a_lease_is_as_large_as_what_the_client_uses_in_a_second_up_to_the_cap() {
        assert_eq!(settled_lease(1), 100);
        assert!((19..=26).contains(&settled_lease(40)));
        assert_eq!(settled_lease(500), 0);
    }

    #[test]
    fn a_lease_ends_and_what_is_left_of_it_goes_back_with_the_next_order() {
        let mut entry = Entry::new(&POLICY, 0);
        entry.granted(&grant(5, 500), 1, 1_000);
        entry.take(1_100, true);
        assert_eq!(entry.state(1_999, None), State::Ready);
        assert_eq!(entry.state(2_000, None), State::Empty);
        let back = order(&mut entry, 2_000).back;
        assert_eq!((back.tokens, back.granted_at), (4, 123));
        assert_eq!(order(&mut entry, 2_000).back.tokens, 0, "only once");
    }

    #[test]
    fn everybody_who_waits_is_asked_for() {
        let mut entry = Entry::new(&POLICY, 0);
        assert!(entry.join().is_none());
        assert_eq!(order(&mut entry, 0).need, 1);
        let (done, refill) = watch::channel(false);
        entry.refilling(refill);
        (0..29).for_each(|_| assert!(entry.join().is_some()));
        drop(done);
        assert!(entry.join().is_none(), "its task died");
        assert_eq!(order(&mut entry, 0).need, 30);
    }

    #[test]
    fn a_refusal_is_remembered_for_a_quarter_of_a_second_at_most() {
        let mut entry = Entry::new(&POLICY, 0);
        entry.granted(&grant(0, 0), 1, 1_000);
        assert_eq!(entry.state(1_249, None), State::Denied);
        assert_eq!(entry.state(1_250, None), State::Empty);
        let soon = Grant { next_release: 30, ..grant(0, 0) };
        entry.granted(&soon, 1, 1_250);
        assert_eq!(entry.state(1_280, None), State::Empty);
        let waiting_since = Some(1_240);
        assert_eq!(entry.state(1_280, waiting_since), State::Denied);
    }

    #[test]
    fn what_was_admitted_alone_is_told_once_redis_answers_and_only_while_it_counts() {
        let mut entry = Entry::new(&POLICY, 0);
        (0..3).for_each(|_| entry.admit_alone(true, 1_000));
        let debt = order(&mut entry, 2_000).debt;
        assert_eq!(debt, 3);
        entry.failed(debt);
        assert_eq!(order(&mut entry, 3_000).debt, 3);
        entry.failed(debt);
        assert_eq!(order(&mut entry, 61_000).debt, 0);
    }
}
