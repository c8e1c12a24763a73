//! Looking after the queues.

use serde_json::json;

use super::{super::idempotency::Answer, Jobs};
use crate::{
    domain::{
        audit::{Action, NewAuditEvent, Origin, Target},
        auth::Identity,
        idempotency::Outcome,
        ids::JobId,
        jobs::{Depth, Job, JobFilter, JobState, Queue, QueueStats},
        page::{After, Page, PageRequest},
    },
    error::{Code, Error, Result},
    repos,
};

/// Jobs of one kind and priority, of those that are due and of those that are not, are counted up to
/// here; so are the dead.
pub const BOUND: i64 = 100_000;

/// What became of a request to cancel.
#[derive(Debug, PartialEq, Eq)]
pub enum Cancelled {
    Now,
    /// It is running: its worker was asked to stop it.
    Asked,
}

impl Jobs {
    /// Newest first.
    pub async fn list(&self, filter: &JobFilter, page: PageRequest) -> Result<Page<Job>> {
        self.db
            .read("jobs.list", async |conn| {
                let rows = repos::jobs::list(conn, filter, &page).await?;
                let total = match page.count {
                    true => Some(repos::jobs::count(conn, filter).await?),
                    false => None,
                };
                let key = |job: &Job| After { at: job.created_at, id: job.id.0 };
                Ok(Page::cut(rows, page.limit, total, key))
            })
            .await
    }

    pub async fn get(&self, id: JobId) -> Result<Job> {
        let found = self.db.read("jobs.get", async |conn| repos::jobs::find(conn, id).await);
        found.await?.ok_or_else(Error::not_found)
    }

    /// Makes a dead or waiting job due now, with all attempts before it.
    pub async fn retry(
        &self,
        actor: &Identity,
        id: JobId,
        outcome: &Outcome<Job>,
        origin: &Origin,
    ) -> Result<Answer> {
        self.once
            .tx("jobs.retry", outcome, async |tx| {
                let job = repos::jobs::lock(tx, id).await?.ok_or_else(Error::not_found)?;
                if matches!(job.state, JobState::Running | JobState::Succeeded) {
                    return Err(illegal(&job, "tried again"));
                }
                repos::jobs::retry(tx, id, actor.user_id).await?;
                let event = event(actor, Action::JobRetried, Target::job(id), &job);
                self.audit.record(tx, event, origin).await?;
                if let Some(queue) = Queue::parse(&job.queue) {
                    let wakeup = self.wakeup.clone();
                    crate::db::on_commit(move || wakeup.wake(queue));
                }
                repos::jobs::find(tx, id).await?.ok_or_else(Error::not_found)
            })
            .await
    }

    /// Ends a job that waits; a running one is asked to stop.
    pub async fn cancel(&self, actor: &Identity, id: JobId, origin: &Origin) -> Result<Cancelled> {
        self.db
            .tx("jobs.cancel", async |tx| {
                let job = repos::jobs::lock(tx, id).await?.ok_or_else(Error::not_found)?;
                let event = event(actor, Action::JobCancelled, Target::job(id), &job);
                let outcome = match job.state {
                    JobState::Succeeded | JobState::Dead => return Err(illegal(&job, "cancelled")),
                    JobState::Running => {
                        repos::jobs::request_cancel(tx, id, actor.user_id).await?;
                        Cancelled::Asked
                    }
                    _ => {
                        repos::jobs::cancel(tx, id, actor.user_id).await?;
                        Cancelled::Now
                    }
                };
                self.audit.record(tx, event, origin).await?;
                Ok(outcome)
            })
            .await
    }

    pub async fn stats(&self) -> Result<Vec<QueueStats>> {
        self.db
            .read("jobs.stats", async |conn| {
                let depths = repos::jobs::depths(conn, BOUND).await?;
                let dead = repos::jobs::count_dead(conn, BOUND).await?;
                let paused = repos::jobs::paused(conn).await?;
                let stats = Queue::ALL.into_iter().map(|queue| {
                    let mine = depths.iter().filter(|depth| self.queue_of(depth) == Some(queue));
                    let mut stats = sum(queue, mine);
                    let name = queue.as_str();
                    stats.dead = dead.iter().filter(|row| row.0 == name).map(|row| row.1).sum();
                    if let Some(row) = paused.iter().find(|row| row.0 == name) {
                        (stats.paused_at, stats.paused_by) = (Some(row.1), row.2);
                    }
                    stats
                });
                Ok(stats.collect())
            })
            .await
    }

    fn queue_of(&self, depth: &Depth) -> Option<Queue> {
        self.policies.get(depth.kind.as_str()).map(|policy| policy.queue)
    }

    /// No worker takes jobs of the queue any more; running ones finish.
    pub async fn pause(
        &self,
        actor: &Identity,
        queue: Queue,
        outcome: &Outcome<()>,
        origin: &Origin,
    ) -> Result<Answer> {
        self.once
            .tx("jobs.pause", outcome, async |tx| {
                if repos::jobs::pause(tx, queue.as_str(), actor.user_id).await? {
                    let event = queue_event(actor, Action::QueuePaused, queue);
                    self.audit.record(tx, event, origin).await?;
                }
                Ok(())
            })
            .await
    }

    pub async fn resume(
        &self,
        actor: &Identity,
        queue: Queue,
        outcome: &Outcome<()>,
        origin: &Origin,
    ) -> Result<Answer> {
        self.once
            .tx("jobs.resume", outcome, async |tx| {
                if repos::jobs::resume(tx, queue.as_str()).await? {
                    let event = queue_event(actor, Action::QueueResumed, queue);
                    self.audit.record(tx, event, origin).await?;
                    let wakeup = self.wakeup.clone();
                    crate::db::on_commit(move || wakeup.wake(queue));
                }
                Ok(())
            })
            .await
    }
}

fn sum<'a>(queue: Queue, depths: impl Iterator<Item = &'a Depth>) -> QueueStats {
    let mut stats = QueueStats {
        queue,
        paused_at: None,
        paused_by: None,
        scheduled: 0,
        ready: 0,
        running: 0,
        failed: 0,
        dead: 0,
        oldest: None,
    };
    for depth in depths {
        stats.scheduled += depth.scheduled;
        stats.ready += depth.ready;
        stats.running += depth.running;
        stats.failed += depth.failed;
        stats.oldest = stats.oldest.max(depth.oldest);
    }
    stats
}

fn illegal(job: &Job, what: &str) -> Error {
    let state = job.state.as_str();
    Error::new(Code::IllegalTransition, format!("a job that is {state} cannot be {what}"))
}

fn event(actor: &Identity, action: Action, target: Target, job: &Job) -> NewAuditEvent {
    let details = json!({"kind": job.kind, "state": job.state});
    NewAuditEvent { actor: Some(actor.user_id), action, target, details }
}

fn queue_event(actor: &Identity, action: Action, queue: Queue) -> NewAuditEvent {
    let target = Target { kind: "queue", id: None };
    let details = json!({"queue": queue.as_str()});
    NewAuditEvent { actor: Some(actor.user_id), action, target, details }
}
