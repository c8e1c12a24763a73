//! Stock: moved by bookings, each of which is written down.

use serde_json::json;
use sqlx::PgConnection;

use super::{Products, Told, archived};
use crate::{
    domain::{
        audit::{Action, Origin},
        auth::Identity,
        events::EventType,
        idempotency::Outcome,
        ids::ProductId,
        products::{Adjustment, Product},
    },
    error::{Error, Result},
    repos,
    services::idempotency::Answer,
};

impl Products {
    /// Whether enough is left is decided by a constraint, so by whoever comes first.
    pub async fn adjust_stock(
        &self,
        actor: &Identity,
        id: ProductId,
        adjustment: &Adjustment,
        outcome: &Outcome<Product>,
        origin: &Origin,
    ) -> Result<Answer> {
        let work = async |tx: &mut PgConnection| {
            let (movement, by) = (self.clock.new_id(), Some(actor.user_id));
            let adjusted = repos::products::adjust(tx, id, adjustment, movement, by).await?;
            let Some(product) = adjusted else {
                return Err(match repos::products::find(tx, id).await? {
                    Some(_) => archived(),
                    None => Error::not_found(),
                });
            };
            let delta = adjustment.delta;
            let told = Told {
                actor,
                origin,
                event: EventType::ProductStockAdjusted,
                payload: json!({"delta": delta, "stock": product.stock}),
                action: Action::StockAdjusted,
                details: json!({"delta": delta, "reason": adjustment.reason.as_str()}),
            };
            self.tell(tx, id, product.revision(), told).await?;
            Ok(product)
        };
        self.once.tx("products.adjust_stock", outcome, work).await
    }
}
