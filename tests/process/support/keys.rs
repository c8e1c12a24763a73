//! Signing keys as operators and verifiers see them.

use base64::{Engine, engine::general_purpose::URL_SAFE_NO_PAD};
use serde_json::Value;

use super::{Api, Database, Instance, Settings, command::run};

/// Everything short, so that a test sees keys come and go.
pub fn short_lives(database: &Database) -> Settings {
    Settings::new(&database.url)
        .with_redis()
        .set("APP__AUTH__ACCESS_TTL", "3s")
        .set("APP__AUTH__LEEWAY", "1s")
        .set("APP__AUTH__JWKS_MAX_AGE", "2s")
}

pub async fn pair(settings: &Settings) -> [Instance; 2] {
    [Instance::ready(settings).await, Instance::ready(settings).await]
}

pub async fn published(api: &Api) -> Vec<String> {
    let set = api.get("/.well-known/jwks.json").await.expect(200);
    assert!(!set.text.contains(r#""d""#), "a private key is published");
    let keys = set.json()["keys"].as_array().expect("keys").clone();
    keys.iter().map(|key| key["kid"].as_str().expect("a kid").to_owned()).collect()
}

pub fn rotate(settings: &Settings, more: &[&str]) -> String {
    let command = [&["admin", "rotate-keys"], more].concat();
    let said = run(settings, &command).expect("rotate-keys");
    said.split_whitespace().next().expect("a kid").to_owned()
}

/// The `kid` in a token's header.
pub fn kid(token: &str) -> String {
    let part = token.split('.').next().expect("a header");
    let decoded = URL_SAFE_NO_PAD.decode(part);
    let header: Value = serde_json::from_slice(&decoded.expect("base64")).expect("JSON");
    header["kid"].as_str().expect("a kid").to_owned()
}
