//! What each route costs in Postgres: known, and the same however many rows there are.

use std::collections::BTreeMap;

use mainstay::{domain::mail_tokens::Purpose, middleware::route_info::Access, routes};
use serde_json::{Value, json};

use super::support::{Answer, Person, TestApp, imports, people::PASSWORD, products};

/// Statements of a request that succeeds. A transaction is two more than its work: `BEGIN` and
/// `COMMIT`.
fn expectations() -> BTreeMap<&'static str, u64> {
    BTreeMap::from([
        ("GET /openapi.json", 0),
        ("GET /.well-known/jwks.json", 0),
        ("GET /api/v1/ping", 0),
        ("POST /api/v1/auth/register", 7),
        ("POST /api/v1/auth/login", 12),
        ("POST /api/v1/auth/refresh", 7),
        ("POST /api/v1/auth/logout", 5),
        ("POST /api/v1/auth/logout-all", 5),
        ("PUT /api/v1/auth/password", 13),
        ("POST /api/v1/auth/password/forgot", 6),
        ("POST /api/v1/auth/password/reset", 14),
        ("POST /api/v1/auth/email/verify", 7),
        ("POST /api/v1/auth/email/resend", 6),
        ("GET /api/v1/auth/sessions", 1),
        ("DELETE /api/v1/auth/sessions/{id}", 5),
        ("GET /api/v1/users/me", 1),
        ("PATCH /api/v1/users/me", 5),
        ("DELETE /api/v1/users/me", 14),
        ("PUT /api/v1/users/me/email", 10),
        ("GET /api/v1/users", 1),
        ("GET /api/v1/users/{id}", 1),
        ("PATCH /api/v1/users/{id}", 5),
        ("DELETE /api/v1/users/{id}", 14),
        ("DELETE /api/v1/users/{id}/sessions", 6),
        ("GET /api/v1/admin/audit-events", 1),
        ("GET /api/v1/admin/jobs", 1),
        ("GET /api/v1/admin/jobs/stats", 3),
        ("GET /api/v1/admin/jobs/{id}", 1),
        ("DELETE /api/v1/admin/jobs/{id}", 5),
        ("POST /api/v1/admin/jobs/{id}/retry", 6),
        ("GET /api/v1/admin/outbox", 1),
        ("POST /api/v1/admin/outbox/{id}/replay", 6),
        ("GET /api/v1/admin/schedules", 1),
        ("POST /api/v1/admin/queues/{queue}/pause", 4),
        ("POST /api/v1/admin/queues/{queue}/resume", 4),
        ("POST /api/v1/imports", 11),
        ("GET /api/v1/imports/{id}", 1),
        ("DELETE /api/v1/imports/{id}", 7),
        ("GET /api/v1/imports/{id}/rejects", 1),
        ("GET /api/v1/categories", 1),
        ("GET /api/v1/products", 1),
        ("GET /api/v1/products/export", 3),
        ("POST /api/v1/products", 7),
        ("GET /api/v1/products/{id}", 1),
        ("PATCH /api/v1/products/{id}", 7),
        ("DELETE /api/v1/products/{id}", 7),
        ("POST /api/v1/products/{id}/stock-adjustments", 6),
        ("GET /docs", 0),
        ("GET /docs/swagger-ui-5.35.0.js", 0),
        ("GET /docs/swagger-ui-5.35.0.css", 0),
        ("GET /account/verify-email", 0),
        ("GET /account/confirm-email", 0),
        ("GET /account/reset-password", 0),
    ])
}

/// A service with so many accounts, and as many sessions of one of them.
struct Cast {
    app: TestApp,
    admin: Person,
    /// Whoever makes the calls. Each has an account of their own, which calls may destroy.
    callers: usize,
}

impl Cast {
    async fn with(rows: i32) -> Self {
        let app = TestApp::new().await;
        let admin = app.admin("admin").await;
        let people = "insert into users (id, email, email_key, name, role)
            select gen_random_uuid(), g||'@example.com', g||'@example.com', 'User', 'customer'
            from generate_series(1, $1) g";
        sqlx::query(people).bind(rows).execute(&app.pool).await.unwrap();
        Self { app, admin, callers: 0 }
    }

    async fn caller(&mut self, sessions: i32) -> Person {
        self.callers += 1;
        let person = self.app.customer(&format!("caller{}", self.callers)).await;
        for _ in 1..sessions {
            self.app.sign_in(&person.email).await;
        }
        person
    }

    /// One successful request, by somebody who may.
    async fn ask(&mut self, line: &str, access: Access, sessions: i32) -> Answer {
        let caller = self.caller(sessions).await;
        let (method, path) = line.split_once(' ').unwrap();
        let mut other = String::new();
        if path.contains("/jobs/{id}") {
            other = self.app.waiting_job().await;
        }
        if path.contains("/outbox/{id}") {
            other = self.app.dead_delivery().await;
        }
        if path.contains("/products") {
            let draft = products::draft(&format!("KN-{}", self.callers));
            let product = self.app.product(&self.admin, &draft).await;
            other = products::id(&product).to_owned();
        }
        if path.contains("/imports/{id}") {
            other = self.app.queued_import(&self.admin).await;
        }
        if path.contains("/sessions/{id}") {
            let query = "select id::text from sessions where user_id = $1::text::uuid limit 1";
            let query = sqlx::query_scalar(query).bind(&caller.id);
            other = query.fetch_one(&self.app.pool).await.unwrap();
        }
        let id = if other.is_empty() { &caller.id } else { &other };
        let path = path.replace("{id}", id).replace("{queue}", "bulk");
        let mut call = self.app.call(method, &path);
        if method == "PATCH" {
            call = call.header("if-match", "*");
        }
        if path == "/api/v1/imports" {
            call = call.text("text/csv", imports::FILE);
        } else if matches!(method, "POST" | "PUT" | "PATCH") {
            let mut body = body(line, &caller);
            if let Some(purpose) = link(line) {
                body["token"] = json!(self.app.link_token(&caller.id, purpose).await);
            }
            call = call.json(&body);
        }
        call = match access {
            Access::Open | Access::Operations => call,
            Access::Public | Access::User => call.bearer(&caller.access),
            Access::Staff | Access::Admin => call.bearer(&self.admin.access),
        };
        call.send().await
    }
}

/// What the link in a request is for.
fn link(line: &str) -> Option<Purpose> {
    match line {
        "POST /api/v1/auth/email/verify" => Some(Purpose::VerifyEmail),
        "POST /api/v1/auth/password/reset" => Some(Purpose::ResetPassword),
        _ => None,
    }
}

fn body(line: &str, caller: &Person) -> Value {
    match line {
        "POST /api/v1/auth/register" => {
            json!({"email": format!("new-{}", caller.email), "password": PASSWORD, "name": "New"})
        }
        "POST /api/v1/auth/login" => json!({"email": caller.email, "password": PASSWORD}),
        "POST /api/v1/auth/refresh" => json!({"refresh_token": caller.refresh}),
        "PUT /api/v1/auth/password" => {
            json!({"current_password": PASSWORD, "new_password": "copper-meadow-violin-81"})
        }
        "POST /api/v1/auth/password/reset" => json!({"password": "copper-meadow-violin-81"}),
        "POST /api/v1/auth/password/forgot" | "POST /api/v1/auth/email/resend" => {
            json!({"email": caller.email})
        }
        "PUT /api/v1/users/me/email" => {
            json!({"email": format!("new-{}", caller.email), "current_password": PASSWORD})
        }
        "POST /api/v1/products" => products::draft("KN"),
        "POST /api/v1/products/{id}/stock-adjustments" => json!({"delta": 1, "reason": "found"}),
        line if line.starts_with("PATCH ") => json!({"name": "Renamed"}),
        _ => json!({}),
    }
}

#[tokio::test]
async fn every_route_costs_the_statements_it_is_known_for_however_many_rows_there_are() {
    let (mut few, mut many) = (Cast::with(3).await, Cast::with(60).await);
    let (expected, mut wrong) = (expectations(), Vec::new());
    for route in routes::table().iter().filter(|route| route.access != Access::Operations) {
        let line = format!("{} {}", route.method, route.path);
        let sessions = if line.contains("sessions") || line.contains("logout") { 6 } else { 1 };
        let answers =
            [few.ask(&line, route.access, 1).await, many.ask(&line, route.access, sessions).await];
        for answer in &answers {
            assert!(answer.status.is_success(), "{line}: {answer:?}");
        }
        let counts = answers.map(|answer| answer.statements());
        let known = expected.get(line.as_str()).copied();
        if counts.map(Some) != [known; 2] {
            wrong.push(format!("(\"{line}\", {}), now {counts:?}", counts[0]));
        }
    }
    assert!(wrong.is_empty(), "other counts than the table has:\n{}", wrong.join("\n"));
}

#[tokio::test]
async fn the_canonical_line_tells_what_a_request_cost_also_in_a_task_of_its_own() {
    let app = TestApp::new().await;
    let ada = app.customer("ada").await;
    let answer = app.refresh_call(&ada.refresh).send().await.expect(200);
    let line = answer.line();
    let number = |field: &str| line["fields"][field].as_f64().expect("a number");
    assert!(number("db_ms") > 0.0 && number("db_ms") < number("duration_ms"), "{line}");
    // The limiter asks Redis ahead of the requests, in a task of its own.
    assert_eq!((number("redis_commands"), number("redis_ms")), (0.0, 0.0));
    assert_eq!(line["level"], "INFO");
    assert!(line["fields"]["slow"].is_null(), "{line}");
}

#[tokio::test]
async fn a_slow_request_is_a_warning() {
    let app = TestApp::with(&[("APP__TELEMETRY__SLOW_REQUEST", "1ns")]).await;
    let line = app.get("/api/v1/ping").send().await.expect(200).line();
    assert_eq!((&line["level"], &line["fields"]["slow"]), (&json!("WARN"), &json!(true)));
}

#[tokio::test]
async fn what_loops_behind_the_requests_ask_is_on_no_request() {
    let app = TestApp::new().await;
    let ada = app.customer("ada").await;
    for _ in 0..20 {
        tokio::time::sleep(std::time::Duration::from_millis(40)).await;
        assert_eq!(app.get("/api/v1/ping").bearer(&ada.access).send().await.statements(), 0);
    }
}
