//! The HTTP door: wire types and thin functions. A handler unwraps, calls one service, wraps.

pub mod account_mail;
pub mod audit;
pub mod auth;
pub mod cached;
pub mod docs;
pub mod etag;
pub mod exports;
pub mod extract;
pub mod idempotency;
pub mod imports;
pub mod jobs;
pub mod json;
pub mod operations;
pub mod outbox;
pub mod page;
pub mod pages;
pub mod products;
pub mod query;
pub mod sessions;
pub mod time;
pub mod users;
