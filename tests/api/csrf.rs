//! Cookies speak only for our own pages.

use super::support::{Call, TestApp};

async fn status(call: Call, headers: &[(&str, &str)]) -> u16 {
    let call = headers.iter().fold(call, |call, (name, value)| call.header(name, value));
    call.send().await.status.as_u16()
}

#[tokio::test]
async fn a_cookie_from_a_foreign_page_is_refused_and_changes_nothing() {
    let app = TestApp::with(&[("APP__CORS__ALLOWED_ORIGINS", "https://shop.example")]).await;
    let ada = app.customer("ada").await;
    let call = || {
        app.post("/api/v1/auth/refresh")
            .cookie("refresh", &ada.refresh)
            .header("host", "api.example")
    };
    for foreign in [
        &[("sec-fetch-site", "cross-site")][..],
        &[("origin", "https://evil.example")],
        &[("origin", "null")],
        &[("origin", "https://shop.example.evil.example")],
        &[("origin", "https://shop.example:8443")],
        &[("origin", "http://shop.example")],
        &[("origin", "https://notshop.example")],
        &[("origin", "https://shop.example"), ("sec-fetch-site", "cross-site")],
    ] {
        assert_eq!(status(call(), foreign).await, 403, "{foreign:?}");
    }
    assert_eq!(app.count("select generation::bigint from sessions").await, 0);
    let answer = call().header("sec-fetch-site", "cross-site").send().await;
    assert!(answer.expect_problem(403, "CSRF_REJECTED").headers.get("set-cookie").is_none());
}

#[tokio::test]
async fn our_own_pages_listed_ones_and_clients_that_say_nothing_are_allowed() {
    let app = TestApp::with(&[("APP__CORS__ALLOWED_ORIGINS", "https://shop.example")]).await;
    let ada = app.customer("ada").await;
    let call = || {
        app.post("/api/v1/auth/refresh")
            .cookie("refresh", &ada.refresh)
            .header("host", "api.example")
    };
    for friendly in [
        &[][..],
        &[("sec-fetch-site", "same-origin")],
        &[("sec-fetch-site", "same-site"), ("origin", "https://shop.example")],
        &[("origin", "https://api.example")],
    ] {
        assert_eq!(status(call(), friendly).await, 200, "{friendly:?}");
    }
}

#[tokio::test]
async fn a_token_that_is_not_looked_at_excuses_nothing() {
    let app = TestApp::new().await;
    let ada = app.customer("ada").await;
    for path in ["/api/v1/auth/refresh", "/api/v1/auth/logout"] {
        let call = app.post(path).cookie("refresh", &ada.refresh).bearer("garbage");
        assert_eq!(status(call, &[("origin", "https://evil.example")]).await, 403, "{path}");
    }
    assert!(app.accepts(&ada.access).await);
}

#[tokio::test]
async fn a_bearer_token_is_not_touched_by_any_of_this() {
    let app = TestApp::new().await;
    let ada = app.customer("ada").await;
    let call = app.post("/api/v1/auth/logout").bearer(&ada.access).cookie("refresh", &ada.refresh);
    let foreign = [("sec-fetch-site", "cross-site"), ("origin", "https://evil.example")];
    assert_eq!(status(call, &foreign).await, 204);
}

#[tokio::test]
async fn only_listed_origins_may_read_answers() {
    let app = TestApp::with(&[("APP__CORS__ALLOWED_ORIGINS", "https://shop.example")]).await;
    let ask = async |origin: &str| {
        let answer = app.get("/api/v1/ping").header("origin", origin).send().await;
        assert!(answer.header("vary").to_lowercase().contains("origin"));
        answer.header("access-control-allow-origin").to_owned()
    };
    assert_eq!(ask("https://shop.example").await, "https://shop.example");
    for foreign in [
        "https://evil.example",
        "null",
        "http://shop.example",
        "https://shop.example.evil.example",
        "https://evilshop.example",
        "https://shop.example:444",
    ] {
        assert_eq!(ask(foreign).await, "", "{foreign}");
    }
    let preflight =
        app.call("OPTIONS", "/api/v1/users/me").header("origin", "https://shop.example");
    let preflight =
        preflight.header("access-control-request-method", "PATCH").send().await.expect(200);
    assert_eq!(preflight.header("access-control-max-age"), "600");
    assert_eq!(preflight.header("access-control-allow-credentials"), "true");
}
