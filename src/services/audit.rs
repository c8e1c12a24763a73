//! The audit trail: written inside the transactions it tells of, read by administrators.

use sqlx::PgConnection;

use crate::{
    db::Db,
    domain::{
        audit::{AuditEvent, AuditFilter, NewAuditEvent, Origin},
        ids::AuditEventId,
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
}

impl AuditTrail {
    pub fn new(db: Db, clock: Clock) -> Self {
        Self { db, clock }
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
