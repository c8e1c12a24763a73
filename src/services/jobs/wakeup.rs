//! Telling workers that there is work: those of this process at once, those of others by one
//! NOTIFY for many jobs. Only a hint: workers look by themselves every now and then.

use std::{
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering},
    },
    time::Duration,
};

use tokio::sync::Notify;
use tokio_util::sync::CancellationToken;

use crate::{db::Db, domain::jobs::Queue, repos};

/// No more than one NOTIFY in this time: it takes a lock of the whole database.
const COALESCE: Duration = Duration::from_millis(5);

#[derive(Clone, Default)]
pub struct Wakeup(Arc<Inner>);

#[derive(Default)]
struct Inner {
    here: [Notify; Queue::ALL.len()],
    elsewhere: [AtomicBool; Queue::ALL.len()],
    to_tell: Notify,
}

impl Wakeup {
    /// There is work in this queue.
    pub fn wake(&self, queue: Queue) {
        self.wake_here(queue);
        self.0.elsewhere[queue as usize].store(true, Ordering::Release);
        self.0.to_tell.notify_one();
    }

    pub fn wake_here(&self, queue: Queue) {
        self.0.here[queue as usize].notify_one();
    }

    /// Until there may be work.
    pub async fn woken(&self, queue: Queue) {
        self.0.here[queue as usize].notified().await;
    }

    /// Passes hints on to other processes.
    pub async fn tell_others(self, db: Db, stop: CancellationToken) {
        let tell = async {
            loop {
                self.0.to_tell.notified().await;
                let queues = self.take();
                if !queues.is_empty() {
                    let sent = db
                        .autocommit("jobs.notify", async |conn| {
                            repos::jobs::notify(conn, &queues.join(",")).await
                        })
                        .await;
                    if let Err(error) = sent {
                        tracing::debug!(error = error.chain(), "workers could not be woken");
                    }
                }
                tokio::time::sleep(COALESCE).await;
            }
        };
        stop.run_until_cancelled(tell).await;
    }

    /// Passes hints of other processes on to this one's workers.
    pub async fn hear_others(self, db: Db, stop: CancellationToken) {
        let hear = async {
            loop {
                if let Err(error) = self.hear(&db).await {
                    tracing::debug!(error = error.chain(), "no hints from other processes");
                }
                tokio::time::sleep(Duration::from_secs(1)).await;
            }
        };
        stop.run_until_cancelled(hear).await;
    }

    async fn hear(&self, db: &Db) -> crate::error::Result<()> {
        let mut listener = db.listen("mainstay_jobs").await?;
        // What was told before this one listened.
        Queue::ALL.into_iter().for_each(|queue| self.wake_here(queue));
        loop {
            let text = listener.recv().await?;
            text.split(',').filter_map(Queue::parse).for_each(|queue| self.wake_here(queue));
        }
    }

    fn take(&self) -> Vec<&'static str> {
        let told = |queue: &Queue| self.0.elsewhere[*queue as usize].swap(false, Ordering::Acquire);
        Queue::ALL.into_iter().filter(told).map(Queue::as_str).collect()
    }
}
