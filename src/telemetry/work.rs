//! What a piece of work, such as a request or a job, spends on Postgres and Redis.
//!
//! The work under way is a task-local, so that the database and Redis can book on it and nobody
//! has to hand it through every signature. A task that is spawned on its behalf takes it along by
//! [`inherit`].

use std::{
    future::Future,
    sync::{
        Arc,
        atomic::{AtomicU32, AtomicU64, Ordering::Relaxed},
    },
    time::{Duration, Instant},
};

use super::{trace_context::TraceContext, traces::Span};
use tokio::task::futures::TaskLocalFuture;
use tracing::{Event, Subscriber, level_filters::LevelFilter};
use tracing_subscriber::{
    Layer,
    filter::Targets,
    layer::{Context, Filter},
    registry::LookupSpan,
};

tokio::task_local! {
    static CURRENT: Arc<Work>;
}

/// One piece of work. Clones of the `Arc` book on the same one.
#[derive(Default)]
pub struct Work {
    db: Spent,
    redis: Spent,
    trace: Option<TraceContext>,
}

/// How often a helper was asked, and how long that took.
#[derive(Default)]
struct Spent {
    times: AtomicU32,
    nanos: AtomicU64,
}

impl Spent {
    fn add(&self, time: Duration) {
        self.nanos.fetch_add(time.as_nanos() as u64, Relaxed);
    }

    fn millis(&self) -> f64 {
        (self.nanos.load(Relaxed) / 1000) as f64 / 1000.0
    }
}

impl Work {
    /// What is asked on behalf of this work becomes a child of its span.
    pub fn of(span: &Span) -> Arc<Self> {
        Arc::new(Self { trace: span.context(), ..Self::default() })
    }

    pub fn trace(&self) -> Option<TraceContext> {
        self.trace
    }

    pub fn trace_id(&self) -> Option<String> {
        self.trace.map(|trace| trace.trace_id.to_string())
    }

    /// Statements that Postgres was sent, `BEGIN` and `COMMIT` included.
    pub fn db_statements(&self) -> u32 {
        self.db.times.load(Relaxed)
    }

    /// Time in transactions and reads, the wait for a connection included.
    pub fn db_ms(&self) -> f64 {
        self.db.millis()
    }

    pub fn redis_commands(&self) -> u32 {
        self.redis.times.load(Relaxed)
    }

    pub fn redis_ms(&self) -> f64 {
        self.redis.millis()
    }
}

/// Runs `future` as a piece of work: what it asks for is booked on `work`.
pub fn run<F: Future>(work: Arc<Work>, future: F) -> TaskLocalFuture<Arc<Work>, F> {
    CURRENT.scope(work, future)
}

/// For a task spawned on behalf of the work under way, if there is any.
pub fn inherit<F: Future>(future: F) -> TaskLocalFuture<Arc<Work>, F> {
    run(current().unwrap_or_default(), future)
}

/// The work that this task does, if any.
pub fn current() -> Option<Arc<Work>> {
    CURRENT.try_with(Arc::clone).ok()
}

/// Something asked of a helper: its time is booked when this is dropped, and so also when nobody
/// waits for the answer any more.
pub struct Operation {
    work: Option<Arc<Work>>,
    of: fn(&Work) -> &Spent,
    started: Instant,
    span: Span,
    failure: Option<&'static str>,
}

impl Operation {
    /// A transaction or read by its name. Its statements are counted one by one, see
    /// [`StatementCounter`].
    pub fn db(name: &'static str) -> Self {
        Self::start(|work| &work.db, "postgresql", name)
    }

    pub fn redis(what: &'static str) -> Self {
        let operation = Self::start(|work| &work.redis, "redis", what);
        if let Some(work) = &operation.work {
            work.redis.times.fetch_add(1, Relaxed);
        }
        operation
    }

    fn start(of: fn(&Work) -> &Spent, system: &'static str, name: &'static str) -> Self {
        let mut span = Span::client(name);
        span.set("db.system.name", system);
        span.set("db.operation.name", name);
        Self { work: current(), of, started: Instant::now(), span, failure: Some("abandoned") }
    }

    /// `failure` is a word for what went wrong, if anything did.
    pub fn end(&mut self, failure: Option<&'static str>) {
        self.failure = failure;
    }

    pub fn elapsed(&self) -> Duration {
        self.started.elapsed()
    }
}

impl Drop for Operation {
    fn drop(&mut self) {
        if let Some(work) = &self.work {
            (self.of)(work).add(self.started.elapsed());
        }
        if let Some(kind) = self.failure {
            self.span.fail(kind);
        }
    }
}

/// Counts the statements that sqlx reports. Its connections have no other hook, and a counter of
/// our own in every repo function would be forgotten in the next one; the event costs about a
/// hundredth of the round trip it tells of.
pub struct StatementCounter;

impl StatementCounter {
    pub fn layer<S: Subscriber + for<'a> LookupSpan<'a>>() -> impl Layer<S> {
        StatementCounter.with_filter(Self::filter())
    }

    fn filter<S>() -> impl Filter<S> {
        Targets::new().with_target("sqlx::query", LevelFilter::DEBUG)
    }
}

impl<S: Subscriber> Layer<S> for StatementCounter {
    fn on_event(&self, _: &Event<'_>, _: Context<'_, S>) {
        let _ = CURRENT.try_with(|work| work.db.times.fetch_add(1, Relaxed));
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn what_a_spawned_task_asks_is_booked_on_the_work_it_inherits() {
        let work = Arc::new(Work::default());
        let ask = async || {
            let mut asked = Operation::redis("test");
            tokio::time::sleep(Duration::from_millis(2)).await;
            asked.end(None);
        };
        run(work.clone(), async {
            ask().await;
            tokio::spawn(inherit(async move { ask().await })).await.unwrap();
        })
        .await;
        ask().await;
        assert_eq!(work.redis_commands(), 2);
        assert!(work.redis_ms() >= 4.0 && work.db_ms() == 0.0, "{}", work.redis_ms());
    }

    #[tokio::test]
    async fn an_operation_that_is_dropped_half_way_is_booked() {
        let work = Arc::new(Work::default());
        let asking = run(work.clone(), async {
            let _asked = Operation::db("test");
            std::future::pending::<()>().await;
        });
        let _ = tokio::time::timeout(Duration::from_millis(5), asking).await;
        assert!(work.db_ms() >= 5.0, "{}", work.db_ms());
    }
}
