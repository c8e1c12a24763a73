//! Guessing is slowed down, people are not.

use serde_json::json;

use super::support::{Answer, TestApp, people::PASSWORD};

const WRONG: &str = "wrong-velvet-lantern";

async fn fail(app: &TestApp, email: &str, times: usize) {
    for _ in 0..times {
        app.login(email, WRONG).await.expect_problem(401, "INVALID_CREDENTIALS");
    }
}

async fn login_from(app: &TestApp, email: &str, password: &str, device: &str) -> Answer {
    let body = json!({"email": email, "password": password, "device_token": device});
    app.post("/api/v1/auth/login").json(&body).send().await
}

#[tokio::test]
async fn after_ten_failures_even_the_right_password_waits_and_the_wait_grows() {
    let app = TestApp::new().await;
    app.customer("ada").await;
    fail(&app, "ada@example.com", 10).await;
    let answer = app.login("ada@example.com", PASSWORD).await;
    let answer = answer.expect_problem(429, "TOO_MANY_ATTEMPTS");
    assert_eq!(answer.header("retry-after"), "1");
    app.execute("update login_failures set blocked_until = now() - interval '1 second'").await;
    fail(&app, "ada@example.com", 1).await;
    let answer = app.login("ada@example.com", WRONG).await.expect(429);
    assert_eq!(answer.header("retry-after"), "2");
    app.execute("update login_failures set blocked_until = now() - interval '1 second'").await;
    app.login("ada@example.com", PASSWORD).await.expect(200);
    fail(&app, "ada@example.com", 9).await;
}

#[tokio::test]
async fn unknown_addresses_are_throttled_like_known_ones() {
    let app = TestApp::new().await;
    app.customer("ada").await;
    for email in ["ada@example.com", "nobody@example.com"] {
        fail(&app, email, 10).await;
        let answer = app.login(email, WRONG).await.expect_problem(429, "TOO_MANY_ATTEMPTS");
        assert_eq!(answer.header("retry-after"), "1");
    }
}

#[tokio::test]
async fn a_known_device_gets_in_while_others_are_throttled() {
    let app = TestApp::new().await;
    let ada = app.customer("ada").await;
    fail(&app, &ada.email, 10).await;
    login_from(&app, &ada.email, PASSWORD, &ada.device).await.expect(200);
    app.login(&ada.email, PASSWORD).await.expect(429);
    let eve = app.customer("eve").await;
    login_from(&app, &ada.email, PASSWORD, &eve.device).await.expect(429);
}

#[tokio::test]
async fn a_known_device_that_guesses_is_known_no_more() {
    let app = TestApp::new().await;
    let ada = app.customer("ada").await;
    for _ in 0..20 {
        login_from(&app, &ada.email, WRONG, &ada.device).await.expect(401);
    }
    login_from(&app, &ada.email, WRONG, &ada.device).await.expect(429);
}

#[tokio::test]
async fn one_password_over_many_accounts_is_stopped_after_fifty() {
    let app = TestApp::new().await;
    let mut heard = 0;
    for n in 0..60 {
        let answer = app.login(&format!("person{n}@example.com"), WRONG).await;
        heard += usize::from(answer.status == 401);
    }
    assert!((45..=52).contains(&heard), "{heard} of 60 guesses were heard");
}

/// As long as the delay lasts at most; the network is forgiven then.
#[tokio::test]
async fn a_quarter_of_an_hour_of_patience_forgets_no_failures() {
    let app = TestApp::new().await;
    app.customer("ada").await;
    fail(&app, "ada@example.com", 10).await;
    app.execute(
        "update login_failures set last_failed_at = now() - interval '16 minutes', blocked_until = now()",
    )
    .await;
    fail(&app, "ada@example.com", 1).await;
    let counted: Vec<i32> =
        sqlx::query_scalar("select failures from login_failures order by failures")
            .fetch_all(&app.pool)
            .await
            .unwrap();
    assert_eq!(counted, [1, 11], "of the network, and of the account");
    let answer = app.login("ada@example.com", PASSWORD).await;
    let answer = answer.expect_problem(429, "TOO_MANY_ATTEMPTS");
    assert_eq!(answer.header("retry-after"), "2");
}

#[tokio::test]
async fn a_success_of_ones_own_does_not_forgive_the_network() {
    let app = TestApp::new().await;
    app.customer("eve").await;
    fail(&app, "ada@example.com", 1).await;
    app.execute("update login_failures set failures = 49").await;
    app.login("eve@example.com", PASSWORD).await.expect(200);
    fail(&app, "bob@example.com", 1).await;
    app.login("carol@example.com", WRONG).await.expect_problem(429, "TOO_MANY_ATTEMPTS");
}

#[tokio::test]
async fn a_household_with_ipv6_is_one_network_to_failed_logins() {
    let app = TestApp::with(&[
        ("APP__SERVER__FORWARDED_HEADER", "x-forwarded-for"),
        ("APP__SERVER__TRUSTED_PROXIES", "127.0.0.1"),
    ])
    .await;
    let guess = |n: usize, address: String| {
        let body = json!({"email": format!("person{n}@example.com"), "password": WRONG});
        app.post("/api/v1/auth/login").header("x-forwarded-for", address).json(&body).send()
    };
    let mut heard = 0;
    for n in 0..60 {
        let answer = guess(n, format!("2001:db8:0:1:{n:x}::1")).await;
        heard += usize::from(answer.status == 401);
    }
    assert!((45..=52).contains(&heard), "{heard} of 60 guesses were heard");
    guess(60, "2001:db8:0:2::1".to_owned()).await.expect_problem(401, "INVALID_CREDENTIALS");
}

#[tokio::test]
async fn forty_simultaneous_guesses_over_two_instances_are_heard_like_ten() {
    let app = TestApp::new().await;
    let other = app.sibling().await;
    app.customer("ada").await;
    let body = json!({"email": "ada@example.com", "password": WRONG});
    let calls = (0..40).map(|n| {
        let instance = if n % 2 == 0 { &app } else { &other };
        tokio::spawn(instance.post("/api/v1/auth/login").json(&body).send())
    });
    let mut heard = 0;
    for call in calls.collect::<Vec<_>>() {
        heard += usize::from(call.await.unwrap().status == 401);
    }
    assert!((10..=12).contains(&heard), "{heard} of 40 guesses were heard");
}

#[tokio::test]
async fn throttling_lives_in_postgres_and_tells_neither_addresses_nor_networks() {
    let app = TestApp::with(&[("REDIS_URL", "redis://127.0.0.1:1")]).await;
    fail(&app, "nobody@example.com", 10).await;
    app.login("nobody@example.com", WRONG).await.expect(429);
    let rows: String = sqlx::query_scalar("select string_agg(f::text, ' ') from login_failures f")
        .fetch_one(&app.pool)
        .await
        .unwrap();
    assert!(!rows.contains("nobody") && !rows.contains("127.0.0.1"), "{rows}");
    assert_eq!(app.count("select count(*) from login_failures").await, 2);
}

#[tokio::test]
async fn a_known_device_is_heard_ten_times_also_at_once() {
    let app = TestApp::new().await;
    let ada = app.customer("ada").await;
    let body = json!({"email": ada.email, "password": WRONG, "device_token": ada.device});
    let calls = (0..40).map(|_| tokio::spawn(app.post("/api/v1/auth/login").json(&body).send()));
    let mut heard = 0;
    for call in calls.collect::<Vec<_>>() {
        heard += usize::from(call.await.unwrap().status == 401);
    }
    // Ten on the device, then the account's own ten, as from any other device.
    assert!((20..=22).contains(&heard), "{heard} of 40 guesses were heard");
}

#[tokio::test]
async fn simultaneous_guesses_of_the_current_password_are_heard_like_sequential_ones() {
    let app = TestApp::new().await;
    let ada = app.customer("ada").await;
    let change = |password: &str| {
        let body = json!({"current_password": password, "new_password": "copper-meadow-violin-81"});
        app.call("PUT", "/api/v1/auth/password").bearer(&ada.access).json(&body)
    };
    for _ in 0..10 {
        change(WRONG).send().await.expect(401);
    }
    app.execute("update login_failures set blocked_until = now()").await;
    let guesses =
        (0..30).map(|n| tokio::spawn(change(if n == 25 { PASSWORD } else { WRONG }).send()));
    let mut answers = Vec::new();
    for guess in guesses.collect::<Vec<_>>() {
        answers.push(guess.await.unwrap().status.as_u16());
    }
    let heard = answers.iter().filter(|status| **status != 429).count();
    assert!(heard <= 2, "{answers:?}");
    let told = "select count(*) from audit_events where action = 'auth.password_refused'";
    assert!(app.count(told).await >= 10);
}
