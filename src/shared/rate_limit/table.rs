//! The clients that one instance knows, in shards so that cores do not wait for each other.

use std::collections::HashMap;
use std::collections::hash_map::RandomState;
use std::hash::BuildHasher;
use std::sync::{Mutex, MutexGuard, PoisonError};

use super::entry::Entry;
use super::refill::Addressed;
use super::{Ask, Few, Policy};

const SHARDS: usize = 64;
/// About 100,000 clients in all: 80 MB, if so many come within one window.
const CLIENTS_PER_SHARD: usize = 1_600;
/// How many are looked at to find one to forget when a shard is full.
const SAMPLE: usize = 8;

/// An ask, and where its client stands in the table.
pub(super) struct Claim<'a> {
    pub policy: &'a Policy,
    pub key: &'a str,
    pub slot: u64,
}

pub(super) struct Table {
    shards: Vec<Mutex<Shard>>,
    /// Keyed by chance per process: nobody can aim for a neighbour's slot.
    hasher: RandomState,
}

#[derive(Default)]
struct Shard {
    entries: HashMap<u64, Entry>,
    /// The slots with a lease.
    leased: Vec<u64>,
}

/// Some shards, locked together. Never held across an await.
pub(super) struct Held<'a>(Few<(usize, MutexGuard<'a, Shard>)>);

impl Table {
    pub fn new() -> Self {
        Self { shards: (0..SHARDS).map(|_| Mutex::default()).collect(), hasher: RandomState::new() }
    }

    /// Two clients share a slot with a chance of one in 10^9 for a full table.
    pub fn claim<'a>(&self, ask: &Ask<'a>) -> Claim<'a> {
        Claim {
            policy: ask.policy,
            key: ask.key,
            slot: self.hasher.hash_one((ask.policy.name, ask.key)),
        }
    }

    /// Locks what these slots need, in one order for all callers.
    pub fn hold(&self, slots: impl Iterator<Item = u64>) -> Held<'_> {
        let mut indexes: Few<usize> = slots.map(index).collect();
        indexes.sort_unstable();
        indexes.dedup();
        let guards = indexes.into_iter().map(|i| (i, self.lock(i)));
        Held(guards.collect())
    }

    /// Takes the leases that are to go back: those nobody needs, or all of them.
    pub fn spare_leases(&self, all: bool, now: u64) -> Vec<Addressed> {
        let mut orders = Vec::new();
        for i in 0..SHARDS {
            let shard = &mut *self.lock(i);
            shard.leased.retain(|slot| {
                let Some(entry) = shard.entries.get_mut(slot) else {
                    return false;
                };
                if entry.lease_is_spare(now) || all && entry.has_lease() {
                    let (slot, order) = (*slot, entry.give_back());
                    let key = entry.key.clone();
                    orders.extend(key.map(|key| Addressed { slot, key, order }));
                }
                entry.listed = entry.has_lease();
                entry.listed
            });
        }
        orders
    }

    /// Forgets who has been idle for a window, in every `parts`-th shard from `part` on.
    pub fn forget_idle(&self, part: usize, parts: usize, now: u64) {
        for i in (part..SHARDS).step_by(parts) {
            self.lock(i).entries.retain(|_, entry| !entry.is_idle(now));
        }
    }

    pub fn len(&self) -> usize {
        (0..SHARDS).map(|i| self.lock(i).entries.len()).sum()
    }

    /// Nothing that can panic runs between two dependent changes of a shard, so a poisoned lock
    /// is as good as another.
    fn lock(&self, i: usize) -> MutexGuard<'_, Shard> {
        self.shards[i].lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Held<'_> {
    /// The entry, made if need be.
    pub fn entry(&mut self, claim: &Claim<'_>, now: u64) -> &mut Entry {
        let shard = self.shard(claim.slot);
        if shard.entries.len() >= CLIENTS_PER_SHARD && !shard.entries.contains_key(&claim.slot) {
            shard.forget_one();
        }
        let entry = shard.entries.entry(claim.slot);
        let entry = entry.or_insert_with(|| Entry::new(claim.policy, now));
        entry.touched = now;
        entry
    }

    /// The entry, unless it was forgotten.
    pub fn known(&mut self, slot: u64) -> Option<&mut Entry> {
        self.shard(slot).entries.get_mut(&slot)
    }

    /// Remembers that there may be a lease to give back some time.
    pub fn list(&mut self, slot: u64) {
        let shard = self.shard(slot);
        let entry = shard.entries.get_mut(&slot);
        if entry.is_some_and(|entry| !std::mem::replace(&mut entry.listed, true)) {
            shard.leased.push(slot);
        }
    }

    fn shard(&mut self, slot: u64) -> &mut Shard {
        let held = self.0.iter_mut().find(|(i, _)| *i == index(slot));
        &mut held.expect("every slot used here was among those that hold() locked for").1
    }
}

impl Shard {
    /// The longest idle of a few: a flood of strangers pushes out strangers, mostly.
    fn forget_one(&mut self) {
        let few = self.entries.iter().take(SAMPLE);
        let oldest = few.min_by_key(|(_, entry)| entry.touched);
        if let Some(slot) = oldest.map(|(slot, _)| *slot) {
            self.entries.remove(&slot);
        }
    }
}

/// Not the bits that the map inside the shard sorts by.
fn index(slot: u64) -> usize {
    (slot >> 32) as usize % SHARDS
}
