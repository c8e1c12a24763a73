//! Requests that may come twice: the key they carry, and answers that can be given again.

use axum::{
    extract::{FromRequest, MatchedPath, RawPathParams, Request},
    response::{IntoResponse, Response},
};
use http::{HeaderMap, HeaderName, HeaderValue, StatusCode, header, request::Parts};
use serde::Serialize;

use super::json::{self, FromBody};
use crate::{
    domain::{
        auth::Identity,
        idempotency::{Claim, Fingerprint, Key, Outcome, Stored},
    },
    error::{Code, Error, Result},
    middleware::{
        error_mapper::{self, ErrorCode},
        request_context,
    },
    services::idempotency::Answer,
};

pub const IDEMPOTENCY_KEY: HeaderName = HeaderName::from_static("idempotency-key");
pub const REPLAYED: HeaderName = HeaderName::from_static("idempotent-replayed");

/// A POST's body, and what recognises the request when it comes again. The key is optional.
pub struct Once<B>(pub B, pub Repeatable);

/// As [`Once`], where it would cost somebody money to have it done twice: the key is required.
pub struct KeyedOnce<B>(pub B, pub Repeatable);

/// A POST that takes no body.
pub struct NoBody;

impl FromBody for NoBody {
    fn from_body(_: &HeaderMap, _: &[u8]) -> Result<Self> {
        Ok(Self)
    }
}

impl<B: FromBody, S: Send + Sync> FromRequest<S> for Once<B> {
    type Rejection = Error;

    async fn from_request(request: Request, state: &S) -> Result<Self> {
        let key = key(request.headers())?;
        let (body, repeatable) = extract(request, state, key).await?;
        Ok(Self(body, repeatable))
    }
}

impl<B: FromBody, S: Send + Sync> FromRequest<S> for KeyedOnce<B> {
    type Rejection = Error;

    async fn from_request(request: Request, state: &S) -> Result<Self> {
        let key = key(request.headers())?;
        let key = key.ok_or_else(|| Error::of(Code::IdempotencyKeyRequired))?;
        let (body, repeatable) = extract(request, state, Some(key)).await?;
        Ok(Self(body, repeatable))
    }
}

/// The key that a request came with.
pub fn key(headers: &HeaderMap) -> Result<Option<Key>> {
    let mut values = headers.get_all(IDEMPOTENCY_KEY).iter();
    let Some(value) = values.next() else { return Ok(None) };
    if values.next().is_some() {
        return Err(Error::new(Code::MalformedRequest, "Idempotency-Key appears twice"));
    }
    // What is no text is no key either.
    Key::parse(value.to_str().unwrap_or_default()).map(Some)
}

async fn extract<B: FromBody, S: Send + Sync>(
    request: Request,
    state: &S,
    key: Option<Key>,
) -> Result<(B, Repeatable)> {
    let (mut parts, body) = request.into_parts();
    let text = json::read(body).await?;
    let claim = match key {
        Some(key) => Some((key, fingerprint(&mut parts, state, &text).await?)),
        None => None,
    };
    let body = B::from_body(&parts.headers, &text)?;
    let request_id = request_context::origin(&parts.extensions).request_id.clone();
    Ok((body, Repeatable { claim, request_id }))
}

async fn fingerprint<S: Send + Sync>(
    parts: &mut Parts,
    state: &S,
    text: &[u8],
) -> Result<Fingerprint> {
    use axum::extract::FromRequestParts;
    let parameters = RawPathParams::from_request_parts(parts, state).await;
    let parameters = parameters.map_err(Error::internal)?;
    let parameters: Vec<_> = parameters.iter().collect();
    let template = parts.extensions.get::<MatchedPath>().map_or("", MatchedPath::as_str);
    let body = serde_json::from_slice(text).ok();
    Ok(Fingerprint::of(parts.method.as_str(), template, &parameters, body.as_ref()))
}

/// What recognises a request, and how its refusals are rendered.
pub struct Repeatable {
    claim: Option<(Key, Fingerprint)>,
    request_id: String,
}

impl Repeatable {
    /// What a service needs to do the work once. `render` tells how a result looks.
    pub fn outcome<T>(
        self,
        actor: &Identity,
        render: impl Fn(T) -> Result<Stored> + Send + Sync + 'static,
    ) -> Outcome<T> {
        let Self { claim, request_id } = self;
        let user = actor.user_id;
        Outcome {
            claim: claim.map(|(key, fingerprint)| Claim { user, key, fingerprint }),
            render: Box::new(move |result| match result {
                Ok(value) => render(value),
                Err(refusal) => refused(refusal, &request_id),
            }),
        }
    }
}

/// An answer with a body, to be stored.
pub fn json(status: StatusCode, body: &impl Serialize) -> Result<Stored> {
    stored(status, "application/json", body)
}

/// An answer without one.
pub fn empty(status: StatusCode) -> Stored {
    Stored { status: status.as_u16(), headers: Vec::new(), body: Vec::new() }
}

/// It keeps the id of the request that was refused; the header of a repetition has its own.
fn refused(error: &Error, request_id: &str) -> Result<Stored> {
    let problem = error_mapper::problem(error, request_id);
    stored(error_mapper::status(error.kind()), error_mapper::PROBLEM_JSON, &problem)
}

fn stored(status: StatusCode, media: &str, body: &impl Serialize) -> Result<Stored> {
    let body = serde_json::to_vec(body).map_err(Error::internal)?;
    let stored = Stored { body, ..empty(status) };
    Ok(stored.with(header::CONTENT_TYPE.as_str(), media))
}

impl IntoResponse for Answer {
    fn into_response(self) -> Response {
        let replayed = self.replayed;
        response(self.outcome).map_or_else(Error::into_response, |mut response| {
            if replayed {
                response.headers_mut().insert(REPLAYED, HeaderValue::from_static("true"));
            }
            response
        })
    }
}

fn response(outcome: Stored) -> Result<Response> {
    let status = StatusCode::from_u16(outcome.status).map_err(Error::internal)?;
    let code = if status.is_client_error() { code(&outcome.body) } else { None };
    let mut response = (status, outcome.body).into_response();
    response.headers_mut().remove(header::CONTENT_TYPE);
    for (name, value) in &outcome.headers {
        let name: HeaderName = name.parse().map_err(Error::internal)?;
        response.headers_mut().insert(name, value.parse().map_err(Error::internal)?);
    }
    if let Some(code) = code {
        response.extensions_mut().insert(ErrorCode(code.as_str()));
    }
    Ok(response)
}

/// The code of a stored refusal, for the access log.
fn code(body: &[u8]) -> Option<Code> {
    let problem: serde_json::Value = serde_json::from_slice(body).ok()?;
    let word = problem["code"].as_str()?;
    Code::ALL.iter().find(|code| code.as_str() == word).copied()
}
