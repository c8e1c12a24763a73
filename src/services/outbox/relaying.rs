//! What the relay asks of the database. Everything it writes is refused once another one has
//! taken the lease.

use std::time::Duration;

use sqlx::PgConnection;

use super::Outbox;
use crate::{
    domain::{
        events::{Delivery, DeliveryState, Event},
        text::storable_text,
    },
    error::{Error, Result},
    repos::{self, outbox::Failure},
    shared::crypto,
    telemetry::metrics as names,
};

/// Aggregates that are looked at together, and how many events of each.
const AGGREGATES: i64 = 100;
const FOLLOWING: i32 = 20;
/// As much of an error as is kept.
const MAX_ERROR: usize = 500;

/// The right to relay, until another one has it.
#[derive(Debug, Clone, Copy)]
pub struct Lease {
    token: i64,
}

impl Outbox {
    /// `None` while another instance relays.
    pub async fn acquire(&self, holder: &str, length: Duration) -> Result<Option<Lease>> {
        let acquire =
            async |tx: &mut PgConnection| repos::outbox::acquire(tx, holder, length).await;
        let token = self.0.db.tx("outbox.acquire", acquire).await?;
        Ok(token.map(|token| Lease { token }))
    }

    /// False when it has been lost.
    pub async fn renew(&self, lease: Lease, length: Duration) -> Result<bool> {
        let renew =
            async |tx: &mut PgConnection| repos::outbox::renew(tx, lease.token, length).await;
        self.0.db.tx("outbox.renew", renew).await
    }

    /// So that the next one need not wait.
    pub async fn release(&self, lease: Lease) -> Result<()> {
        let release = async |tx: &mut PgConnection| repos::outbox::release(tx, lease.token).await;
        self.0.db.tx("outbox.release", release).await
    }

    /// What may be handed to a consumer now, in order per aggregate.
    pub async fn due(&self, consumer: &str, blocking: bool) -> Result<Vec<Delivery>> {
        let db = &self.0.db;
        let due = async |conn: &mut PgConnection| {
            repos::outbox::due(conn, consumer, blocking, AGGREGATES, FOLLOWING).await
        };
        let found = db.read("outbox.due", due).await?;
        if !found.is_empty() {
            return Ok(found);
        }
        // Perhaps only because of what stands before it.
        let defer = async |conn: &mut PgConnection| {
            repos::outbox::defer_blocked(conn, consumer, blocking).await
        };
        match db.autocommit("outbox.defer", defer).await? {
            0 => Ok(found),
            _ => db.read("outbox.due", due).await,
        }
    }

    /// Runs `handle` and marks the delivery in one transaction: its effects happen exactly once.
    /// The mark comes first, because it locks the delivery against another relay. False when
    /// there is nothing to do any more, or not for us.
    pub async fn hand_over(
        &self,
        lease: Lease,
        delivery: &Delivery,
        handle: impl AsyncFnOnce(&mut PgConnection, &Event) -> Result<()>,
    ) -> Result<bool> {
        self.0
            .db
            .tx("outbox.hand_over", async |tx| {
                let ids = [delivery.id.0];
                if repos::outbox::mark_done(tx, lease.token, &ids).await?.is_empty() {
                    return Ok(false);
                }
                handle(tx, &delivery.event).await?;
                Ok(true)
            })
            .await
    }

    /// For effects elsewhere, which have happened. How many were marked: none without the lease.
    pub async fn mark_done(&self, lease: Lease, deliveries: &[Delivery]) -> Result<usize> {
        let ids: Vec<_> = deliveries.iter().map(|delivery| delivery.id.0).collect();
        let mark =
            async |tx: &mut PgConnection| repos::outbox::mark_done(tx, lease.token, &ids).await;
        Ok(self.0.db.tx("outbox.mark_done", mark).await?.len())
    }

    /// Counts the failure: the delivery and what follows it in its aggregate wait.
    pub async fn mark_failed(
        &self,
        lease: Lease,
        delivery: &Delivery,
        error: &Error,
    ) -> Result<Option<DeliveryState>> {
        let settings = self.0.settings;
        let chance = u64::from_be_bytes(crypto::random()) as f64 / u64::MAX as f64;
        let failure = Failure {
            id: delivery.id,
            error: &storable_text(&error.chain(), MAX_ERROR),
            pause: settings.backoff.pause(delivery.attempts + 1, chance),
            max_attempts: settings.max_attempts,
        };
        let mark = async |tx: &mut PgConnection| {
            repos::outbox::mark_failed(tx, lease.token, &failure).await
        };
        self.0.db.tx("outbox.mark_failed", mark).await
    }

    /// How long the event has been on its way.
    pub fn delay(&self, event: &Event) -> Duration {
        (self.0.clock.now() - event.at).to_std().unwrap_or_default()
    }

    /// Every instance measures, so that it is seen when nobody relays.
    pub async fn measure(&self) -> Result<()> {
        let consumers: Vec<_> = self.0.interests.iter().map(|it| it.consumer.to_owned()).collect();
        let standing =
            async |conn: &mut PgConnection| repos::outbox::standing(conn, &consumers).await;
        let standing = self.0.db.read("outbox.measure", standing).await?;
        metrics::gauge!(names::OUTBOX_LAG).set(standing.lag_secs);
        metrics::gauge!(names::OUTBOX_DEAD).set(standing.dead as f64);
        Ok(())
    }
}
