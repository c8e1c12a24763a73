//! Telling every instance that a product changed: rows in the change feed inside the transaction
//! and, after its commit, a hint to look.

use sqlx::PgConnection;
use uuid::Uuid;

use super::Products;
use crate::{
    db::on_commit,
    domain::{feed::ChangeKind, ids::ProductId},
    error::Result,
    repos,
};

impl Products {
    /// Becomes part of the caller's transaction. Lists show every field, so they change as well.
    pub(super) async fn announce(
        &self,
        tx: &mut PgConnection,
        id: ProductId,
        revision: i64,
    ) -> Result<()> {
        let rows = [(ChangeKind::Product, id.0, revision), (ChangeKind::Catalogue, Uuid::nil(), 0)];
        repos::feed::append_each(tx, &rows).await?;
        let announcer = self.announcer.clone();
        on_commit(move || announcer.hint());
        Ok(())
    }
}
