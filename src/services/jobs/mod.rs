//! Background work. A job is enqueued by the transaction of the change it follows from, so it
//! exists exactly when the change does; workers are woken after the commit, by themselves.

use std::{sync::Arc, time::Duration};

use sqlx::PgConnection;

use super::{audit::AuditTrail, idempotency::Once};
use crate::{
    db::{Db, on_commit},
    domain::{
        audit::Origin,
        ids::JobId,
        jobs::{Lease, Payload, Policies, Policy, Priority},
    },
    error::{Code, Error, Result},
    repos::{self, jobs::NewJob},
    shared::clock::Clock,
    telemetry::traces,
};

mod admin;
mod claims;
mod schedules;
mod wakeup;

pub use admin::{BOUND, Cancelled};
pub use claims::{Claims, Look};
pub use schedules::Plan;
pub use wakeup::Wakeup;

/// Bites of one run: beyond, the next run goes on.
const REAP_BITES: u32 = 100;

#[derive(Clone)]
pub struct Jobs {
    db: Db,
    clock: Clock,
    audit: AuditTrail,
    once: Once,
    policies: Arc<Policies>,
    keep: Keep,
    wakeup: Wakeup,
}

/// How long finished jobs are kept.
#[derive(Debug, Clone, Copy)]
pub struct Keep {
    pub succeeded: Duration,
    pub dead: Duration,
}

/// What may be said of one job beside its payload.
pub struct Enqueue<'a> {
    /// Not before this much time has passed.
    pub delay: Duration,
    /// Instead of the kind's own.
    pub priority: Option<Priority>,
    /// The request it follows from.
    pub request_id: &'a str,
}

impl<'a> From<&'a Origin> for Enqueue<'a> {
    fn from(origin: &'a Origin) -> Self {
        Self { delay: Duration::ZERO, priority: None, request_id: &origin.request_id }
    }
}

impl Jobs {
    pub fn new(
        db: Db,
        clock: Clock,
        (audit, once): (AuditTrail, Once),
        policies: Policies,
        keep: Keep,
    ) -> Self {
        let (policies, wakeup) = (Arc::new(policies), Wakeup::default());
        Self { db, clock, audit, once, policies, keep, wakeup }
    }

    /// Adds a job to the caller's transaction; none, when a live job of the kind has its key.
    pub async fn enqueue<P: Payload>(
        &self,
        tx: &mut PgConnection,
        payload: &P,
        with: impl Into<Enqueue<'_>>,
    ) -> Result<Option<JobId>> {
        let payload_json = serde_json::to_value(payload).map_err(Error::internal)?;
        let key = payload.unique_key();
        self.insert(tx, P::KIND, payload_json, key.as_deref(), &with.into()).await
    }

    async fn insert(
        &self,
        tx: &mut PgConnection,
        kind: &str,
        payload: serde_json::Value,
        unique_key: Option<&str>,
        with: &Enqueue<'_>,
    ) -> Result<Option<JobId>> {
        let policy = self.policy(kind)?;
        let id = JobId(self.clock.new_id());
        let traceparent = traces::current_traceparent();
        let job = NewJob {
            id,
            queue: policy.queue.as_str(),
            kind,
            payload,
            priority: with.priority.unwrap_or(policy.priority).number(),
            delay: with.delay,
            max_attempts: policy.max_attempts,
            unique_key,
            request_id: with.request_id,
            traceparent: traceparent.as_deref(),
        };
        if !repos::jobs::insert(tx, &job).await? {
            return Ok(None);
        }
        if with.delay.is_zero() {
            let (wakeup, queue) = (self.wakeup.clone(), policy.queue);
            on_commit(move || wakeup.wake(queue));
        }
        Ok(Some(id))
    }

    fn policy(&self, kind: &str) -> Result<&Policy> {
        self.policies
            .get(kind)
            .ok_or_else(|| Error::internal(format!("no job of the kind {kind} is known")))
    }

    /// Marks a job as done in the transaction that has its effect, which then happens exactly
    /// once: whoever has lost the lease changes nothing.
    pub async fn settle(&self, tx: &mut PgConnection, lease: Lease) -> Result<()> {
        let done = repos::jobs::succeed(tx, &[lease], &[serde_json::Value::Null]).await?;
        if done.is_empty() { Err(lease_lost()) } else { Ok(()) }
    }

    /// Keeps the job from being taken over until the transaction ends; fails when it has been.
    pub async fn hold(&self, tx: &mut PgConnection, lease: Lease) -> Result<()> {
        if repos::jobs::hold(tx, lease).await? { Ok(()) } else { Err(lease_lost()) }
    }

    /// Throws away finished jobs that have been kept long enough; how many.
    pub async fn reap(&self) -> Result<u64> {
        let mut reaped = 0;
        for _ in 0..REAP_BITES {
            let Keep { succeeded, dead } = self.keep;
            let bite = self.db.autocommit("jobs.reap", async |conn| {
                repos::jobs::reap(conn, succeeded, dead).await
            });
            match bite.await? {
                0 => break,
                rows => reaped += rows,
            }
        }
        Ok(reaped)
    }

    pub fn wakeup(&self) -> &Wakeup {
        &self.wakeup
    }

    /// The side of the workers.
    pub fn claims(&self) -> Claims {
        Claims::new(self.db.clone(), self.policies.clone())
    }
}

fn lease_lost() -> Error {
    Error::new(Code::Conflict, "the job was given to another worker")
}
