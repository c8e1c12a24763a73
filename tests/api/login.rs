//! Signing in.

use serde_json::json;

use super::support::{TestApp, people::PASSWORD, statements};

#[tokio::test]
async fn a_login_gives_a_token_a_user_and_two_cookies_out_of_reach_of_scripts() {
    let app = TestApp::with(&[("APP__AUTH__COOKIE_SECURE", "true")]).await;
    app.customer("ada").await;
    let answer = app.login("ADA@example.com", PASSWORD).await.expect(200);
    let body = answer.json();
    assert_eq!((&body["token_type"], &body["expires_in"]), (&json!("Bearer"), &json!(600)));
    assert_eq!(body["user"]["email"], "ada@example.com");
    assert!(body.get("refresh_token").is_none() && body.get("device_token").is_none());
    let (_, refresh) = answer.cookie("__Host-refresh").unwrap();
    let (_, device) = answer.cookie("__Host-device").unwrap();
    for attribute in ["HttpOnly", "Secure", "SameSite=Strict", "Path=/"] {
        assert!(refresh.contains(attribute) && device.contains(attribute), "{refresh} | {device}");
    }
    assert!(!refresh.contains("Max-Age") && !refresh.contains("Domain"), "{refresh}");
    assert!(device.contains("Max-Age=31536000"), "{device}");
    assert!(app.accepts(body["access_token"].as_str().unwrap()).await);
}

#[tokio::test]
async fn a_remembered_login_keeps_its_cookie_for_thirty_days() {
    let app = TestApp::new().await;
    app.customer("ada").await;
    let body = json!({"email": "ada@example.com", "password": PASSWORD, "remember_me": true});
    let answer = app.post("/api/v1/auth/login").json(&body).send().await.expect(200);
    let (_, attributes) = answer.cookie("refresh").unwrap();
    let secs: i64 = attributes.split("Max-Age=").nth(1).unwrap().parse().unwrap();
    assert!((30 * 86_400 - 60..=30 * 86_400).contains(&secs), "{attributes}");
    let days = "select extract(day from absolute_expires_at - created_at)::bigint from sessions where remember";
    assert_eq!(app.count(days).await, 90);
}

#[tokio::test]
async fn nothing_that_was_given_out_is_stored_in_the_clear() {
    let app = TestApp::new().await;
    let ada = app.customer("ada").await;
    let dump: String = sqlx::query_scalar(
        "select string_agg(t::text, ' ') from (
             select s::text as t from sessions s union all select r::text from refresh_tokens r
             union all select d::text from known_devices d union all select u::text from users u
             union all select a::text from audit_events a union all select k::text from signing_keys k) all_rows",
    )
    .fetch_one(&app.pool)
    .await
    .unwrap();
    for secret in [&ada.refresh, &ada.device, &ada.access, PASSWORD] {
        assert!(!dump.contains(secret));
    }
    let raw = mainstay::shared::crypto::from_base64url(&ada.refresh).unwrap();
    let hash = mainstay::shared::crypto::sha256(&raw);
    let stored: i64 =
        sqlx::query_scalar("select count(*) from refresh_tokens where token_hash = $1")
            .bind(&hash[..])
            .fetch_one(&app.pool)
            .await
            .unwrap();
    assert_eq!(stored, 1);
}

#[tokio::test]
async fn a_wrong_password_an_unknown_address_and_a_disabled_account_are_answered_alike() {
    let app = TestApp::new().await;
    app.customer("ada").await;
    app.customer("eve").await;
    app.execute("update users set disabled_at = now() where email_key = 'eve@example.com'").await;
    let mut seen = Vec::new();
    for (email, password) in [
        ("ada@example.com", "wrong-velvet-lantern"),
        ("nobody@example.com", "wrong-velvet-lantern"),
        ("eve@example.com", PASSWORD),
    ] {
        let answer = app.login(email, password).await.expect_problem(401, "INVALID_CREDENTIALS");
        let mut body = answer.json();
        body["request_id"] = json!(null);
        let names: Vec<_> = answer.headers.keys().map(|name| name.to_string()).collect();
        seen.push((body, names, answer.body.len(), answer.header("www-authenticate").to_owned()));
    }
    assert_eq!(seen[0], seen[1]);
    assert_eq!(seen[0], seen[2]);
}

#[tokio::test]
async fn a_refresh_token_goes_into_a_body_only_for_clients_without_an_origin() {
    let app = TestApp::new().await;
    let ada = app.customer("ada").await;
    let body = json!({"email": ada.email, "password": PASSWORD, "token_delivery": "body"});
    let answer = app.post("/api/v1/auth/login").json(&body).send().await.expect(200);
    assert!(answer.headers.get("set-cookie").is_none());
    assert!(answer.json()["refresh_token"].is_string());
    let browser =
        app.post("/api/v1/auth/login").header("origin", "https://app.example").json(&body);
    browser.send().await.expect_problem(403, "FORBIDDEN");
    let browser = app.refresh_call(&ada.refresh).header("origin", "https://app.example");
    browser.send().await.expect_problem(403, "FORBIDDEN");
}

#[tokio::test]
async fn a_hash_of_an_older_cost_is_replaced_at_the_next_login() {
    let app = TestApp::new().await;
    app.customer("ada").await;
    let newer = TestApp::with(&[("APP__AUTH__HASH_ITERATIONS", "3")]).await;
    newer.customer("ada").await;
    let old: String =
        sqlx::query_scalar("select password_hash from users").fetch_one(&app.pool).await.unwrap();
    let put = sqlx::query("update users set password_hash = $1").bind(&old);
    put.execute(&newer.pool).await.unwrap();
    newer.login("ada@example.com", PASSWORD).await.expect(200);
    assert_eq!(newer.count("select count(*) from users where password_hash like '%t=3%'").await, 1);
    newer.login("ada@example.com", PASSWORD).await.expect(200);
}

#[tokio::test]
async fn success_and_failure_are_both_in_the_audit_trail() {
    let app = TestApp::new().await;
    let ada = app.customer("ada").await;
    app.login(&ada.email, "wrong-velvet-lantern").await.expect(401);
    app.login("nobody@example.com", "wrong-velvet-lantern").await.expect(401);
    let failed = "select count(*) from audit_events where action = 'auth.login_failed'";
    assert_eq!(app.count(failed).await, 2);
    let named = "select count(*) from audit_events a join users u on u.id = a.target_id
                 where a.action = 'auth.login_failed' and a.actor_id is null";
    assert_eq!(app.count(named).await, 1);
    let succeeded = "select count(*) from audit_events a join sessions s on s.id = a.target_id
                     where a.action = 'auth.login_succeeded' and a.actor_id = s.user_id";
    assert_eq!(app.count(succeeded).await, 1);
}

#[tokio::test]
async fn known_and_unknown_addresses_cost_the_same_statements() {
    let app = TestApp::new().await;
    app.customer("ada").await;
    let mut seen = Vec::new();
    for email in ["ada@example.com", "nobody@example.com"] {
        let (answer, statements) =
            statements::during(app.login(email, "wrong-velvet-lantern")).await;
        answer.expect(401);
        assert!(statements.len() >= 4, "{statements:?}");
        seen.push(statements);
    }
    assert_eq!(seen[0], seen[1]);
}

#[tokio::test]
async fn a_login_that_finds_no_place_in_the_queue_asks_the_database_nothing() {
    let small = [("APP__AUTH__HASH_QUEUE", "1"), ("APP__AUTH__HASH_THREADS", "1")];
    let app = TestApp::with(&small).await;
    let flood = (0..10).map(|_| app.login("nobody@example.com", "wrong-velvet-lantern"));
    let (answers, statements) = statements::during(futures_util::future::join_all(flood)).await;
    let (heard, refused): (Vec<_>, Vec<_>) =
        answers.into_iter().partition(|answer| answer.status == 401);
    let looks = statements.iter().filter(|text| text.contains("login_failures")).count();
    let (_, of_one) = statements::during(app.login("nobody@example.com", "wrong-velvet")).await;
    let each = of_one.iter().filter(|text| text.contains("login_failures")).count();
    assert_eq!(looks, heard.len() * each, "{statements:?}");
    assert_eq!((heard.len(), refused.len()), (2, 8));
    for answer in refused {
        let answer = answer.expect_problem(503, "OVERLOADED");
        assert!(answer.header("retry-after").parse::<u32>().is_ok_and(|secs| secs > 0));
    }
}
