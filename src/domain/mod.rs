//! Types, invariants and state machines, one file per domain. No I/O, no HTTP, no SQL:
//! a value that exists here has been checked, so nobody behind it checks again.

pub mod audit;
pub mod auth;
pub mod categories;
pub mod csv;
pub mod email;
pub mod events;
pub mod faults;
pub mod feed;
pub mod idempotency;
pub mod ids;
pub mod imports;
pub mod jobs;
pub mod mail;
pub mod mail_tokens;
pub mod page;
pub mod password;
pub mod products;
pub mod strict_json;
pub mod text;
pub mod throttle;
pub mod users;
