//! What a worker does beside running jobs: signs of life, looking after others, the clock.

use std::time::Duration;

use tokio::time::sleep;

use super::{super::acks::finished, Life, RETRY};
use crate::{
    domain::jobs::{Ended, Lease, QueueStats},
    error::Result,
    services::jobs::Look,
    telemetry::metrics as names,
};

const MEASURE: Duration = Duration::from_secs(15);

impl Life {
    /// Signs of life, and watching those of others.
    pub(super) async fn live(self) {
        let every = self.worker.settings.lease / 3;
        let mut look = Look::default();
        loop {
            tokio::select! {
                () = self.over.cancelled() => return,
                () = sleep(every) => {}
            }
            match self.claims.beat(self.id).await {
                Ok(true) => {
                    if let Err(error) = self.look_after(&mut look).await {
                        tracing::warn!(error = error.chain(), "jobs cannot be looked after");
                    }
                }
                Ok(false) => {
                    tracing::warn!(worker = %self.id, "given up by the others: starting anew");
                    metrics::counter!(names::JOBS_LEASES_LOST).increment(1);
                    self.over.cancel();
                }
                Err(error) => tracing::warn!(error = error.chain(), "no sign of life possible"),
            }
        }
    }

    async fn look_after(&self, look: &mut Look) -> Result<()> {
        for held in self.claims.held(self.id).await? {
            if held.cancel_requested {
                self.running.cancel(held.lease);
            }
            if held.settled && !self.running.holds(held.lease) {
                self.give_back_unknown(held.lease).await?;
            }
        }
        for orphan in self.claims.rescue(look).await? {
            let outcome = match (orphan.cancelled, orphan.dead) {
                (true, _) => "cancelled",
                (false, true) => "killed_workers",
                (false, false) => "rescued",
            };
            finished(&orphan.kind, outcome);
            tracing::warn!(job = %orphan.id, kind = orphan.kind, dead = orphan.dead, "a job has lost its worker");
        }
        Ok(())
    }

    /// A claim whose answer never came.
    async fn give_back_unknown(&self, lease: Lease) -> Result<()> {
        let now = Some(Duration::ZERO);
        let ended = Ended {
            event: "released",
            detail: "its claim went unanswered",
            again_in: now,
            counts: false,
        };
        self.claims.end(lease, &ended).await.map(drop)
    }

    pub(super) async fn fire_schedules(self) {
        let plans = self.worker.registry.plans();
        loop {
            match self.worker.services.jobs.fire_due(&plans).await {
                Ok(true) => {}
                Ok(false) => sleep(RETRY).await,
                Err(error) => {
                    tracing::warn!(error = error.chain(), "schedules cannot be looked at");
                    sleep(RETRY).await;
                }
            }
        }
    }

    pub(super) async fn measure(self) {
        loop {
            if let Ok(stats) = self.worker.services.jobs.stats().await {
                stats.iter().for_each(show);
            }
            sleep(MEASURE).await;
        }
    }
}

fn show(stats: &QueueStats) {
    let queue = stats.queue.as_str();
    let states = [
        ("scheduled", stats.scheduled),
        ("ready", stats.ready),
        ("running", stats.running),
        ("failed", stats.failed),
        ("dead", stats.dead),
    ];
    for (state, count) in states {
        metrics::gauge!(names::JOBS_DEPTH, "queue" => queue, "state" => state).set(count as f64);
    }
    let oldest = stats.oldest.unwrap_or_default();
    metrics::gauge!(names::JOBS_OLDEST, "queue" => queue).set(oldest.as_secs_f64());
    let paused = f64::from(u8::from(stats.paused_at.is_some()));
    metrics::gauge!(names::JOBS_PAUSED, "queue" => queue).set(paused);
}
