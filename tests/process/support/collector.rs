//! A collector of traces: OTLP over HTTP, decoded by the protocol's own definitions.

use std::sync::{Arc, Mutex};

use axum::{Router, body::Bytes, extract::State, http::StatusCode, routing::post};
use opentelemetry_proto::tonic::{
    collector::trace::v1::ExportTraceServiceRequest,
    common::v1::{AnyValue, any_value::Value},
    trace::v1::Span,
};
use prost::Message;
use tokio::net::TcpListener;

use super::eventually;

#[derive(Clone, Default)]
struct Received(Arc<Mutex<Vec<Span>>>);

pub struct Collector {
    pub url: String,
    received: Received,
}

impl Collector {
    pub async fn start() -> Self {
        let received = Received::default();
        let listener = TcpListener::bind("127.0.0.1:0").await.expect("a port");
        let url = format!("http://{}", listener.local_addr().expect("an address"));
        let router = Router::new().route("/v1/traces", post(take)).with_state(received.clone());
        tokio::spawn(async move { axum::serve(listener, router).await });
        Self { url, received }
    }

    pub fn spans(&self) -> Vec<Span> {
        self.received.0.lock().unwrap().clone()
    }

    pub fn of_trace(&self, trace_id: &str) -> Vec<Span> {
        let spans = self.spans().into_iter();
        spans.filter(|span| hex(&span.trace_id) == trace_id).collect()
    }

    /// The request's own span of that trace, which comes last.
    pub async fn server_span(&self, trace_id: &str) -> Span {
        let find = || self.of_trace(trace_id).into_iter().find(|span| span.kind == SERVER);
        eventually("the request's span is exported", async || find().is_some()).await;
        find().expect("it is there")
    }
}

async fn take(State(received): State<Received>, body: Bytes) -> StatusCode {
    let Ok(request) = ExportTraceServiceRequest::decode(body) else {
        return StatusCode::BAD_REQUEST;
    };
    let scopes = request.resource_spans.into_iter().flat_map(|resource| resource.scope_spans);
    received.0.lock().unwrap().extend(scopes.flat_map(|scope| scope.spans));
    StatusCode::OK
}

/// Numbers of `SpanKind`.
pub const SERVER: i32 = 2;
pub const CLIENT: i32 = 3;

pub fn hex(bytes: &[u8]) -> String {
    bytes.iter().map(|byte| format!("{byte:02x}")).collect()
}

/// An attribute as text.
pub fn attribute(span: &Span, key: &str) -> String {
    let found = span.attributes.iter().find(|attribute| attribute.key == key);
    match found.and_then(|attribute| attribute.value.clone()) {
        Some(AnyValue { value: Some(Value::StringValue(text)) }) => text,
        Some(AnyValue { value: Some(Value::IntValue(number)) }) => number.to_string(),
        _ => String::new(),
    }
}
