//! Marking jobs as succeeded, many in one statement.

use std::{collections::HashMap, time::Duration};

use serde_json::Value;
use tokio::sync::mpsc;

use super::running::Running;
use crate::{
    domain::{ids::JobId, jobs::Lease},
    services::jobs::{Claims, Wakeup},
    telemetry::metrics as names,
};

/// Jobs in one statement at most.
const BATCH: usize = 500;
const RETRY: Duration = Duration::from_millis(500);

pub struct Ack {
    pub lease: Lease,
    pub kind: String,
    pub result: Value,
}

/// Until every sender is gone. What cannot be stored is tried again: a job whose success is
/// forgotten would run twice.
pub async fn run(claims: Claims, running: Running, wakeup: Wakeup, mut acks: mpsc::Receiver<Ack>) {
    let mut batch = Vec::with_capacity(BATCH);
    while acks.recv_many(&mut batch, BATCH).await > 0 {
        let leases: Vec<_> = batch.iter().map(|ack| ack.lease).collect();
        let results: Vec<_> = batch.iter().map(|ack| ack.result.clone()).collect();
        loop {
            match claims.succeed(&leases, &results).await {
                Ok(done) => break count(&batch, &done),
                Err(error) => {
                    tracing::warn!(error = error.chain(), "finished jobs cannot be marked yet");
                    tokio::time::sleep(RETRY).await;
                }
            }
        }
        running.saved(&leases);
        // There is room for the next one of a kind whose number is limited.
        batch
            .iter()
            .filter_map(|ack| claims.limited(&ack.kind))
            .for_each(|it| wakeup.wake_here(it));
        batch.clear();
    }
}

fn count(batch: &[Ack], done: &[JobId]) {
    let mut left: HashMap<JobId, ()> = done.iter().map(|id| (*id, ())).collect();
    for ack in batch {
        let outcome = match left.remove(&ack.lease.job) {
            Some(()) => "succeeded",
            None => "lost",
        };
        finished(&ack.kind, outcome);
    }
}

/// All that [`finished`] is told.
const OUTCOMES: [&str; 7] =
    ["succeeded", "retried", "dead", "cancelled", "lost", "rescued", "killed_workers"];

/// At zero before anything has ended: an alert sees no increase in a series that begins with one.
pub fn none_finished_yet(kinds: impl Iterator<Item = &'static str>) {
    for kind in kinds {
        for outcome in OUTCOMES {
            metrics::counter!(names::JOBS_FINISHED, "kind" => kind, "outcome" => outcome)
                .increment(0);
        }
    }
    metrics::counter!(names::JOBS_LEASES_LOST).increment(0);
}

pub fn finished(kind: &str, outcome: &'static str) {
    metrics::counter!(names::JOBS_FINISHED, "kind" => kind.to_owned(), "outcome" => outcome)
        .increment(1);
}
