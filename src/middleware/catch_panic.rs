//! A panic is one request's misfortune, not the process's.

use std::{any::Any, panic::AssertUnwindSafe};

use axum::{
    extract::Request,
    response::{IntoResponse, Response},
};
use futures_util::FutureExt;

use super::step::{Inner, Step};
use crate::error::Error;

pub struct CatchPanic;

impl Step for CatchPanic {
    async fn call(&self, request: Request, inner: impl Inner) -> Response {
        match AssertUnwindSafe(inner.run(request)).catch_unwind().await {
            Ok(response) => response,
            Err(panic) => Error::internal(format!("panic: {}", message(&*panic))).into_response(),
        }
    }
}

fn message(panic: &(dyn Any + Send)) -> &str {
    let text = panic.downcast_ref::<&str>().copied();
    text.or_else(|| panic.downcast_ref::<String>().map(String::as_str)).unwrap_or("unknown")
}
