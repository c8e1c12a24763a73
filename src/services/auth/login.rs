//! Signing in with a password.

use chrono::{DateTime, TimeDelta, Utc};
use serde_json::json;
use sqlx::PgConnection;

use super::{
    AccessToken, Auth, invalid_credentials,
    refresh::{RefreshGrant, RefreshToken},
    throttle::{Buckets, too_many_attempts},
};
use crate::{
    db::retry_conflicts,
    domain::{
        audit::{Action, NewAuditEvent, Origin, Target},
        auth::Identity,
        email::Email,
        events::{Aggregate, EventType, NewEvent},
        ids::{SessionId, UserId},
        mail::{Device, Mail},
        password::Password,
        users::User,
    },
    error::{Code, Error, Result},
    repos::{self, devices::LoginView, login_failures, sessions::NewSession},
    shared::{crypto, password_hasher::Verdict},
    telemetry::metrics as names,
};

/// Later the first device is news: somebody else may have waited for the known ones to be
/// forgotten.
const FIRST_DEVICE_WITHIN: TimeDelta = TimeDelta::days(1);

pub struct LoginRequest {
    pub email: String,
    pub password: String,
    pub remember_me: bool,
    pub device_name: Option<String>,
    /// What an earlier login left on the device.
    pub device_token: Option<String>,
}

/// What a successful login gives.
pub struct SignedIn {
    pub access: AccessToken,
    pub refresh: RefreshGrant,
    pub device_token: String,
    pub user: User,
}

/// One attempt, checked for form.
struct Attempt {
    email: Email,
    password: Password,
    remember: bool,
    device_name: Option<String>,
    device: Option<(String, [u8; 32])>,
    buckets: Buckets,
}

/// What came of a right password.
enum Admitted {
    Opened(Box<Opened>),
    /// The account has changed since the password was compared.
    Changed,
    Unverified,
}

/// A session as the database has it, not yet given to anyone.
struct Opened {
    user: User,
    session: SessionId,
    refresh: RefreshToken,
    expires_at: DateTime<Utc>,
    device_token: String,
}

impl Auth {
    pub async fn login(&self, request: LoginRequest, origin: &Origin) -> Result<SignedIn> {
        let attempt = self.attempt(request, origin)?;
        let result = self.try_login(&attempt, origin).await;
        let outcome = match &result {
            Ok(_) => "succeeded",
            Err(error) if error.code() == Code::InvalidCredentials => "refused",
            Err(error) if error.code() == Code::TooManyAttempts => "throttled",
            Err(error) if error.code() == Code::EmailNotVerified => "unverified",
            Err(_) => "failed",
        };
        metrics::counter!(names::LOGIN_OUTCOMES, "outcome" => outcome).increment(1);
        result
    }

    async fn try_login(&self, attempt: &Attempt, origin: &Origin) -> Result<SignedIn> {
        // Before the first query: a refused flood of logins costs the database nothing.
        let place = self.hasher.reserve()?;
        // A second round only when the account changed between comparing and admitting.
        for _ in 0..2 {
            let view = self.look(attempt).await?;
            let known = self.is_known_device(&view);
            if let (false, Some(secs)) = (known, view.blocked_secs) {
                return Err(too_many_attempts(secs));
            }
            let stored = view.password_hash.clone();
            let verdict = place.verify(attempt.password.clone(), stored).await?;
            let (Some(user), Some(hash), false) =
                (view.user_id, &view.password_hash, view.disabled)
            else {
                return self.refuse(attempt, &view, origin).await;
            };
            if verdict == Verdict::Mismatch {
                return self.refuse(attempt, &view, origin).await;
            }
            let rehashed = match verdict {
                Verdict::MatchOutdated => Some(place.hash(attempt.password.clone()).await?),
                _ => None,
            };
            match self.admit(attempt, &view, user, hash, rehashed.as_deref(), origin).await? {
                Admitted::Opened(opened) => return self.signed_in(attempt, *opened),
                Admitted::Unverified => return Err(Error::of(Code::EmailNotVerified)),
                Admitted::Changed => {}
            }
        }
        Err(invalid_credentials())
    }

    fn attempt(&self, request: LoginRequest, origin: &Origin) -> Result<Attempt> {
        let email = Email::parse(&request.email)?;
        let device = request.device_token.and_then(|token| {
            let bytes = crypto::from_base64url(&token).filter(|bytes| bytes.len() == 32)?;
            Some((token, crypto::sha256(&bytes)))
        });
        Ok(Attempt {
            password: Password::parse("password", &request.password)?,
            remember: request.remember_me,
            device_name: request.device_name,
            device,
            buckets: self.buckets(email.key(), origin.address),
            email,
        })
    }

    async fn look(&self, attempt: &Attempt) -> Result<LoginView> {
        let hash = attempt.device.as_ref().map(|(_, hash)| &hash[..]);
        let (key, buckets) = (attempt.email.key(), attempt.buckets.all());
        self.db
            .read("auth.login.look", async |conn| {
                repos::devices::login_view(conn, key, hash, &buckets).await
            })
            .await
    }

    /// A device that fails too often itself is treated like any other.
    fn is_known_device(&self, view: &LoginView) -> bool {
        view.device_failures.is_some_and(|failures| failures < self.settings.account_rule.allowed)
    }

    /// The same statements whether or not the account exists.
    async fn refuse(
        &self,
        attempt: &Attempt,
        view: &LoginView,
        origin: &Origin,
    ) -> Result<SignedIn> {
        let known = self.is_known_device(view);
        let unheard = self
            .db
            .tx("auth.login.refuse", async |tx| {
                let counted = match (known, view.user_id, &attempt.device) {
                    (true, Some(user), Some((_, hash))) => {
                        let allowed = self.settings.account_rule.allowed;
                        repos::devices::count_failure(tx, user, hash, allowed).await?
                    }
                    _ => false,
                };
                let unheard = match counted {
                    true => None,
                    false => self.count_failure(tx, &attempt.buckets).await?,
                };
                let event = NewAuditEvent {
                    actor: None,
                    action: Action::LoginFailed,
                    target: Target { kind: "user", id: view.user_id.map(|id| id.0) },
                    details: json!({"known_device": known}),
                };
                self.audit.record(tx, event, origin).await?;
                Ok(unheard)
            })
            .await?;
        Err(unheard.map_or_else(invalid_credentials, too_many_attempts))
    }

    /// Opens a session, if the account is still what it was and may be used.
    async fn admit(
        &self,
        attempt: &Attempt,
        view: &LoginView,
        user: UserId,
        hash: &str,
        rehashed: Option<&str>,
        origin: &Origin,
    ) -> Result<Admitted> {
        let known = self.is_known_device(view);
        retry_conflicts(|| {
            self.db.tx("auth.login.admit", async |tx| {
                if !(known && self.is_still_known(tx, attempt, user).await?) {
                    let buckets = attempt.buckets.all();
                    if let Some(secs) = login_failures::blocked_secs(tx, &buckets).await? {
                        return Err(too_many_attempts(secs));
                    }
                    login_failures::clear(tx, &attempt.buckets.account).await?;
                }
                let Some(user) = repos::users::confirm(tx, user, hash).await? else {
                    return Ok(Admitted::Changed);
                };
                if self.settings.require_verified_email && !user.email_verified {
                    self.record_unverified(tx, &user, origin).await?;
                    return Ok(Admitted::Unverified);
                }
                if let Some(new) = rehashed {
                    repos::users::set_password_hash(tx, user.id, new).await?;
                }
                let device_token = self.remember_device(tx, attempt, view, &user, origin).await?;
                let opened = self.open(tx, attempt, user, device_token, origin).await?;
                if view.device_failures.is_none() {
                    self.emit_first_seen(tx, &opened, origin).await?;
                }
                Ok(Admitted::Opened(Box::new(opened)))
            })
        })
        .await
    }

    async fn emit_first_seen(
        &self,
        tx: &mut PgConnection,
        opened: &Opened,
        origin: &Origin,
    ) -> Result<()> {
        let event = NewEvent {
            kind: EventType::DeviceFirstSeen,
            aggregate: Aggregate::user(opened.user.id),
            actor: Some(opened.user.id),
            payload: json!({"session_id": opened.session}),
        };
        self.outbox.emit(tx, event, origin).await
    }

    async fn record_unverified(
        &self,
        tx: &mut PgConnection,
        user: &User,
        origin: &Origin,
    ) -> Result<()> {
        let details = json!({"reason": "email_not_verified"});
        self.record_own(tx, user.id, Action::LoginFailed, details, origin).await
    }

    /// Guesses on the device meanwhile may have made it unknown.
    async fn is_still_known(
        &self,
        tx: &mut PgConnection,
        attempt: &Attempt,
        user: UserId,
    ) -> Result<bool> {
        let Some((_, hash)) = &attempt.device else { return Ok(false) };
        let allowed = self.settings.account_rule.allowed;
        repos::devices::confirm(tx, user, hash, allowed).await
    }

    /// Keeps the presented token if we gave it, to this user or to another on the same device.
    /// The owner is told of a device that is new, except of the first one of a new account.
    async fn remember_device(
        &self,
        tx: &mut PgConnection,
        attempt: &Attempt,
        view: &LoginView,
        user: &User,
        origin: &Origin,
    ) -> Result<String> {
        let (token, hash) = match &attempt.device {
            Some((token, hash)) if view.device_exists => (token.clone(), *hash),
            _ => {
                let fresh = crypto::random::<32>();
                (crypto::to_base64url(&fresh), crypto::sha256(&fresh))
            }
        };
        let ttl = self.settings.device_ttl.as_secs_f64();
        let before = repos::devices::remember(tx, user.id, &hash, ttl).await?;
        let at = self.clock.now();
        let fresh = !before.others && at - user.created_at < FIRST_DEVICE_WITHIN;
        if !before.known && !fresh {
            let notice = Mail::NewDevice { user: user.id, at, device: Device::from(origin) };
            self.write(tx, notice, origin).await?;
        }
        Ok(token)
    }

    async fn open(
        &self,
        tx: &mut PgConnection,
        attempt: &Attempt,
        user: User,
        device_token: String,
        origin: &Origin,
    ) -> Result<Opened> {
        let session = SessionId(self.clock.new_id());
        let (sliding, absolute) = self.lifetimes(attempt.remember);
        let address = origin.address_text();
        let new = NewSession {
            id: session,
            user_id: user.id,
            remember: attempt.remember,
            device_name: attempt.device_name.as_deref(),
            user_agent: origin.user_agent.as_deref(),
            address: address.as_deref(),
            sliding_secs: sliding.as_secs_f64(),
            absolute_secs: absolute.as_secs_f64(),
        };
        let expires_at = repos::sessions::insert(tx, &new).await?;
        let refresh = RefreshToken::first(session);
        let salt = crypto::random::<32>();
        repos::refresh_tokens::insert(tx, session, 0, &refresh.hash(), &salt).await?;
        let event = NewAuditEvent {
            actor: Some(user.id),
            action: Action::LoginSucceeded,
            target: Target::session(session),
            details: json!({"remember_me": attempt.remember}),
        };
        self.audit.record(tx, event, origin).await?;
        Ok(Opened { user, session, refresh, expires_at, device_token })
    }

    fn signed_in(&self, attempt: &Attempt, opened: Opened) -> Result<SignedIn> {
        let identity = Identity {
            user_id: opened.user.id,
            session_id: opened.session,
            role: opened.user.role,
            version: opened.user.authz_version,
        };
        Ok(SignedIn {
            access: self.tokens.issue(&identity)?,
            refresh: RefreshGrant {
                token: opened.refresh.encode(),
                expires_at: opened.expires_at,
                remember: attempt.remember,
            },
            device_token: opened.device_token,
            user: opened.user,
        })
    }
}
