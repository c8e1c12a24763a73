//! A panic is one request's misfortune, not the process's.

use std::{panic::AssertUnwindSafe, sync::Arc};

use axum::{
    extract::Request,
    response::{IntoResponse, Response},
};
use futures_util::FutureExt;

use super::step::{Inner, Step};
use crate::{error::Error, telemetry::plain_panic};

pub struct CatchPanic;

impl Step for CatchPanic {
    async fn call(self: Arc<Self>, request: Request, inner: impl Inner) -> Response {
        // Called inside: what the steps below do before their first wait may panic too.
        let answer = async move { inner.run(request).await };
        match AssertUnwindSafe(answer).catch_unwind().await {
            Ok(response) => response,
            Err(panic) => {
                Error::internal(format!("panic: {}", plain_panic(&*panic))).into_response()
            }
        }
    }
}
