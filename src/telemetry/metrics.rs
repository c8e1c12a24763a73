//! Every metric of the service, named once, with its type, unit and meaning; and the recorder.

use std::sync::OnceLock;

use metrics::{Unit, describe_counter, describe_gauge, describe_histogram};
use metrics_exporter_prometheus::{Matcher, PrometheusBuilder, PrometheusHandle};

use super::{process, runtime};

/// What kind of series a metric is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum MetricKind {
    Counter,
    Gauge,
    Histogram,
}

/// One metric as the documentation lists it.
pub struct Metric {
    pub name: &'static str,
    pub kind: MetricKind,
    pub unit: Option<Unit>,
    pub help: &'static str,
}

macro_rules! metrics_table {
    ($($constant:ident $name:literal $kind:ident $unit:expr, $help:literal;)*) => {
        $(#[doc = $help] pub const $constant: &str = $name;)*

        /// All of them.
        pub const ALL: &[Metric] = &[
            $(Metric { name: $name, kind: MetricKind::$kind, unit: $unit, help: $help }),*
        ];
    };
}

metrics_table! {
    HTTP_REQUESTS "http_requests_total" Counter None,
        "Answers given, by method, route template and status";
    HTTP_DURATION "http_request_duration_seconds" Histogram Some(Unit::Seconds),
        "Time from the request's head to the answer's head, by method and route template";
    HTTP_IN_FLIGHT "http_requests_in_flight" Gauge None,
        "Requests being worked on, those that outlived their deadline included";
    HTTP_SHED "http_requests_shed_total" Counter None,
        "Requests refused because the service was working at its limit, by priority";
    HTTP_LIMIT "http_requests_limit" Gauge None,
        "Requests worked on at once at present; falls while work waits for connections or processors";
    HTTP_ABANDONED "http_requests_abandoned_total" Counter None,
        "Requests whose client left before the answer";
    HTTP_LATE "http_requests_late_total" Counter None,
        "Unsafe requests that ended after their deadline had been answered with 504";
    HTTP_CONNECTIONS "http_connections_open" Gauge None,
        "Open client connections";
    DB_DURATION "db_work_duration_seconds" Histogram Some(Unit::Seconds),
        "Time of a named transaction or read, the wait for a connection included";
    DB_POOL_WAIT "db_pool_wait_seconds" Histogram Some(Unit::Seconds),
        "Time to get a connection from the pool";
    DB_POOL_SIZE "db_pool_connections" Gauge None,
        "Connections in the pool, by state idle or used";
    DB_CONFLICTS "db_conflict_retries_total" Counter None,
        "Transactions tried again after a serialization failure or deadlock";
    DB_CONNECTIONS_CUT "db_connections_cut_total" Counter None,
        "Connections closed in the middle of their work, or of no more use";
    HASH_QUEUE "password_hash_queue_length" Gauge None,
        "Password hashes waiting for a thread";
    HASH_WAIT "password_hash_wait_seconds" Histogram Some(Unit::Seconds),
        "Time a password hash waited for a thread";
    HASH_REFUSED "password_hash_refused_total" Counter None,
        "Password hashes refused because the queue was full";
    FEED_LAG "change_feed_age_seconds" Gauge Some(Unit::Seconds),
        "Time since the change feed was last read";
    CLOCK_BEHIND "clock_behind_database_seconds" Gauge Some(Unit::Seconds),
        "How far the system's clock is behind that of the database";
    CACHE_REQUESTS "cache_requests_total" Counter None,
        "Reads through the cache, by cache and what was found: memory, redis, stale, miss or bypass";
    CACHE_LOADS "cache_loads_total" Counter None,
        "Loads from the database on behalf of the cache, by cache and outcome: loaded or failed";
    CACHE_COALESCED "cache_coalesced_total" Counter None,
        "Reads that waited for the load of another, by cache";
    CACHE_REFUSED "cache_refused_total" Counter None,
        "Entries in Redis that were not taken, by cache and why: outdated, corrupt or schema";
    CACHE_INVALIDATION_LAG "cache_invalidation_lag_seconds" Histogram Some(Unit::Seconds),
        "Time from a change to when this instance applied it as the feed told it";
    CACHE_ENTRIES "cache_entries" Gauge None,
        "Entries in the process";
    CACHE_BYTES "cache_memory_bytes" Gauge Some(Unit::Bytes),
        "About what the entries in the process take";
    LOGIN_OUTCOMES "auth_logins_total" Counter None,
        "Logins, by outcome";
    REFRESH_OUTCOMES "auth_refreshes_total" Counter None,
        "Refreshes, by outcome";
    IDEMPOTENCY_OUTCOMES "idempotency_keys_total" Counter None,
        "Requests under a key, by outcome: claimed, replayed, in_progress or reused";
    OUTBOX_LAG "outbox_lag_seconds" Gauge Some(Unit::Seconds),
        "Age of the oldest event that waits for a consumer";
    OUTBOX_DEAD "outbox_dead" Gauge None,
        "Deliveries that were given up and wait to be replayed";
    OUTBOX_RELAY "outbox_relay_active" Gauge None,
        "1 while this instance relays the outbox";
    OUTBOX_DELAY "outbox_delivery_delay_seconds" Histogram Some(Unit::Seconds),
        "Time from an event to its handling, by consumer";
    OUTBOX_DELIVERIES "outbox_deliveries_total" Counter None,
        "Events handed over, by consumer and outcome: delivered, failed or dead";
    RATE_LIMIT_REFUSED "rate_limit_refused_total" Counter None,
        "Requests refused by a rate limit, by policy";
    RATE_LIMIT_ALONE "rate_limit_decided_alone_total" Counter None,
        "Requests whose limits this instance decided alone because Redis was away";
    RATE_LIMIT_CLIENTS "rate_limit_clients" Gauge None,
        "Clients remembered by the limiter, one per policy and client";
    REDIS_DURATION "redis_command_duration_seconds" Histogram Some(Unit::Seconds),
        "Time of a Redis command, failed ones included, by what it was for";
    REDIS_FAILURES "redis_failures_total" Counter None,
        "Redis commands without a result, those kept back by the breaker included, by what and kind";
    BREAKER_STATE "circuit_breaker_state" Gauge None,
        "State of a circuit breaker: 0 closed, 1 half-open, 2 open";
    BUS_CONNECTED "bus_connected" Gauge None,
        "1 while this instance hears the others";
    BUS_LOST "bus_messages_lost_total" Counter None,
        "Messages to other instances that were not sent";
    INSTANCES "instances" Gauge None,
        "Instances alive at the last count";
    JOBS_DEPTH "jobs_depth" Gauge None,
        "Jobs by queue and state, as this worker last counted them, up to 100,000 a kind";
    JOBS_OLDEST "jobs_oldest_due_seconds" Gauge Some(Unit::Seconds),
        "How long the job that waits longest has been due, by queue";
    JOBS_PAUSED "jobs_queue_paused" Gauge None,
        "1 while a queue is paused";
    JOBS_WAIT "jobs_wait_seconds" Histogram Some(Unit::Seconds),
        "Time from when a job was due to when a worker took it, by queue";
    JOBS_DURATION "jobs_run_duration_seconds" Histogram Some(Unit::Seconds),
        "Time of an attempt, by kind of job";
    JOBS_FINISHED "jobs_finished_total" Counter None,
        "Ends of attempts, by kind of job and outcome";
    JOBS_LEASES_LOST "jobs_workers_given_up_total" Counter None,
        "Times this worker was given up by the others and started anew";
    MAIL_SENT "mail_messages_total" Counter None,
        "Attempts to send a message, by outcome: sent, refused for good, failed, kept_back by the breaker";
    MAIL_DURATION "mail_send_duration_seconds" Histogram Some(Unit::Seconds),
        "Time of an attempt to send a message";
    MAIL_CONNECTIONS "mail_connections_total" Counter None,
        "Connections to the mail relay that were opened";
    IMPORT_ROWS "import_rows_total" Counter None,
        "Rows of imported files, by outcome: upserted or rejected";
    IMPORT_BYTES "import_bytes_total" Counter Some(Unit::Bytes),
        "Bytes of imported files that were read, after decompression";
    EXPORT_ROWS "export_rows_total" Counter None,
        "Products written into exports";
    EXPORTS_ACTIVE "exports_active" Gauge None,
        "Exports being written";
    HEALTH "health_check_up" Gauge None,
        "1 when the checked dependency answers, by check";
    LOG_DROPPED "log_lines_dropped_total" Counter None,
        "Log lines lost because nobody read them";
    SPANS_EXPORTED "trace_spans_exported_total" Counter None,
        "Spans that the collector has taken";
    SPANS_LOST "trace_spans_lost_total" Counter None,
        "Spans lost because the collector was too slow or away";
    READY "ready" Gauge None,
        "1 while this instance takes traffic, as /health/ready tells it";
    BUILD_INFO "build_info" Gauge None,
        "1, by version";
    PROCESS_CPU "process_cpu_seconds_total" Counter Some(Unit::Seconds),
        "Processor time the process has used";
    PROCESS_MEMORY "process_resident_memory_bytes" Gauge Some(Unit::Bytes),
        "Memory of the process that is in RAM";
    PROCESS_THREADS "process_threads" Gauge None,
        "Threads of the process";
    PROCESS_FDS "process_open_fds" Gauge None,
        "Open file descriptors";
    PROCESS_MAX_FDS "process_max_fds" Gauge None,
        "File descriptors the process may open";
    PROCESS_START "process_start_time_seconds" Gauge Some(Unit::Seconds),
        "When the process started, since the epoch";
    RUNTIME_WORKERS "runtime_workers" Gauge None,
        "Threads of the async runtime";
    RUNTIME_TASKS "runtime_tasks_alive" Gauge None,
        "Tasks of the async runtime";
    RUNTIME_QUEUE "runtime_queue_length" Gauge None,
        "Tasks that wait in the queue all threads of the runtime share";
    RUNTIME_BUSY "runtime_busy_seconds_total" Counter Some(Unit::Seconds),
        "Time the threads of the runtime were not idle";
    RUNTIME_LAG "runtime_lag_seconds" Histogram Some(Unit::Seconds),
        "How late the async runtime wakes a task";
}

/// Upper bounds in seconds, from a cache hit to the request deadline.
const SECONDS: &[f64] =
    &[0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0];

/// Installs the recorder, once per process; later calls give the same handle.
pub fn install() -> PrometheusHandle {
    static HANDLE: OnceLock<PrometheusHandle> = OnceLock::new();
    HANDLE
        .get_or_init(|| {
            let handle = PrometheusBuilder::new()
                .set_buckets_for_metric(Matcher::Suffix("_seconds".to_owned()), SECONDS)
                .and_then(|builder| builder.install_recorder())
                .expect("buckets are not empty and this is the only recorder");
            describe_all();
            metrics::gauge!(BUILD_INFO, "version" => env!("CARGO_PKG_VERSION")).set(1.0);
            handle
        })
        .clone()
}

/// All of it in the text format of Prometheus.
pub fn render() -> String {
    let mut text = install().render();
    for (name, value) in process::figures().into_iter().chain(runtime::figures()) {
        let metric = ALL.iter().find(|metric| metric.name == name);
        let metric = metric.expect("what is measured is in the table");
        let kind = format!("{:?}", metric.kind).to_lowercase();
        text += &format!("# HELP {name} {}\n# TYPE {name} {kind}\n{name} {value}\n\n", metric.help);
    }
    text
}

fn describe_all() {
    for metric in ALL {
        let unit = metric.unit.unwrap_or(Unit::Count);
        match metric.kind {
            MetricKind::Counter => describe_counter!(metric.name, unit, metric.help),
            MetricKind::Gauge => describe_gauge!(metric.name, unit, metric.help),
            MetricKind::Histogram => describe_histogram!(metric.name, unit, metric.help),
        }
    }
}
