//! `telemetry`: what the service tells about its work, beside the log.

use super::fault::Faults;
use super::section::section;
use std::time::Duration;
use url::Url;

section! {
    /// What is worth telling, and to whom.
    pub struct Telemetry ("telemetry", drafted as TelemetryDraft) {
        /// A request that takes longer until its answer begins is logged as a warning.
        pub slow_request: Duration,
        /// Where traces go: the base URL of an OpenTelemetry collector that speaks OTLP over
        /// HTTP; with none there are no traces.
        pub otlp_endpoint: Option<Url>,
        /// Share of the requests that are traced, unless their caller has decided: 0 to 1.
        pub trace_sample_ratio: f64,
    }
}

impl TelemetryDraft {
    pub(super) fn rules(&self, faults: &mut Faults) {
        faults.positive(&self.slow_request);
        let share = |ratio: &f64| (0.0..=1.0).contains(ratio);
        faults.must(&self.trace_sample_ratio, share, "must be from 0 to 1");
    }
}
