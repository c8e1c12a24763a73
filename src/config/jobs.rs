//! `jobs`: background work.

use super::fault::Faults;
use super::section::section;
use super::types::Slots;
use std::time::Duration;

section! {
    /// Which background work a process runs, and how long it is remembered.
    pub struct Jobs ("jobs", drafted as JobsDraft) {
        /// Whether `serve` runs jobs too, beside or instead of `worker` processes.
        pub in_process: bool,
        /// Queues that a process works on, each with how many jobs it runs at once: `default=16`.
        pub queues: Vec<Slots>,
        /// How long a worker may give no sign of life before its jobs run elsewhere.
        pub lease: Duration,
        /// How often a worker looks for due jobs when nobody wakes it.
        pub poll: Duration,
        /// On shutdown, how long running jobs may take to finish; then they are given back.
        pub drain_timeout: Duration,
        /// How long succeeded jobs are kept.
        pub keep_succeeded: Duration,
        /// How long dead jobs are kept.
        pub keep_dead: Duration,
    }
}

impl JobsDraft {
    pub(super) fn rules(&self, faults: &mut Faults) {
        let some = |queues: &Vec<Slots>| !queues.is_empty();
        faults.must(&self.queues, some, "must name at least one queue");
        let once = |queues: &Vec<Slots>| {
            let mut names: Vec<_> = queues.iter().map(|slots| &slots.queue).collect();
            names.sort();
            names.windows(2).all(|pair| pair[0] != pair[1])
        };
        faults.must(&self.queues, once, "must name each queue once");
        let range = Duration::from_secs(1)..=Duration::from_mins(10);
        faults.must(&self.lease, |lease| range.contains(lease), "must be from 1s to 10m");
        faults.positive(&self.poll);
        faults.positive(&self.keep_succeeded);
        faults.positive(&self.keep_dead);
    }
}
