//! Traces: continued from the caller, told to a collector, and never in anybody's way.

use std::time::{Duration, Instant};

use reqwest::Client;
use serde_json::Value;
use tokio::{io::AsyncReadExt, net::TcpListener};

use crate::support::{
    Api, Database, Instance, Settings,
    collector::{CLIENT, Collector, attribute, hex},
    timing::{kept, p99, say},
    within,
};

const TRACE: &str = "0af7651916cd43dd8448eb211c80319c";
const PARENT: &str = "b7ad6b7169203331";

fn traced(database: &Database, endpoint: &str) -> Settings {
    Settings::new(&database.url)
        .with_redis()
        .set("OTEL_EXPORTER_OTLP_ENDPOINT", endpoint)
        .set("APP__TELEMETRY__TRACE_SAMPLE_RATIO", "1")
}

/// Asks for one's own account; the line that the log has of it.
async fn me(instance: &Instance, access: &str, traceparent: &str) -> Value {
    let url = format!("http://{}/api/v1/users/me", instance.api.address());
    let http = Client::builder().no_proxy().build().expect("a client");
    let request = http.get(url).bearer_auth(access).header("traceparent", traceparent);
    let response = request.send().await.expect("an answer");
    assert_eq!(response.status(), 200);
    let id = response.headers()["x-request-id"].to_str().expect("text").to_owned();
    let mut line = Value::Null;
    within("the line is written", Duration::from_millis(100), async || {
        let log = instance.log();
        let mut lines = log.lines().filter_map(|line| serde_json::from_str::<Value>(line).ok());
        line = lines.find(|line| line["request_id"] == id.as_str()).unwrap_or_default();
        !line.is_null()
    })
    .await;
    line
}

#[tokio::test(flavor = "multi_thread")]
async fn a_trace_goes_on_from_the_caller_through_the_request_into_the_database() {
    let (database, collector) = (Database::create().await, Collector::start().await);
    let instance = Instance::ready(&traced(&database, &collector.url)).await;
    let tokens = instance.api.sign_in().await;
    let line = me(&instance, &tokens.access, &format!("00-{TRACE}-{PARENT}-01")).await;
    assert_eq!(line["trace_id"], TRACE);
    let server = collector.server_span(TRACE).await;
    assert_eq!(
        (server.name.as_str(), hex(&server.parent_span_id).as_str()),
        ("GET /api/v1/users/me", PARENT)
    );
    for (key, value) in [
        ("http.request.method", "GET"),
        ("http.route", "/api/v1/users/me"),
        ("url.path", "/api/v1/users/me"),
        ("http.response.status_code", "200"),
        ("network.protocol.version", "1.1"),
        ("client.address", "127.0.0.1"),
    ] {
        assert_eq!(attribute(&server, key), value, "{key}");
    }
    let spans = collector.of_trace(TRACE);
    let database_span = spans.iter().find(|span| attribute(span, "db.system.name") == "postgresql");
    let database_span = database_span.expect("what the database did is in the trace");
    assert_eq!((database_span.kind, &database_span.parent_span_id), (CLIENT, &server.span_id));
    assert_eq!(attribute(database_span, "db.operation.name"), database_span.name);
    assert!(database_span.start_time_unix_nano >= server.start_time_unix_nano);
    assert!(database_span.end_time_unix_nano <= server.end_time_unix_nano);
}

#[tokio::test(flavor = "multi_thread")]
async fn the_caller_decides_whether_a_trace_is_kept_and_what_is_malformed_begins_a_new_one() {
    let (database, collector) = (Database::create().await, Collector::start().await);
    let mut instance = Instance::ready(&traced(&database, &collector.url)).await;
    let tokens = instance.api.sign_in().await;
    let unkept = me(&instance, &tokens.access, &format!("00-{TRACE}-{PARENT}-00")).await;
    assert_eq!(unkept["trace_id"], TRACE);
    let fresh = me(&instance, &tokens.access, &format!("00-{TRACE}-{PARENT}-1")).await;
    let fresh = fresh["trace_id"].as_str().expect("a trace of its own");
    assert!(fresh.len() == 32 && fresh != TRACE, "{fresh}");
    let server = collector.server_span(fresh).await;
    assert!(server.parent_span_id.is_empty());
    instance.signal("TERM");
    assert!(instance.exit().await.success());
    assert!(collector.of_trace(TRACE).is_empty());
}

#[tokio::test(flavor = "multi_thread")]
async fn what_is_left_is_exported_at_the_end() {
    let (database, collector) = (Database::create().await, Collector::start().await);
    let mut instance = Instance::ready(&traced(&database, &collector.url)).await;
    let tokens = instance.api.sign_in().await;
    me(&instance, &tokens.access, &format!("00-{TRACE}-{PARENT}-01")).await;
    instance.signal("TERM");
    assert!(instance.exit().await.success());
    assert!(!collector.of_trace(TRACE).is_empty());
}

#[tokio::test(flavor = "multi_thread")]
async fn without_a_collector_the_caller_s_trace_is_on_the_line() {
    let database = Database::create().await;
    let instance = Instance::ready(&Settings::new(&database.url).with_redis()).await;
    let tokens = instance.api.sign_in().await;
    let line = me(&instance, &tokens.access, &format!("00-{TRACE}-{PARENT}-01")).await;
    assert_eq!(line["trace_id"], TRACE);
}

async fn time(api: &Api, access: &str) -> Duration {
    let started = Instant::now();
    api.me(access).await.expect(200);
    started.elapsed()
}

/// Beside an instance that traces nothing, turn by turn.
async fn costs_nothing(what: &str, endpoint: &str) {
    let database = Database::create().await;
    let plain = Instance::ready(&Settings::new(&database.url).with_redis()).await;
    let mut instance = Instance::ready(&traced(&database, endpoint)).await;
    let tokens = instance.api.sign_in().await;
    let (mut without, mut with) = (Vec::new(), Vec::new());
    for _ in 0..1500 {
        without.push(time(&plain.api, &tokens.access).await);
        with.push(time(&instance.api, &tokens.access).await);
    }
    let (without, with) = (p99(without), p99(with));
    say(&format!("{what}: p99 without traces {without:?}, with {with:?}"));
    assert!(with <= 3 * without.max(Duration::from_millis(10)));
    let metrics = instance.api.get("/metrics").await.text;
    assert!(metrics.contains("\ntrace_spans_lost_total "), "nothing was lost?");
    let started = Instant::now();
    instance.signal("TERM");
    assert!(instance.exit().await.success());
    kept(&format!("the end with {what}"), started.elapsed(), Duration::from_secs(4));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_collector_that_never_answers_costs_requests_nothing_and_does_not_hold_the_end() {
    let listener = TcpListener::bind("127.0.0.1:0").await.expect("a port");
    let endpoint = format!("http://{}", listener.local_addr().expect("an address"));
    tokio::spawn(async move {
        while let Ok((mut stream, _)) = listener.accept().await {
            tokio::spawn(async move {
                let mut sink = Vec::new();
                let _ = stream.read_to_end(&mut sink).await;
            });
        }
    });
    costs_nothing("a collector that never answers", &endpoint).await;
}

/// As a stopped process: the system takes connections for it, and nobody reads them.
#[tokio::test(flavor = "multi_thread")]
async fn a_collector_that_is_stopped_costs_requests_nothing_and_does_not_hold_the_end() {
    let listener = TcpListener::bind("127.0.0.1:0").await.expect("a port");
    let endpoint = format!("http://{}", listener.local_addr().expect("an address"));
    costs_nothing("a stopped collector", &endpoint).await;
}
