//! The door through which events reach whoever wants to know: one relay over all instances, and
//! a file per consumer. A consumer gets the events of an aggregate in order, one at a time, and
//! those of different aggregates side by side.

use futures_util::future::BoxFuture;
use sqlx::PgConnection;

use crate::{
    domain::events::{Event, Interest, Wants},
    error::Result,
};

pub mod redis_stream;
pub mod relay;

/// Who is told of events, and how.
pub struct Consumer {
    /// Stored with every delivery, so it never changes.
    pub name: &'static str,
    pub wants: Wants,
    /// Whether what follows a dead event in its aggregate waits until that one was replayed.
    /// When not, it passes, and a replay comes late.
    pub blocking: bool,
    pub handler: Handler,
}

/// Failing with `DEPENDENCY_UNAVAILABLE` says that the consumer as a whole cannot work: when
/// nothing succeeds beside it, it is asked again soon and nothing is counted. Every other failure
/// is counted against the event.
pub enum Handler {
    /// Its effects are in the database and commit with the mark: exactly once.
    Inside(Box<dyn Inside>),
    /// Its effects are elsewhere: at least once, and again after a crash before the mark. The
    /// event's id is what to recognise it by.
    Outside(Box<dyn Outside>),
}

pub trait Inside: Send + Sync {
    fn handle<'a>(
        &'a self,
        tx: &'a mut PgConnection,
        event: &'a Event,
    ) -> BoxFuture<'a, Result<()>>;
}

pub trait Outside: Send + Sync {
    fn handle<'a>(&'a self, event: &'a Event) -> BoxFuture<'a, Result<()>>;
}

impl Consumer {
    pub fn interest(&self) -> Interest {
        Interest { consumer: self.name, wants: self.wants }
    }
}
