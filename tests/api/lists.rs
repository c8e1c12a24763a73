//! Lists are walked by keyset: nothing that was there is skipped or repeated.

use std::collections::HashSet;

use super::support::{Person, TestApp};

async fn seed(app: &TestApp, rows: i32) {
    let insert = "insert into users (id, email, email_key, name, role, created_at)
        select gen_random_uuid(), 'u'||n||'@example.com', 'u'||n||'@example.com', 'User '||n,
               case when n % 3 = 0 then 'staff' else 'customer' end, now() - (n / 4) * interval '1 second'
        from generate_series(1, $1) n";
    sqlx::query(insert).bind(rows).execute(&app.pool).await.unwrap();
}

async fn page(app: &TestApp, root: &Person, path: &str) -> serde_json::Value {
    app.get(path).bearer(&root.access).send().await.expect(200).json()
}

#[tokio::test]
async fn a_walk_sees_each_row_once_while_others_come_and_go() {
    let app = TestApp::new().await;
    let root = app.admin("root").await;
    seed(&app, 95).await;
    app.execute("update users set name = 'Gone' where name = 'User 50'").await;
    let (mut seen, mut path) = (Vec::new(), "/api/v1/users?limit=10".to_owned());
    loop {
        let answer = app.get(&path).bearer(&root.access).send().await.expect(200);
        let body = answer.json();
        let rows = body["data"].as_array().unwrap();
        seen.extend(rows.iter().map(|row| row["email"].as_str().unwrap().to_owned()));
        let Some(cursor) = body["next_cursor"].as_str() else { break };
        let link = answer.header("link");
        assert!(
            link.ends_with("; rel=\"next\"") && link.contains("limit=10") && link.contains(cursor),
            "{link}"
        );
        path = link[1..link.find('>').unwrap()].to_owned();
        app.execute("insert into users (id, email, email_key, name, role) select gen_random_uuid(), g||'@new', g||'@new', 'New', 'customer' from gen_random_uuid() g").await;
        app.execute("delete from users where name = 'Gone'").await;
    }
    let unique: HashSet<_> = seen.iter().collect();
    assert_eq!(unique.len(), seen.len(), "a row came twice");
    for n in (1..=95).filter(|n| *n != 50) {
        assert!(unique.contains(&format!("u{n}@example.com")), "u{n} was skipped");
    }
}

#[tokio::test]
async fn filters_hold_and_counts_are_exact_on_request() {
    let app = TestApp::new().await;
    let root = app.admin("root").await;
    seed(&app, 30).await;
    let staff = page(&app, &root, "/api/v1/users?role=staff&count=exact&limit=3").await;
    assert_eq!((staff["total"].as_i64(), staff["data"].as_array().unwrap().len()), (Some(10), 3));
    assert!(staff["data"].as_array().unwrap().iter().all(|row| row["role"] == "staff"));
    let found = page(&app, &root, "/api/v1/users?q=USER%2017").await;
    assert_eq!(found["data"][0]["email"], "u17@example.com");
    assert!(found.get("total").is_none() && found["next_cursor"].is_null());
    for wild in ["%25", "_", "%5C", "%27"] {
        let none = page(&app, &root, &format!("/api/v1/users?q={wild}")).await;
        assert_eq!(none["data"], serde_json::json!([]), "{wild}");
    }
}

#[tokio::test]
async fn a_cursor_is_good_for_its_own_list_only() {
    let app = TestApp::new().await;
    let root = app.admin("root").await;
    seed(&app, 30).await;
    let first = page(&app, &root, "/api/v1/users?role=staff&limit=2").await;
    let cursor = first["next_cursor"].as_str().unwrap();
    page(&app, &root, &format!("/api/v1/users?role=staff&cursor={cursor}")).await;
    let bent = format!("{}A", &cursor[..cursor.len() - 1]);
    for path in [
        format!("/api/v1/users?cursor={cursor}"),
        format!("/api/v1/users?role=customer&cursor={cursor}"),
        format!("/api/v1/admin/audit-events?cursor={cursor}"),
        format!("/api/v1/users?role=staff&cursor={bent}"),
        "/api/v1/users?cursor=x".to_owned(),
        "/api/v1/users?cursor=".to_owned(),
        "/api/v1/users?cursor=%00".to_owned(),
    ] {
        let answer = app.get(&path).bearer(&root.access).send().await;
        answer.expect_problem(400, "MALFORMED_REQUEST");
    }
}

#[tokio::test]
async fn limits_have_bounds_and_unknown_parameters_are_refused() {
    let app = TestApp::new().await;
    let root = app.admin("root").await;
    for bad in [
        "limit=0",
        "limit=-1",
        "limit=101",
        "limit=1000000000",
        "limit=x",
        "limit=1.5",
        "page=2",
        "count=yes",
        "role=king",
        "q=",
    ] {
        let answer = app.get(&format!("/api/v1/users?{bad}")).bearer(&root.access).send().await;
        assert_eq!(answer.expect_problem(422, "VALIDATION_FAILED").faults().len(), 1, "{bad}");
    }
    for bad in ["limit=1&limit=2", "q=%ff", "q=%zz"] {
        let answer = app.get(&format!("/api/v1/users?{bad}")).bearer(&root.access).send().await;
        answer.expect_problem(400, "MALFORMED_REQUEST");
    }
}
