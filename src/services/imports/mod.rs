//! Imports: a file is staged while it is uploaded, read by a job in batches, and each batch is
//! stored together with a checkpoint, so that a worker may die anywhere and the next one goes on.

use std::{sync::Arc, time::Duration};

use serde_json::json;
use sqlx::PgConnection;

use super::{audit::AuditTrail, freshness::Freshness, jobs::Jobs, outbox::Outbox};
use crate::{
    config,
    db::Db,
    domain::{
        audit::{Action, NewAuditEvent, Origin, Target},
        auth::Identity,
        events::{Aggregate, EventType, NewEvent},
        ids::{ImportId, UserId},
        imports::{Failure, Import, ImportState, KeptReject, already_over},
    },
    error::{Error, Result},
    repos,
    shared::clock::Clock,
};

mod batch;
mod run;
mod upload;

pub use run::{Ran, Run};
pub use upload::{Begun, Known, Upload};

const REAP_EVERY: Duration = Duration::from_secs(30);

#[derive(Clone)]
pub struct Imports(Arc<Parts>);

/// What the composition root hands over.
pub struct Parts {
    pub db: Db,
    pub clock: Clock,
    pub audit: AuditTrail,
    pub outbox: Outbox,
    pub jobs: Jobs,
    pub freshness: Freshness,
    pub settings: Settings,
}

#[derive(Debug, Clone, Copy)]
pub struct Settings {
    /// Of the text, after decompression.
    pub max_bytes: u64,
    /// How long an upload may stand still.
    pub progress_timeout: Duration,
    pub keep: Duration,
    /// How long a key is known.
    pub key_ttl: Duration,
}

impl Settings {
    pub fn new(imports: &config::Imports, idempotency: &config::Idempotency) -> Self {
        Self {
            max_bytes: imports.max_bytes as u64,
            progress_timeout: imports.progress_timeout,
            keep: imports.keep,
            key_ttl: idempotency.ttl,
        }
    }

    /// An upload that has stood still for longer has nobody left who could go on with it.
    fn abandoned_after(&self) -> Duration {
        self.progress_timeout * 2 + Duration::from_secs(10)
    }
}

impl Imports {
    pub fn new(parts: Parts) -> Self {
        Self(Arc::new(parts))
    }

    pub fn settings(&self) -> &Settings {
        &self.0.settings
    }

    pub async fn get(&self, id: ImportId) -> Result<Import> {
        let find = async |conn: &mut PgConnection| repos::imports::find(conn, id).await;
        self.0.db.read("imports.get", find).await?.ok_or_else(Error::not_found)
    }

    /// Bad rows beyond a line, in order.
    pub async fn rejects_after(
        &self,
        id: ImportId,
        line: i64,
        limit: i64,
    ) -> Result<Vec<KeptReject>> {
        let read = async |conn: &mut PgConnection| {
            repos::imports::rejects::after(conn, id, line, limit).await
        };
        self.0.db.read("imports.rejects", read).await
    }

    /// Ends an import; of one that is running, the batch at hand is the last or is undone. What was
    /// stored before stays.
    pub async fn cancel(&self, actor: &Identity, id: ImportId, origin: &Origin) -> Result<()> {
        let cancel = async |tx: &mut PgConnection| {
            let state = repos::imports::lock(tx, id).await?.ok_or_else(Error::not_found)?;
            already_over(state)?;
            if !repos::imports::finish(tx, id, ImportState::Cancelled, None, false).await? {
                return Ok(());
            }
            self.told(tx, id, actor.user_id, Action::ImportCancelled, origin).await
        };
        self.0.db.tx("imports.cancel", cancel).await
    }

    /// Tells the audit trail and whoever follows events how an import stands.
    async fn told(
        &self,
        tx: &mut PgConnection,
        id: ImportId,
        actor: UserId,
        action: Action,
        origin: &Origin,
    ) -> Result<()> {
        let import = repos::imports::find(tx, id).await?.ok_or_else(Error::not_found)?;
        let facts = facts(&import);
        if import.state.is_over() {
            let event = NewEvent {
                kind: EventType::ImportFinished,
                aggregate: Aggregate::import(id),
                actor: Some(actor),
                payload: facts.clone(),
            };
            self.0.outbox.emit(tx, event, origin).await?;
        }
        let event = NewAuditEvent {
            actor: Some(actor),
            action,
            target: Target::import(id),
            details: facts,
        };
        self.0.audit.record(tx, event, origin).await
    }

    /// Until it is dropped. Several instances at it do each other no harm.
    pub async fn reap_now_and_then(&self) {
        loop {
            tokio::time::sleep(REAP_EVERY).await;
            if let Err(error) = self.reap().await {
                tracing::warn!(error = error.chain(), "old imports could not be removed");
            }
        }
    }

    /// Fails imports that nobody works on, and throws away what nobody needs any more.
    pub async fn reap(&self) -> Result<()> {
        let Parts { db, settings, .. } = &*self.0;
        let idle = settings.abandoned_after();
        db.tx("imports.fail_abandoned", async |tx| self.fail_abandoned(tx, idle).await).await?;
        let reap = async |conn: &mut PgConnection| repos::imports::chunks::reap(conn).await;
        while db.autocommit("imports.reap_chunks", reap).await? == repos::imports::chunks::BITE {}
        let reap = async |conn: &mut PgConnection| {
            repos::imports::rejects::reap(conn, settings.keep).await
        };
        while db.autocommit("imports.reap_rejects", reap).await? == repos::imports::rejects::BITE {}
        let reap = async |conn: &mut PgConnection| repos::imports::reap(conn, settings.keep).await;
        while db.autocommit("imports.reap", reap).await? == repos::imports::BITE {}
        Ok(())
    }

    /// Of an upload nobody was told that it has begun.
    async fn fail_abandoned(&self, tx: &mut PgConnection, idle: Duration) -> Result<()> {
        let failed = repos::imports::fail_abandoned(tx, idle).await?;
        for import in failed.into_iter().filter(|import| import.begun) {
            let request_id = import.request_id.unwrap_or_else(|| "reaper".to_owned());
            let origin = Origin { address: None, user_agent: None, request_id };
            self.told(tx, import.id, import.user_id, Action::ImportFinished, &origin).await?;
        }
        Ok(())
    }

    async fn remove_chunks(&self, id: ImportId) -> Result<()> {
        let remove = async |conn: &mut PgConnection| repos::imports::chunks::remove(conn, id).await;
        while self.0.db.autocommit("imports.remove_chunks", remove).await?
            == repos::imports::chunks::BITE
        {}
        Ok(())
    }
}

fn facts(import: &Import) -> serde_json::Value {
    json!({
        "state": import.state,
        "mode": import.options.mode,
        "dry_run": import.options.dry_run,
        "rows_read": import.rows_read,
        "rows_upserted": import.rows_upserted,
        "rows_rejected": import.rows_rejected,
        "error": import.failure.as_ref().map(|failure: &Failure| failure.code.clone()),
    })
}
