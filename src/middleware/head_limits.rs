//! Request heads of a size and form that is safe to work with.

use std::{future::ready, sync::Arc};

use axum::{
    extract::Request,
    response::{IntoResponse, Response},
};
use futures_util::future::Either;
use http::{HeaderMap, Version, header, uri::Authority};

use super::step::{Inner, Step};
use crate::error::{Code, Error};

const MAX_URI: usize = 8 * 1024;
const MAX_BYTES: usize = 16 * 1024;
const MAX_FIELDS: usize = 100;

pub struct HeadLimits;

impl Step for HeadLimits {
    fn call(
        self: Arc<Self>,
        request: Request,
        inner: impl Inner,
    ) -> impl Future<Output = Response> + Send {
        match check(&request) {
            Ok(()) => Either::Left(inner.run(request)),
            Err(refusal) => Either::Right(ready(refusal.into_response())),
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
    if !has_plain_framing(headers) {
        let detail = "the only transfer coding is chunked, named once";
        return Err(Error::new(Code::MalformedRequest, detail));
    }
    // Tests that call the router by itself send none.
    let served = request.extensions().get::<super::client::Peer>().is_some();
    if served && !names_one_host(request.version(), headers) {
        return Err(Error::new(Code::MalformedRequest, "the request must have one valid Host"));
    }
    Ok(())
}

/// RFC 9112, 6.1: hyper looks at the last coding alone, and would give a body that it has not
/// decoded for one that is plain. It has refused all whose last coding is another.
fn has_plain_framing(headers: &HeaderMap) -> bool {
    let mut codings = headers.get_all(header::TRANSFER_ENCODING).iter();
    match (codings.next(), codings.next()) {
        (None, _) => true,
        (Some(coding), None) => coding.as_bytes().eq_ignore_ascii_case(b"chunked"),
        _ => false,
    }
}

/// RFC 9112, 3.2: otherwise nobody knows which site is meant.
pub fn names_one_host(version: Version, headers: &HeaderMap) -> bool {
    let mut hosts = headers.get_all(header::HOST).iter();
    match (hosts.next(), hosts.next()) {
        (Some(host), None) => is_host(host.as_bytes()),
        (None, _) => version != Version::HTTP_11,
        _ => false,
    }
}

/// A name or address, perhaps with a port, and nothing before it.
fn is_host(host: &[u8]) -> bool {
    let plain = |byte: &u8| byte.is_ascii_alphanumeric() || matches!(byte, b'.' | b'-');
    if !host.is_empty() && host.iter().all(plain) {
        return true;
    }
    let Ok(authority) = Authority::try_from(host) else { return false };
    let Some(port) = authority.as_str().strip_prefix(authority.host()) else { return false };
    let is_number = |port: &str| port.bytes().all(|byte| byte.is_ascii_digit());
    let sound = port.is_empty() || port.strip_prefix(':').is_some_and(is_number);
    sound && !authority.host().is_empty()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_host_is_a_name_or_an_address_and_perhaps_a_port() {
        for host in ["a", "api.example", "127.0.0.1:8080", "[::1]", "[::1]:80", "a_b", "a:"] {
            assert!(is_host(host.as_bytes()), "{host}");
        }
        for host in [
            "a b", "a, b", "a@b", "a/b", "a?b", "a#b", "a:x", "[::1", "a\\b", "é", "", ":80",
            "a:80:80",
        ] {
            assert!(!is_host(host.as_bytes()), "{host}");
        }
    }
}
