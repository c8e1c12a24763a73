//! The audit trail: who did what to whom, from where.

use chrono::{DateTime, Utc};
use serde_json::Value;
use uuid::Uuid;

use super::ids::{AuditEventId, UserId};

/// Where a request came from: carried by every service call that leaves a trace.
#[derive(Debug, Clone, Default)]
pub struct Origin {
    /// The client's address, forwarded addresses of trusted proxies resolved.
    pub address: Option<std::net::IpAddr>,
    pub user_agent: Option<String>,
    pub request_id: String,
}

impl Origin {
    /// For what the command line does.
    pub fn command_line() -> Self {
        Self { address: None, user_agent: None, request_id: "command-line".to_owned() }
    }

    pub fn address_text(&self) -> Option<String> {
        self.address.map(|address| address.to_string())
    }
}

/// Every action the trail knows; the text is stable.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Action {
    UserRegistered,
    /// Of an address that has an account.
    RegistrationRepeated,
    UserCreated,
    UserUpdated,
    UserDeleted,
    LoginSucceeded,
    LoginFailed,
    PasswordChanged,
    PasswordRefused,
    PasswordResetRequested,
    PasswordReset,
    VerificationRequested,
    EmailVerified,
    EmailChangeRequested,
    EmailChanged,
    SessionsEnded,
    TokenReuse,
    /// Known, but without the role.
    AccessDenied,
    KeysRotated,
    DeliveryReplayed,
    JobRetried,
    JobCancelled,
    QueuePaused,
    QueueResumed,
    ProductCreated,
    ProductUpdated,
    ProductArchived,
    StockAdjusted,
    ImportStarted,
    ImportFinished,
    ImportCancelled,
    CatalogueExported,
    CatalogueSeeded,
}

impl Action {
    pub fn as_str(self) -> &'static str {
        match self {
            Action::UserRegistered => "user.registered",
            Action::RegistrationRepeated => "user.registration_repeated",
            Action::UserCreated => "user.created",
            Action::UserUpdated => "user.updated",
            Action::UserDeleted => "user.deleted",
            Action::LoginSucceeded => "auth.login_succeeded",
            Action::LoginFailed => "auth.login_failed",
            Action::PasswordChanged => "auth.password_changed",
            Action::PasswordRefused => "auth.password_refused",
            Action::PasswordResetRequested => "auth.password_reset_requested",
            Action::PasswordReset => "auth.password_reset",
            Action::VerificationRequested => "auth.verification_requested",
            Action::EmailVerified => "auth.email_verified",
            Action::EmailChangeRequested => "auth.email_change_requested",
            Action::EmailChanged => "auth.email_changed",
            Action::SessionsEnded => "auth.sessions_ended",
            Action::TokenReuse => "auth.token_reuse",
            Action::AccessDenied => "auth.access_denied",
            Action::KeysRotated => "auth.keys_rotated",
            Action::DeliveryReplayed => "outbox.delivery_replayed",
            Action::JobRetried => "job.retried",
            Action::JobCancelled => "job.cancelled",
            Action::QueuePaused => "queue.paused",
            Action::QueueResumed => "queue.resumed",
            Action::ProductCreated => "product.created",
            Action::ProductUpdated => "product.updated",
            Action::ProductArchived => "product.archived",
            Action::StockAdjusted => "product.stock_adjusted",
            Action::ImportStarted => "import.started",
            Action::ImportFinished => "import.finished",
            Action::ImportCancelled => "import.cancelled",
            Action::CatalogueExported => "catalogue.exported",
            Action::CatalogueSeeded => "catalogue.seeded",
        }
    }
}

/// What an event is about.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Target {
    pub kind: &'static str,
    pub id: Option<Uuid>,
}

impl Target {
    pub fn user(id: UserId) -> Self {
        Self { kind: "user", id: Some(id.0) }
    }

    pub fn product(id: super::ids::ProductId) -> Self {
        Self { kind: "product", id: Some(id.0) }
    }

    pub fn job(id: super::ids::JobId) -> Self {
        Self { kind: "job", id: Some(id.0) }
    }

    pub fn import(id: super::ids::ImportId) -> Self {
        Self { kind: "import", id: Some(id.0) }
    }

    pub fn route() -> Self {
        Self { kind: "route", id: None }
    }

    pub fn session(id: super::ids::SessionId) -> Self {
        Self { kind: "session", id: Some(id.0) }
    }
}

/// An event to be written in the transaction it tells of.
#[derive(Debug)]
pub struct NewAuditEvent {
    pub actor: Option<UserId>,
    pub action: Action,
    pub target: Target,
    /// Never a secret, never an address of a person.
    pub details: Value,
}

#[derive(Debug, Clone, sqlx::FromRow)]
pub struct AuditEvent {
    pub id: AuditEventId,
    pub at: DateTime<Utc>,
    pub actor_id: Option<UserId>,
    pub action: String,
    pub target_type: String,
    pub target_id: Option<Uuid>,
    pub address: Option<String>,
    pub user_agent: Option<String>,
    pub request_id: String,
    pub details: Value,
}

#[derive(Debug, Clone, Default)]
pub struct AuditFilter {
    pub actor_id: Option<UserId>,
    pub action: Option<String>,
    pub target_id: Option<Uuid>,
}
