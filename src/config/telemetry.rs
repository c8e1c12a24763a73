//! `telemetry`: what the service tells about its work, beside the log.

use super::fault::Faults;
use super::section::section;
use std::time::Duration;

section! {
    /// What is worth telling, and to whom.
    pub struct Telemetry ("telemetry", drafted as TelemetryDraft) {
        /// A request that takes longer until its answer begins is logged as a warning.
        pub slow_request: Duration,
    }
}

impl TelemetryDraft {
    pub(super) fn rules(&self, faults: &mut Faults) {
        faults.positive(&self.slow_request);
    }
}
