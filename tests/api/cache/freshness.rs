//! What is written is what is read: here at once, elsewhere within a second.

use std::time::{Duration, Instant};

use serde_json::json;

use super::{Shop, selects};
use crate::support::{TestApp, eventually, products::draft, statements};

/// Three times the promise, since the machine may be busy.
const BOUND: Duration = Duration::from_secs(3);

/// How long it took until this instance showed that stock.
async fn until_shown(shop: &Shop, app: &TestApp, stock: i64) -> Duration {
    let began = Instant::now();
    eventually("the change is shown", async || shop.read(app).await.0 == stock).await;
    began.elapsed()
}

async fn changes_spread(vars: &[(&str, &str)]) {
    let shop = Shop::with(vars).await;
    let other = shop.app.sibling().await;
    let mut slowest = Duration::ZERO;
    for stock in 11..=30 {
        assert_eq!(shop.read(&other).await.0, stock - 1);
        shop.add(&shop.app).await;
        assert_eq!(shop.read(&shop.app).await.0, stock, "the writer's instance");
        slowest = slowest.max(until_shown(&shop, &other, stock).await);
    }
    println!("shown by the other instance after {slowest:?} at most");
    assert!(slowest < BOUND, "{slowest:?}");
}

#[tokio::test]
async fn a_change_is_shown_here_at_once_and_elsewhere_within_a_second() {
    changes_spread(&[]).await;
}

#[tokio::test]
async fn a_change_is_shown_here_at_once_and_elsewhere_within_a_second_without_redis() {
    changes_spread(&[("REDIS_URL", "")]).await;
}

#[tokio::test]
async fn every_kind_of_write_ends_what_was_kept() {
    let shop = Shop::new().await;
    let app = &shop.app;
    assert_eq!(shop.read(app).await, (10, "miss".to_owned()));
    assert_eq!(shop.read(app).await, (10, "hit".to_owned()));
    shop.add(app).await;
    assert_eq!(shop.read(app).await, (11, "miss".to_owned()));
    let patch = json!({"name": "Another"});
    app.patch_product(&shop.staff, &shop.product, "*", &patch).await.expect(200);
    let answer = shop.get(app).await.expect(200);
    assert_eq!(
        (answer.json()["name"].as_str(), answer.header("etag")),
        (Some("Another"), "\"2.2\"")
    );
    let path = crate::support::products::path(&shop.product);
    app.call("DELETE", &path).bearer(&shop.staff.access).send().await.expect(204);
    shop.get(app).await.expect_problem(404, "NOT_FOUND");
}

#[tokio::test]
async fn a_write_that_was_rolled_back_ends_nothing() {
    let shop = Shop::new().await;
    shop.read(&shop.app).await;
    let refused = shop.app.adjustment(&shop.staff, &shop.product, -11).send().await;
    refused.expect_problem(409, "OUT_OF_STOCK");
    assert_eq!(shop.read(&shop.app).await, (10, "hit".to_owned()));
}

/// Makes the row as a writer beside the service would, in one transaction with its change.
async fn insert(shop: &Shop, id: &str) {
    let insert = "with made as (
            insert into products (id, sku, name, category_id, price, currency, stock)
            select $1::text::uuid, 'LATER', 'Later', category_id, price, currency, 0 from products limit 1
            returning id)
        insert into change_feed (kind, key, value) select 'product', id, 2 from made";
    sqlx::query(insert).bind(id).execute(&shop.app.pool).await.unwrap();
}

#[tokio::test]
async fn that_nothing_is_there_is_asked_once_and_ends_when_it_is_made() {
    let shop = Shop::new().await;
    let other = shop.app.sibling().await;
    let id = "0193f0a2-6f3a-7c51-9d0e-2b7a4c5d6e7f";
    let path = format!("/api/v1/products/{id}");
    let ((), heard) = statements::during(async {
        for app in [&shop.app, &other] {
            for _ in 0..20 {
                app.get(&path).send().await.expect_problem(404, "NOT_FOUND");
            }
        }
    })
    .await;
    // Slower than five seconds, it would be asked again.
    assert!((2..=4).contains(&selects(&heard)), "{heard:?}");
    insert(&shop, id).await;
    let began = Instant::now();
    for app in [&shop.app, &other] {
        eventually("it is there", async || app.get(&path).send().await.status == 200).await;
    }
    assert!(began.elapsed() < BOUND, "{:?}", began.elapsed());
}

#[tokio::test]
async fn a_change_to_everything_ends_every_entry() {
    let shop = Shop::new().await;
    let other = shop.app.product(&shop.staff, &draft("KN-2")).await;
    let other = crate::support::products::path(&other);
    for _ in 0..2 {
        shop.read(&shop.app).await;
        shop.app.get(&other).send().await.expect(200);
    }
    let freshness = shop.app.app.freshness().clone();
    let write = "update products set name = 'Imported', version = version + 1";
    let done = shop.app.app.db.tx("test", async |tx| {
        sqlx::query(write).execute(&mut *tx).await.map_err(mainstay::error::Error::internal)?;
        freshness.everything_changed(tx).await
    });
    done.await.unwrap();
    for answer in [shop.get(&shop.app).await, shop.app.get(&other).send().await] {
        assert_eq!(
            (answer.json()["name"].as_str(), answer.header("x-cache")),
            (Some("Imported"), "miss")
        );
    }
}

#[tokio::test]
async fn what_a_client_sends_along_changes_nothing_that_others_get() {
    let shop = Shop::new().await;
    let path = crate::support::products::path(&shop.product);
    let poisons = [
        ("x-forwarded-host", "evil.example"),
        ("x-forwarded-proto", "gopher"),
        ("x-original-url", "/api/v1/users/me"),
        ("host", "evil.example"),
        ("origin", "https://evil.example"),
        ("accept-language", "tlh"),
        ("accept", "application/*;q=0.1"),
        ("accept-encoding", "gzip"),
        ("cookie", "a=b"),
        ("if-none-match", "\"1.1\""),
        ("range", "bytes=0-1"),
        ("x-cache", "hit"),
    ];
    for (name, value) in poisons {
        shop.add(&shop.app).await;
        let poisoned = shop.app.get(&path).header(name, value).send().await;
        assert!(poisoned.status.is_success() || poisoned.status == 304, "{name}");
        let clean = shop.get(&shop.app).await.expect(200);
        assert_eq!(clean.header("x-cache"), "hit", "{name}");
        let text = format!("{:?} {}", clean.headers, String::from_utf8_lossy(&clean.body));
        assert!(!text.contains("evil") && !text.contains("tlh"), "{name}: {text}");
        assert_eq!(clean.json()["id"], shop.product["id"]);
        assert_eq!(clean.header("content-encoding"), "");
    }
}

#[tokio::test]
async fn what_staff_alone_may_see_is_not_kept_for_others() {
    let shop = Shop::new().await;
    let path = crate::support::products::path(&shop.product);
    shop.app.call("DELETE", &path).bearer(&shop.staff.access).send().await.expect(204);
    for _ in 0..3 {
        let staff = shop.app.get(&path).bearer(&shop.staff.access).send().await.expect(200);
        assert_eq!(staff.header("x-cache"), "bypass");
        shop.get(&shop.app).await.expect_problem(404, "NOT_FOUND");
    }
}

#[tokio::test]
async fn switched_off_every_read_asks_the_database() {
    let shop = Shop::with(&[("APP__CACHE__ENABLED", "false")]).await;
    for _ in 0..3 {
        let answer = shop.get(&shop.app).await.expect(200);
        assert_eq!((answer.header("x-cache"), answer.statements()), ("bypass", 1));
    }
}
