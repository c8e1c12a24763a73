//! No body is larger than its route allows: what says so is refused unread, what does not say
//! is cut off. Nor is any waited for that does not keep coming.

use std::{fmt, future::ready, sync::Arc};

use axum::{
    body::Body,
    extract::Request,
    response::{IntoResponse, Response},
};
use futures_util::future::Either;
use http::{HeaderMap, header};
use http_body::Body as _;
use http_body_util::{LengthLimitError, Limited};

use super::{
    route_info::{self, BodyKind},
    step::{Inner, Step},
};
use crate::{
    config::{Imports, Server},
    error::{Code, Error},
};

pub struct BodyLimit {
    message: usize,
    import_file: usize,
}

impl BodyLimit {
    pub fn new(server: &Server, imports: &Imports) -> Self {
        Self { message: server.json_limit_bytes, import_file: imports.max_bytes }
    }
}

impl Step for BodyLimit {
    fn call(
        self: Arc<Self>,
        request: Request,
        inner: impl Inner,
    ) -> impl Future<Output = Response> + Send {
        let limit = match route_info::of(&request).body {
            BodyKind::Message => self.message,
            BodyKind::ImportFile => self.import_file,
        };
        if announced(request.headers()).is_some_and(|length| length > limit as u64) {
            return Either::Right(ready(too_large().into_response()));
        }
        let request = match request.body().is_end_stream() {
            true => request,
            false => request.map(|body| Body::new(Limited::new(body, limit))),
        };
        Either::Left(inner.run(request))
    }
}

fn announced(headers: &HeaderMap) -> Option<u64> {
    headers.get(header::CONTENT_LENGTH)?.to_str().ok()?.parse().ok()
}

pub fn too_large() -> Error {
    Error::of(Code::PayloadTooLarge)
}

/// What the listener ends a body with that does not keep coming.
#[derive(Debug)]
pub struct TooSlow;

impl fmt::Display for TooSlow {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("the body did not keep coming")
    }
}

impl std::error::Error for TooSlow {}

/// Why a body could not be read.
pub fn refusal(error: &(dyn std::error::Error + 'static)) -> Error {
    let mut next = Some(error);
    while let Some(error) = next {
        if error.is::<LengthLimitError>() {
            return too_large();
        }
        if error.is::<TooSlow>() {
            return Error::of(Code::BodyTooSlow);
        }
        next = error.source();
    }
    Error::new(Code::MalformedRequest, "the body could not be read")
}
