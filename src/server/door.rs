//! Accepting connections, as many as are allowed at once.

use std::{io, net::SocketAddr, sync::Arc};

use axum::Router;
use tokio::{
    net::{TcpListener, TcpStream},
    sync::{OwnedSemaphorePermit, Semaphore},
};
use tokio_util::task::TaskTracker;

use super::{
    ACCEPT_PAUSE,
    connection::{Timers, serve},
};
use crate::{lifecycle::Lifecycle, telemetry::metrics as names};

#[derive(Clone)]
pub struct Door {
    pub router: Router,
    pub life: Lifecycle,
    pub connections: TaskTracker,
    pub slots: Arc<Semaphore>,
    pub timers: Timers,
}

impl Door {
    /// Accepts until closing, and then what already waits in the queue: those clients were told
    /// that they are connected.
    pub async fn serve(self, listener: TcpListener) {
        let closing = self.life.closing().clone();
        while let Some(accepted) = closing.run_until_cancelled(self.accept(&listener)).await {
            match accepted {
                Ok((stream, peer, permit)) => self.spawn(stream, peer, permit),
                Err(error) => pause_after(&error).await,
            }
        }
        if let Err(error) = self.empty_queue(listener) {
            tracing::warn!(%error, "the queue of connections could not be emptied");
        }
    }

    /// Without waiting, so that no time passes between the last one and the end of the listener.
    fn empty_queue(&self, listener: TcpListener) -> io::Result<()> {
        let listener = listener.into_std()?;
        while let Ok((stream, peer)) = listener.accept() {
            let Ok(permit) = self.slots.clone().try_acquire_owned() else { break };
            stream.set_nonblocking(true)?;
            self.spawn(TcpStream::from_std(stream)?, peer, permit);
        }
        Ok(())
    }

    /// The place first: a connection that cannot be served yet waits in the system's queue.
    async fn accept(
        &self,
        listener: &TcpListener,
    ) -> io::Result<(TcpStream, SocketAddr, OwnedSemaphorePermit)> {
        let permit = self.slots.clone().acquire_owned().await.map_err(io::Error::other)?;
        let (stream, peer) = listener.accept().await?;
        Ok((stream, peer, permit))
    }

    fn spawn(&self, stream: TcpStream, peer: SocketAddr, permit: OwnedSemaphorePermit) {
        let (router, life, timers) = (self.router.clone(), self.life.clone(), self.timers);
        self.connections.spawn(async move {
            let open = Open::new();
            serve(stream, peer, router, life, timers).await;
            drop((open, permit));
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

/// Counts an open connection, also when its task panics.
struct Open;

impl Open {
    fn new() -> Self {
        metrics::gauge!(names::HTTP_CONNECTIONS).increment(1.0);
        Self
    }
}

impl Drop for Open {
    fn drop(&mut self) {
        metrics::gauge!(names::HTTP_CONNECTIONS).decrement(1.0);
    }
}
