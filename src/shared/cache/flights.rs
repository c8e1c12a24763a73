//! One load of a key at a time. It belongs to all who wait for it, and whoever of them is awake
//! drives it: whoever leaves takes nobody along, and with the last one it stops.

use std::{
    collections::HashMap,
    panic::AssertUnwindSafe,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
};

use futures_util::future::{BoxFuture, FutureExt, Shared, WeakShared};
use tokio::time::Instant;

use super::Rendered;
use crate::error::{Error, Result};

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Source {
    Redis,
    Loader,
}

/// What a load brought.
#[derive(Debug, Clone)]
pub struct Outcome {
    pub value: Option<Arc<Rendered>>,
    pub source: Source,
    /// Whether later readers can have it too.
    pub kept: bool,
}

/// The same for one of those who waited.
pub struct Landed {
    pub value: Option<Arc<Rendered>>,
    pub source: Source,
    pub kept: bool,
    /// Somebody else's load was joined.
    pub coalesced: bool,
}

type Report = std::result::Result<Outcome, Arc<Failure>>;
type Load = BoxFuture<'static, Report>;

/// The error goes to one of those who waited, with its cause; the others get one that looks alike.
struct Failure {
    original: Mutex<Option<Error>>,
    alike: Error,
}

#[derive(Clone, Default)]
pub struct Flights(Arc<Mutex<Schedule>>);

#[derive(Default)]
struct Schedule {
    flights: HashMap<Arc<str>, Flight>,
    begun: u64,
}

/// A load under way, as those who come later find it.
struct Flight {
    number: u64,
    epoch: u64,
    began: Instant,
    load: WeakShared<Load>,
}

impl Flights {
    /// Waits for the load of the key that is under way, if it is `usable` for who comes now (the
    /// epoch in which it began, and when), else for one of its own.
    pub async fn board<F>(
        &self,
        key: &Arc<str>,
        epoch: u64,
        usable: impl Fn(u64, Instant) -> bool,
        begin: impl FnOnce() -> F,
    ) -> Result<Landed>
    where
        F: Future<Output = Result<Outcome>> + Send + 'static,
    {
        let (load, coalesced) = self.seat(key, epoch, usable, begin);
        match load.await {
            Ok(Outcome { value, source, kept }) => Ok(Landed { value, source, kept, coalesced }),
            Err(failure) => Err(failure.tell()),
        }
    }

    /// The load, and whether somebody else has begun it.
    fn seat<F>(
        &self,
        key: &Arc<str>,
        epoch: u64,
        usable: impl Fn(u64, Instant) -> bool,
        begin: impl FnOnce() -> F,
    ) -> (Shared<Load>, bool)
    where
        F: Future<Output = Result<Outcome>> + Send + 'static,
    {
        let mut schedule = self.schedule();
        let under_way = schedule.flights.get(key);
        let under_way = under_way.filter(|flight| usable(flight.epoch, flight.began));
        if let Some(load) = under_way.and_then(|flight| flight.load.upgrade()) {
            return (load, true);
        }
        schedule.begun += 1;
        let number = schedule.begun;
        // Before the landing, which takes the lock that is held here when it is dropped.
        let load = begin();
        let landing = Landing { flights: self.clone(), key: key.clone(), number };
        let load = run(landing, load).boxed().shared();
        // It is there until it has been awaited.
        if let Some(weak) = load.downgrade() {
            let flight = Flight { number, epoch, began: Instant::now(), load: weak };
            schedule.flights.insert(key.clone(), flight);
        }
        (load, false)
    }

    /// No entry is ever half made, so a poisoned lock guards whole ones.
    fn schedule(&self) -> MutexGuard<'_, Schedule> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Off the list first, then the answer: who comes now finds the value in the cache.
async fn run(landing: Landing, load: impl Future<Output = Result<Outcome>>) -> Report {
    let landed = AssertUnwindSafe(load).catch_unwind().await;
    drop(landing);
    let panicked = |_| Err(Error::internal("a load panicked"));
    landed.unwrap_or_else(panicked).map_err(|error| Arc::new(Failure::new(error)))
}

/// Takes the flight off the list however it ends, unless a later one has taken its place.
struct Landing {
    flights: Flights,
    key: Arc<str>,
    number: u64,
}

impl Drop for Landing {
    fn drop(&mut self) {
        let flights = &mut self.flights.schedule().flights;
        if flights.get(&self.key).is_some_and(|flight| flight.number == self.number) {
            flights.remove(&self.key);
        }
    }
}

impl Failure {
    fn new(error: Error) -> Self {
        Self { alike: error.alike(), original: Mutex::new(Some(error)) }
    }

    fn tell(&self) -> Error {
        let original = self.original.lock().unwrap_or_else(PoisonError::into_inner).take();
        original.unwrap_or_else(|| self.alike.alike())
    }
}
