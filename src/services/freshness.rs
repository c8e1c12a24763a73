//! What of the catalogue is cached, and what makes it stale: rows in the change feed inside the
//! transaction that writes, this instance's cache right after its commit, the others by the feed.

use chrono::TimeDelta;
use sqlx::PgConnection;
use uuid::Uuid;

use super::auth::announce::Announcer;
use crate::{
    db::on_commit,
    domain::{
        feed::{Change, ChangeKind},
        ids::ProductId,
    },
    error::Result,
    repos,
    shared::{
        cache::{Cache, Scope, Tag},
        feed::News,
    },
    telemetry::metrics as names,
};

/// Carried by whatever shows more than one product: lists show every field, trees count.
pub const LISTS: Tag = Tag::all("lists");

pub fn product_tag(id: ProductId) -> Tag {
    Tag { kind: "product", id: id.0 }
}

#[derive(Clone)]
pub struct Freshness {
    pub cache: Cache,
    announcer: Announcer,
}

impl Freshness {
    pub fn new(cache: Cache, announcer: Announcer) -> Self {
        Self { cache, announcer }
    }

    /// Becomes part of the caller's transaction, after the product was written: so that of two
    /// changes of one product the later has the higher id.
    pub async fn product_changed(
        &self,
        tx: &mut PgConnection,
        id: ProductId,
        revision: i64,
    ) -> Result<()> {
        self.changed(tx, ChangeKind::Product, id.0, revision).await
    }

    /// The same for a transaction that writes many.
    pub async fn everything_changed(&self, tx: &mut PgConnection) -> Result<()> {
        self.changed(tx, ChangeKind::Catalogue, Uuid::nil(), 0).await
    }

    async fn changed(
        &self,
        tx: &mut PgConnection,
        kind: ChangeKind,
        key: Uuid,
        value: i64,
    ) -> Result<()> {
        let ids = repos::feed::append(tx, kind, &[key], value).await?;
        let this = self.clone();
        on_commit(move || {
            ids.iter().for_each(|id| with_scope(kind, key, |all| this.cache.invalidate(*id, all)));
            this.announcer.hint();
        });
        Ok(())
    }

    /// What the feed tells, of this instance and of the others.
    pub fn apply(&self, news: &News) {
        if news.restarted {
            self.cache.restart();
        }
        for Change { id, at, kind, key, .. } in &news.rows {
            let Some(kind @ (ChangeKind::Product | ChangeKind::Catalogue)) =
                ChangeKind::parse(kind)
            else {
                continue;
            };
            with_scope(kind, *key, |scope| self.cache.apply(*id, scope));
            // The first look tells the past hour, and a restore does again: nobody has waited for those.
            let lag = news.now - *at;
            if !news.first && lag < TimeDelta::seconds(30) {
                let lag = lag.to_std().unwrap_or_default();
                metrics::histogram!(names::CACHE_INVALIDATION_LAG).record(lag.as_secs_f64());
            }
        }
    }
}

fn with_scope(kind: ChangeKind, key: Uuid, then: impl FnOnce(Scope<'_>)) {
    match kind {
        ChangeKind::Product => then(Scope::Tags(&[product_tag(ProductId(key)), LISTS])),
        ChangeKind::Catalogue => then(Scope::Everything),
        ChangeKind::Session | ChangeKind::User | ChangeKind::Keys => {}
    }
}
