//! What operators, load balancers and verifiers of our tokens ask.

use axum::{
    Json,
    extract::State,
    response::{IntoResponse, Response},
};
use http::{HeaderValue, StatusCode, header};
use serde::Serialize;
use utoipa::ToSchema;

use super::extract::MaybeActor;
use crate::{
    domain::ids::UserId,
    middleware::error_mapper::Rendered,
    services::{
        Services,
        health::{Readiness, Standing},
    },
    telemetry,
};

#[derive(Serialize, ToSchema)]
pub struct Alive {
    #[schema(example = "ok")]
    status: &'static str,
}

/// The process runs; no dependency is asked.
#[utoipa::path(get, path = "/health/live", tag = "operations", responses((status = 200, body = Alive)))]
pub async fn live() -> Json<Alive> {
    Json(Alive { status: "ok" })
}

/// Whether this instance should get traffic.
#[utoipa::path(get, path = "/health/ready", tag = "operations",
    responses((status = 200, body = Readiness), (status = 503, body = Readiness)))]
pub async fn ready(State(services): State<Services>) -> Response {
    let readiness = services.health.readiness();
    let status = match readiness.status {
        Standing::Unavailable => StatusCode::SERVICE_UNAVAILABLE,
        Standing::Ok | Standing::Degraded => StatusCode::OK,
    };
    answer(status, readiness)
}

/// Whether start-up work (migrations, signing keys) is done.
#[utoipa::path(get, path = "/health/startup", tag = "operations",
    responses((status = 200, body = Alive), (status = 503, body = Alive)))]
pub async fn startup(State(services): State<Services>) -> Response {
    match services.health.is_started() {
        true => answer(StatusCode::OK, Alive { status: "ok" }),
        false => answer(StatusCode::SERVICE_UNAVAILABLE, Alive { status: "unavailable" }),
    }
}

/// A 503 here is an answer, not a problem.
fn answer(status: StatusCode, body: impl Serialize) -> Response {
    let mut response = (status, Json(body)).into_response();
    response.extensions_mut().insert(Rendered);
    response
}

/// Prometheus text exposition.
#[utoipa::path(get, path = "/metrics", tag = "operations",
    responses((status = 200, body = String, content_type = "text/plain; version=0.0.4")))]
pub async fn metrics() -> Response {
    let text = telemetry::metrics::install().render();
    let media = HeaderValue::from_static("text/plain; version=0.0.4; charset=utf-8");
    ([(header::CONTENT_TYPE, media)], text).into_response()
}

/// The public keys by which access tokens are verified (RFC 7517).
#[utoipa::path(get, path = "/.well-known/jwks.json", tag = "operations",
    responses((status = 200, body = serde_json::Value)))]
pub async fn jwks(State(services): State<Services>) -> Response {
    let max_age = services.jwks_max_age.as_secs();
    let policy = HeaderValue::try_from(format!("public, max-age={max_age}"));
    let mut response = Json(services.auth.jwks()).into_response();
    if let Ok(policy) = policy {
        response.headers_mut().insert(header::CACHE_CONTROL, policy);
    }
    response
}

#[derive(Serialize, ToSchema)]
pub struct Pong {
    pong: bool,
    /// Whose token it was, if one was sent.
    #[serde(skip_serializing_if = "Option::is_none")]
    user_id: Option<UserId>,
}

/// Through the whole stack and back.
#[utoipa::path(get, path = "/api/v1/ping", tag = "operations", responses((status = 200, body = Pong)))]
pub async fn ping(MaybeActor(actor): MaybeActor) -> Json<Pong> {
    Json(Pong { pong: true, user_id: actor.map(|actor| actor.user_id) })
}
