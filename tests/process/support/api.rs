//! A client of one instance.

use std::time::Duration;

use reqwest::{Method, header::HeaderMap};
use serde_json::Value;

/// Longer than any deadline of the service.
const PATIENCE: Duration = Duration::from_secs(40);

#[derive(Clone)]
pub struct Api {
    http: reqwest::Client,
    base: String,
}

pub struct Reply {
    pub status: u16,
    pub headers: HeaderMap,
    pub text: String,
}

impl Reply {
    pub fn json(&self) -> Value {
        serde_json::from_str(&self.text).unwrap_or(Value::Null)
    }

    /// A member of the body that is text.
    pub fn text_of(&self, name: &str) -> String {
        let text = self.json()[name].as_str().map(str::to_owned);
        text.unwrap_or_else(|| panic!("no {name} in {} {}", self.status, self.text))
    }

    pub fn code(&self) -> String {
        self.json()["code"].as_str().unwrap_or_default().to_owned()
    }

    pub fn header(&self, name: &str) -> &str {
        self.headers.get(name).and_then(|value| value.to_str().ok()).unwrap_or_default()
    }

    #[track_caller]
    pub fn expect(self, status: u16) -> Self {
        assert_eq!(self.status, status, "{}", self.text);
        self
    }

    /// A refusal that tells a client what happened and when to come back.
    pub fn is_clear_503(&self) -> bool {
        self.status == 503
            && self.header("content-type") == "application/problem+json"
            && self.header("retry-after").parse::<u32>().is_ok_and(|secs| secs > 0)
    }
}

impl Api {
    pub fn new(base: &str) -> Self {
        let http = reqwest::Client::builder().timeout(PATIENCE).no_proxy();
        Self { http: http.build().expect("a client"), base: base.to_owned() }
    }

    pub fn address(&self) -> &str {
        self.base.trim_start_matches("http://")
    }

    /// The same instance over connections that are not reused.
    pub fn without_keep_alive(&self) -> Self {
        let http = reqwest::Client::builder().timeout(PATIENCE).no_proxy();
        let http = http.pool_max_idle_per_host(0).build().expect("a client");
        Self { http, base: self.base.clone() }
    }

    pub async fn attempt(
        &self,
        method: Method,
        path: &str,
        token: Option<&str>,
        body: Option<Value>,
    ) -> Result<Reply, String> {
        let mut request = self.http.request(method, format!("{}{path}", self.base));
        if let Some(token) = token {
            request = request.bearer_auth(token);
        }
        if let Some(body) = body {
            request = request.json(&body);
        }
        reply_to(request).await
    }

    /// A POST under an `Idempotency-Key`.
    pub async fn attempt_once(
        &self,
        token: &str,
        path: &str,
        key: &str,
        body: &Value,
    ) -> Result<Reply, String> {
        let request = self.http.post(format!("{}{path}", self.base));
        reply_to(request.bearer_auth(token).header("idempotency-key", key).json(body)).await
    }

    async fn send(&self, method: Method, path: &str, token: &str, body: Option<Value>) -> Reply {
        let token = (!token.is_empty()).then_some(token);
        let reply = self.attempt(method, path, token, body).await;
        reply.unwrap_or_else(|error| panic!("{path}: {error}"))
    }

    pub async fn get(&self, path: &str) -> Reply {
        self.send(Method::GET, path, "", None).await
    }

    pub async fn get_as(&self, token: &str, path: &str) -> Reply {
        self.send(Method::GET, path, token, None).await
    }

    pub async fn post(&self, path: &str, body: Value) -> Reply {
        self.send(Method::POST, path, "", Some(body)).await
    }

    pub async fn call(
        &self,
        token: &str,
        method: Method,
        path: &str,
        body: Option<Value>,
    ) -> Reply {
        self.send(method, path, token, body).await
    }

    pub async fn me(&self, access: &str) -> Reply {
        self.get_as(access, "/api/v1/users/me").await
    }
}

async fn reply_to(request: reqwest::RequestBuilder) -> Result<Reply, String> {
    let response = request.send().await.map_err(|error| format!("{error:?}"))?;
    let (status, headers) = (response.status().as_u16(), response.headers().clone());
    let text = response.text().await.map_err(|error| format!("{error:?}"))?;
    Ok(Reply { status, headers, text })
}
