//! Running one job, and storing how it ended.

use std::time::{Duration, Instant};

use tokio::time::timeout;
use tokio_util::sync::CancellationToken;

use super::{
    super::{
        Context, Done, Failure, Outcome,
        acks::{Ack, finished},
        running::Told,
    },
    Life, RETRY,
};
use crate::{
    domain::{
        jobs::{Became, Claimed, Ended},
        text::{storable, storable_text},
    },
    error::Error,
    telemetry::{
        metrics as names,
        traces::Span,
        work::{self, Work},
    },
};

/// What went wrong is kept up to here.
const MAX_DETAIL: usize = 1000;

impl Life {
    pub(super) async fn execute(self, mut job: Claimed, stop: CancellationToken) {
        let started = Instant::now();
        let payload = job.payload.take();
        let context = Context::new(self.worker.services.clone(), self.claims.clone(), &job, stop);
        let run = self.worker.registry.start(&job.kind, payload, context);
        let limit = self.claims.policy(&job.kind).map_or(RETRY, |policy| policy.timeout);
        // In the trace of the request that it follows from.
        let mut span =
            Span::consumer(self.worker.registry.name(&job.kind), job.traceparent.as_deref());
        let work = Work::of(&span);
        let task = tokio::spawn(work::run(work.clone(), async move { timeout(limit, run).await }));
        self.running.can_abort(job.lease, task.abort_handle());
        let outcome = match task.await {
            Ok(Ok(outcome)) => Some(outcome),
            Ok(Err(_)) => Some(failed("the attempt took too long")),
            Err(error) if error.is_panic() => Some(failed("the attempt panicked")),
            Err(_) => None,
        };
        let elapsed = started.elapsed();
        metrics::histogram!(names::JOBS_DURATION, "kind" => job.kind.clone())
            .record(elapsed.as_secs_f64());
        let word = self.finish(&job, outcome).await;
        self.running.remove(job.lease);
        if word != "succeeded" {
            span.fail(word);
        }
        tracing::info!(
            target: "mainstay::jobs", job = %job.lease.job, kind = job.kind, attempt = job.attempt,
            request_id = job.request_id, trace_id = work.trace_id(), outcome = word,
            duration_ms = elapsed.as_secs_f64() * 1000.0, db_ms = work.db_ms(),
            db_statements = work.db_statements(), "job ended"
        );
    }

    /// Stores how an attempt ended. With no outcome it was ended from outside.
    async fn finish(&self, job: &Claimed, outcome: Option<Outcome>) -> &'static str {
        match (outcome, self.running.told(job.lease)) {
            (Some(Ok(done)), _) => self.succeed(job, done).await,
            (_, Told::Cancelled) => self.end(job, "cancelled", "cancelled", None).await,
            // The lease is lost, or leaving gives the job back, uncounted.
            (None, _) | (_, Told::Stop) => "stopped",
            (Some(Err(failure)), Told::Nothing) => self.fail(job, failure).await,
        }
    }

    async fn succeed(&self, job: &Claimed, done: Done) -> &'static str {
        let result = match done {
            Done::Settled => {
                finished(&job.kind, "succeeded");
                return "succeeded";
            }
            Done::Plain => serde_json::Value::Null,
            Done::With(result) => result,
        };
        self.running.succeeded(job.lease);
        let ack = Ack { lease: job.lease, kind: job.kind.clone(), result: storable(result) };
        // Nobody receives any more only when the process is on its way out.
        let _ = self.acks.send(ack).await;
        "succeeded"
    }

    async fn fail(&self, job: &Claimed, failure: Failure) -> &'static str {
        let last = job.attempt >= job.max_attempts;
        let drawn = self
            .claims
            .policy(&job.kind)
            .map_or(RETRY, |policy| policy.backoff.delay(job.attempt, self.claims.draw()));
        let (error, again_in) = match failure {
            Failure::GiveUp(error) => (error, None),
            Failure::Retry(error) => (error, (!last).then_some(drawn)),
            Failure::RetryIn(delay, error) => (error, (!last).then_some(delay)),
        };
        let detail = storable_text(&error.chain(), MAX_DETAIL);
        match again_in {
            Some(_) => {
                tracing::warn!(job = %job.lease.job, kind = job.kind, error = detail, "a job failed and is tried again");
            }
            None => {
                tracing::error!(job = %job.lease.job, kind = job.kind, error = detail, "a job is dead");
            }
        }
        self.end(job, "failed", &detail, again_in).await
    }

    async fn end(
        &self,
        job: &Claimed,
        event: &'static str,
        detail: &str,
        again_in: Option<Duration>,
    ) -> &'static str {
        let ended = Ended { event, detail, again_in, counts: true };
        let word = loop {
            match self.claims.end(job.lease, &ended).await {
                Ok(Some(_)) if event == "cancelled" => break "cancelled",
                Ok(Some(Became::Waiting)) => break "retried",
                Ok(Some(Became::Dead)) => break "dead",
                Ok(None) => break "lost",
                Err(error) => {
                    tracing::warn!(error = error.chain(), "the end of a job cannot be stored yet");
                    if self.over.is_cancelled() {
                        break "lost";
                    }
                    self.pause(RETRY).await;
                }
            }
        };
        finished(&job.kind, word);
        word
    }
}

fn failed(why: &'static str) -> Outcome {
    Err(Failure::Retry(Error::internal(why)))
}
