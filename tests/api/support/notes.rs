//! Routes of the tests' own, for what every route that takes a key promises: a note is written
//! once per request, slowly if asked to.

use std::time::Duration;

use axum::extract::State;
use http::StatusCode;
use mainstay::{
    error::{Code, Error, Result},
    handlers::{
        extract::{Actor, Path},
        idempotency::{self, KeyedOnce, NoBody, Once},
        json::Valid,
    },
    middleware::route_info::{Access, LimitClass},
    routes::{Route, row},
    services::{Services, idempotency::Answer},
};
use serde::{Deserialize, Serialize};
use utoipa::ToSchema;
use utoipa_axum::routes;
use uuid::Uuid;
use validator::Validate;

/// What the tests count.
pub const TABLE: &str = "create table notes (id uuid primary key, text text not null)";

#[derive(Deserialize, Serialize, Validate, ToSchema)]
#[serde(deny_unknown_fields)]
#[schema(example = json!({"text": "milk"}))]
pub struct Note {
    /// `refuse`, `fail` and `lose` do what they say after the note was written.
    #[validate(length(max = 100, message = "must have at most 100 characters"))]
    text: String,
    #[serde(default)]
    slow_ms: u64,
}

async fn write(
    services: &Services,
    outcome: mainstay::domain::idempotency::Outcome<Uuid>,
    note: &Note,
) -> Result<Answer> {
    let id = services.clock.new_id();
    services
        .once
        .tx("notes.write", &outcome, async |tx| {
            let insert = sqlx::query("insert into notes (id, text) values ($1, $2)");
            insert.bind(id).bind(&note.text).execute(&mut *tx).await?;
            if note.slow_ms > 0 {
                tokio::time::sleep(Duration::from_millis(note.slow_ms)).await;
            }
            match note.text.as_str() {
                "refuse" => Err(Error::new(Code::Conflict, "there are notes enough")),
                "fail" => Err(Error::unavailable("no paper")),
                "lose" => {
                    // Back to who signed in, who may end even itself.
                    sqlx::query("set role none").execute(&mut *tx).await?;
                    sqlx::query("select pg_terminate_backend(pg_backend_pid())")
                        .execute(tx)
                        .await?;
                    Ok(id)
                }
                _ => Ok(id),
            }
        })
        .await
}

fn created(id: Uuid) -> Result<mainstay::domain::idempotency::Stored> {
    let body = idempotency::json(StatusCode::CREATED, &serde_json::json!({"id": id}))?;
    Ok(body.with("location", format!("/api/v1/notes/{id}")).with("etag", "\"1\""))
}

/// Writes a note.
///
/// Once per key.
#[utoipa::path(post, path = "/api/v1/notes", tag = "operations", operation_id = "write_note",
    params(("Idempotency-Key" = Option<String>, Header)), request_body = Note,
    responses((status = 201, description = "Written"), (status = 409, description = "`CONFLICT`: enough")))]
async fn add(
    State(services): State<Services>,
    Actor(actor): Actor,
    Once(Valid(note), request): Once<Valid<Note>>,
) -> Result<Answer> {
    write(&services, request.outcome(&actor, created), &note).await
}

/// Writes a note that must have a key.
///
/// Once per key.
#[utoipa::path(post, path = "/api/v1/orders", tag = "operations", operation_id = "order_note",
    params(("Idempotency-Key" = String, Header)), request_body = Note,
    responses((status = 201, description = "Written")))]
async fn order(
    State(services): State<Services>,
    Actor(actor): Actor,
    KeyedOnce(Valid(note), request): KeyedOnce<Valid<Note>>,
) -> Result<Answer> {
    write(&services, request.outcome(&actor, created), &note).await
}

/// Writes about something.
///
/// Once per key.
#[utoipa::path(post, path = "/api/v1/notes/{id}/copy", tag = "operations",
    operation_id = "copy_note", params(("id" = Uuid, Path), ("Idempotency-Key" = Option<String>, Header)),
    responses((status = 204, description = "Written")))]
async fn copy(
    State(services): State<Services>,
    Actor(actor): Actor,
    Path(id): Path<Uuid>,
    Once(NoBody, request): Once<NoBody>,
) -> Result<Answer> {
    let outcome = request.outcome(&actor, |_| Ok(idempotency::empty(StatusCode::NO_CONTENT)));
    write(&services, outcome, &Note { text: format!("copy of {id}"), slow_ms: 0 }).await
}

pub fn rows() -> Vec<Route> {
    let class = (Access::User, LimitClass::Default);
    vec![
        row("POST /api/v1/notes", class.0, class.1, routes!(add)),
        row("POST /api/v1/orders", class.0, class.1, routes!(order)),
        row("POST /api/v1/notes/{id}/copy", class.0, class.1, routes!(copy)),
    ]
}
