//! A worker: claims jobs for its queues, runs them, gives signs of life, and takes over from
//! workers that give none. On shutdown it claims nothing more, lets running jobs finish, and
//! gives the rest back.

use std::{sync::Arc, time::Duration};

use tokio::{
    sync::{Semaphore, mpsc},
    time::{sleep, timeout},
};
use tokio_util::{sync::CancellationToken, task::TaskTracker};

use super::{
    Registry,
    acks::{self, Ack},
    running::Running,
};
use crate::{
    config,
    domain::ids::WorkerId,
    services::{Services, jobs::Claims},
};

mod execute;
mod serve;
mod watch;

/// How long a job that was asked to stop may take, before it is ended.
const GRACE: Duration = Duration::from_secs(2);
const RETRY: Duration = Duration::from_secs(1);

#[derive(Clone)]
pub struct Worker {
    pub registry: Arc<Registry>,
    pub services: Services,
    pub settings: config::Jobs,
}

/// A worker from its registration until it leaves or is given up.
#[derive(Clone)]
struct Life {
    worker: Worker,
    claims: Claims,
    id: WorkerId,
    running: Running,
    acks: mpsc::Sender<Ack>,
    /// One of the suspects at a time.
    suspects: Arc<Semaphore>,
    /// Nothing more is claimed.
    over: CancellationToken,
}

impl Worker {
    /// Until `stop`; then drains.
    pub async fn run(self, stop: CancellationToken) {
        acks::none_finished_yet(self.registry.policies().keys().copied());
        while !stop.is_cancelled() {
            let registered = stop.run_until_cancelled(self.register(&stop)).await;
            let Some((life, acker)) = registered else { return };
            let tasks = life.start();
            life.over.cancelled().await;
            tasks.close();
            tasks.wait().await;
            let (claims, id, running) = (life.claims.clone(), life.id, life.running.clone());
            tokio::select! {
                () = life.wind_up(stop.is_cancelled(), acker) => {}
                () = self.beat_on(&claims, id, &running) => {}
            }
            leave(&claims, id).await;
        }
    }

    /// Signs of life until it has left: else the others take over what it is finishing.
    async fn beat_on(&self, claims: &Claims, id: WorkerId, running: &Running) {
        loop {
            sleep(self.settings.lease / 3).await;
            if let Ok(false) = claims.beat(id).await {
                running.abort_all();
            }
        }
    }

    async fn register(&self, stop: &CancellationToken) -> (Life, tokio::task::JoinHandle<()>) {
        let claims = self.services.jobs.claims();
        let queues: Vec<_> = self.settings.queues.iter().map(|slots| slots.queue).collect();
        let plans = self.registry.plans();
        let id = loop {
            let id = WorkerId(self.services.clock.new_id());
            let registered = async {
                self.services.jobs.put_schedules(&plans).await?;
                claims.register(id, &queues).await
            };
            match registered.await {
                Ok(()) => break id,
                Err(error) => {
                    tracing::warn!(error = error.chain(), "the worker cannot register yet");
                    sleep(RETRY).await;
                }
            }
        };
        tracing::info!(worker = %id, "working on jobs");
        let (acks, receiver) = mpsc::channel(1024);
        let (running, wakeup) = (Running::default(), self.services.jobs.wakeup().clone());
        let acker = tokio::spawn(acks::run(claims.clone(), running.clone(), wakeup, receiver));
        let life = Life {
            worker: self.clone(),
            claims,
            id,
            running,
            acks,
            suspects: Arc::new(Semaphore::new(1)),
            over: stop.child_token(),
        };
        (life, acker)
    }
}

/// Gives back what was not finished.
async fn leave(claims: &Claims, id: WorkerId) {
    match claims.leave(id).await {
        Ok(released) => tracing::info!(worker = %id, released, "no longer working on jobs"),
        Err(error) => tracing::warn!(error = error.chain(), "jobs could not be given back"),
    }
}

impl Life {
    fn start(&self) -> TaskTracker {
        let tasks = TaskTracker::new();
        for slots in &self.worker.settings.queues {
            tasks.spawn(self.clone().serve(slots.queue, slots.count as usize));
        }
        tasks.spawn(self.clone().live());
        tasks.spawn(self.clone().until_over(Self::fire_schedules));
        tasks.spawn(self.clone().until_over(Self::measure));
        tasks
    }

    async fn until_over<F: Future<Output = ()>>(self, work: impl FnOnce(Self) -> F) {
        let over = self.over.clone();
        over.run_until_cancelled(work(self)).await;
    }

    /// Until no job runs and what was done is acknowledged, as far as it can be.
    async fn wind_up(self, is_leaving: bool, acker: tokio::task::JoinHandle<()>) {
        match is_leaving {
            true => self.drain().await,
            // The jobs are somebody else's already.
            false => self.running.abort_all(),
        }
        self.running.none().await;
        drop(self);
        // The acknowledgements under way; what they cannot store is run again elsewhere.
        let _ = timeout(GRACE, acker).await;
    }

    /// Lets running jobs finish, then asks them to stop, then ends them.
    async fn drain(&self) {
        let limit = self.worker.settings.drain_timeout;
        if timeout(limit, self.running.none()).await.is_err() {
            self.running.ask_all_to_stop();
            if timeout(GRACE, self.running.none()).await.is_err() {
                self.running.abort_all();
            }
        }
    }

    async fn pause(&self, time: Duration) {
        self.over.run_until_cancelled(sleep(time)).await;
    }
}
