//! A panic is one request's misfortune, not the process's.

use std::panic::AssertUnwindSafe;

use axum::{
    extract::Request,
    response::{IntoResponse, Response},
};
use futures_util::FutureExt;

use super::step::{Inner, Step};
use crate::{error::Error, telemetry::plain_panic};

pub struct CatchPanic;

impl Step for CatchPanic {
    async fn call(&self, request: Request, inner: impl Inner) -> Response {
        match AssertUnwindSafe(inner.run(request)).catch_unwind().await {
            Ok(response) => response,
            Err(panic) => {
                Error::internal(format!("panic: {}", plain_panic(&*panic))).into_response()
            }
        }
    }
}
