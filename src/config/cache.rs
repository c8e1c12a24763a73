//! `cache`: what is kept of reads that everybody may see.

use super::fault::Faults;
use super::section::section;
use std::time::Duration;

section! {
    /// The cache of the catalogue, in the process and in Redis.
    pub struct Cache ("cache", drafted as CacheDraft) {
        /// Off, every read asks the database.
        pub enabled: bool,
        /// What entries in the process may take, about; 0 leaves only Redis.
        pub memory_bytes: usize,
        /// How long an entry is served that nothing has changed; it is refreshed a little earlier.
        pub ttl: Duration,
        /// For how long after that it is served while it is refreshed.
        pub stale_ttl: Duration,
        /// How long it is believed that something is not there; at most 5s.
        pub absent_ttl: Duration,
    }
}

/// Twice `ttl` and `stale_ttl` are less than an hour then.
const LONGEST: Duration = Duration::from_secs(20 * 60);
const LONGEST_ABSENT: Duration = Duration::from_secs(5);

impl CacheDraft {
    pub(super) fn rules(&self, faults: &mut Faults) {
        faults.positive(&self.ttl);
        faults.positive(&self.absent_ttl);
        let short = |ttl: &Duration| *ttl <= LONGEST;
        // An instance that starts knows the changes of the past hour only.
        faults.must(&self.ttl, short, "must be at most 20m");
        faults.must(&self.stale_ttl, short, "must be at most 20m");
        let short = |ttl: &Duration| *ttl <= LONGEST_ABSENT;
        faults.must(&self.absent_ttl, short, "must be at most 5s");
    }
}
