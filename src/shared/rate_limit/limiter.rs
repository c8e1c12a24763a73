//! The door to the limiter, and what runs in its background.

use crate::telemetry::metrics as names;
use std::sync::Arc;
use std::sync::atomic::{AtomicU32, Ordering};
use std::time::Duration;

use tokio::sync::watch;
use tokio::time::{Instant, MissedTickBehavior, interval};
use tokio_util::sync::CancellationToken;

use super::entry::{Refill, State};
use super::refill::{self, Addressed, Grant};
use super::table::{Claim, Held, Table};
use super::{Ask, Few, Verdict, decide};
use crate::redis::Redis;

/// All instances together hold leases for one request in so many of a limit.
const LEASED_PART: u64 = 50;
/// And for one in so many of what is left of it.
const LEASED_PART_OF_REST: u64 = 4;
/// How often a request may find that others took what it waited for; after that it stops asking.
const ROUNDS: usize = 8;
const SWEEP: Duration = Duration::from_millis(250);
/// Each sweep looks for idle clients in one part of the table.
const PARTS: usize = 16;
/// Leases given back by one command.
const BATCH: usize = 100;

/// Clones share what they know.
#[derive(Clone)]
pub struct Limiter(Arc<Inner>);

struct Inner {
    redis: Option<Redis>,
    table: Table,
    started: Instant,
    instances: AtomicU32,
}

enum Step {
    Decided(Verdict),
    Wait(Refill),
    NoRedis,
}

impl Limiter {
    /// Without Redis this instance is taken for the only one. [`Limiter::run`] must be spawned.
    pub fn new(redis: Option<Redis>) -> Self {
        Self(Arc::new(Inner {
            redis,
            table: Table::new(),
            started: Instant::now(),
            instances: AtomicU32::new(1),
        }))
    }

    /// How many instances share the limits. It bounds leases, and this instance's share while
    /// Redis is away; while Redis answers, the limits hold whatever it says.
    pub fn set_instances(&self, instances: u32) {
        self.0.instances.store(instances.max(1), Ordering::Relaxed);
    }

    /// As [`Limiter::check`], when that would not have to wait.
    pub fn check_at_once(&self, asks: &[Ask<'_>]) -> Option<Verdict> {
        self.0.redis.as_ref()?;
        let claims: Few<Claim<'_>> = asks.iter().map(|ask| self.0.table.claim(ask)).collect();
        decide::from_leases(&mut self.hold(&claims), &claims, None, self.now())
    }

    /// Counts a request under all these policies or, if one of them has no room, under none.
    /// Does not wait with a lease in hand, a refusal in memory or Redis away, and for one command
    /// otherwise (rarely a second, when others were faster). May be cancelled at any time.
    pub async fn check(&self, asks: &[Ask<'_>]) -> Verdict {
        let claims: Few<Claim<'_>> = asks.iter().map(|ask| self.0.table.claim(ask)).collect();
        let Some(redis) = &self.0.redis else {
            return self.decide_alone(&claims, 1, false);
        };
        let mut waiting_since = None;
        for _ in 0..ROUNDS {
            let mut refill = match self.step(redis, &claims, &mut waiting_since) {
                Step::Decided(verdict) => return verdict,
                Step::Wait(refill) => refill,
                Step::NoRedis => break,
            };
            if refill.wait_for(|done| *done).await.is_err() {
                break;
            }
        }
        metrics::counter!(names::RATE_LIMIT_ALONE).increment(1);
        self.decide_alone(&claims, self.instances(), true)
    }

    /// Gives spare leases back and forgets idle clients, until stopped; then gives all leases
    /// back, so that the other instances have them at once.
    pub async fn run(&self, stop: CancellationToken) {
        let mut ticks = interval(SWEEP);
        ticks.set_missed_tick_behavior(MissedTickBehavior::Delay);
        for part in (0..PARTS).cycle() {
            tokio::select! {
                () = stop.cancelled() => break,
                _ = ticks.tick() => {}
            }
            self.0.table.forget_idle(part, PARTS, self.now());
            if part == 0 {
                metrics::gauge!(names::RATE_LIMIT_CLIENTS).set(self.clients() as f64);
            }
            self.give_back(false).await;
        }
        self.give_back(true).await;
    }

    /// How many clients this instance remembers.
    pub fn clients(&self) -> usize {
        self.0.table.len()
    }

    fn step(&self, redis: &Redis, claims: &[Claim<'_>], since: &mut Option<u64>) -> Step {
        let mut held = self.hold(claims);
        // After the lock: else what another thread has written could be younger than now.
        let now = self.now();
        if let Some(verdict) = decide::from_leases(&mut held, claims, *since, now) {
            return Step::Decided(verdict);
        }
        if !redis.available() {
            return Step::NoRedis;
        }
        let empty = claims.iter().filter(|claim| {
            let entry = held.entry(claim, now);
            entry.state(*since, now) == State::Empty
        });
        let empty: Few<&Claim<'_>> = empty.collect();
        let waited = since.is_some();
        since.get_or_insert(now);
        Step::Wait(self.refill(redis, &mut held, &empty, waited, now))
    }

    /// Joins a refill under way for one of these, or starts one for all of them.
    fn refill(
        &self,
        redis: &Redis,
        held: &mut Held<'_>,
        claims: &[&Claim<'_>],
        waited: bool,
        now: u64,
    ) -> Refill {
        let under_way = claims.iter().find_map(|claim| held.entry(claim, now).join());
        if let Some(refill) = under_way {
            return refill;
        }
        let (done, refill) = watch::channel(false);
        let orders = claims.iter().map(|claim| {
            let entry = held.entry(claim, now);
            let key = || refill::log_key(redis, claim);
            let key = Arc::clone(entry.key.get_or_insert_with(key));
            let cap = claim.policy.quota.limit / (LEASED_PART * self.instances());
            let order = entry.order(waited, cap, now);
            entry.refilling(refill.clone());
            let slot = claim.slot;
            Addressed { slot, key, order }
        });
        let orders = orders.collect();
        // A task of its own: if the caller is cancelled, the answer still counts for the others.
        tokio::spawn(self.clone().ask(redis.clone(), orders, done));
        refill
    }

    async fn ask(self, redis: Redis, orders: Vec<Addressed>, done: watch::Sender<bool>) {
        let spread = LEASED_PART_OF_REST * self.instances();
        let grants = refill::send(&redis, spread, &orders).await;
        self.book(&orders, grants.as_deref().unwrap_or(&[]));
        if grants.is_ok() {
            done.send_replace(true);
        }
    }

    /// An order without a grant has failed.
    fn book(&self, orders: &[Addressed], grants: &[Grant]) {
        let mut held = self.0.table.hold(orders.iter().map(|to| to.slot));
        let now = self.now();
        for (i, Addressed { slot, order, .. }) in orders.iter().enumerate() {
            let Some(entry) = held.known(*slot) else {
                continue;
            };
            match grants.get(i) {
                Some(grant) => entry.granted(order, grant, now),
                None => entry.failed(order),
            }
            held.list(*slot);
        }
    }

    /// What cannot be given back is lost to the client until it has left the window.
    async fn give_back(&self, all: bool) {
        let Some(redis) = &self.0.redis else {
            return;
        };
        let orders = self.0.table.spare_leases(all, self.now());
        for batch in orders.chunks(BATCH) {
            if let Err(error) = refill::send(redis, 1, batch).await {
                tracing::debug!(%error, leases = batch.len(), "leases were not given back");
            }
        }
    }

    fn decide_alone(&self, claims: &[Claim<'_>], instances: u64, owed: bool) -> Verdict {
        decide::alone(&mut self.hold(claims), claims, instances, owed, self.now())
    }

    fn hold(&self, claims: &[Claim<'_>]) -> Held<'_> {
        self.0.table.hold(claims.iter().map(|claim| claim.slot))
    }

    fn instances(&self) -> u64 {
        self.0.instances.load(Ordering::Relaxed).into()
    }

    fn now(&self) -> u64 {
        u64::try_from(self.0.started.elapsed().as_millis()).unwrap_or(u64::MAX)
    }
}
