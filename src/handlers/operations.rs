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
    error::Code,
    middleware::error_mapper::{self, Rendered},
    services::{
        Services,
        health::{Readiness, Standing},
    },
    telemetry,
};

/// `ok`, or `unavailable` with status 503.
#[derive(Serialize, ToSchema)]
pub struct Alive {
    #[schema(example = "ok")]
    status: &'static str,
}

/// Whether the process runs.
///
/// No dependency is asked.
#[utoipa::path(get, path = "/health/live", tag = "operations", operation_id = "check_liveness",
    responses((status = 200, description = "It runs", body = Alive)))]
pub async fn live() -> Json<Alive> {
    Json(Alive { status: "ok" })
}

/// Whether this instance should get traffic.
///
/// `degraded` is ready: something works without a helper, such as Redis. Not ready is an instance
/// whose Postgres does not answer or only reads, and one that has not read the changes of others
/// for so long (`feed`) that it refuses access tokens.
#[utoipa::path(get, path = "/health/ready", tag = "operations", operation_id = "check_readiness",
    responses(
        (status = 200, description = "Ready", body = Readiness),
        (status = 503, description = "Not ready: a dependency is missing, or it is shutting down",
            body = Readiness),
    ))]
pub async fn ready(State(services): State<Services>) -> Response {
    let readiness = services.health.readiness();
    let status = match readiness.status {
        Standing::Unavailable => StatusCode::SERVICE_UNAVAILABLE,
        Standing::Ok | Standing::Degraded => StatusCode::OK,
    };
    answer(status, readiness)
}

/// Whether start-up work is done.
///
/// That is migrations and signing keys.
#[utoipa::path(get, path = "/health/startup", tag = "operations", operation_id = "check_startup",
    responses(
        (status = 200, description = "Done", body = Alive),
        (status = 503, description = "Not yet", body = Alive),
    ))]
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

/// Figures for Prometheus.
///
/// In its text format.
#[utoipa::path(get, path = "/metrics", tag = "operations", operation_id = "get_metrics",
    responses((status = 200, description = "All metrics", body = String,
        content_type = "text/plain; version=0.0.4")))]
pub async fn metrics() -> Response {
    // Reading /proc is no work for a thread that serves requests.
    let text = tokio::task::spawn_blocking(telemetry::metrics::render).await.unwrap_or_default();
    let media = HeaderValue::from_static("text/plain; version=0.0.4; charset=utf-8");
    ([(header::CONTENT_TYPE, media)], text).into_response()
}

/// A set of public keys (RFC 7517).
#[derive(ToSchema)]
#[expect(dead_code, reason = "describes what the key ring writes")]
pub struct JwkSet {
    keys: Vec<Jwk>,
}

/// A public Ed25519 key (RFC 8037).
#[derive(ToSchema)]
#[expect(dead_code, reason = "describes what the key ring writes")]
struct Jwk {
    #[schema(example = "OKP")]
    kty: String,
    #[schema(example = "Ed25519")]
    crv: String,
    #[schema(example = "11qYAYKxCrfVS_7TyWQHOg7hcvPapiMlrwIaaPcHURo")]
    x: String,
    /// The `kid` of the tokens it has signed.
    kid: String,
    #[serde(rename = "use")]
    #[schema(example = "sig")]
    purpose: String,
    #[schema(example = "EdDSA")]
    alg: String,
}

/// The public keys by which access tokens are verified.
///
/// A new key is here before it signs, an old one until its last token has expired.
#[utoipa::path(get, path = "/.well-known/jwks.json", tag = "operations",
    operation_id = "list_signing_keys",
    responses((status = 200, description = "All active keys", body = JwkSet,
        headers(("Cache-Control")))))]
pub async fn jwks(State(services): State<Services>) -> Response {
    let max_age = services.jwks_max_age.as_secs();
    let policy = HeaderValue::try_from(format!("public, max-age={max_age}"));
    let mut response = Json(services.auth.jwks()).into_response();
    if let Ok(policy) = policy {
        response.headers_mut().insert(header::CACHE_CONTROL, policy);
    }
    response
}

/// The answer to a ping.
#[derive(Serialize, ToSchema)]
pub struct Pong {
    pong: bool,
    /// Whose token it was, if one was sent.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schema(nullable = false)]
    user_id: Option<UserId>,
}

/// Through the whole stack and back.
///
/// A token, if sent, is verified.
#[utoipa::path(get, path = "/api/v1/ping", tag = "operations", operation_id = "send_ping",
    responses((status = 200, description = "Pong", body = Pong)))]
pub async fn ping(MaybeActor(actor): MaybeActor) -> Json<Pong> {
    Json(Pong { pong: true, user_id: actor.map(|actor| actor.user_id) })
}

/// The codes of refusals as a list in Markdown, for the API description.
pub fn codes() -> String {
    let line = |code: &Code| {
        let status = error_mapper::status(code.kind()).as_u16();
        format!("- `{}` ({status}): {}", code.as_str(), code.title())
    };
    Code::ALL.iter().map(line).collect::<Vec<_>>().join("\n")
}
