//! Entity tags of single resources: the row's version, strong, with a suffix per content coding
//! that is ignored on input.

use axum::{
    Json,
    extract::FromRequestParts,
    response::{IntoResponse, Response},
};
use http::{HeaderMap, HeaderName, HeaderValue, StatusCode, header, request::Parts};
use serde::Serialize;

use crate::error::{Code, Error};

const CODINGS: [&str; 3] = ["-gzip", "-br", "-zstd"];

/// The conditions a request came with.
pub struct Conditions {
    if_match: Option<Vec<String>>,
    if_none_match: Option<Vec<String>>,
}

impl<S: Sync> FromRequestParts<S> for Conditions {
    type Rejection = std::convert::Infallible;

    async fn from_request_parts(parts: &mut Parts, _: &S) -> Result<Self, Self::Rejection> {
        Ok(Self {
            if_match: tags(&parts.headers, &header::IF_MATCH, false),
            if_none_match: tags(&parts.headers, &header::IF_NONE_MATCH, true),
        })
    }
}

impl Conditions {
    /// The versions of which the resource must have one; `None` when any will do.
    pub fn versions(&self) -> Option<Vec<i64>> {
        let tags = self.if_match.as_ref()?;
        if tags.iter().any(|tag| tag == "*") {
            return None;
        }
        let version = |tag: &String| tag.parse().ok().filter(|n: &i64| n.to_string() == *tag);
        Some(tags.iter().filter_map(version).collect())
    }

    /// The same for the answer to a write: it is never 304.
    pub fn for_write(self) -> Self {
        Self { if_none_match: None, if_match: None }
    }

    /// Whether the client has what carries this tag.
    pub fn knows(&self, tag: &str) -> bool {
        self.if_none_match.iter().flatten().any(|known| known == tag || known == "*")
    }

    /// The resource with its tag; 304 when the client has it already, 412 when it has another
    /// version than the client insists on.
    pub fn respond(&self, version: i64, resource: impl Serialize) -> Response {
        if self.versions().is_some_and(|versions| !versions.contains(&version)) {
            return Error::of(Code::PreconditionFailed).into_response();
        }
        let tag = version.to_string();
        let mut response = match self.knows(&tag) {
            true => StatusCode::NOT_MODIFIED.into_response(),
            false => Json(resource).into_response(),
        };
        if let Ok(tag) = HeaderValue::from_str(&format!("\"{tag}\"")) {
            response.headers_mut().insert(header::ETAG, tag);
        }
        response
    }
}

/// The opaque parts, without quotes and coding. Weak tags count only where a weak comparison
/// is asked for (RFC 9110, 13.1.1 and 13.1.2).
fn tags(headers: &HeaderMap, name: &HeaderName, weak: bool) -> Option<Vec<String>> {
    let mut values = headers.get_all(name).iter().peekable();
    values.peek()?;
    let elements = values.filter_map(|value| value.to_str().ok()).flat_map(|v| v.split(','));
    Some(elements.filter_map(|element| opaque(element.trim(), weak)).collect())
}

fn opaque(element: &str, weak: bool) -> Option<String> {
    if element == "*" {
        return Some("*".to_owned());
    }
    let strong = match element.strip_prefix("W/") {
        Some(rest) if weak => rest,
        Some(_) => return None,
        None => element,
    };
    let tag = strong.strip_prefix('"')?.strip_suffix('"')?;
    let tag = CODINGS.iter().find_map(|coding| tag.strip_suffix(coding)).unwrap_or(tag);
    Some(tag.to_owned())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn versions(value: &str) -> Option<Vec<i64>> {
        let headers = HeaderMap::from_iter([(header::IF_MATCH, value.parse().unwrap())]);
        let if_match = tags(&headers, &header::IF_MATCH, false);
        Conditions { if_match, if_none_match: None }.versions()
    }

    #[test]
    fn strong_tags_of_any_coding_are_versions() {
        assert_eq!(versions("\"7\""), Some(vec![7]));
        assert_eq!(versions("\"7-gzip\", \"8-br\""), Some(vec![7, 8]));
        assert_eq!(versions("*"), None);
    }

    #[test]
    fn weak_or_foreign_tags_match_no_version() {
        for foreign in ["W/\"7\"", "7", "\"x\"", "\"007\"", "\"+7\"", ""] {
            assert_eq!(versions(foreign), Some(vec![]), "{foreign}");
        }
    }
}
