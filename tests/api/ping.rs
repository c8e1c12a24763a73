//! The ping is what `make bench` measures as the hello: nothing of the stack may be left out for it.

use std::{
    pin::Pin,
    sync::{Arc, OnceLock},
    task::{Context, Poll},
};

use axum::body::Body;
use bytes::Bytes;
use http_body::Frame;

use super::support::{Answer, Call, TestApp};

const PING: &str = "/api/v1/ping";

async fn app() -> TestApp {
    TestApp::with(&[
        ("APP__LIMITS__ENABLED", "true"),
        ("APP__CORS__ALLOWED_ORIGINS", "https://shop.example"),
        ("APP__SERVER__COMPRESSION_MIN_BYTES", "1"),
        ("APP__SERVER__MAX_IN_FLIGHT_PER_CLIENT", "1"),
    ])
    .await
}

/// A request's body that does something when the innermost service lets go of it.
struct Felt(Option<Box<dyn FnOnce() + Send>>);

impl http_body::Body for Felt {
    type Data = Bytes;
    type Error = std::convert::Infallible;

    fn poll_frame(
        self: Pin<&mut Self>,
        _: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, Self::Error>>> {
        Poll::Ready(None)
    }
}

impl Drop for Felt {
    fn drop(&mut self) {
        self.0.take().into_iter().for_each(|act| act());
    }
}

fn felt(act: impl FnOnce() + Send + 'static) -> Body {
    Body::new(Felt(Some(Box::new(act))))
}

async fn ping(app: &TestApp, name: &str, value: &str) -> Answer {
    app.get(PING).header(name, value).send().await
}

async fn shows(app: &TestApp, step: &str) -> bool {
    match step {
        "RequestContext" => {
            ping(app, "x-request-id", "req-1").await.header("x-request-id") == "req-1"
        }
        "AccessLog" => {
            let metrics = String::from_utf8(app.get("/metrics").send().await.body).unwrap();
            let counted = |line: &str| {
                line.starts_with("http_requests_total{") && line.contains(r#"route="/api/v1/ping""#)
            };
            metrics.lines().any(counted)
        }
        "SecurityHeaders" => {
            app.get(PING).send().await.header("x-content-type-options") == "nosniff"
        }
        "cors" => {
            let answer = ping(app, "origin", "https://shop.example").await;
            answer.header("access-control-allow-origin") == "https://shop.example"
        }
        "ErrorMapper" => {
            let answer = app.get(PING).bearer("garbage").send().await;
            answer.header("content-type") == "application/problem+json"
        }
        "CatchPanic" => {
            let panics = felt(|| panic!("on purpose"));
            app.get(PING).text("text/plain", panics).send().await.status == 500
        }
        "HeadLimits" => app.get(&format!("{PING}?{}", "x".repeat(9000))).send().await.status == 414,
        "Admission" => {
            // The first one waits for the limiter's word from Redis.
            let (one, other) = tokio::join!(app.get(PING).send(), app.get(PING).send());
            one.status == 200 && other.status == 503
        }
        "Deadline" => {
            // Unsafe requests have a task of their own there.
            let place = Arc::new(OnceLock::new());
            let seen = place.clone();
            let body = felt(move || {
                let _ = seen.set(tokio::task::try_id());
            });
            app.post(PING).text("application/json", body).send().await;
            tokio::task::try_id().is_none() && place.get().is_some_and(Option::is_some)
        }
        "Authenticate" => {
            let answer = app.get(PING).bearer("garbage").send().await;
            answer.status == 401 && answer.json()["code"] == "UNAUTHENTICATED"
        }
        "RateLimit" => app.get(PING).send().await.header("ratelimit").starts_with("\"default\""),
        "Csrf" => {
            let call = app.post(PING).cookie("refresh", "x").header("sec-fetch-site", "cross-site");
            call.send().await.json()["code"] == "CSRF_REJECTED"
        }
        "Negotiation" => ping(app, "accept", "text/html").await.status == 406,
        "Compression" => {
            ping(app, "accept-encoding", "gzip").await.header("content-encoding") == "gzip"
        }
        "Decompression" => ping(app, "content-encoding", "rot13").await.status == 415,
        "BodyLimit" => {
            let large = |call: Call| call.header("content-length", "99999999").send();
            large(app.get(PING)).await.status == 413
        }
        _ => false,
    }
}

/// The steps as the list of the stack names them.
fn steps() -> Vec<String> {
    let source = concat!(env!("CARGO_MANIFEST_DIR"), "/src/middleware/mod.rs");
    let source = std::fs::read_to_string(source).unwrap();
    let name = |line: &str| {
        let inside = line.trim().split_once("layer(")?.1.replace("StepLayer::new(", "");
        let path = inside.split(['(', ')']).next().unwrap_or_default();
        let mut words = path.rsplit("::").filter(|word| !matches!(*word, "new" | "layer"));
        words.next().map(str::to_owned)
    };
    let stack = source.split("ServiceBuilder::new()").nth(1).unwrap();
    let layer = |line: &&str| line.trim().starts_with('.');
    stack.lines().filter(layer).filter_map(name).collect()
}

#[tokio::test]
async fn the_ping_runs_every_step_of_the_stack() {
    let steps = steps();
    assert!(steps.len() >= 16, "{steps:?}");
    for step in steps {
        // Fresh, so that the limiter has to ask Redis for the first request.
        let app = app().await;
        assert!(shows(&app, &step).await, "the ping does not show {step}");
    }
}
