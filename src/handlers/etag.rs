//! Entity tags of single resources: the row's version, strong, with a suffix per content coding
//! that decides nothing on input. A product's tag also tells its stock, which writers do not
//! compare. What has no version has a digest for it.

use axum::{
    Json,
    extract::FromRequestParts,
    response::{IntoResponse, Response},
};
use http::{HeaderMap, HeaderName, HeaderValue, StatusCode, header, request::Parts};
use serde::Serialize;

use super::cached;
use crate::{
    error::{Code, Error},
    middleware::negotiation,
    shared::{cache::Rendered, crypto},
};

/// Bytes of a digest that a tag tells.
const DIGEST: usize = 16;
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
    if_match: Option<Vec<Given>>,
    if_none_match: Option<Vec<Given>>,
    /// Codings that the client takes; looked at beside `if_none_match` only.
    accepted: Vec<&'static str>,
}

/// A tag as the client has it, without quotes.
struct Given {
    opaque: String,
    /// That of the coding, or nothing.
    suffix: &'static str,
}

impl Given {
    fn is(&self, tag: &str) -> bool {
        self.opaque == tag || self.opaque == "*"
    }
}

impl<S: Sync> FromRequestParts<S> for Conditions {
    type Rejection = std::convert::Infallible;

    async fn from_request_parts(parts: &mut Parts, _: &S) -> Result<Self, Self::Rejection> {
        Ok(Self::of(&parts.headers))
    }
}

impl Conditions {
    fn of(headers: &HeaderMap) -> Self {
        let if_none_match = tags(headers, &header::IF_NONE_MATCH, true);
        let accepted = if_none_match.as_ref().map(|_| negotiation::accepted_codings(headers));
        let accepted = accepted.unwrap_or_default();
        Self { if_match: tags(headers, &header::IF_MATCH, false), if_none_match, accepted }
    }

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
        if tags.iter().any(|tag| tag.opaque == "*") {
            return None;
        }
        let ours = tags.iter().filter_map(|tag| Tag::parse(&tag.opaque));
        let ours = ours.filter(|tag| tag.is_like(like));
        Some(ours.map(Tag::version).collect())
    }

    /// The same for the answer to a write: it is never 304.
    pub fn for_write(self) -> Self {
        Self { if_none_match: None, if_match: None, accepted: Vec::new() }
    }

    /// Whether the client has what carries this tag.
    pub fn knows(&self, tag: &str) -> bool {
        self.known_as(tag).is_some()
    }

    /// The suffix of the client's first copy of what carries this tag: by the whole tag the client
    /// finds the copy again (RFC 9111, 4.3.4). A copy in a coding that it does not take now is named
    /// as if it had none.
    fn known_as(&self, tag: &str) -> Option<&'static str> {
        let all = self.if_none_match.iter().flatten();
        let mut same = all.filter(|given| given.is(tag)).peekable();
        same.peek()?;
        let takes = |coding: &str| self.accepted.contains(&coding);
        let usable = same.find(|given| given.suffix.strip_prefix('-').is_none_or(takes));
        Some(usable.map_or("", |given| given.suffix))
    }

    /// The resource with its tag; 304 when the client has it already, 412 when it has another
    /// version than the client insists on.
    pub fn respond(&self, tag: impl Into<Tag>, resource: impl Serialize) -> Response {
        let tag = tag.into();
        self.respond_with(&tag.opaque(), || Json(resource).into_response())
    }

    /// The same of one that was rendered before, its tag without quotes beside it.
    pub fn respond_rendered(&self, rendered: &Rendered) -> Response {
        self.respond_with(&rendered.label, || cached::json(rendered))
    }

    /// The same of what has no version: its tag is a digest of what it tells. None can be taken for
    /// a coded one: 22 characters of base64url for 16 bytes end in `A`, `Q`, `g` or `w`.
    pub fn respond_digested(&self, resource: &impl Serialize) -> Result<Response, Error> {
        Ok(self.respond_rendered(&digested(resource)?))
    }

    /// A writer may want it to be what they have read. Such things move by themselves, so this is
    /// asked before the change, not with it: the change itself knows what it is allowed from.
    pub async fn insist_digested<T: Serialize>(
        &self,
        resource: impl Future<Output = Result<T, Error>>,
    ) -> Result<(), Error> {
        if self.if_match.is_none() || self.insists_on(&digested(&resource.await?)?.label) {
            return Ok(());
        }
        Err(Error::of(Code::PreconditionFailed))
    }

    fn respond_with(&self, tag: &str, body: impl FnOnce() -> Response) -> Response {
        if self.if_match.is_some() && !self.insists_on(tag) {
            return Error::of(Code::PreconditionFailed).into_response();
        }
        let (mut response, suffix) = match self.known_as(tag) {
            Some(suffix) => (not_modified(), suffix),
            None => (body(), ""),
        };
        if let Ok(tag) = HeaderValue::from_str(&["\"", tag, suffix, "\""].concat()) {
            response.headers_mut().insert(header::ETAG, tag);
        }
        response
    }

    /// Whether the version of this tag, or a tag without one, is among those that are required.
    fn insists_on(&self, tag: &str) -> bool {
        match Tag::parse(tag) {
            Some(tag) => {
                self.versions_like(tag).is_none_or(|versions| versions.contains(&tag.version()))
            }
            None => self.if_match.iter().flatten().any(|given| given.is(tag)),
        }
    }
}

/// Compression sees no body here, and would not say what it says of the one that is spared.
fn not_modified() -> Response {
    (StatusCode::NOT_MODIFIED, [(header::VARY, "accept-encoding")]).into_response()
}

/// Weak tags count only where a weak comparison is asked for (RFC 9110, 13.1.1 and 13.1.2).
fn tags(headers: &HeaderMap, name: &HeaderName, weak: bool) -> Option<Vec<Given>> {
    let mut values = headers.get_all(name).iter().peekable();
    values.peek()?;
    let elements = values.filter_map(|value| value.to_str().ok()).flat_map(|v| v.split(','));
    Some(elements.filter_map(|element| given(element.trim(), weak)).collect())
}

fn given(element: &str, weak: bool) -> Option<Given> {
    if element == "*" {
        return Some(Given { opaque: "*".to_owned(), suffix: "" });
    }
    let strong = match element.strip_prefix("W/") {
        Some(rest) if weak => rest,
        Some(_) => return None,
        None => element,
    };
    let tag = strong.strip_prefix('"')?.strip_suffix('"')?;
    let coded = |suffix: &'static str| Some((tag.strip_suffix(suffix)?, suffix));
    let (opaque, suffix) = CODINGS.into_iter().find_map(coded).unwrap_or((tag, ""));
    Some(Given { opaque: opaque.to_owned(), suffix })
}

fn digested(resource: &impl Serialize) -> Result<Rendered, Error> {
    let body = serde_json::to_vec(resource).map_err(Error::internal)?;
    let label = crypto::to_base64url(&crypto::sha256(&body)[..DIGEST]);
    Ok(Rendered { label, body: body.into() })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn conditions<const N: usize>(headers: [(HeaderName, &str); N]) -> Conditions {
        let headers = headers.map(|(name, value)| (name, value.parse().unwrap()));
        Conditions::of(&HeaderMap::from_iter(headers))
    }

    fn versions(value: &str) -> Option<Vec<i64>> {
        conditions([(header::IF_MATCH, value)]).versions()
    }

    #[test]
    fn strong_tags_of_any_coding_are_versions() {
        assert_eq!(versions("\"7\""), Some(vec![7]));
        assert_eq!(versions("\"7-gzip\", \"8-br\""), Some(vec![7, 8]));
        assert_eq!(versions("*"), None);
    }

    #[test]
    fn a_writer_compares_the_version_and_a_reader_the_stock_too() {
        let conditions = conditions([
            (header::IF_MATCH, "\"7.3-br\", \"8.1\", \"9\", \"07.1\""),
            (header::IF_NONE_MATCH, "W/\"7.3-gzip\""),
        ]);
        assert_eq!(conditions.stocked_versions(), Some(vec![7, 8]));
        assert_eq!(conditions.versions(), Some(vec![9]));
        assert!(conditions.knows("7.3") && !conditions.knows("7.4"));
        assert!(conditions.for_write().required_stocked_versions().is_err());
    }

    #[test]
    fn a_copy_is_known_by_the_first_tag_whose_coding_the_client_takes() {
        let known_as = |tags, accepted| {
            let names = [header::IF_NONE_MATCH, header::ACCEPT_ENCODING];
            let [tags, accepted] = [(names[0].clone(), tags), (names[1].clone(), accepted)];
            conditions([tags, accepted]).known_as("7")
        };
        for (tags, accepted, suffix) in [
            ("\"7-gzip\"", "gzip", Some("-gzip")),
            ("W/\"7-br\"", "*", Some("-br")),
            ("\"7\", \"7-gzip\"", "gzip", Some("")),
            ("\"6\", \"7-br\", \"7-gzip\"", "br;q=0, gzip", Some("-gzip")),
            ("\"7-zstd\"", "gzip", Some("")),
            ("\"7-gzip\"", "", Some("")),
            ("*", "gzip", Some("")),
            ("\"8-gzip\"", "gzip", None),
            ("\"7-deflate\"", "deflate", None),
        ] {
            assert_eq!(known_as(tags, accepted), suffix, "{tags} of who takes {accepted:?}");
        }
    }

    #[test]
    fn weak_or_foreign_tags_match_no_version() {
        for foreign in ["W/\"7\"", "7", "\"x\"", "\"007\"", "\"+7\"", "\"7.1\"", ""] {
            assert_eq!(versions(foreign), Some(vec![]), "{foreign}");
        }
    }
}
