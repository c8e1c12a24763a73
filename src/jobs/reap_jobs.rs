use serde_json::json;

use super::{Context, Done, Outcome, Run};
use crate::domain::jobs::{Backoff, Policy, Priority, Queue, ReapJobs};

impl Run for ReapJobs {
    const POLICY: Policy = Policy {
        queue: Queue::Bulk,
        priority: Priority::Low,
        // The next tick is the next attempt.
        max_attempts: 1,
        backoff: Backoff::Exponential {
            first: std::time::Duration::ZERO,
            longest: std::time::Duration::ZERO,
        },
        // Many small bites, if there is much.
        timeout: std::time::Duration::from_mins(10),
        ..Policy::DEFAULT
    };

    async fn run(self, context: &Context) -> Outcome {
        let reaped = context.services.jobs.reap().await?;
        Ok(Done::With(json!({"reaped": reaped})))
    }
}
