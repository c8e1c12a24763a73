//! Claiming: one loop per queue.

use std::{sync::Arc, time::Duration};

use tokio::{
    sync::{OwnedSemaphorePermit, Semaphore},
    time::{Instant, sleep, timeout},
};
use tokio_util::sync::CancellationToken;

use super::{Life, RETRY};
use crate::{
    domain::jobs::{Claimed, Queue},
    error::Result,
    telemetry::metrics as names,
};

/// Jobs claimed by one statement at most.
const BATCH: usize = 256;
/// How long a busy worker gathers free slots, so that it claims many jobs at once.
const GATHER: Duration = Duration::from_millis(5);

impl Life {
    /// Claims for one queue as long as there are slots.
    pub(super) async fn serve(self, queue: Queue, total: usize) {
        let slots = Arc::new(Semaphore::new(total));
        let (mut turn, mut suspects_due, mut suspects_first) = (0, Instant::now(), false);
        while !self.over.is_cancelled() {
            let free = tokio::select! {
                () = self.over.cancelled() => return,
                free = free_slots(&slots, total) => free.min(BATCH),
            };
            let free = match std::mem::take(&mut suspects_first) {
                true => {
                    self.look_for_suspect(queue, &slots, &mut suspects_due).await;
                    slots.available_permits().min(free)
                }
                false => free,
            };
            if free == 0 {
                continue;
            }
            let claimed = match self.claim(queue, &slots, &mut turn, free).await {
                Ok(claimed) => claimed,
                Err(error) => {
                    let queue = queue.as_str();
                    tracing::warn!(error = error.chain(), queue, "no jobs can be claimed");
                    self.pause(RETRY).await;
                    continue;
                }
            };
            let all = claimed < free;
            // Also under a load that never ends, and one after the other while there are some.
            match slots.available_permits() {
                0 => suspects_first = true,
                _ => self.look_for_suspect(queue, &slots, &mut suspects_due).await,
            }
            if all {
                tokio::select! {
                    () = self.over.cancelled() => return,
                    () = self.worker.services.jobs.wakeup().woken(queue) => {}
                    () = sleep(self.worker.settings.poll.mul_f64(0.5 + self.claims.draw() / 2.0)) => {}
                }
            }
        }
    }

    /// Claims jobs and begins them; how many.
    async fn claim(
        &self,
        queue: Queue,
        slots: &Arc<Semaphore>,
        turn: &mut usize,
        free: usize,
    ) -> Result<usize> {
        let begin = |jobs: Vec<Claimed>| {
            let count = jobs.len();
            jobs.into_iter().for_each(|job| self.begin(job, queue, slots, None));
            count
        };
        // Begun before the next claim, which may fail or take so long that these are given back.
        let claimed = begin(self.claims.claim(self.id, queue, turn, free as i64).await?);
        let left = free - claimed;
        if left == 0 {
            return Ok(claimed);
        }
        Ok(claimed + begin(self.claims.claim_limited(self.id, queue, left as i64).await?))
    }

    async fn look_for_suspect(&self, queue: Queue, slots: &Arc<Semaphore>, due: &mut Instant) {
        if *due <= Instant::now() && !self.claim_suspect(queue, slots).await {
            *due = Instant::now() + self.worker.settings.poll;
        }
    }

    /// False when there is none to look at.
    async fn claim_suspect(&self, queue: Queue, slots: &Arc<Semaphore>) -> bool {
        let Ok(alone) = self.suspects.clone().try_acquire_owned() else { return true };
        match self.claims.claim_suspect(self.id, queue).await {
            Ok(Some(job)) => {
                self.begin(job, queue, slots, Some(alone));
                true
            }
            Ok(None) => false,
            Err(error) => {
                tracing::debug!(error = error.chain(), "no suspect can be claimed");
                false
            }
        }
    }

    /// Starts a claimed job; it keeps its slot until it has ended.
    fn begin(
        &self,
        job: Claimed,
        queue: Queue,
        slots: &Arc<Semaphore>,
        alone: Option<OwnedSemaphorePermit>,
    ) {
        let slot = slots.clone().try_acquire_owned();
        let stop = CancellationToken::new();
        self.running.add(job.lease, stop.clone());
        metrics::histogram!(names::JOBS_WAIT, "queue" => queue.as_str())
            .record(job.waited.as_secs_f64());
        let life = self.clone();
        // What waits for its end is not told by anybody else.
        let awaited = alone.is_some() || self.claims.limited(&job.kind).is_some();
        tokio::spawn(async move {
            life.clone().execute(job, stop).await;
            drop((slot, alone));
            if awaited {
                life.worker.services.jobs.wakeup().wake_here(queue);
            }
        });
    }
}

/// At least one; a busy queue waits a moment for more, so that a claim is worth its while.
async fn free_slots(slots: &Semaphore, total: usize) -> usize {
    let many = u32::try_from(total.div_ceil(2)).unwrap_or(1);
    let gathered = timeout(GATHER, slots.acquire_many(many)).await;
    drop(gathered);
    let one = slots.acquire().await;
    drop(one);
    slots.available_permits()
}
