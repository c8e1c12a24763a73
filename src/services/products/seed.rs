//! Sample products, for development and for measuring.

use futures_util::{StreamExt, TryStreamExt, stream};
use serde_json::json;

use super::Products;
use crate::{
    domain::{
        audit::{Action, NewAuditEvent, Origin, Target},
        products::{NewProduct, sample},
    },
    error::{Error, Result},
    repos::{self, products::seed::Row},
    services::categories,
};

/// Rows of one transaction.
const BATCH: u64 = 500;
/// Transactions side by side: one of them keeps a core busy with indexes.
const AT_ONCE: usize = 2;

impl Products {
    /// The first `count` samples, but for those that are there already; returns how many it made.
    /// Nobody is told of each: instances learn that lists have changed.
    pub async fn seed(&self, count: u64, origin: &Origin) -> Result<u64> {
        let batches = (0..count).step_by(BATCH as usize);
        let batches = batches.map(|from| self.seed_batch(from..count.min(from + BATCH)));
        let made = stream::iter(batches).buffer_unordered(AT_ONCE);
        let made = made.try_fold(0, async |sum, made| Ok(sum + made)).await?;
        if made > 0 {
            self.finish_seed(made, origin).await?;
        }
        Ok(made)
    }

    async fn seed_batch(&self, numbers: std::ops::Range<u64>) -> Result<u64> {
        let drafts = numbers.map(sample::sample);
        let checked = drafts.map(|it| Ok((NewProduct::check(it.draft.clone())?, it)));
        let checked = checked.collect::<Result<Vec<_>>>()?;
        self.db
            .tx("products.seed", async |tx| {
                let paths = checked.iter().map(|(product, _)| &product.category);
                let known = categories::ensure_all(tx, &self.clock, paths).await?;
                let rows = checked.into_iter().map(|(product, sample)| {
                    let category = known.get(product.category.as_str()).copied();
                    let category =
                        category.ok_or_else(|| Error::internal("a category was not made"))?;
                    Ok(Row { sample, product, category })
                });
                let rows = rows.collect::<Result<Vec<_>>>()?;
                repos::products::seed::insert_samples(tx, &rows).await
            })
            .await
    }

    async fn finish_seed(&self, made: u64, origin: &Origin) -> Result<()> {
        self.db
            .tx("products.seed", async |tx| {
                let event = NewAuditEvent {
                    actor: None,
                    action: Action::CatalogueSeeded,
                    target: Target { kind: "catalogue", id: None },
                    details: json!({"products": made}),
                };
                self.audit.record(tx, event, origin).await?;
                self.freshness.everything_changed(tx).await
            })
            .await?;
        let mut conn = self.db.connect().await?;
        repos::products::seed::tidy(&mut conn).await
    }
}
