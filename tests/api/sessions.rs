//! Devices: seeing and ending them.

use mainstay::services::reaper;
use serde_json::json;

use super::support::{TestApp, people::PASSWORD};

#[tokio::test]
async fn a_user_sees_every_device_and_which_one_it_is() {
    let app = TestApp::new().await;
    let ada = app.customer("ada").await;
    let body =
        serde_json::json!({"email": ada.email, "password": PASSWORD, "device_name": "Phone"});
    let call = app.post("/api/v1/auth/login").header("user-agent", "Phone/1.0").json(&body);
    call.send().await.expect(200);
    let list = app.get("/api/v1/auth/sessions").bearer(&ada.access).send().await.expect(200).json();
    let devices = list["data"].as_array().unwrap();
    assert_eq!(devices.len(), 2);
    assert_eq!(
        (&devices[0]["device_name"], &devices[0]["user_agent"]),
        (&"Phone".into(), &"Phone/1.0".into())
    );
    assert_eq!((&devices[0]["current"], &devices[1]["current"]), (&false.into(), &true.into()));
    assert_eq!(devices[1]["address"], "127.0.0.1");
    assert!(devices[1]["expires_at"].as_str() > devices[1]["last_used_at"].as_str());
}

#[tokio::test]
async fn ending_a_device_voids_its_tokens_here_at_once_and_elsewhere_within_a_second() {
    let app = TestApp::new().await;
    let other = app.sibling().await;
    let ada = app.customer("ada").await;
    let phone = app.sign_in(&ada.email).await;
    assert!(other.accepts(&phone.access).await);
    let list = app.get("/api/v1/auth/sessions").bearer(&phone.access).send().await.json();
    let id =
        list["data"].as_array().unwrap().iter().find(|one| one["current"] == true).unwrap()["id"]
            .clone();
    let path = format!("/api/v1/auth/sessions/{}", id.as_str().unwrap());
    app.call("DELETE", &path).bearer(&ada.access).send().await.expect(204);
    assert!(!app.accepts(&phone.access).await);
    super::support::eventually("the other instance knows", async || {
        !other.accepts(&phone.access).await
    })
    .await;
    app.refresh_call(&phone.refresh).send().await.expect_problem(401, "REFRESH_TOKEN_INVALID");
    assert!(app.accepts(&ada.access).await && other.accepts(&ada.access).await);
    app.call("DELETE", &path).bearer(&ada.access).send().await.expect_problem(404, "NOT_FOUND");
}

/// Also an hour later, when it has swept away what nobody needs.
#[tokio::test]
async fn what_was_voided_before_an_instance_started_is_refused_by_it() {
    let app = TestApp::new().await;
    let (ada, eve) = (app.customer("ada").await, app.customer("eve").await);
    app.post("/api/v1/auth/logout").bearer(&ada.access).send().await.expect(204);
    app.execute("update change_feed set at = at - interval '50 minutes'").await;
    reaper::reap(&app.app.db, app.app.config.outbox.keep).await.unwrap();
    let later = app.sibling().await;
    assert!(!later.accepts(&ada.access).await);
    assert!(later.accepts(&eve.access).await);
}

/// A refresh token, and that of the device.
async fn signed_in(app: &TestApp, remember: bool, device: Option<&str>) -> (String, String) {
    let body = json!({"email": "ada@example.com", "password": PASSWORD, "token_delivery": "body",
                      "remember_me": remember, "device_token": device});
    let answer = app.post("/api/v1/auth/login").json(&body).send().await.expect(200).json();
    let text = |name: &str| answer[name].as_str().unwrap().to_owned();
    (text("refresh_token"), text("device_token"))
}

#[tokio::test]
async fn the_reaper_leaves_every_live_session_its_tokens_and_devices() {
    let app = TestApp::new().await;
    app.customer("ada").await;
    let sessions = [signed_in(&app, false, None).await, signed_in(&app, true, None).await];
    let reap = || reaper::reap(&app.app.db, app.app.config.outbox.keep);
    reap().await.unwrap();
    // To their last minute.
    app.execute("update sessions set absolute_expires_at = now() + interval '1 minute'").await;
    app.execute("update known_devices set expires_at = now() + interval '1 minute'").await;
    reap().await.unwrap();
    for (refresh, device) in &sessions {
        app.refresh_call(refresh).send().await.expect(200);
        assert_eq!(signed_in(&app, false, Some(device)).await.1, *device, "it is known");
    }
    app.execute("update sessions set absolute_expires_at = now() - interval '31 days'").await;
    app.execute("update known_devices set expires_at = now() - interval '1 minute'").await;
    reap().await.unwrap();
    reap().await.unwrap();
    let left = "select (select count(*) from sessions) + (select count(*) from refresh_tokens)
                     + (select count(*) from known_devices)";
    assert_eq!(app.count(left).await, 0);
}

#[tokio::test]
async fn anothers_session_is_unknown() {
    let app = TestApp::new().await;
    let (ada, eve) = (app.customer("ada").await, app.customer("eve").await);
    let list = app.get("/api/v1/auth/sessions").bearer(&ada.access).send().await.json();
    let path = format!("/api/v1/auth/sessions/{}", list["data"][0]["id"].as_str().unwrap());
    app.call("DELETE", &path).bearer(&eve.access).send().await.expect_problem(404, "NOT_FOUND");
    assert!(app.accepts(&ada.access).await);
}

#[tokio::test]
async fn logout_ends_this_session_and_clears_its_cookie() {
    let app = TestApp::new().await;
    let ada = app.customer("ada").await;
    let phone = app.sign_in(&ada.email).await;
    let answer = app.post("/api/v1/auth/logout").bearer(&ada.access).send().await.expect(204);
    let (value, attributes) = answer.cookie("refresh").unwrap();
    assert!(value.is_empty() && attributes.contains("Max-Age=0"));
    assert_eq!(answer.header("clear-site-data"), "\"cache\", \"storage\"");
    app.get("/api/v1/users/me")
        .bearer(&ada.access)
        .send()
        .await
        .expect_problem(401, "UNAUTHENTICATED");
    app.refresh_call(&ada.refresh).send().await.expect(401);
    assert!(app.accepts(&phone.access).await);
    let ended = "select count(*) from audit_events where action = 'auth.sessions_ended'";
    assert_eq!(app.count(ended).await, 1);
}

#[tokio::test]
async fn logout_works_with_the_cookie_alone_when_the_access_token_is_gone() {
    let app = TestApp::new().await;
    let ada = app.customer("ada").await;
    app.post("/api/v1/auth/logout").cookie("refresh", &ada.refresh).send().await.expect(204);
    app.refresh_call(&ada.refresh).send().await.expect(401);
    assert!(!app.accepts(&ada.access).await);
    app.post("/api/v1/auth/logout").send().await.expect_problem(401, "UNAUTHENTICATED");
}

#[tokio::test]
async fn logout_all_ends_every_session_of_the_user_and_of_nobody_else() {
    let app = TestApp::new().await;
    let (ada, eve) = (app.customer("ada").await, app.customer("eve").await);
    let phone = app.sign_in(&ada.email).await;
    app.post("/api/v1/auth/logout-all").bearer(&phone.access).send().await.expect(204);
    assert!(!app.accepts(&ada.access).await && !app.accepts(&phone.access).await);
    assert!(app.accepts(&eve.access).await);
    let live = "select count(*) from sessions where ended_at is null";
    assert_eq!(app.count(live).await, 1);
}
