//! Load shedding: as many requests at once as the service works well with, and a quick refusal
//! for the rest; of writes, logins and refreshes last.

use std::{
    collections::{HashMap, hash_map::Entry},
    future::ready,
    net::IpAddr,
    sync::{Arc, Mutex, MutexGuard},
};

use axum::{
    extract::Request,
    response::{IntoResponse, Response},
};
use futures_util::future::Either;

use super::{
    request_context,
    route_info::{self, Access},
    step::{Inner, Step},
};
use crate::{
    config::Server,
    error::Error,
    services::health::Health,
    shared::capacity::{Capacity, Entered, Priority},
    telemetry::metrics as names,
};

pub struct Admission {
    capacity: Capacity,
    clients: Arc<Clients>,
    health: Health,
}

/// A place among the requests being worked on; kept by whatever outlives the answer.
#[derive(Clone)]
pub struct Place(#[expect(dead_code, reason = "held, never read")] Arc<Held>);

struct Held {
    _entered: Entered,
    _share: Share,
}

impl Admission {
    pub fn new(server: &Server, health: Health, capacity: Capacity) -> Self {
        let most = server.max_in_flight_per_client;
        Self { capacity, clients: Arc::new(Clients { most, working: Mutex::default() }), health }
    }

    fn admit(&self, client: Option<IpAddr>, priority: Priority) -> Result<Place, Error> {
        self.health.require_started()?;
        let share = self.clients.clone().take(client.map(network));
        let share = share.ok_or_else(|| shed(priority))?;
        let entered = self.capacity.enter(priority).ok_or_else(|| shed(priority))?;
        Ok(Place(Arc::new(Held { _entered: entered, _share: share })))
    }
}

fn shed(priority: Priority) -> Error {
    metrics::counter!(names::HTTP_SHED, "priority" => priority.as_str()).increment(1);
    Error::overloaded()
}

/// How many places each address holds: one client must not have them all.
struct Clients {
    most: usize,
    working: Mutex<HashMap<u128, usize>>,
}

impl Clients {
    fn take(self: Arc<Self>, client: Option<u128>) -> Option<Share> {
        if let Some(client) = client {
            let mut working = self.lock();
            let held = working.entry(client).or_default();
            if *held >= self.most {
                return None;
            }
            *held += 1;
        }
        Some(Share { clients: self, client })
    }

    fn lock(&self) -> MutexGuard<'_, HashMap<u128, usize>> {
        self.working.lock().unwrap_or_else(|poisoned| poisoned.into_inner())
    }
}

struct Share {
    clients: Arc<Clients>,
    client: Option<u128>,
}

impl Drop for Share {
    fn drop(&mut self) {
        let Some(client) = self.client else { return };
        let mut working = self.clients.lock();
        if let Entry::Occupied(mut held) = working.entry(client) {
            *held.get_mut() -= 1;
            if *held.get() == 0 {
                held.remove();
            }
        }
    }
}

/// IPv6 counts by /64.
fn network(address: IpAddr) -> u128 {
    match address.to_canonical() {
        IpAddr::V4(v4) => v4.to_bits().into(),
        IpAddr::V6(v6) => v6.to_bits() >> 64 << 64,
    }
}

impl Step for Admission {
    fn call(
        self: Arc<Self>,
        mut request: Request,
        inner: impl Inner,
    ) -> impl Future<Output = Response> + Send {
        let route = route_info::of(&request);
        let client = request_context::origin(request.extensions()).address;
        let place = match route.access {
            Access::Operations => None,
            _ => match self.admit(client, route.priority) {
                Ok(place) => Some(place),
                Err(refusal) => return Either::Right(ready(refusal.into_response())),
            },
        };
        if let Some(place) = &place {
            request.extensions_mut().insert(place.clone());
        }
        let answer = inner.run(request);
        Either::Left(async move {
            let response = answer.await;
            drop(place);
            response
        })
    }
}
