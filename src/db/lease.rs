//! Borrowed connections, and which of them to doubt.

use std::{
    ops::{Deref, DerefMut},
    sync::{
        Arc,
        atomic::{AtomicU64, Ordering},
    },
    time::Duration,
};

use sqlx::{Executor, PgConnection, Postgres, Row, pool::PoolConnection};
use tokio::time::{Instant, timeout};

use super::{
    failure::is_useless,
    parked::{Held, Parked, Pooled},
};
use crate::{error::Result, telemetry::metrics as names};

/// For the answer of a connection that is doubted.
const PATIENCE: Duration = Duration::from_millis(500);
/// While a server only reads, every new connection to it is as bad as the last. Not for each write
/// that fails are all the others opened anew.
const PAUSE: Duration = Duration::from_secs(1);

/// A borrowed connection. Dropped without being given back, it is closed.
pub struct Lease {
    held: Option<Held<PoolConnection<Postgres>>>,
    parked: Parked<PoolConnection<Postgres>>,
}

impl Lease {
    pub fn new(
        held: Held<PoolConnection<Postgres>>,
        parked: Parked<PoolConnection<Postgres>>,
    ) -> Self {
        Self { held: Some(held), parked }
    }

    /// After a conversation that came to its end, by what it came to.
    pub fn settle<T>(self, result: &Result<T>) {
        match result {
            Ok(_) => self.park(),
            Err(error) if is_useless(error) => {}
            Err(_) => self.give_back(),
        }
    }

    fn park(mut self) {
        if let Some(held) = self.held.take() {
            self.parked.park(held);
        }
    }

    /// The pool asks whether it still lives.
    fn give_back(mut self) {
        self.held = None;
    }
}

impl Deref for Lease {
    type Target = PgConnection;
    fn deref(&self) -> &PgConnection {
        &self.held.as_ref().expect("a lease holds its connection until it is given back").conn
    }
}

impl DerefMut for Lease {
    fn deref_mut(&mut self) -> &mut PgConnection {
        &mut self.held.as_mut().expect("a lease holds its connection until it is given back").conn
    }
}

impl Drop for Lease {
    fn drop(&mut self) {
        if let Some(held) = self.held.take() {
            held.conn.cut();
        }
    }
}

impl Pooled for PoolConnection<Postgres> {
    fn cut(self) {
        metrics::counter!(names::DB_CONNECTIONS_CUT).increment(1);
        drop(self.detach());
    }

    async fn is_of_use(&mut self) -> bool {
        is_of_use(self).await
    }
}

/// Whether it answers soon, and may write: whoever changes something would fail with one that only
/// reads, and with the next one of the same age.
pub async fn is_of_use(conn: &mut PgConnection) -> bool {
    matches!(timeout(PATIENCE, may_write(conn)).await, Ok(Ok(true)))
}

/// Neither a standby's session nor one that is read-only by the settings it began with.
pub async fn may_write(conn: &mut PgConnection) -> Result<bool> {
    let row = conn.fetch_one("show transaction_read_only").await?;
    Ok(row.try_get::<&str, _>(0)? == "off")
}

/// Until when connections are doubted: those opened before the last loss.
#[derive(Clone)]
pub struct Suspicion {
    started: Instant,
    raised_ms: Arc<AtomicU64>,
}

impl Default for Suspicion {
    fn default() -> Self {
        Self { started: Instant::now(), raised_ms: Arc::default() }
    }
}

impl Suspicion {
    pub fn raise(&self) {
        self.raised_ms.store(millis_since(self.started), Ordering::Relaxed);
    }

    pub fn raise_now_and_then(&self) {
        let raised = self.raised_ms.load(Ordering::Relaxed);
        if raised == 0 || millis_since(self.started) > raised + PAUSE.as_millis() as u64 {
            self.raise();
        }
    }

    pub fn covers(&self, age: Duration) -> bool {
        let raised = self.raised_ms.load(Ordering::Relaxed);
        let opened = millis_since(self.started).saturating_sub(age.as_millis() as u64);
        raised > 0 && opened <= raised
    }
}

fn millis_since(start: Instant) -> u64 {
    start.elapsed().as_millis() as u64
}
