//! The audit trail: written inside the transactions it tells of, read by administrators.

use std::time::Duration;

use moka::sync::Cache;
use serde_json::json;
use sqlx::PgConnection;

use crate::{
    db::Db,
    domain::{
        audit::{Action, AuditEvent, AuditFilter, NewAuditEvent, Origin, Target},
        auth::Identity,
        ids::{AuditEventId, UserId},
        page::{After, Page, PageRequest},
    },
    error::Result,
    repos,
    shared::clock::Clock,
};

#[derive(Clone)]
pub struct AuditTrail {
    db: Db,
    clock: Clock,
    denied: Cache<(UserId, String), ()>,
}

/// A user who keeps knocking at a closed door is told of this often.
const DENIALS_APART: Duration = Duration::from_secs(60);
const DENIALS_REMEMBERED: u64 = 10_000;

impl AuditTrail {
    pub fn new(db: Db, clock: Clock) -> Self {
        let denied = Cache::builder().max_capacity(DENIALS_REMEMBERED);
        Self { db, clock, denied: denied.time_to_live(DENIALS_APART).build() }
    }

    /// Becomes part of the caller's transaction.
    pub async fn record(
        &self,
        tx: &mut PgConnection,
        event: NewAuditEvent,
        origin: &Origin,
    ) -> Result<()> {
        repos::audit::insert(tx, AuditEventId(self.clock.new_id()), &event, origin).await
    }

    /// A caller without the role that a route wants. Whether it could be written changes nothing
    /// for the caller: the answer is no either way.
    pub async fn denied(&self, actor: &Identity, method: &str, route: &str, origin: &Origin) {
        let key = (actor.user_id, format!("{method} {route}"));
        if !self.denied.entry_by_ref(&key).or_insert(()).is_fresh() {
            return;
        }
        let event = NewAuditEvent {
            actor: Some(actor.user_id),
            action: Action::AccessDenied,
            target: Target::route(),
            details: json!({"method": method, "route": route, "role": actor.role.as_str()}),
        };
        let written =
            self.db.tx("audit.denied", async |tx| self.record(tx, event, origin).await).await;
        if let Err(error) = written {
            self.denied.invalidate(&key);
            tracing::error!(error = error.chain(), "a denial is not in the audit trail");
        }
    }

    /// Newest first.
    pub async fn list(&self, filter: &AuditFilter, page: PageRequest) -> Result<Page<AuditEvent>> {
        self.db
            .read("audit.list", async |conn| {
                let rows = repos::audit::list(conn, filter, &page).await?;
                let total = match page.count {
                    true => Some(repos::audit::count(conn, filter).await?),
                    false => None,
                };
                Ok(Page::cut(rows, page.limit, total, |e| After { at: e.at, id: e.id.0 }))
            })
            .await
    }
}
