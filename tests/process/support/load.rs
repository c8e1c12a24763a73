//! Requests that go on while something happens, and what became of them.

use std::{
    collections::BTreeMap,
    time::{Duration, Instant},
};

use tokio::task::JoinHandle;
use tokio_util::sync::CancellationToken;

use super::{Reply, timing::say};

/// Between two requests of one worker: the machine has work besides.
const PAUSE: Duration = Duration::from_millis(10);

pub struct Load {
    stop: CancellationToken,
    workers: Vec<JoinHandle<Vec<Outcome>>>,
}

pub struct Outcome {
    pub reply: Result<Reply, String>,
    pub took: Duration,
}

impl Outcome {
    pub fn status(&self) -> u16 {
        self.reply.as_ref().map_or(0, |reply| reply.status)
    }
}

impl Load {
    /// `request` gets the number of the worker, and of its request.
    pub fn start<F>(
        workers: usize,
        request: impl Fn(usize, usize) -> F + Clone + Send + 'static,
    ) -> Self
    where
        F: Future<Output = Result<Reply, String>> + Send + 'static,
    {
        Self::paced(workers, PAUSE, request)
    }

    /// With another pause between the requests of a worker.
    pub fn paced<F>(
        workers: usize,
        pause: Duration,
        request: impl Fn(usize, usize) -> F + Clone + Send + 'static,
    ) -> Self
    where
        F: Future<Output = Result<Reply, String>> + Send + 'static,
    {
        let stop = CancellationToken::new();
        let spawn = |worker| {
            let (stop, request) = (stop.clone(), request.clone());
            tokio::spawn(async move {
                let mut outcomes = Vec::new();
                while !stop.is_cancelled() {
                    let started = Instant::now();
                    let reply = request(worker, outcomes.len()).await;
                    outcomes.push(Outcome { reply, took: started.elapsed() });
                    tokio::time::sleep(pause).await;
                }
                outcomes
            })
        };
        let workers = (0..workers).map(spawn).collect();
        Self { stop, workers }
    }

    /// Lets the requests under way finish.
    pub async fn stop(self, what: &str) -> Outcomes {
        self.stop.cancel();
        let mut all = Vec::new();
        for worker in self.workers {
            all.extend(worker.await.expect("a worker does not panic"));
        }
        let outcomes = Outcomes(all);
        say(&format!("{what}: {}", outcomes.summary()));
        outcomes
    }
}

pub struct Outcomes(pub Vec<Outcome>);

impl Outcomes {
    pub fn summary(&self) -> String {
        let mut statuses = BTreeMap::<u16, usize>::new();
        for outcome in &self.0 {
            *statuses.entry(outcome.status()).or_default() += 1;
        }
        let slowest = self.slowest().as_millis();
        format!("{} requests, by status {statuses:?}, slowest {slowest} ms", self.0.len())
    }

    pub fn slowest(&self) -> Duration {
        self.0.iter().map(|outcome| outcome.took).max().unwrap_or_default()
    }

    /// The time within which so many of 100 were answered, of those with this status.
    pub fn quantile(&self, percent: usize, status: u16) -> Duration {
        let of_status = self.0.iter().filter(|outcome| outcome.status() == status);
        let mut times: Vec<_> = of_status.map(|outcome| outcome.took).collect();
        times.sort_unstable();
        times.get(times.len() * percent / 100).copied().unwrap_or_default()
    }

    pub fn count(&self, status: u16) -> usize {
        self.0.iter().filter(|outcome| outcome.status() == status).count()
    }

    /// Fails for the first that does not fit.
    #[track_caller]
    pub fn all(&self, what: &str, fits: impl Fn(&Outcome) -> bool) {
        assert!(!self.0.is_empty(), "no request was made");
        if let Some(odd) = self.0.iter().find(|outcome| !fits(outcome)) {
            let told = match &odd.reply {
                Ok(reply) => format!("{} {}", reply.status, reply.text),
                Err(error) => error.clone(),
            };
            panic!("{what}: {told} after {:?}; {}", odd.took, self.summary());
        }
    }

    #[track_caller]
    pub fn all_ok(&self, what: &str) {
        self.all(what, |outcome| (200..300).contains(&outcome.status()));
    }
}
