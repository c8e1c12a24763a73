//! `cors`: which pages of other origins may call the API from a browser.

use super::fault::Faults;
use super::section::section;
use super::types::Origin;
use std::time::Duration;

section! {
    /// The origins that browsers are told to let through.
    pub struct Cors ("cors", drafted as CorsDraft) {
        /// Exact origins, such as `https://shop.example`; no wildcard, no path.
        pub allowed_origins: Vec<Origin>,
        /// How long a browser may remember a preflight answer; at most 600s.
        pub max_age: Duration,
    }
}

/// An origin that was taken off the list should be forgotten soon.
const LONGEST: Duration = Duration::from_secs(600);

impl CorsDraft {
    pub(super) fn rules(&self, faults: &mut Faults) {
        faults.must(&self.max_age, |age| *age <= LONGEST, "must be at most 600s");
    }
}
