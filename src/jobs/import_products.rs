use std::time::Duration;

use super::{Context, Done, Outcome, Run};
use crate::{
    domain::jobs::{Backoff, ImportProducts, Policy, Queue},
    services::imports::{self, Ran},
};

impl Run for ImportProducts {
    const POLICY: Policy = Policy {
        queue: Queue::Bulk,
        max_attempts: 30,
        backoff: Backoff::Exponential {
            first: Duration::from_secs(1),
            longest: Duration::from_mins(1),
        },
        // An attempt goes on where the last one ended.
        timeout: Duration::from_hours(2),
        // Files share the database with everybody else.
        concurrency: Some(2),
        ..Policy::DEFAULT
    };

    async fn run(self, context: &Context) -> Outcome {
        let run =
            imports::Run { lease: context.lease, origin: &context.origin, stop: &context.stop };
        match context.services.imports.run(self.import, &run).await? {
            Ran::ToTheEnd => Ok(Done::Settled),
            Ran::Over => Ok(Done::Plain),
        }
    }
}
