//! Another address for an account.

use serde_json::json;

use super::{super::support::TestApp, NEW_PASSWORD, PASSWORD, is_dead_link, told};

const ADA: &str = "ada@example.com";
const NEW: &str = "ada@new.example";

#[tokio::test]
async fn an_address_changes_when_the_new_one_is_verified_and_the_former_one_is_told() {
    let app = TestApp::mailing(&[]).await;
    let ada = app.customer("ada").await;
    app.change_email(&ada.access, NEW).await.expect(202);
    assert_eq!(app.subjects(NEW).await, ["Confirm your new e-mail address"]);
    assert_eq!(app.me(&ada.access).await["email"], ADA);
    app.forgot(ADA).await.expect(202);
    let former = app.newest_token(ADA).await;
    let token = app.newest_token(NEW).await;
    app.verified(&token).await.expect(204);
    let me = app.me(&ada.access).await;
    assert_eq!((&me["email"], &me["email_verified"]), (&json!(NEW), &json!(true)));
    assert_eq!(app.subjects(ADA).await.last(), Some(&"Your e-mail address was changed"));
    app.login(NEW, PASSWORD).await.expect(200);
    app.login(ADA, PASSWORD).await.expect(401);
    is_dead_link(app.verified(&token).await);
    is_dead_link(app.reset(&former, NEW_PASSWORD).await);
    let events = "select count(*) from audit_events where target_id = actor_id
                  and action in ('auth.email_change_requested', 'auth.email_changed')";
    assert_eq!(app.count(events).await, 2);
}

#[tokio::test]
async fn asking_for_a_taken_address_tells_nothing_and_its_owner_decides_nothing() {
    let app = TestApp::mailing(&[]).await;
    let (ada, eve) = (app.customer("ada").await, app.customer("eve").await);
    app.change_email(&ada.access, &eve.email).await.expect(202);
    let token = app.newest_token(&eve.email).await;
    app.verified(&token).await.expect_problem(409, "EMAIL_TAKEN");
    assert_eq!(app.me(&ada.access).await["email"], ADA);
    assert_eq!(app.me(&eve.access).await["email"], eve.email);
}

#[tokio::test]
async fn free_and_taken_addresses_cost_the_same_statements_and_are_answered_alike() {
    let app = TestApp::new().await;
    let ada = app.customer("ada").await;
    app.customer("eve").await;
    let free = told(app.change_email(&ada.access, NEW)).await;
    assert!(free.0.starts_with("202") && free.1.len() >= 5, "{free:?}");
    assert_eq!(told(app.change_email(&ada.access, "eve@example.com")).await, free);
}

#[tokio::test]
async fn it_needs_the_current_password_and_guesses_of_it_are_counted() {
    let app = TestApp::new().await;
    let ada = app.customer("ada").await;
    let body = json!({"email": NEW, "current_password": "wrong-velvet-lantern"});
    let guess = || app.call("PUT", "/api/v1/users/me/email").bearer(&ada.access).json(&body);
    for _ in 0..10 {
        guess().send().await.expect_problem(401, "INVALID_CREDENTIALS");
    }
    guess().send().await.expect_problem(429, "TOO_MANY_ATTEMPTS");
    app.change_email(&ada.access, NEW).await.expect(429);
    assert_eq!(app.count("select count(*) from mail_tokens").await, 0);
    assert_eq!(app.count("select count(*) from jobs").await, 0);
}

#[tokio::test]
async fn strangers_are_not_flooded_through_us() {
    let app = TestApp::new().await;
    let ada = app.customer("ada").await;
    for _ in 0..5 {
        app.change_email(&ada.access, NEW).await.expect(202);
    }
    let answer = app.change_email(&ada.access, NEW).await.expect_problem(429, "RATE_LIMITED");
    assert_eq!(answer.header("retry-after"), "3600");
    assert_eq!(app.count("select count(*) from jobs").await, 5);
}

/// Else whoever knew the old password would take the account with the next press of a button.
#[tokio::test]
async fn a_new_password_voids_the_link_to_another_address() {
    let app = TestApp::mailing(&[]).await;
    let ada = app.customer("ada").await;
    app.change_email(&ada.access, "thief@example.com").await.expect(202);
    let token = app.newest_token("thief@example.com").await;
    let change = json!({"current_password": PASSWORD, "new_password": NEW_PASSWORD});
    let change = app.call("PUT", "/api/v1/auth/password").bearer(&ada.access).json(&change);
    change.send().await.expect(204);
    is_dead_link(app.verified(&token).await);
    let body = json!({"email": "thief@example.com", "current_password": NEW_PASSWORD});
    let again = app.call("PUT", "/api/v1/users/me/email").bearer(&ada.access).json(&body);
    again.send().await.expect(202);
    let token = app.newest_token("thief@example.com").await;
    app.forgot(ADA).await.expect(202);
    app.reset(&app.newest_token(ADA).await, PASSWORD).await.expect(204);
    is_dead_link(app.verified(&token).await);
}

#[tokio::test]
async fn of_thirty_simultaneous_uses_of_a_link_one_succeeds() {
    let app = TestApp::mailing(&[]).await;
    let ada = app.customer("ada").await;
    app.change_email(&ada.access, NEW).await.expect(202);
    let body = json!({"token": app.newest_token(NEW).await});
    let calls: Vec<_> = (0..30)
        .map(|_| tokio::spawn(app.post("/api/v1/auth/email/verify").json(&body).send()))
        .collect();
    let mut answers = Vec::new();
    for call in calls {
        answers.push(call.await.unwrap().status.as_u16());
    }
    assert_eq!(answers.iter().filter(|status| **status == 204).count(), 1, "{answers:?}");
    assert_eq!(answers.iter().filter(|status| **status == 422).count(), 29, "{answers:?}");
    assert_eq!(app.subjects(ADA).await, ["Your e-mail address was changed"]);
}
