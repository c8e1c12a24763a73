//! The listener: accepts connections, gives their requests to the router, and drains without
//! cutting anybody off.

use std::{
    io,
    net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr},
    sync::Arc,
    time::Duration,
};

use axum::{Router, body::Body};
use http::{HeaderValue, Request, Version, header};
use hyper::body::Incoming;
use hyper_util::{
    rt::{TokioExecutor, TokioIo, TokioTimer},
    server::conn::auto,
};
use socket2::{Domain, Protocol, Socket, Type};
use tokio::{
    net::{TcpListener, TcpStream},
    sync::Semaphore,
    time::timeout,
};
use tokio_util::task::TaskTracker;
use tower::ServiceExt;

use crate::{
    config::Server,
    lifecycle::{Lifecycle, Signals},
    middleware::client::Peer,
    telemetry::metrics as names,
};

const BACKLOG: i32 = 4096;
/// HTTP/2 streams of one connection.
const MAX_STREAMS: u32 = 128;
/// After an error of `accept` that another try cannot help at once (no descriptors).
const ACCEPT_PAUSE: Duration = Duration::from_millis(100);

/// Nobody has waited in the queue for so long: it is empty.
const QUEUE_QUIET: Duration = Duration::from_millis(20);

/// How the process ended.
#[derive(Debug, PartialEq, Eq)]
pub enum Exit {
    Clean,
    /// A second signal, or work that did not finish in time.
    Forced,
}

pub fn listen(address: SocketAddr) -> io::Result<TcpListener> {
    let socket = Socket::new(Domain::for_address(address), Type::STREAM, Some(Protocol::TCP))?;
    socket.set_reuse_address(true)?;
    socket.set_nonblocking(true)?;
    socket.bind(&address.into())?;
    socket.listen(BACKLOG)?;
    TcpListener::from_std(socket.into())
}

/// Where a listener on `address` is reached from this machine.
pub fn reachable(address: SocketAddr) -> SocketAddr {
    let local = match address.ip() {
        ip if !ip.is_unspecified() => ip,
        IpAddr::V4(_) => Ipv4Addr::LOCALHOST.into(),
        IpAddr::V6(_) => Ipv6Addr::LOCALHOST.into(),
    };
    SocketAddr::new(local, address.port())
}

/// Serves until a signal, then drains: `not_ready` is called at once, and new requests are
/// served until load balancers have noticed; then what is under way finishes.
pub async fn run(
    server: &Server,
    life: &Lifecycle,
    listeners: Vec<(TcpListener, Router)>,
    not_ready: impl Fn(),
) -> io::Result<Exit> {
    let mut signals = Signals::new()?;
    let (doors, connections) = (TaskTracker::new(), TaskTracker::new());
    for (listener, router) in listeners {
        let door = Door {
            router,
            life: life.clone(),
            connections: connections.clone(),
            slots: Arc::new(Semaphore::new(server.max_connections)),
        };
        doors.spawn(door.serve(listener));
    }
    doors.close();
    signals.next().await;
    tracing::info!("draining: not ready, still serving");
    not_ready();
    life.draining().cancel();
    let exit = tokio::select! {
        exit = drain(server, life, &doors, &connections) => exit,
        () = signals.next() => Exit::Forced,
    };
    tracing::info!(clean = exit == Exit::Clean, "stopped");
    Ok(exit)
}

async fn drain(
    server: &Server,
    life: &Lifecycle,
    doors: &TaskTracker,
    connections: &TaskTracker,
) -> Exit {
    tokio::time::sleep(server.drain_delay).await;
    life.closing().cancel();
    doors.wait().await;
    connections.close();
    let finish = async {
        connections.wait().await;
        life.finish_work().await;
        life.stop().await;
    };
    match timeout(server.shutdown_timeout, finish).await {
        Ok(()) => Exit::Clean,
        Err(_) => Exit::Forced,
    }
}

#[derive(Clone)]
struct Door {
    router: Router,
    life: Lifecycle,
    connections: TaskTracker,
    slots: Arc<Semaphore>,
}

impl Door {
    /// Accepts until closing, and then what already waits in the queue: those clients were told
    /// that they are connected.
    async fn serve(self, listener: TcpListener) {
        while let Some(Ok(permit)) =
            self.life.closing().run_until_cancelled(self.slots.clone().acquire_owned()).await
        {
            let Some(accepted) = self.life.closing().run_until_cancelled(listener.accept()).await
            else {
                break;
            };
            match accepted {
                Ok((stream, peer)) => self.spawn(stream, peer, permit),
                Err(error) => pause_after(&error).await,
            }
        }
        while let Ok(Ok((stream, peer))) = timeout(QUEUE_QUIET, listener.accept()).await {
            match self.slots.clone().try_acquire_owned() {
                Ok(permit) => self.spawn(stream, peer, permit),
                Err(_) => return,
            }
        }
    }

    fn spawn(
        &self,
        stream: TcpStream,
        peer: SocketAddr,
        permit: tokio::sync::OwnedSemaphorePermit,
    ) {
        let (router, life) = (self.router.clone(), self.life.clone());
        self.connections.spawn(async move {
            let gauge = metrics::gauge!(names::HTTP_CONNECTIONS);
            gauge.increment(1.0);
            connection(stream, peer, router, life).await;
            gauge.decrement(1.0);
            drop(permit);
        });
    }
}

async fn pause_after(error: &io::Error) {
    // A client that left before it was accepted is no reason to wait.
    if error.kind() != io::ErrorKind::ConnectionAborted {
        tracing::warn!(%error, "a connection could not be accepted");
        tokio::time::sleep(ACCEPT_PAUSE).await;
    }
}

async fn connection(stream: TcpStream, peer: SocketAddr, router: Router, life: Lifecycle) {
    let _ = stream.set_nodelay(true);
    let draining = life.draining().clone();
    let service = hyper::service::service_fn(move |mut request: Request<Incoming>| {
        request.extensions_mut().insert(Peer(peer));
        let (router, draining) = (router.clone(), draining.clone());
        async move {
            let version = request.version();
            let mut response = router.oneshot(request.map(Body::new)).await?;
            // A proxy that keeps the connection would send the next request into its end.
            if draining.is_cancelled() && version < Version::HTTP_2 {
                let close = HeaderValue::from_static("close");
                response.headers_mut().insert(header::CONNECTION, close);
            }
            Ok::<_, std::convert::Infallible>(response)
        }
    });
    let mut builder = auto::Builder::new(TokioExecutor::new());
    builder.http1().timer(TokioTimer::new());
    builder.http2().timer(TokioTimer::new()).max_concurrent_streams(MAX_STREAMS);
    let conn = builder.serve_connection(TokioIo::new(stream), service);
    let mut conn = std::pin::pin!(conn);
    let ended = tokio::select! {
        ended = conn.as_mut() => ended,
        () = life.closing().cancelled() => {
            conn.as_mut().graceful_shutdown();
            conn.await
        }
    };
    if let Err(error) = ended {
        tracing::debug!(%error, "a connection ended early");
    }
}
