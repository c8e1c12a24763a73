//! Products are changed by whoever says what they have read.

use futures_util::future::join_all;
use serde_json::json;
use sqlx::{Connection, Executor, PgConnection};

use super::{get, start};
use crate::support::{
    eventually,
    products::{draft, path, with},
};

#[tokio::test]
async fn a_writer_says_what_was_read_and_stock_does_not_matter() {
    let (app, staff) = start().await;
    let product = app.product(&staff, &draft("KN-1")).await;
    let call = app.call("PATCH", &crate::support::products::path(&product));
    let patch = json!({"price": {"amount": 1799, "currency": "USD"}});
    let blind = call.bearer(&staff.access).json(&patch).send().await;
    blind.expect_problem(428, "PRECONDITION_REQUIRED");
    for tag in ["\"2.1\"", "\"1\"", "W/\"1.1\"", "1.1", "\"\""] {
        let answer = app.patch_product(&staff, &product, tag, &patch).await;
        answer.expect_problem(412, "PRECONDITION_FAILED");
    }
    app.adjustment(&staff, &product, 5).send().await.expect(200);
    let answer = app.patch_product(&staff, &product, "\"1.1\"", &patch).await.expect(200);
    assert_eq!(answer.header("etag"), "\"2.2\"");
    let after = answer.json();
    assert_eq!((&after["price"], &after["stock"]), (&patch["price"], &json!(15)));
    assert_eq!(after["name"], product["name"]);
    assert_eq!(get(&app, &product).await.json(), after);
}

#[tokio::test]
async fn every_field_can_be_changed_and_what_is_null_stays() {
    let (app, staff) = start().await;
    let product = app.product(&staff, &draft("KN-1")).await;
    let patch = json!({
        "sku": "KN-2", "name": "New", "description": "Text", "category": "garden/tools",
        "price": {"amount": 1, "currency": "CHF"}, "attributes": {"a": 1},
    });
    let after = app.patch_product(&staff, &product, "*", &patch).await.expect(200).json();
    for (field, value) in patch.as_object().unwrap() {
        assert_eq!(&after[field], value);
    }
    let nothing = json!({"sku": null, "name": null, "category": null, "price": null,
                         "description": null, "attributes": null});
    let same = app.patch_product(&staff, &product, "*", &nothing).await.expect(200);
    assert_eq!((same.header("etag"), same.json()), ("\"2.1\"", after));
    let events = "select count(*) from outbox_events where type = 'product.updated'";
    assert_eq!(app.count(events).await, 1);
}

#[tokio::test]
async fn of_a_hundred_writers_with_one_tag_exactly_one_wins() {
    for writers in [30, 100] {
        let (app, staff) = start().await;
        let product = app.product(&staff, &draft("KN-1")).await;
        let patches: Vec<_> = (0..writers).map(|n| json!({"name": format!("By {n}")})).collect();
        let write = patches.iter().map(|it| app.patch_product(&staff, &product, "\"1.1\"", it));
        let answers = join_all(write).await;
        let won: Vec<_> = answers.iter().filter(|it| it.status == 200).collect();
        assert_eq!(won.len(), 1);
        let refused = answers.iter().filter(|it| it.status == 412).count();
        let shed = answers.iter().filter(|it| it.status == 503).count();
        assert_eq!(refused + shed, writers - 1);
        assert_eq!(get(&app, &product).await.json(), won[0].json());
    }
}

#[tokio::test]
async fn who_waits_while_a_product_moves_to_a_new_category_finds_it_there() {
    let (app, staff) = start().await;
    let product = app.product(&staff, &draft("KN-1")).await;
    let mut other = PgConnection::connect_with(&app.pool.connect_options()).await.unwrap();
    let moves = "begin;
        insert into categories (id, path) values (gen_random_uuid(), 'new');
        update products set version = version + 1,
            category_id = (select id from categories where path = 'new')";
    other.execute(moves).await.unwrap();
    let waiting = "select count(*) from pg_stat_activity
        where datname = current_database() and wait_event_type = 'Lock'";
    let commit = async {
        eventually("two wait", async || app.count(waiting).await == 2).await;
        other.execute("commit").await.unwrap();
    };
    let patch = json!({"name": "Patched"});
    let patched = app.patch_product(&staff, &product, "*", &patch);
    let (patched, booked, ()) =
        tokio::join!(patched, app.adjustment(&staff, &product, 1).send(), commit);
    assert_eq!(patched.expect(200).json()["category"], "new");
    assert_eq!(booked.expect(200).json()["category"], "new");
    assert_eq!(get(&app, &product).await.header("etag"), "\"3.2\"");
}

#[tokio::test]
async fn an_archiver_that_waits_for_a_move_finds_the_product() {
    let (app, staff) = start().await;
    let product = app.product(&staff, &draft("KN-1")).await;
    let mut other = PgConnection::connect_with(&app.pool.connect_options()).await.unwrap();
    let moves = "begin;
        update products set category_id = (select id from categories where path = 'home')";
    other.execute(moves).await.unwrap();
    let waiting = "select count(*) from pg_stat_activity
        where datname = current_database() and wait_event_type = 'Lock'";
    let commit = async {
        eventually("one waits", async || app.count(waiting).await == 1).await;
        other.execute("commit").await.unwrap();
    };
    let archive = app.call("DELETE", &path(&product)).bearer(&staff.access).send();
    let (archived, ()) = tokio::join!(archive, commit);
    archived.expect(204);
}

#[tokio::test]
async fn what_cannot_be_patched_is_refused_with_its_field() {
    let (app, staff) = start().await;
    let product = app.product(&staff, &draft("KN-1")).await;
    for (patch, field, code) in [
        (json!({"stock": 5}), "stock", "unknown_field"),
        (json!({"archived": true}), "archived", "unknown_field"),
        (json!({"name": ""}), "name", "length"),
        (json!({"category": "x/"}), "category", "format"),
        (json!({"price": {"amount": 5}}), "price.currency", "required"),
        (json!({"attributes": {"": 1}}), "attributes", "name"),
    ] {
        let answer = app.patch_product(&staff, &product, "*", &patch).await;
        let faults = answer.expect_problem(422, "VALIDATION_FAILED").faults();
        assert_eq!((faults[0].0.as_str(), faults[0].1.as_str()), (field, code), "{patch}");
    }
    let other = app.product(&staff, &with(draft("KN-2"), json!({"stock": 0}))).await;
    let taken = app.patch_product(&staff, &other, "*", &json!({"sku": "KN-1"})).await;
    taken.expect_problem(409, "SKU_TAKEN");
}
