//! Answers that are worth it are compressed. All others pass as they are: the layer of tower-http
//! would wrap the body of every answer in what holds the largest of its encoders.

use std::{future::ready, sync::Arc};

use axum::{body::Body, extract::Request, response::Response};
use http::{HeaderMap, HeaderValue, header};
use tower::{Layer, ServiceExt, service_fn};
use tower_http::compression::{
    CompressionLayer, Predicate,
    predicate::{And, NotForContentType, SizeAbove},
};

use super::step::{Inner, Step};
use crate::config::Server;

type Worth = And<And<And<SizeAbove, NotForContentType>, NotForContentType>, NotForContentType>;

pub struct Compression {
    worth: Worth,
    layer: CompressionLayer<Worth>,
}

impl Compression {
    pub fn new(server: &Server) -> Self {
        let worth = SizeAbove::new(server.compression_min_bytes.into())
            .and(NotForContentType::IMAGES)
            .and(NotForContentType::SSE)
            .and(NotForContentType::GRPC);
        Self { worth: worth.clone(), layer: CompressionLayer::new().compress_when(worth) }
    }
}

impl Step for Compression {
    fn call(
        self: Arc<Self>,
        request: Request,
        inner: impl Inner,
    ) -> impl Future<Output = Response> + Send {
        let accepted = request.headers().get_all(header::ACCEPT_ENCODING).iter();
        let accepted: Vec<_> = accepted.cloned().collect();
        let answer = inner.run(request);
        async move {
            let response = answer.await;
            match self.worth.should_compress(&response) {
                true => Box::pin(self.compress(accepted, response)).await,
                false => response,
            }
        }
    }
}

impl Compression {
    /// As if a service had answered so somebody who accepts that.
    async fn compress(&self, accepted: Vec<HeaderValue>, mut response: Response) -> Response {
        let mut question = Request::new(Body::empty());
        let accepted = accepted.into_iter().map(|value| (header::ACCEPT_ENCODING, value));
        *question.headers_mut() = HeaderMap::from_iter(accepted);
        let answers = service_fn(move |_: Request| {
            ready(Ok::<_, std::convert::Infallible>(std::mem::take(&mut response)))
        });
        match self.layer.layer(answers).oneshot(question).await {
            Ok(response) => response.map(Body::new),
            Err(never) => match never {},
        }
    }
}
