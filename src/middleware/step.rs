//! The shape of a layer: an async method around the inner service.

use std::{
    convert::Infallible,
    future::Future,
    sync::Arc,
    task::{Context, Poll},
};

use axum::{extract::Request, response::Response};
use futures_util::future::BoxFuture;
use tower::{Layer, Service};

/// What lies further in.
pub trait Inner:
    Service<Request, Response = Response, Error = Infallible, Future: Send>
    + Clone
    + Send
    + Sync
    + 'static
{
    /// Runs the rest of the stack.
    fn run(mut self, request: Request) -> impl Future<Output = Response> + Send {
        async move {
            // Everything in this stack is always ready: load is refused, not made to wait.
            match self.call(request).await {
                Ok(response) => response,
                Err(never) => match never {},
            }
        }
    }
}

impl<S> Inner for S where
    S: Service<Request, Response = Response, Error = Infallible, Future: Send>
        + Clone
        + Send
        + Sync
        + 'static
{
}

/// One layer of the stack.
pub trait Step: Send + Sync + 'static {
    fn call(&self, request: Request, inner: impl Inner) -> impl Future<Output = Response> + Send;
}

pub struct StepLayer<M>(Arc<M>);

impl<M> StepLayer<M> {
    pub fn new(step: M) -> Self {
        Self(Arc::new(step))
    }
}

impl<M> Clone for StepLayer<M> {
    fn clone(&self) -> Self {
        Self(self.0.clone())
    }
}

impl<M: Step, S> Layer<S> for StepLayer<M> {
    type Service = StepService<M, S>;

    fn layer(&self, inner: S) -> Self::Service {
        StepService(Arc::new(Stacked { step: self.0.clone(), inner }))
    }
}

/// Shared: each step needs what is below it for as long as the request lasts, and to clone that
/// by value at every step would cost the square of their number.
pub struct StepService<M, S>(Arc<Stacked<M, S>>);

struct Stacked<M, S> {
    step: Arc<M>,
    inner: S,
}

impl<M, S> Clone for StepService<M, S> {
    fn clone(&self) -> Self {
        Self(self.0.clone())
    }
}

impl<M: Step, S: Inner> Service<Request> for StepService<M, S> {
    type Response = Response;
    type Error = Infallible;
    type Future = BoxFuture<'static, Result<Response, Infallible>>;

    fn poll_ready(&mut self, _: &mut Context<'_>) -> Poll<Result<(), Infallible>> {
        Poll::Ready(Ok(()))
    }

    fn call(&mut self, request: Request) -> Self::Future {
        let this = self.0.clone();
        Box::pin(async move { Ok(this.step.call(request, this.inner.clone()).await) })
    }
}
