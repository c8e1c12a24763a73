//! Accounts: one's own and everybody's.

use serde_json::json;

use super::support::{Answer, TestApp, eventually};

async fn patch(app: &TestApp, access: &str, id: &str, body: serde_json::Value) -> Answer {
    app.call("PATCH", &format!("/api/v1/users/{id}")).bearer(access).json(&body).send().await
}

#[tokio::test]
async fn a_user_reads_and_renames_itself() {
    let app = TestApp::new().await;
    let ada = app.customer("ada").await;
    let answer = patch(&app, &ada.access, "me", json!({"name": " Ada King "})).await.expect(200);
    assert_eq!(
        (answer.json()["name"].as_str(), answer.header("etag")),
        (Some("Ada King"), "\"2\"")
    );
    let me = app.get("/api/v1/users/me").bearer(&ada.access).send().await.expect(200).json();
    assert_eq!(me["name"], "Ada King");
    for field in ["email", "role", "disabled", "password"] {
        let answer = patch(&app, &ada.access, "me", json!({field: "x"})).await;
        assert_eq!(answer.expect_problem(422, "VALIDATION_FAILED").faults()[0].1, "unknown_field");
    }
}

#[tokio::test]
async fn entity_tags_save_transfers_and_guard_writes() {
    let app = TestApp::new().await;
    let ada = app.customer("ada").await;
    let get = || app.get("/api/v1/users/me").bearer(&ada.access);
    let tag = get().send().await.header("etag").to_owned();
    let unchanged = get().header("if-none-match", &tag).send().await.expect(304);
    assert!(unchanged.body.is_empty());
    get().header("if-none-match", "W/\"1-gzip\"").send().await.expect(304);
    get().header("if-none-match", "\"99\"").send().await.expect(200);
    let write = |tag: &str, name: &str| {
        let call =
            app.call("PATCH", "/api/v1/users/me").bearer(&ada.access).header("if-match", tag);
        call.json(&json!({"name": name})).send()
    };
    write(&tag, "First").await.expect(200);
    write(&tag, "Second").await.expect_problem(412, "PRECONDITION_FAILED");
    write("*", "Third").await.expect(200);
}

#[tokio::test]
async fn of_thirty_writers_with_one_tag_exactly_one_wins() {
    let app = TestApp::new().await;
    let ada = app.customer("ada").await;
    let calls = (0..30).map(|n| {
        let call = app.call("PATCH", "/api/v1/users/me").bearer(&ada.access);
        tokio::spawn(
            call.header("if-match", "\"1\"").json(&json!({"name": format!("N{n}")})).send(),
        )
    });
    let mut won = 0;
    for call in calls.collect::<Vec<_>>() {
        match call.await.unwrap().status.as_u16() {
            200 => won += 1,
            status => assert_eq!(status, 412),
        }
    }
    assert_eq!((won, app.count("select version from users").await), (1, 2));
}

#[tokio::test]
async fn others_do_not_exist_for_a_customer_and_do_for_an_administrator() {
    let app = TestApp::new().await;
    let (root, ada) = (app.admin("root").await, app.customer("ada").await);
    let eve = app.customer("eve").await;
    let path = format!("/api/v1/users/{}", ada.id);
    app.get(&path).bearer(&ada.access).send().await.expect(200);
    app.get(&path).bearer(&root.access).send().await.expect(200);
    app.get(&path).bearer(&eve.access).send().await.expect_problem(404, "NOT_FOUND");
    for none in ["00000000-0000-7000-8000-000000000000", "nonsense", "%00"] {
        let path = format!("/api/v1/users/{none}");
        app.get(&path).bearer(&root.access).send().await.expect_problem(404, "NOT_FOUND");
    }
    app.get("/api/v1/users/%ff")
        .bearer(&root.access)
        .send()
        .await
        .expect_problem(400, "MALFORMED_REQUEST");
}

#[tokio::test]
async fn a_changed_role_makes_tokens_stale_everywhere_and_the_session_goes_on() {
    let app = TestApp::new().await;
    let other = app.sibling().await;
    let (root, ada) = (app.admin("root").await, app.customer("ada").await);
    assert!(other.accepts(&ada.access).await);
    patch(&app, &root.access, &ada.id, json!({"role": "staff"})).await.expect(200);
    let me = || app.get("/api/v1/users/me").bearer(&ada.access).send();
    me().await.expect_problem(401, "TOKEN_STALE");
    eventually("the other instance knows", async || !other.accepts(&ada.access).await).await;
    let fresh = app.refresh_call(&ada.refresh).send().await.expect(200).json();
    let token = fresh["access_token"].as_str().unwrap();
    assert!(other.accepts(token).await);
    let user = app.get("/api/v1/users/me").bearer(token).send().await.json();
    assert_eq!(user["role"], "staff");
    let told: serde_json::Value =
        sqlx::query_scalar("select details from audit_events where action = 'user.updated'")
            .fetch_one(&app.pool)
            .await
            .unwrap();
    assert_eq!(told, json!({"role": {"from": "customer", "to": "staff"}}));
}

#[tokio::test]
async fn a_disabled_user_is_out_at_once() {
    let app = TestApp::new().await;
    let (root, ada) = (app.admin("root").await, app.customer("ada").await);
    let answer = patch(&app, &root.access, &ada.id, json!({"disabled": true})).await.expect(200);
    assert_eq!(answer.json()["disabled"], true);
    assert!(!app.accepts(&ada.access).await);
    app.refresh_call(&ada.refresh).send().await.expect(401);
    app.login(&ada.email, super::support::people::PASSWORD).await.expect(401);
    patch(&app, &root.access, &ada.id, json!({"disabled": false})).await.expect(200);
    app.login(&ada.email, super::support::people::PASSWORD).await.expect(200);
}

#[tokio::test]
async fn a_change_that_changes_nothing_leaves_no_trace() {
    let app = TestApp::new().await;
    let (root, ada) = (app.admin("root").await, app.customer("ada").await);
    let body = json!({"role": "customer", "disabled": false});
    let answer = patch(&app, &root.access, &ada.id, body).await.expect(200);
    assert_eq!(answer.header("etag"), "\"1\"");
    assert!(app.accepts(&ada.access).await);
    assert_eq!(
        app.count("select count(*) from audit_events where action = 'user.updated'").await,
        0
    );
}

#[tokio::test]
async fn the_last_administrator_can_be_neither_demoted_disabled_nor_deleted() {
    let app = TestApp::new().await;
    let root = app.admin("root").await;
    for body in [json!({"role": "staff"}), json!({"disabled": true})] {
        patch(&app, &root.access, &root.id, body).await.expect_problem(409, "LAST_ADMIN");
    }
    for path in [format!("/api/v1/users/{}", root.id), "/api/v1/users/me".to_owned()] {
        let answer = app.call("DELETE", &path).bearer(&root.access).send().await;
        answer.expect_problem(409, "LAST_ADMIN");
    }
    assert!(app.accepts(&root.access).await);
}

#[tokio::test]
async fn two_administrators_who_remove_each_other_leave_one() {
    for _ in 0..5 {
        let app = TestApp::new().await;
        let other = app.sibling().await;
        let (one, two) = (app.admin("one").await, app.admin("two").await);
        let demote = |app: &TestApp, by: &str, whom: &str| {
            let call = app.call("PATCH", &format!("/api/v1/users/{whom}")).bearer(by);
            tokio::spawn(call.json(&json!({"role": "customer"})).send())
        };
        let (a, b) = (demote(&app, &one.access, &two.id), demote(&other, &two.access, &one.id));
        let statuses = [a.await.unwrap().status.as_u16(), b.await.unwrap().status.as_u16()];
        assert!(statuses.contains(&200), "{statuses:?}");
        assert_eq!(app.count("select count(*) from users where role = 'admin'").await, 1);
    }
}

#[tokio::test]
async fn deleting_takes_the_person_and_leaves_the_id() {
    let app = TestApp::new().await;
    let (root, ada) = (app.admin("root").await, app.customer("ada").await);
    app.call("DELETE", "/api/v1/users/me").bearer(&ada.access).send().await.expect(204);
    assert!(!app.accepts(&ada.access).await);
    app.refresh_call(&ada.refresh).send().await.expect(401);
    let path = format!("/api/v1/users/{}", ada.id);
    app.get(&path).bearer(&root.access).send().await.expect(404);
    let row: String =
        sqlx::query_scalar("select u::text from users u where deleted_at is not null")
            .fetch_one(&app.pool)
            .await
            .unwrap();
    assert!(row.contains(&ada.id) && !row.to_lowercase().contains("ada@"), "{row}");
    assert!(!row.contains("Person ada") && !row.contains("argon2"), "{row}");
    let traces = "select count(*) from sessions where user_agent is not null or address is not null
                  or device_name is not null";
    assert_eq!(app.count("select count(*) from known_devices d join users u on u.id = d.user_id where u.deleted_at is not null").await, 0);
    assert!(app.count(traces).await <= 1, "the administrator's own session only");
    app.customer("ada").await;
}

#[tokio::test]
async fn an_administrator_ends_all_sessions_of_a_user() {
    let app = TestApp::new().await;
    let (root, ada) = (app.admin("root").await, app.customer("ada").await);
    let path = format!("/api/v1/users/{}/sessions", ada.id);
    app.call("DELETE", &path).bearer(&root.access).send().await.expect(204);
    assert!(!app.accepts(&ada.access).await && app.accepts(&root.access).await);
    let nobody = "/api/v1/users/00000000-0000-7000-8000-000000000000/sessions";
    app.call("DELETE", nobody).bearer(&root.access).send().await.expect(404);
}
