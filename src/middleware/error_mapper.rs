//! The only place where refusals become answers: RFC 9457 problem+json, also for those of axum
//! and tower, and the log line for faults of ours.

use std::sync::Arc;

use axum::{
    Json,
    extract::Request,
    response::{IntoResponse, Response},
};
use http::{HeaderValue, StatusCode, header};
use serde::Serialize;
use utoipa::ToSchema;

use super::{
    request_context,
    step::{Inner, Step},
};
use crate::{
    domain::audit::Origin,
    error::{Code, Error, Kind},
};

pub const PROBLEM_JSON: &str = "application/problem+json";

/// An error as clients see it (RFC 9457).
#[derive(Debug, Serialize, ToSchema)]
pub struct Problem {
    /// Identifies the kind of problem.
    #[serde(rename = "type")]
    pub type_uri: String,
    /// The same short sentence for every occurrence of the code.
    pub title: &'static str,
    pub status: u16,
    /// What happened this time.
    pub detail: String,
    /// Stable word for programs; see the catalogue of codes.
    pub code: &'static str,
    pub request_id: String,
    /// The faults of fields, with status 422.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub errors: Vec<ProblemField>,
    /// The rate-limit policies that were exceeded, with status 429.
    #[serde(rename = "violated-policies", skip_serializing_if = "Vec::is_empty")]
    pub violated_policies: Vec<&'static str>,
}

#[derive(Debug, Serialize, ToSchema)]
pub struct ProblemField {
    /// Path in the body, or name of the parameter.
    pub field: String,
    pub code: String,
    pub message: String,
}

/// In an answer's extensions: the code it was refused with, for the access log.
#[derive(Debug, Clone, Copy)]
pub struct ErrorCode(pub &'static str);

/// Carries an error from where it happened to the mapper.
#[derive(Clone)]
struct Carried(Arc<Error>);

/// What an answer that has not reached the mapper yet is refused with.
pub fn refusal(response: &Response) -> Option<Code> {
    response.extensions().get::<Carried>().map(|carried| carried.0.code())
}

impl IntoResponse for Error {
    fn into_response(self) -> Response {
        let mut response = status(self.kind()).into_response();
        response.extensions_mut().insert(Carried(Arc::new(self)));
        response
    }
}

pub struct ErrorMapper;

impl Step for ErrorMapper {
    fn call(
        self: Arc<Self>,
        request: Request,
        inner: impl Inner,
    ) -> impl Future<Output = Response> + Send {
        let origin = request_context::origin(request.extensions());
        let answer = inner.run(request);
        async move {
            let mut response = answer.await;
            match response.extensions_mut().remove::<Carried>() {
                Some(carried) => tell(&carried.0, &origin, response),
                None if is_foreign_refusal(&response) => {
                    tell(&translate(&response), &origin, response)
                }
                None => response,
            }
        }
    }
}

fn tell(error: &Error, origin: &Origin, response: Response) -> Response {
    let request_id = &origin.request_id;
    if error.kind() == Kind::Internal {
        tracing::error!(request_id, error = error.chain(), "internal error");
    } else if error.code() == Code::DependencyUnavailable {
        tracing::warn!(request_id, error = error.chain(), "unavailable");
    }
    render(error, request_id, response)
}

/// Of axum, tower or hyper, and not yet a problem.
fn is_foreign_refusal(response: &Response) -> bool {
    let status = response.status();
    (status.is_client_error() || status.is_server_error())
        && response.headers().get(header::CONTENT_TYPE).is_none_or(|media| media != PROBLEM_JSON)
        && response.extensions().get::<Rendered>().is_none()
}

/// In an answer's extensions: a status of 400 or above that is an answer, not a problem.
#[derive(Clone, Copy)]
pub struct Rendered;

fn translate(response: &Response) -> Error {
    match response.status() {
        StatusCode::NOT_FOUND => Error::not_found(),
        StatusCode::METHOD_NOT_ALLOWED => Error::of(Code::MethodNotAllowed),
        StatusCode::NOT_ACCEPTABLE => Error::of(Code::NotAcceptable),
        StatusCode::UNSUPPORTED_MEDIA_TYPE => Error::of(Code::UnsupportedMediaType),
        StatusCode::PAYLOAD_TOO_LARGE => Error::of(Code::PayloadTooLarge),
        status if status.is_client_error() => Error::of(Code::MalformedRequest),
        status => Error::internal(format!("a library answered {status}")),
    }
}

/// Keeps the headers of what was refused (`Allow`, rate limits), replaces the body.
fn render(error: &Error, request_id: &str, refused: Response) -> Response {
    let problem = problem(error, request_id);
    let mut response = (status(error.kind()), Json(problem)).into_response();
    let (parts, _) = refused.into_parts();
    for (name, value) in &parts.headers {
        if !matches!(
            *name,
            header::CONTENT_TYPE | header::CONTENT_LENGTH | header::CONTENT_ENCODING
        ) {
            response.headers_mut().append(name, value.clone());
        }
    }
    let headers = response.headers_mut();
    headers.insert(header::CONTENT_TYPE, HeaderValue::from_static(PROBLEM_JSON));
    if headers.contains_key(header::ACCEPT_ENCODING) {
        // tower-http names every coding it knows, also those that are switched off.
        headers.insert(header::ACCEPT_ENCODING, HeaderValue::from_static("gzip"));
    }
    if let Some(secs) = error.retry_after_secs() {
        headers.insert(header::RETRY_AFTER, secs.into());
    }
    if let Some(challenge) = challenge(error) {
        headers.insert(header::WWW_AUTHENTICATE, challenge);
    }
    *response.extensions_mut() = parts.extensions;
    response.extensions_mut().insert(ErrorCode(error.code().as_str()));
    response
}

pub fn problem(error: &Error, request_id: &str) -> Problem {
    let field = |field: &crate::error::FieldError| ProblemField {
        field: field.field.clone(),
        code: field.code.to_string(),
        message: field.message.to_string(),
    };
    Problem {
        type_uri: type_uri(error.code()),
        title: error.code().title(),
        status: status(error.kind()).as_u16(),
        detail: error.detail().to_owned(),
        code: error.code().as_str(),
        request_id: request_id.to_owned(),
        errors: error.fields().iter().map(field).collect(),
        violated_policies: error.violated_policies().to_vec(),
    }
}

/// Two kinds are registered (draft-ietf-httpapi-ratelimit-headers); the others are ours.
fn type_uri(code: Code) -> String {
    const REGISTRY: &str = "https://iana.org/assignments/http-problem-types#";
    match code {
        Code::RateLimited => format!("{REGISTRY}quota-exceeded"),
        Code::Overloaded => format!("{REGISTRY}temporary-reduced-capacity"),
        code => {
            format!("urn:mainstay:problem:{}", code.as_str().to_ascii_lowercase().replace('_', "-"))
        }
    }
}

/// RFC 6750, section 3: without credentials there is no error attribute.
fn challenge(error: &Error) -> Option<HeaderValue> {
    (error.kind() == Kind::Unauthenticated).then(|| {
        HeaderValue::from_static(match (error.is_bad_token(), error.code()) {
            (true, Code::TokenExpired) => {
                r#"Bearer realm="mainstay", error="invalid_token", error_description="expired""#
            }
            (true, Code::TokenStale) => {
                r#"Bearer realm="mainstay", error="invalid_token", error_description="stale""#
            }
            (true, _) => r#"Bearer realm="mainstay", error="invalid_token""#,
            (false, _) => r#"Bearer realm="mainstay""#,
        })
    })
}

pub fn status(kind: Kind) -> StatusCode {
    match kind {
        Kind::Malformed => StatusCode::BAD_REQUEST,
        Kind::Unauthenticated => StatusCode::UNAUTHORIZED,
        Kind::Forbidden => StatusCode::FORBIDDEN,
        Kind::NotFound => StatusCode::NOT_FOUND,
        Kind::MethodNotAllowed => StatusCode::METHOD_NOT_ALLOWED,
        Kind::NotAcceptable => StatusCode::NOT_ACCEPTABLE,
        Kind::UnsupportedMediaType => StatusCode::UNSUPPORTED_MEDIA_TYPE,
        Kind::Conflict => StatusCode::CONFLICT,
        Kind::PreconditionFailed => StatusCode::PRECONDITION_FAILED,
        Kind::PreconditionRequired => StatusCode::PRECONDITION_REQUIRED,
        Kind::TooSlow => StatusCode::REQUEST_TIMEOUT,
        Kind::TooLarge => StatusCode::PAYLOAD_TOO_LARGE,
        Kind::UriTooLong => StatusCode::URI_TOO_LONG,
        Kind::HeadersTooLarge => StatusCode::REQUEST_HEADER_FIELDS_TOO_LARGE,
        Kind::Invalid => StatusCode::UNPROCESSABLE_ENTITY,
        Kind::Limited => StatusCode::TOO_MANY_REQUESTS,
        Kind::Unavailable => StatusCode::SERVICE_UNAVAILABLE,
        Kind::TimedOut => StatusCode::GATEWAY_TIMEOUT,
        Kind::Internal => StatusCode::INTERNAL_SERVER_ERROR,
    }
}
