use std::time::Duration;

use super::{Context, Done, Failure, Outcome, Run};
use crate::{
    domain::jobs::{Backoff, Policy, Queue, SendMail},
    error::Error,
    services::mail::Delivery,
};

impl Run for SendMail {
    const POLICY: Policy = Policy {
        queue: Queue::Mail,
        // With the longest wait this is about a day.
        max_attempts: 150,
        backoff: Backoff::Steps { secs: &[1, 2, 5, 10, 30], longest: Duration::from_mins(10) },
        // The mailer has deadlines of its own, which the longest settings keep below this one: an
        // attempt that is cut after the relay has the message makes a second copy.
        timeout: Duration::from_mins(8),
        ..Policy::DEFAULT
    };

    /// The relay takes a message before it is marked as sent: a worker that dies in between sends
    /// it once more, under the same `Message-ID`.
    async fn run(self, context: &Context) -> Outcome {
        match context.services.post.deliver(context.lease.job.0, &self.mail).await? {
            Delivery::Sent => Ok(Done::Plain),
            Delivery::Obsolete => Ok(Done::With(serde_json::json!({"sent": false}))),
            Delivery::Refused(reason) => Err(Failure::GiveUp(Error::unavailable(reason))),
        }
    }
}
