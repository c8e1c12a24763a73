//! How the process ends: first it is not ready but serves, then it takes nothing new and
//! finishes, then it is over.

use std::future::Future;

use tokio::{
    signal::unix::{SignalKind, signal},
    task::JoinHandle,
};
use tokio_util::{sync::CancellationToken, task::TaskTracker};

/// Shared by everything that works or listens.
#[derive(Clone, Default)]
pub struct Lifecycle {
    /// A signal came: not ready any more, still serving.
    draining: CancellationToken,
    /// Nothing new is taken.
    closing: CancellationToken,
    /// What is not done by now will not be: whoever can still answer says so.
    leaving: CancellationToken,
    /// Background loops end; cancelled when the last request is done.
    stopped: CancellationToken,
    /// Work that must finish: unsafe requests.
    work: TaskTracker,
    /// Loops that run until they are stopped.
    background: TaskTracker,
}

impl Lifecycle {
    /// Work that the shutdown waits for, whoever asked for it.
    pub fn spawn<T: Send + 'static>(
        &self,
        work: impl Future<Output = T> + Send + 'static,
    ) -> JoinHandle<T> {
        self.work.spawn(work)
    }

    /// A loop that ends when it is told to.
    pub fn spawn_background(&self, run: impl Future<Output = ()> + Send + 'static) {
        self.background.spawn(run);
    }

    pub fn draining(&self) -> &CancellationToken {
        &self.draining
    }

    pub fn closing(&self) -> &CancellationToken {
        &self.closing
    }

    pub fn leaving(&self) -> &CancellationToken {
        &self.leaving
    }

    pub fn stopped(&self) -> &CancellationToken {
        &self.stopped
    }

    /// Waits for the work under way.
    pub async fn finish_work(&self) {
        self.work.close();
        self.work.wait().await;
    }

    /// Ends the background loops and waits for them.
    pub async fn stop(&self) {
        self.stopped.cancel();
        self.background.close();
        self.background.wait().await;
    }
}

/// The next SIGTERM or SIGINT.
pub struct Signals {
    terminate: tokio::signal::unix::Signal,
    interrupt: tokio::signal::unix::Signal,
}

impl Signals {
    pub fn new() -> std::io::Result<Self> {
        Ok(Self {
            terminate: signal(SignalKind::terminate())?,
            interrupt: signal(SignalKind::interrupt())?,
        })
    }

    pub async fn next(&mut self) {
        tokio::select! {
            _ = self.terminate.recv() => {}
            _ = self.interrupt.recv() => {}
        }
    }
}
