//! Stock is moved by bookings, and never below zero.

use futures_util::future::join_all;
use serde_json::json;

use super::{assert_books_balance, get, start};
use crate::support::products::{draft, path, with};

#[tokio::test]
async fn a_booking_moves_stock_and_is_written_down() {
    let (app, staff) = start().await;
    let product = app.product(&staff, &draft("KN-1")).await;
    let answer = app.adjustment(&staff, &product, -4).send().await.expect(200);
    assert_eq!((answer.header("etag"), &answer.json()["stock"]), ("\"1.2\"", &json!(6)));
    let ledger =
        "select kind || ' ' || delta || ' ' || reason from stock_movements order by at, id";
    let ledger: Vec<String> = sqlx::query_scalar(ledger).fetch_all(&app.pool).await.unwrap();
    assert_eq!(ledger, ["initial 10 initial stock", "adjustment -4 counted"]);
    let told = "select count(*) from outbox_events where type = 'product.stock_adjusted'
        and payload @> '{\"delta\": -4, \"stock\": 6}'";
    let audit = "select count(*) from audit_events where action = 'product.stock_adjusted'
        and details @> '{\"delta\": -4, \"reason\": \"counted\"}'";
    assert_eq!((app.count(told).await, app.count(audit).await), (1, 1));
    assert_books_balance(&app).await;
}

#[tokio::test]
async fn of_many_at_once_as_many_get_some_as_there_are() {
    let (app, staff) = start().await;
    let product = app.product(&staff, &draft("KN-1")).await;
    let all = join_all((0..40).map(|_| app.adjustment(&staff, &product, -1).send())).await;
    let taken = all.iter().filter(|answer| answer.status == 200).count();
    assert_eq!(taken, 10);
    for answer in all.into_iter().filter(|answer| !matches!(answer.status.as_u16(), 200 | 503)) {
        answer.expect_problem(409, "OUT_OF_STOCK");
    }
    assert_eq!(get(&app, &product).await.json()["stock"], 0);
    assert_eq!(app.count("select count(*) from stock_movements").await, 11);
    assert_books_balance(&app).await;
}

#[tokio::test]
async fn a_booking_under_a_key_is_made_once_and_its_refusal_is_final() {
    let (app, staff) = start().await;
    let product = app.product(&staff, &with(draft("KN-1"), json!({"stock": 3}))).await;
    let book = |key: &'static str, delta| {
        app.adjustment(&staff, &product, delta).header("idempotency-key", key).send()
    };
    let first = book("a", -2).await.expect(200);
    let again = book("a", -2).await.expect(200);
    assert_eq!((&first.body, again.header("idempotent-replayed")), (&again.body, "true"));
    book("b", -2).await.expect_problem(409, "OUT_OF_STOCK");
    book("c", 5).await.expect(200);
    let still = book("b", -2).await.expect(409);
    assert_eq!(still.json()["code"], "OUT_OF_STOCK");
    assert_eq!(still.header("idempotent-replayed"), "true");
    assert_eq!(get(&app, &product).await.json()["stock"], 6);
    assert_books_balance(&app).await;
}

#[tokio::test]
async fn what_is_no_booking_is_refused_with_its_fields() {
    let (app, staff) = start().await;
    let product = app.product(&staff, &draft("KN-1")).await;
    let at = format!("{}/stock-adjustments", path(&product));
    for (body, field) in [
        (json!({"delta": 0, "reason": "x"}), "delta"),
        (json!({"delta": 1.5, "reason": "x"}), "delta"),
        (json!({"delta": i64::MAX, "reason": "x"}), "delta"),
        (json!({"delta": i64::MIN, "reason": "x"}), "delta"),
        (json!({"delta": 1, "reason": ""}), "reason"),
        (json!({"delta": 1, "reason": "a\nb"}), "reason"),
        (json!({"delta": 1}), "reason"),
        (json!({"reason": "x"}), "delta"),
        (json!({"delta": 1, "reason": "x", "stock": 1}), "stock"),
    ] {
        let answer = app.post(&at).bearer(&staff.access).json(&body).send().await;
        let faults = answer.expect_problem(422, "VALIDATION_FAILED").faults();
        assert_eq!(faults[0].0, field, "{body}");
    }
    let nowhere = "/api/v1/products/0193f0a2-6f3a-7c51-9d0e-2b7a4c5d6e7f/stock-adjustments";
    let call = app.post(nowhere).bearer(&staff.access).json(&json!({"delta": 1, "reason": "x"}));
    call.send().await.expect_problem(404, "NOT_FOUND");
    assert_books_balance(&app).await;
}

#[tokio::test]
async fn there_is_a_most_that_a_product_can_have() {
    let (app, staff) = start().await;
    let product = app.product(&staff, &draft("KN-1")).await;
    app.execute("update products set stock = 1000000000000").await;
    let answer = app.adjustment(&staff, &product, 1).send().await;
    let faults = answer.expect_problem(422, "VALIDATION_FAILED").faults();
    assert_eq!(faults[0].0, "delta");
}

#[tokio::test]
async fn a_movement_of_stock_changes_no_index() {
    let (app, staff) = start().await;
    let product = app.product(&staff, &draft("KN-1")).await;
    for _ in 0..20 {
        app.adjustment(&staff, &product, 1).send().await.expect(200);
    }
    let hot = "select (n_tup_hot_upd * 100 / greatest(n_tup_upd, 1))::bigint
        from pg_stat_user_tables where relname = 'products' and n_tup_upd >= 20";
    crate::support::eventually("the statistics are there", async || {
        let hot: Option<i64> = sqlx::query_scalar(hot).fetch_optional(&app.pool).await.unwrap();
        hot == Some(100)
    })
    .await;
}
