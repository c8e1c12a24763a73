//! Logs, metrics, traces, and what each piece of work spends.

use std::any::Any;

mod export;
mod line_writer;
pub mod logs;
pub mod metrics;
mod process;
pub mod runtime;
mod trace_context;
pub mod traces;
pub mod work;

/// The message of a panic where it is a constant. One that was put together may quote what a user
/// sent (a password that was sliced, an error that repeats its input); the place says enough.
pub fn plain_panic(payload: &(dyn Any + Send)) -> &'static str {
    payload.downcast_ref::<&'static str>().copied().unwrap_or("(not a constant: withheld)")
}
