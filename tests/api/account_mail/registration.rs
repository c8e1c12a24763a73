//! Opening an account whose address must be verified.

use serde_json::json;

use super::{super::support::TestApp, PASSWORD, VERIFIED, is_dead_link, told};

const ADA: &str = "ada@example.com";

#[tokio::test]
async fn an_account_is_opened_by_mail_and_let_in_once_its_address_is_verified() {
    let app = TestApp::mailing(&[VERIFIED]).await;
    let answer = app.registered(ADA).await.expect(202);
    assert!(answer.body.is_empty() && answer.headers.get("location").is_none());
    app.login(ADA, "wrong-velvet-lantern").await.expect_problem(401, "INVALID_CREDENTIALS");
    app.login(ADA, PASSWORD).await.expect_problem(403, "EMAIL_NOT_VERIFIED");
    let token = app.newest_token(ADA).await;
    app.verified(&token).await.expect(204);
    let answer = app.login(ADA, PASSWORD).await.expect(200).json();
    assert_eq!(answer["user"]["email_verified"], json!(true));
    is_dead_link(app.verified(&token).await);
    let events = "select count(*) from audit_events where action in
                  ('user.registered', 'auth.login_failed', 'auth.email_verified')";
    assert_eq!(app.count(events).await, 4);
}

#[tokio::test]
async fn a_mailbox_that_has_an_account_is_told_so_and_nobody_else_is() {
    let app = TestApp::mailing(&[VERIFIED]).await;
    app.customer("ada").await;
    app.registered("ADA@Example.com").await.expect(202);
    assert_eq!(app.subjects(ADA).await, ["You already have an account"]);
    assert_eq!(app.count("select count(*) from users").await, 1);
    app.login(ADA, PASSWORD).await.expect(200);
    let token = app.newest_token(ADA).await;
    is_dead_link(app.verified(&token).await);
    app.reset(&token, super::NEW_PASSWORD).await.expect(204);
}

#[tokio::test]
async fn new_and_known_addresses_cost_the_same_statements_and_are_answered_alike() {
    let app = TestApp::with(&[VERIFIED]).await;
    app.customer("ada").await;
    app.registered("waiting@example.com").await.expect(202);
    let (new, statements) = told(app.registered("new@example.com")).await;
    assert!(statements.len() >= 5, "{statements:?}");
    for email in [ADA, "waiting@example.com", "new@example.com"] {
        assert_eq!(told(app.registered(email)).await, (new.clone(), statements.clone()), "{email}");
    }
}

#[tokio::test]
async fn simultaneous_registrations_of_one_mailbox_make_one_account_and_answer_alike() {
    let app = TestApp::mailing(&[VERIFIED]).await;
    let body = json!({"email": ADA, "password": PASSWORD, "name": "Ada"});
    let calls: Vec<_> = (0..10)
        .map(|_| tokio::spawn(app.post("/api/v1/auth/register").json(&body).send()))
        .collect();
    for call in calls {
        call.await.unwrap().expect(202);
    }
    assert_eq!(app.count("select count(*) from users").await, 1);
    let told = "Confirm your e-mail address";
    assert_eq!(app.subjects(ADA).await.iter().filter(|subject| **subject == told).count(), 1);
}

#[tokio::test]
async fn a_link_is_sent_again_only_to_those_who_wait_for_it_and_voids_the_one_before() {
    let app = TestApp::mailing(&[VERIFIED]).await;
    app.registered(ADA).await.expect(202);
    let first = app.newest_token(ADA).await;
    app.posted("email/resend", json!({"email": "Ada@example.com"})).await.expect(202);
    let second = app.newest_token(ADA).await;
    assert_ne!(first, second);
    is_dead_link(app.verified(&first).await);
    app.verified(&second).await.expect(204);
    app.posted("email/resend", json!({"email": ADA})).await.expect(202);
    assert_eq!(app.letters(ADA).await.len(), 2);
}

#[tokio::test]
async fn asking_for_a_link_again_tells_nothing_of_any_address() {
    let app = TestApp::with(&[VERIFIED]).await;
    app.customer("ada").await;
    app.registered("waiting@example.com").await.expect(202);
    let resend = |email: &str| app.post("/api/v1/auth/email/resend").json(&json!({"email": email}));
    let nobody = told(resend("nobody@example.com").send()).await;
    assert!(nobody.0.starts_with("202") && nobody.1.len() >= 4, "{nobody:?}");
    for email in [ADA, "waiting@example.com"] {
        assert_eq!(told(resend(email).send()).await, nobody, "{email}");
    }
    // Beyond the fifth link of an hour too.
    for _ in 0..6 {
        assert_eq!(told(resend("waiting@example.com").send()).await, nobody);
    }
    assert_eq!(app.count("select max(issues)::bigint from mail_tokens").await, 5);
}

#[tokio::test]
async fn a_squatter_is_put_out_by_whoever_owns_the_mailbox() {
    let app = TestApp::mailing(&[VERIFIED]).await;
    app.registered(ADA).await.expect(202);
    app.forgot(ADA).await.expect(202);
    app.reset(&app.newest_token(ADA).await, super::NEW_PASSWORD).await.expect(204);
    app.login(ADA, PASSWORD).await.expect(401);
    app.login(ADA, super::NEW_PASSWORD).await.expect(200);
}

/// Where the address need not be verified as well, a registration is told when it happens.
#[tokio::test]
async fn who_registers_is_told_of_once_whichever_way_the_address_is_proved() {
    let told =
        "select string_agg(type || ' ' || sequence, ', ' order by sequence) from outbox_events";
    for vars in [&[VERIFIED][..], &[]] {
        for by_link in [true, false] {
            let app = TestApp::mailing(vars).await;
            app.registered(ADA).await;
            let before = app.count("select count(*) from outbox_events").await;
            assert_eq!(before, i64::from(vars.is_empty()), "{vars:?}");
            if by_link {
                app.verified(&app.newest_token(ADA).await).await.expect(204);
            }
            for password in [super::NEW_PASSWORD, PASSWORD] {
                app.forgot(ADA).await.expect(202);
                app.reset(&app.newest_token(ADA).await, password).await.expect(204);
            }
            let told: String = sqlx::query_scalar(told).fetch_one(&app.pool).await.unwrap();
            let expected = "user.registered 1, user.password_changed 2, user.password_changed 3";
            assert_eq!(told, expected, "{vars:?} {by_link}");
        }
    }
}

#[tokio::test]
async fn where_addresses_need_not_be_verified_the_link_comes_all_the_same() {
    let app = TestApp::mailing(&[]).await;
    app.registered(ADA).await.expect(201);
    let access = app.sign_in(ADA).await.access;
    assert_eq!(app.me(&access).await["email_verified"], json!(false));
    app.verified(&app.newest_token(ADA).await).await.expect(204);
    assert_eq!(app.me(&access).await["email_verified"], json!(true));
}
