//! What load balancers and scrapers see.

use super::support::{TestApp, eventually};

#[tokio::test]
async fn a_started_service_is_live_ready_and_started() {
    let app = TestApp::new().await;
    let live = app.get("/health/live").send().await.expect(200);
    assert_eq!(live.json(), serde_json::json!({"status": "ok"}));
    app.get("/health/startup").send().await.expect(200);
    eventually("ready is ok", async || {
        app.get("/health/ready").send().await.json()["status"] == "ok"
    })
    .await;
    let ready = app.get("/health/ready").send().await.expect(200).json();
    for check in ["postgres", "redis", "migrations", "feed"] {
        assert_eq!(ready["checks"][check]["status"], "ok", "{ready}");
    }
}

#[tokio::test]
async fn a_draining_instance_is_not_ready_and_still_serves() {
    let app = TestApp::new().await;
    eventually("ready", async || app.get("/health/ready").send().await.status == 200).await;
    app.app.services.health.set_draining();
    let ready = app.get("/health/ready").send().await.expect(503).json();
    assert_eq!(ready["status"], "unavailable");
    app.get("/health/live").send().await.expect(200);
    app.get("/api/v1/ping").send().await.expect(200);
}

#[tokio::test]
async fn without_redis_the_service_is_degraded_and_gets_traffic() {
    let app = TestApp::with(&[("REDIS_URL", "redis://127.0.0.1:1")]).await;
    let ada = app.customer("ada").await;
    eventually("ready is degraded", async || {
        app.get("/health/ready").send().await.json()["status"] == "degraded"
    })
    .await;
    app.get("/health/ready").send().await.expect(200);
    app.get("/api/v1/users/me").bearer(&ada.access).send().await.expect(200);
}

#[tokio::test]
async fn a_database_without_the_migrations_is_not_ready() {
    let app = TestApp::new().await;
    eventually("ready", async || app.get("/health/ready").send().await.status == 200).await;
    app.execute(
        "delete from _sqlx_migrations where version = (select max(version) from _sqlx_migrations)",
    )
    .await;
    eventually("not ready", async || app.get("/health/ready").send().await.status == 503).await;
    let ready = app.get("/health/ready").send().await.json();
    assert_eq!(ready["checks"]["migrations"]["status"], "unavailable");
}

#[tokio::test]
async fn random_paths_make_one_label_and_every_metric_is_described() {
    let app = TestApp::new().await;
    for n in 0..10_000 {
        app.get(&format!("/api/v1/random/{n}")).send().await.expect(404);
        if n % 100 == 0 {
            app.call(&format!("M{n}"), "/api/v1/ping").send().await.expect(405);
        }
    }
    let text = String::from_utf8(app.get("/metrics").send().await.expect(200).body).unwrap();
    let series = text.lines().filter(|line| line.starts_with("http_requests_total{"));
    assert!(!text.contains("random/") && series.count() < 300, "{text}");
    for name in mainstay::telemetry::metrics::ALL.iter().map(|metric| metric.name) {
        let typed = text.lines().any(|line| line.starts_with(&format!("# TYPE {name} ")));
        let seen = text.contains(name);
        assert_eq!(typed, seen, "{name}");
    }
    let known =
        |family: &str| mainstay::telemetry::metrics::ALL.iter().any(|metric| metric.name == family);
    for line in text.lines().filter_map(|line| line.strip_prefix("# TYPE ")) {
        let family = line.split(' ').next().unwrap();
        assert!(known(family), "{family} is not in the table of metrics");
    }
}

#[tokio::test]
async fn what_operators_ask_can_have_a_port_of_its_own() {
    let app = TestApp::with(&[("APP__OPS__LISTEN", "127.0.0.1:9")]).await;
    for path in ["/health/live", "/health/ready", "/metrics"] {
        app.get(path).send().await.expect(404);
        let call = super::support::Call::new(app.app.operations_router(), "GET", path);
        assert_ne!(call.send().await.status, 404, "{path}");
    }
    let call = super::support::Call::new(app.app.operations_router(), "GET", "/api/v1/ping");
    call.send().await.expect(404);
}
