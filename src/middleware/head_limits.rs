//! Request heads of a size and form that is safe to work with.

use axum::{
    extract::Request,
    response::{IntoResponse, Response},
};
use http::{Version, header};

use super::step::{Inner, Step};
use crate::error::{Code, Error};

const MAX_URI: usize = 8 * 1024;
const MAX_BYTES: usize = 16 * 1024;
const MAX_FIELDS: usize = 100;

pub struct HeadLimits;

impl Step for HeadLimits {
    async fn call(&self, request: Request, inner: impl Inner) -> Response {
        match check(&request) {
            Ok(()) => inner.run(request).await,
            Err(refusal) => refusal.into_response(),
        }
    }
}

fn check(request: &Request) -> Result<(), Error> {
    let (uri, headers) = (request.uri(), request.headers());
    let target = uri.path().len() + uri.query().map_or(0, str::len);
    if target > MAX_URI {
        return Err(Error::of(Code::UriTooLong));
    }
    let bytes: usize =
        headers.iter().map(|(name, value)| name.as_str().len() + value.len() + 4).sum();
    if headers.len() > MAX_FIELDS || bytes > MAX_BYTES {
        return Err(Error::of(Code::HeadersTooLarge));
    }
    // RFC 9112, 3.2: exactly one Host, or nobody knows which site is meant.
    let hosts = headers.get_all(header::HOST).iter().count();
    let served = request.extensions().get::<super::client::Peer>().is_some();
    if hosts > 1 || (served && request.version() == Version::HTTP_11 && hosts == 0) {
        return Err(Error::new(Code::MalformedRequest, "the request must have one Host"));
    }
    Ok(())
}
