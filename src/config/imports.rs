//! `imports`: files on their way into the catalogue, and out of it.

use super::fault::Faults;
use super::section::section;
use std::time::Duration;

section! {
    /// Files that are imported into the catalogue, and exported from it.
    pub struct Imports ("imports", drafted as ImportsDraft) {
        /// How large an uploaded file may be, as it is sent and after decompression.
        pub max_bytes: usize,
        /// How long an upload or export may stand still before it is given up.
        pub progress_timeout: Duration,
        /// How long finished imports and their rejects are kept.
        pub keep: Duration,
        /// How many exports an instance writes at once; each holds a database connection.
        pub exports_at_once: u32,
    }
}

impl ImportsDraft {
    pub(super) fn rules(&self, faults: &mut Faults) {
        faults.positive(&self.max_bytes);
        let seconds = Duration::from_secs(1)..=Duration::from_secs(60);
        faults.must(&self.progress_timeout, |time| seconds.contains(time), "must be from 1s to 1m");
        faults.positive(&self.keep);
        faults.positive(&self.exports_at_once);
    }
}
