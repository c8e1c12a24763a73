//! One load of a key at a time. It runs in a task of its own, which belongs to all who wait for
//! it: whoever leaves takes nobody along, and with the last one it stops.

use std::{
    collections::HashMap,
    sync::{Arc, Mutex, MutexGuard, PoisonError, Weak},
};

use tokio::{sync::watch, time::Instant};
use tokio_util::task::AbortOnDropHandle;

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

/// The error goes to one of those who waited, with its cause; the others get one that looks alike.
struct Failure {
    original: Mutex<Option<Error>>,
    alike: Error,
}

#[derive(Clone, Default)]
pub struct Flights(Arc<Mutex<HashMap<Arc<str>, Flight>>>);

/// A load under way, as those who come later find it.
struct Flight {
    epoch: u64,
    began: Instant,
    report: watch::Receiver<Option<Report>>,
    task: Weak<AbortOnDropHandle<()>>,
}

/// A place in it.
struct Seat {
    report: watch::Receiver<Option<Report>>,
    _task: Arc<AbortOnDropHandle<()>>,
    coalesced: bool,
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
        let mut seat = self.seat(key, epoch, usable, begin);
        let report = match seat.report.wait_for(Option::is_some).await {
            Ok(report) => report.clone(),
            Err(_) => None,
        };
        let Outcome { value, source, kept } = match report {
            Some(Ok(outcome)) => outcome,
            Some(Err(failure)) => return Err(failure.tell()),
            None => return Err(Error::internal("a load ended without a word")),
        };
        Ok(Landed { value, source, kept, coalesced: seat.coalesced })
    }

    fn seat<F>(
        &self,
        key: &Arc<str>,
        epoch: u64,
        usable: impl Fn(u64, Instant) -> bool,
        begin: impl FnOnce() -> F,
    ) -> Seat
    where
        F: Future<Output = Result<Outcome>> + Send + 'static,
    {
        let mut flights = self.flights();
        let under_way = flights.get(key).filter(|flight| usable(flight.epoch, flight.began));
        if let Some(flight) = under_way
            && let Some(task) = flight.task.upgrade()
        {
            return Seat { report: flight.report.clone(), _task: task, coalesced: true };
        }
        let (sender, report) = watch::channel(None);
        let task = tokio::spawn(self.clone().run(key.clone(), sender, begin()));
        let task = Arc::new(AbortOnDropHandle::new(task));
        let flight = Flight {
            epoch,
            began: Instant::now(),
            report: report.clone(),
            task: Arc::downgrade(&task),
        };
        flights.insert(key.clone(), flight);
        Seat { report, _task: task, coalesced: false }
    }

    async fn run(
        self,
        key: Arc<str>,
        sender: watch::Sender<Option<Report>>,
        load: impl Future<Output = Result<Outcome>>,
    ) {
        let landing = Landing { flights: self, key, sender };
        let report = load.await.map_err(|error| Arc::new(Failure::new(error)));
        // Off the list first: who comes now finds the value in the cache.
        let sender = landing.sender.clone();
        drop(landing);
        sender.send_replace(Some(report));
    }

    /// No entry is ever half made, so a poisoned lock guards whole ones.
    fn flights(&self) -> MutexGuard<'_, HashMap<Arc<str>, Flight>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Takes the flight off the list however it ends, unless a later one has taken its place.
struct Landing {
    flights: Flights,
    key: Arc<str>,
    sender: watch::Sender<Option<Report>>,
}

impl Drop for Landing {
    fn drop(&mut self) {
        let mine = self.sender.subscribe();
        let mut flights = self.flights.flights();
        if flights.get(&self.key).is_some_and(|flight| flight.report.same_channel(&mine)) {
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
