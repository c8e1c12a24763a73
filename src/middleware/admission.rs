//! Load shedding: as many requests at once as the service works well with, and a quick refusal
//! for the rest.

use std::sync::Arc;

use axum::{
    extract::Request,
    response::{IntoResponse, Response},
};
use tokio::sync::{OwnedSemaphorePermit, Semaphore};

use super::{
    route_info::{self, Access},
    step::{Inner, Step},
};
use crate::{config::Server, error::Error, services::health::Health, telemetry::metrics as names};

#[derive(Clone)]
pub struct Admission {
    slots: Arc<Semaphore>,
    health: Health,
}

/// A place among the requests being worked on; kept by whatever outlives the answer.
#[derive(Clone)]
pub struct Place(#[expect(dead_code, reason = "held, never read")] Arc<OwnedSemaphorePermit>);

impl Admission {
    pub fn new(server: &Server, health: Health) -> Self {
        Self { slots: Arc::new(Semaphore::new(server.max_in_flight)), health }
    }

    fn admit(&self) -> Result<Place, Error> {
        self.health.require_started()?;
        let permit = self.slots.clone().try_acquire_owned().map_err(|_| {
            metrics::counter!(names::HTTP_SHED).increment(1);
            Error::overloaded()
        })?;
        Ok(Place(Arc::new(permit)))
    }
}

impl Step for Admission {
    async fn call(self, mut request: Request, inner: impl Inner) -> Response {
        if route_info::of(&request).access == Access::Operations {
            return inner.run(request).await;
        }
        match self.admit() {
            Ok(place) => {
                request.extensions_mut().insert(place.clone());
                let response = inner.run(request).await;
                drop(place);
                response
            }
            Err(refusal) => refusal.into_response(),
        }
    }
}
