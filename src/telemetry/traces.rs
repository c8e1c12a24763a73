//! Spans, exported over OTLP where an endpoint is configured.
//!
//! They are made with the OpenTelemetry API itself and not through `tracing` spans: a request has
//! one, and below it only what it asks of others, so the parent is always the work under way
//! ([`super::work`]). That costs nothing when tracing is off and about nothing for a request that
//! is not sampled, where the bridge would cost each request a span in the log's registry.
//!
//! Work that goes on elsewhere is joined by its `traceparent`: [`current_traceparent`] is stored
//! with a job or an event, and whoever runs it does so under the span that continues it:
//!
//! ```
//! # use mainstay::telemetry::{traces::Span, work::{self, Work}};
//! # async fn job(stored: Option<&str>, mail: impl Future<Output = Result<(), ()>>) {
//! let mut span = Span::consumer("mail.send", stored);
//! let work = Work::of(&span);
//! if work::run(work.clone(), mail).await.is_err() {
//!     span.fail("refused");
//! }
//! tracing::info!(trace_id = work.trace_id(), db_statements = work.db_statements(), "job");
//! # }
//! ```

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
    trace::{self as sdk, Sampler, SdkTracer, SdkTracerProvider, SpanExporter},
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
    export_to(exporter, config.trace_sample_ratio);
    Ok(())
}

fn export_to(exporter: impl SpanExporter + 'static, ratio: f64) {
    let root = Sampler::TraceIdRatioBased(ratio);
    let provider = SdkTracerProvider::builder()
        .with_sampler(Sampler::ParentBased(Box::new(root)))
        .with_span_processor(export::processor(exporter))
        .with_resource(resource())
        .build();
    let tracer = provider.tracer("mainstay");
    let _ = TRACING.set((provider, tracer));
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

#[cfg(test)]
mod tests {
    use std::sync::{Arc, Mutex};

    use opentelemetry_sdk::{error::OTelSdkResult, trace::SpanData};

    use super::*;
    use crate::telemetry::work::{Operation, Work};

    const STORED: &str = "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01";

    #[derive(Debug, Clone, Default)]
    struct Kept(Arc<Mutex<Vec<SpanData>>>);

    impl SpanExporter for Kept {
        async fn export(&self, batch: Vec<SpanData>) -> OTelSdkResult {
            self.0.lock().unwrap().extend(batch);
            Ok(())
        }
    }

    impl Kept {
        fn span(&self, name: &str) -> SpanData {
            let spans = self.0.lock().unwrap();
            let found = spans.iter().find(|span| span.name == name);
            found.unwrap_or_else(|| panic!("no {name}")).clone()
        }
    }

    fn attribute(span: &SpanData, key: &str) -> String {
        let found = span.attributes.iter().find(|attribute| attribute.key.as_str() == key);
        found.map(|attribute| attribute.value.to_string()).unwrap_or_default()
    }

    #[tokio::test]
    async fn a_job_continues_the_trace_that_stored_it_and_what_it_asks_is_below_it() {
        let kept = Kept::default();
        export_to(kept.clone(), 0.0);
        let job = Span::consumer("mail.send", Some(STORED));
        let own = job.traceparent().expect("it is traced");
        let work = async {
            Operation::redis("test.lookup").end(None);
            Operation::db("test.store").end(Some("INTERNAL"));
            drop(Operation::db("test.left"));
            assert_eq!(current_traceparent(), Some(own.clone()));
            Span::client("POST payments").traceparent()
        };
        let outbound = work::run(Work::of(&job), work).await.expect("the call is traced");
        drop(job);
        assert_eq!(current_traceparent(), None);
        assert!(Span::consumer("unlucky", None).recording.is_none(), "none of a hundred is kept");
        TRACING.get().unwrap().0.force_flush().unwrap();
        let job = kept.span("mail.send");
        let stored: TraceContext = STORED.parse().unwrap();
        assert_eq!(job.parent_span_id, stored.span_id);
        assert_eq!(TraceContext::from(&job.span_context).to_string(), own);
        for (name, system, error) in [
            ("test.lookup", "redis", ""),
            ("test.store", "postgresql", "INTERNAL"),
            ("test.left", "postgresql", "abandoned"),
        ] {
            let span = kept.span(name);
            assert_eq!(span.span_context.trace_id(), stored.trace_id, "{name}");
            assert_eq!(span.parent_span_id, job.span_context.span_id(), "{name}");
            assert_eq!(attribute(&span, "db.system.name"), system);
            assert_eq!(attribute(&span, "error.type"), error);
            assert_eq!(span.status == Status::error(""), !error.is_empty());
        }
        let outbound: TraceContext = outbound.parse().unwrap();
        assert_eq!(outbound.span_id, kept.span("POST payments").span_context.span_id());
    }
}
