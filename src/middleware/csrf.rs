//! Requests that a cookie speaks for must come from our own pages or from listed ones. Browsers
//! say where a request comes from (Fetch Metadata, Origin); what says nothing is no browser.

use std::{future::ready, sync::Arc};

use axum::{
    extract::Request,
    response::{IntoResponse, Response},
};
use futures_util::future::Either;
use http::{HeaderName, header};
use url::Url;

use super::{
    authenticate::Authentication,
    cookies::Cookies,
    step::{Inner, Step},
};
use crate::{
    config::Config,
    error::{Code, Error},
};

const SEC_FETCH_SITE: HeaderName = HeaderName::from_static("sec-fetch-site");

pub struct Csrf(Arc<Rule>);

struct Rule {
    cookies: Cookies,
    own: Option<String>,
    listed: Vec<String>,
}

impl Csrf {
    pub fn new(config: &Config) -> Self {
        let listed = config.cors.allowed_origins.iter().map(|origin| origin.as_str().to_owned());
        let own = config.server.public_url.as_ref().map(|url| url.origin().ascii_serialization());
        let cookies = Cookies::new(config.auth.cookie_secure);
        Self(Arc::new(Rule { cookies, own, listed: listed.collect() }))
    }
}

impl Rule {
    fn refuses(&self, request: &Request) -> bool {
        // A token that holds speaks for itself; an Authorization that is not looked at does not.
        let by_token = matches!(request.extensions().get(), Some(Authentication::Known(_)));
        let by_cookie = self.cookies.refresh_token(request.headers()).is_some() && !by_token;
        by_cookie && !request.method().is_safe() && self.is_foreign(request)
    }

    fn is_foreign(&self, request: &Request) -> bool {
        let headers = request.headers();
        let cross_site = headers.get(SEC_FETCH_SITE).is_some_and(|site| site == "cross-site");
        let foreign_origin = headers.get(header::ORIGIN).is_some_and(|origin| {
            !origin.to_str().is_ok_and(|origin| self.is_own(origin, request) || self.lists(origin))
        });
        cross_site || foreign_origin
    }

    /// Ours is the configured one, or else what the browser itself says it talks to.
    fn is_own(&self, origin: &str, request: &Request) -> bool {
        if let Some(own) = &self.own {
            return own == origin;
        }
        let host = request.headers().get(header::HOST).and_then(|host| host.to_str().ok());
        // HTTP/2 has it in the request's target.
        let host = host.or_else(|| request.uri().authority().map(|authority| authority.as_str()));
        let same = |url: &Url, host: &str| {
            let scheme = url.scheme();
            Url::parse(&format!("{scheme}://{host}"))
                .is_ok_and(|ours| ours.origin() == url.origin())
        };
        Url::parse(origin).is_ok_and(|url| host.is_some_and(|host| same(&url, host)))
    }

    fn lists(&self, origin: &str) -> bool {
        self.listed.iter().any(|listed| listed == origin)
    }
}

impl Step for Csrf {
    fn call(
        self: Arc<Self>,
        request: Request,
        inner: impl Inner,
    ) -> impl Future<Output = Response> + Send {
        match self.0.refuses(&request) {
            false => Either::Left(inner.run(request)),
            true => Either::Right(ready(Error::of(Code::CsrfRejected).into_response())),
        }
    }
}
