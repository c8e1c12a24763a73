//! Request bodies that came compressed. All others pass as they are: the layer of tower-http
//! would box the body of every request and of its answer.

use std::sync::Arc;

use axum::{body::Body, extract::Request, response::Response};
use futures_util::future::Either;
use http::header;
use tower::{ServiceBuilder, ServiceExt};
use tower_http::{decompression::RequestDecompressionLayer, map_request_body::MapRequestBodyLayer};

use super::{
    route_info::{self, BodyKind},
    step::{Inner, Step},
};

pub struct Decompression;

impl Step for Decompression {
    fn call(
        self: Arc<Self>,
        request: Request,
        inner: impl Inner,
    ) -> impl Future<Output = Response> + Send {
        let is_message = route_info::of(&request).body == BodyKind::Message;
        if !is_message || !request.headers().contains_key(header::CONTENT_ENCODING) {
            return Either::Left(inner.run(request));
        }
        let decompressing = ServiceBuilder::new()
            .layer(RequestDecompressionLayer::new())
            .layer(MapRequestBodyLayer::new(Body::new))
            .service(inner);
        Either::Right(Box::pin(async move {
            match decompressing.oneshot(request).await {
                Ok(response) => response.map(Body::new),
                Err(never) => match never {},
            }
        }))
    }
}
