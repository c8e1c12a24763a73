//! Answers out of the cache.

use axum::{
    body::Body,
    response::{IntoResponse, Response},
};
use http::{HeaderName, HeaderValue, header};

use crate::shared::cache::{Found, Rendered};

const JSON: HeaderValue = HeaderValue::from_static("application/json");
const X_CACHE: HeaderName = HeaderName::from_static("x-cache");
/// Everybody may keep it, and asks whether it still holds: a change is seen at once.
const FOR_EVERYBODY: HeaderValue = HeaderValue::from_static("public, no-cache");
const FOR_NOBODY: HeaderValue = HeaderValue::from_static("private, no-store");

/// The bytes that were kept.
pub fn json(rendered: &Rendered) -> Response {
    ([(header::CONTENT_TYPE, JSON)], Body::from(rendered.body.clone())).into_response()
}

/// An answer that is the same for everybody.
pub fn for_everybody(response: Response, found: Found) -> Response {
    with(response, FOR_EVERYBODY, found)
}

/// One that shows what others may not see.
pub fn for_nobody(response: Response) -> Response {
    with(response, FOR_NOBODY, Found::Bypass)
}

fn with(mut response: Response, policy: HeaderValue, found: Found) -> Response {
    let headers = response.headers_mut();
    headers.insert(header::CACHE_CONTROL, policy);
    headers.insert(X_CACHE, HeaderValue::from_static(found.as_str()));
    response
}
