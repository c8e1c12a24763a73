//! Background work: the queue's engine, and one file per kind of job with its policy and what it
//! does. Kinds are a door like handlers: they call services and know no SQL.
//!
//! Jobs run at least once. An effect in our own database happens exactly once when it is in the
//! transaction that settles the job (`services::jobs::Jobs::settle`); an effect elsewhere has to
//! be harmless when repeated.

mod acks;
mod context;
mod cron;
mod import_products;
mod reap_jobs;
mod registry;
mod running;
mod send_mail;
mod worker;

pub use context::Context;
pub use registry::{Registry, Schedule};
pub use worker::Worker;

use std::{future::Future, time::Duration};

use serde_json::Value;

use crate::{
    domain::jobs::{ImportProducts, Payload, Policy, ReapJobs, SendMail},
    error::Error,
};

/// A kind of job.
pub trait Run: Payload {
    const POLICY: Policy;

    /// May be called again for the same job, and while an earlier call is being given up.
    fn run(self, context: &Context) -> impl Future<Output = Outcome> + Send;
}

pub type Outcome = Result<Done, Failure>;

/// How a job succeeded.
#[derive(Debug)]
pub enum Done {
    Plain,
    /// With something worth telling.
    With(Value),
    /// Its own transaction has settled it.
    Settled,
}

/// Why it did not. Every error may be tried again, unless the job knows better.
#[derive(Debug)]
pub enum Failure {
    Retry(Error),
    /// The other side said when.
    RetryIn(Duration, Error),
    /// No other attempt would fare better.
    GiveUp(Error),
}

impl From<Error> for Failure {
    fn from(error: Error) -> Self {
        Failure::Retry(error)
    }
}

/// Every kind this release runs, and what starts by the clock. A kind that is retired stays here
/// as a tombstone until its jobs are drained.
pub fn registry() -> Registry {
    Registry::default().with::<SendMail>().with::<ImportProducts>().with::<ReapJobs>().every(
        "reap_jobs",
        "* * * * *",
        ReapJobs {},
    )
}
