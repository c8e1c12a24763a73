//! The outbox: events are written by the transaction they tell of, so that nobody hears of what
//! was rolled back, and nobody misses what was committed. `events::relay` hands them over.

use std::sync::Arc;

use serde_json::json;
use sqlx::PgConnection;

use super::{
    audit::AuditTrail,
    idempotency::{Answer, Once},
};
use crate::{
    config,
    db::{Db, on_commit},
    domain::{
        audit::{Action, NewAuditEvent, Origin, Target},
        auth::Identity,
        events::{Backoff, DeliveryFilter, DeliveryReport, DeliveryState, Interest, NewEvent},
        idempotency::Outcome,
        ids::{DeliveryId, EventId},
        page::{After, Page, PageRequest},
    },
    error::{Code, Error, Result},
    repos,
    shared::clock::Clock,
    telemetry::traces,
};

mod relaying;
mod wake;

pub use relaying::Lease;
pub use wake::{TOPIC, Wake};

/// Clones share everything.
#[derive(Clone)]
pub struct Outbox(Arc<Parts>);

/// What the composition root hands over.
pub struct Parts {
    pub db: Db,
    pub clock: Clock,
    pub audit: AuditTrail,
    pub once: Once,
    pub interests: Vec<Interest>,
    pub wake: Wake,
    pub settings: Settings,
}

#[derive(Debug, Clone, Copy)]
pub struct Settings {
    pub backoff: Backoff,
    pub max_attempts: i32,
}

impl From<&config::Outbox> for Settings {
    fn from(outbox: &config::Outbox) -> Self {
        let backoff = Backoff { first: outbox.backoff_first, most: outbox.backoff_max };
        let max_attempts = i32::try_from(outbox.max_attempts).unwrap_or(i32::MAX);
        Self { backoff, max_attempts }
    }
}

impl Outbox {
    pub fn new(parts: Parts) -> Self {
        Self(Arc::new(parts))
    }

    /// Becomes part of the caller's transaction, in one statement, and wakes the relay after its
    /// commit. Whoever emits for several aggregates does so in one order, as with all locks.
    pub async fn emit(
        &self,
        tx: &mut PgConnection,
        event: NewEvent,
        origin: &Origin,
    ) -> Result<()> {
        let Parts { clock, interests, wake, .. } = &*self.0;
        let interested = interests.iter().filter(|interest| interest.wants.includes(event.kind));
        let consumers: Vec<_> = interested.map(|interest| interest.consumer.to_owned()).collect();
        let deliveries: Vec<_> = consumers.iter().map(|_| clock.new_id()).collect();
        let id = EventId(clock.new_id());
        let request = &origin.request_id;
        let trace = traces::current_traceparent();
        let trace = trace.as_deref();
        repos::outbox::append(tx, id, &event, request, trace, &deliveries, &consumers).await?;
        if !consumers.is_empty() {
            let wake = wake.clone();
            on_commit(move || wake.all());
        }
        Ok(())
    }

    /// Newest first.
    pub async fn list(
        &self,
        filter: &DeliveryFilter,
        page: PageRequest,
    ) -> Result<Page<DeliveryReport>> {
        self.0
            .db
            .read("outbox.list", async |conn| {
                let rows = repos::outbox::admin::list(conn, filter, &page).await?;
                let total = match page.count {
                    true => Some(repos::outbox::admin::count(conn, filter).await?),
                    false => None,
                };
                Ok(Page::cut(rows, page.limit, total, |d| After { at: d.created_at, id: d.id.0 }))
            })
            .await
    }

    /// Hands a dead delivery over again. What followed it has passed meanwhile, unless its
    /// consumer waits for the dead.
    pub async fn replay(
        &self,
        actor: &Identity,
        id: DeliveryId,
        outcome: &Outcome<DeliveryReport>,
        origin: &Origin,
    ) -> Result<Answer> {
        let work = async |tx: &mut PgConnection| {
            let state = repos::outbox::admin::state(tx, id).await?.ok_or_else(Error::not_found)?;
            if state != DeliveryState::Dead.as_str() {
                return Err(Error::new(Code::Conflict, "only a dead delivery can be replayed"));
            }
            repos::outbox::admin::replay(tx, id).await?;
            let event = NewAuditEvent {
                actor: Some(actor.user_id),
                action: Action::DeliveryReplayed,
                target: Target { kind: "outbox_delivery", id: Some(id.0) },
                details: json!({}),
            };
            self.0.audit.record(tx, event, origin).await?;
            let wake = self.0.wake.clone();
            on_commit(move || wake.all());
            repos::outbox::admin::find(tx, id).await?.ok_or_else(Error::not_found)
        };
        self.0.once.tx("outbox.replay", outcome, work).await
    }
}
