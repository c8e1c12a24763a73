//! The shape of a layer: an async method around the inner service.

use std::{
    convert::Infallible,
    future::Future,
    sync::Arc,
    task::{Context, Poll},
};

use axum::{extract::Request, response::Response};
use futures_util::{FutureExt, future::BoxFuture};
use tower::{Layer, Service};

/// What lies further in.
pub trait Inner:
    Service<Request, Response = Response, Error = Infallible, Future: Send>
    + Clone
    + Send
    + Sync
    + 'static
{
    /// Runs the rest of the stack. Called before it is awaited, so that the request moves on into
    /// the future below and needs no place in this one.
    fn run(mut self, request: Request) -> impl Future<Output = Response> + Send {
        // Everything in this stack is always ready: load is refused, not made to wait.
        let answer = self.call(request);
        async move {
            match answer.await {
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

/// One layer of the stack. Each future lies in a box of its own, which is cheap as long as it is
/// small: so a step owns itself (a borrow would need a future around its own), and one that has
/// nothing to wait for hands the request on before its future is made, which then needs no place
/// for it.
pub trait Step: Send + Sync + 'static {
    fn call(
        self: Arc<Self>,
        request: Request,
        inner: impl Inner,
    ) -> impl Future<Output = Response> + Send;
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
        let Stacked { step, inner } = &*self.0;
        Box::pin(step.clone().call(request, inner.clone()).map(Ok))
    }
}
