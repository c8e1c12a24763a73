//! The request's deadline, and what it means for the work.
//!
//! A read that is late, or whose client has left, is dropped: nobody waits for it. An unsafe
//! request runs in a task of its own: whether the client leaves or the deadline passes, it
//! finishes or rolls back by itself, and holds its place and the drain until then.

use std::{sync::Arc, time::Duration};

use axum::{
    extract::Request,
    response::{IntoResponse, Response},
};
use tokio::{task::JoinError, time::timeout};
use tokio_util::sync::CancellationToken;

use super::{
    admission::Place,
    request_context,
    route_info::{self, Access, BodyKind},
    step::{Inner, Step},
};
use crate::{
    config::Server,
    error::{Code, Error, Result},
    lifecycle::Lifecycle,
    telemetry::{metrics as names, work},
};

pub struct Deadline {
    soft: Duration,
    hard: Duration,
    lifecycle: Lifecycle,
}

impl Deadline {
    pub fn new(server: &Server, lifecycle: Lifecycle) -> Self {
        Self { soft: server.request_timeout, hard: server.hard_timeout, lifecycle }
    }

    async fn unsafe_request(&self, request: Request, inner: impl Inner) -> Response {
        let origin = request_context::origin(request.extensions());
        let route = route_info::of(&request).template;
        let place = request.extensions().get::<Place>().cloned();
        let (soft, hard) = (self.soft, self.hard);
        let task = self.lifecycle.spawn(work::inherit(async move {
            let started = tokio::time::Instant::now();
            let response = timeout(hard, inner.run(request)).await;
            drop(place);
            if started.elapsed() > soft {
                metrics::counter!(names::HTTP_LATE).increment(1);
                let work = work::current().unwrap_or_default();
                let status = response.as_ref().map_or(504, |response| response.status().as_u16());
                tracing::warn!(
                    target: "mainstay::access", request_id = origin.request_id, route, status,
                    duration_ms = started.elapsed().as_millis() as u64, db_ms = work.db_ms(),
                    db_statements = work.db_statements(), late = true,
                    "an unsafe request ended after its deadline"
                );
            }
            response.unwrap_or_else(|_| timed_out())
        }));
        match timeout(soft, task).await {
            Ok(joined) => joined.unwrap_or_else(rethrow),
            Err(_) => timed_out(),
        }
    }

    /// Whoever takes a file ends it when it stands still, or when the process goes ([`Leaving`]);
    /// as long as it comes it may take its time.
    async fn upload(&self, mut request: Request, inner: impl Inner) -> Response {
        request.extensions_mut().insert(Leaving(self.lifecycle.leaving().clone()));
        let place = request.extensions().get::<Place>().cloned();
        let task = self.lifecycle.spawn(work::inherit(async move {
            let response = inner.run(request).await;
            drop(place);
            response
        }));
        task.await.unwrap_or_else(rethrow)
    }
}

/// For those who take a file, which no deadline ends: when the process will not wait any longer.
#[derive(Clone)]
pub struct Leaving(CancellationToken);

impl Leaving {
    /// What `work` gives, unless the process goes first.
    pub async fn before<T>(&self, work: impl Future<Output = Result<T>>) -> Result<T> {
        tokio::select! {
            done = work => done,
            () = self.0.cancelled() => Err(Error::shutting_down()),
        }
    }
}

impl Step for Deadline {
    async fn call(self: Arc<Self>, request: Request, inner: impl Inner) -> Response {
        if route_info::of(&request).access == Access::Operations {
            inner.run(request).await
        } else if request.method().is_safe() {
            timeout(self.soft, inner.run(request)).await.unwrap_or_else(|_| timed_out())
        } else if route_info::of(&request).body == BodyKind::Message {
            // Large futures, which would make a place for themselves in that of every request.
            Box::pin(self.unsafe_request(request, inner)).await
        } else {
            Box::pin(self.upload(request, inner)).await
        }
    }
}

/// A panic goes on to the layer that renders it.
fn rethrow(error: JoinError) -> Response {
    match error.try_into_panic() {
        Ok(panic) => std::panic::resume_unwind(panic),
        Err(cancelled) => Error::internal(cancelled).into_response(),
    }
}

fn timed_out() -> Response {
    Error::of(Code::RequestTimedOut).into_response()
}
