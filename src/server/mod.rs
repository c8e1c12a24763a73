//! The listener: accepts connections, gives their requests to the router, and drains without
//! cutting anybody off.

use std::{
    io,
    net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr},
    sync::Arc,
    time::Duration,
};

use axum::Router;
use socket2::{Domain, Protocol, Socket, Type};
use tokio::{net::TcpListener, sync::Semaphore};
use tokio_util::task::TaskTracker;

use crate::{
    config::Server,
    lifecycle::{Lifecycle, Signals},
};

mod activity;
mod body;
mod connection;
mod door;
mod streams;
mod timed_io;

use connection::Timers;
use door::Door;

const BACKLOG: i32 = 4096;
/// For answers to those whose work will not be done.
const LAST_WORDS: Duration = Duration::from_secs(1);

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
            timers: Timers::from(server),
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
    let last_words = LAST_WORDS.min(server.shutdown_timeout / 2);
    let leave = async {
        tokio::time::sleep(server.shutdown_timeout - last_words).await;
        life.leaving().cancel();
        tokio::time::sleep(last_words).await;
    };
    tokio::select! {
        () = finish => Exit::Clean,
        () = leave => Exit::Forced,
    }
}

/// After an error of `accept` that another try cannot help at once (no descriptors).
const ACCEPT_PAUSE: Duration = Duration::from_millis(100);
