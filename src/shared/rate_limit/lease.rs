//! The requests that this instance may admit on its own. Times are milliseconds of the limiter's
//! clock.

/// How long a lease may be used.
const LIFE: u64 = 1_000;
/// A lease that nobody used for so long is given back. A client slower than that gets none.
const IDLE: u64 = 250;
/// For so long the tokens that waiting requests were granted are kept for them: a flood of
/// newcomers would otherwise take them before those are awake.
const KEPT: u64 = 20;

/// Requests granted by Redis.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub(super) struct Tokens {
    pub count: u64,
    /// In the time of the Redis server, which needs it when they go back.
    pub granted_at: u64,
}

#[derive(Default)]
pub(super) struct Lease {
    tokens: Tokens,
    ends: u64,
    kept: u64,
    kept_until: u64,
    used: u64,
    refilled_at: u64,
}

impl Lease {
    pub fn in_hand(&self, now: u64) -> u64 {
        let live = now < self.ends;
        if live { self.tokens.count } else { 0 }
    }

    /// Whether there is a token for a request that has waited for it, or for a newcomer.
    pub fn has_one(&self, waited: bool, now: u64) -> bool {
        let kept = !waited && now < self.kept_until;
        self.in_hand(now) > if kept { self.kept } else { 0 }
    }

    pub fn take(&mut self, waited: bool) {
        self.tokens.count = self.tokens.count.saturating_sub(1);
        self.kept = self.kept.saturating_sub(u64::from(waited));
        self.used += 1;
    }

    /// How much to lease beyond what waits: what the client would use in a lease's life at its
    /// present pace, but no more than twice of what it used since the last refill, so that a
    /// lease grows by proof. Begins the count anew.
    pub fn demand(&mut self, now: u64) -> u64 {
        let used = std::mem::take(&mut self.used);
        let elapsed = now.saturating_sub(std::mem::replace(&mut self.refilled_at, now));
        let in_a_life = used.saturating_mul(LIFE) / elapsed.max(1);
        let slow = in_a_life < LIFE / IDLE;
        if slow { 0 } else { in_a_life.min(2 * used) }
    }

    /// Adds what was granted; `awaited` of it belongs to requests that wait. What was still there
    /// ends, and goes back, together with the new tokens.
    pub fn renew(&mut self, granted: Tokens, awaited: u64, now: u64) {
        let all = self.tokens.count + granted.count;
        self.kept = all.min(self.tokens.count + awaited);
        self.kept_until = now + KEPT;
        self.ends = now + LIFE;
        self.tokens = Tokens { count: all, ..granted };
    }

    /// What has ended.
    pub fn take_ended(&mut self, now: u64) -> Tokens {
        let ended = now >= self.ends;
        if ended { self.take_all() } else { Tokens::default() }
    }

    pub fn take_all(&mut self) -> Tokens {
        std::mem::take(&mut self.tokens)
    }

    pub fn is_empty(&self) -> bool {
        self.tokens.count == 0
    }

    /// Whether it is of no use here: it has ended, or nobody came for a while.
    pub fn is_spare(&self, last_request: u64, now: u64) -> bool {
        !self.is_empty() && (now >= self.ends || now >= last_request + IDLE)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn tokens(count: u64) -> Tokens {
        Tokens { count, granted_at: 123 }
    }

    /// Uses up leases at this interval and returns what is asked for in the end.
    fn settled_demand(interval: u64) -> u64 {
        let mut lease = Lease::default();
        let (mut now, mut demand) = (0, 0);
        for _ in 0..500 {
            if !lease.has_one(true, now) {
                demand = lease.demand(now).min(100);
                lease.renew(tokens(1 + demand), 1, now);
            }
            lease.take(true);
            now += interval;
        }
        demand
    }

    #[test]
    fn a_lease_is_as_large_as_what_the_client_uses_in_a_second_up_to_the_cap() {
        assert_eq!(settled_demand(1), 100);
        assert!((19..=26).contains(&settled_demand(40)));
        assert_eq!(settled_demand(500), 0);
    }

    #[test]
    fn a_lease_ends_after_a_second_and_what_is_left_of_it_goes_back_once() {
        let mut lease = Lease::default();
        lease.renew(tokens(5), 1, 1_000);
        lease.take(true);
        assert_eq!(lease.take_ended(1_999).count, 0);
        assert!(lease.has_one(false, 1_999) && !lease.has_one(false, 2_000));
        assert_eq!(lease.take_ended(2_000), tokens(4));
        assert!(lease.is_empty());
    }

    #[test]
    fn tokens_that_were_waited_for_are_kept_from_newcomers_for_a_moment() {
        let mut lease = Lease::default();
        lease.renew(tokens(3), 2, 1_000);
        assert!(lease.has_one(false, 1_000));
        lease.take(false);
        assert!(!lease.has_one(false, 1_019) && lease.has_one(true, 1_019));
        assert!(lease.has_one(false, 1_020), "whoever waited is gone");
    }

    #[test]
    fn a_lease_is_spare_when_it_has_ended_or_nobody_came_for_a_quarter_of_a_second() {
        let mut lease = Lease::default();
        assert!(!lease.is_spare(0, 5_000), "there is nothing to give back");
        lease.renew(tokens(3), 0, 1_000);
        assert!(!lease.is_spare(1_000, 1_249) && lease.is_spare(1_000, 1_250));
        assert!(!lease.is_spare(1_990, 1_999) && lease.is_spare(1_990, 2_000));
    }
}
