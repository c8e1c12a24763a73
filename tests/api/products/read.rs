//! Anybody reads a product, and asks whether the copy still holds.

use super::{get, start};
use crate::support::products::{draft, path, with};

#[tokio::test]
async fn everybody_gets_the_same_and_may_keep_it_while_it_holds() {
    let (app, staff) = start().await;
    let product = app.product(&staff, &draft("KN-1")).await;
    let customer = app.customer("ada").await;
    let anonymous = get(&app, &product).await.expect(200);
    assert_eq!(anonymous.header("cache-control"), "public, no-cache");
    assert!(!anonymous.header("vary").to_lowercase().contains("authorization"));
    for person in [&staff, &customer] {
        let answer = app.get(&path(&product)).bearer(&person.access).send().await.expect(200);
        assert_eq!(answer.body, anonymous.body);
        for name in ["cache-control", "etag", "content-type"] {
            assert_eq!(answer.header(name), anonymous.header(name));
        }
    }
}

#[tokio::test]
async fn a_copy_that_still_holds_is_304_and_any_change_ends_that() {
    let (app, staff) = start().await;
    let product = app.product(&staff, &draft("KN-1")).await;
    let ask = |tag: &str| app.get(&path(&product)).header("if-none-match", tag).send();
    for tag in ["\"1.1\"", "W/\"1.1\"", "\"9.9\", \"1.1\"", "*", "\"1.1-br\""] {
        let answer = ask(tag).await.expect(304);
        assert!(answer.body.is_empty());
        assert_eq!(answer.header("etag"), "\"1.1\"");
        assert_eq!(answer.header("cache-control"), "public, no-cache");
    }
    for tag in ["\"1\"", "\"1.2\"", "\"2.1\"", "1.1"] {
        ask(tag).await.expect(200);
    }
    app.adjustment(&staff, &product, -1).send().await.expect(200);
    assert_eq!(ask("\"1.1\"").await.expect(200).header("etag"), "\"1.2\"");
    let patch = serde_json::json!({"name": "Another"});
    app.patch_product(&staff, &product, "\"1.2\"", &patch).await.expect(200);
    assert_eq!(ask("\"1.2\"").await.expect(200).header("etag"), "\"2.2\"");
    let stale = app.get(&path(&product)).header("if-match", "\"1.2\"").send().await;
    stale.expect_problem(412, "PRECONDITION_FAILED");
}

/// RFC 9110, 15.4.5: the tag and `Vary` of a 304 are those of the answer which it spares.
#[tokio::test]
async fn a_304_names_the_coding_of_the_copy_that_still_holds() {
    let (app, staff) = start().await;
    let long = with(draft("KN-1"), serde_json::json!({"description": "sharp ".repeat(300)}));
    let product = app.product(&staff, &long).await;
    let ask = |coding: &str| app.get(&path(&product)).header("accept-encoding", coding);
    for coding in ["gzip", "br", "zstd", "identity"] {
        let whole = ask(coding).send().await.expect(200);
        let tag = whole.header("etag");
        assert_eq!(tag.contains(coding), coding != "identity", "{tag}");
        assert_eq!(whole.header("vary"), "accept-encoding");
        for tags in [tag.to_owned(), format!("\"9.9-gzip\", W/{tag}, *")] {
            let same = ask(coding).header("if-none-match", tags).send().await.expect(304);
            for name in ["etag", "vary", "cache-control"] {
                assert_eq!(same.header(name), whole.header(name), "{name} of {coding}");
            }
        }
    }
    let other = ask("gzip").header("if-none-match", "\"1.1-br\"").send().await.expect(304);
    assert_eq!(other.header("etag"), "\"1.1\"", "not a coding that is not taken");
}

#[tokio::test]
async fn an_archived_product_is_there_for_staff_alone() {
    let (app, staff) = start().await;
    let product = app.product(&staff, &draft("KN-1")).await;
    let customer = app.customer("ada").await;
    let archive = |tag: Option<&'static str>| {
        let call = app.call("DELETE", &path(&product)).bearer(&staff.access);
        tag.into_iter().fold(call, |call, tag| call.header("if-match", tag)).send()
    };
    archive(Some("\"2.1\"")).await.expect_problem(412, "PRECONDITION_FAILED");
    archive(Some("\"1.7\"")).await.expect(204);
    archive(None).await.expect(204);
    let archived = "select count(*) from audit_events where action = 'product.archived'";
    assert_eq!(app.count(archived).await, 1);
    get(&app, &product).await.expect_problem(404, "NOT_FOUND");
    let seen = app.get(&path(&product)).bearer(&customer.access).send().await;
    seen.expect_problem(404, "NOT_FOUND");
    let seen = app.get(&path(&product)).bearer(&staff.access).send().await.expect(200);
    assert_eq!(seen.json()["archived"], true);
    assert_eq!(seen.header("cache-control"), "private, no-store");
    assert_eq!(seen.header("x-cache"), "bypass");
    app.adjustment(&staff, &product, 1).send().await.expect_problem(409, "CONFLICT");
    let patch = serde_json::json!({"name": "Another"});
    app.patch_product(&staff, &product, "*", &patch).await.expect_problem(409, "CONFLICT");
}

#[tokio::test]
async fn what_is_no_product_is_404() {
    let (app, staff) = start().await;
    for found in ["miss", "hit"] {
        let answer = app.get("/api/v1/products/0193f0a2-6f3a-7c51-9d0e-2b7a4c5d6e7f").send().await;
        assert_eq!(
            (answer.header("x-cache"), answer.header("cache-control")),
            (found, "public, no-cache")
        );
    }
    for id in ["0193f0a2-6f3a-7c51-9d0e-2b7a4c5d6e7f", "1", "%00", "x".repeat(300).as_str()] {
        let path = format!("/api/v1/products/{id}");
        app.get(&path).send().await.expect_problem(404, "NOT_FOUND");
        let call = app.call("DELETE", &path).bearer(&staff.access);
        call.send().await.expect_problem(404, "NOT_FOUND");
    }
}
