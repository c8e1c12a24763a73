//! Decisions over all policies of a request, from what this instance holds. Redis is not asked
//! here, and all entries of a request are locked together: it is all or nothing.

use super::entry::State;
use super::table::{Claim, Held};
use super::{Few, Standing, Verdict};
use crate::telemetry::metrics as names;

/// From leases and remembered refusals; `None` if Redis must be asked first.
pub(super) fn from_leases(
    held: &mut Held<'_>,
    claims: &[Claim<'_>],
    since: Option<u64>,
    now: u64,
) -> Option<Verdict> {
    let mut state = |claim| held.entry(claim, now).state(since, now);
    let states: Few<State> = claims.iter().map(&mut state).collect();
    match states.iter().max().unwrap_or(&State::Ready) {
        State::Ready => Some(take(held, claims, since.is_some(), now)),
        State::Empty => None,
        State::Denied => Some(refuse(held, claims, &states, now)),
    }
}

/// From what this instance alone has admitted. `instances` share the limits, and `owed` says that
/// Redis is to be told later.
pub(super) fn alone(
    held: &mut Held<'_>,
    claims: &[Claim<'_>],
    instances: u64,
    owed: bool,
    now: u64,
) -> Verdict {
    // One request at least, or many instances would refuse everything under a small limit.
    let share = |claim: &Claim<'_>| {
        let limit = claim.policy.quota.limit;
        (limit / instances).max(1).min(limit)
    };
    let mut fits = |claim: &Claim<'_>| held.entry(claim, now).fits(share(claim), now);
    let violated: Few<bool> = claims.iter().map(|claim| !fits(claim)).collect();
    let allowed = !violated.contains(&true);
    let standing = |(claim, violated): (&Claim<'_>, bool)| {
        let entry = held.entry(claim, now);
        if allowed {
            entry.admit_alone(owed, now);
        }
        entry.standing_alone(claim.policy, share(claim), violated, now)
    };
    let standings = claims.iter().zip(violated).map(standing).collect();
    verdict(allowed, standings)
}

fn take(held: &mut Held<'_>, claims: &[Claim<'_>], waited: bool, now: u64) -> Verdict {
    let standing = |claim: &Claim<'_>| {
        let entry = held.entry(claim, now);
        entry.take(waited, now);
        entry.standing(claim.policy, false, now)
    };
    verdict(true, claims.iter().map(standing).collect())
}

fn refuse(held: &mut Held<'_>, claims: &[Claim<'_>], states: &[State], now: u64) -> Verdict {
    let standing = |(claim, state): (&Claim<'_>, &State)| {
        let violated = *state == State::Denied;
        let entry = held.entry(claim, now);
        entry.standing(claim.policy, violated, now)
    };
    verdict(false, claims.iter().zip(states).map(standing).collect())
}

fn verdict(allowed: bool, standings: Few<Standing>) -> Verdict {
    if allowed {
        return Verdict::allow(standings);
    }
    let verdict = Verdict::refuse(standings);
    for policy in verdict.violated() {
        metrics::counter!(names::RATE_LIMIT_REFUSED, "policy" => policy).increment(1);
    }
    verdict
}
