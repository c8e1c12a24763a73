//! Request bodies: JSON, strictly read, of the right shape, and holding its own rules.

use axum::{
    body::{Body, Bytes},
    extract::{FromRequest, Request},
};
use http::{HeaderMap, header};
use http_body_util::BodyExt;
use serde::de::DeserializeOwned;
use validator::{Validate, ValidationErrors, ValidationErrorsKind};

use crate::{
    domain::strict_json::{self, Refusal},
    error::{Code, Error, FieldError, Result},
    middleware::body_limit,
};

/// A name from the client is repeated up to here.
const MAX_NAME: usize = 64;

/// A body that was read and holds. Unknown members are refused by the types themselves.
pub struct Valid<T>(pub T);

/// As [`Valid`], or no body at all.
pub struct Optional<T>(pub Option<T>);

/// What is made of a whole body.
pub trait FromBody: Sized {
    fn from_body(headers: &HeaderMap, text: &[u8]) -> Result<Self>;
}

impl<T: DeserializeOwned + Validate> FromBody for Valid<T> {
    fn from_body(headers: &HeaderMap, text: &[u8]) -> Result<Self> {
        require_json(headers)?;
        parse(text).map(Self)
    }
}

impl<T: DeserializeOwned + Validate> FromBody for Optional<T> {
    fn from_body(headers: &HeaderMap, text: &[u8]) -> Result<Self> {
        if text.is_empty() {
            return Ok(Self(None));
        }
        require_json(headers)?;
        parse(text).map(|value| Self(Some(value)))
    }
}

impl<T: DeserializeOwned + Validate, S: Sync> FromRequest<S> for Valid<T> {
    type Rejection = Error;

    async fn from_request(request: Request, _: &S) -> Result<Self> {
        let (parts, body) = request.into_parts();
        require_json(&parts.headers)?;
        Self::from_body(&parts.headers, &read(body).await?)
    }
}

impl<T: DeserializeOwned + Validate, S: Sync> FromRequest<S> for Optional<T> {
    type Rejection = Error;

    async fn from_request(request: Request, _: &S) -> Result<Self> {
        let (parts, body) = request.into_parts();
        Self::from_body(&parts.headers, &read(body).await?)
    }
}

/// `application/json`, and none of its kin: they mean something else, as a merge patch does by null
/// (RFC 7396).
fn require_json(headers: &HeaderMap) -> Result<()> {
    let media = headers.get(header::CONTENT_TYPE).and_then(|value| value.to_str().ok());
    let media = media.map(|media| media.split(';').next().unwrap_or_default().trim());
    match media.is_some_and(|media| media.eq_ignore_ascii_case("application/json")) {
        true => Ok(()),
        false => Err(Error::of(Code::UnsupportedMediaType)),
    }
}

pub async fn read(body: Body) -> Result<Bytes> {
    let collected = body.collect().await.map_err(|error| body_limit::refusal(&error))?;
    Ok(collected.to_bytes())
}

fn parse<T: DeserializeOwned + Validate>(text: &[u8]) -> Result<T> {
    strict_json::check(text).map_err(|refusal| match refusal {
        Refusal::Malformed(why) => Error::new(Code::MalformedRequest, why),
        Refusal::Nul(path) => Error::invalid_field(path, "nul", "must not contain NUL"),
    })?;
    // serde would take an array for a struct, field by field.
    if text.trim_ascii_start().first() != Some(&b'{') {
        return Err(Error::invalid_field("", "type", "must be an object"));
    }
    let value: T =
        serde_path_to_error::deserialize(&mut serde_json::Deserializer::from_slice(text))
            .map_err(|error| type_fault(&error))?;
    value.validate().map_err(|errors| broken_rules(&errors))?;
    Ok(value)
}

/// The first field whose type is wrong; serde stops there.
pub fn type_fault<E: std::fmt::Display>(error: &serde_path_to_error::Error<E>) -> Error {
    let message = error.inner().to_string();
    let path = match error.path().to_string() {
        path if path == "." => String::new(),
        path => path.chars().take(MAX_NAME).collect(),
    };
    let named = |rest: &str| -> String {
        rest.split('`').next().unwrap_or_default().chars().take(MAX_NAME).collect()
    };
    let within = |name: String| match path.as_str() {
        "" => name,
        path => format!("{path}.{name}"),
    };
    if let Some(rest) = message.strip_prefix("unknown field `") {
        let name = named(rest);
        // The path may tell it already.
        let told = path == name || path.ends_with(&format!(".{name}"));
        let field = if told { path } else { within(name) };
        return Error::invalid_field(field, "unknown_field", "is not known here");
    }
    if let Some(rest) = message.strip_prefix("missing field `") {
        return Error::invalid_field(within(named(rest)), "required", "is missing");
    }
    Error::invalid_field(path, "type", expectation(&message))
}

/// "expected X" without the value that was found instead.
fn expectation(message: &str) -> String {
    let message = message.split(" at line ").next().unwrap_or(message);
    match message.rsplit_once("expected ") {
        Some((_, expected)) => format!("must be {}", plain(expected)),
        None => "has the wrong type or form".to_owned(),
    }
}

/// What is expected, in words that clients know.
fn plain(expected: &str) -> &str {
    match expected {
        "i64" | "u64" | "i32" | "u32" | "i16" | "u16" | "u8" => "a whole number",
        "a sequence" => "an array",
        "a map" => "an object",
        name if name.starts_with("struct ") => "an object",
        other => other,
    }
}

/// Every broken rule, without the rejected values that `validator` keeps beside them.
pub fn broken_rules(errors: &ValidationErrors) -> Error {
    let mut faults = Vec::new();
    collect(errors, "", &mut faults);
    faults.sort_by(|a, b| a.field.cmp(&b.field));
    Error::invalid(faults)
}

fn collect(errors: &ValidationErrors, prefix: &str, faults: &mut Vec<FieldError>) {
    for (field, kind) in errors.errors() {
        let path = if prefix.is_empty() { field.to_string() } else { format!("{prefix}.{field}") };
        match kind {
            ValidationErrorsKind::Field(broken) => {
                faults.extend(broken.iter().map(|rule| {
                    let message = rule.message.clone().unwrap_or_else(|| "does not hold".into());
                    FieldError::new(path.clone(), rule.code.clone(), message)
                }));
            }
            ValidationErrorsKind::Struct(inner) => collect(inner, &path, faults),
            ValidationErrorsKind::List(items) => {
                for (index, inner) in items {
                    collect(inner, &format!("{path}[{index}]"), faults);
                }
            }
        }
    }
}
