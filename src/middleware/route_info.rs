//! What the table of routes says about the route a request met.

use std::collections::HashMap;

use axum::extract::{MatchedPath, Request};
use http::Method;

use crate::shared::capacity::Priority;

/// Who may call a route. The handler's parameters enforce it; this names it for the layers that
/// run before, for the API description and for the test that holds the two together.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Access {
    /// Operators and load balancers: outside of limits, deadlines and load shedding.
    Operations,
    /// Anybody; a token is not looked at.
    Open,
    /// Anybody; a token, if sent, must be valid.
    Public,
    /// Any signed-in user.
    User,
    Staff,
    Admin,
}

/// Which rate limits apply beside the default one.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum LimitClass {
    /// None at all.
    Unlimited,
    Default,
    /// Guessing of secrets: by address.
    Credentials,
    /// By session.
    Refresh,
}

/// What a route's body is, and so how large it may be and for how long it may come.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum BodyKind {
    /// Read whole, within the request's deadline.
    Message,
    /// Streamed, as long as it keeps coming; whoever takes it decompresses it.
    ImportFile,
}

/// What routes answer in, if they do not say otherwise.
pub const JSON: &[&str] = &["application/json", "application/problem+json"];

#[derive(Debug, Clone, Copy)]
pub struct RouteInfo {
    /// The path as the table writes it, or [`UNMATCHED`].
    pub template: &'static str,
    pub access: Access,
    pub limits: LimitClass,
    pub priority: Priority,
    /// Whether the route has query parameters.
    pub takes_query: bool,
    pub body: BodyKind,
    /// The media types of its answers.
    pub media: &'static [&'static str],
}

/// Paths that no route has: one label, whatever is asked for.
pub const UNMATCHED: &str = "unmatched";

const UNKNOWN: RouteInfo = RouteInfo {
    template: UNMATCHED,
    access: Access::Open,
    limits: LimitClass::Default,
    priority: Priority::Normal,
    takes_query: true,
    body: BodyKind::Message,
    media: JSON,
};

/// Finds a request's row.
#[derive(Default)]
pub struct RouteIndex(HashMap<&'static str, Vec<(Method, RouteInfo)>>);

impl RouteIndex {
    pub fn insert(&mut self, method: Method, info: RouteInfo) {
        self.0.entry(info.template).or_default().push((method, info));
    }

    pub fn find(&self, request: &Request) -> RouteInfo {
        let matched = request.extensions().get::<MatchedPath>();
        let Some((template, rows)) = matched.and_then(|path| self.0.get_key_value(path.as_str()))
        else {
            return UNKNOWN;
        };
        let method = if request.method() == Method::HEAD { &Method::GET } else { request.method() };
        rows.iter()
            .find(|(of, _)| of == method)
            .map_or(RouteInfo { template, ..UNKNOWN }, |(_, info)| *info)
    }
}

/// The row of a request that has passed `request_context`.
pub fn of(request: &Request) -> RouteInfo {
    request.extensions().get().copied().unwrap_or(UNKNOWN)
}
