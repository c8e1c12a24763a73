//! Opening an account.

use serde_json::json;

use super::support::{TestApp, people::PASSWORD};

fn body(email: &str, password: &str) -> serde_json::Value {
    json!({"email": email, "password": password, "name": "Ada Lovelace"})
}

#[tokio::test]
async fn a_new_account_is_answered_and_stored_with_its_audit_event() {
    let app = TestApp::new().await;
    let answer = app.post("/api/v1/auth/register").json(&body("Ada@Example.com", PASSWORD));
    let answer = answer.send().await.expect(201);
    let user = answer.json();
    assert_eq!(answer.header("location"), "/api/v1/users/me");
    assert_eq!(answer.header("cache-control"), "no-store");
    let mut members: Vec<_> = user.as_object().unwrap().keys().cloned().collect();
    members.sort();
    let documented =
        ["created_at", "disabled", "email", "email_verified", "id", "name", "role", "updated_at"];
    assert_eq!(members, documented);
    assert_eq!((&user["email"], &user["role"]), (&json!("Ada@example.com"), &json!("customer")));
    assert!(user["created_at"].as_str().unwrap().ends_with('Z'));
    assert_eq!(
        app.count("select count(*) from users where email_key = 'ada@example.com'").await,
        1
    );
    let events = "select count(*) from audit_events a join users u on u.id = a.target_id
                  where a.action = 'user.registered' and a.actor_id = u.id";
    assert_eq!(app.count(events).await, 1);
}

#[tokio::test]
async fn a_mailbox_has_one_account_however_it_is_spelt() {
    let app = TestApp::new().await;
    app.post("/api/v1/auth/register")
        .json(&body("josé@example.com", PASSWORD))
        .send()
        .await
        .expect(201);
    for email in [
        "JOSÉ@EXAMPLE.COM",
        "jose\u{301}@example.com",
        " josé@example.com ",
        "\u{ff4a}osé@example.com",
    ] {
        let answer = app.post("/api/v1/auth/register").json(&body(email, PASSWORD)).send().await;
        answer.expect_problem(409, "EMAIL_TAKEN");
    }
    assert_eq!(app.count("select count(*) from users").await, 1);
    assert_eq!(app.count("select count(*) from audit_events").await, 1);
}

#[tokio::test]
async fn thirty_simultaneous_registrations_of_one_mailbox_make_one_account() {
    let app = TestApp::new().await;
    let calls = (0..30).map(|_| {
        tokio::spawn(
            app.post("/api/v1/auth/register").json(&body("ada@example.com", PASSWORD)).send(),
        )
    });
    let mut created = 0;
    for call in calls.collect::<Vec<_>>() {
        match call.await.unwrap().status.as_u16() {
            201 => created += 1,
            status => assert_eq!(status, 409),
        }
    }
    assert_eq!(created, 1);
    assert_eq!(app.count("select count(*) from users").await, 1);
}

#[tokio::test]
async fn a_password_is_stored_as_argon2id_of_at_least_19_mebibytes() {
    let app = TestApp::new().await;
    app.post("/api/v1/auth/register")
        .json(&body("ada@example.com", PASSWORD))
        .send()
        .await
        .expect(201);
    let hash: String =
        sqlx::query_scalar("select password_hash from users").fetch_one(&app.pool).await.unwrap();
    assert!(hash.starts_with("$argon2id$v=19$m=19456,t=2,p=1$"), "{hash}");
    let salt = hash.split('$').nth(4).unwrap();
    assert_eq!(salt.len(), 22, "16 bytes in base64");
}

#[tokio::test]
async fn every_fault_is_told_at_once_and_no_value_is_repeated() {
    let app = TestApp::new().await;
    let bad = json!({"email": "nobody", "password": "canary7", "name": ""});
    let answer = app.post("/api/v1/auth/register").json(&bad).send().await;
    let answer = answer.expect_problem(422, "VALIDATION_FAILED");
    let fields: Vec<_> = answer.faults().into_iter().map(|(field, _)| field).collect();
    assert_eq!(fields, ["email", "name", "password"]);
    assert!(!String::from_utf8_lossy(&answer.body).contains("canary7"));
    assert_eq!(app.count("select count(*) from users").await, 0);
}

#[tokio::test]
async fn fields_that_are_not_the_clients_to_set_are_refused() {
    let app = TestApp::new().await;
    for field in ["role", "is_admin", "id", "email_verified", "disabled", "password_hash"] {
        let mut bad = body("ada@example.com", PASSWORD);
        bad[field] = json!("admin");
        let answer = app.post("/api/v1/auth/register").json(&bad).send().await;
        let answer = answer.expect_problem(422, "VALIDATION_FAILED");
        assert_eq!(answer.faults(), [(field.to_owned(), "unknown_field".to_owned())]);
    }
    assert_eq!(app.count("select count(*) from users").await, 0);
}

#[tokio::test]
async fn passwords_that_are_common_short_personal_or_huge_are_refused() {
    let app = TestApp::new().await;
    let huge = "x".repeat(1025);
    for password in
        ["password1", "Abc123!", "lovelace-1815-x", "mainstay-orbit-77", "qwerty123456", &huge]
    {
        let started = std::time::Instant::now();
        let answer = app.post("/api/v1/auth/register").json(&body("ada@example.com", password));
        let answer = answer.send().await.expect_problem(422, "VALIDATION_FAILED");
        assert_eq!(answer.faults()[0].0, "password", "{password}");
        assert!(started.elapsed().as_millis() < 500, "{:?}", started.elapsed());
    }
}

#[tokio::test]
async fn long_unicode_passwords_work_to_their_last_character() {
    let app = TestApp::new().await;
    let long: String = (0..128u32).map(|n| char::from_u32(0x430 + n * 7 % 32).unwrap()).collect();
    app.post("/api/v1/auth/register")
        .json(&body("ada@example.com", &long))
        .send()
        .await
        .expect(201);
    app.login("ada@example.com", &long).await.expect(200);
    let shorter: String = long.chars().take(127).collect();
    app.login("ada@example.com", &shorter).await.expect_problem(401, "INVALID_CREDENTIALS");
}
