//! The catalogue as a file.

use std::time::Duration;

use http::Request;
use http_body_util::BodyExt;
use serde_json::{Value, json};
use tower::ServiceExt;

use super::support::{Answer, Person, TestApp, eventually, products};

const PATH: &str = "/api/v1/products/export";

async fn export(app: &TestApp, staff: &Person, query: &str) -> Answer {
    app.get(&format!("{PATH}{query}")).bearer(&staff.access).send().await
}

async fn start() -> (TestApp, Person) {
    let app = TestApp::working(mainstay::jobs::registry, &[]).await;
    let staff = app.staff("staff").await;
    (app, staff)
}

/// Many more than fit into the buffers of a connection.
async fn fill(app: &TestApp) {
    app.execute("insert into categories (id, path) values (gen_random_uuid(), 'a')").await;
    app.execute(
        "insert into products (id, sku, name, description, category_id, price, currency, stock)
         select gen_random_uuid(), 'S' || n, 'N', repeat('x', 2000), (select id from categories), n, 'EUR', 0
         from generate_series(1, 5000) n",
    )
    .await;
}

#[tokio::test]
async fn what_is_exported_defuses_formulas_and_can_be_imported_again() {
    let (app, staff) = start().await;
    let odd = [
        ("A", "=1+1", "a,b \"c\"\r\nd"),
        ("-B", "+x", "@y"),
        ("C", "'=quoted", "''"),
        ("D", "包丁 🔪", "\tindented"),
        ("E", "＝1+1", "\n=1"),
    ];
    for (sku, name, description) in odd {
        let members = json!({"name": name, "description": description,
                             "attributes": {"a": [1, "ü", "\\u0000"]}});
        app.product(&staff, &products::with(products::draft(sku), members)).await;
    }
    let answer = export(&app, &staff, "").await.expect(200);
    assert_eq!(answer.header("content-type"), "text/csv; charset=utf-8");
    assert_eq!(answer.header("content-disposition"), "attachment; filename=\"products.csv\"");
    let text = String::from_utf8(answer.body.clone()).unwrap();
    let begins = ["sku,name,", "A,\"'=1+1\",", "\"'-B\",\"'+x\",\"'@y\",", "C,\"''=quoted\",''"];
    for begin in begins {
        assert!(text.contains(begin), "{begin} is not in {text}");
    }
    let tables = "select string_agg(concat_ws('|', sku, name, description, attributes, stock, version), E'\\n' order by sku)
                  from products";
    let read = async || sqlx::query_scalar::<_, String>(tables).fetch_one(&app.pool).await.unwrap();
    let before = read().await;
    let again = app.post("/api/v1/imports?stock=set").bearer(&staff.access);
    let import = again.text("text/csv", answer.body).send().await.expect(202).json();
    let path = format!("/api/v1/imports/{}", import["id"].as_str().unwrap());
    eventually("it is imported", async || {
        let import = app.get(&path).bearer(&staff.access).send().await.json();
        import["state"] == "succeeded" && import["rows_upserted"] == 5
    })
    .await;
    assert_eq!(read().await, before);
}

#[tokio::test]
async fn the_filters_of_the_list_hold_and_archived_products_are_left_out() {
    let (app, staff) = start().await;
    for (sku, category, amount, stock) in [
        ("A", "home", 100, 0),
        ("B", "home/kitchen", 200, 1),
        ("C", "homeware", 300, 2),
        ("D", "home", 1, 1),
    ] {
        let members = json!({"category": category, "price": {"amount": amount, "currency": "EUR"}, "stock": stock});
        app.product(&staff, &products::with(products::draft(sku), members)).await;
    }
    app.execute("update products set archived_at = now() where sku = 'D'").await;
    for (query, expected) in [
        ("", vec!["A", "B", "C"]),
        ("&category=home", vec!["A", "B"]),
        ("&min_price=150&max_price=250", vec!["B"]),
        ("&in_stock=true", vec!["B", "C"]),
        ("&in_stock=false&category=home", vec!["A"]),
        ("&category=nowhere", vec![]),
        ("&q=product%20b", vec!["B"]),
        ("&q=prodct&in_stock=true", vec!["B", "C"]),
    ] {
        let answer = export(&app, &staff, &format!("?format=ndjson{query}")).await.expect(200);
        assert_eq!(answer.header("content-type"), "application/x-ndjson");
        let text = String::from_utf8(answer.body).unwrap();
        let rows: Vec<Value> =
            text.lines().map(|line| serde_json::from_str(line).unwrap()).collect();
        let found: Vec<_> = rows.iter().map(|row| row["sku"].as_str().unwrap()).collect();
        assert_eq!(found, expected, "{query}");
    }
    for (query, field) in [
        ("?format=xml", "format"),
        ("?min_price=-1", "min_price"),
        ("?limit=1", "limit"),
        ("?category=A", "category"),
    ] {
        let answer = export(&app, &staff, query).await.expect_problem(422, "VALIDATION_FAILED");
        assert_eq!(answer.faults()[0].0, field);
    }
    let audit = "select count(*) from audit_events where action = 'catalogue.exported'";
    assert_eq!(app.count(audit).await, 8);
}

#[tokio::test]
async fn an_export_is_compressed_when_asked() {
    let (app, staff) = start().await;
    fill(&app).await;
    let call = app.get(PATH).bearer(&staff.access).header("accept-encoding", "gzip");
    let answer = call.header("accept", "text/csv").send().await.expect(200);
    assert_eq!(answer.header("content-encoding"), "gzip");
    let mut text = String::new();
    std::io::Read::read_to_string(&mut flate2::read::GzDecoder::new(&answer.body[..]), &mut text)
        .unwrap();
    assert_eq!(text.lines().count(), 5_001);
    assert!(answer.body.len() < text.len() / 20);
}

#[tokio::test]
async fn two_exports_are_written_at_once_and_a_client_that_leaves_or_stops_reading_ends_its_own() {
    let app = TestApp::with(&[("APP__IMPORTS__PROGRESS_TIMEOUT", "1s")]).await;
    let staff = app.staff("staff").await;
    fill(&app).await;
    let open = async || {
        let request =
            Request::get(PATH).header("authorization", format!("Bearer {}", staff.access));
        let request = request.body(axum::body::Body::empty()).unwrap();
        app.router.clone().oneshot(request).await.unwrap()
    };
    let reading = "select count(*) from pg_stat_activity where datname = current_database()
                   and query like 'fetch forward%' and state <> 'idle'";
    let (first, second) = (open().await, open().await);
    assert_eq!((first.status().as_u16(), second.status().as_u16()), (200, 200));
    assert_eq!(app.count(reading).await, 2);
    let refused = export(&app, &staff, "").await.expect_problem(503, "OVERLOADED");
    assert_eq!(refused.header("retry-after"), "5");
    drop(first);
    eventually("the query has ended", async || app.count(reading).await <= 1).await;
    let third = open().await;
    assert_eq!(third.status(), 200);
    // Nobody reads these two.
    tokio::time::sleep(Duration::from_millis(1_200)).await;
    eventually("both are given up", async || app.count(reading).await == 0).await;
    assert!(third.into_body().collect().await.is_err(), "a torn file must not look whole");
    drop(second);
    export(&app, &staff, "").await.expect(200);
}

#[tokio::test]
async fn a_client_that_reads_slowly_but_on_gets_all_of_it() {
    let app = TestApp::with(&[
        ("APP__IMPORTS__PROGRESS_TIMEOUT", "1s"),
        ("APP__DATABASE__IDLE_IN_TRANSACTION_TIMEOUT", "1s"),
    ])
    .await;
    let staff = app.staff("staff").await;
    fill(&app).await;
    let path = format!("{PATH}?format=ndjson&max_price=1200");
    let request = Request::get(path).header("authorization", format!("Bearer {}", staff.access));
    let request = request.body(axum::body::Body::empty()).unwrap();
    let answer = app.router.clone().oneshot(request).await.unwrap();
    let (mut body, mut text) = (answer.into_body(), Vec::new());
    while let Some(frame) = body.frame().await {
        let data = frame.expect("more of it").into_data().unwrap_or_default();
        text.extend_from_slice(&data);
        // 400 kB in a second: what is read from the database at once takes more than two.
        tokio::time::sleep(Duration::from_micros(data.len() as u64 * 10 / 4)).await;
    }
    assert_eq!(text.iter().filter(|byte| **byte == b'\n').count(), 1_200);
}
