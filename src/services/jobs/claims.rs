//! The side of the workers: taking jobs, ending them, giving signs of life, and taking over from
//! workers that give none. Each step is one statement that commits by itself, but where the
//! number of running jobs of a kind is limited.

use std::{collections::HashMap, sync::Arc};

use serde_json::Value;
use sqlx::PgConnection;

use crate::{
    db::Db,
    domain::{
        ids::{JobId, WorkerId},
        jobs::{Became, Claimed, Depth, Ended, Lease, Policies, Priority, Progress, Queue},
    },
    error::Result,
    repos::{
        self,
        jobs::{Held, Orphan, Wanted},
    },
};

/// Looks at a worker without a sign of life before it is given up.
const LOOKS: u32 = 3;

#[derive(Clone)]
pub struct Claims {
    db: Db,
    policies: Arc<Policies>,
}

/// What this worker has seen of the others.
#[derive(Default)]
pub struct Look {
    /// The last count of beats, and how often it has been seen.
    seen: HashMap<WorkerId, (i64, u32)>,
}

impl Claims {
    pub(super) fn new(db: Db, policies: Arc<Policies>) -> Self {
        Self { db, policies }
    }

    pub async fn register(&self, worker: WorkerId, queues: &[Queue]) -> Result<()> {
        let queues: Vec<_> = queues.iter().map(|queue| queue.as_str().to_owned()).collect();
        self.db
            .autocommit("jobs.register", async |conn| {
                repos::jobs::insert_worker(conn, worker, &queues).await
            })
            .await
    }

    /// Claims at most `limit` jobs of a queue. `turn` is the kind that comes first, and is moved
    /// behind the last one that was served.
    pub async fn claim(
        &self,
        worker: WorkerId,
        queue: Queue,
        turn: &mut usize,
        limit: i64,
    ) -> Result<Vec<Claimed>> {
        let (kinds, priorities) = lines(&self.kinds(queue, false), *turn);
        if kinds.is_empty() {
            return Ok(Vec::new());
        }
        let queue = queue.as_str();
        let wanted = Wanted { worker, queue, kinds: &kinds, priorities: &priorities, limit };
        let claimed = self
            .db
            .autocommit("jobs.claim", async |conn| repos::jobs::claim(conn, &wanted).await)
            .await?;
        let place = |job: &Claimed| kinds.iter().position(|kind| *kind == job.kind);
        if let Some(last) = claimed.iter().filter_map(place).max() {
            *turn += last + 1;
        }
        Ok(claimed)
    }

    /// Claims jobs of kinds of which only so many may run at once, over all workers.
    pub async fn claim_limited(
        &self,
        worker: WorkerId,
        queue: Queue,
        limit: i64,
    ) -> Result<Vec<Claimed>> {
        let (mut claimed, mut failed) = (Vec::new(), Ok(()));
        for kind in self.kinds(queue, true) {
            let left = limit - claimed.len() as i64;
            if left <= 0 {
                break;
            }
            match self.claim_kind(worker, queue, kind, left).await {
                Ok(jobs) => claimed.extend(jobs),
                Err(error) => failed = Err(error),
            }
        }
        // What one kind gave is this worker's to do, whatever became of another.
        match (failed, claimed.is_empty()) {
            (Err(error), true) => Err(error),
            _ => Ok(claimed),
        }
    }

    async fn claim_kind(
        &self,
        worker: WorkerId,
        queue: Queue,
        kind: &'static str,
        limit: i64,
    ) -> Result<Vec<Claimed>> {
        let (kinds, priorities) = lines(&[kind], 0);
        self.db
            .tx("jobs.claim_limited", async |tx| {
                let limit = limit.min(self.room(tx, kind).await?);
                if limit <= 0 {
                    return Ok(Vec::new());
                }
                let queue = queue.as_str();
                let wanted =
                    Wanted { worker, queue, kinds: &kinds, priorities: &priorities, limit };
                repos::jobs::claim(tx, &wanted).await
            })
            .await
    }

    /// How many more of a kind may run; nobody else claims any until the transaction ends.
    async fn room(&self, tx: &mut PgConnection, kind: &str) -> Result<i64> {
        let allowed = self.policies[kind].concurrency.map_or(i64::MAX, i64::from);
        match repos::jobs::try_lock_kind(tx, kind).await? {
            // A statement of its own: it sees what the last holder of the lock has claimed.
            true => Ok(allowed - repos::jobs::count_running(tx, kind).await?),
            false => Ok(0),
        }
    }

    /// One of the jobs that were there when workers died; a worker runs one of them at a time.
    pub async fn claim_suspect(&self, worker: WorkerId, queue: Queue) -> Result<Option<Claimed>> {
        let kinds: Vec<_> = self.kinds(queue, false).into_iter().map(str::to_owned).collect();
        let suspect = self.db.autocommit("jobs.claim_suspect", async |conn| {
            repos::jobs::claim_suspect(conn, worker, queue.as_str(), &kinds).await
        });
        if let Some(suspect) = suspect.await? {
            return Ok(Some(suspect));
        }
        for kind in self.kinds(queue, true) {
            let suspect = self.db.tx("jobs.claim_suspect_limited", async |tx| {
                if self.room(tx, kind).await? <= 0 {
                    return Ok(None);
                }
                let kind = [kind.to_owned()];
                repos::jobs::claim_suspect(tx, worker, queue.as_str(), &kind).await
            });
            if let Some(suspect) = suspect.await? {
                return Ok(Some(suspect));
            }
        }
        Ok(None)
    }

    pub async fn succeed(&self, leases: &[Lease], results: &[Value]) -> Result<Vec<JobId>> {
        self.db
            .autocommit("jobs.succeed", async |conn| {
                repos::jobs::succeed(conn, leases, results).await
            })
            .await
    }

    pub async fn end(&self, lease: Lease, ended: &Ended<'_>) -> Result<Option<Became>> {
        self.db
            .autocommit("jobs.end", async |conn| repos::jobs::end(conn, lease, ended).await)
            .await
    }

    pub async fn set_progress(&self, lease: Lease, progress: Progress) -> Result<bool> {
        self.db
            .autocommit("jobs.progress", async |conn| {
                repos::jobs::set_progress(conn, lease, progress).await
            })
            .await
    }

    /// A sign of life; false when the others have given this worker up.
    pub async fn beat(&self, worker: WorkerId) -> Result<bool> {
        self.db.autocommit("jobs.beat", async |conn| repos::jobs::beat(conn, worker).await).await
    }

    /// What the database believes this worker to be running.
    pub async fn held(&self, worker: WorkerId) -> Result<Vec<Held>> {
        self.db.read("jobs.held", async |conn| repos::jobs::held(conn, worker).await).await
    }

    /// Gives up workers that gave no sign of life over several looks, and takes their jobs from
    /// them. Looks are counted, not time: while this worker sees nothing it judges nobody, and no
    /// clock is asked.
    pub async fn rescue(&self, look: &mut Look) -> Result<Vec<Orphan>> {
        let beats = self.db.read("jobs.beats", async |conn| repos::jobs::beats(conn).await).await?;
        for (worker, beats) in look.silent(beats) {
            let buried = self
                .db
                .autocommit("jobs.bury", async |conn| repos::jobs::bury(conn, worker, beats).await)
                .await?;
            if buried {
                tracing::warn!(worker = %worker, "a worker gives no sign of life");
            }
        }
        self.db.autocommit("jobs.rescue", async |conn| repos::jobs::rescue(conn).await).await
    }

    /// The orderly end of a worker: what it could not finish goes back, uncounted.
    pub async fn leave(&self, worker: WorkerId) -> Result<u64> {
        self.db
            .tx("jobs.leave", async |tx| {
                let released = repos::jobs::release_all(tx, worker).await?;
                repos::jobs::delete_worker(tx, worker).await?;
                Ok(released)
            })
            .await
    }

    pub async fn depths(&self) -> Result<Vec<Depth>> {
        self.db
            .read("jobs.depths", async |conn| repos::jobs::depths(conn, super::admin::BOUND).await)
            .await
    }

    /// A random number from 0 to 1, for jitter.
    pub fn draw(&self) -> f64 {
        let bytes: [u8; 4] = crate::shared::crypto::random();
        f64::from(u32::from_le_bytes(bytes)) / f64::from(u32::MAX)
    }

    pub fn policy(&self, kind: &str) -> Option<&crate::domain::jobs::Policy> {
        self.policies.get(kind)
    }

    /// The queue of a kind of which only so many may run at once.
    pub fn limited(&self, kind: &str) -> Option<Queue> {
        self.policy(kind).filter(|policy| policy.concurrency.is_some()).map(|policy| policy.queue)
    }

    fn kinds(&self, queue: Queue, limited: bool) -> Vec<&'static str> {
        let mine = self.policies.iter().filter(|(_, policy)| policy.queue == queue);
        mine.filter(|(_, policy)| policy.concurrency.is_some() == limited)
            .map(|(kind, _)| *kind)
            .collect()
    }
}

/// All kinds at the highest priority, then all at the next; `turn` moves the first kind.
fn lines(kinds: &[&'static str], turn: usize) -> (Vec<String>, Vec<i16>) {
    let mut lines = (Vec::new(), Vec::new());
    if kinds.is_empty() {
        return lines;
    }
    let (behind, ahead) = kinds.split_at(turn % kinds.len());
    for priority in Priority::ALL {
        for kind in ahead.iter().chain(behind) {
            lines.0.push((*kind).to_owned());
            lines.1.push(priority.number());
        }
    }
    lines
}

impl Look {
    /// Notes what is seen now; the workers that stood still too often.
    fn silent(&mut self, now: Vec<(WorkerId, i64)>) -> Vec<(WorkerId, i64)> {
        let before = std::mem::take(&mut self.seen);
        for (worker, beats) in now {
            let looks = match before.get(&worker) {
                Some((last, looks)) if *last == beats => looks + 1,
                _ => 0,
            };
            self.seen.insert(worker, (beats, looks));
        }
        let silent = self.seen.iter().filter(|(_, (_, looks))| *looks >= LOOKS);
        silent.map(|(worker, (beats, _))| (*worker, *beats)).collect()
    }
}

#[cfg(test)]
mod tests {
    use uuid::Uuid;

    use super::*;

    fn worker(n: u128) -> WorkerId {
        WorkerId(Uuid::from_u128(n))
    }

    #[test]
    fn only_a_worker_that_stands_still_for_three_more_looks_is_silent() {
        let mut look = Look::default();
        for beat in 0..3 {
            assert!(look.silent(vec![(worker(1), 7), (worker(2), beat)]).is_empty());
        }
        assert_eq!(look.silent(vec![(worker(1), 7), (worker(2), 3)]), [(worker(1), 7)]);
        assert!(look.silent(vec![(worker(1), 8), (worker(2), 3)]).is_empty());
    }

    #[test]
    fn lines_go_by_priority_and_kinds_take_turns() {
        let (kinds, priorities) = lines(&["a", "b"], 1);
        assert_eq!(kinds, ["b", "a", "b", "a", "b", "a"]);
        assert_eq!(priorities, [1, 1, 2, 2, 3, 3]);
        assert_eq!(lines(&["a", "b"], 2).0[..2], ["a", "b"]);
        assert!(lines(&[], 5).0.is_empty());
    }
}
