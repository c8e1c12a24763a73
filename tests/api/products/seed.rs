//! Samples.

use mainstay::domain::audit::Origin;

use super::{TestApp, assert_books_balance};

#[tokio::test]
async fn samples_are_made_once_with_their_stock_and_their_words() {
    let app = TestApp::new().await;
    let origin = Origin::command_line();
    let products = &app.app.services.products;
    assert_eq!(products.seed(700, &origin).await.unwrap(), 700);
    assert_eq!(products.seed(900, &origin).await.unwrap(), 200);
    assert_eq!(products.seed(900, &origin).await.unwrap(), 0);
    assert_eq!(app.count("select count(*) from products").await, 900);
    assert_books_balance(&app).await;
    let page = app.get("/api/v1/products?q=kitchn&limit=1").send().await.expect(200).json();
    assert_eq!(page["data"].as_array().unwrap().len(), 1);
    let told = "select count(*) from audit_events where action = 'catalogue.seeded'";
    assert_eq!(app.count(told).await, 2);
}
