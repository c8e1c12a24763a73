//! The audit trail.

use serde_json::json;

use super::support::TestApp;

#[tokio::test]
async fn an_event_tells_who_did_what_to_whom_and_from_where() {
    let app = TestApp::new().await;
    let (root, ada) = (app.admin("root").await, app.customer("ada").await);
    let call = app.call("PATCH", &format!("/api/v1/users/{}", ada.id)).bearer(&root.access);
    let call = call.header("x-request-id", "audit-1").header("user-agent", "Console/1");
    call.json(&json!({"disabled": true})).send().await.expect(200);
    let path = format!("/api/v1/admin/audit-events?target_id={}&action=user.updated", ada.id);
    let list = app.get(&path).bearer(&root.access).send().await.expect(200).json();
    let event = &list["data"][0];
    assert_eq!(list["data"].as_array().unwrap().len(), 1);
    assert_eq!(event["actor_id"], json!(root.id));
    assert_eq!((&event["target_type"], &event["target_id"]), (&json!("user"), &json!(ada.id)));
    assert_eq!(
        (&event["request_id"], &event["user_agent"]),
        (&json!("audit-1"), &json!("Console/1"))
    );
    assert_eq!(event["address"], "127.0.0.1");
    assert_eq!(event["details"], json!({"disabled": {"from": false, "to": true}}));
}

#[tokio::test]
async fn the_trail_can_only_grow() {
    let app = TestApp::new().await;
    app.customer("ada").await;
    for statement in [
        "update audit_events set action = 'x'",
        "delete from audit_events",
        "truncate audit_events",
    ] {
        let refused = sqlx::query(statement).execute(&app.pool).await.unwrap_err();
        assert!(refused.to_string().contains("append-only"), "{refused}");
    }
    assert!(app.count("select count(*) from audit_events").await > 0);
}

#[tokio::test]
async fn what_was_refused_or_rolled_back_leaves_no_event() {
    let app = TestApp::new().await;
    let root = app.admin("root").await;
    let before = app.count("select count(*) from audit_events").await;
    let call = app.call("PATCH", &format!("/api/v1/users/{}", root.id)).bearer(&root.access);
    call.json(&json!({"role": "staff"})).send().await.expect(409);
    assert_eq!(app.count("select count(*) from audit_events").await, before);
}

#[tokio::test]
async fn a_caller_without_the_role_is_in_the_trail_once_however_often_it_knocks() {
    let app = TestApp::new().await;
    let (root, ada) = (app.admin("root").await, app.customer("ada").await);
    for path in ["/api/v1/users", "/api/v1/users?limit=1", "/api/v1/admin/jobs"] {
        app.get(path).bearer(&ada.access).send().await.expect(403);
    }
    app.get("/api/v1/users").send().await.expect(401);
    app.get("/api/v1/users").bearer(&root.access).send().await.expect(200);
    let path = "/api/v1/admin/audit-events?action=auth.access_denied";
    let list = app.get(path).bearer(&root.access).send().await.expect(200).json();
    let told: Vec<_> = list["data"].as_array().unwrap().iter().collect();
    assert_eq!(told.len(), 2, "{list}");
    assert!(told.iter().all(|event| event["actor_id"] == json!(ada.id)));
    let details = json!({"method": "GET", "route": "/api/v1/users", "role": "customer"});
    assert_eq!((&told[1]["details"], &told[1]["target_type"]), (&details, &json!("route")));
}

#[tokio::test]
async fn a_denial_that_could_not_be_written_is_written_the_next_time() {
    let app = TestApp::new().await;
    let ada = app.customer("ada").await;
    let denied = async || {
        app.get("/api/v1/users").bearer(&ada.access).send().await.expect(403);
        app.count("select count(*) from audit_events where action = 'auth.access_denied'").await
    };
    app.execute(
        "alter table audit_events add constraint none check (action <> 'auth.access_denied')",
    )
    .await;
    assert_eq!(denied().await, 0);
    app.execute("alter table audit_events drop constraint none").await;
    assert_eq!(denied().await, 1);
    assert_eq!(denied().await, 1);
}
