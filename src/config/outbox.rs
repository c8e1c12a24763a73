//! `outbox`: events and their consumers.

use super::fault::Faults;
use super::section::section;
use std::time::Duration;

section! {
    /// How events are handed over, and where else they go.
    pub struct Outbox ("outbox", drafted as OutboxDraft) {
        /// How long an event is kept that everybody was told of.
        pub keep: Duration,
        /// Failures after which an event is given up for a consumer, until it is replayed.
        pub max_attempts: u32,
        /// The first pause after a failure; each further one is twice as long, and left to chance.
        pub backoff_first: Duration,
        /// The longest pause after a failure.
        pub backoff_max: Duration,
        /// Redis stream, behind `redis.prefix`, to which all events are published; with none they are not.
        pub redis_stream: Option<String>,
        /// Entries that the stream keeps, roughly.
        pub redis_stream_length: u32,
    }
}

impl OutboxDraft {
    pub(super) fn rules(&self, faults: &mut Faults) {
        faults.positive(&self.keep);
        faults.positive(&self.max_attempts);
        faults.positive(&self.backoff_first);
        faults.at_most(&self.backoff_first, &self.backoff_max);
        faults.positive(&self.redis_stream_length);
    }
}
