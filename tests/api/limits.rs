//! Rate limits as clients meet them.

use super::support::TestApp;

#[tokio::test]
async fn every_answer_of_a_limited_route_tells_where_the_client_stands() {
    let app = TestApp::with(&[("APP__LIMITS__ENABLED", "true")]).await;
    let answer = app.get("/api/v1/ping").send().await.expect(200);
    assert_eq!(answer.header("ratelimit-policy"), "\"default\";q=6000;w=60");
    assert!(answer.header("ratelimit").starts_with("\"default\";r=59"), "{answer:?}");
    let login = app.login("nobody@example.com", "wrong-velvet").await;
    assert_eq!(
        login.header("ratelimit-policy"),
        "\"default\";q=6000;w=60, \"credentials\";q=60;w=60"
    );
    let refresh = app.post("/api/v1/auth/refresh").send().await;
    assert!(refresh.header("ratelimit-policy").contains("\"refresh\";q=120;w=60"));
    assert_eq!(app.get("/health/live").send().await.header("ratelimit"), "");
}

#[tokio::test]
async fn over_the_limit_is_a_problem_that_says_when_to_come_back() {
    let app =
        TestApp::with(&[("APP__LIMITS__ENABLED", "true"), ("APP__LIMITS__DEFAULT", "5/1m")]).await;
    for _ in 0..5 {
        app.get("/api/v1/ping").send().await.expect(200);
    }
    let answer = app.get("/api/v1/ping").send().await.expect_problem(429, "RATE_LIMITED");
    assert!(answer.json()["type"].as_str().unwrap().ends_with("#quota-exceeded"));
    assert_eq!(answer.json()["violated-policies"], serde_json::json!(["default"]));
    let wait: u64 = answer.header("retry-after").parse().unwrap();
    assert!((1..=64).contains(&wait), "{wait}");
    assert!(answer.header("ratelimit").starts_with("\"default\";r=0;t="));
    app.get("/api/v1/nonsense").send().await.expect(429);
}

#[tokio::test]
async fn a_signed_in_user_has_a_budget_of_its_own() {
    let app =
        TestApp::with(&[("APP__LIMITS__ENABLED", "true"), ("APP__LIMITS__DEFAULT", "8/1m")]).await;
    let ada = app.customer("ada").await;
    for _ in 0..10 {
        app.get("/api/v1/ping").send().await;
    }
    app.get("/api/v1/ping").send().await.expect(429);
    app.get("/api/v1/ping").bearer(&ada.access).send().await.expect(200);
    app.get("/api/v1/ping").bearer("garbage").send().await.expect(429);
}

#[tokio::test]
async fn two_instances_share_a_budget_and_without_redis_each_has_its_own_count() {
    let app =
        TestApp::with(&[("APP__LIMITS__ENABLED", "true"), ("APP__LIMITS__DEFAULT", "20/1m")]).await;
    let other = app.sibling().await;
    let mut admitted = 0;
    for n in 0..60 {
        let instance = if n % 2 == 0 { &app } else { &other };
        admitted += u32::from(instance.get("/api/v1/ping").send().await.status == 200);
    }
    assert_eq!(admitted, 20);
    let alone = TestApp::with(&[
        ("APP__LIMITS__ENABLED", "true"),
        ("APP__LIMITS__DEFAULT", "5/1m"),
        ("REDIS_URL", ""),
    ])
    .await;
    for _ in 0..5 {
        alone.get("/api/v1/ping").send().await.expect(200);
    }
    alone.get("/api/v1/ping").send().await.expect(429);
}

#[tokio::test]
async fn the_credentials_limit_counts_by_address_before_the_body_is_read() {
    let vars = [
        ("APP__LIMITS__ENABLED", "true"),
        ("APP__LIMITS__CREDENTIALS", "3/1m"),
        ("APP__SERVER__FORWARDED_HEADER", "x-forwarded-for"),
        ("APP__SERVER__TRUSTED_PROXIES", "127.0.0.1"),
    ];
    let app = TestApp::with(&vars).await;
    let login = |address: &str| {
        app.post("/api/v1/auth/login")
            .header("x-forwarded-for", address)
            .text("text/plain", "x")
            .send()
    };
    for address in ["2001:db8::1", "2001:db8::2", "2001:db8::ffff"] {
        login(address).await.expect(415);
    }
    login("2001:db8::3").await.expect_problem(429, "RATE_LIMITED");
    login("2001:db8:0:1::3").await.expect(415);
}

/// In process the peer is this machine, which is not on the list here.
#[tokio::test]
async fn whoever_is_not_a_trusted_proxy_cannot_hide_behind_other_addresses() {
    let vars = [
        ("APP__LIMITS__ENABLED", "true"),
        ("APP__LIMITS__CREDENTIALS", "4/1m"),
        ("APP__SERVER__FORWARDED_HEADER", "x-forwarded-for"),
        ("APP__SERVER__TRUSTED_PROXIES", "10.0.0.0/8"),
    ];
    let app = TestApp::with(&vars).await;
    // Who signs in counts as well.
    let ada = app.customer("ada").await;
    let names = ["x-forwarded-for", "x-real-ip", "forwarded", "x-client-ip", "x-user-id"];
    let mut statuses = Vec::new();
    for (n, name) in names.into_iter().enumerate() {
        let call = app.post("/api/v1/auth/login").header(name, format!("198.51.100.{n}"));
        statuses.push(call.text("text/plain", "x").send().await.status.as_u16());
    }
    assert_eq!(statuses, [415, 415, 415, 429, 429]);
    let call = app.get("/api/v1/users/me").bearer(&ada.access);
    let me = call.header("x-user-id", "1").header("x-forwarded-user", "root").send().await;
    assert_eq!(me.expect(200).json()["id"], ada.id);
}
