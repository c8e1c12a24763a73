//! What is read again costs nothing, and is never older than promised.

use serde_json::Value;

use super::support::{
    Answer, Person, TestApp,
    products::{draft, path},
};

mod chance;
mod crowds;
mod freshness;
mod redis;

/// Room for a crowd.
const ROOMY: &[(&str, &str)] =
    &[("APP__SERVER__MAX_IN_FLIGHT", "4096"), ("APP__SERVER__MAX_IN_FLIGHT_PER_CLIENT", "4096")];

/// A service with one product in it.
struct Shop {
    app: TestApp,
    staff: Person,
    product: Value,
}

impl Shop {
    async fn with(vars: &[(&str, &str)]) -> Self {
        let vars: Vec<_> = ROOMY.iter().chain(vars).copied().collect();
        let app = TestApp::with(&vars).await;
        let staff = app.staff("staff").await;
        let product = app.product(&staff, &draft("KN-1")).await;
        Self { app, staff, product }
    }

    async fn new() -> Self {
        Self::with(&[]).await
    }

    async fn get(&self, app: &TestApp) -> Answer {
        app.get(&path(&self.product)).send().await
    }

    /// The stock, and how it was found.
    async fn read(&self, app: &TestApp) -> (i64, String) {
        let answer = self.get(app).await.expect(200);
        (answer.json()["stock"].as_i64().unwrap(), answer.header("x-cache").to_owned())
    }

    /// One more, by way of this instance.
    async fn add(&self, app: &TestApp) {
        app.adjustment(&self.staff, &self.product, 1).send().await.expect(200);
    }
}

fn selects(heard: &[String]) -> usize {
    heard.iter().filter(|summary| summary.to_lowercase().starts_with("select")).count()
}
