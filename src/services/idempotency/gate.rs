//! One request per user and key at a time, per instance: the others wait here, without a
//! connection, and get what the first one got.

use std::{
    collections::HashMap,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
    time::Duration,
};

use tokio::{
    sync::watch,
    time::{Instant, timeout_at},
};

use crate::{
    domain::{
        idempotency::{Claim, Fingerprint, Key, Stored, in_progress},
        ids::UserId,
    },
    error::Result,
};

/// How long a request waits for the first one with its key.
const PATIENCE: Duration = Duration::from_secs(2);

type Id = (UserId, Key);
/// What was asked for under a key, and the outcome.
pub type Record = Arc<(Fingerprint, Stored)>;
type Ahead = watch::Receiver<Option<Record>>;

/// Holds an entry per request under way, so it is as small as what is let in at the door.
#[derive(Clone, Default)]
pub struct Gate(Arc<Mutex<HashMap<Id, Ahead>>>);

pub enum Turn {
    /// Nobody here is ahead.
    Mine(Leader),
    /// Somebody was, and this is what came of it.
    Done(Record),
}

/// The one that works. Dropped without a record, the next one tries.
pub struct Leader {
    gate: Gate,
    id: Id,
    record: watch::Sender<Option<Record>>,
    /// Of the patience that those before it have used up, what is left; nothing used: nothing.
    left: Option<Duration>,
}

impl Gate {
    /// Fails with `IDEMPOTENCY_IN_PROGRESS` when the one ahead takes too long.
    pub async fn enter(&self, claim: &Claim) -> Result<Turn> {
        let id = (claim.user, claim.key.clone());
        let deadline = Instant::now() + PATIENCE;
        let mut left = None;
        loop {
            let mut ahead = match self.join(&id, left) {
                Ok(leader) => return Ok(Turn::Mine(leader)),
                Err(ahead) => ahead,
            };
            match timeout_at(deadline, ahead.wait_for(Option::is_some)).await {
                Ok(Ok(record)) => {
                    if let Some(record) = &*record {
                        return Ok(Turn::Done(record.clone()));
                    }
                }
                // It left no outcome behind: it may be tried again.
                Ok(Err(_)) => left = Some(deadline.saturating_duration_since(Instant::now())),
                Err(_) => return Err(in_progress()),
            }
        }
    }

    fn join(&self, id: &Id, left: Option<Duration>) -> Result<Leader, Ahead> {
        let mut entries = self.entries();
        if let Some(ahead) = entries.get(id) {
            return Err(ahead.clone());
        }
        let (record, ahead) = watch::channel(None);
        entries.insert(id.clone(), ahead);
        Ok(Leader { gate: self.clone(), id: id.clone(), record, left })
    }

    /// No entry is ever half made, so a poisoned lock guards whole ones.
    fn entries(&self) -> MutexGuard<'_, HashMap<Id, Ahead>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Leader {
    /// How long it may still wait for another instance, when it has waited here.
    pub fn left(&self) -> Option<Duration> {
        self.left
    }

    /// To be called when it has committed.
    pub fn share(self, record: &Record) {
        self.record.send_replace(Some(record.clone()));
    }
}

impl Drop for Leader {
    fn drop(&mut self) {
        self.gate.entries().remove(&self.id);
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::error::Code;
    use uuid::Uuid;

    fn claim(user: u128) -> Claim {
        Claim {
            user: UserId(Uuid::from_u128(user)),
            key: Key::parse("k").unwrap(),
            fingerprint: Fingerprint::of("POST", "/", &[], None),
        }
    }

    fn record() -> Record {
        let stored = Stored { status: 201, headers: Vec::new(), body: b"{}".to_vec() };
        Arc::new((claim(1).fingerprint, stored))
    }

    async fn leader(gate: &Gate, user: u128) -> Leader {
        match gate.enter(&claim(user)).await {
            Ok(Turn::Mine(leader)) => leader,
            _ => panic!("somebody is ahead"),
        }
    }

    #[tokio::test(start_paused = true)]
    async fn those_behind_get_the_outcome_of_the_first() {
        let gate = Gate::default();
        let first = leader(&gate, 1).await;
        let behind: Vec<_> = (0..100)
            .map(|_| {
                let gate = gate.clone();
                tokio::spawn(async move { gate.enter(&claim(1)).await })
            })
            .collect();
        tokio::time::sleep(Duration::from_millis(1900)).await;
        first.share(&record());
        for waiting in behind {
            assert!(matches!(waiting.await.unwrap(), Ok(Turn::Done(it)) if it == record()));
        }
        assert!(gate.entries().is_empty());
    }

    #[tokio::test(start_paused = true)]
    async fn who_follows_knows_what_is_left_of_its_patience() {
        let gate = Gate::default();
        let first = leader(&gate, 1).await;
        assert_eq!(first.left(), None);
        let behind = tokio::spawn({
            let gate = gate.clone();
            async move { leader(&gate, 1).await.left() }
        });
        tokio::time::sleep(Duration::from_millis(1500)).await;
        drop(first);
        assert_eq!(behind.await.unwrap(), Some(Duration::from_millis(500)));
    }

    #[tokio::test(start_paused = true)]
    async fn when_the_first_leaves_without_an_outcome_exactly_one_follows() {
        let gate = Gate::default();
        let first = leader(&gate, 1).await;
        let behind: Vec<_> = (0..10)
            .map(|_| {
                let gate = gate.clone();
                tokio::spawn(async move {
                    match gate.enter(&claim(1)).await {
                        Ok(Turn::Mine(leader)) => {
                            tokio::time::sleep(Duration::from_millis(10)).await;
                            leader.share(&record());
                            true
                        }
                        Ok(Turn::Done(_)) => false,
                        Err(error) => panic!("{error}"),
                    }
                })
            })
            .collect();
        tokio::time::sleep(Duration::from_millis(10)).await;
        drop(first);
        let mut led = 0;
        for waiting in behind {
            led += usize::from(waiting.await.unwrap());
        }
        assert_eq!(led, 1);
        assert!(gate.entries().is_empty());
    }

    #[tokio::test(start_paused = true)]
    async fn nobody_waits_longer_than_two_seconds_nor_for_another_user() {
        let gate = Gate::default();
        let _first = leader(&gate, 1).await;
        let started = Instant::now();
        let error = gate.enter(&claim(1)).await.err().unwrap();
        assert_eq!(error.code(), Code::IdempotencyInProgress);
        assert_eq!(started.elapsed(), PATIENCE);
        drop(leader(&gate, 2).await);
        assert_eq!(gate.entries().len(), 1);
    }
}
