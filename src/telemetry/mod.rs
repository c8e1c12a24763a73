//! Logs, metrics, and what each piece of work spends.

pub mod logs;
pub mod metrics;
pub mod work;
