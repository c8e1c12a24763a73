//! Changing the password.

use serde_json::json;

use super::support::{Answer, TestApp, people::PASSWORD};

const NEW: &str = "copper-meadow-violin-81";

async fn change(app: &TestApp, access: &str, current: &str, new: &str) -> Answer {
    let body = json!({"current_password": current, "new_password": new});
    app.call("PUT", "/api/v1/auth/password").bearer(access).json(&body).send().await
}

#[tokio::test]
async fn a_changed_password_ends_all_other_sessions_and_only_those() {
    let app = TestApp::new().await;
    let ada = app.customer("ada").await;
    let phone = app.sign_in(&ada.email).await;
    change(&app, &ada.access, PASSWORD, NEW).await.expect(204);
    assert!(app.accepts(&ada.access).await && !app.accepts(&phone.access).await);
    app.refresh_call(&phone.refresh).send().await.expect(401);
    app.refresh_call(&ada.refresh).send().await.expect(200);
    app.login(&ada.email, PASSWORD).await.expect_problem(401, "INVALID_CREDENTIALS");
    app.login(&ada.email, NEW).await.expect(200);
    let told = "select count(*) from audit_events where action = 'auth.password_changed'";
    assert_eq!(app.count(told).await, 1);
}

#[tokio::test]
async fn the_current_password_is_needed_and_guesses_of_it_are_throttled() {
    let app = TestApp::new().await;
    let ada = app.customer("ada").await;
    for _ in 0..10 {
        let answer = change(&app, &ada.access, "wrong-velvet-lantern", NEW).await;
        answer.expect_problem(401, "INVALID_CREDENTIALS");
    }
    change(&app, &ada.access, PASSWORD, NEW).await.expect_problem(429, "TOO_MANY_ATTEMPTS");
    app.login(&ada.email, PASSWORD).await.expect(429);
}

#[tokio::test]
async fn a_weak_new_password_is_refused_by_name() {
    let app = TestApp::new().await;
    let ada = app.customer("ada").await;
    for weak in ["password1", "short", "person-ada-1234"] {
        let answer = change(&app, &ada.access, PASSWORD, weak).await;
        let answer = answer.expect_problem(422, "VALIDATION_FAILED");
        assert_eq!(answer.faults()[0].0, "new_password");
    }
    app.login(&ada.email, PASSWORD).await.expect(200);
}

#[tokio::test]
async fn logins_that_race_a_change_leave_no_session_of_the_old_password() {
    let app = TestApp::new().await;
    let ada = app.customer("ada").await;
    let body = json!({"email": ada.email, "password": PASSWORD, "token_delivery": "body"});
    let logins = (0..12).map(|_| tokio::spawn(app.post("/api/v1/auth/login").json(&body).send()));
    let logins: Vec<_> = logins.collect();
    change(&app, &ada.access, PASSWORD, NEW).await.expect(204);
    let mut survivors = 0;
    for login in logins {
        let answer = login.await.unwrap();
        if answer.status == 200 {
            let token = answer.json()["access_token"].as_str().unwrap().to_owned();
            survivors += usize::from(app.accepts(&token).await);
        }
    }
    assert_eq!(survivors, 0, "sessions opened with the old password live on");
}
