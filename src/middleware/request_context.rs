//! Request id, client and route: what everything further in refers to.

use std::sync::Arc;

use axum::{extract::Request, response::Response};
use http::{HeaderMap, HeaderName, HeaderValue, header};

use super::{
    client::{ClientAddress, Peer},
    route_info::RouteIndex,
    step::{Inner, Step},
};
use crate::{config::Server, domain::audit::Origin, shared::clock::Clock};

pub const X_REQUEST_ID: HeaderName = HeaderName::from_static("x-request-id");
const MAX_ID: usize = 128;
const MAX_USER_AGENT: usize = 256;

pub struct RequestContext {
    client: Arc<ClientAddress>,
    routes: Arc<RouteIndex>,
    clock: Clock,
}

impl RequestContext {
    pub fn new(server: &Server, routes: Arc<RouteIndex>) -> Self {
        Self { client: Arc::new(ClientAddress::new(server)), routes, clock: Clock::default() }
    }

    fn origin(&self, request: &Request) -> Origin {
        let headers = request.headers();
        let request_id = kept_id(headers).unwrap_or_else(|| self.clock.new_id().to_string());
        let peer = request.extensions().get::<Peer>().copied();
        Origin {
            address: Some(self.client.resolve(peer, headers)),
            user_agent: user_agent(headers),
            request_id,
        }
    }
}

impl Step for RequestContext {
    fn call(
        self: Arc<Self>,
        mut request: Request,
        inner: impl Inner,
    ) -> impl Future<Output = Response> + Send {
        let route = self.routes.find(&request);
        let origin = self.origin(&request);
        let id = HeaderValue::from_str(&origin.request_id);
        request.extensions_mut().insert(route);
        request.extensions_mut().insert(Arc::new(origin));
        let answer = inner.run(request);
        async move {
            let mut response = answer.await;
            if let Ok(id) = id {
                response.headers_mut().insert(X_REQUEST_ID, id);
            }
            response
        }
    }
}

/// An id from outside is kept only when it can do no harm in logs and headers.
fn kept_id(headers: &HeaderMap) -> Option<String> {
    let mut values = headers.get_all(X_REQUEST_ID).iter();
    let (Some(value), None) = (values.next(), values.next()) else { return None };
    let id = value.to_str().ok()?;
    let harmless = |b: u8| b.is_ascii_alphanumeric() || matches!(b, b'.' | b'_' | b'-');
    (!id.is_empty() && id.len() <= MAX_ID && id.bytes().all(harmless)).then(|| id.to_owned())
}

fn user_agent(headers: &HeaderMap) -> Option<String> {
    let agent = headers.get(header::USER_AGENT)?;
    let agent = String::from_utf8_lossy(agent.as_bytes());
    Some(agent.chars().filter(|c| !c.is_control()).take(MAX_USER_AGENT).collect())
}

/// Where a request that has passed this layer comes from.
pub fn origin(extensions: &http::Extensions) -> Arc<Origin> {
    extensions.get::<Arc<Origin>>().cloned().unwrap_or_default()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_one_short_plain_request_id_is_kept() {
        let kept = |values: &[&[u8]]| {
            let mut headers = HeaderMap::new();
            for value in values {
                headers.append(X_REQUEST_ID, HeaderValue::from_bytes(value).unwrap());
            }
            kept_id(&headers)
        };
        assert_eq!(kept(&[b"req_A-1.b"]).as_deref(), Some("req_A-1.b"));
        assert_eq!(kept(&["x".repeat(128).as_bytes()]).map(|id| id.len()), Some(128));
        for bad in ["", "a b", "a,b", "a/b", "\"a\"", &"x".repeat(129)] {
            assert_eq!(kept(&[bad.as_bytes()]), None, "{bad}");
        }
        assert_eq!(kept(&[b"a\xff"]), None);
        assert_eq!(kept(&[b"a", b"b"]), None);
        assert_eq!(kept(&[]), None);
    }
}
