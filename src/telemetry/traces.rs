//! Spans, exported over OTLP where an endpoint is configured.
//!
//! They are made with the OpenTelemetry API itself and not through `tracing` spans: a request has
//! one, and below it only what it asks of others, so the parent is always the work under way
//! ([`super::work`]). That costs nothing when tracing is off and about nothing for a request that
//! is not sampled, where the bridge would cost each request a span in the log's registry.

use std::{borrow::Cow, sync::OnceLock, time::Duration};

use opentelemetry::{
    Context, KeyValue, Value,
    trace::{
        Span as _, SpanBuilder, SpanKind, Status, TraceContextExt, Tracer, TracerProvider as _,
    },
};
use opentelemetry_otlp::WithExportConfig;
use opentelemetry_sdk::{
    Resource,
    trace::{self as sdk, Sampler, SdkTracer, SdkTracerProvider},
};

use super::{export, trace_context::TraceContext, work};
use crate::{
    config::Telemetry,
    error::{Error, Result},
};

/// Of one batch, tries included; and of the end of the process.
const EXPORT_TIMEOUT: Duration = Duration::from_secs(3);
const LAST_EXPORT: Duration = Duration::from_secs(2);

static TRACING: OnceLock<(SdkTracerProvider, SdkTracer)> = OnceLock::new();

/// Starts to export, if an endpoint is configured.
pub fn install(config: &Telemetry) -> Result<()> {
    let Some(endpoint) = &config.otlp_endpoint else { return Ok(()) };
    let url = format!("{}/v1/traces", endpoint.as_str().trim_end_matches('/'));
    let exporter = opentelemetry_otlp::SpanExporter::builder()
        .with_http()
        .with_endpoint(url)
        .with_timeout(EXPORT_TIMEOUT)
        .build()
        .map_err(Error::internal)?;
    let root = Sampler::TraceIdRatioBased(config.trace_sample_ratio);
    let provider = SdkTracerProvider::builder()
        .with_sampler(Sampler::ParentBased(Box::new(root)))
        .with_span_processor(export::processor(exporter))
        .with_resource(resource())
        .build();
    let tracer = provider.tracer("mainstay");
    let _ = TRACING.set((provider, tracer));
    Ok(())
}

fn resource() -> Resource {
    let version = KeyValue::new("service.version", env!("CARGO_PKG_VERSION"));
    Resource::builder().with_service_name("mainstay").with_attribute(version).build()
}

/// Exports what is left; waits two seconds at most. Not within the runtime: it blocks.
pub fn shutdown() {
    if let Some((provider, _)) = TRACING.get()
        && let Err(error) = provider.shutdown_with_timeout(LAST_EXPORT)
    {
        tracing::warn!(error = error.to_string(), "the last spans were not exported");
    }
}

/// For whoever continues the present work elsewhere: a call to another service, a job, an event.
pub fn current_traceparent() -> Option<String> {
    work::current()?.trace().map(|trace| trace.to_string())
}

/// A piece of work in a trace; ends when it is dropped. Without a trace it does nothing.
#[derive(Default)]
pub struct Span {
    recording: Option<sdk::Span>,
    context: Option<TraceContext>,
}

impl Span {
    /// A request that another service may have begun; a `traceparent` that is malformed is
    /// ignored.
    pub fn server(traceparent: Option<&str>) -> Self {
        // Named when the answer is known, see `rename`.
        Self::continuing("request", SpanKind::Server, traceparent)
    }

    /// A job or event that was stored with the `traceparent` of the work that wrote it.
    pub fn consumer(name: &'static str, traceparent: Option<&str>) -> Self {
        Self::continuing(name, SpanKind::Consumer, traceparent)
    }

    /// Something that the work under way asks of somebody else.
    pub fn client(name: &'static str) -> Self {
        match work::current().and_then(|work| work.trace()) {
            Some(parent) if parent.sampled => {
                Self::start(name, SpanKind::Client, Some(parent), false)
            }
            context => Self { recording: None, context },
        }
    }

    fn continuing(name: &'static str, kind: SpanKind, traceparent: Option<&str>) -> Self {
        let parent = traceparent.and_then(|text| text.parse().ok());
        Self::start(name, kind, parent, true)
    }

    fn start(
        name: &'static str,
        kind: SpanKind,
        parent: Option<TraceContext>,
        is_remote: bool,
    ) -> Self {
        // Not traced here, the context is handed on as it came.
        let Some((_, tracer)) = TRACING.get() else {
            return Self { recording: None, context: parent };
        };
        let context = match parent {
            Some(parent) => {
                Context::new().with_remote_span_context(parent.to_span_context(is_remote))
            }
            None => Context::new(),
        };
        let builder = SpanBuilder::from_name(name).with_kind(kind);
        let span = tracer.build_with_context(builder, &context);
        let context = Some(TraceContext::from(span.span_context()));
        Self { recording: span.is_recording().then_some(span), context }
    }

    pub fn context(&self) -> Option<TraceContext> {
        self.context
    }

    /// What to send with the call that this span is about.
    pub fn traceparent(&self) -> Option<String> {
        self.context.map(|context| context.to_string())
    }

    /// Whether attributes are of any use.
    pub fn is_recording(&self) -> bool {
        self.recording.is_some()
    }

    pub fn rename(&mut self, name: impl Into<Cow<'static, str>>) {
        if let Some(span) = &mut self.recording {
            span.update_name(name);
        }
    }

    pub fn set(&mut self, key: &'static str, value: impl Into<Value>) {
        if let Some(span) = &mut self.recording {
            span.set_attribute(KeyValue::new(key, value));
        }
    }

    /// `kind` is a word of a small set, never a message: those may repeat what they were given.
    pub fn fail(&mut self, kind: impl Into<Value>) {
        if let Some(span) = &mut self.recording {
            span.set_attribute(KeyValue::new("error.type", kind));
            span.set_status(Status::error(""));
        }
    }
}
