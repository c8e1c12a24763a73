//! What a failure of Postgres or of the driver means.

use std::borrow::Cow;

use crate::error::{Code, Error, Result};

/// Postgres took longer than its own timeouts allow.
#[derive(Debug)]
pub struct Hung;

impl std::fmt::Display for Hung {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("Postgres did not answer in time")
    }
}

impl std::error::Error for Hung {}

fn source<T: std::error::Error + 'static>(error: &Error) -> Option<&T> {
    std::error::Error::source(error)?.downcast_ref()
}

fn state(error: &Error) -> Option<Cow<'_, str>> {
    source::<sqlx::Error>(error)?.as_database_error()?.code()
}

pub fn is_hung(error: &Error) -> bool {
    source::<Hung>(error).is_some()
}

/// A serialization failure or a deadlock: the whole transaction may be tried again.
pub fn is_conflict(error: &Error) -> bool {
    is_conflict_state(state(error).as_deref())
}

/// Whether the session is of no more use, be it gone or barred from what the service does.
pub fn is_useless(error: &Error) -> bool {
    is_lost_connection(error) || is_barred(error)
}

/// Whether the session may only read, or nobody is let in any more as it was: after a failover it
/// may stand on a standby, and there it stays as long as somebody keeps it.
pub fn is_barred(error: &Error) -> bool {
    state(error).is_some_and(|state| state == "25006" || is_refused_entry(&state))
}

/// The server has no room for one more session; those that are open go on.
pub fn is_full(error: &Error) -> bool {
    state(error).is_some_and(|state| state == "53300")
}

/// Whether the connection is gone, rather than the statement refused.
pub fn is_lost_connection(error: &Error) -> bool {
    match source::<sqlx::Error>(error) {
        Some(sqlx::Error::Io(_) | sqlx::Error::Protocol(_) | sqlx::Error::WorkerCrashed) => true,
        Some(sqlx::Error::Database(error)) => {
            error.code().is_some_and(|state| state.starts_with("57P"))
        }
        _ => is_hung(error),
    }
}

/// What a failure of the driver means to a caller.
impl From<sqlx::Error> for Error {
    fn from(error: sqlx::Error) -> Self {
        use sqlx::Error as E;
        match &error {
            E::Io(_)
            | E::Tls(_)
            | E::Protocol(_)
            | E::PoolTimedOut
            | E::PoolClosed
            | E::WorkerCrashed => Error::unavailable(error),
            E::Database(refusal) if refusal.code().is_some_and(|state| is_passing(&state)) => {
                Error::unavailable(error)
            }
            E::Database(refusal) if is_conflict_state(refusal.code().as_deref()) => {
                Error::of(Code::Conflict).because(error)
            }
            _ => Error::internal(error),
        }
    }
}

fn is_conflict_state(state: Option<&str>) -> bool {
    matches!(state, Some("40001" | "40P01"))
}

/// SQLSTATEs that say "not now": timeouts, locks, no room, shutting down, no connection, no entry.
fn is_passing(state: &str) -> bool {
    let class = state.get(..2).unwrap_or_default();
    matches!(class, "08" | "53" | "57")
        || matches!(state, "55P03" | "25P03" | "25006")
        || is_refused_entry(state)
}

/// No role of this name, another password, no such database: what an operator is changing.
fn is_refused_entry(state: &str) -> bool {
    state.starts_with("28") || state == "3D000"
}

/// Maps a named constraint to its meaning; every other failure stays what it is.
pub trait OnConstraint<T> {
    fn on_constraint(self, name: &str, meaning: impl FnOnce() -> Error) -> Result<T>;
}

impl<T> OnConstraint<T> for Result<T, sqlx::Error> {
    fn on_constraint(self, name: &str, meaning: impl FnOnce() -> Error) -> Result<T> {
        self.map_err(|error| {
            let hit = error.as_database_error().and_then(|e| e.constraint()) == Some(name);
            if hit { meaning() } else { error.into() }
        })
    }
}
