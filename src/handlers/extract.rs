//! Who may call is a parameter of the handler: it cannot be forgotten, only left out on purpose.

use std::{convert::Infallible, sync::Arc};

use axum::extract::FromRequestParts;
use http::request::Parts;
use serde::de::DeserializeOwned;

use crate::{
    domain::{audit::Origin, auth::Identity, users::Role},
    error::{Code, Error},
    middleware::{authenticate::Authentication, request_context},
};

/// A signed-in user.
pub struct Actor(pub Identity);
/// A signed-in member of staff, or an administrator.
pub struct Staff(pub Identity);
/// A signed-in administrator.
pub struct Admin(pub Identity);
/// Anybody; a token that was sent holds.
pub struct MaybeActor(pub Option<Identity>);
/// What was sent, whether it holds or not: for the few that decide themselves.
pub struct Credentials(pub Authentication);

fn authentication(parts: &Parts) -> Authentication {
    parts.extensions.get().cloned().unwrap_or(Authentication::Anonymous)
}

fn require(parts: &Parts, role: Role) -> Result<Identity, Error> {
    let identity = authentication(parts).identity()?;
    let identity = identity.ok_or_else(|| {
        Error::new(Code::Unauthenticated, "this needs an access token in Authorization: Bearer")
    })?;
    if identity.role < role {
        return Err(Error::of(Code::Forbidden));
    }
    Ok(identity)
}

impl<S: Sync> FromRequestParts<S> for Actor {
    type Rejection = Error;
    async fn from_request_parts(parts: &mut Parts, _: &S) -> Result<Self, Error> {
        require(parts, Role::Customer).map(Self)
    }
}

impl<S: Sync> FromRequestParts<S> for Staff {
    type Rejection = Error;
    async fn from_request_parts(parts: &mut Parts, _: &S) -> Result<Self, Error> {
        require(parts, Role::Staff).map(Self)
    }
}

impl<S: Sync> FromRequestParts<S> for Admin {
    type Rejection = Error;
    async fn from_request_parts(parts: &mut Parts, _: &S) -> Result<Self, Error> {
        require(parts, Role::Admin).map(Self)
    }
}

impl<S: Sync> FromRequestParts<S> for MaybeActor {
    type Rejection = Error;
    async fn from_request_parts(parts: &mut Parts, _: &S) -> Result<Self, Error> {
        authentication(parts).identity().map(Self)
    }
}

impl<S: Sync> FromRequestParts<S> for Credentials {
    type Rejection = Infallible;
    async fn from_request_parts(parts: &mut Parts, _: &S) -> Result<Self, Infallible> {
        Ok(Self(authentication(parts)))
    }
}

/// Where the request comes from.
pub struct From(pub Arc<Origin>);

impl<S: Sync> FromRequestParts<S> for From {
    type Rejection = Infallible;
    async fn from_request_parts(parts: &mut Parts, _: &S) -> Result<Self, Infallible> {
        Ok(Self(request_context::origin(&parts.extensions)))
    }
}

/// The path's parameters. An id that is none names nothing: 404.
pub struct Path<T>(pub T);

impl<T: DeserializeOwned + Send, S: Send + Sync> FromRequestParts<S> for Path<T> {
    type Rejection = Error;
    async fn from_request_parts(parts: &mut Parts, state: &S) -> Result<Self, Error> {
        use axum::extract::{path::ErrorKind, rejection::PathRejection};
        match axum::extract::Path::from_request_parts(parts, state).await {
            Ok(axum::extract::Path(value)) => Ok(Self(value)),
            Err(PathRejection::FailedToDeserializePathParams(error)) => match error.kind() {
                ErrorKind::InvalidUtf8InPathParam { .. } => {
                    Err(Error::new(Code::MalformedRequest, "the path is not valid UTF-8"))
                }
                _ => Err(Error::not_found()),
            },
            Err(error) => Err(Error::internal(error)),
        }
    }
}

/// The path and query as the client wrote them.
pub struct Target(pub http::Uri);

impl<S: Send + Sync> FromRequestParts<S> for Target {
    type Rejection = Infallible;
    async fn from_request_parts(parts: &mut Parts, _: &S) -> Result<Self, Infallible> {
        Ok(Self(parts.uri.clone()))
    }
}
