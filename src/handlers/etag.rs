//! Entity tags of single resources: the row's version, strong, with a suffix per content coding
//! that is ignored on input. A product's tag also tells its stock, which writers do not compare.

use axum::{
    Json,
    body::Body,
    extract::FromRequestParts,
    response::{IntoResponse, Response},
};
use http::{HeaderMap, HeaderName, HeaderValue, StatusCode, header, request::Parts};
use serde::Serialize;

use crate::{
    error::{Code, Error},
    shared::cache::Rendered,
};

const JSON: HeaderValue = HeaderValue::from_static("application/json");
const CODINGS: [&str; 3] = ["-gzip", "-br", "-zstd"];

/// What a tag is made of.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Tag {
    Version(i64),
    /// Two copies with one version and another stock differ, but not for a writer.
    Stocked {
        version: i64,
        stock: i64,
    },
}

impl Tag {
    pub fn version(self) -> i64 {
        match self {
            Tag::Version(version) | Tag::Stocked { version, .. } => version,
        }
    }

    /// As the header has it, in quotes.
    pub fn quoted(self) -> String {
        format!("\"{}\"", self.opaque())
    }

    /// Without quotes.
    pub fn opaque(self) -> String {
        match self {
            Tag::Version(version) => version.to_string(),
            Tag::Stocked { version, stock } => format!("{version}.{stock}"),
        }
    }

    /// The tag that is written like this, if it is one that we write.
    fn parse(text: &str) -> Option<Self> {
        let tag = match text.split_once('.') {
            Some((version, stock)) => {
                Tag::Stocked { version: version.parse().ok()?, stock: stock.parse().ok()? }
            }
            None => Tag::Version(text.parse().ok()?),
        };
        Some(tag).filter(|tag| tag.opaque() == text)
    }

    fn is_like(self, other: Self) -> bool {
        std::mem::discriminant(&self) == std::mem::discriminant(&other)
    }
}

impl From<i64> for Tag {
    fn from(version: i64) -> Self {
        Tag::Version(version)
    }
}

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
        self.versions_like(Tag::Version(0))
    }

    /// The same of a resource whose tags tell its stock.
    pub fn stocked_versions(&self) -> Option<Vec<i64>> {
        self.versions_like(Tag::Stocked { version: 0, stock: 0 })
    }

    /// The same where a writer has to say what it has read.
    pub fn required_stocked_versions(&self) -> Result<Option<Vec<i64>>, Error> {
        match self.if_match {
            Some(_) => Ok(self.stocked_versions()),
            None => Err(Error::of(Code::PreconditionRequired)),
        }
    }

    /// Tags of another make than `like` match nothing.
    fn versions_like(&self, like: Tag) -> Option<Vec<i64>> {
        let tags = self.if_match.as_ref()?;
        if tags.iter().any(|tag| tag == "*") {
            return None;
        }
        let ours = tags.iter().filter_map(|tag| Tag::parse(tag)).filter(|tag| tag.is_like(like));
        Some(ours.map(Tag::version).collect())
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
    pub fn respond(&self, tag: impl Into<Tag>, resource: impl Serialize) -> Response {
        let tag = tag.into();
        self.respond_with(&tag.opaque(), || Json(resource).into_response())
    }

    /// The same of one that was rendered before, its tag without quotes beside it.
    pub fn respond_rendered(&self, rendered: &Rendered) -> Response {
        self.respond_with(&rendered.label, || {
            let media = [(header::CONTENT_TYPE, JSON)];
            (media, Body::from(rendered.body.clone())).into_response()
        })
    }

    fn respond_with(&self, tag: &str, body: impl FnOnce() -> Response) -> Response {
        if self.if_match.is_some() && !self.insists_on(tag) {
            return Error::of(Code::PreconditionFailed).into_response();
        }
        let mut response = match self.knows(tag) {
            true => StatusCode::NOT_MODIFIED.into_response(),
            false => body(),
        };
        if let Ok(tag) = HeaderValue::from_str(&["\"", tag, "\""].concat()) {
            response.headers_mut().insert(header::ETAG, tag);
        }
        response
    }

    /// Whether the version of this tag is one of those that are required.
    fn insists_on(&self, tag: &str) -> bool {
        let Some(tag) = Tag::parse(tag) else { return false };
        self.versions_like(tag).is_none_or(|versions| versions.contains(&tag.version()))
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
    fn a_writer_compares_the_version_and_a_reader_the_stock_too() {
        let headers = |name, value: &str| HeaderMap::from_iter([(name, value.parse().unwrap())]);
        let writer = headers(header::IF_MATCH, "\"7.3-br\", \"8.1\", \"9\", \"07.1\"");
        let reader = headers(header::IF_NONE_MATCH, "W/\"7.3-gzip\"");
        let conditions = Conditions {
            if_match: tags(&writer, &header::IF_MATCH, false),
            if_none_match: tags(&reader, &header::IF_NONE_MATCH, true),
        };
        assert_eq!(conditions.stocked_versions(), Some(vec![7, 8]));
        assert_eq!(conditions.versions(), Some(vec![9]));
        assert!(conditions.knows("7.3") && !conditions.knows("7.4"));
        let none = Conditions { if_match: None, if_none_match: None };
        assert!(none.required_stocked_versions().is_err());
    }

    #[test]
    fn weak_or_foreign_tags_match_no_version() {
        for foreign in ["W/\"7\"", "7", "\"x\"", "\"007\"", "\"+7\"", "\"7.1\"", ""] {
            assert_eq!(versions(foreign), Some(vec![]), "{foreign}");
        }
    }
}
