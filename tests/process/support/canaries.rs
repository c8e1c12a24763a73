//! Secrets that are looked for wherever they must not be, and a client that sends them anyhow.

use std::sync::Mutex;

use reqwest::{Client, Response, header::CONTENT_TYPE};
use serde_json::{Value, json};

use super::Api;

const CANARY: &str = "canary-velvet-lantern";

/// Every secret that was used, by what it is.
#[derive(Default)]
pub struct Canaries(Vec<(&'static str, String)>);

impl Canaries {
    /// A new one, which is remembered.
    pub fn make(&mut self, what: &'static str) -> String {
        let secret = format!("{CANARY}-{}", self.0.len());
        self.add(what, &secret);
        secret
    }

    pub fn add(&mut self, what: &'static str, secret: &str) {
        self.0.push((what, secret.to_owned()));
    }

    pub fn add_password_of(&mut self, what: &'static str, url: &str) {
        let url = url::Url::parse(url).expect("a URL");
        self.add(what, url.password().expect("the service has a password"));
    }

    /// Those that are no secret to whoever sent them.
    pub fn without(mut self, what: &str) -> Self {
        self.0.retain(|canary| canary.0 != what);
        self
    }

    pub fn are_absent_from(&self, place: &str, text: &str) {
        assert!(!text.is_empty(), "{place} is empty");
        for (what, secret) in &self.0 {
            let found = text.lines().find(|line| line.contains(secret.as_str()));
            assert!(found.is_none(), "{place} holds {what}: {}", found.unwrap_or_default());
        }
    }
}

/// A client that sends whatever it is told to.
pub struct Sender {
    pub http: Client,
    pub base: String,
    refusals: Mutex<String>,
}

impl Sender {
    pub fn new(api: &Api) -> Self {
        let http = Client::builder().no_proxy().build().expect("a client");
        Self { http, base: format!("http://{}", api.address()), refusals: Mutex::default() }
    }

    /// All problems that were answered, and their headers.
    pub fn refusals(&self) -> String {
        self.refusals.lock().unwrap().clone()
    }

    async fn note(&self, response: Response) -> String {
        let (status, headers) = (response.status(), format!("{:?}", response.headers()));
        let text = response.text().await.expect("a body");
        if status.as_u16() >= 400 {
            *self.refusals.lock().unwrap() += &format!("{headers}\n{text}\n");
        }
        text
    }

    pub async fn post(
        &self,
        path: &str,
        headers: &[(&str, &str)],
        body: impl Into<String>,
    ) -> Value {
        let mut request = self.http.post(format!("{}{path}", self.base)).body(body.into());
        request = request.header(CONTENT_TYPE, "application/json");
        for (name, value) in headers {
            request = request.header(*name, *value);
        }
        let response = request.send().await.expect("an answer");
        let cookies: Vec<_> = response.headers().get_all("set-cookie").iter().collect();
        let cookies: Vec<_> = cookies.iter().map(|c| c.to_str().unwrap().to_owned()).collect();
        let text = self.note(response).await;
        let mut answer: Value = serde_json::from_str(&text).unwrap_or(json!({}));
        answer["cookies"] = json!(cookies);
        answer
    }

    pub async fn get(&self, path: &str, headers: &[(&str, &str)]) {
        let mut request = self.http.get(format!("{}{path}", self.base));
        for (name, value) in headers {
            request = request.header(*name, *value);
        }
        self.note(request.send().await.expect("an answer")).await;
    }
}
