//! Access tokens: RFC 9068 JWTs, signed with Ed25519, verified once and remembered by digest
//! until they expire, their key goes, or the change feed voids them.

use std::time::Duration;

use jsonwebtoken::{Algorithm, Header, Validation};
use moka::sync::Cache;
use serde::{Deserialize, Serialize};
use serde_json::Value;

use super::{
    keys::Keyring,
    revocations::{Revocations, Void},
};
use crate::{
    config,
    domain::{
        auth::Identity,
        ids::{SessionId, UserId},
        users::Role,
    },
    error::{Code, Error, Result},
    shared::{clock::Clock, crypto, feed::Feed},
};

const TYPE: &str = "at+jwt";
/// Ours have about 600 bytes; what is much longer is not worth decoding.
const MAX_LEN: usize = 4096;
const CACHED: u64 = 50_000;

#[derive(Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct Claims {
    iss: String,
    aud: String,
    sub: UserId,
    sid: SessionId,
    ver: i64,
    role: Role,
    iat: i64,
    exp: i64,
    jti: uuid::Uuid,
}

/// Only these members: `crit`, `jku`, `jwk`, `x5u` and the like are refused, as is a repetition.
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct StrictHeader<'a> {
    alg: &'a str,
    typ: &'a str,
    kid: &'a str,
}

/// A token whose signature and claims were found good.
#[derive(Clone)]
struct Verified {
    identity: Identity,
    kid: String,
    exp: i64,
}

/// A token for a client, and how long it lives.
#[derive(Debug)]
pub struct AccessToken {
    pub token: String,
    pub expires_in: Duration,
}

pub struct Tokens {
    clock: Clock,
    keyring: Keyring,
    revocations: Revocations,
    feed: Feed,
    issuer: String,
    audience: String,
    ttl: Duration,
    leeway: i64,
    validation: Validation,
    verified: Cache<[u8; 32], Verified>,
}

impl Tokens {
    pub fn new(
        clock: Clock,
        keyring: Keyring,
        revocations: Revocations,
        feed: Feed,
        config: &config::Auth,
    ) -> Self {
        let mut validation = Validation::new(Algorithm::EdDSA);
        validation.set_issuer(&[&config.issuer]);
        validation.set_audience(&[&config.audience]);
        validation.set_required_spec_claims(&["exp", "iss", "aud", "sub"]);
        // The time is checked by `fresh`, on the clock that is passed in.
        validation.validate_exp = false;
        Self {
            clock,
            keyring,
            revocations,
            feed,
            issuer: config.issuer.clone(),
            audience: config.audience.clone(),
            ttl: config.access_ttl,
            leeway: config.leeway.as_secs() as i64,
            validation,
            verified: Cache::builder().max_capacity(CACHED).time_to_live(config.access_ttl).build(),
        }
    }

    pub fn issue(&self, identity: &Identity) -> Result<AccessToken> {
        let now = self.clock.now();
        let set = self.keyring.current();
        let key = set.signer(now).ok_or_else(|| Error::unavailable("no signing key is loaded"))?;
        let header = Header {
            typ: Some(TYPE.to_owned()),
            kid: Some(key.kid.clone()),
            ..Header::new(Algorithm::EdDSA)
        };
        let claims = Claims {
            iss: self.issuer.clone(),
            aud: self.audience.clone(),
            sub: identity.user_id,
            sid: identity.session_id,
            ver: identity.version,
            role: identity.role,
            iat: now.timestamp(),
            exp: now.timestamp() + self.ttl.as_secs() as i64,
            jti: self.clock.new_id(),
        };
        let token =
            jsonwebtoken::encode(&header, &claims, &key.encoding).map_err(Error::internal)?;
        Ok(AccessToken { token, expires_in: self.ttl })
    }

    /// Local: no database, no Redis.
    pub fn verify(&self, token: &str) -> Result<Identity> {
        if !self.feed.is_current() {
            return Err(Error::unavailable("the change feed is not current"));
        }
        let digest = crypto::sha256(token.as_bytes());
        let verified = match self.verified.get(&digest) {
            Some(verified) => verified,
            None => self.decode(token)?,
        };
        self.fresh(&verified)?;
        self.verified.entry(digest).or_insert_with(|| verified.clone());
        self.revocations.check(&verified.identity).map_err(|void| match void {
            Void::SessionEnded => invalid(),
            Void::Stale => Error::of(Code::TokenStale),
        })?;
        Ok(verified.identity)
    }

    fn decode(&self, token: &str) -> Result<Verified> {
        if token.len() > MAX_LEN {
            return Err(invalid());
        }
        let head = token.split('.').next().and_then(crypto::from_base64url).ok_or_else(invalid)?;
        let head: StrictHeader<'_> = serde_json::from_slice(&head).map_err(|_| invalid())?;
        if head.typ != TYPE || head.alg != "EdDSA" {
            return Err(invalid());
        }
        let set = self.keyring.current();
        let key = set.verifier(head.kid, self.clock.now()).ok_or_else(invalid)?;
        let claims = jsonwebtoken::decode::<Claims>(token, &key.decoding, &self.validation)
            .map_err(|_| invalid())?
            .claims;
        if claims.iat > self.clock.now().timestamp() + self.leeway {
            return Err(invalid());
        }
        Ok(Verified {
            identity: Identity {
                user_id: claims.sub,
                session_id: claims.sid,
                role: claims.role,
                version: claims.ver,
            },
            kid: key.kid.clone(),
            exp: claims.exp,
        })
    }

    /// What time can change about a token whose signature is good.
    fn fresh(&self, verified: &Verified) -> Result<()> {
        let now = self.clock.now();
        if now.timestamp() > verified.exp + self.leeway {
            return Err(Error::of(Code::TokenExpired));
        }
        match self.keyring.current().verifier(&verified.kid, now) {
            Some(_) => Ok(()),
            None => Err(invalid()),
        }
    }

    pub fn jwks(&self) -> Value {
        self.keyring.current().jwks(self.clock.now())
    }
}

fn invalid() -> Error {
    Error::bad_token()
}
