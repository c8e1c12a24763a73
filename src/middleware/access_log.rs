//! One line and one set of measurements per request: its final status, and whether anybody
//! was still there to read it.

use std::{sync::Arc, time::Instant};

use axum::{extract::Request, response::Response};
use http::Method;

use super::{
    authenticate::Caller,
    error_mapper::ErrorCode,
    request_context,
    route_info::{self, Access, RouteInfo},
    step::{Inner, Step},
};
use crate::{domain::audit::Origin, telemetry::metrics as names};

pub struct AccessLog;

impl Step for AccessLog {
    async fn call(&self, request: Request, inner: impl Inner) -> Response {
        let mut line = Line::start(&request);
        let response = inner.run(request).await;
        line.end(&response);
        response
    }
}

/// A request that is under way. Dropped before its end, the client has left.
pub struct Line {
    started: Instant,
    method: Method,
    path: String,
    route: RouteInfo,
    origin: Arc<Origin>,
    ended: bool,
}

impl Line {
    pub fn start(request: &Request) -> Self {
        metrics::gauge!(names::HTTP_IN_FLIGHT).increment(1.0);
        Self {
            started: Instant::now(),
            method: request.method().clone(),
            // Never the query: it may carry what must not be kept.
            path: request.uri().path().to_owned(),
            route: route_info::of(request),
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
        self.write(status, user.map(|id| id.to_string()).as_deref(), code, "request");
    }

    fn measure(&self, status: u16) {
        let method = method_label(&self.method);
        let route = self.route.template;
        metrics::counter!(names::HTTP_REQUESTS, "method" => method, "route" => route, "status" => status_label(status))
            .increment(1);
        metrics::histogram!(names::HTTP_DURATION, "method" => method, "route" => route)
            .record(self.started.elapsed().as_secs_f64());
    }

    fn write(&self, status: u16, user_id: Option<&str>, code: Option<&str>, message: &str) {
        let duration_ms = self.started.elapsed().as_micros() as f64 / 1000.0;
        let origin = &self.origin;
        let address = origin.address_text();
        macro_rules! line {
            ($level:ident) => {
                tracing::$level!(
                    target: "mainstay::access",
                    request_id = origin.request_id, method = self.method.as_str(),
                    path = self.path, route = self.route.template, status, code, duration_ms,
                    address, user_id, user_agent = origin.user_agent, "{message}"
                )
            };
        }
        match self.route.access {
            // Probes and scrapes come every second and tell nothing.
            Access::Operations => line!(debug),
            _ => line!(info),
        }
    }
}

impl Drop for Line {
    fn drop(&mut self) {
        metrics::gauge!(names::HTTP_IN_FLIGHT).decrement(1.0);
        if !self.ended {
            metrics::counter!(names::HTTP_ABANDONED).increment(1);
            // nginx's number for a client that closed the connection.
            self.write(499, None, None, "the client left");
        }
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
    labels!(200 201 202 204 206 302 304 400 401 403 404 405 406 409 412 413 414 415 422 428 429 431 500 503 504)
}
