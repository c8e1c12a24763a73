//! Refresh: rotation at every use, one successor per token, theft noticed.
//!
//! A token is the session's id and 32 secret bytes; only its SHA-256 is stored. The successor's
//! secret is an HMAC over session, generation and the random salt in the parent's row, under a
//! key that is not in the database: it can be computed again for a client whose answer was
//! lost, and nothing secret is kept for that.

use std::time::Duration;

use chrono::{DateTime, Utc};
use serde_json::json;
use sqlx::PgConnection;
use uuid::Uuid;

use super::{AccessToken, Auth, announce::Voided};
use crate::{
    db::retry_conflicts,
    domain::{
        audit::{Action, NewAuditEvent, Origin, Target},
        auth::{EndReason, Identity, Presented},
        events::{Aggregate, EventType, NewEvent},
        ids::SessionId,
        mail::{Device, Mail},
    },
    error::{Code, Error, Result},
    repos::{
        self,
        refresh_tokens::TokenRow,
        sessions::{Refreshable, Rotation},
    },
    shared::crypto::{self, Keyed},
    telemetry::metrics as names,
};

const SECRET_LEN: usize = 32;

/// What the client keeps to come back with.
pub struct RefreshGrant {
    pub token: String,
    pub expires_at: DateTime<Utc>,
    /// Whether a browser keeps it over its own end.
    pub remember: bool,
}

pub struct Refreshed {
    pub access: AccessToken,
    pub refresh: RefreshGrant,
}

pub(super) struct RefreshToken {
    session: SessionId,
    secret: [u8; SECRET_LEN],
}

impl RefreshToken {
    pub fn first(session: SessionId) -> Self {
        Self { session, secret: crypto::random() }
    }

    fn successor(key: &Keyed, session: SessionId, parent: &TokenRow) -> Self {
        let generation = (parent.generation + 1).to_be_bytes();
        let secret = key.mac(&[session.0.as_bytes(), &generation, &parent.salt]);
        Self { session, secret }
    }

    pub fn parse(text: &str) -> Option<Self> {
        let bytes = crypto::from_base64url(text)?;
        let (id, secret) = bytes.split_at_checked(16)?;
        let session = SessionId(Uuid::from_slice(id).ok()?);
        Some(Self { session, secret: secret.try_into().ok()? })
    }

    pub fn encode(&self) -> String {
        crypto::to_base64url(&[&self.session.0.as_bytes()[..], &self.secret].concat())
    }

    pub fn hash(&self) -> [u8; 32] {
        crypto::sha256(&[&self.session.0.as_bytes()[..], &self.secret].concat())
    }
}

/// The session a refresh token claims to belong to: unproven, good for a rate limit's key only.
pub fn claimed_session(token: &str) -> Option<SessionId> {
    RefreshToken::parse(token).map(|token| token.session)
}

enum Outcome {
    Granted { identity: Identity, token: RefreshToken, expires_at: DateTime<Utc>, remember: bool },
    Reused(Voided),
    Invalid,
}

impl Auth {
    pub async fn refresh(&self, token: &str, origin: &Origin) -> Result<Refreshed> {
        let presented = RefreshToken::parse(token).ok_or_else(invalid)?;
        let outcome = retry_conflicts(|| {
            self.db.tx("auth.refresh", async |tx| self.exchange(tx, &presented, origin).await)
        })
        .await?;
        let label = match &outcome {
            Outcome::Granted { .. } => "granted",
            Outcome::Reused(_) => "reused",
            Outcome::Invalid => "invalid",
        };
        metrics::counter!(names::REFRESH_OUTCOMES, "outcome" => label).increment(1);
        self.answer(outcome)
    }

    fn answer(&self, outcome: Outcome) -> Result<Refreshed> {
        match outcome {
            Outcome::Granted { identity, token, expires_at, remember } => Ok(Refreshed {
                access: self.tokens.issue(&identity)?,
                refresh: RefreshGrant { token: token.encode(), expires_at, remember },
            }),
            Outcome::Reused(voided) => {
                self.announcer.announce(&voided);
                Err(Error::of(Code::RefreshTokenReused))
            }
            Outcome::Invalid => Err(invalid()),
        }
    }

    async fn exchange(
        &self,
        tx: &mut PgConnection,
        presented: &RefreshToken,
        origin: &Origin,
    ) -> Result<Outcome> {
        let id = presented.session;
        let Some(session) = repos::sessions::lock(tx, id).await? else {
            return Ok(Outcome::Invalid);
        };
        let Some(row) = repos::refresh_tokens::find(tx, id, &presented.hash()).await? else {
            return Ok(Outcome::Invalid);
        };
        if !session.live {
            return Ok(Outcome::Invalid);
        }
        let since_use = row.used_secs.map(|secs| Duration::from_secs_f64(secs.max(0.0)));
        let window = self.settings.reuse_window;
        match Presented::classify(row.generation, session.generation, since_use, window) {
            Presented::Leaf => self.rotate(tx, id, &session, &row, origin).await,
            Presented::Retry => Ok(self.grant(id, &session, &row, session.expires_at)),
            Presented::Reused => self.end_stolen(tx, id, &session, origin).await,
        }
    }

    async fn rotate(
        &self,
        tx: &mut PgConnection,
        id: SessionId,
        session: &Refreshable,
        row: &TokenRow,
        origin: &Origin,
    ) -> Result<Outcome> {
        let (sliding, _) = self.lifetimes(session.remember);
        let generation = row.generation + 1;
        let token = RefreshToken::successor(&self.refresh_key, id, row);
        repos::refresh_tokens::mark_used(tx, id, row.generation).await?;
        let salt = crypto::random::<32>();
        repos::refresh_tokens::insert(tx, id, generation, &token.hash(), &salt).await?;
        let address = origin.address_text();
        let rotation = Rotation {
            id,
            generation,
            sliding_secs: sliding.as_secs_f64(),
            user_agent: origin.user_agent.as_deref(),
            address: address.as_deref(),
        };
        let expires_at = repos::sessions::rotate(tx, &rotation).await?;
        Ok(self.grant(id, session, row, expires_at))
    }

    fn grant(
        &self,
        id: SessionId,
        session: &Refreshable,
        parent: &TokenRow,
        expires_at: DateTime<Utc>,
    ) -> Outcome {
        Outcome::Granted {
            identity: Identity {
                user_id: session.user_id,
                session_id: id,
                role: session.role,
                version: session.authz_version,
            },
            token: RefreshToken::successor(&self.refresh_key, id, parent),
            expires_at,
            remember: session.remember,
        }
    }

    /// Two parties hold the session's tokens: it ends for both.
    async fn end_stolen(
        &self,
        tx: &mut PgConnection,
        id: SessionId,
        session: &Refreshable,
        origin: &Origin,
    ) -> Result<Outcome> {
        let reason = EndReason::RefreshTokenReused;
        let ended = repos::sessions::end(tx, session.user_id, id, reason).await?;
        let voided = Voided::sessions(tx, ended).await?;
        let event = NewAuditEvent {
            actor: None,
            action: Action::TokenReuse,
            target: Target::session(id),
            details: json!({"user_id": session.user_id}),
        };
        self.audit.record(tx, event, origin).await?;
        let event = NewEvent {
            kind: EventType::SessionTokenReused,
            aggregate: Aggregate::session(id),
            actor: None,
            payload: json!({"user_id": session.user_id}),
        };
        self.outbox.emit(tx, event, origin).await?;
        let (user, at) = (session.user_id, self.clock.now());
        let notice = Mail::TokenReused { user, at, device: Device::from(origin) };
        self.write(tx, notice, origin).await?;
        Ok(Outcome::Reused(voided))
    }

    /// Sliding and absolute life of a session.
    pub(super) fn lifetimes(&self, remember: bool) -> (Duration, Duration) {
        let settings = &self.settings;
        match remember {
            true => (settings.refresh_ttl_remembered, settings.session_max_remembered),
            false => (settings.refresh_ttl, settings.session_max),
        }
    }

    /// Ends the session a refresh token belongs to, for a client whose access token is gone.
    /// Unknown tokens are no news to anybody.
    pub async fn logout_by_refresh_token(&self, token: &str, origin: &Origin) -> Result<()> {
        let Some(presented) = RefreshToken::parse(token) else { return Ok(()) };
        let id = presented.session;
        let voided = self
            .db
            .tx("auth.logout", async |tx| {
                let Some(session) = repos::sessions::lock(tx, id).await? else {
                    return Ok(Voided::default());
                };
                if repos::refresh_tokens::find(tx, id, &presented.hash()).await?.is_none() {
                    return Ok(Voided::default());
                }
                self.end_one(tx, session.user_id, id, EndReason::Logout, origin).await
            })
            .await?;
        self.announcer.announce(&voided);
        Ok(())
    }
}

fn invalid() -> Error {
    Error::of(Code::RefreshTokenInvalid)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn row(generation: i32, salt: u8) -> TokenRow {
        TokenRow { generation, salt: vec![salt; 32], used_secs: None }
    }

    #[test]
    fn a_successor_is_the_same_however_often_it_is_derived_and_differs_by_every_input() {
        let (key, id) = (Keyed::derive(&[1; 32], "refresh-token"), SessionId(Uuid::from_u128(9)));
        let token =
            |key: &Keyed, id, row: &TokenRow| RefreshToken::successor(key, id, row).encode();
        let one = token(&key, id, &row(3, 5));
        assert_eq!(one, token(&key, id, &row(3, 5)));
        assert_ne!(one, token(&key, id, &row(4, 5)));
        assert_ne!(one, token(&key, id, &row(3, 6)));
        assert_ne!(one, token(&key, SessionId(Uuid::from_u128(8)), &row(3, 5)));
        assert_ne!(one, token(&Keyed::derive(&[2; 32], "refresh-token"), id, &row(3, 5)));
    }

    #[test]
    fn a_token_survives_encoding_and_garbage_does_not_parse() {
        let token = RefreshToken::first(SessionId(Uuid::from_u128(9)));
        assert_eq!(RefreshToken::parse(&token.encode()).unwrap().hash(), token.hash());
        for garbage in
            ["", "abc", "ä", &"A".repeat(63), &"A".repeat(65), &format!("{}=", token.encode())]
        {
            assert!(RefreshToken::parse(garbage).is_none(), "{garbage}");
        }
    }
}
