//! Lists: filters, orders and pages.

use serde_json::{Value, json};

use super::{Person, TestApp, start};
use crate::support::products::{draft, id, path, with};

const SORTS: [&str; 4] = ["newest", "price", "-price", "name"];

/// Three categories, five prices, some sold out, names in several scripts.
async fn stocked() -> (TestApp, Person, Vec<Value>) {
    let (app, staff) = start().await;
    let mut all = Vec::new();
    let categories = ["home", "home/kitchen", "home-office"];
    let names = ["Äpfel", "apple", "Zebra", "éclair", "語"];
    for number in 0..25 {
        let body = with(
            draft(&format!("P-{number:02}")),
            json!({
                "name": format!("{} {}", names[number % 5], number / 5),
                "category": categories[number % 3],
                "price": {"amount": 100 * (number % 5), "currency": "EUR"},
                "stock": number % 4,
            }),
        );
        all.push(app.product(&staff, &body).await);
    }
    (app, staff, all)
}

async fn page(app: &TestApp, query: &str) -> Value {
    app.get(&format!("/api/v1/products?{query}")).send().await.expect(200).json()
}

/// Every row, over all pages.
async fn walk(app: &TestApp, query: &str) -> Vec<Value> {
    let (mut rows, mut cursor) = (Vec::new(), String::new());
    loop {
        let page = page(app, &format!("{query}{cursor}")).await;
        rows.extend(page["data"].as_array().unwrap().clone());
        match page["next_cursor"].as_str() {
            Some(next) => cursor = format!("&cursor={next}"),
            None => return rows,
        }
    }
}

fn ids(rows: &[Value]) -> Vec<String> {
    let mut ids: Vec<_> = rows.iter().map(|row| id(row).to_owned()).collect();
    ids.sort();
    ids
}

#[tokio::test]
async fn every_filter_with_every_order_lists_what_fits_once_and_in_order() {
    let (app, _, all) = stocked().await;
    type Fits = fn(&Value) -> bool;
    let price = |row: &Value| row["price"]["amount"].as_i64().unwrap();
    let filters: [(&str, Fits); 9] = [
        ("", |_| true),
        ("&category=home", |row| {
            row["category"].as_str().unwrap().split('/').next() == Some("home")
        }),
        ("&category=home/kitchen", |row| row["category"] == "home/kitchen"),
        ("&category=nowhere", |_| false),
        ("&min_price=200", |row| row["price"]["amount"].as_i64() >= Some(200)),
        ("&max_price=100", |row| row["price"]["amount"].as_i64() <= Some(100)),
        ("&in_stock=true", |row| row["stock"] != 0),
        ("&in_stock=false", |row| row["stock"] == 0),
        ("&in_stock=true&category=home&min_price=100&max_price=300", |row| {
            row["stock"] != 0
                && row["category"].as_str().unwrap().split('/').next() == Some("home")
                && (100..=300).contains(&row["price"]["amount"].as_i64().unwrap())
        }),
    ];
    for (filter, fits) in filters {
        let expected: Vec<Value> = all.iter().filter(|row| fits(row)).cloned().collect();
        for sort in SORTS {
            let rows = walk(&app, &format!("limit=3&sort={sort}{filter}")).await;
            assert_eq!(ids(&rows), ids(&expected), "{filter} by {sort}");
            match sort {
                "newest" => assert!(
                    rows.is_sorted_by(|a, b| a["created_at"].as_str() >= b["created_at"].as_str())
                ),
                "price" => assert!(rows.is_sorted_by(|a, b| (price(a), id(a)) < (price(b), id(b)))),
                "-price" => {
                    assert!(rows.is_sorted_by(|a, b| (price(a), id(a)) > (price(b), id(b))))
                }
                _ => {}
            }
        }
        let counted = page(&app, &format!("count=exact&limit=1{filter}")).await;
        assert_eq!(counted["total"], expected.len(), "{filter}");
    }
    let names: Vec<_> = walk(&app, "limit=100&sort=name").await;
    let names: Vec<_> = names.iter().map(|row| row["name"].as_str().unwrap()).collect();
    let first = |word: &str| names.iter().position(|name| name.starts_with(word)).unwrap();
    assert!(first("Äpfel") < first("apple") && first("apple") < first("éclair"));
    assert!(first("éclair") < first("Zebra") && first("Zebra") < first("語"));
}

#[tokio::test]
async fn a_page_tells_where_the_next_one_is() {
    let (app, ..) = stocked().await;
    let answer = app.get("/api/v1/products?limit=20&sort=price").send().await.expect(200);
    let cursor = answer.json()["next_cursor"].as_str().unwrap().to_owned();
    let link = format!("</api/v1/products?limit=20&sort=price&cursor={cursor}>; rel=\"next\"");
    assert_eq!(answer.header("link"), link);
    assert_eq!(answer.header("cache-control"), "public, no-cache");
    assert!(answer.json().get("total").is_none());
    let last = app.get(&format!("/api/v1/products?limit=20&sort=price&cursor={cursor}"));
    let last = last.send().await.expect(200);
    assert_eq!((last.header("link"), last.json()["data"].as_array().unwrap().len()), ("", 5));
}

#[tokio::test]
async fn a_cursor_belongs_to_its_order_and_filters_and_cannot_be_bent() {
    let (app, ..) = stocked().await;
    let cursor = page(&app, "limit=2&sort=name").await["next_cursor"].as_str().unwrap().to_owned();
    let refused = async |query: String| {
        let answer = app.get(&format!("/api/v1/products?{query}")).send().await;
        answer.expect_problem(400, "MALFORMED_REQUEST");
    };
    for other in [
        "sort=price",
        "sort=newest",
        "sort=name&category=home",
        "sort=name&in_stock=true",
        "sort=name&min_price=1",
        "sort=name&q=apple",
        "",
    ] {
        refused(format!("{other}&cursor={cursor}")).await;
    }
    for at in [0, cursor.len() / 2, cursor.len() - 1] {
        let mut bent = cursor.clone().into_bytes();
        bent[at] = if bent[at] == b'A' { b'B' } else { b'A' };
        refused(format!("sort=name&cursor={}", String::from_utf8(bent).unwrap())).await;
    }
    refused("sort=name&cursor=AAAA".to_owned()).await;
    page(&app, &format!("limit=50&sort=name&cursor={cursor}")).await;
}

#[tokio::test]
async fn walking_while_rows_come_and_go_skips_and_repeats_none_of_those_that_stay() {
    for sort in SORTS {
        let (app, staff, all) = stocked().await;
        let (gone, stay) = all.split_at(8);
        let (mut seen, mut cursor, mut round) = (Vec::new(), String::new(), 0);
        loop {
            let page = page(&app, &format!("limit=3&sort={sort}{cursor}")).await;
            seen.extend(page["data"].as_array().unwrap().clone());
            let Some(next) = page["next_cursor"].as_str() else { break };
            cursor = format!("&cursor={next}");
            if let Some(product) = gone.get(round) {
                let call = app.call("DELETE", &path(product)).bearer(&staff.access);
                call.send().await.expect(204);
                let name = json!({"name": format!("m {round}"), "stock": round % 2,
                                  "price": {"amount": 50 * round, "currency": "EUR"}});
                app.product(&staff, &with(draft(&format!("NEW-{round}")), name)).await;
                // Stock moves rows between the halves that a list is merged from.
                app.adjustment(&staff, &stay[round], 1).send().await.expect(200);
            }
            round += 1;
        }
        let seen: Vec<Value> =
            seen.into_iter().filter(|row| stay.iter().any(|it| id(it) == id(row))).collect();
        assert_eq!(ids(&seen), ids(stay), "by {sort}");
    }
}

#[tokio::test]
async fn what_is_no_filter_is_refused_with_its_parameter() {
    let (app, _) = start().await;
    for (query, field) in [
        ("category=A", "category"),
        ("category=", "category"),
        ("category=a/../b", "category"),
        ("min_price=-1", "min_price"),
        ("max_price=1.5", "max_price"),
        ("max_price=9223372036854775807", "max_price"),
        ("in_stock=1", "in_stock"),
        ("in_stock=yes", "in_stock"),
        ("sort=oldest", "sort"),
        ("sort=relevance", "sort"),
        ("limit=0", "limit"),
        ("limit=101", "limit"),
        ("limit=1e9", "limit"),
        ("count=1", "count"),
        ("offset=5", "offset"),
    ] {
        let answer = app.get(&format!("/api/v1/products?{query}")).send().await;
        let faults = answer.expect_problem(422, "VALIDATION_FAILED").faults();
        assert_eq!(faults[0].0, field, "{query}");
    }
    assert_eq!(page(&app, "min_price=5&max_price=1").await["data"], json!([]));
    app.get("/api/v1/products?sort=name&sort=name").send().await.expect(400);
}
