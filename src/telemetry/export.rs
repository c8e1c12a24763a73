//! The way of spans out of the process: a bounded queue, a thread that sends it in batches, and
//! a count of what was lost on the way. Whoever ends a span never waits.

use std::{
    fmt::Debug,
    sync::{
        Arc,
        atomic::{AtomicBool, AtomicUsize, Ordering::Relaxed},
    },
    time::Duration,
};

use opentelemetry::Context;
use opentelemetry_sdk::{
    Resource,
    error::OTelSdkResult,
    trace::{BatchConfigBuilder, BatchSpanProcessor, Span, SpanData, SpanExporter, SpanProcessor},
};

use super::metrics as names;

/// Spans that may wait, those being sent included.
const QUEUE: usize = 2048;
const SEND_EVERY: Duration = Duration::from_secs(1);

pub fn processor(exporter: impl SpanExporter + 'static) -> impl SpanProcessor + 'static {
    let waiting = Arc::new(AtomicUsize::new(0));
    let exporter = Counted { exporter, waiting: waiting.clone(), failing: AtomicBool::new(false) };
    let config = BatchConfigBuilder::default()
        .with_max_queue_size(QUEUE)
        .with_scheduled_delay(SEND_EVERY)
        .build();
    Bounded {
        queue: BatchSpanProcessor::builder(exporter).with_batch_config(config).build(),
        waiting,
    }
}

/// The queue drops what it cannot take and says so only at its end; this one counts.
#[derive(Debug)]
struct Bounded {
    queue: BatchSpanProcessor,
    waiting: Arc<AtomicUsize>,
}

impl SpanProcessor for Bounded {
    fn on_start(&self, span: &mut Span, context: &Context) {
        self.queue.on_start(span, context);
    }

    fn on_end(&self, span: SpanData) {
        if self.waiting.fetch_add(1, Relaxed) < QUEUE {
            return self.queue.on_end(span);
        }
        self.waiting.fetch_sub(1, Relaxed);
        metrics::counter!(names::SPANS_LOST).increment(1);
    }

    fn force_flush(&self) -> OTelSdkResult {
        self.queue.force_flush()
    }

    fn shutdown_with_timeout(&self, timeout: Duration) -> OTelSdkResult {
        self.queue.shutdown_with_timeout(timeout)
    }

    fn set_resource(&mut self, resource: &Resource) {
        self.queue.set_resource(resource);
    }
}

#[derive(Debug)]
struct Counted<E> {
    exporter: E,
    waiting: Arc<AtomicUsize>,
    failing: AtomicBool,
}

impl<E: SpanExporter> SpanExporter for Counted<E> {
    async fn export(&self, batch: Vec<SpanData>) -> OTelSdkResult {
        let spans = batch.len();
        let result = self.exporter.export(batch).await;
        self.waiting.fetch_sub(spans, Relaxed);
        let metric = if result.is_ok() { names::SPANS_EXPORTED } else { names::SPANS_LOST };
        metrics::counter!(metric).increment(spans as u64);
        // Once for each time that the collector goes away.
        if self.failing.swap(result.is_err(), Relaxed) != result.is_err() {
            match &result {
                Ok(()) => tracing::info!("spans are exported again"),
                Err(error) => tracing::warn!(error = error.to_string(), "spans are not exported"),
            }
        }
        result
    }

    fn shutdown_with_timeout(&self, timeout: Duration) -> OTelSdkResult {
        self.exporter.shutdown_with_timeout(timeout)
    }

    fn force_flush(&self) -> OTelSdkResult {
        self.exporter.force_flush()
    }

    fn set_resource(&mut self, resource: &Resource) {
        self.exporter.set_resource(resource);
    }
}
