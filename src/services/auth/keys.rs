//! Signing keys: always one that signs, one published that signs next, and those before, which
//! are honoured until the last token they signed has expired.

use std::{
    sync::{Arc, RwLock},
    time::Duration,
};

use aws_lc_rs::{
    rand::SystemRandom,
    signature::{Ed25519KeyPair, KeyPair as _},
};
use chrono::{DateTime, Utc};
use jsonwebtoken::{DecodingKey, EncodingKey};
use serde_json::{Value, json};
use sqlx::PgConnection;

use crate::{
    config,
    db::Db,
    domain::{
        audit::{Action, NewAuditEvent, Origin, Target},
        feed::ChangeKind,
    },
    error::{Code, Error, Result},
    repos::{self, keys::KeyRow},
    services::audit::AuditTrail,
    shared::crypto::{self, Keyed},
};

/// The keys of one moment.
#[derive(Default)]
pub struct KeySet {
    keys: Vec<SigningKey>,
}

pub struct SigningKey {
    pub kid: String,
    pub encoding: EncodingKey,
    pub decoding: DecodingKey,
    x: String,
    activates_at: Option<DateTime<Utc>>,
    expires_at: Option<DateTime<Utc>>,
}

impl KeySet {
    /// The newest key whose turn has come.
    pub fn signer(&self, now: DateTime<Utc>) -> Option<&SigningKey> {
        let active = |key: &&SigningKey| key.activates_at.is_some_and(|at| at <= now);
        let newest = self.keys.iter().rev().filter(active).find(|key| key.expires_at.is_none());
        // Until a scheduled successor has its turn, the one before it signs on.
        newest.or_else(|| self.keys.iter().rev().find(active))
    }

    /// A key by id, unless its time is over.
    pub fn verifier(&self, kid: &str, now: DateTime<Utc>) -> Option<&SigningKey> {
        self.keys.iter().find(|key| key.kid == kid && key.expires_at.is_none_or(|at| at > now))
    }

    /// RFC 7517, RFC 8037.
    pub fn jwks(&self, now: DateTime<Utc>) -> Value {
        let public = |key: &SigningKey| json!({"kty": "OKP", "crv": "Ed25519", "x": key.x, "kid": key.kid, "use": "sig", "alg": "EdDSA"});
        let valid = self.keys.iter().filter(|key| key.expires_at.is_none_or(|at| at > now));
        json!({ "keys": valid.map(public).collect::<Vec<_>>() })
    }
}

/// How to rotate.
#[derive(Debug, Default)]
pub struct Rotation {
    /// Sign with the next key at once, although verifiers elsewhere may not have seen it.
    pub now: bool,
    /// Also void everything that this retired (or by this rotation retiring) key has signed.
    pub remove: Option<String>,
}

/// What a rotation did.
#[derive(Debug)]
pub struct Rotated {
    pub kid: String,
    pub signs_from: DateTime<Utc>,
}

#[derive(Clone)]
pub struct Keyring {
    db: Db,
    audit: AuditTrail,
    set: Arc<RwLock<Arc<KeySet>>>,
    seal: Arc<Keyed>,
    /// How long verifiers may keep the published set.
    publish: Duration,
    /// How long a retired key is honoured: the life of a token and of a cached set.
    overlap: Duration,
}

impl Keyring {
    pub fn new(db: Db, audit: AuditTrail, config: &config::Auth) -> Self {
        Self {
            db,
            audit,
            set: Arc::default(),
            seal: Arc::new(Keyed::derive(config.master_key.bytes(), "signing-keys")),
            publish: config.jwks_max_age,
            overlap: config.access_ttl + config.leeway + config.jwks_max_age,
        }
    }

    pub fn current(&self) -> Arc<KeySet> {
        self.set.read().unwrap_or_else(|poisoned| poisoned.into_inner()).clone()
    }

    /// Reads the set from the database.
    pub async fn reload(&self) -> Result<()> {
        let rows = self.db.read("keys.list", async |conn| repos::keys::list(conn).await).await?;
        let keys = rows.into_iter().map(|row| self.open(row)).collect::<Result<_>>()?;
        let set = Arc::new(KeySet { keys });
        *self.set.write().unwrap_or_else(|poisoned| poisoned.into_inner()) = set;
        Ok(())
    }

    /// Sees to it that one key signs and one waits, once over all instances that start together.
    pub async fn ensure(&self) -> Result<()> {
        self.db
            .tx("keys.ensure", async |tx| {
                repos::keys::lock(tx).await?;
                let keys = repos::keys::list(tx).await?;
                if !keys.iter().any(|key| key.activates_at.is_some() && key.expires_at.is_none()) {
                    self.generate(tx, true).await?;
                }
                if !keys.iter().any(|key| key.activates_at.is_none()) {
                    self.generate(tx, false).await?;
                }
                Ok(())
            })
            .await
    }

    /// The waiting key begins to sign once every verifier can know it, or at once when `how` says
    /// so; a new one takes its place. No token in use becomes invalid, but for those of a key
    /// that is removed.
    pub async fn rotate(&self, how: &Rotation, origin: &Origin) -> Result<Rotated> {
        self.db
            .tx("keys.rotate", async |tx| {
                repos::keys::lock(tx).await?;
                repos::keys::reap(tx).await?;
                let rotated = self.take_turn(tx, how).await?;
                if let Some(kid) = &how.remove
                    && !repos::keys::remove(tx, kid).await?
                {
                    return Err(Error::new(
                        Code::Conflict,
                        "the key to remove is not a retired one",
                    ));
                }
                let details = json!({
                    "kid": rotated.kid, "signs_from": rotated.signs_from, "removed": how.remove,
                });
                self.tell(tx, details, origin).await?;
                Ok(rotated)
            })
            .await
    }

    async fn take_turn(&self, tx: &mut PgConnection, how: &Rotation) -> Result<Rotated> {
        // Without the removed key somebody must sign at once.
        let at_once = how.now || how.remove.is_some();
        let publish = if at_once { Duration::ZERO } else { self.publish };
        let next = repos::keys::activate_next(tx, publish.as_secs_f64()).await?;
        let (kid, at) = next.ok_or_else(|| Error::internal("no key waits for its turn"))?;
        repos::keys::retire_before(tx, &kid, at, self.overlap.as_secs_f64()).await?;
        self.generate(tx, false).await?;
        Ok(Rotated { kid, signs_from: at })
    }

    async fn tell(&self, tx: &mut PgConnection, details: Value, origin: &Origin) -> Result<()> {
        repos::feed::append(tx, ChangeKind::Keys, &[uuid::Uuid::nil()], 0).await?;
        let target = Target { kind: "signing_keys", id: None };
        let event = NewAuditEvent { actor: None, action: Action::KeysRotated, target, details };
        self.audit.record(tx, event, origin).await
    }

    async fn generate(&self, tx: &mut PgConnection, active: bool) -> Result<()> {
        let fault = |_| Error::internal("an Ed25519 key could not be made");
        // jsonwebtoken reads PKCS#8 version 1 only.
        let pkcs8 = Ed25519KeyPair::generate_pkcs8v1(&SystemRandom::new()).map_err(fault)?;
        let pair = Ed25519KeyPair::from_pkcs8(pkcs8.as_ref())
            .map_err(|_| Error::internal("a fresh key could not be read"))?;
        let public = pair.public_key().as_ref();
        let kid = crypto::to_base64url(&crypto::sha256(public)[..12]);
        let sealed = self.seal.seal(kid.as_bytes(), pkcs8.as_ref());
        repos::keys::insert(tx, &kid, public, &sealed, active).await
    }

    fn open(&self, row: KeyRow) -> Result<SigningKey> {
        let pkcs8 = self.seal.open(row.kid.as_bytes(), &row.private_key).ok_or_else(|| {
            Error::internal("a signing key cannot be opened: was auth.master_key changed?")
        })?;
        let x = crypto::to_base64url(&row.public_key);
        Ok(SigningKey {
            encoding: EncodingKey::from_ed_der(&pkcs8),
            decoding: DecodingKey::from_ed_components(&x).map_err(Error::internal)?,
            x,
            kid: row.kid,
            activates_at: row.activates_at,
            expires_at: row.expires_at,
        })
    }
}
