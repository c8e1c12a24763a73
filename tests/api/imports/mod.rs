//! Files of products: uploaded, read by real workers, and what is in the tables afterwards.

use mainstay::jobs;
use serde_json::Value;

use super::support::{Answer, Call, Person, TestApp, eventually};

mod modes;
mod rejects;
mod uploads;

const HEAD: &str = "sku,name,description,category,price,currency,stock\r\n";

/// With a worker in it.
async fn start() -> (TestApp, Person) {
    let app = TestApp::working(jobs::registry, &[]).await;
    let staff = app.staff("staff").await;
    (app, staff)
}

/// Good rows of products `A0` and on.
fn rows(from: usize, to: usize) -> String {
    let row = |n| {
        format!("A{n},Product {n},\"Größe {n}, 包丁\",home/kitchen-{},{n},EUR,{}\r\n", n % 7, n % 5)
    };
    (from..to).map(row).collect()
}

fn id(import: &Value) -> String {
    import["id"].as_str().unwrap().to_owned()
}

impl TestApp {
    fn import(&self, staff: &Person, query: &str, text: impl Into<axum::body::Body>) -> Call {
        self.post(&format!("/api/v1/imports{query}")).bearer(&staff.access).text("text/csv", text)
    }

    /// Uploads and waits for the end.
    async fn imported(
        &self,
        staff: &Person,
        query: &str,
        text: impl Into<axum::body::Body>,
    ) -> Value {
        let queued = self.import(staff, query, text).send().await.expect(202).json();
        self.import_over(staff, &id(&queued)).await
    }

    async fn import_answer(&self, staff: &Person, id: &str) -> Answer {
        self.get(&format!("/api/v1/imports/{id}")).bearer(&staff.access).send().await
    }

    /// How fast an import is `make bench` tells: here the machine has all tests to run.
    async fn import_over(&self, staff: &Person, id: &str) -> Value {
        let patience = std::time::Instant::now() + std::time::Duration::from_secs(60);
        loop {
            let import = self.import_answer(staff, id).await.expect(200).json();
            if !matches!(import["state"].as_str(), Some("uploading" | "queued" | "running")) {
                return import;
            }
            assert!(std::time::Instant::now() < patience, "{import} does not end");
            tokio::time::sleep(std::time::Duration::from_millis(20)).await;
        }
    }

    async fn rejects(&self, staff: &Person, import: &Value) -> Answer {
        let path = format!("/api/v1/imports/{}/rejects", id(import));
        self.get(&path).bearer(&staff.access).header("accept", "text/csv").send().await.expect(200)
    }

    /// What imports write, without ids and times.
    async fn tables(&self) -> Vec<String> {
        let sql = "select concat_ws('|', sku, p.name, description, c.path, price, currency, attributes, stock,
                          version, stock_version,
                          (select string_agg(kind || delta, ',' order by m.id) from stock_movements m
                           where m.product_id = p.id))
                   from products p join categories c on c.id = p.category_id order by sku";
        sqlx::query_scalar(sql).fetch_all(&self.pool).await.unwrap()
    }

    async fn assert_clean(&self) {
        let off = "select count(*) from products p where stock <>
            coalesce((select sum(delta) from stock_movements where product_id = p.id), 0)";
        assert_eq!(self.count(off).await, 0, "movements that do not add up");
        eventually("no piece of a file is left", async || {
            self.count("select count(*) from import_chunks").await == 0
        })
        .await;
    }
}
