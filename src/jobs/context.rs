//! What a running job has at hand.

use std::{
    sync::{Arc, Mutex},
    time::Duration,
};

use tokio::time::Instant;
use tokio_util::sync::CancellationToken;

use crate::{
    domain::{
        audit::Origin,
        jobs::{Claimed, Lease, Progress},
    },
    services::{Services, jobs::Claims},
};

/// Progress is stored no more often than this, but for the last step.
const PROGRESS_EVERY: Duration = Duration::from_millis(500);

#[derive(Clone)]
pub struct Context {
    pub services: Services,
    /// To be settled, or held, in the transaction of the job's effect.
    pub lease: Lease,
    /// From 1.
    pub attempt: i32,
    pub max_attempts: i32,
    /// The request the job follows from.
    pub origin: Arc<Origin>,
    /// Cancelled when the job should stop: by hand, at shutdown, or because it was lost.
    pub stop: CancellationToken,
    claims: Claims,
    told: Arc<Mutex<Option<Instant>>>,
}

impl Context {
    pub(super) fn new(
        services: Services,
        claims: Claims,
        job: &Claimed,
        stop: CancellationToken,
    ) -> Self {
        let origin = Origin { address: None, user_agent: None, request_id: job.request_id.clone() };
        Self {
            services,
            lease: job.lease,
            attempt: job.attempt,
            max_attempts: job.max_attempts,
            origin: Arc::new(origin),
            stop,
            claims,
            told: Arc::default(),
        }
    }

    /// No further attempt follows this one.
    pub fn is_last_attempt(&self) -> bool {
        self.attempt >= self.max_attempts
    }

    /// Lets others see how far the job is. That it cannot be stored fails nothing.
    pub async fn progress(&self, progress: Progress) {
        if !self.is_due(progress) {
            return;
        }
        if let Err(error) = self.claims.set_progress(self.lease, progress).await {
            tracing::debug!(error = error.chain(), "progress could not be stored");
        }
    }

    fn is_due(&self, progress: Progress) -> bool {
        let mut told = self.told.lock().unwrap_or_else(|e| e.into_inner());
        let last_step = progress.total == Some(progress.done);
        let due = last_step || told.is_none_or(|at| at.elapsed() >= PROGRESS_EVERY);
        if due {
            *told = Some(Instant::now());
        }
        due
    }
}
