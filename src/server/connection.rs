//! One connection: HTTP/1.1 or HTTP/2, its limits, and its end.

use std::{convert::Infallible, net::SocketAddr, pin::Pin, time::Duration};

use axum::{Router, body::Body, response::Response};
use http::{HeaderValue, Method, Request, StatusCode, Version, header};
use hyper::body::{Body as _, Incoming};
use hyper_util::{
    rt::{TokioExecutor, TokioIo, TokioTimer},
    server::{conn::auto, graceful::GracefulConnection},
};
use tokio::net::TcpStream;
use tower::ServiceExt;

use super::{
    activity::Activity,
    body::{Outgoing, TimedBody},
    timed_io::TimedIo,
};
use crate::{
    config::Server,
    lifecycle::Lifecycle,
    middleware::{client::Peer, head_limits::names_one_host},
};

/// HTTP/2 streams of one connection at once.
const MAX_STREAMS: u32 = 128;
/// Above what `middleware::head_limits` refuses with a problem, hyper refuses bare. So it does with
/// more than 100 fields: any other number than its own costs two large allocations per request.
const MAX_HEAD_BYTES: usize = 64 * 1024;
/// When closing, a connection without a request has this long to begin one.
const LAST_CHANCE: Duration = Duration::from_millis(500);

/// How long a client may take.
#[derive(Debug, Clone, Copy)]
pub struct Timers {
    pub head: Duration,
    pub idle: Duration,
    pub body_grace: Duration,
    pub write: Duration,
}

impl From<&Server> for Timers {
    fn from(server: &Server) -> Self {
        Self {
            head: server.head_timeout,
            idle: server.idle_timeout,
            body_grace: server.body_grace,
            write: server.write_timeout,
        }
    }
}

pub async fn serve(
    stream: TcpStream,
    peer: SocketAddr,
    router: Router,
    life: Lifecycle,
    timers: Timers,
) {
    let _ = stream.set_nodelay(true);
    let activity = Activity::new();
    let io = TokioIo::new(TimedIo::new(stream, activity.clone(), timers));
    let (working, draining) = (activity.clone(), life.draining().clone());
    let service = hyper::service::service_fn(move |request: Request<Incoming>| {
        let (router, draining, working) = (router.clone(), draining.clone(), working.clone());
        async move {
            let working = working.begin(request.version() == Version::HTTP_2);
            let (closes, is_head) = (closes(&request), request.method() == Method::HEAD);
            let request = prepare(request, peer, timers.body_grace);
            let mut response = router.oneshot(request).await?;
            if never_has_content(response.status()) {
                response.headers_mut().remove(header::CONTENT_LENGTH);
            }
            if closes || draining.is_cancelled() {
                close_after(&mut response);
            }
            // Under way until its last byte: a stream may be silent for long.
            Ok::<_, Infallible>(response.map(|body| Outgoing::new(body, working, is_head)))
        }
    });
    let builder = builder();
    let conn = builder.serve_connection(io, service);
    let mut conn = std::pin::pin!(conn);
    let ended = tokio::select! {
        ended = conn.as_mut() => ended,
        () = life.closing().cancelled() => finish(conn, &activity).await,
    };
    if let Err(error) = ended {
        tracing::debug!(%error, "a connection ended early");
    }
}

/// Whoever was let in is heard. A proxy may send a request into an idle connection just as it is
/// closed; so idle ones get a last chance while the proxy learns from the closed door that it
/// must go elsewhere.
async fn finish<C>(mut conn: Pin<&mut C>, activity: &Activity) -> Result<(), C::Error>
where
    C: GracefulConnection,
{
    tokio::select! {
        ended = conn.as_mut() => return ended,
        () = heard(activity) => {}
    }
    conn.as_mut().graceful_shutdown();
    tokio::select! {
        ended = conn => ended,
        () = quiet(activity) => Ok(()),
    }
}

/// Returns when a request is under way, or when it has been waited for long enough.
async fn heard(activity: &Activity) {
    let patience = tokio::time::Instant::now() + LAST_CHANCE;
    while activity.is_idle() && tokio::time::Instant::now() < patience {
        tokio::time::sleep(LAST_CHANCE / 100).await;
    }
}

fn builder() -> auto::Builder<TokioExecutor> {
    let mut builder = auto::Builder::new(TokioExecutor::new());
    // Its own timer for heads runs on idle connections too, and is on unless it is told otherwise:
    // 30 s, less than a proxy keeps one. `TimedIo` has all timers.
    builder.http1().header_read_timeout(None).max_buf_size(MAX_HEAD_BYTES);
    builder
        .http2()
        .timer(TokioTimer::new())
        .max_concurrent_streams(MAX_STREAMS)
        .max_header_list_size(16 * 1024)
        .max_pending_accept_reset_streams(Some(32))
        .keep_alive_interval(Some(Duration::from_secs(30)));
    builder
}

fn prepare(request: Request<Incoming>, peer: SocketAddr, grace: Duration) -> Request<Body> {
    let mut request = request.map(|body| match body.is_end_stream() {
        true => Body::empty(),
        false => Body::new(TimedBody::new(body, grace)),
    });
    request.extensions_mut().insert(Peer(peer));
    request
}

/// hyper drops a Content-Length beside Transfer-Encoding in silence: what follows on such a
/// connection may be somebody else's idea of a request (RFC 9112, 6.1). So may what follows a head
/// that names no host or several, or asks for a tunnel.
fn closes(request: &Request<Incoming>) -> bool {
    request.headers().contains_key(header::TRANSFER_ENCODING)
        || request.method() == Method::CONNECT
        || !names_one_host(request.version(), request.headers())
}

/// axum measures every body, after all layers. Of an answer that never has one, the length would be
/// taken for that of another: of what a 304 spares (RFC 9110, 8.6).
fn never_has_content(status: StatusCode) -> bool {
    matches!(status, StatusCode::NO_CONTENT | StatusCode::NOT_MODIFIED)
}

/// HTTP/2 has GOAWAY instead, which hyper sends when the connection is shut down.
fn close_after(response: &mut Response) {
    response.headers_mut().insert(header::CONNECTION, HeaderValue::from_static("close"));
}

/// Returns when no request has been under way for a while.
async fn quiet(activity: &Activity) {
    let mut idle = Duration::ZERO;
    let step = LAST_CHANCE / 10;
    while idle < LAST_CHANCE {
        tokio::time::sleep(step).await;
        idle = if activity.is_quiet() { idle + step } else { Duration::ZERO };
    }
}
