//! The two cookies: the refresh token and the token by which a device is known.

use std::time::Duration;

use chrono::{DateTime, Utc};
use cookie::{Cookie, SameSite};
use http::{HeaderMap, HeaderValue, header};

/// Their names carry the `__Host-` prefix, by which a browser guarantees `Secure`, `Path=/` and
/// no `Domain`, unless cookies are allowed over plain HTTP (development).
#[derive(Debug, Clone, Copy)]
pub struct Cookies {
    secure: bool,
}

impl Cookies {
    pub fn new(secure: bool) -> Self {
        Self { secure }
    }

    fn refresh_name(self) -> &'static str {
        if self.secure { "__Host-refresh" } else { "refresh" }
    }

    fn device_name(self) -> &'static str {
        if self.secure { "__Host-device" } else { "device" }
    }

    pub fn refresh_token(self, headers: &HeaderMap) -> Option<String> {
        find(headers, self.refresh_name())
    }

    pub fn device_token(self, headers: &HeaderMap) -> Option<String> {
        find(headers, self.device_name())
    }

    /// Without `kept_until` it ends with the browser's session.
    pub fn set_refresh(
        self,
        headers: &mut HeaderMap,
        token: &str,
        kept_until: Option<DateTime<Utc>>,
        now: DateTime<Utc>,
    ) {
        let life = kept_until.map(|until| (until - now).to_std().unwrap_or_default());
        self.append(headers, self.refresh_name(), token, life);
    }

    pub fn set_device(self, headers: &mut HeaderMap, token: &str, life: Duration) {
        self.append(headers, self.device_name(), token, Some(life));
    }

    pub fn clear_refresh(self, headers: &mut HeaderMap) {
        self.append(headers, self.refresh_name(), "", Some(Duration::ZERO));
    }

    fn append(self, headers: &mut HeaderMap, name: &str, value: &str, life: Option<Duration>) {
        let mut cookie = Cookie::build((name, value))
            .path("/")
            .http_only(true)
            .secure(self.secure)
            .same_site(SameSite::Strict);
        if let Some(life) = life {
            let secs = i64::try_from(life.as_secs()).unwrap_or(i64::MAX);
            cookie = cookie.max_age(cookie::time::Duration::seconds(secs));
        }
        if let Ok(value) = HeaderValue::from_str(&cookie.to_string()) {
            headers.append(header::SET_COOKIE, value);
        }
    }
}

fn find(headers: &HeaderMap, name: &str) -> Option<String> {
    let lines = headers.get_all(header::COOKIE).iter().filter_map(|line| line.to_str().ok());
    let mut pairs = lines.flat_map(|line| line.split(';')).filter_map(|pair| pair.split_once('='));
    let (_, value) = pairs.find(|(key, _)| key.trim() == name)?;
    Some(value.trim().to_owned())
}
