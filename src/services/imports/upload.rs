//! Staging a file: what comes is cut into pieces and stored at once, so that memory never holds
//! more than one of them.

use sqlx::PgConnection;

use super::Imports;
use crate::{
    domain::{
        audit::{Action, Origin},
        auth::Identity,
        idempotency::{Fingerprint, Key, in_progress},
        ids::ImportId,
        imports::{Failure, Head, Import, ImportState, MAX_HEAD, Options, interrupted},
        jobs::ImportProducts,
    },
    error::{Code, Error, Result},
    repos::{self, imports::Claim},
    shared::crypto::Sha256,
};

/// Of the pieces in which a file is staged.
const PIECE: usize = 256 * 1024;

pub enum Begun {
    Upload(Upload),
    Known(Box<Known>),
}

/// What the user made under the same key, if the file is the same too.
pub struct Known {
    import: Import,
    /// Of an import that a former release made, only the length is known.
    digest: Option<Vec<u8>>,
    seen: Sha256,
    length: i64,
}

/// An import whose file is on its way. It ends with `finish` or `abandon`; otherwise it is reaped.
pub struct Upload {
    imports: Imports,
    id: ImportId,
    options: Options,
    head: Option<Head>,
    /// Where in the text `buffer` begins.
    at: u64,
    buffer: Vec<u8>,
    seen: Sha256,
}

impl Imports {
    /// Begins an upload, unless one was made under the key.
    pub async fn begin(
        &self,
        actor: &Identity,
        options: Options,
        claim: Option<&(Key, Fingerprint)>,
    ) -> Result<Begun> {
        let id = ImportId(self.0.clock.new_id());
        let claim = claim.map(|(key, fingerprint)| Claim { key, fingerprint });
        let known = self
            .0
            .db
            .tx("imports.begin", async |tx| {
                let user = actor.user_id;
                while !repos::imports::insert(tx, id, user, options, claim.as_ref()).await? {
                    if let Some(known) = self.known(tx, actor, claim.as_ref()).await? {
                        return Ok(Some(known));
                    }
                }
                Ok(None)
            })
            .await?;
        match known {
            Some(known) => Ok(Begun::Known(Box::new(known))),
            None => Ok(Begun::Upload(Upload {
                imports: self.clone(),
                id,
                options,
                head: None,
                at: 0,
                buffer: Vec::with_capacity(PIECE),
                seen: Sha256::default(),
            })),
        }
    }

    /// The import that has the key; `None` when the key is free now.
    async fn known(
        &self,
        tx: &mut PgConnection,
        actor: &Identity,
        claim: Option<&Claim<'_>>,
    ) -> Result<Option<Known>> {
        let Some(claim) = claim else { return Ok(None) };
        let settings = self.settings();
        let Some((id, fingerprint)) =
            repos::imports::find_by_key(tx, actor.user_id, claim.key).await?
        else {
            return Ok(None);
        };
        let idle = settings.abandoned_after();
        if repos::imports::free_key(tx, id, settings.key_ttl, idle).await? {
            return Ok(None);
        }
        if fingerprint != *claim.fingerprint {
            return Err(Error::of(Code::IdempotencyKeyReused));
        }
        let digest = repos::imports::digest(tx, id).await?;
        match repos::imports::find(tx, id).await? {
            Some(import) if import.state == ImportState::Uploading => Err(in_progress()),
            import => Ok(import.map(|import| Known::new(import, digest))),
        }
    }
}

impl Known {
    fn new(import: Import, digest: Option<Vec<u8>>) -> Self {
        Self { import, digest, seen: Sha256::default(), length: 0 }
    }

    /// Looks at what has come of the text.
    pub fn compare(&mut self, bytes: &[u8]) -> Result<()> {
        self.seen.update(bytes);
        self.length += bytes.len() as i64;
        match self.length > self.import.bytes_total {
            true => Err(Error::of(Code::IdempotencyKeyReused)),
            false => Ok(()),
        }
    }

    /// The file has come whole.
    pub fn finish(self) -> Result<Import> {
        let seen = self.seen.finish();
        let same = self.digest.is_none_or(|digest| digest == seen);
        match same && self.length == self.import.bytes_total {
            true => Ok(self.import),
            false => Err(Error::of(Code::IdempotencyKeyReused)),
        }
    }
}

impl Upload {
    /// Takes what has come of the text.
    pub async fn write(&mut self, mut bytes: &[u8]) -> Result<()> {
        let longest = self.imports.settings().max_bytes;
        if self.at + (self.buffer.len() + bytes.len()) as u64 > longest {
            return Err(Error::of(Code::PayloadTooLarge));
        }
        self.seen.update(bytes);
        while !bytes.is_empty() {
            let (piece, rest) = bytes.split_at(bytes.len().min(PIECE - self.buffer.len()));
            self.buffer.extend_from_slice(piece);
            bytes = rest;
            // As early as it can be known: nobody should send a gigabyte to hear of a column.
            if self.head.is_none() && (self.buffer.contains(&b'\n') || self.buffer.len() > MAX_HEAD)
            {
                self.head = Head::read(&self.buffer, false)?;
            }
            if self.buffer.len() == PIECE {
                self.store().await?;
            }
        }
        Ok(())
    }

    async fn store(&mut self) -> Result<()> {
        let (id, at, data) = (self.id, self.at, self.buffer.as_slice());
        let append = async |conn: &mut PgConnection| {
            repos::imports::chunks::append(conn, id, at, data).await
        };
        if !self.imports.0.db.autocommit("imports.stage", append).await? {
            return Err(interrupted());
        }
        self.at += self.buffer.len() as u64;
        self.buffer.clear();
        Ok(())
    }

    /// The file is whole: from here on a job has it.
    pub async fn finish(&mut self, actor: &Identity, origin: &Origin) -> Result<Import> {
        if self.head.is_none() {
            self.head = Head::read(&self.buffer, true)?;
        }
        let head =
            self.head.take().ok_or_else(|| Error::internal("a whole file without a head"))?;
        if !self.buffer.is_empty() {
            self.store().await?;
        }
        let digest = std::mem::take(&mut self.seen).finish();
        let (id, imports) = (self.id, &self.imports);
        let queue = async |tx: &mut PgConnection| {
            let job = imports.0.jobs.enqueue(tx, &ImportProducts { import: id }, origin).await?;
            if !repos::imports::queue(tx, id, &head, &digest, job).await? {
                return Err(interrupted());
            }
            imports.told(tx, id, actor.user_id, Action::ImportStarted, origin).await?;
            repos::imports::find(tx, id).await?.ok_or_else(Error::not_found)
        };
        imports.0.db.tx("imports.queue", queue).await
    }

    /// The file does not come to its end, or is refused. Its key may be used again.
    pub async fn abandon(&self, why: &Error) {
        let fields = why.fields().first();
        let failure = Failure::new(
            fields.map_or("upload_interrupted", |fault| &fault.code),
            fields.map_or_else(|| why.detail().to_owned(), |fault| fault.message.clone().into()),
        );
        let (id, db) = (self.id, &self.imports.0.db);
        let finish = async |conn: &mut PgConnection| {
            repos::imports::finish(conn, id, ImportState::Failed, Some(&failure), true).await
        };
        let ended = db.autocommit("imports.abandon", finish).await;
        let removed = match ended {
            Ok(_) => self.imports.remove_chunks(id).await,
            Err(error) => Err(error),
        };
        if let Err(error) = removed {
            tracing::debug!(error = error.chain(), import = %id, "an upload is left to the reaper");
        }
    }

    pub fn options(&self) -> Options {
        self.options
    }
}
