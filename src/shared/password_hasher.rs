//! Argon2id on threads of its own, with a bounded queue.
//!
//! A hash costs tens of milliseconds of one core and 19 MiB. A fixed number of threads, each
//! with one block of memory that it uses again while there is work, bounds both however many log
//! in at once. A place
//! in the queue is reserved before any other work is done for a password, so that what does not
//! fit is refused at once and costs nothing else.

use std::{
    num::NonZero,
    sync::Arc,
    thread,
    time::{Duration, Instant},
};

use argon2::{Algorithm, Argon2, Block, Params, PasswordHash, Version, password_hash::phc};
use crossbeam_channel::{Receiver, RecvTimeoutError, Sender};
use tokio::sync::{OwnedSemaphorePermit, Semaphore, oneshot};

use super::crypto;
use crate::{
    domain::password::Password,
    error::{Error, Result},
    telemetry::metrics as names,
};

const HASH_LEN: usize = 32;
const SALT_LEN: usize = 16;
/// A thread that had nothing to do for so long gives its memory back.
const KEEP_MEMORY: Duration = Duration::from_secs(5);
/// In blocks of 1 KiB: what is larger than 32 MiB glibc always maps by itself and gives back when
/// it is freed; smaller ones it may keep for the next time. What is not touched costs nothing.
const ALWAYS_MAPPED: usize = 33 * 1024;

/// Argon2id costs (RFC 9106): memory in KiB, passes, one lane.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Cost {
    pub memory_kib: u32,
    pub iterations: u32,
}

/// What a comparison found.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Verdict {
    Match,
    /// It matches, but was hashed at another cost than today's: hash it again.
    MatchOutdated,
    Mismatch,
}

type Task = Box<dyn FnOnce(&mut Vec<Block>) + Send>;

#[derive(Clone)]
pub struct PasswordHasher {
    queue: Sender<Task>,
    /// One for each password at work or waiting.
    places: Arc<Semaphore>,
    params: Params,
    /// Compared with when there is no account, so that the answer takes the same time.
    decoy: Arc<str>,
}

/// A place in the queue, for one password at a time.
pub struct Place<'a> {
    hasher: &'a PasswordHasher,
    /// Shared with the work: what nobody waits for any more still stands in the queue.
    permit: Arc<OwnedSemaphorePermit>,
}

impl PasswordHasher {
    /// `threads` 0 means one less than the machine has cores, and at least one.
    pub fn start(threads: usize, queue: usize, cost: Cost) -> Result<Self> {
        let params = Params::new(cost.memory_kib, cost.iterations, 1, Some(HASH_LEN))
            .map_err(|error| Error::internal(error.to_string()))?;
        let threads = threads_or_default(threads);
        let (sender, receiver) = crossbeam_channel::unbounded();
        spawn_threads(threads, receiver)?;
        let places = Arc::new(Semaphore::new(threads + queue.max(1)));
        let decoy = encode(&params, &[0; SALT_LEN], &[0; HASH_LEN])?.into();
        Ok(Self { queue: sender, places, params, decoy })
    }

    /// Refuses when as many passwords wait as may.
    pub fn reserve(&self) -> Result<Place<'_>> {
        let permit = self.places.clone().try_acquire_owned().map_err(|_| {
            metrics::counter!(names::HASH_REFUSED).increment(1);
            Error::overloaded()
        })?;
        Ok(Place { hasher: self, permit: Arc::new(permit) })
    }
}

impl Place<'_> {
    /// A PHC string `$argon2id$v=19$m=..,t=..,p=1$salt$hash`.
    pub async fn hash(&self, password: Password) -> Result<String> {
        let params = self.hasher.params.clone();
        self.run(move |memory| {
            let salt = crypto::random::<SALT_LEN>();
            let out = argon2id(&params, &password, &salt, memory)?;
            encode(&params, &salt, &out)
        })
        .await
    }

    /// Compares in constant time. `None` for `stored` costs the same and never matches.
    pub async fn verify(&self, password: Password, stored: Option<String>) -> Result<Verdict> {
        let today = self.hasher.params.clone();
        let known = stored.is_some();
        let stored = stored.unwrap_or_else(|| self.hasher.decoy.to_string());
        let verdict = self.run(move |memory| compare(&today, &password, &stored, memory)).await?;
        Ok(if known { verdict } else { Verdict::Mismatch })
    }

    async fn run<T: Send + 'static>(
        &self,
        work: impl FnOnce(&mut Vec<Block>) -> Result<T> + Send + 'static,
    ) -> Result<T> {
        let (answer, wait) = oneshot::channel();
        let (queued, permit) = (Instant::now(), self.permit.clone());
        metrics::gauge!(names::HASH_QUEUE).increment(1.0);
        let task: Task = Box::new(move |memory| {
            metrics::gauge!(names::HASH_QUEUE).decrement(1.0);
            metrics::histogram!(names::HASH_WAIT).record(queued.elapsed().as_secs_f64());
            // Whoever waited may have gone: then the work is not done.
            if !answer.is_closed() {
                let _ = answer.send(work(memory));
            }
            drop(permit);
        });
        self.hasher.queue.send(task).map_err(|gone| Error::internal(gone.to_string()))?;
        wait.await.map_err(Error::internal)?
    }
}

fn threads_or_default(threads: usize) -> usize {
    let cores = thread::available_parallelism().map_or(1, NonZero::get);
    if threads == 0 { cores.saturating_sub(1).max(1) } else { threads.min(cores) }
}

/// The threads end when the last `PasswordHasher` is dropped.
fn spawn_threads(count: usize, receiver: Receiver<Task>) -> Result<()> {
    for index in 0..count {
        let receiver = receiver.clone();
        thread::Builder::new()
            .name(format!("argon2-{index}"))
            .spawn(move || work_off(&receiver))
            .map_err(Error::internal)?;
    }
    Ok(())
}

fn work_off(receiver: &Receiver<Task>) {
    let mut memory = Vec::new();
    while let Some(task) = next(receiver, &mut memory) {
        // A panic in one hash must not take the thread from all the others.
        let ran = std::panic::catch_unwind(std::panic::AssertUnwindSafe(|| task(&mut memory)));
        if ran.is_err() {
            tracing::error!("a password hash panicked");
        }
    }
}

/// Gives the memory back while nobody comes; `None` at the end.
fn next(receiver: &Receiver<Task>, memory: &mut Vec<Block>) -> Option<Task> {
    if !memory.is_empty() {
        match receiver.recv_timeout(KEEP_MEMORY) {
            Ok(task) => return Some(task),
            Err(RecvTimeoutError::Timeout) => *memory = Vec::new(),
            Err(RecvTimeoutError::Disconnected) => return None,
        }
    }
    receiver.recv().ok()
}

fn argon2id(
    params: &Params,
    password: &Password,
    salt: &[u8],
    memory: &mut Vec<Block>,
) -> Result<[u8; HASH_LEN]> {
    if memory.len() < params.block_count() {
        memory.reserve_exact(params.block_count().max(ALWAYS_MAPPED));
        memory.resize(params.block_count(), Block::default());
    }
    let mut out = [0; HASH_LEN];
    Argon2::new(Algorithm::Argon2id, Version::V0x13, params.clone())
        .hash_password_into_with_memory(password.expose().as_bytes(), salt, &mut out, memory)
        .map_err(|error| Error::internal(error.to_string()))?;
    Ok(out)
}

fn compare(
    today: &Params,
    password: &Password,
    stored: &str,
    memory: &mut Vec<Block>,
) -> Result<Verdict> {
    let unreadable = || Error::internal("a stored password hash cannot be read");
    let stored = PasswordHash::new(stored).map_err(|_| unreadable())?;
    let params = Params::try_from(&stored).map_err(|_| unreadable())?;
    let (Some(salt), Some(hash)) = (stored.salt, stored.hash) else { return Err(unreadable()) };
    let same_kind = stored.algorithm.as_str() == "argon2id" && hash.as_bytes().len() == HASH_LEN;
    if !same_kind {
        return Err(unreadable());
    }
    let out = argon2id(&params, password, &salt, memory)?;
    Ok(if !crypto::equal(&out, hash.as_bytes()) {
        Verdict::Mismatch
    } else if same_cost(&params, today) {
        Verdict::Match
    } else {
        Verdict::MatchOutdated
    })
}

fn same_cost(a: &Params, b: &Params) -> bool {
    (a.m_cost(), a.t_cost(), a.p_cost()) == (b.m_cost(), b.t_cost(), b.p_cost())
}

fn encode(params: &Params, salt: &[u8], hash: &[u8]) -> Result<String> {
    let fault = |error: &dyn std::fmt::Display| Error::internal(error.to_string());
    let hash = PasswordHash {
        algorithm: Algorithm::Argon2id.ident(),
        version: Some(Version::V0x13.into()),
        params: phc::ParamsString::try_from(params).map_err(|error| fault(&error))?,
        salt: Some(phc::Salt::new(salt).map_err(|error| fault(&error))?),
        hash: Some(phc::Output::new(hash).map_err(|error| fault(&error))?),
    };
    Ok(hash.to_string())
}

#[cfg(test)]
mod tests {
    use super::*;

    const CHEAP: Cost = Cost { memory_kib: 64, iterations: 1 };

    fn password(text: &str) -> Password {
        Password::parse("password", text).unwrap()
    }

    async fn hash(hasher: &PasswordHasher, text: &str) -> Result<String> {
        hasher.reserve()?.hash(password(text)).await
    }

    async fn verify(hasher: &PasswordHasher, text: &str, stored: Option<&str>) -> Verdict {
        let place = hasher.reserve().unwrap();
        place.verify(password(text), stored.map(str::to_owned)).await.unwrap()
    }

    #[tokio::test]
    async fn a_hash_is_a_salted_phc_string_that_matches_its_password_only() {
        let hasher =
            PasswordHasher::start(1, 4, Cost { memory_kib: 19456, iterations: 2 }).unwrap();
        let stored = hash(&hasher, "orbit velvet").await.unwrap();
        assert!(stored.starts_with("$argon2id$v=19$m=19456,t=2,p=1$"), "{stored}");
        assert_ne!(stored, hash(&hasher, "orbit velvet").await.unwrap());
        assert_eq!(verify(&hasher, "orbit velvet", Some(&stored)).await, Verdict::Match);
        assert_eq!(verify(&hasher, "orbit velvet ", Some(&stored)).await, Verdict::Mismatch);
    }

    #[tokio::test]
    async fn every_byte_of_a_long_password_counts() {
        let hasher = PasswordHasher::start(1, 4, CHEAP).unwrap();
        let long = "\u{e9}".repeat(128);
        let stored = hash(&hasher, &long).await.unwrap();
        assert_eq!(verify(&hasher, &long, Some(&stored)).await, Verdict::Match);
        let shorter = "\u{e9}".repeat(127);
        assert_eq!(verify(&hasher, &shorter, Some(&stored)).await, Verdict::Mismatch);
    }

    #[tokio::test]
    async fn a_hash_of_another_cost_is_recognised_as_outdated() {
        let old = PasswordHasher::start(1, 4, CHEAP).unwrap();
        let new = PasswordHasher::start(1, 4, Cost { memory_kib: 64, iterations: 2 }).unwrap();
        let stored = hash(&old, "orbit").await.unwrap();
        assert_eq!(verify(&new, "orbit", Some(&stored)).await, Verdict::MatchOutdated);
    }

    #[tokio::test]
    async fn no_account_never_matches_even_the_decoy() {
        let hasher = PasswordHasher::start(1, 4, CHEAP).unwrap();
        assert_eq!(verify(&hasher, "", None).await, Verdict::Mismatch);
    }

    #[tokio::test]
    async fn beyond_the_queue_the_answer_is_a_refusal_at_once() {
        let hasher = PasswordHasher::start(1, 3, CHEAP).unwrap();
        let places: Vec<_> = (0..4).map(|_| hasher.reserve().unwrap()).collect();
        let Err(error) = hasher.reserve() else { panic!("a fifth place") };
        assert_eq!(error.code(), crate::error::Code::Overloaded);
        assert!(error.retry_after_secs().is_some());
        drop(places);
        assert!(hash(&hasher, "orbit").await.is_ok(), "there is room again");
    }

    #[tokio::test]
    async fn a_hash_that_nobody_waits_for_keeps_its_place_until_its_turn() {
        let slow = Cost { memory_kib: 65536, iterations: 3 };
        let hasher = PasswordHasher::start(1, 1, slow).unwrap();
        for _ in 0..2 {
            let place = hasher.reserve().unwrap();
            let left = tokio::time::timeout(std::time::Duration::ZERO, place.hash(password("")));
            assert!(left.await.is_err());
        }
        assert!(hasher.reserve().is_err());
    }
}
