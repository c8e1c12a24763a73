//! Headers that every answer carries (OWASP ASVS 5.0, 3.4), whoever rendered it.

use std::sync::Arc;

use axum::{extract::Request, response::Response};
use http::{HeaderMap, HeaderName, HeaderValue, header};

use super::{
    route_info::{self, Access},
    step::{Inner, Step},
};

const ALWAYS: [(HeaderName, HeaderValue); 5] = [
    (header::X_CONTENT_TYPE_OPTIONS, HeaderValue::from_static("nosniff")),
    (
        header::STRICT_TRANSPORT_SECURITY,
        HeaderValue::from_static("max-age=63072000; includeSubDomains"),
    ),
    (header::REFERRER_POLICY, HeaderValue::from_static("no-referrer")),
    (
        HeaderName::from_static("cross-origin-resource-policy"),
        HeaderValue::from_static("same-origin"),
    ),
    (
        header::CONTENT_SECURITY_POLICY,
        HeaderValue::from_static("default-src 'none'; base-uri 'none'; frame-ancestors 'none'"),
    ),
];

pub struct SecurityHeaders;

impl Step for SecurityHeaders {
    fn call(
        self: Arc<Self>,
        request: Request,
        inner: impl Inner,
    ) -> impl Future<Output = Response> + Send {
        let access = route_info::of(&request).access;
        let answer = inner.run(request);
        async move {
            let mut response = answer.await;
            let headers = response.headers_mut();
            for (name, value) in ALWAYS {
                add(headers, name, value);
            }
            // What a user sees, and every fresh token, is for nobody's cache.
            if access != Access::Public {
                add(headers, header::CACHE_CONTROL, HeaderValue::from_static("no-store"));
            }
            response
        }
    }
}

/// A handler that needs another policy has set its own.
fn add(headers: &mut HeaderMap, name: HeaderName, value: HeaderValue) {
    headers.entry(name).or_insert(value);
}
