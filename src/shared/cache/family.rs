//! What is cached under one name: how it is shared, and how it is counted.

use std::sync::OnceLock;

use metrics::Counter;

use super::Found;
use crate::telemetry::metrics as names;

/// When a value goes to Redis.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Sharing {
    /// As soon as it is loaded: for keys of which there are as many as things.
    Always,
    /// When it is asked for again: for keys that clients make up, so that they cannot fill Redis.
    WhenReused,
}

/// A name for keys and metrics, with the version of what a door renders under it. Raise the
/// version when that changes: a value of another one is a miss.
pub struct Family {
    pub name: &'static str,
    pub schema: u32,
    pub sharing: Sharing,
    meters: OnceLock<Meters>,
}

/// Looked up once: a lookup for each request would cost more than a hit.
struct Meters {
    memory: Counter,
    redis: Counter,
    stale: Counter,
    miss: Counter,
    bypass: Counter,
    coalesced: Counter,
}

impl Family {
    pub const fn new(name: &'static str, schema: u32, sharing: Sharing) -> Self {
        Self { name, schema, sharing, meters: OnceLock::new() }
    }

    pub(super) fn key(&self, id: &str) -> String {
        [self.name, ":", id].concat()
    }

    /// A read that was answered from memory or past the cache.
    pub(super) fn count(&self, found: Found) -> Found {
        let meters = self.meters();
        match found {
            Found::Hit => meters.memory.increment(1),
            Found::Stale => meters.stale.increment(1),
            Found::Miss => meters.miss.increment(1),
            Found::Bypass => meters.bypass.increment(1),
        }
        found
    }

    /// A read that waited for a load.
    pub(super) fn count_flight(&self, found: Found, coalesced: bool) {
        if coalesced {
            self.meters().coalesced.increment(1);
        }
        match found {
            Found::Hit => self.meters().redis.increment(1),
            other => _ = self.count(other),
        }
    }

    pub(super) fn count_load(&self, succeeded: bool) {
        let outcome = if succeeded { "loaded" } else { "failed" };
        metrics::counter!(names::CACHE_LOADS, "cache" => self.name, "outcome" => outcome)
            .increment(1);
    }

    /// An entry in Redis that is not taken.
    pub(super) fn count_refused(&self, why: &'static str) {
        metrics::counter!(names::CACHE_REFUSED, "cache" => self.name, "why" => why).increment(1);
    }

    fn meters(&self) -> &Meters {
        self.meters.get_or_init(|| {
            let requests = |found: &'static str| {
                metrics::counter!(names::CACHE_REQUESTS, "cache" => self.name, "found" => found)
            };
            Meters {
                memory: requests("memory"),
                redis: requests("redis"),
                stale: requests("stale"),
                miss: requests("miss"),
                bypass: requests("bypass"),
                coalesced: metrics::counter!(names::CACHE_COALESCED, "cache" => self.name),
            }
        })
    }
}
