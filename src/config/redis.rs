//! `redis`: what instances share for speed, and can do without.

use super::fault::Faults;
use super::section::section;
use super::types::Secret;
use std::time::Duration;

section! {
    /// Redis; without it the service runs as a single instance.
    pub struct Redis ("redis", drafted as RedisDraft) {
        /// `redis://` or `rediss://` URL; with none, this is the only instance.
        pub url: Option<Secret>,
        /// What every key and channel starts with.
        pub prefix: String,
        /// How long a command may take before the request goes on without Redis; at most 100ms.
        pub command_timeout: Duration,
    }
}

const LONGEST_COMMAND: Duration = Duration::from_millis(100);

impl RedisDraft {
    pub(super) fn rules(&self, faults: &mut Faults) {
        let redis = |url: &Option<Secret>| url.as_ref().is_none_or(is_redis);
        faults.must(&self.url, redis, "must be a redis:// or rediss:// URL");
        let short = |timeout: &Duration| *timeout <= LONGEST_COMMAND;
        faults.must(&self.command_timeout, short, "must be at most 100ms");
        faults.positive(&self.command_timeout);
    }
}

fn is_redis(url: &Secret) -> bool {
    let url = url::Url::parse(url.expose());
    url.is_ok_and(|url| matches!(url.scheme(), "redis" | "rediss"))
}
