//! The catalogue.

use serde_json::Value;

use super::support::{self, Answer, Person, TestApp};

mod create;
mod lists;
mod plans;
mod read;
mod search;
mod seed;
mod stock;
mod tree;
mod update;

async fn start() -> (TestApp, Person) {
    let app = TestApp::new().await;
    let staff = app.staff("staff").await;
    (app, staff)
}

async fn get(app: &TestApp, product: &Value) -> Answer {
    app.get(&support::products::path(product)).send().await
}

/// The sum of the ledger must be what there is, for every product.
async fn assert_books_balance(app: &TestApp) {
    let off = "select count(*) from products p
        where stock <> coalesce((select sum(delta) from stock_movements where product_id = p.id), 0)";
    assert_eq!(app.count(off).await, 0, "movements that do not add up");
}
