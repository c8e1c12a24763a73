//! What all tests share.

pub mod api;
pub mod canaries;
pub mod collector;
pub mod command;
pub mod database;
pub mod drain;
pub mod figures;
pub mod h2;
pub mod instance;
pub mod keys;
pub mod load;
pub mod mail;
pub mod mail_server;
pub mod nginx;
pub mod people;
pub mod pool;
pub mod raw;
pub mod services;
pub mod settings;
pub mod smtp;
pub mod smuggling;
pub mod timing;
pub mod tls;

pub use api::{Api, Reply};
pub use database::Database;
pub use instance::Instance;
pub use load::Load;
pub use people::{Person, Tokens};
pub use services::Services;
pub use settings::Settings;
pub use timing::{eventually, within};

use std::sync::atomic::{AtomicU32, Ordering};

/// Differs for every call and every run.
pub fn unique(what: &str) -> String {
    static NEXT: AtomicU32 = AtomicU32::new(0);
    let nanos = std::time::UNIX_EPOCH.elapsed().map_or(0, |age| age.subsec_nanos());
    format!("{what}_{}_{nanos}_{}", std::process::id(), NEXT.fetch_add(1, Ordering::Relaxed))
}

/// What `make test` exports.
pub fn required(name: &str) -> String {
    std::env::var(name)
        .unwrap_or_else(|_| panic!("{name} is not set: run these tests through `make test`"))
}
