//! Accounts' front door: registration, login, refresh, sessions and passwords.

use std::{sync::Arc, time::Duration};

use crate::{
    config,
    db::Db,
    domain::{auth::Identity, throttle::ThrottleRule},
    error::{Code, Error, Result},
    shared::{clock::Clock, crypto::Keyed, password_hasher::PasswordHasher},
};

use super::{audit::AuditTrail, jobs::Jobs, outbox::Outbox};

pub mod announce;
mod email;
pub mod keys;
mod letters;
mod login;
pub mod mail_tokens;
mod password;
mod recovery;
mod refresh;
mod register;
pub mod revocations;
mod sessions;
mod throttle;
pub mod tokens;

pub use login::{LoginRequest, SignedIn};
pub use refresh::{RefreshGrant, Refreshed, claimed_session};
pub use register::{NewAccount, Registered};
pub use tokens::AccessToken;

use announce::Announcer;
use mail_tokens::MailTokens;
use tokens::Tokens;

pub struct Auth {
    db: Db,
    clock: Clock,
    hasher: PasswordHasher,
    audit: AuditTrail,
    outbox: Outbox,
    announcer: Announcer,
    tokens: Tokens,
    jobs: Jobs,
    mail_tokens: Arc<MailTokens>,
    /// Derives refresh tokens.
    refresh_key: Keyed,
    /// Blinds what failures are counted by.
    throttle_key: Keyed,
    settings: Settings,
}

/// What the service takes from the configuration.
#[derive(Debug, Clone)]
pub struct Settings {
    pub refresh_ttl: Duration,
    pub refresh_ttl_remembered: Duration,
    pub session_max: Duration,
    pub session_max_remembered: Duration,
    pub reuse_window: Duration,
    pub device_ttl: Duration,
    pub require_verified_email: bool,
    pub account_rule: ThrottleRule,
    pub network_rule: ThrottleRule,
}

impl From<&config::Auth> for Settings {
    fn from(auth: &config::Auth) -> Self {
        let rule = |allowed, forget| ThrottleRule {
            allowed: i32::try_from(allowed).unwrap_or(i32::MAX),
            forget,
            delay_max: auth.failures_delay_max,
        };
        Self {
            refresh_ttl: auth.refresh_ttl,
            refresh_ttl_remembered: auth.refresh_ttl_remembered,
            session_max: auth.session_max,
            session_max_remembered: auth.session_max_remembered,
            reuse_window: auth.refresh_reuse_window,
            device_ttl: auth.device_ttl,
            require_verified_email: auth.require_verified_email,
            account_rule: rule(auth.failures_allowed, Duration::from_secs(24 * 3600)),
            network_rule: rule(auth.network_failures_allowed, auth.failures_window),
        }
    }
}

/// What the composition root hands over.
pub struct Parts {
    pub db: Db,
    pub clock: Clock,
    pub hasher: PasswordHasher,
    pub audit: AuditTrail,
    pub outbox: Outbox,
    pub announcer: Announcer,
    pub tokens: Tokens,
    pub jobs: Jobs,
    pub mail_tokens: Arc<MailTokens>,
}

impl Auth {
    pub fn new(parts: Parts, master_key: &[u8; 32], settings: Settings) -> Self {
        Self {
            db: parts.db,
            clock: parts.clock,
            hasher: parts.hasher,
            audit: parts.audit,
            outbox: parts.outbox,
            announcer: parts.announcer,
            tokens: parts.tokens,
            jobs: parts.jobs,
            mail_tokens: parts.mail_tokens,
            refresh_key: Keyed::derive(master_key, "refresh-token"),
            throttle_key: Keyed::derive(master_key, "throttle"),
            settings,
        }
    }

    /// Who a token speaks for; no I/O.
    pub fn authenticate(&self, token: &str) -> Result<Identity> {
        self.tokens.verify(token)
    }

    /// The public keys, as JWKS.
    pub fn jwks(&self) -> serde_json::Value {
        self.tokens.jwks()
    }
}

fn invalid_credentials() -> Error {
    Error::of(Code::InvalidCredentials)
}
