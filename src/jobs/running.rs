//! The jobs that this worker is running, and how they are told to stop.

use std::{
    collections::{HashMap, HashSet},
    sync::{Arc, Mutex, MutexGuard},
};

use tokio::{sync::watch, task::AbortHandle};
use tokio_util::sync::CancellationToken;

use crate::domain::jobs::Lease;

#[derive(Clone)]
pub struct Running(Arc<Inner>);

struct Inner {
    jobs: Mutex<HashMap<(uuid::Uuid, i64), Entry>>,
    /// Succeeded, and not marked as such yet.
    unsaved: Mutex<HashSet<(uuid::Uuid, i64)>>,
    count: watch::Sender<usize>,
}

struct Entry {
    stop: CancellationToken,
    abort: Option<AbortHandle>,
    cancelled: bool,
}

impl Default for Running {
    fn default() -> Self {
        let (jobs, unsaved) = (Mutex::default(), Mutex::default());
        Self(Arc::new(Inner { jobs, unsaved, count: watch::Sender::new(0) }))
    }
}

/// What a job was told while it ran.
#[derive(Debug, PartialEq, Eq)]
pub enum Told {
    Nothing,
    /// By hand.
    Cancelled,
    /// The worker ends, or has lost the job.
    Stop,
}

fn key(lease: Lease) -> (uuid::Uuid, i64) {
    (lease.job.0, lease.fence)
}

impl Running {
    fn with<T>(&self, work: impl FnOnce(&mut HashMap<(uuid::Uuid, i64), Entry>) -> T) -> T {
        let mut jobs = self.0.jobs.lock().unwrap_or_else(|e| e.into_inner());
        let value = work(&mut jobs);
        self.0.count.send_replace(jobs.len());
        value
    }

    pub fn add(&self, lease: Lease, stop: CancellationToken) {
        let entry = Entry { stop, abort: None, cancelled: false };
        self.with(|jobs| jobs.insert(key(lease), entry));
    }

    /// How the job is ended that does not heed its token.
    pub fn can_abort(&self, lease: Lease, abort: AbortHandle) {
        self.with(|jobs| {
            if let Some(entry) = jobs.get_mut(&key(lease)) {
                entry.abort = Some(abort);
            }
        });
    }

    pub fn remove(&self, lease: Lease) {
        self.with(|jobs| jobs.remove(&key(lease)));
    }

    /// Whether the job was told to stop, and why.
    pub fn told(&self, lease: Lease) -> Told {
        self.with(|jobs| match jobs.get(&key(lease)) {
            Some(entry) if entry.cancelled => Told::Cancelled,
            Some(entry) if entry.stop.is_cancelled() => Told::Stop,
            _ => Told::Nothing,
        })
    }

    /// Also what has succeeded and is not marked yet: given back, it would run twice.
    pub fn holds(&self, lease: Lease) -> bool {
        self.with(|jobs| jobs.contains_key(&key(lease))) || self.unsaved().contains(&key(lease))
    }

    /// To be called before [`Running::remove`].
    pub fn succeeded(&self, lease: Lease) {
        self.unsaved().insert(key(lease));
    }

    pub fn saved(&self, leases: &[Lease]) {
        let mut unsaved = self.unsaved();
        for lease in leases {
            unsaved.remove(&key(*lease));
        }
    }

    fn unsaved(&self) -> MutexGuard<'_, HashSet<(uuid::Uuid, i64)>> {
        self.0.unsaved.lock().unwrap_or_else(|e| e.into_inner())
    }

    /// Asks once; whoever has not heeded by the next time is ended.
    pub fn cancel(&self, lease: Lease) {
        self.with(|jobs| {
            if let Some(entry) = jobs.get_mut(&key(lease)) {
                entry.cancelled = true;
                match entry.stop.is_cancelled() {
                    true => entry.abort.iter().for_each(AbortHandle::abort),
                    false => entry.stop.cancel(),
                }
            }
        });
    }

    pub fn ask_all_to_stop(&self) {
        self.with(|jobs| jobs.values().for_each(|entry| entry.stop.cancel()));
    }

    pub fn abort_all(&self) {
        self.with(|jobs| {
            for entry in jobs.values() {
                entry.stop.cancel();
                entry.abort.iter().for_each(AbortHandle::abort);
            }
        });
    }

    pub async fn none(&self) {
        let _ = self.0.count.subscribe().wait_for(|count| *count == 0).await;
    }
}
