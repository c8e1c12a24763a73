//! Media types and codings: refuses what cannot be accepted, and marks entity tags of
//! compressed answers, so that each coding has a tag of its own (RFC 9110, 8.8.3.3).

use std::{future::ready, sync::Arc};

use axum::{
    extract::Request,
    response::{IntoResponse, Response},
};
use futures_util::future::Either;
use http::{HeaderMap, HeaderValue, header};

use super::{
    authenticate::Authentication,
    route_info::{self, Access, RouteInfo},
    step::{Inner, Step},
};
use crate::error::{Code, Error};

/// Those of `compression`.
const CODINGS: [&str; 3] = ["br", "gzip", "zstd"];

pub struct Negotiation;

impl Step for Negotiation {
    fn call(
        self: Arc<Self>,
        mut request: Request,
        inner: impl Inner,
    ) -> impl Future<Output = Response> + Send {
        let route = route_info::of(&request);
        if let Err(refusal) = check(&route, &request) {
            return Either::Right(ready(refusal.into_response()));
        }
        lower_coding(request.headers_mut());
        let answer = inner.run(request);
        Either::Left(async move {
            let mut response = answer.await;
            mark_coding(response.headers_mut());
            response
        })
    }
}

fn check(route: &RouteInfo, request: &Request) -> Result<(), Error> {
    // What operators and verifiers ask comes in its own media type; an unknown path in none.
    if route.template.starts_with("/api/") && !accepts(request.headers(), route.media) {
        return Err(Error::of(Code::NotAcceptable));
    }
    if !accepts_some_coding(request.headers()) {
        return Err(Error::of(Code::NotAcceptable));
    }
    // Who must sign in first is told so first.
    let stranger = matches!(route.access, Access::User | Access::Staff | Access::Admin)
        && !matches!(request.extensions().get(), Some(Authentication::Known(_)));
    let looked_at = !route.takes_query && !stranger;
    match request.uri().query().filter(|query| !query.is_empty() && looked_at) {
        None => Ok(()),
        Some(query) => {
            let name = query.split(['=', '&']).next().unwrap_or_default();
            let name: String = name.chars().take(64).collect();
            Err(Error::invalid_field(name, "unknown_field", "is not known here"))
        }
    }
}

/// Codings are case-insensitive (RFC 9110, 8.4.1); what reads them is not.
fn lower_coding(headers: &mut HeaderMap) {
    let coding =
        headers.get(header::CONTENT_ENCODING).map(|coding| coding.as_bytes().to_ascii_lowercase());
    if let Some(Ok(coding)) = coding.map(|coding| HeaderValue::from_bytes(&coding)) {
        headers.insert(header::CONTENT_ENCODING, coding);
    }
}

/// One of the media types, with a weight above zero; for each the most specific range decides.
fn accepts(headers: &HeaderMap, media: &[&str]) -> bool {
    let mut values = headers.get_all(header::ACCEPT).iter();
    match (values.next(), values.next()) {
        (None, _) => return true,
        (Some(value), None) if value == "*/*" => return true,
        _ => {}
    }
    let ranges = headers.get_all(header::ACCEPT).iter().filter_map(|value| value.to_str().ok());
    let ranges = ranges.flat_map(|value| value.split(',')).filter(|range| !range.trim().is_empty());
    let ranges: Vec<_> = ranges.map(parse_range).collect();
    let best = |names: &[&str]| {
        let weights = ranges.iter().filter(|(range, _)| names.contains(&range.as_str()));
        weights.map(|(_, weight)| *weight).reduce(f32::max)
    };
    let of_type = |media: &&str| {
        let (kind, _) = media.split_once('/')?;
        best(&[&format!("{kind}/*")])
    };
    let exact = best(media);
    let weight = exact.or_else(|| media.iter().find_map(of_type)).or_else(|| best(&["*/*"]));
    ranges.is_empty() || weight.is_some_and(|weight| weight > 0.0)
}

/// Plain text will do for everybody who does not exclude it (RFC 9110, 12.5.3).
fn accepts_some_coding(headers: &HeaderMap) -> bool {
    let named = named_codings(headers);
    weight(&named, "identity").is_none_or(|weight| weight > 0.0)
        || CODINGS.iter().any(|coding| is_accepted(&named, coding))
}

/// Those of ours that the client asks for, by name or by `*`.
pub fn accepted_codings(headers: &HeaderMap) -> Vec<&'static str> {
    let named = named_codings(headers);
    CODINGS.into_iter().filter(|coding| is_accepted(&named, coding)).collect()
}

fn is_accepted(named: &[(String, f32)], coding: &str) -> bool {
    weight(named, coding).is_some_and(|weight| weight > 0.0)
}

fn weight(named: &[(String, f32)], coding: &str) -> Option<f32> {
    let of = |name: &str| named.iter().find(|(found, _)| found == name).map(|found| found.1);
    of(coding).or_else(|| of("*"))
}

fn named_codings(headers: &HeaderMap) -> Vec<(String, f32)> {
    let values = headers.get_all(header::ACCEPT_ENCODING).iter();
    let values = values.filter_map(|value| value.to_str().ok());
    values.flat_map(|value| value.split(',')).map(parse_range).collect()
}

fn parse_range(range: &str) -> (String, f32) {
    let mut parts = range.split(';').map(str::trim);
    let name = parts.next().unwrap_or_default().to_ascii_lowercase();
    let weight = parts.find_map(|part| part.strip_prefix("q=")?.parse().ok());
    (name, weight.unwrap_or(1.0))
}

fn mark_coding(headers: &mut HeaderMap) {
    let coding = headers.get(header::CONTENT_ENCODING).and_then(|coding| coding.to_str().ok());
    let tag = headers.get(header::ETAG).and_then(|tag| tag.to_str().ok());
    let (Some(coding), Some(tag)) = (coding, tag) else { return };
    let Some(opaque) = tag.strip_suffix('"') else { return };
    if let Ok(marked) = HeaderValue::from_str(&format!("{opaque}-{coding}\"")) {
        headers.insert(header::ETAG, marked);
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::middleware::route_info::JSON;

    fn accepts(value: &str, media: &[&str]) -> bool {
        super::accepts(&HeaderMap::from_iter([(header::ACCEPT, value.parse().unwrap())]), media)
    }

    #[test]
    fn json_is_accepted_by_name_range_or_silence() {
        assert!(super::accepts(&HeaderMap::new(), JSON));
        for yes in [
            "application/json",
            "*/*",
            "application/*",
            "text/html, */*;q=0.1",
            "Application/JSON; q=0.5",
            "application/problem+json",
        ] {
            assert!(accepts(yes, JSON), "{yes}");
        }
        for no in [
            "text/html",
            "application/xml",
            "application/json;q=0",
            "*/*;q=0",
            "application/json;q=0, */*",
        ] {
            assert!(!accepts(no, JSON), "{no}");
        }
    }

    #[test]
    fn a_table_is_accepted_where_there_is_one() {
        for yes in ["text/csv", "text/*", "*/*", "application/json;q=0, text/csv"] {
            assert!(accepts(yes, &["text/csv"]), "{yes}");
        }
        assert!(!accepts("application/json", &["text/csv"]) && !accepts("text/csv", JSON));
    }

    #[test]
    fn who_excludes_plain_text_has_to_accept_a_coding() {
        let accepts = |value: &str| {
            let headers = [(header::ACCEPT_ENCODING, value.parse().unwrap())];
            accepts_some_coding(&HeaderMap::from_iter(headers))
        };
        assert!(accepts_some_coding(&HeaderMap::new()));
        for yes in [
            "",
            "gzip",
            "gzip;q=0",
            "compress",
            "identity;q=0, gzip",
            "*;q=0, br",
            "*",
            "*;q=0, identity",
        ] {
            assert!(accepts(yes), "{yes}");
        }
        for no in ["identity;q=0", "*;q=0", "identity;q=0, gzip;q=0", "compress, *;q=0"] {
            assert!(!accepts(no), "{no}");
        }
    }

    #[test]
    fn a_compressed_answer_has_a_tag_of_its_own() {
        let mut headers = HeaderMap::new();
        headers.insert(header::ETAG, HeaderValue::from_static("\"7\""));
        mark_coding(&mut headers);
        assert_eq!(headers[header::ETAG], "\"7\"");
        headers.insert(header::CONTENT_ENCODING, HeaderValue::from_static("gzip"));
        mark_coding(&mut headers);
        assert_eq!(headers[header::ETAG], "\"7-gzip\"");
    }
}
