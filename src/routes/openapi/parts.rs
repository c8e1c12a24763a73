//! What operations share, written once and referred to.

use std::collections::BTreeSet;

use serde_json::json;
use utoipa::{
    PartialSchema, ToSchema,
    openapi::{
        Components, ContentBuilder, Header, ObjectBuilder, Ref, RefOr, Required, Response,
        ResponseBuilder, Schema,
        header::HeaderBuilder,
        path::{Parameter, ParameterBuilder, ParameterIn},
        schema::Type,
        security::{ApiKey, ApiKeyValue, HttpAuthScheme, HttpBuilder, SecurityScheme},
    },
};

use crate::{
    handlers::operations::codes,
    middleware::error_mapper::{Problem, ProblemField},
};

pub const BEARER: &str = "bearer";
const REFRESH_COOKIE: &str = "refresh_cookie";
pub const NOT_MODIFIED: &str = "NotModified";
pub const KEY: &str = "Idempotency-Key";
const PROBLEM_JSON: &str = "application/problem+json";

/// A refusal that follows from what a route is, rather than from what its handler does.
pub struct Refusal {
    pub status: &'static str,
    pub name: &'static str,
    meaning: &'static str,
}

const fn refusal(status: &'static str, name: &'static str, meaning: &'static str) -> Refusal {
    Refusal { status, name, meaning }
}

pub const REFUSALS: [Refusal; 16] = [
    refusal(
        "400",
        "Malformed",
        "`MALFORMED_REQUEST`: not JSON, a key or parameter twice, nested too deep, undecodable, or \
         a cursor of another list",
    ),
    refusal(
        "401",
        "Unauthenticated",
        "`UNAUTHENTICATED`: no access token, or one that does not hold; `TOKEN_EXPIRED`; \
         `TOKEN_STALE`: rights have changed, refresh",
    ),
    refusal(
        "403",
        "Forbidden",
        "`FORBIDDEN`: not for this role; `CSRF_REJECTED`: a cookie from a foreign site",
    ),
    refusal("404", "NotFound", "`NOT_FOUND`: unknown, or not the caller's"),
    refusal("406", "NotAcceptable", "`NOT_ACCEPTABLE`: `Accept` leaves out JSON"),
    refusal("408", "TooSlow", "`BODY_TOO_SLOW`: less than 1 KiB/s after the first seconds"),
    refusal("412", "PreconditionFailed", "`PRECONDITION_FAILED`: `If-Match` names another version"),
    refusal("413", "PayloadTooLarge", "`PAYLOAD_TOO_LARGE`: more than 1 MiB, decompressed"),
    refusal("414", "UriTooLong", "`URI_TOO_LONG`: path and query have more than 8 KiB"),
    refusal(
        "415",
        "UnsupportedMediaType",
        "`UNSUPPORTED_MEDIA_TYPE`: not JSON by its `Content-Type`, or in a coding other than gzip",
    ),
    refusal(
        "422",
        "Invalid",
        "`VALIDATION_FAILED`: a member or parameter that is unknown, missing, of the wrong type or \
         out of range; `errors` names it",
    ),
    refusal("429", "RateLimited", "`RATE_LIMITED`: `violated-policies` names the limits"),
    refusal("431", "HeadersTooLarge", "`HEADERS_TOO_LARGE`: more than 16 KiB or 100 fields"),
    refusal("500", "Internal", "`INTERNAL`: a fault of ours, found by its `request_id`"),
    refusal(
        "503",
        "Unavailable",
        "`OVERLOADED`, `SHUTTING_DOWN` or `DEPENDENCY_UNAVAILABLE`: worth another try",
    ),
    refusal(
        "504",
        "TimedOut",
        "`REQUEST_TIMED_OUT`: the deadline has passed; an unsafe request still runs to its end",
    ),
];

/// Refusals of routes that take a key, in place of those above.
pub const REFUSALS_OF_KEYS: [Refusal; 3] = [
    refusal(
        "400",
        "MalformedOrKey",
        "`MALFORMED_REQUEST`: not JSON, a member twice, nested too deep, undecodable, or \
         `Idempotency-Key` is no key; `IDEMPOTENCY_KEY_REQUIRED`: it is missing where it must be",
    ),
    refusal(
        "409",
        "InProgress",
        "`IDEMPOTENCY_IN_PROGRESS`: the first request with the key has been running for 2 s; worth \
         another try",
    ),
    refusal(
        "422",
        "InvalidOrKeyReused",
        "`VALIDATION_FAILED`: a member or parameter that is unknown, missing, of the wrong type or \
         out of range; `errors` names it; `IDEMPOTENCY_KEY_REUSED`: the key was used for another \
         request",
    ),
];

/// What a route that refuses with 409 by itself says of it beside.
pub const OR_IN_PROGRESS: &str =
    "; `IDEMPOTENCY_IN_PROGRESS`: the first request with the key is still running";

const REQUEST_ID: &str = "0193f0a2-6f3a-7c51-9d0e-2b7a4c5d6e7f";

const HEADERS: [(&str, &str, &str); 13] = [
    ("Cache-Control", "How long the answer may be kept.", "public, max-age=60"),
    ("Clear-Site-Data", "Makes a browser forget what it has kept.", "\"cache\", \"storage\""),
    (
        "ETag",
        "The version, or a digest of what has none, with a suffix for a content coding; for \
         `If-Match`.",
        "\"7\"",
    ),
    ("Link", "The next page (RFC 8288); absent on the last.", "</path?cursor=abc>; rel=\"next\""),
    ("Location", "Where the new resource is.", "/api/v1/users/me"),
    (
        "RateLimit",
        "Where the client stands with each policy (draft-ietf-httpapi-ratelimit-headers-10).",
        "\"default\";r=5999;t=60",
    ),
    ("RateLimit-Policy", "The policies that apply.", "\"default\";q=6000;w=60"),
    ("Retry-After", "Seconds after which another try is worth it.", "1"),
    (
        "Set-Cookie",
        "The refresh token, `HttpOnly` and `SameSite=Strict`; the token of the device likewise.",
        "__Host-refresh=secret; HttpOnly; SameSite=Strict; Secure; Path=/",
    ),
    ("WWW-Authenticate", "The scheme to use (RFC 6750).", "Bearer realm=\"mainstay\""),
    ("Accept-Encoding", "The codings that request bodies may have.", "gzip"),
    ("X-Cache", "Where the answer came from: `hit`, `miss`, `stale` or `bypass`.", "hit"),
    ("X-Request-Id", "The request's id, as in every log line and problem.", REQUEST_ID),
];

const PARAMETERS: [(&str, &str, &str); 3] = [
    (
        "If-Match",
        "Entity tags, strong: the request fails with 412 unless the resource has one of them. \
         `*` is any.",
        "\"7\"",
    ),
    (
        "If-None-Match",
        "Entity tags: the answer is 304 without a body when the resource has one of them.",
        "\"7\"",
    ),
    (
        "X-Request-Id",
        "Kept when it has 1 to 128 characters of `A-Z a-z 0-9 . _ -`, otherwise replaced.",
        REQUEST_ID,
    ),
];

const KEY_PARAMETER: (&str, &str, &str) = (
    KEY,
    "Makes the request safe to repeat: for 24 hours the same key gets the first outcome again. \
     1 to 255 visible ASCII characters, bare or in quotes.",
    "8e03978e-40d5-43dd-bc93-6894a57f9324",
);

const REPLAYED: (&str, &str, &str) = (
    "Idempotent-Replayed",
    "There when this is the outcome of an earlier request with the same key.",
    "true",
);

/// Components have names without hyphens, for generators of clients.
fn component(name: &str) -> String {
    name.replace('-', "")
}

pub fn parameter_ref(name: &str) -> Ref {
    Ref::new(format!("#/components/parameters/{}", component(name)))
}

pub fn header_ref(name: String) -> (String, RefOr<Header>) {
    let to = Ref::new(format!("#/components/headers/{}", component(&name)));
    (name, RefOr::Ref(to))
}

/// As the shared one, but required.
pub fn required_parameter(name: &str) -> Parameter {
    let all = PARAMETERS.iter().chain([&KEY_PARAMETER]);
    let mut parameter = all.into_iter().find(|it| it.0 == name).map(parameter).unwrap_or_default();
    parameter.required = Required::True;
    parameter
}

/// `used` tells which of the components for routes that take a key are referred to.
pub fn add(components: &mut Components, used: &BTreeSet<&'static str>) {
    components.schemas.insert(Problem::name().into(), problem());
    components.schemas.insert(ProblemField::name().into(), ProblemField::schema());
    let headers = HEADERS.iter().map(|it| (component(it.0), header(it).into()));
    components.headers.extend(headers);
    let parameters = PARAMETERS.iter().map(|it| (component(it.0), parameter(it).into()));
    components.parameters.extend(parameters);
    let refusals = REFUSALS.iter().map(|it| (it.name.to_owned(), shared_refusal(it).into()));
    components.responses.extend(refusals);
    if used.contains(KEY) {
        add_keys(components, used);
    }
    components.responses.insert(NOT_MODIFIED.to_owned(), not_modified().into());
    let schemes = [(BEARER, bearer()), (REFRESH_COOKIE, refresh_cookie())];
    let schemes = schemes.map(|(name, scheme)| (name.to_owned(), RefOr::T(scheme)));
    components.security_schemes.extend(schemes);
}

fn add_keys(components: &mut Components, used: &BTreeSet<&'static str>) {
    components.headers.insert(component(REPLAYED.0), header(&REPLAYED).into());
    let parameter = parameter(&KEY_PARAMETER).into();
    components.parameters.insert(component(KEY), parameter);
    let refusals = REFUSALS_OF_KEYS.iter().filter(|refusal| used.contains(refusal.name));
    let refusals = refusals.map(|it| (it.name.to_owned(), shared_refusal(it).into()));
    components.responses.extend(refusals);
}

fn text() -> ObjectBuilder {
    ObjectBuilder::new().schema_type(Type::String)
}

fn header((name, description, example): &(&str, &str, &str)) -> Header {
    let schema = match *name {
        "Retry-After" => ObjectBuilder::new().schema_type(Type::Integer).minimum(Some(0)),
        _ => text(),
    };
    let example = if *name == "Retry-After" { json!(1) } else { json!(example) };
    HeaderBuilder::new()
        .description(Some(*description))
        .schema(Some(schema.examples([example])))
        .build()
}

/// Of keys, bare or in quotes.
const KEY_PATTERN: &str = r#"^([!#-~][!-~]{0,254}|"([!#-\[\]-~]|\\["\\]){1,255}")$"#;

fn parameter((name, description, example): &(&str, &str, &str)) -> Parameter {
    let pattern = (*name == KEY).then_some(KEY_PATTERN);
    ParameterBuilder::new()
        .name(*name)
        .parameter_in(ParameterIn::Header)
        .required(Required::False)
        .description(Some(*description))
        .schema(Some(text().pattern(pattern)))
        .example(Some(json!(example)))
        .build()
}

fn shared_refusal(refusal: &Refusal) -> Response {
    let mut response = Response::new(refusal.meaning);
    make_problem(refusal.status, &mut response);
    let before_limits = ["414", "431", "500", "504"].contains(&refusal.status);
    let limits = ["RateLimit-Policy", "RateLimit"].into_iter().filter(|_| !before_limits);
    let names = limits.chain(["X-Request-Id"]).map(str::to_owned);
    response.headers.extend(names.map(header_ref));
    response
}

/// Its body, and the headers that the mapper of errors gives to this status.
pub fn make_problem(status: &str, response: &mut Response) {
    let schema = Ref::from_schema_name(Problem::name());
    let content = ContentBuilder::new().schema(Some(schema)).build();
    response.content.insert(PROBLEM_JSON.to_owned(), RefOr::T(content));
    let header = match status {
        "401" => "WWW-Authenticate",
        "415" => "Accept-Encoding",
        "429" | "503" => "Retry-After",
        _ => return,
    };
    response.headers.extend([header_ref(header.to_owned())]);
}

fn not_modified() -> Response {
    let names = ["ETag", "RateLimit-Policy", "RateLimit", "X-Request-Id"].map(str::to_owned);
    let mut response = ResponseBuilder::new()
        .description("The client has this version already; there is no body")
        .build();
    response.headers.extend(names.map(header_ref));
    response
}

/// As derived, with all codes.
fn problem() -> RefOr<Schema> {
    let mut schema = Problem::schema();
    if let RefOr::T(Schema::Object(object)) = &mut schema
        && let Some(RefOr::T(Schema::Object(code))) = object.properties.get_mut("code")
    {
        code.description = Some(format!("A stable word for programs:\n\n{}", codes()));
        object.examples.push(json!({
            "type": "urn:mainstay:problem:not-found",
            "title": "There is no such resource",
            "status": 404,
            "detail": "There is no such resource",
            "code": "NOT_FOUND",
            "request_id": REQUEST_ID,
        }));
    }
    schema
}

fn bearer() -> SecurityScheme {
    let about = "The `access_token` of a login or refresh.";
    let scheme = HttpBuilder::new().scheme(HttpAuthScheme::Bearer).bearer_format("JWT");
    SecurityScheme::Http(scheme.description(Some(about)).build())
}

fn refresh_cookie() -> SecurityScheme {
    let about = "Set by login and refresh. `refresh` where `auth.cookie_secure` is off.";
    SecurityScheme::ApiKey(ApiKey::Cookie(ApiKeyValue::with_description("__Host-refresh", about)))
}
