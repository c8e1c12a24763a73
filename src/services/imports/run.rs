//! Reading a staged file into the catalogue.
//!
//! `partial`: each batch is one transaction, its checkpoint included. `atomic`: the file is judged
//! in the same steps, without a change; if every row is good, one transaction stores all of it.

use std::time::Duration;

use sqlx::PgConnection;
use tokio_util::sync::CancellationToken;

use super::{
    super::categories,
    Imports,
    batch::{Batch, Batches},
};
use crate::{
    db::{on_commit, retry_conflicts},
    domain::{
        audit::{Action, Origin},
        ids::ImportId,
        imports::{Failure, Import, ImportMode, ImportState, REJECTS_KEPT},
        jobs::{Lease, Progress},
    },
    error::{Code, Error, Result},
    repos::{
        self,
        imports::{
            Step,
            merge::{How, Line},
        },
    },
    telemetry::metrics as names,
};

const ARCHIVED: &str = "belongs to an archived product";
/// Of several statements, and far more than a batch takes unless the database is at its limit.
const LONGEST_BATCH: Duration = Duration::from_secs(60);
/// For the one transaction of an atomic import.
const LONGEST_MERGE: Duration = Duration::from_secs(3600);

/// How a run ended that did not fail.
#[derive(Debug, PartialEq, Eq)]
pub enum Ran {
    /// To its end, and the job is settled with it.
    ToTheEnd,
    /// There was nothing to do, or no longer.
    Over,
}

/// One run: an attempt of the job.
pub struct Run<'a> {
    pub lease: Lease,
    pub origin: &'a Origin,
    pub stop: &'a CancellationToken,
}

impl Run<'_> {
    fn check_stop(&self) -> Result<()> {
        match self.stop.is_cancelled() {
            true => Err(Error::unavailable("the worker stops")),
            false => Ok(()),
        }
    }
}

impl Imports {
    /// Goes on where the last run ended, up to the end of the file.
    pub async fn run(&self, id: ImportId, run: &Run<'_>) -> Result<Ran> {
        self.start(id, run.lease).await?;
        let import = self.get(id).await?;
        let ran = match import.state.is_over() {
            true => Ok(Ran::Over),
            false => self.read_file(&import, run).await,
        };
        let ran = match ran {
            Err(error) if !self.get(id).await?.state.is_over() => return Err(error),
            // It was cancelled, and what was at hand was undone.
            Err(_) => Ran::Over,
            Ok(ran) => ran,
        };
        // The reaper does it otherwise.
        let _ = self.remove_chunks(id).await;
        Ok(ran)
    }

    async fn start(&self, id: ImportId, lease: Lease) -> Result<()> {
        let start = async |tx: &mut PgConnection| {
            self.0.jobs.hold(tx, lease).await?;
            repos::imports::start(tx, id).await
        };
        self.0.db.tx("imports.start", start).await
    }

    async fn read_file(&self, import: &Import, run: &Run<'_>) -> Result<Ran> {
        let mut batches = Batches::from(import, import.checkpoint());
        let mut rejected = import.rows_rejected;
        loop {
            run.check_stop()?;
            let next = async |conn: &mut PgConnection| batches.next(conn).await;
            let batch = self.0.db.read("imports.read", next).await?;
            rejected += self.store(import, &batch, rejected, run).await?;
            if let Some(broken) = batch.broken {
                return self.finish(import, Some(broken.into()), run).await;
            }
            if batch.is_last {
                break;
            }
        }
        match import.options.mode {
            ImportMode::Atomic if rejected > 0 => {
                let failure = Failure::new("rows_rejected", "it has bad rows, so no row was taken");
                self.finish(import, Some(failure), run).await
            }
            ImportMode::Atomic if !import.options.dry_run => self.store_all(import, run).await,
            _ => self.finish(import, None, run).await,
        }
    }

    /// One batch, with its checkpoint; how many rows were refused.
    async fn store(
        &self,
        import: &Import,
        batch: &Batch,
        rejected: i64,
        run: &Run<'_>,
    ) -> Result<i64> {
        retry_conflicts(|| {
            self.0.db.tx_within(LONGEST_BATCH, "imports.batch", async |tx| {
                self.0.jobs.hold(tx, run.lease).await?;
                let rejected = self.store_in(tx, import, batch, rejected).await?;
                let total = u64::try_from(import.bytes_total).ok();
                let progress = Progress { done: batch.to.offset, total };
                repos::jobs::advance(tx, run.lease, progress).await?;
                Ok(rejected)
            })
        })
        .await
    }

    async fn store_in(
        &self,
        tx: &mut PgConnection,
        import: &Import,
        batch: &Batch,
        rejected: i64,
    ) -> Result<i64> {
        let merges = import.options.mode == ImportMode::Partial && !import.options.dry_run;
        let archived = match merges {
            true => self.merge(tx, import, batch).await?,
            false => judge(tx, batch).await?,
        };
        let rejects = batch.rejects_with(&archived, ARCHIVED);
        let upserted = batch.read() - rejects.len();
        let room = REJECTS_KEPT - rejected;
        repos::imports::rejects::insert(tx, import.id, &rejects, room).await?;
        if merges && upserted > 0 {
            self.0.freshness.everything_changed(tx).await?;
        }
        let step = Step {
            from: batch.from,
            to: batch.to,
            read: batch.read() as i64,
            // Of an atomic import nothing is stored until the end.
            upserted: if merges || import.options.dry_run { upserted as i64 } else { 0 },
            rejected: rejects.len() as i64,
        };
        if !repos::imports::advance(tx, import.id, &step).await? {
            return Err(moved());
        }
        count(step.upserted, step.rejected, step.to.offset - step.from.offset);
        Ok(rejects.len() as i64)
    }

    async fn merge(
        &self,
        tx: &mut PgConnection,
        import: &Import,
        batch: &Batch,
    ) -> Result<Vec<String>> {
        let distinct = batch.distinct(import.options.sets_stock);
        if distinct.is_empty() {
            return Ok(Vec::new());
        }
        let clock = &self.0.clock;
        let paths = distinct.iter().map(|(row, _)| &row.category);
        let categories = categories::ensure_all(tx, clock, paths).await?;
        let mut lines = Vec::with_capacity(distinct.len());
        for (row, initial_stock) in distinct {
            let category = categories.get(row.category.as_str()).copied();
            let category = category.ok_or_else(|| Error::internal("a category is missing"))?;
            let (id, movement_id) = (clock.new_id(), clock.new_id());
            lines.push(Line { id, movement_id, category, row, initial_stock });
        }
        let how = How {
            sets_attributes: lines.first().is_some_and(|line| line.row.attributes.is_some()),
            sets_stock: import.options.sets_stock,
            reason: &format!("import {}", import.id),
            actor: import.user_id.0,
        };
        repos::imports::merge::merge(tx, &lines, how).await
    }

    /// Every row was good: all of them, the end of the import and of its job, in one transaction.
    async fn store_all(&self, import: &Import, run: &Run<'_>) -> Result<Ran> {
        let mut refused = false;
        let work = async |tx: &mut PgConnection| {
            let mut batches = Batches::from(import, import.first_row());
            let mut upserted = 0;
            loop {
                run.check_stop()?;
                // What is stored so far keeps everybody else waiting.
                if is_over(tx, import.id).await? {
                    return Err(moved());
                }
                let batch = batches.next(tx).await?;
                let archived = self.merge(tx, import, &batch).await?;
                if !batch.rejects_with(&archived, ARCHIVED).is_empty() || batch.broken.is_some() {
                    refused = true;
                    return Err(moved());
                }
                upserted += batch.rows.len() as i64;
                if batch.is_last {
                    break;
                }
            }
            if !repos::imports::set_upserted(tx, import.id, upserted).await? {
                return Err(moved());
            }
            count(upserted, 0, 0);
            self.end(tx, import, None, run).await?;
            // Last: who follows the feed waits only so long for a row that took its number early.
            self.0.freshness.everything_changed(tx).await
        };
        let stored = self.0.db.tx_within(LONGEST_MERGE, "imports.merge_all", work).await;
        if refused {
            let detail = "a product of it was archived meanwhile, so no row was taken";
            return self.finish(import, Some(Failure::new("rows_rejected", detail)), run).await;
        }
        stored.map(|()| Ran::ToTheEnd)
    }

    async fn finish(
        &self,
        import: &Import,
        failure: Option<Failure>,
        run: &Run<'_>,
    ) -> Result<Ran> {
        let end = async |tx: &mut PgConnection| self.end(tx, import, failure.as_ref(), run).await;
        self.0.db.tx("imports.finish", end).await?;
        Ok(Ran::ToTheEnd)
    }

    async fn end(
        &self,
        tx: &mut PgConnection,
        import: &Import,
        failure: Option<&Failure>,
        run: &Run<'_>,
    ) -> Result<()> {
        let state = if failure.is_some() { ImportState::Failed } else { ImportState::Succeeded };
        if !repos::imports::finish(tx, import.id, state, failure, false).await? {
            return Err(moved());
        }
        self.told(tx, import.id, import.user_id, Action::ImportFinished, run.origin).await?;
        self.0.jobs.settle(tx, run.lease).await
    }
}

/// The archived products of a batch that is not stored.
async fn judge(tx: &mut PgConnection, batch: &Batch) -> Result<Vec<String>> {
    let skus: Vec<_> = batch.rows.iter().map(|row| row.sku.as_str().to_owned()).collect();
    repos::imports::merge::archived(tx, &skus).await
}

/// Others may have cancelled it.
async fn is_over(tx: &mut PgConnection, id: ImportId) -> Result<bool> {
    let import = repos::imports::find(tx, id).await?;
    Ok(import.is_none_or(|import| import.state.is_over()))
}

/// It was cancelled, or another run has it.
fn moved() -> Error {
    Error::new(Code::Conflict, "the import does not stand where it did")
}

fn count(upserted: i64, rejected: i64, bytes: u64) {
    on_commit(move || {
        for (outcome, rows) in [("upserted", upserted), ("rejected", rejected)] {
            metrics::counter!(names::IMPORT_ROWS, "outcome" => outcome)
                .increment(u64::try_from(rows).unwrap_or_default());
        }
        metrics::counter!(names::IMPORT_BYTES).increment(bytes);
    });
}
