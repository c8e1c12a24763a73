//! A forgotten password.

use super::{super::support::TestApp, NEW_PASSWORD, PASSWORD, is_dead_link, told};

const ADA: &str = "ada@example.com";

async fn asked(app: &TestApp) -> String {
    app.forgot(ADA).await.expect(202);
    app.newest_token(ADA).await
}

#[tokio::test]
async fn a_new_password_ends_every_session_and_is_told() {
    let app = TestApp::mailing(&[]).await;
    let (ada, second) = (app.customer("ada").await, app.sign_in(ADA).await);
    for _ in 0..10 {
        app.login(ADA, "wrong-velvet-lantern").await.expect(401);
    }
    app.login(ADA, PASSWORD).await.expect(429);
    let token = asked(&app).await;
    app.reset(&token, NEW_PASSWORD).await.expect(204);
    for session in [&ada, &second] {
        assert!(!app.accepts(&session.access).await);
        app.refresh_call(&session.refresh).send().await.expect(401);
    }
    app.login(ADA, NEW_PASSWORD).await.expect(200);
    app.login(ADA, PASSWORD).await.expect(401);
    assert!(app.subjects(ADA).await.contains(&"Your password was changed"));
    is_dead_link(app.reset(&token, NEW_PASSWORD).await);
    let events = "select count(*) from audit_events a join users u on u.id = a.target_id
                  where a.action = 'auth.password_reset_requested' and a.actor_id is null
                     or a.action = 'auth.password_reset' and a.actor_id = u.id
                        and a.details = '{\"sessions_ended\": 2}'";
    assert_eq!(app.count(events).await, 2);
}

#[tokio::test]
async fn a_password_that_is_refused_leaves_the_link_as_it_is() {
    let app = TestApp::mailing(&[]).await;
    app.customer("ada.lovelace").await;
    app.forgot("ada.lovelace@example.com").await.expect(202);
    let token = app.newest_token("ada.lovelace@example.com").await;
    for weak in ["password1", "lovelace-violin-81", &"x".repeat(1025)] {
        let answer = app.reset(&token, weak).await.expect_problem(422, "VALIDATION_FAILED");
        assert_eq!(answer.faults()[0].0, "password");
    }
    app.reset(&token, NEW_PASSWORD).await.expect(204);
}

#[tokio::test]
async fn of_thirty_simultaneous_uses_of_a_link_one_succeeds() {
    let app = TestApp::mailing(&[]).await;
    app.customer("ada").await;
    let token = asked(&app).await;
    let body = serde_json::json!({"token": token, "password": NEW_PASSWORD});
    let calls: Vec<_> = (0..30)
        .map(|_| tokio::spawn(app.post("/api/v1/auth/password/reset").json(&body).send()))
        .collect();
    let mut answers = Vec::new();
    for call in calls {
        answers.push(call.await.unwrap().status.as_u16());
    }
    assert_eq!(answers.iter().filter(|status| **status == 204).count(), 1, "{answers:?}");
    assert_eq!(answers.iter().filter(|status| **status == 422).count(), 29, "{answers:?}");
    let resets = "select count(*) from audit_events where action = 'auth.password_reset'";
    assert_eq!(app.count(resets).await, 1);
}

#[tokio::test]
async fn expired_and_replaced_links_and_those_of_other_purposes_do_nothing() {
    let app = TestApp::mailing(&[]).await;
    app.customer("ada").await;
    let first = asked(&app).await;
    let second = asked(&app).await;
    is_dead_link(app.reset(&first, NEW_PASSWORD).await);
    is_dead_link(app.verified(&second).await);
    app.execute("update mail_tokens set expires_at = now()").await;
    is_dead_link(app.reset(&second, NEW_PASSWORD).await);
    let third = asked(&app).await;
    app.execute("update users set disabled_at = now()").await;
    is_dead_link(app.reset(&third, NEW_PASSWORD).await);
    for garbage in ["", "x", &"A".repeat(64), &format!("{third}A")] {
        is_dead_link(app.reset(garbage, NEW_PASSWORD).await);
    }
}

#[tokio::test]
async fn known_unknown_and_disabled_addresses_cost_the_same_statements_and_are_answered_alike() {
    let app = TestApp::new().await;
    for name in ["ada", "eve"] {
        app.customer(name).await;
    }
    app.execute("update users set disabled_at = now() where email_key = 'eve@example.com'").await;
    let nobody = told(app.forgot("nobody@example.com")).await;
    assert!(nobody.0.starts_with("202") && nobody.1.len() >= 4, "{nobody:?}");
    for email in [ADA, "eve@example.com", ADA, ADA, ADA, ADA, ADA] {
        assert_eq!(told(app.forgot(email)).await, nobody, "{email}");
    }
    assert_eq!(app.count("select count(*) from mail_tokens").await, 1);
    assert_eq!(app.count("select count(distinct kind) from jobs").await, 1);
    assert_eq!(app.count("select count(*) from jobs").await, 8);
}

/// Requests for one account would follow one another, those for none would not.
#[tokio::test]
async fn simultaneous_requests_for_an_account_take_no_longer_than_those_for_none() {
    let app = TestApp::new().await;
    app.customer("ada").await;
    app.forgot(ADA).await.expect(202);
    app.execute(
        "create function slow() returns trigger language plpgsql as
         $$ begin perform pg_sleep(0.2); return new; end $$",
    )
    .await;
    app.execute("create trigger slow before insert on jobs for each row execute function slow()")
        .await;
    for email in [ADA, "nobody@example.com"] {
        let started = std::time::Instant::now();
        let calls = (0..8).map(|_| app.forgot(email));
        for answer in futures_util::future::join_all(calls).await {
            answer.expect(202);
        }
        eprintln!("eight at once for {email}: {:?}", started.elapsed());
        assert!(started.elapsed() < std::time::Duration::from_millis(1200), "{email}");
    }
    assert_eq!(app.count("select count(*) from jobs").await, 17);
}

#[tokio::test]
async fn mail_goes_to_the_stored_address_and_to_no_look_alike() {
    let app = TestApp::mailing(&[]).await;
    app.customer("mike").await;
    for look_alike in ["m\u{131}ke@example.com", "mi\u{307}ke@example.com"] {
        app.forgot(look_alike).await.expect(202);
        assert_eq!(app.letters(look_alike).await.len(), 0);
    }
    assert_eq!(app.letters("mike@example.com").await.len(), 0);
    for spelling in ["MIKE@EXAMPLE.COM", "\u{ff4d}ike@example.com"] {
        app.forgot(spelling).await.expect(202);
        assert_eq!(app.letters(spelling).await.len(), 0);
    }
    assert_eq!(app.letters("mike@example.com").await.len(), 2);
}

#[tokio::test]
async fn links_begin_with_what_is_configured_whatever_host_a_request_names() {
    let base = ("APP__MAIL__LINK_BASE_URL", "https://shop.example");
    let app = TestApp::mailing(&[base]).await;
    app.customer("ada").await;
    let call = app.post("/api/v1/auth/password/forgot").header("host", "evil.example");
    let call =
        call.header("x-forwarded-host", "evil.example").header("forwarded", "host=evil.example");
    call.json(&serde_json::json!({"email": ADA})).send().await.expect(202);
    let letters = app.letters(ADA).await;
    let content = &letters[0].content;
    assert!(content.text.contains("\nhttps://shop.example/account/reset-password#token="));
    assert!(!content.text.contains("evil") && !content.html.contains("evil"), "{}", content.text);
}

#[tokio::test]
async fn scanners_that_open_links_change_nothing() {
    let app = TestApp::mailing(&[]).await;
    app.customer("ada").await;
    let token = asked(&app).await;
    for method in ["GET", "HEAD"] {
        app.call(method, "/account/reset-password").send().await.expect(200);
        for path in ["password/reset", "email/verify"] {
            let path = format!("/api/v1/auth/{path}");
            app.call(method, &path).send().await.expect(405);
            let query = format!("{path}?token={token}&password={NEW_PASSWORD}");
            app.call(method, &query).send().await.expect(405);
        }
    }
    app.login(ADA, PASSWORD).await.expect(200);
    app.reset(&token, NEW_PASSWORD).await.expect(204);
}
