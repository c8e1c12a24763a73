//! What owners are told unasked.

use serde_json::json;

use super::{super::support::TestApp, NEW_PASSWORD, PASSWORD};

const ADA: &str = "ada@example.com";
const NEW_DEVICE: &str = "Sign-in on a new device";

#[tokio::test]
async fn a_new_device_is_told_but_not_the_first_one_of_a_new_account_nor_a_known_one() {
    let app = TestApp::mailing(&[]).await;
    let ada = app.customer("ada").await;
    assert_eq!(app.subjects(ADA).await, [""; 0]);
    let login = |device: &str| {
        let body = json!({"email": ADA, "password": PASSWORD, "device_token": device});
        let call = app.post("/api/v1/auth/login").json(&body);
        call.header("user-agent", "Violin/1.0 (https://evil.example)")
    };
    login(&ada.device).send().await.expect(200);
    assert_eq!(app.subjects(ADA).await, [""; 0]);
    login("").send().await.expect(200);
    let letters = app.letters(ADA).await;
    assert_eq!(letters.len(), 1);
    let content = &letters[0].content;
    assert_eq!(content.subject, NEW_DEVICE);
    assert!(content.text.contains("Violin/1.0"), "{}", content.text);
    assert!(!content.text.contains("evil.example"), "{}", content.text);
}

#[tokio::test]
async fn when_all_devices_are_forgotten_the_next_one_is_told() {
    let app = TestApp::mailing(&[]).await;
    app.customer("ada").await;
    app.execute("update users set created_at = now() - interval '2 days'").await;
    app.execute("delete from known_devices").await;
    let ada = app.sign_in(ADA).await;
    assert_eq!(app.subjects(ADA).await, [NEW_DEVICE]);
    app.execute("update known_devices set expires_at = now()").await;
    let body = json!({"email": ADA, "password": PASSWORD, "device_token": ada.device});
    app.post("/api/v1/auth/login").json(&body).send().await.expect(200);
    assert_eq!(app.subjects(ADA).await, [NEW_DEVICE; 2]);
}

#[tokio::test]
async fn a_changed_password_is_told_and_a_refused_change_is_not() {
    let app = TestApp::mailing(&[]).await;
    let ada = app.customer("ada").await;
    for (current, status) in [("wrong-velvet-lantern", 401), (PASSWORD, 204)] {
        let body = json!({"current_password": current, "new_password": NEW_PASSWORD});
        let call = app.call("PUT", "/api/v1/auth/password").bearer(&ada.access).json(&body);
        call.send().await.expect(status);
    }
    assert_eq!(app.subjects(ADA).await, ["Your password was changed"]);
}

#[tokio::test]
async fn a_reused_refresh_token_is_told() {
    let app = TestApp::mailing(&[]).await;
    let ada = app.customer("ada").await;
    let next = app.refresh_call(&ada.refresh).send().await.expect(200).json();
    app.refresh_call(next["refresh_token"].as_str().unwrap()).send().await.expect(200);
    let thief = app.refresh_call(&ada.refresh).header("user-agent", "thief/1.0");
    thief.send().await.expect_problem(401, "REFRESH_TOKEN_REUSED");
    let letters = app.letters(ADA).await;
    assert_eq!(letters.len(), 1);
    assert_eq!(letters[0].content.subject, "A session was ended for your safety");
    assert!(letters[0].content.text.contains("thief/1.0"), "{}", letters[0].content.text);
}
