//! Which foreign origins may read answers: exactly those listed.

use std::sync::Arc;

use axum::{extract::Request, response::Response};
use futures_util::future::Either;
use http::{HeaderName, HeaderValue, Method, header};
use tower::Layer;
use tower_http::cors::{AllowOrigin, CorsLayer};

use super::{
    request_context::X_REQUEST_ID,
    step::{Inner, Step},
};
use crate::config;

const METHODS: [Method; 5] =
    [Method::GET, Method::POST, Method::PUT, Method::PATCH, Method::DELETE];

/// What the answer depends on, also when nobody asks from a page.
const VARY: HeaderValue = HeaderValue::from_static(
    "origin, access-control-request-method, access-control-request-headers",
);

pub struct Cors(CorsLayer);

impl Step for Cors {
    fn call(
        self: Arc<Self>,
        request: Request,
        inner: impl Inner,
    ) -> impl Future<Output = Response> + Send {
        // The layer is a large thing to clone for the many requests it has nothing to say to.
        if request.method() == Method::OPTIONS || request.headers().contains_key(header::ORIGIN) {
            return Either::Right(Box::pin(self.0.layer(inner).run(request)));
        }
        let answer = inner.run(request);
        Either::Left(async move {
            let mut response = answer.await;
            response.headers_mut().append(header::VARY, VARY);
            response
        })
    }
}

/// `None` when no origin is listed: then OPTIONS is a method like others, which no route has.
pub fn new(config: &config::Cors) -> Option<Cors> {
    if config.allowed_origins.is_empty() {
        return None;
    }
    let origins = config.allowed_origins.iter();
    let origins = origins.filter_map(|origin| HeaderValue::from_str(origin.as_str()).ok());
    let layer = CorsLayer::new()
        .allow_origin(AllowOrigin::list(origins))
        .allow_credentials(true)
        .allow_methods(METHODS)
        .allow_headers([
            header::AUTHORIZATION,
            header::CONTENT_TYPE,
            header::IF_MATCH,
            header::IF_NONE_MATCH,
            HeaderName::from_static("idempotency-key"),
            X_REQUEST_ID,
        ])
        .expose_headers([
            header::ETAG,
            header::LINK,
            header::LOCATION,
            header::RETRY_AFTER,
            HeaderName::from_static("idempotent-replayed"),
            HeaderName::from_static("ratelimit"),
            HeaderName::from_static("ratelimit-policy"),
            X_REQUEST_ID,
        ])
        .max_age(config.max_age);
    Some(Cors(layer))
}
