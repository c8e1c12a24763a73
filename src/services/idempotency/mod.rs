//! Doing what was asked for once, however often it is asked for under one key.
//!
//! The key is claimed, the work done and its outcome stored by one transaction: a crash leaves
//! all of it or nothing, and nothing has a clock that could run out too early. Redis has no part.

use std::{sync::Arc, time::Duration};

use sqlx::PgConnection;

use crate::{
    db::{Db, is_conflict, undoable, waiting_at_most},
    domain::idempotency::{Claim, Outcome, Stored, in_progress},
    error::{Code, Error, Kind, Result},
    repos,
    telemetry::metrics as names,
};

mod gate;

use gate::{Gate, Record, Turn};

/// Clones share the gate.
#[derive(Clone)]
pub struct Once {
    db: Db,
    gate: Gate,
    /// How long an outcome is remembered.
    ttl: Duration,
}

/// What the client gets.
pub struct Answer {
    pub outcome: Stored,
    /// Whether it is the outcome of an earlier request.
    pub replayed: bool,
}

impl Once {
    pub fn new(db: Db, ttl: Duration) -> Self {
        Self { db, gate: Gate::default(), ttl }
    }

    /// As `Db::tx`, at most once per key. A final refusal is an outcome too: it undoes `work` and
    /// is stored. Every other error undoes all, the claim included, and may be tried again.
    pub async fn tx<T>(
        &self,
        name: &'static str,
        outcome: &Outcome<T>,
        work: impl AsyncFnOnce(&mut PgConnection) -> Result<T>,
    ) -> Result<Answer> {
        let Some(claim) = &outcome.claim else {
            let rendered = async |tx: &mut PgConnection| (outcome.render)(Ok(work(tx).await?));
            let outcome = self.db.tx(name, rendered).await?;
            return Ok(Answer { outcome, replayed: false });
        };
        let result = self.claimed(name, claim, outcome, work).await;
        if let Some(label) = label(&result) {
            metrics::counter!(names::IDEMPOTENCY_OUTCOMES, "outcome" => label).increment(1);
        }
        result
    }

    async fn claimed<T>(
        &self,
        name: &'static str,
        claim: &Claim,
        outcome: &Outcome<T>,
        work: impl AsyncFnOnce(&mut PgConnection) -> Result<T>,
    ) -> Result<Answer> {
        let leader = match self.gate.enter(claim).await? {
            Turn::Mine(leader) => leader,
            Turn::Done(record) => return replay(claim, &record),
        };
        let (record, is_first) = self
            .db
            .tx(name, async |tx| {
                if !claim_within(tx, claim, self.ttl, leader.left()).await? {
                    let found = repos::idempotency::find(tx, claim).await?;
                    // Reaped between the two statements.
                    let found = found.ok_or_else(in_progress)?;
                    return Ok((Record::new(found), false));
                }
                let stored = perform(tx, outcome, work).await?;
                repos::idempotency::store(tx, claim, &stored).await?;
                Ok((Arc::new((claim.fingerprint.clone(), stored)), true))
            })
            .await?;
        leader.share(&record);
        match is_first {
            true => Ok(Answer { outcome: record.1.clone(), replayed: false }),
            false => replay(claim, &record),
        }
    }
}

/// Who has waited in this process waits for others no longer than the rest.
async fn claim_within(
    tx: &mut PgConnection,
    claim: &Claim,
    ttl: Duration,
    left: Option<Duration>,
) -> Result<bool> {
    let take = async |tx: &mut PgConnection| repos::idempotency::claim(tx, claim, ttl).await;
    match left {
        None => take(tx).await,
        Some(left) => waiting_at_most(tx, left, take).await,
    }
}

async fn perform<T>(
    tx: &mut PgConnection,
    outcome: &Outcome<T>,
    work: impl AsyncFnOnce(&mut PgConnection) -> Result<T>,
) -> Result<Stored> {
    match undoable(tx, work, is_final).await? {
        Ok(value) => (outcome.render)(Ok(value)),
        Err(refusal) => (outcome.render)(Err(&refusal)),
    }
}

/// The same request would be refused again. Having lost against another transaction is no answer.
fn is_final(error: &Error) -> bool {
    error.kind() == Kind::Conflict
        && error.code() != Code::IdempotencyInProgress
        && !is_conflict(error)
}

fn replay(claim: &Claim, record: &Record) -> Result<Answer> {
    let (fingerprint, outcome) = &**record;
    if *fingerprint != claim.fingerprint {
        return Err(Error::of(Code::IdempotencyKeyReused));
    }
    Ok(Answer { outcome: outcome.clone(), replayed: true })
}

fn label(result: &Result<Answer>) -> Option<&'static str> {
    match result {
        Ok(answer) if answer.replayed => Some("replayed"),
        Ok(_) => Some("claimed"),
        Err(error) => match error.code() {
            Code::IdempotencyInProgress => Some("in_progress"),
            Code::IdempotencyKeyReused => Some("reused"),
            _ => None,
        },
    }
}
