//! SQL and rows, one file per domain: one statement per function, the connection first.
//! Absent is `Option`; what a statement means is the service's business.

pub mod audit;
pub mod categories;
pub mod devices;
pub mod feed;
pub mod idempotency;
pub mod imports;
pub mod jobs;
pub mod keys;
pub mod login_failures;
pub mod mail_tokens;
pub mod outbox;
pub mod products;
pub mod refresh_tokens;
pub mod server;
pub mod sessions;
pub mod users;
