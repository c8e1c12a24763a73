//! Products are added, once each.

use futures_util::future::join_all;
use serde_json::{Value, json};

use super::{assert_books_balance, get, start};
use crate::support::products::{draft, id, path, with};

#[tokio::test]
async fn a_new_product_is_answered_whole_and_is_there_for_everybody() {
    let (app, staff) = start().await;
    let body = with(
        draft("KN-1"),
        json!({
            "name": "  Messer «Größe 20» 包丁 🔪 ",
            "description": "Zeile 1\nZeile 2",
            "category": "home/kitchen/knives",
            "attributes": {"steel": "VG-10", "length_mm": 200, "extremes": [1e100, -1e100, 1e-300, 51.248178375505404, 18446744073709551615u64], "tags": ["new", "裁"]},
        }),
    );
    let answer = app.create_product(&staff, &body).send().await.expect(201);
    let product = answer.json();
    assert_eq!(answer.header("location"), path(&product));
    assert_eq!(answer.header("etag"), "\"1.1\"");
    assert_eq!(product["name"], "Messer «Größe 20» 包丁 🔪");
    assert_eq!(product["price"], json!({"amount": 1999, "currency": "EUR"}));
    assert_eq!((&product["stock"], &product["archived"]), (&json!(10), &json!(false)));
    assert_eq!(product["attributes"], body["attributes"]);
    assert_eq!(product["category"], "home/kitchen/knives");
    assert_eq!(get(&app, &product).await.expect(200).json(), product);
    let audit = "select count(*) from audit_events where action = 'product.created'";
    let event = "select count(*) from outbox_events where type = 'product.created'";
    let feed = "select count(*) from change_feed where kind = 'product'";
    assert_eq!((app.count(audit).await, app.count(event).await, app.count(feed).await), (1, 1, 1));
    assert_books_balance(&app).await;
}

#[tokio::test]
async fn what_may_be_left_out_has_a_default() {
    let (app, staff) = start().await;
    let body = json!({"sku": "A", "name": "A", "category": "a",
                      "price": {"amount": 0, "currency": "JPY"}});
    let product = app.product(&staff, &body).await;
    assert_eq!((&product["stock"], &product["description"]), (&json!(0), &json!("")));
    assert_eq!(product["attributes"], json!({}));
    assert_eq!(app.count("select count(*) from stock_movements").await, 0);
}

#[tokio::test]
async fn every_fault_is_told_with_its_field() {
    let (app, staff) = start().await;
    let long = "x".repeat(10_001);
    let cases = [
        (json!({"sku": "a b"}), "sku", "format"),
        (json!({"sku": ""}), "sku", "format"),
        (json!({"sku": "x".repeat(65)}), "sku", "format"),
        (json!({"sku": 7}), "sku", "type"),
        (json!({"sku": null}), "sku", "type"),
        (json!({"name": " "}), "name", "length"),
        (json!({"name": "語".repeat(201)}), "name", "length"),
        (json!({"name": "a\u{202e}b"}), "name", "characters"),
        (json!({"name": "a\u{0}b"}), "name", "nul"),
        (json!({"description": long}), "description", "length"),
        (json!({"description": "a\u{1}"}), "description", "characters"),
        (json!({"category": "Home"}), "category", "format"),
        (json!({"category": "a//b"}), "category", "format"),
        (json!({"category": "a/b/c/d/e/f/g/h/i"}), "category", "depth"),
        (json!({"price": 1999}), "price", "type"),
        (json!({"price": {"amount": 19.99, "currency": "EUR"}}), "price.amount", "type"),
        (json!({"price": {"amount": -1, "currency": "EUR"}}), "price.amount", "range"),
        (json!({"price": {"amount": i64::MAX, "currency": "EUR"}}), "price.amount", "range"),
        (json!({"price": {"amount": 1, "currency": "eur"}}), "price.currency", "currency"),
        (json!({"price": {"amount": 1}}), "price.currency", "required"),
        (
            json!({"price": {"amount": 1, "currency": "EUR", "vat": 1}}),
            "price.vat",
            "unknown_field",
        ),
        (json!({"stock": -1}), "stock", "range"),
        (json!({"stock": i64::MAX}), "stock", "range"),
        (json!({"stock": 1e300}), "stock", "type"),
        (json!({"attributes": []}), "attributes", "type"),
        (json!({"attributes": {"a": [[[1]]]}}), "attributes", "depth"),
        (json!({"attributes": {"a": "x".repeat(9000)}}), "attributes", "length"),
        (json!({"attributes": {"a": f64::MIN}}), "attributes", "range"),
        (json!({"image_file_id": "x"}), "image_file_id", "unknown_field"),
        (json!({"id": "x"}), "id", "unknown_field"),
    ];
    for (members, field, code) in cases {
        let body = with(draft("KN-1"), members.clone());
        let answer = app.create_product(&staff, &body).send().await;
        let answer = answer.expect_problem(422, "VALIDATION_FAILED");
        let [(found, word)] = &answer.faults()[..] else { panic!("{members}: {answer:?}") };
        assert_eq!((found.as_str(), word.as_str()), (field, code), "{members}");
        let message = answer.json()["errors"][0]["message"].to_string();
        assert!(!message.contains("struct") && !message.contains("i64"), "{members}: {message}");
    }
    let bad = with(draft(""), json!({"name": "", "category": "", "stock": -1}));
    let answer = app.create_product(&staff, &bad).send().await.expect(422);
    let fields: Vec<_> = answer.faults().into_iter().map(|fault| fault.0).collect();
    assert_eq!(fields, ["sku", "name", "category", "stock"]);
    assert_eq!(app.count("select count(*) from products").await, 0);
    assert_eq!(app.count("select count(*) from categories").await, 0);
}

#[tokio::test]
async fn a_sku_is_taken_once_however_many_try() {
    let (app, staff) = start().await;
    let body = draft("KN-1");
    let all = join_all((0..10).map(|_| app.create_product(&staff, &body).send())).await;
    let (made, refused): (Vec<_>, Vec<_>) = all.into_iter().partition(|it| it.status == 201);
    assert_eq!((made.len(), refused.len()), (1, 9));
    for answer in refused {
        answer.expect_problem(409, "SKU_TAKEN");
    }
    let product = made[0].json();
    app.call("DELETE", &path(&product)).bearer(&staff.access).send().await.expect(204);
    app.create_product(&staff, &body).send().await.expect_problem(409, "SKU_TAKEN");
    assert_eq!(app.count("select count(*) from stock_movements").await, 1);
}

#[tokio::test]
async fn products_that_name_new_categories_at_once_share_them() {
    let (app, staff) = start().await;
    let bodies: Vec<Value> = (0..12)
        .map(|n| with(draft(&format!("P-{n}")), json!({"category": format!("a/b/c{}", n % 3)})))
        .collect();
    for answer in join_all(bodies.iter().map(|body| app.create_product(&staff, body).send())).await
    {
        answer.expect(201);
    }
    let paths = "select path from categories order by path";
    let paths: Vec<String> = sqlx::query_scalar(paths).fetch_all(&app.pool).await.unwrap();
    assert_eq!(paths, ["a", "a/b", "a/b/c0", "a/b/c1", "a/b/c2"]);
    let orphans = "select count(*) from categories c join categories p on p.id = c.parent_id
        where c.path not like p.path || '/%'";
    assert_eq!(app.count(orphans).await, 0);
}

#[tokio::test]
async fn a_repetition_under_a_key_makes_no_second_product() {
    let (app, staff) = start().await;
    let create = |sku: &str| {
        let body = draft(sku);
        app.create_product(&staff, &body).header("idempotency-key", "k").send()
    };
    let first = create("KN-1").await.expect(201);
    let again = create("KN-1").await.expect(201);
    assert_eq!(again.header("idempotent-replayed"), "true");
    for name in ["etag", "location", "content-type"] {
        assert_eq!(first.header(name), again.header(name));
    }
    assert_eq!(first.body, again.body);
    create("KN-2").await.expect_problem(422, "IDEMPOTENCY_KEY_REUSED");
    assert_eq!(app.count("select count(*) from products").await, 1);
    // A refusal that would come again is remembered too, and nothing of the attempt remains.
    let body = with(draft("KN-1"), json!({"category": "never/made"}));
    for replayed in ["", "true"] {
        let call = app.create_product(&staff, &body).header("idempotency-key", "taken");
        let refused = call.send().await.expect(409);
        assert_eq!(refused.json()["code"], "SKU_TAKEN");
        assert_eq!(refused.header("idempotent-replayed"), replayed);
    }
    assert_eq!(app.count("select count(*) from categories where path like 'never%'").await, 0);
    assert!(!id(&first.json()).is_empty());
}
