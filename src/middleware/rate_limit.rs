//! One decision for all policies that apply to a request, told in the headers of
//! draft-ietf-httpapi-ratelimit-headers-10.

use std::{fmt::Write, future::ready, net::IpAddr, sync::Arc};

use axum::{
    extract::Request,
    response::{IntoResponse, Response},
};
use futures_util::future::Either;
use http::{HeaderMap, HeaderName, HeaderValue};
use smallvec::smallvec;

use super::{
    authenticate::Authentication,
    cookies::Cookies,
    request_context,
    route_info::{self, LimitClass},
    step::{Inner, Step},
};
use crate::{
    config::{Config, Rate},
    error::{Code, Error},
    services::auth::claimed_session,
    shared::rate_limit::{Ask, Few, Limiter, Policy, Quota, Standing, Verdict},
};

const POLICY: HeaderName = HeaderName::from_static("ratelimit-policy");
const STANDING: HeaderName = HeaderName::from_static("ratelimit");

pub struct RateLimit {
    limiter: Limiter,
    rules: Arc<Rules>,
}

struct Rules {
    enabled: bool,
    cookies: Cookies,
    default: Policy,
    credentials: Policy,
    refresh: Policy,
}

impl RateLimit {
    pub fn new(config: &Config, limiter: Limiter) -> Self {
        let limits = &config.limits;
        let rules = Rules {
            enabled: limits.enabled,
            cookies: Cookies::new(config.auth.cookie_secure),
            default: policy("default", limits.default),
            credentials: policy("credentials", limits.credentials),
            refresh: policy("refresh", limits.refresh),
        };
        Self { limiter, rules: Arc::new(rules) }
    }
}

fn policy(name: &'static str, rate: Rate) -> Policy {
    Policy { name, quota: Quota { limit: rate.limit, window: rate.window } }
}

impl Rules {
    /// Everybody has the default; what guards secrets has a stricter one beside it.
    fn asks(&self, request: &Request) -> Few<(&Policy, String)> {
        let address = || {
            let origin = request_context::origin(request.extensions());
            origin.address.map_or_else(|| "address:none".to_owned(), network)
        };
        let actor = || match request.extensions().get::<Authentication>() {
            Some(Authentication::Known(identity)) => format!("user:{}", identity.user_id),
            _ => address(),
        };
        match route_info::of(request).limits {
            _ if !self.enabled => Few::new(),
            LimitClass::Unlimited => Few::new(),
            LimitClass::Default => smallvec![(&self.default, actor())],
            LimitClass::Credentials => {
                smallvec![(&self.default, actor()), (&self.credentials, address())]
            }
            LimitClass::Refresh => {
                let token = self.cookies.refresh_token(request.headers());
                let session = token.as_deref().and_then(claimed_session);
                let session = session.map_or_else(address, |id| format!("session:{id}"));
                smallvec![(&self.default, address()), (&self.refresh, session)]
            }
        }
    }
}

/// IPv6 counts by /64: a household has that many addresses to hide behind.
fn network(address: IpAddr) -> String {
    match address.to_canonical() {
        IpAddr::V4(v4) => format!("address:{v4}"),
        IpAddr::V6(v6) => format!("address:{:x}/64", v6.to_bits() >> 64),
    }
}

impl Step for RateLimit {
    fn call(
        self: Arc<Self>,
        request: Request,
        inner: impl Inner,
    ) -> impl Future<Output = Response> + Send {
        let at_once = self.limiter.check_at_once(&asks(&self.rules.asks(&request)));
        match at_once {
            Some(verdict) => Either::Left(answer(verdict, request, inner)),
            None => Either::Right(Box::pin(async move {
                let keys = self.rules.asks(&request);
                let verdict = self.limiter.check(&asks(&keys)).await;
                answer(verdict, request, inner).await
            })),
        }
    }
}

fn asks<'a>(keys: &'a [(&Policy, String)]) -> Few<Ask<'a>> {
    keys.iter().map(|(policy, key)| Ask { policy, key }).collect()
}

fn answer(
    verdict: Verdict,
    request: Request,
    inner: impl Inner,
) -> impl Future<Output = Response> + Send {
    let answer = match verdict.allowed {
        true => Either::Left(inner.run(request)),
        false => Either::Right(ready(refusal(&verdict).into_response())),
    };
    async move {
        let mut response = answer.await;
        if !verdict.standings.is_empty() {
            tell(response.headers_mut(), &verdict.standings);
        }
        response
    }
}

fn refusal(verdict: &Verdict) -> Error {
    let error = Error::of(Code::RateLimited).violating(verdict.violated().collect());
    error.retry_after(verdict.retry_after.unwrap_or(std::time::Duration::from_secs(1)))
}

fn tell(headers: &mut HeaderMap, standings: &[Standing]) {
    let room = || String::with_capacity(40 * standings.len());
    let (mut policies, mut now) = (room(), room());
    for (index, one) in standings.iter().enumerate() {
        let comma = if index == 0 { "" } else { ", " };
        let Standing { policy, limit, window_secs, remaining, reset_secs, .. } = one;
        // Writing to a String cannot fail.
        let _ = write!(policies, "{comma}\"{policy}\";q={limit};w={window_secs}");
        let _ = write!(now, "{comma}\"{policy}\";r={remaining};t={reset_secs}");
    }
    if let (Ok(policies), Ok(now)) = (HeaderValue::try_from(policies), HeaderValue::try_from(now)) {
        headers.insert(POLICY, policies);
        headers.insert(STANDING, now);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_headers_are_structured_fields_of_all_policies() {
        let standing = |policy, limit, remaining| Standing {
            policy,
            limit,
            window_secs: 60,
            remaining,
            reset_secs: 7,
            violated: false,
        };
        let mut headers = HeaderMap::new();
        tell(&mut headers, &[standing("default", 6000, 5999), standing("credentials", 60, 0)]);
        assert_eq!(headers[POLICY], "\"default\";q=6000;w=60, \"credentials\";q=60;w=60");
        assert_eq!(headers[STANDING], "\"default\";r=5999;t=7, \"credentials\";r=0;t=7");
    }

    #[test]
    fn a_household_with_ipv6_counts_as_one() {
        let key = |address: &str| network(address.parse().unwrap());
        assert_eq!(key("2001:db8:1:2::1"), key("2001:db8:1:2:ffff::9"));
        assert_ne!(key("2001:db8:1:2::1"), key("2001:db8:1:3::1"));
        assert_eq!(key("::ffff:192.0.2.1"), key("192.0.2.1"));
    }
}
