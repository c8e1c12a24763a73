//! Every route against every kind of caller. A route without an expectation fails.

use std::collections::BTreeMap;

use mainstay::{middleware::route_info::Access, routes};
use serde_json::json;

use super::support::{Person, TestApp, products};

/// Anonymous, the owner, another customer, staff, administrator, disabled, session ended.
const CALLERS: [&str; 7] = ["anonymous", "owner", "other", "staff", "admin", "disabled", "ended"];

/// What each caller is answered. 0: anything but 401, 403 and 404.
type Expected = [u16; 7];

const ANYBODY: Expected = [0; 7];
const SIGNED_IN: Expected = [401, 0, 0, 0, 0, 401, 401];
/// The owner's thing: it does not exist for others.
const OWN: Expected = [401, 0, 404, 404, 404, 401, 401];
const OWN_OR_ADMIN: Expected = [401, 0, 404, 404, 0, 401, 401];
const ADMIN: Expected = [401, 403, 403, 403, 0, 401, 401];
const STAFF: Expected = [401, 403, 403, 0, 0, 401, 401];
/// A token that was sent must hold.
const PUBLIC: Expected = [0, 0, 0, 0, 0, 401, 401];

fn expectations() -> BTreeMap<&'static str, Expected> {
    BTreeMap::from([
        ("GET /health/live", ANYBODY),
        ("GET /health/ready", ANYBODY),
        ("GET /health/startup", ANYBODY),
        ("GET /metrics", ANYBODY),
        ("GET /openapi.json", ANYBODY),
        ("GET /docs", ANYBODY),
        ("GET /docs/swagger-ui-5.35.0.js", ANYBODY),
        ("GET /docs/swagger-ui-5.35.0.css", ANYBODY),
        ("GET /.well-known/jwks.json", ANYBODY),
        ("GET /account/verify-email", ANYBODY),
        ("GET /account/confirm-email", ANYBODY),
        ("GET /account/reset-password", ANYBODY),
        ("GET /api/v1/ping", PUBLIC),
        ("POST /api/v1/auth/register", ANYBODY),
        ("POST /api/v1/auth/login", ANYBODY),
        ("POST /api/v1/auth/refresh", ANYBODY),
        ("POST /api/v1/auth/logout", SIGNED_IN),
        ("POST /api/v1/auth/logout-all", SIGNED_IN),
        ("PUT /api/v1/auth/password", SIGNED_IN),
        ("POST /api/v1/auth/password/forgot", ANYBODY),
        ("POST /api/v1/auth/password/reset", ANYBODY),
        ("POST /api/v1/auth/email/verify", ANYBODY),
        ("POST /api/v1/auth/email/resend", ANYBODY),
        ("GET /api/v1/auth/sessions", SIGNED_IN),
        ("DELETE /api/v1/auth/sessions/{id}", OWN),
        ("GET /api/v1/users/me", SIGNED_IN),
        ("PATCH /api/v1/users/me", SIGNED_IN),
        ("DELETE /api/v1/users/me", SIGNED_IN),
        ("PUT /api/v1/users/me/email", SIGNED_IN),
        ("GET /api/v1/users", ADMIN),
        ("GET /api/v1/users/{id}", OWN_OR_ADMIN),
        ("PATCH /api/v1/users/{id}", ADMIN),
        ("DELETE /api/v1/users/{id}", ADMIN),
        ("DELETE /api/v1/users/{id}/sessions", ADMIN),
        ("GET /api/v1/admin/audit-events", ADMIN),
        ("GET /api/v1/admin/outbox", STAFF),
        ("POST /api/v1/admin/outbox/{id}/replay", ADMIN),
        ("GET /api/v1/admin/jobs", STAFF),
        ("GET /api/v1/admin/jobs/stats", STAFF),
        ("GET /api/v1/admin/jobs/{id}", STAFF),
        ("DELETE /api/v1/admin/jobs/{id}", ADMIN),
        ("POST /api/v1/admin/jobs/{id}/retry", ADMIN),
        ("GET /api/v1/admin/schedules", STAFF),
        ("POST /api/v1/admin/queues/{queue}/pause", ADMIN),
        ("POST /api/v1/admin/queues/{queue}/resume", ADMIN),
        ("POST /api/v1/imports", STAFF),
        ("GET /api/v1/imports/{id}", STAFF),
        ("DELETE /api/v1/imports/{id}", STAFF),
        ("GET /api/v1/imports/{id}/rejects", STAFF),
        ("GET /api/v1/products/export", STAFF),
        ("GET /api/v1/categories", PUBLIC),
        ("GET /api/v1/products", PUBLIC),
        ("POST /api/v1/products", STAFF),
        ("GET /api/v1/products/{id}", PUBLIC),
        ("PATCH /api/v1/products/{id}", STAFF),
        ("DELETE /api/v1/products/{id}", STAFF),
        ("POST /api/v1/products/{id}/stock-adjustments", STAFF),
    ])
}

/// A valid body, so that what is refused is refused for the caller.
fn body(line: &str) -> serde_json::Value {
    match line {
        "POST /api/v1/auth/register" => {
            json!({"email": "new@example.com", "password": "orbit-velvet-lantern-42", "name": "New"})
        }
        "POST /api/v1/auth/login" => {
            json!({"email": "owner@example.com", "password": "orbit-velvet-lantern-42"})
        }
        "PUT /api/v1/auth/password" => {
            json!({"current_password": "orbit-velvet-lantern-42", "new_password": "copper-meadow-violin-81"})
        }
        "POST /api/v1/auth/email/resend" | "POST /api/v1/auth/password/forgot" => {
            json!({"email": "owner@example.com"})
        }
        "POST /api/v1/auth/email/verify" => json!({"token": "made-up"}),
        "POST /api/v1/auth/password/reset" => {
            json!({"token": "made-up", "password": "copper-meadow-violin-81"})
        }
        "PUT /api/v1/users/me/email" => {
            json!({"email": "other@example.com", "current_password": "orbit-velvet-lantern-42"})
        }
        "PATCH /api/v1/users/me" | "PATCH /api/v1/users/{id}" => json!({"name": "Renamed"}),
        "POST /api/v1/products" => products::draft("KN-2"),
        "PATCH /api/v1/products/{id}" => json!({"name": "Renamed"}),
        "POST /api/v1/products/{id}/stock-adjustments" => json!({"delta": 1, "reason": "found"}),
        _ => json!({}),
    }
}

/// After such a call its caller, or the owner, is not what it was.
fn destroys(line: &str) -> bool {
    line.starts_with("DELETE ")
        || ["/logout", "/logout-all", "/password", "/refresh"].iter().any(|end| line.ends_with(end))
}

/// A dead job, that nobody tries again unless asked.
const JOB: &str = "019abcde-0000-7000-8000-000000000001";

struct Cast {
    app: TestApp,
    people: BTreeMap<&'static str, Person>,
    session: String,
    delivery: String,
    product: String,
    import: String,
}

async fn cast() -> Cast {
    let app = TestApp::new().await;
    let mut people = BTreeMap::new();
    for name in ["owner", "other", "disabled", "ended"] {
        people.insert(name, app.customer(name).await);
    }
    people.insert("staff", app.staff("staff").await);
    people.insert("admin", app.admin("admin").await);
    app.admin("second").await;
    let disable = app.call("PATCH", &format!("/api/v1/users/{}", people["disabled"].id));
    let disable = disable.bearer(&people["admin"].access).json(&json!({"disabled": true}));
    disable.send().await.expect(200);
    app.execute(
        "insert into jobs (id, queue, kind, payload, state, priority, run_at, max_attempts,
                           request_id, finished_at)
         values ('019abcde-0000-7000-8000-000000000001', 'default', 'x', '{}', 'dead', 2, now(),
                 1, 'x', now())",
    )
    .await;
    app.post("/api/v1/auth/logout").bearer(&people["ended"].access).send().await.expect(204);
    let sessions = app.get("/api/v1/auth/sessions").bearer(&people["owner"].access).send().await;
    let session = sessions.json()["data"][0]["id"].as_str().unwrap().to_owned();
    let delivery = app.dead_delivery().await;
    let product = app.product(&people["staff"], &products::draft("KN-1")).await;
    let product = products::id(&product).to_owned();
    let import = app.queued_import(&people["staff"]).await;
    Cast { app, people, session, delivery, product, import }
}

async fn status(cast: &Cast, method: &str, path: &str, caller: &str) -> u16 {
    let id = match path {
        path if path.contains("/sessions/{id}") => &cast.session,
        path if path.contains("/outbox/{id}") => &cast.delivery,
        path if path.contains("/jobs/{id}") => JOB,
        path if path.contains("/products/{id}") => &cast.product,
        path if path.contains("/imports/{id}") => &cast.import,
        _ => &cast.people["owner"].id,
    };
    let mut call = cast.app.call(method, &path.replace("{id}", id).replace("{queue}", "bulk"));
    if method == "PATCH" {
        call = call.header("if-match", "*");
    }
    if let Some(person) = cast.people.get(caller) {
        call = call.bearer(&person.access);
    }
    if path.ends_with("/refresh") {
        call = cast.app.refresh_call(&cast.people["other"].refresh);
    } else if matches!(method, "POST" | "PUT" | "PATCH") {
        call = call.json(&body(&format!("{method} {path}")));
    }
    call.send().await.status.as_u16()
}

#[tokio::test]
async fn every_route_answers_every_caller_as_expected() {
    let expected = expectations();
    let mut shared = cast().await;
    for route in routes::table() {
        let line = format!("{} {}", route.method, route.path);
        let expected = expected.get(line.as_str());
        let expected = expected.unwrap_or_else(|| panic!("{line} has no expectation here"));
        let destructive = destroys(&line);
        for (caller, expected) in CALLERS.into_iter().zip(expected) {
            if destructive && caller != "anonymous" && *expected == 0 {
                shared = cast().await;
            }
            let status = status(&shared, route.method.as_str(), route.path, caller).await;
            let held = match expected {
                0 => !matches!(status, 401 | 403 | 404) && status < 500,
                expected => status == *expected,
            };
            assert!(held, "{line} as {caller}: {status}, expected {expected}");
        }
        if destructive {
            shared = cast().await;
        }
    }
}

#[tokio::test]
async fn the_table_names_the_access_that_the_handlers_enforce() {
    let expected = expectations();
    assert_eq!(expected.len(), routes::table().len(), "an expectation without a route");
    for route in routes::table() {
        let line = format!("{} {}", route.method, route.path);
        let [anonymous, customer, _, staff, admin, disabled, _] = expected[line.as_str()];
        let access = match (anonymous, customer, staff, admin, disabled) {
            (0, _, _, _, 401) => Access::Public,
            (0, ..) if route.access == Access::Operations => Access::Operations,
            (0, ..) => Access::Open,
            (_, 403, 403, 0, _) => Access::Admin,
            (_, 403, 0, 0, _) => Access::Staff,
            _ => Access::User,
        };
        assert_eq!(route.access, access, "{line}");
    }
}
