//! Secrets that are looked for wherever they must not be, and a client that sends them anyhow.

use reqwest::{Client, header::CONTENT_TYPE};
use serde_json::{Value, json};

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
}

impl Sender {
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
        let mut answer: Value =
            serde_json::from_str(&response.text().await.expect("a body")).unwrap_or(json!({}));
        answer["cookies"] = json!(cookies);
        answer
    }

    pub async fn get(&self, path: &str, headers: &[(&str, &str)]) {
        let mut request = self.http.get(format!("{}{path}", self.base));
        for (name, value) in headers {
            request = request.header(*name, *value);
        }
        request.send().await.expect("an answer");
    }
}
