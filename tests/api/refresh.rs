//! Rotation, its retries, and theft.

use serde_json::Value;

use super::support::{Person, TestApp};

async fn rotate(app: &TestApp, token: &str) -> (String, String) {
    let body = app.refresh_call(token).send().await.expect(200).json();
    let text = |value: &Value| value.as_str().unwrap().to_owned();
    (text(&body["refresh_token"]), text(&body["access_token"]))
}

async fn age_uses(app: &TestApp) {
    app.execute("update refresh_tokens set used_at = used_at - interval '11 seconds'").await;
}

/// The session is over for everybody who holds a token of it.
async fn assert_ended(app: &TestApp, ada: &Person, latest: &str) {
    assert!(!app.accepts(&ada.access).await);
    app.refresh_call(latest).send().await.expect_problem(401, "REFRESH_TOKEN_INVALID");
    let reason = "select count(*) from sessions where end_reason = 'refresh_token_reused'";
    assert_eq!(app.count(reason).await, 1);
    let told = "select count(*) from audit_events where action = 'auth.token_reuse'";
    assert_eq!(app.count(told).await, 1);
}

#[tokio::test]
async fn each_use_gives_a_new_pair_and_the_cookie_travels_as_a_cookie() {
    let app = TestApp::new().await;
    let ada = app.customer("ada").await;
    let call = app.post("/api/v1/auth/refresh").cookie("refresh", &ada.refresh);
    let answer = call.send().await.expect(200);
    let (next, attributes) = answer.cookie("refresh").unwrap();
    assert_ne!(next, ada.refresh);
    assert!(attributes.contains("HttpOnly") && attributes.contains("SameSite=Strict"));
    assert!(answer.json().get("refresh_token").is_none());
    assert!(app.accepts(answer.json()["access_token"].as_str().unwrap()).await);
    assert!(app.accepts(&ada.access).await, "the old access token lives to its end");
    assert_eq!(app.count("select generation::bigint from sessions").await, 1);
}

#[tokio::test]
async fn the_parent_again_within_ten_seconds_gets_the_same_successor() {
    let app = TestApp::new().await;
    let ada = app.customer("ada").await;
    let (first, _) = rotate(&app, &ada.refresh).await;
    let (again, access) = rotate(&app, &ada.refresh).await;
    assert_eq!(first, again);
    assert!(app.accepts(&access).await);
    assert_eq!(app.count("select count(*) from refresh_tokens").await, 2);
}

#[tokio::test]
async fn fifty_simultaneous_refreshes_over_two_instances_give_one_successor() {
    let app = TestApp::new().await;
    let other = app.sibling().await;
    let ada = app.customer("ada").await;
    let calls = (0..50).map(|n| {
        let instance = if n % 2 == 0 { &app } else { &other };
        tokio::spawn(instance.refresh_call(&ada.refresh).send())
    });
    let mut successors = std::collections::HashSet::new();
    for call in calls.collect::<Vec<_>>() {
        let body = call.await.unwrap().expect(200).json();
        successors.insert(body["refresh_token"].as_str().unwrap().to_owned());
    }
    assert_eq!(successors.len(), 1);
    assert_eq!(app.count("select count(*) from refresh_tokens where generation = 1").await, 1);
    rotate(&app, successors.iter().next().unwrap()).await;
}

#[tokio::test]
async fn the_parent_after_ten_seconds_ends_the_session() {
    let app = TestApp::new().await;
    let ada = app.customer("ada").await;
    let (next, _) = rotate(&app, &ada.refresh).await;
    age_uses(&app).await;
    let answer = app.refresh_call(&ada.refresh).send().await;
    let answer = answer.expect_problem(401, "REFRESH_TOKEN_REUSED");
    assert!(answer.headers.get("set-cookie").is_none(), "a winner's cookie must not be cleared");
    assert_ended(&app, &ada, &next).await;
}

#[tokio::test]
async fn an_older_ancestor_ends_the_session_at_any_time() {
    let app = TestApp::new().await;
    let ada = app.customer("ada").await;
    let (child, _) = rotate(&app, &ada.refresh).await;
    let (grandchild, _) = rotate(&app, &child).await;
    app.refresh_call(&ada.refresh).send().await.expect_problem(401, "REFRESH_TOKEN_REUSED");
    assert_ended(&app, &ada, &grandchild).await;
}

#[tokio::test]
async fn theft_in_one_session_leaves_the_others_of_the_user() {
    let app = TestApp::new().await;
    let ada = app.customer("ada").await;
    let phone = app.sign_in(&ada.email).await;
    rotate(&app, &ada.refresh).await;
    age_uses(&app).await;
    app.refresh_call(&ada.refresh).send().await.expect(401);
    assert!(app.accepts(&phone.access).await);
    rotate(&app, &phone.refresh).await;
}

#[tokio::test]
async fn sessions_slide_with_use_and_end_absolutely() {
    let app = TestApp::new().await;
    let ada = app.customer("ada").await;
    app.execute("update sessions set expires_at = now() + interval '1 minute'").await;
    let (next, _) = rotate(&app, &ada.refresh).await;
    let slid = "select count(*) from sessions where expires_at > now() + interval '6 days'";
    assert_eq!(app.count(slid).await, 1);
    app.execute("update sessions set absolute_expires_at = now() + interval '1 hour'").await;
    let (next, _) = rotate(&app, &next).await;
    let capped = "select count(*) from sessions where expires_at = absolute_expires_at";
    assert_eq!(app.count(capped).await, 1);
    app.execute("update sessions set expires_at = now() - interval '1 second'").await;
    app.refresh_call(&next).send().await.expect_problem(401, "REFRESH_TOKEN_INVALID");
}

#[tokio::test]
async fn what_is_no_refresh_token_is_refused_and_clears_no_cookie() {
    let app = TestApp::new().await;
    let ada = app.customer("ada").await;
    let mut forged = mainstay::shared::crypto::from_base64url(&ada.refresh).unwrap();
    forged[40] ^= 1;
    let forged = mainstay::shared::crypto::to_base64url(&forged);
    for token in ["", "garbage", &ada.access, &forged, &"A".repeat(64)] {
        let answer = app.refresh_call(token).send().await;
        let answer = answer.expect_problem(401, "REFRESH_TOKEN_INVALID");
        assert!(answer.headers.get("set-cookie").is_none());
    }
    app.post("/api/v1/auth/refresh").send().await.expect_problem(401, "REFRESH_TOKEN_INVALID");
    rotate(&app, &ada.refresh).await;
}

#[tokio::test]
async fn a_disabled_user_cannot_refresh_and_goes_on_when_enabled_again() {
    let app = TestApp::new().await;
    let ada = app.customer("ada").await;
    app.execute("update users set disabled_at = now()").await;
    app.refresh_call(&ada.refresh).send().await.expect_problem(401, "REFRESH_TOKEN_INVALID");
    app.execute("update users set disabled_at = null").await;
    rotate(&app, &ada.refresh).await;
}
