//! `auth`: tokens, sessions, password hashing and the slowing of guesses.

use super::fault::Faults;
use super::section::section;
use super::types::MasterKey;
use std::num::NonZeroUsize;
use std::time::Duration;

section! {
    /// Who may come in, for how long, and what it costs to try.
    pub struct Auth ("auth", drafted as AuthDraft) {
        /// Key under which the signing keys are encrypted: 32 bytes in base64.
        pub master_key: MasterKey,
        /// `iss` of access tokens.
        pub issuer: String,
        /// `aud` of access tokens.
        pub audience: String,
        /// Lifetime of an access token; at most 15m.
        pub access_ttl: Duration,
        /// How long an unused session lives.
        pub refresh_ttl: Duration,
        /// How long an unused session lives that was opened with `remember_me`.
        pub refresh_ttl_remembered: Duration,
        /// How long a session lives at most, however much it is used.
        pub session_max: Duration,
        /// How long a session lives at most that was opened with `remember_me`.
        pub session_max_remembered: Duration,
        /// How long a refresh token that was just used is answered with the same successor.
        pub refresh_reuse_window: Duration,
        /// `max-age` of `/.well-known/jwks.json`.
        pub jwks_max_age: Duration,
        /// How far the clock of whoever issued a token may be off; at most 60s.
        pub leeway: Duration,
        /// Whether cookies are `Secure` and carry the `__Host-` prefix.
        pub cookie_secure: bool,
        /// Whether an address must be verified before the first login; then registration does not
        /// tell whether it has an account.
        pub require_verified_email: bool,
        /// Threads that hash passwords; 0 is one fewer than there are cores.
        pub hash_threads: usize,
        /// Passwords that may wait to be hashed; beyond, requests are answered 503.
        pub hash_queue: usize,
        /// Memory of one Argon2id hash, in KiB; at least 19456.
        pub hash_memory_kib: u32,
        /// Passes of one Argon2id hash; at least 2.
        pub hash_iterations: u32,
        /// Failed logins per account and network before further ones are delayed.
        pub failures_allowed: u32,
        /// How long a failed login is remembered.
        pub failures_window: Duration,
        /// Longest delay after failed logins.
        pub failures_delay_max: Duration,
        /// Failed logins per network, over all accounts, before further ones are delayed.
        pub network_failures_allowed: u32,
        /// How long a device is known that has logged in.
        pub device_ttl: Duration,
    }
}

impl Auth {
    /// The threads that hash passwords. One core is left for requests, if there is more than one.
    pub fn hash_workers(&self) -> usize {
        let cores = std::thread::available_parallelism().map_or(1, NonZeroUsize::get);
        if self.hash_threads == 0 { cores.saturating_sub(1).max(1) } else { self.hash_threads }
    }

    /// Everybody knows that one.
    pub fn has_development_key(&self) -> bool {
        super::rules::is_development_key(&self.master_key)
    }
}

const LONGEST_ACCESS: Duration = Duration::from_mins(15);
const LARGEST_LEEWAY: Duration = Duration::from_mins(1);

impl AuthDraft {
    pub(super) fn rules(&self, faults: &mut Faults) {
        for name in [&self.issuer, &self.audience] {
            faults.must(name, |name| !name.trim().is_empty(), "must not be empty");
        }
        faults.must(&self.leeway, |leeway| *leeway <= LARGEST_LEEWAY, "must be at most 60s");
        self.lifetimes(faults);
        self.hashing(faults);
        self.guessing(faults);
    }

    fn lifetimes(&self, faults: &mut Faults) {
        let range = Duration::from_secs(1)..=LONGEST_ACCESS;
        faults.must(&self.access_ttl, |ttl| range.contains(ttl), "must be from 1s to 15m");
        faults.less(&self.access_ttl, &self.refresh_ttl);
        faults.at_most(&self.refresh_ttl, &self.session_max);
        faults.at_most(&self.refresh_ttl, &self.refresh_ttl_remembered);
        faults.at_most(&self.refresh_ttl_remembered, &self.session_max_remembered);
        faults.at_most(&self.session_max, &self.session_max_remembered);
        faults.positive(&self.device_ttl);
    }

    /// The lowest costs that OWASP still recommends for Argon2id.
    fn hashing(&self, faults: &mut Faults) {
        faults.must(&self.hash_memory_kib, |kib| *kib >= 19_456, "must be at least 19456");
        faults.must(&self.hash_iterations, |passes| *passes >= 2, "must be at least 2");
        faults.positive(&self.hash_queue);
    }

    fn guessing(&self, faults: &mut Faults) {
        faults.positive(&self.failures_allowed);
        faults.positive(&self.network_failures_allowed);
        faults.positive(&self.failures_window);
        faults.positive(&self.failures_delay_max);
    }
}
