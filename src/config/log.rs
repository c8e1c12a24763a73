//! `log`: what is written to standard output.

use super::fault::Faults;
use super::section::section;
use super::types::LogFormat;

section! {
    /// The log; its filter is understood and checked by the telemetry.
    pub struct Log ("log", drafted as LogDraft) {
        /// `json`, or `pretty` for people.
        pub format: LogFormat,
        /// Directives such as `info,mainstay=debug`.
        pub filter: String,
    }
}

impl LogDraft {
    pub(super) fn rules(&self, faults: &mut Faults) {
        faults.must(&self.filter, |filter| !filter.trim().is_empty(), "must not be empty");
    }
}
