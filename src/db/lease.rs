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
use tokio::time::Instant;

use super::failure::is_hung;
use crate::{error::Result, telemetry::metrics as names};

/// A borrowed connection. Dropped without being given back, it is closed.
pub struct Lease(Option<PoolConnection<Postgres>>);

impl Lease {
    pub fn new(conn: PoolConnection<Postgres>) -> Self {
        Self(Some(conn))
    }

    pub fn give_back(mut self) {
        self.0 = None;
    }

    pub fn give_back_unless_hung<T>(self, result: &Result<T>) {
        if !result.as_ref().is_err_and(is_hung) {
            self.give_back();
        }
    }
}

impl Deref for Lease {
    type Target = PgConnection;
    fn deref(&self) -> &PgConnection {
        self.0.as_ref().expect("a lease holds its connection until it is given back")
    }
}

impl DerefMut for Lease {
    fn deref_mut(&mut self) -> &mut PgConnection {
        self.0.as_mut().expect("a lease holds its connection until it is given back")
    }
}

impl Drop for Lease {
    fn drop(&mut self) {
        if let Some(conn) = self.0.take() {
            metrics::counter!(names::DB_CONNECTIONS_CUT).increment(1);
            drop(conn.detach());
        }
    }
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
