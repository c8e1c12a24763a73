//! The shape of a layer: an async method around the inner service.

use std::{
    convert::Infallible,
    future::Future,
    task::{Context, Poll},
};

use axum::{extract::Request, response::Response};
use futures_util::future::BoxFuture;
use tower::{Layer, Service};

/// What lies further in.
pub trait Inner:
    Service<Request, Response = Response, Error = Infallible, Future: Send> + Clone + Send + 'static
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
        + 'static
{
}

/// One layer of the stack.
pub trait Step: Clone + Send + Sync + 'static {
    fn call(self, request: Request, inner: impl Inner) -> impl Future<Output = Response> + Send;
}

#[derive(Clone)]
pub struct StepLayer<M>(pub M);

impl<M: Step, S> Layer<S> for StepLayer<M> {
    type Service = StepService<M, S>;

    fn layer(&self, inner: S) -> Self::Service {
        StepService { step: self.0.clone(), inner }
    }
}

#[derive(Clone)]
pub struct StepService<M, S> {
    step: M,
    inner: S,
}

impl<M: Step, S: Inner> Service<Request> for StepService<M, S> {
    type Response = Response;
    type Error = Infallible;
    type Future = BoxFuture<'static, Result<Response, Infallible>>;

    fn poll_ready(&mut self, cx: &mut Context<'_>) -> Poll<Result<(), Infallible>> {
        self.inner.poll_ready(cx)
    }

    fn call(&mut self, request: Request) -> Self::Future {
        let (step, inner) = (self.step.clone(), self.inner.clone());
        Box::pin(async move { Ok(step.call(request, inner).await) })
    }
}
