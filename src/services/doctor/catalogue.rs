//! Whether the catalogue is consistent.

use super::{Doctor, Verdict};
use crate::repos;

/// Every unit of stock was booked.
pub async fn stock(it: &Doctor) -> Verdict {
    let mut conn = match it.connect().await {
        Ok(conn) => conn,
        Err(unknown) => return unknown,
    };
    match repos::products::books::audit(&mut conn).await {
        Err(_) => Verdict::warn("not known", "apply the migrations"),
        Ok(books) => match books.example {
            None => Verdict::ok(format!("movements add up, of {} products", books.products)),
            Some(example) => Verdict::fail(
                format!(
                    "of {} products {} have other stock than their movements add up to, one is {example}",
                    books.products, books.off
                ),
                "count what is there; something wrote products.stock past the ledger: insert the \
                 missing stock_movements, or correct products.stock, in SQL",
            ),
        },
    }
}
