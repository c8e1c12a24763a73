//! What a login costs, counted by the service itself: nobody else uses this instance.

use serde_json::json;

use crate::support::{Api, Database, Instance, Settings};

/// How many passwords were hashed since the start.
async fn hashes(api: &Api) -> u64 {
    let metrics = api.get("/metrics").await.expect(200).text;
    let count =
        metrics.lines().find_map(|line| line.strip_prefix("password_hash_wait_seconds_count "));
    count.map_or(0, |count| count.parse().expect("a number"))
}

#[tokio::test(flavor = "multi_thread")]
async fn every_answer_to_a_login_costs_exactly_one_hash() {
    let database = Database::create().await;
    let instance = Instance::ready(&Settings::new(&database.url)).await;
    let api = &instance.api;
    let person = api.register().await;
    let disabled = api.register().await;
    database
        .execute(&format!(
            "update users set disabled_at = now() where email = '{}'",
            disabled.email
        ))
        .await;
    for (email, password, status) in [
        (person.email.as_str(), "wrong-velvet-lantern", 401),
        ("nobody@example.com", "wrong-velvet-lantern", 401),
        (&disabled.email, &disabled.password, 401),
        (&disabled.email, "wrong-velvet-lantern", 401),
        (&person.email, &person.password, 200),
    ] {
        let before = hashes(api).await;
        let body = json!({"email": email, "password": password});
        api.post("/api/v1/auth/login", body).await.expect(status);
        assert_eq!(hashes(api).await - before, 1, "{email} {status}");
    }
}
