//! The API description as a page to read and try. All that it needs is part of the binary, so it
//! works without internet, and its own policy lets it ask nobody but this service.

use std::{io::Read, sync::LazyLock};

use axum::response::{IntoResponse, Response};
use base64::{Engine, engine::general_purpose::STANDARD};
use flate2::read::GzDecoder;
use http::{HeaderMap, HeaderName, HeaderValue, StatusCode, header};

use super::etag::Conditions;
use crate::{
    error::{Error, Result},
    shared::crypto,
};

const PAGE: &str = include_str!("docs/page.html");
/// Swagger UI (Apache-2.0) as in the npm package `swagger-ui-dist`, compressed with zopfli. The
/// version stands in the addresses, here, in the page and in the table of routes, so that they can
/// be kept for good.
const SCRIPT: &[u8] = include_bytes!("docs/swagger-ui-bundle.js.gz");
const STYLE: &[u8] = include_bytes!("docs/swagger-ui.css.gz");

type Headers = [(HeaderName, HeaderValue); 2];

const FOR_GOOD: HeaderValue = HeaderValue::from_static("public, max-age=31536000, immutable");

/// The API description to read and try.
///
/// An interactive page that works without internet.
#[utoipa::path(get, path = "/docs", tag = "operations", operation_id = "read_docs",
    params(("If-None-Match" = Option<String>, Header)),
    responses((status = 200, description = "The page", body = String, content_type = "text/html",
        headers(("Cache-Control"), ("ETag")))))]
pub async fn page(conditions: Conditions) -> Response {
    static TAG: LazyLock<String> = LazyLock::new(|| tag(PAGE.as_bytes()));
    static POLICY: LazyLock<String> = LazyLock::new(policy);
    let headers = [
        (header::CONTENT_TYPE, HeaderValue::from_static("text/html; charset=utf-8")),
        (header::CACHE_CONTROL, HeaderValue::from_static("public, max-age=60")),
    ];
    let mut response = respond(&conditions, &TAG, headers, PAGE);
    set(&mut response, header::CONTENT_SECURITY_POLICY, &POLICY);
    response
}

/// The script of `/docs`.
///
/// Its address changes with it.
#[utoipa::path(get, path = "/docs/swagger-ui-5.35.0.js", tag = "operations",
    operation_id = "get_docs_script",
    params(("If-None-Match" = Option<String>, Header)),
    responses((status = 200, description = "The script", body = String,
        content_type = "text/javascript", headers(("Cache-Control"), ("ETag")))))]
pub async fn script(conditions: Conditions, request: HeaderMap) -> Result<Response> {
    static TAG: LazyLock<String> = LazyLock::new(|| tag(SCRIPT));
    let media = HeaderValue::from_static("text/javascript; charset=utf-8");
    packed(&conditions, &request, &TAG, media, SCRIPT)
}

/// The style sheet of `/docs`.
///
/// Its address changes with it.
#[utoipa::path(get, path = "/docs/swagger-ui-5.35.0.css", tag = "operations",
    operation_id = "get_docs_style",
    params(("If-None-Match" = Option<String>, Header)),
    responses((status = 200, description = "The style sheet", body = String,
        content_type = "text/css", headers(("Cache-Control"), ("ETag")))))]
pub async fn style(conditions: Conditions, request: HeaderMap) -> Result<Response> {
    static TAG: LazyLock<String> = LazyLock::new(|| tag(STYLE));
    packed(&conditions, &request, &TAG, HeaderValue::from_static("text/css; charset=utf-8"), STYLE)
}

fn tag(content: &[u8]) -> String {
    crypto::to_base64url(&crypto::sha256(content)[..12])
}

/// Only our own scripts, and the inline one by its hash. Pictures are inside the style sheet.
fn policy() -> String {
    let inline = PAGE.rsplit_once("<script>").and_then(|(_, rest)| rest.split_once("</script>"));
    let hash = STANDARD.encode(crypto::sha256(inline.map_or("", |(text, _)| text).as_bytes()));
    format!(
        "default-src 'none'; script-src 'self' 'sha256-{hash}'; style-src 'self'; \
         img-src 'self' data:; connect-src 'self'; base-uri 'none'; form-action 'none'; \
         frame-ancestors 'none'"
    )
}

/// As it is stored for nearly everybody; unpacked for those who want no coding, or another.
fn packed(
    conditions: &Conditions,
    request: &HeaderMap,
    tag: &str,
    media: HeaderValue,
    content: &'static [u8],
) -> Result<Response> {
    let headers = [(header::CONTENT_TYPE, media), (header::CACHE_CONTROL, FOR_GOOD)];
    let mut response = if takes_gzip(request) {
        let mut response = respond(conditions, tag, headers, content);
        set(&mut response, header::CONTENT_ENCODING, "gzip");
        response
    } else {
        let mut plain = Vec::new();
        GzDecoder::new(content).read_to_end(&mut plain).map_err(Error::internal)?;
        respond(conditions, tag, headers, plain)
    };
    set(&mut response, header::VARY, "accept-encoding");
    Ok(response)
}

fn respond(
    conditions: &Conditions,
    tag: &str,
    headers: Headers,
    content: impl IntoResponse,
) -> Response {
    let mut response = match conditions.knows(tag) {
        true => StatusCode::NOT_MODIFIED.into_response(),
        false => content.into_response(),
    };
    for (name, value) in headers {
        response.headers_mut().insert(name, value);
    }
    set(&mut response, header::ETAG, &format!("\"{tag}\""));
    response
}

fn set(response: &mut Response, name: HeaderName, value: &str) {
    if let Ok(value) = HeaderValue::from_str(value) {
        response.headers_mut().insert(name, value);
    }
}

/// Named with a weight above zero (RFC 9110, 12.5.3).
fn takes_gzip(request: &HeaderMap) -> bool {
    let values = request.get_all(header::ACCEPT_ENCODING).iter();
    let mut codings = values.filter_map(|value| value.to_str().ok()).flat_map(|v| v.split(','));
    codings.any(|coding| {
        let (name, weight) = coding.split_once(';').unwrap_or((coding, ""));
        let weight = weight.trim().strip_prefix("q=").map(str::parse::<f32>);
        let refused = matches!(weight, Some(Ok(weight)) if weight <= 0.0);
        name.trim().eq_ignore_ascii_case("gzip") && !refused
    })
}
