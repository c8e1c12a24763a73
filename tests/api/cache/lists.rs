//! Lists and the tree: a key for each way to ask, and any write ends them.

use serde_json::json;

use super::Shop;
use crate::support::{
    eventually,
    products::{draft, path, with},
};

const LIST: &str = "/api/v1/products";

#[tokio::test]
async fn every_filter_order_and_page_is_kept_apart() {
    let shop = Shop::new().await;
    for n in 2..=5 {
        let more = json!({"price": {"amount": 100 * n, "currency": "EUR"}, "stock": n % 2});
        shop.app.product(&shop.staff, &with(draft(&format!("KN-{n}")), more)).await;
    }
    let first = shop.app.get("/api/v1/products?limit=2").send().await.expect(200);
    let cursor = first.json()["next_cursor"].as_str().unwrap().to_owned();
    let next = format!("limit=2&cursor={cursor}");
    let queries = [
        "",
        "limit=1",
        "limit=3",
        next.as_str(),
        "count=exact",
        "sort=price",
        "sort=-price",
        "sort=name",
        "in_stock=true",
        "in_stock=false",
        "min_price=300",
        "max_price=300",
        "min_price=300&max_price=300",
        "category=home",
        "category=home/kitchen",
        "q=product",
        "q=products",
        "q=product&sort=newest",
    ];
    for query in queries {
        let url = format!("{LIST}?{query}");
        let ask = || shop.app.get(&url).send();
        let (miss, hit) = (ask().await.expect(200), ask().await.expect(200));
        assert_eq!((miss.header("x-cache"), hit.header("x-cache")), ("miss", "hit"), "{query}");
        assert_eq!(hit.statements(), 0);
        assert_eq!(miss.body, hit.body);
        for name in ["link", "content-type", "cache-control"] {
            assert_eq!(miss.header(name), hit.header(name), "{query} {name}");
        }
    }
}

#[tokio::test]
async fn the_link_is_in_the_words_of_who_asks() {
    let shop = Shop::new().await;
    shop.app.product(&shop.staff, &draft("KN-2")).await;
    for (query, found) in
        [("limit=1&sort=newest", "miss"), ("sort=newest&limit=1", "hit"), ("limit=1", "hit")]
    {
        let answer = shop.app.get(&format!("{LIST}?{query}")).send().await.expect(200);
        assert_eq!(answer.header("x-cache"), found, "{query}");
        let link = answer.header("link");
        assert!(link.starts_with(&format!("<{LIST}?{query}&cursor=")), "{link}");
    }
}

#[tokio::test]
async fn any_write_ends_lists_and_the_tree_here_at_once_and_elsewhere_soon() {
    let shop = Shop::new().await;
    let other = shop.app.sibling().await;
    let tree = "/api/v1/categories";
    for url in [LIST, tree] {
        for app in [&shop.app, &other] {
            app.get(url).send().await.expect(200);
            assert_eq!(app.get(url).send().await.expect(200).header("x-cache"), "hit");
        }
    }
    shop.add(&shop.app).await;
    let shown = shop.app.get(LIST).send().await.expect(200);
    assert_eq!(
        (shown.json()["data"][0]["stock"].as_i64(), shown.header("x-cache")),
        (Some(11), "miss")
    );
    eventually("the other has the stock", async || {
        other.get(LIST).send().await.json()["data"][0]["stock"] == 11
    })
    .await;
    let made =
        shop.app.product(&shop.staff, &with(draft("KN-2"), json!({"category": "new"}))).await;
    let shown = shop.app.get(tree).send().await.expect(200);
    assert_eq!(shown.json()["data"].as_array().unwrap().len(), 2);
    eventually("the other has the category", async || {
        other.get(tree).send().await.json()["data"].as_array().unwrap().len() == 2
    })
    .await;
    shop.app.call("DELETE", &path(&made)).bearer(&shop.staff.access).send().await.expect(204);
    let left = shop.app.get(LIST).send().await.expect(200).json();
    assert_eq!(left["data"].as_array().unwrap().len(), 1);
}
