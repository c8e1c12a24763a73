//! What the product does: rules, transactions, events. Every door calls these, and they know
//! neither HTTP nor each other's tables.

use std::{ops::Deref, sync::Arc, time::Duration};

use crate::shared::{clock::Clock, cursor::CursorKey};

pub mod audit;
pub mod auth;
pub mod categories;
pub mod doctor;
pub mod exports;
pub mod freshness;
pub mod health;
pub mod idempotency;
pub mod imports;
pub mod jobs;
pub mod mail;
pub mod migrations;
pub mod outbox;
pub mod products;
pub mod reaper;
pub mod users;

/// One of each, shared by all doors.
#[derive(Clone)]
pub struct Services(Arc<All>);

pub struct All {
    pub auth: auth::Auth,
    pub users: users::Users,
    pub products: products::Products,
    pub audit: audit::AuditTrail,
    pub health: health::Health,
    pub outbox: outbox::Outbox,
    pub once: idempotency::Once,
    pub jobs: jobs::Jobs,
    pub post: mail::Post,
    pub imports: imports::Imports,
    pub exports: exports::Exports,
    pub cursors: CursorKey,
    pub cookies: CookiePolicy,
    pub jwks_max_age: Duration,
    pub clock: Clock,
}

/// What doors to browsers need to know.
pub struct CookiePolicy {
    /// `Secure` and the `__Host-` prefix.
    pub secure: bool,
    pub device_ttl: Duration,
}

impl Services {
    pub fn new(all: All) -> Self {
        Self(Arc::new(all))
    }
}

impl Deref for Services {
    type Target = All;
    fn deref(&self) -> &All {
        &self.0
    }
}
