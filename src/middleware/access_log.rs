//! One line and one set of measurements per request: its final status, and whether anybody
//! was still there to read it.

use std::{
    collections::HashMap,
    sync::{Arc, OnceLock, RwLock},
    time::{Duration, Instant},
};

use axum::{extract::Request, response::Response};
use http::{HeaderMap, HeaderName, Method, Version};
use metrics::{Counter, Gauge, Histogram};

use super::{
    authenticate::Caller,
    error_mapper::ErrorCode,
    request_context,
    route_info::{self, Access, RouteInfo, UNMATCHED},
    step::{Inner, Step},
};
use crate::{
    config::Telemetry,
    domain::audit::Origin,
    telemetry::{
        metrics as names,
        traces::Span,
        work::{self, Work},
    },
};

pub struct AccessLog {
    slow: Duration,
    meters: Arc<Meters>,
}

impl AccessLog {
    pub fn new(telemetry: &Telemetry) -> Self {
        Self { slow: telemetry.slow_request, meters: Arc::default() }
    }
}

/// To look a measurement up by its name and labels costs more than to take it.
#[derive(Default)]
struct Meters {
    in_flight: OnceLock<Gauge>,
    /// By method, route and status.
    answered: RwLock<HashMap<[&'static str; 3], Meter>>,
}

struct Meter {
    answers: Counter,
    duration: Histogram,
}

impl Meters {
    fn in_flight(&self) -> &Gauge {
        self.in_flight.get_or_init(|| metrics::gauge!(names::HTTP_IN_FLIGHT))
    }

    fn note(&self, labels: [&'static str; 3], took: Duration) {
        let known = self.answered.read().unwrap_or_else(|e| e.into_inner());
        if let Some(meter) = known.get(&labels) {
            return meter.note(took);
        }
        drop(known);
        let mut known = self.answered.write().unwrap_or_else(|e| e.into_inner());
        known.entry(labels).or_insert_with(|| Meter::new(labels)).note(took);
    }
}

impl Meter {
    fn new([method, route, status]: [&'static str; 3]) -> Self {
        Self {
            answers: metrics::counter!(names::HTTP_REQUESTS, "method" => method, "route" => route, "status" => status),
            duration: metrics::histogram!(names::HTTP_DURATION, "method" => method, "route" => route),
        }
    }

    fn note(&self, took: Duration) {
        self.answers.increment(1);
        self.duration.record(took.as_secs_f64());
    }
}

impl Step for AccessLog {
    fn call(
        self: Arc<Self>,
        request: Request,
        inner: impl Inner,
    ) -> impl Future<Output = Response> + Send {
        let mut line = Line::start(&request, &self);
        let answer = work::run(line.work.clone(), inner.run(request));
        async move {
            let response = answer.await;
            line.end(&response);
            response
        }
    }
}

/// A request that is under way. Dropped before its end, the client has left.
struct Line {
    started: Instant,
    slow: Duration,
    meters: Arc<Meters>,
    span: Span,
    work: Arc<Work>,
    version: Version,
    method: Method,
    path: String,
    route: RouteInfo,
    origin: Arc<Origin>,
    ended: bool,
}

impl Line {
    fn start(request: &Request, log: &AccessLog) -> Self {
        log.meters.in_flight().increment(1.0);
        let route = route_info::of(request);
        let span = match route.access {
            Access::Operations => Span::default(),
            _ => Span::server(traceparent(request.headers())),
        };
        Self {
            started: Instant::now(),
            slow: log.slow,
            meters: log.meters.clone(),
            work: Work::of(&span),
            span,
            version: request.version(),
            method: request.method().clone(),
            // Never the query: it may carry what must not be kept.
            path: request.uri().path().to_owned(),
            route,
            origin: request_context::origin(request.extensions()),
            ended: false,
        }
    }

    fn end(&mut self, response: &Response) {
        self.ended = true;
        let status = response.status().as_u16();
        self.measure(status);
        let user = response.extensions().get::<Caller>().map(|caller| caller.0.user_id);
        let code = response.extensions().get::<ErrorCode>().map(|code| code.0);
        self.describe(status, code);
        self.write(status, user.map(|id| id.to_string()).as_deref(), code, "request");
    }

    /// By the semantic conventions of OpenTelemetry for HTTP servers.
    fn describe(&mut self, status: u16, code: Option<&'static str>) {
        if !self.span.is_recording() {
            return;
        }
        let (method, route) = (method_label(&self.method), self.route.template);
        let known = route != UNMATCHED;
        let name = if known { format!("{method} {route}") } else { method.to_owned() };
        self.span.rename(name);
        self.span.set("http.request.method", if method == "OTHER" { "_OTHER" } else { method });
        if known {
            self.span.set("http.route", route);
        }
        // As it comes here: TLS ends at the proxy.
        self.span.set("url.scheme", "http");
        self.span.set("url.path", self.path.clone());
        self.span.set("http.response.status_code", i64::from(status));
        self.span.set("network.protocol.version", protocol(self.version));
        if let Some(address) = self.origin.address_text() {
            self.span.set("client.address", address);
        }
        if let Some(agent) = &self.origin.user_agent {
            self.span.set("user_agent.original", agent.clone());
        }
        self.span.set("mainstay.request_id", self.origin.request_id.clone());
        if status >= 499 {
            self.span.fail(code.unwrap_or(status_label(status)));
        }
    }

    fn measure(&self, status: u16) {
        let labels = [method_label(&self.method), self.route.template, status_label(status)];
        self.meters.note(labels, self.started.elapsed());
    }

    fn write(&self, status: u16, user_id: Option<&str>, code: Option<&str>, message: &str) {
        let took = self.started.elapsed();
        let duration_ms = took.as_micros() as f64 / 1000.0;
        let (origin, work) = (&self.origin, &self.work);
        let address = origin.address_text();
        macro_rules! line {
            ($level:ident $(, $slow:ident)?) => {
                tracing::$level!(
                    target: "mainstay::access",
                    request_id = origin.request_id, method = self.method.as_str(),
                    path = self.path, route = self.route.template, status, code, duration_ms,
                    db_ms = work.db_ms(), db_statements = work.db_statements(),
                    redis_ms = work.redis_ms(), redis_commands = work.redis_commands(),
                    trace_id = work.trace_id(), address, user_id,
                    user_agent = origin.user_agent, $($slow = true,)? "{message}"
                )
            };
        }
        match self.route.access {
            // Until the answer began: its body is not timed, so that a stream is not slow.
            _ if took >= self.slow => line!(warn, slow),
            // Probes and scrapes come every second and tell nothing.
            Access::Operations => line!(debug),
            _ => line!(info),
        }
    }
}

impl Drop for Line {
    fn drop(&mut self) {
        self.meters.in_flight().decrement(1.0);
        if !self.ended {
            metrics::counter!(names::HTTP_ABANDONED).increment(1);
            // nginx's number for a client that closed the connection.
            self.describe(499, Some("abandoned"));
            self.write(499, None, None, "the client left");
        }
    }
}

/// Two of them contradict each other, and count as none.
fn traceparent(headers: &HeaderMap) -> Option<&str> {
    const TRACEPARENT: HeaderName = HeaderName::from_static("traceparent");
    let mut values = headers.get_all(TRACEPARENT).iter();
    let (Some(value), None) = (values.next(), values.next()) else { return None };
    value.to_str().ok()
}

fn protocol(version: Version) -> &'static str {
    match version {
        Version::HTTP_2 => "2",
        Version::HTTP_10 => "1.0",
        _ => "1.1",
    }
}

/// Anything else a client invents is one label.
fn method_label(method: &Method) -> &'static str {
    match *method {
        Method::GET => "GET",
        Method::HEAD => "HEAD",
        Method::POST => "POST",
        Method::PUT => "PUT",
        Method::PATCH => "PATCH",
        Method::DELETE => "DELETE",
        Method::OPTIONS => "OPTIONS",
        _ => "OTHER",
    }
}

fn status_label(status: u16) -> &'static str {
    macro_rules! labels {
        ($($code:literal)*) => {
            match status { $($code => stringify!($code),)* 100..=199 => "1xx", 200..=299 => "2xx",
                300..=399 => "3xx", 400..=499 => "4xx", _ => "5xx" }
        };
    }
    labels!(200 201 202 204 206 302 304 400 401 403 404 405 406 408 409 412 413 414 415 422 428 429 431 500 503 504)
}
