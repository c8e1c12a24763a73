//! Requests that may come twice: the key a client gives them, what was asked for, and the outcome
//! that a repetition gets again.

use std::time::Duration;

use aws_lc_rs::digest;
use serde_json::Value;

use super::ids::UserId;
use crate::error::{Code, Error, Result};

const MAX_KEY: usize = 255;
const RETRY_AFTER: Duration = Duration::from_secs(1);

/// What the client calls its request by. Keys of two users have nothing to do with each other.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub struct Key(String);

impl Key {
    /// Bare, or as a string of RFC 9651 in quotes: `"abc"` is the key `abc`.
    pub fn parse(text: &str) -> Result<Self> {
        let key = if text.starts_with('"') { unquote(text) } else { Some(text.to_owned()) };
        let holds = |key: &String| {
            (1..=MAX_KEY).contains(&key.len()) && key.bytes().all(|byte| byte.is_ascii_graphic())
        };
        key.filter(holds).map(Self).ok_or_else(|| {
            Error::new(
                Code::MalformedRequest,
                "Idempotency-Key must have 1 to 255 visible ASCII characters",
            )
        })
    }

    pub fn as_str(&self) -> &str {
        &self.0
    }
}

fn unquote(text: &str) -> Option<String> {
    let inner = text.strip_prefix('"')?.strip_suffix('"').filter(|_| text.len() > 1)?;
    let (mut key, mut chars) = (String::with_capacity(inner.len()), inner.chars());
    while let Some(c) = chars.next() {
        match c {
            '"' => return None,
            '\\' => key.push(chars.next().filter(|c| matches!(c, '"' | '\\'))?),
            c => key.push(c),
        }
    }
    Some(key)
}

/// What was asked for, whatever the order of keys and the white space it was written with.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Fingerprint(Vec<u8>);

impl Fingerprint {
    /// `template` is the route's path, `parameters` what stands in it; no body is not `null`.
    pub fn of(
        method: &str,
        template: &str,
        parameters: &[(&str, &str)],
        body: Option<&Value>,
    ) -> Self {
        let mut text = Vec::new();
        let words = parameters.iter().flat_map(|(name, value)| [*name, *value]);
        for word in [method, template].into_iter().chain(words) {
            write_string(word, &mut text);
        }
        if let Some(body) = body {
            write_canonical(body, &mut text);
        }
        Self(digest::digest(&digest::SHA256, &text).as_ref().to_vec())
    }

    pub fn as_bytes(&self) -> &[u8] {
        &self.0
    }
}

impl From<Vec<u8>> for Fingerprint {
    fn from(stored: Vec<u8>) -> Self {
        Self(stored)
    }
}

fn write_canonical(value: &Value, text: &mut Vec<u8>) {
    match value {
        Value::Object(members) => {
            let mut members: Vec<_> = members.iter().collect();
            members.sort_by_key(|(name, _)| *name);
            text.push(b'{');
            for (name, value) in members {
                write_string(name, text);
                write_canonical(value, text);
            }
            text.push(b'}');
        }
        Value::Array(items) => {
            text.push(b'[');
            for item in items {
                write_canonical(item, text);
                text.push(b',');
            }
            text.push(b']');
        }
        Value::String(string) => write_string(string, text),
        scalar => text.extend_from_slice(scalar.to_string().as_bytes()),
    }
}

/// With its length in front, so that no two lists of strings read alike.
fn write_string(string: &str, text: &mut Vec<u8>) {
    text.extend_from_slice(format!("{}\"", string.len()).as_bytes());
    text.extend_from_slice(string.as_bytes());
}

/// A request under a key.
#[derive(Debug, Clone)]
pub struct Claim {
    pub user: UserId,
    pub key: Key,
    pub fingerprint: Fingerprint,
}

/// An outcome as a door rendered it: opaque to everybody behind.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Stored {
    pub status: u16,
    pub headers: Vec<(String, String)>,
    pub body: Vec<u8>,
}

impl Stored {
    /// Beside the body only `Content-Type`, `Location` and `ETag` belong to an outcome.
    pub fn with(mut self, header: &str, value: impl Into<String>) -> Self {
        self.headers.push((header.to_owned(), value.into()));
        self
    }
}

/// The first request with the key has no outcome yet.
pub fn in_progress() -> Error {
    Error::of(Code::IdempotencyInProgress).retry_after(RETRY_AFTER)
}

/// Renders a result, or a final refusal, to what is stored and sent. Pure: it may run again when
/// the transaction is tried again.
pub type Render<T> = Box<dyn Fn(Result<T, &Error>) -> Result<Stored> + Send + Sync>;

/// What a door hands to the service that does the work. Without a claim nothing is remembered.
pub struct Outcome<T> {
    pub claim: Option<Claim>,
    pub render: Render<T>,
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    fn key(text: &str) -> Option<String> {
        Key::parse(text).ok().map(|key| key.0)
    }

    #[test]
    fn bare_and_quoted_keys_are_the_same() {
        for (text, same) in [
            ("abc", "abc"),
            ("\"abc\"", "abc"),
            ("a\"b", "a\"b"),
            (r#""a\"b""#, "a\"b"),
            (r#""a\\b""#, r"a\b"),
            (r"a\b", r"a\b"),
        ] {
            assert_eq!(key(text).as_deref(), Some(same), "{text}");
        }
        assert_eq!(key(&"k".repeat(255)), Some("k".repeat(255)));
        assert_eq!(key(&format!("\"{}\"", "k".repeat(255))), Some("k".repeat(255)));
    }

    #[test]
    fn what_is_no_key_is_refused() {
        let long = "k".repeat(256);
        let quoted = format!("\"{long}\"");
        for text in [
            "", "\"", "\"\"", "a b", "\"a b\"", "ä", "a\tb", "\"a", "\"a\"b\"", r#""a\n""#,
            r#""a\""#,
        ] {
            assert_eq!(key(text), None, "{text}");
        }
        assert_eq!((key(&long), key(&quoted)), (None, None));
        assert_eq!(key("\"a\";b=1"), None);
    }

    fn of(body: Value) -> Fingerprint {
        Fingerprint::of("POST", "/orders", &[], Some(&body))
    }

    #[test]
    fn the_order_of_keys_and_white_space_do_not_matter() {
        let parse = |text: &str| of(serde_json::from_str(text).unwrap());
        assert_eq!(
            parse(r#"{"a": 1, "b": {"c": [1, 2], "d": null}}"#),
            parse(r#"{"b":{"d":null,"c":[1,2]},"a":1}"#)
        );
    }

    #[test]
    fn everything_else_matters() {
        let all = [
            of(json!({})),
            of(json!([])),
            of(json!(null)),
            of(json!({"a": 1})),
            of(json!({"a": "1"})),
            of(json!({"a": [1]})),
            of(json!({"a": [[1]]})),
            of(json!({"a": [1, 2]})),
            of(json!({"a": [2, 1]})),
            of(json!({"a": 1, "b": null})),
            of(json!({"a\":1,\"b": 1})),
            of(json!("1\"a")),
            of(json!(["1", "2"])),
            of(json!(["12"])),
            of(json!([12])),
            of(json!([1, 2])),
            Fingerprint::of("POST", "/orders", &[], None),
            Fingerprint::of("PUT", "/orders", &[], None),
            Fingerprint::of("POST", "/orders/{id}", &[("id", "1")], None),
            Fingerprint::of("POST", "/orders/{id}", &[("id", "2")], None),
        ];
        for (at, one) in all.iter().enumerate() {
            assert!(!all[..at].contains(one), "{at} collides");
        }
    }
}
