//! Exports: the catalogue as one file, read through a cursor of the database as fast as the client
//! takes it, and no faster.

use std::{pin::pin, sync::Arc, time::Duration};

use serde_json::json;
use sqlx::PgConnection;
use tokio::{
    sync::{Notify, OwnedSemaphorePermit, Semaphore, mpsc},
    time::{sleep, timeout},
};

use super::audit::AuditTrail;
use crate::{
    db::Db,
    domain::{
        audit::{Action, NewAuditEvent, Origin, Target},
        auth::Identity,
        products::{Product, ProductFilter},
    },
    error::{Error, Result},
    repos,
    telemetry::metrics as names,
};

/// Products that are read at once.
const AT_ONCE: i64 = 500;
/// Longer than any client that keeps reading takes.
const LONGEST: Duration = Duration::from_secs(6 * 3600);

#[derive(Clone)]
pub struct Exports {
    db: Db,
    audit: AuditTrail,
    slots: Arc<Semaphore>,
    /// How long a client may read nothing.
    patience: Duration,
}

/// Products, some at a time. Dropped, it stops the reading.
pub struct Export {
    first: Option<Vec<Product>>,
    rest: mpsc::Receiver<Result<Vec<Product>>>,
    progress: Arc<Notify>,
    is_over: bool,
}

/// The way to a client.
struct Line {
    sender: mpsc::Sender<Result<Vec<Product>>>,
    /// The client has taken something.
    progress: Arc<Notify>,
}

impl Exports {
    pub fn new(db: Db, audit: AuditTrail, at_once: u32, patience: Duration) -> Self {
        let slots = Arc::new(Semaphore::new(at_once as usize));
        Self { db, audit, slots, patience }
    }

    /// Refused when as many are being written as may be: each holds a connection.
    pub async fn begin(
        &self,
        actor: &Identity,
        filter: ProductFilter,
        origin: &Origin,
    ) -> Result<Export> {
        let slot = self.slots.clone().try_acquire_owned();
        let slot = slot.map_err(|_| Error::overloaded().retry_after(Duration::from_secs(5)))?;
        let event = NewAuditEvent {
            actor: Some(actor.user_id),
            action: Action::CatalogueExported,
            target: Target { kind: "catalogue", id: None },
            details: details(&filter),
        };
        let record = async |tx: &mut PgConnection| self.audit.record(tx, event, origin).await;
        self.db.tx("exports.record", record).await?;
        let (sender, mut rest) = mpsc::channel(1);
        let progress = Arc::<Notify>::default();
        let line = Line { sender, progress: progress.clone() };
        tokio::spawn(self.clone().read(filter, line, slot));
        // What fails at the start can still be answered as a failure.
        let first = rest.recv().await.transpose()?;
        Ok(Export { first, rest, progress, is_over: false })
    }

    async fn read(self, filter: ProductFilter, line: Line, slot: OwnedSemaphorePermit) {
        metrics::gauge!(names::EXPORTS_ACTIVE).increment(1.0);
        let reading = self.db.tx_within(LONGEST, "exports.read", async |tx| {
            repos::products::export::open(tx, &filter).await?;
            loop {
                let rows = repos::products::export::fetch(tx, AT_ONCE).await?;
                let is_over = is_last(&rows);
                metrics::counter!(names::EXPORT_ROWS).increment(rows.len() as u64);
                line.hand_over(rows, self.patience).await?;
                if is_over {
                    return Ok(());
                }
            }
        });
        // A client that leaves cuts the connection, and so the query.
        let failed = tokio::select! {
            result = reading => result.err(),
            () = line.sender.closed() => None,
        };
        metrics::gauge!(names::EXPORTS_ACTIVE).decrement(1.0);
        drop(slot);
        if let Some(error) = failed {
            tracing::warn!(error = error.chain(), "an export ends early");
            let _ = timeout(self.patience, line.sender.send(Err(error))).await;
        }
    }
}

fn is_last(rows: &[Product]) -> bool {
    (rows.len() as i64) < AT_ONCE
}

impl Line {
    /// Fails when the client takes nothing at all for too long.
    async fn hand_over(&self, rows: Vec<Product>, patience: Duration) -> Result<()> {
        let mut sending = pin!(self.sender.send(Ok(rows)));
        loop {
            tokio::select! {
                // One that left is noticed elsewhere.
                _ = &mut sending => return Ok(()),
                () = self.progress.notified() => {}
                () = sleep(patience) => return Err(Error::unavailable("nobody reads the export")),
            }
        }
    }
}

impl Export {
    pub async fn next(&mut self) -> Result<Option<Vec<Product>>> {
        if self.is_over {
            return Ok(None);
        }
        let next = match self.first.take() {
            Some(first) => Some(Ok(first)),
            None => self.rest.recv().await,
        };
        // However the reading ended, the file must not look whole.
        let rows =
            next.ok_or_else(|| Error::unavailable("an export was not read to its end"))??;
        self.is_over = is_last(&rows);
        Ok(Some(rows))
    }

    /// To be called when the client has taken some of what `next` gave.
    pub fn note_progress(&self) {
        self.progress.notify_one();
    }
}

fn details(filter: &ProductFilter) -> serde_json::Value {
    json!({
        "category": filter.category.as_ref().map(|path| path.as_str()),
        "q": filter.q,
        "min_price": filter.min_price,
        "max_price": filter.max_price,
        "in_stock": filter.in_stock,
    })
}
