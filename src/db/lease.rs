//! Borrowed connections, and which of them to doubt.

use std::{
    ops::{Deref, DerefMut},
    sync::{
        Arc,
        atomic::{AtomicU64, Ordering},
    },
    time::Duration,
};

use sqlx::{PgConnection, Postgres, pool::PoolConnection};
use tokio::time::{Instant, timeout};

use super::{
    failure::is_hung,
    parked::{Held, Parked, Pooled},
};
use crate::{error::Result, telemetry::metrics as names};

/// For the answer of a connection that is doubted.
const PATIENCE: Duration = Duration::from_millis(500);

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

    /// For one whose conversation ended as it should.
    pub fn park(mut self) {
        if let Some(held) = self.held.take() {
            self.parked.park(held);
        }
    }

    /// The pool asks whether it still lives.
    pub fn give_back(mut self) {
        self.held = None;
    }

    pub fn give_back_unless_hung<T>(self, result: &Result<T>) {
        match result {
            Ok(_) => self.park(),
            Err(error) if is_hung(error) => {}
            Err(_) => self.give_back(),
        }
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

    async fn answers(&mut self) -> bool {
        answers(self).await
    }
}

pub async fn answers(conn: &mut PgConnection) -> bool {
    let ping = timeout(PATIENCE, sqlx::Connection::ping(conn));
    matches!(ping.await, Ok(Ok(())))
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

    pub fn covers(&self, age: Duration) -> bool {
        let raised = self.raised_ms.load(Ordering::Relaxed);
        let opened = millis_since(self.started).saturating_sub(age.as_millis() as u64);
        raised > 0 && opened <= raised
    }
}

fn millis_since(start: Instant) -> u64 {
    start.elapsed().as_millis() as u64
}
