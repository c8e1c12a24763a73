//! Who speaks: reads the access token and verifies it, without I/O. Whether that is enough is
//! for the handler's parameters to say, so nothing is refused here.

use std::{sync::Arc, time::Duration};

use axum::{extract::Request, response::Response};
use http::{HeaderMap, Method, header};

use super::{
    error_mapper::refusal,
    request_context,
    route_info::{self, Access},
    step::{Inner, Step},
};
use crate::{
    domain::{audit::Origin, auth::Identity},
    error::{Code, Error},
    services::Services,
};

/// What a request brought along.
#[derive(Debug, Clone)]
pub enum Authentication {
    Anonymous,
    Known(Identity),
    /// A token that does not hold, and why.
    Refused(Code, Option<Duration>),
}

impl Authentication {
    /// Who speaks, if it can be told.
    pub fn identity(self) -> Result<Option<Identity>, Error> {
        match self {
            Authentication::Anonymous => Ok(None),
            Authentication::Known(identity) => Ok(Some(identity)),
            Authentication::Refused(Code::Unauthenticated, _) => Err(Error::bad_token()),
            Authentication::Refused(code, None) => Err(Error::of(code)),
            Authentication::Refused(code, Some(after)) => Err(Error::of(code).retry_after(after)),
        }
    }
}

/// In an answer's extensions: whom it was for.
#[derive(Debug, Clone)]
pub struct Caller(pub Identity);

pub struct Authenticate(pub Services);

impl Step for Authenticate {
    fn call(
        self: Arc<Self>,
        mut request: Request,
        inner: impl Inner,
    ) -> impl Future<Output = Response> + Send {
        let authentication = match route_info::of(&request).access {
            Access::Operations | Access::Open => Authentication::Anonymous,
            _ => self.authenticate(request.headers()),
        };
        let known = match &authentication {
            Authentication::Known(identity) => Some(identity.clone()),
            _ => None,
        };
        request.extensions_mut().insert(authentication);
        let caller = known.map(|identity| (identity, Attempt::of(&request)));
        let answer = inner.run(request);
        async move {
            let mut response = answer.await;
            let Some((identity, attempt)) = caller else { return response };
            if refusal(&response) == Some(Code::Forbidden) {
                let (method, audit) = (attempt.method.as_str(), &self.0.audit);
                Box::pin(audit.denied(&identity, method, attempt.route, &attempt.origin)).await;
            }
            response.extensions_mut().insert(Caller(identity));
            response
        }
    }
}

/// What a caller tried, for the trail if it may not.
struct Attempt {
    method: Method,
    route: &'static str,
    origin: Arc<Origin>,
}

impl Attempt {
    fn of(request: &Request) -> Self {
        Self {
            method: request.method().clone(),
            route: route_info::of(request).template,
            origin: request_context::origin(request.extensions()),
        }
    }
}

impl Authenticate {
    fn authenticate(&self, headers: &HeaderMap) -> Authentication {
        match bearer(headers) {
            Bearer::Absent => Authentication::Anonymous,
            Bearer::Malformed => Authentication::Refused(Code::Unauthenticated, None),
            Bearer::Token(token) => match self.0.auth.authenticate(token) {
                Ok(identity) => Authentication::Known(identity),
                Err(error) => refused(&error),
            },
        }
    }
}

fn refused(error: &Error) -> Authentication {
    Authentication::Refused(error.code(), error.retry_after_secs().map(Duration::from_secs))
}

enum Bearer<'a> {
    Absent,
    Malformed,
    Token(&'a str),
}

fn bearer(headers: &HeaderMap) -> Bearer<'_> {
    let mut values = headers.get_all(header::AUTHORIZATION).iter();
    let (value, more) = (values.next(), values.next());
    let Some(value) = value else { return Bearer::Absent };
    let parsed = value.to_str().ok().and_then(|value| value.split_once(' '));
    match (parsed, more) {
        (Some((scheme, token)), None) if scheme.eq_ignore_ascii_case("bearer") => {
            Bearer::Token(token.trim())
        }
        _ => Bearer::Malformed,
    }
}
