//! `idempotency`: requests that may come twice.

use super::fault::Faults;
use super::section::section;
use std::time::Duration;

section! {
    /// How repeated requests are recognised.
    pub struct Idempotency ("idempotency", drafted as IdempotencyDraft) {
        /// How long an `Idempotency-Key` is known and its outcome given again.
        pub ttl: Duration,
    }
}

impl IdempotencyDraft {
    pub(super) fn rules(&self, faults: &mut Faults) {
        faults.positive(&self.ttl);
    }
}
