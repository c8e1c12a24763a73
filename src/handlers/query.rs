//! Query parameters, as strictly read as bodies.

use std::collections::HashSet;

use axum::extract::FromRequestParts;
use http::request::Parts;
use percent_encoding::percent_decode_str;
use serde::{Deserialize, de::DeserializeOwned};
use utoipa::{IntoParams, ToSchema};
use validator::Validate;

use super::json::{broken_rules, type_fault};
use crate::error::{Code, Error, Result};

pub struct Query<T>(pub T);

impl<T: DeserializeOwned + Validate, S: Sync> FromRequestParts<S> for Query<T> {
    type Rejection = Error;

    async fn from_request_parts(parts: &mut Parts, _: &S) -> Result<Self> {
        parse(parts.uri.query().unwrap_or_default()).map(Self)
    }
}

fn parse<T: DeserializeOwned + Validate>(query: &str) -> Result<T> {
    check(query)?;
    let value: T = read(query)?;
    value.validate().map_err(|errors| broken_rules(&errors))?;
    Ok(value)
}

/// Which page of a list.
#[derive(Deserialize, Validate, IntoParams)]
#[serde(deny_unknown_fields)]
#[into_params(parameter_in = Query)]
pub struct PageQuery {
    /// How many rows a page has at most.
    #[validate(range(min = 1, max = 100, message = "must be from 1 to 100"))]
    #[param(minimum = 1, maximum = 100, default = 20)]
    pub limit: Option<i64>,
    /// `next_cursor` of the page before; everything else in the query stays as it was.
    #[param(min_length = 1, pattern = "^[A-Za-z0-9_-]+$")]
    pub cursor: Option<String>,
    /// `exact` adds `total`.
    #[param(inline)]
    pub count: Option<Count>,
}

const OF_A_PAGE: [&str; 3] = ["limit", "cursor", "count"];

/// Whether the number of all matching rows is wanted.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Deserialize, ToSchema)]
#[serde(rename_all = "snake_case")]
pub enum Count {
    Exact,
}

/// The query of a list: what is asked for, and which page of it. Read apart from each other,
/// because serde cannot flatten a type that denies unknown fields.
pub struct Paged<T>(pub T, pub PageQuery);

impl<T: DeserializeOwned + Validate, S: Sync> FromRequestParts<S> for Paged<T> {
    type Rejection = Error;

    async fn from_request_parts(parts: &mut Parts, _: &S) -> Result<Self> {
        parse_paged(parts.uri.query().unwrap_or_default())
    }
}

fn parse_paged<T: DeserializeOwned + Validate>(query: &str) -> Result<Paged<T>> {
    check(query)?;
    let of_a_page = |pair: &&str| {
        let name = decode(pair.split('=').next().unwrap_or_default());
        name.is_ok_and(|name| OF_A_PAGE.contains(&name.as_str()))
    };
    let (page, rest): (Vec<_>, Vec<_>) = query.split('&').partition(of_a_page);
    let (rest, page): (T, PageQuery) = (read(&rest.join("&"))?, read(&page.join("&"))?);
    let mut broken = rest.validate().err().unwrap_or_default();
    if let Err(errors) = page.validate() {
        broken.errors_mut().extend(errors.into_errors());
    }
    if !broken.is_empty() {
        return Err(broken_rules(&broken));
    }
    Ok(Paged(rest, page))
}

fn read<T: DeserializeOwned>(query: &str) -> Result<T> {
    let parser = serde_urlencoded::Deserializer::new(url::form_urlencoded::parse(query.as_bytes()));
    serde_path_to_error::deserialize(parser).map_err(|error| type_fault(&error))
}

/// Decodable, nothing twice, no NUL. A cursor with one is left to its list, which refuses all that
/// are not its own alike.
fn check(query: &str) -> Result<()> {
    let mut seen = HashSet::new();
    for pair in query.split('&').filter(|pair| !pair.is_empty()) {
        let (name, value) = pair.split_once('=').unwrap_or((pair, ""));
        let (name, value) = (decode(name)?, decode(value)?);
        if name.contains('\0') || (value.contains('\0') && name != "cursor") {
            return Err(Error::invalid_field(name, "nul", "must not contain NUL"));
        }
        if !seen.insert(name) {
            return Err(Error::new(Code::MalformedRequest, "a query parameter appears twice"));
        }
    }
    Ok(())
}

fn decode(text: &str) -> Result<String> {
    let sound = |rest: &str| {
        let digits = rest.as_bytes().get(..2);
        digits.is_some_and(|digits| digits.iter().all(u8::is_ascii_hexdigit))
    };
    let undecodable = || Error::new(Code::MalformedRequest, "the query cannot be decoded");
    if !text.split('%').skip(1).all(sound) {
        return Err(undecodable());
    }
    let text = text.replace('+', " ");
    let decoded = percent_decode_str(&text).decode_utf8().map_err(|_| undecodable())?;
    Ok(decoded.into_owned())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[derive(Deserialize, Validate, Debug)]
    #[serde(deny_unknown_fields)]
    struct Sample {
        #[validate(range(min = 1, max = 100))]
        limit: Option<i64>,
        q: Option<String>,
    }

    #[derive(Deserialize, Validate)]
    #[serde(deny_unknown_fields)]
    struct Filter {
        #[validate(length(min = 2))]
        q: Option<String>,
    }

    fn code(query: &str) -> Option<Code> {
        parse::<Sample>(query).err().map(|error| error.code())
    }

    #[test]
    fn known_decodable_parameters_are_read() {
        let sample: Sample = parse("limit=7&q=a+b%26%C3%A9").unwrap();
        assert_eq!((sample.limit, sample.q.as_deref()), (Some(7), Some("a b&é")));
        assert!(parse::<Sample>("").is_ok());
    }

    #[test]
    fn each_fault_has_its_code() {
        for query in ["q=%ff", "q=%", "q=%zz", "q=1&q=2", "q=1&%71=2"] {
            assert_eq!(code(query), Some(Code::MalformedRequest), "{query}");
        }
        for query in [
            "limit=x",
            "limit=0",
            "limit=101",
            "limit=",
            "limit=99999999999999999999",
            "page=1",
            "q=%00",
        ] {
            assert_eq!(code(query), Some(Code::ValidationFailed), "{query}");
        }
    }

    #[test]
    fn a_fault_of_type_names_its_parameter() {
        let error = parse::<Sample>("limit=x").unwrap_err();
        assert_eq!(error.fields()[0].field, "limit");
    }

    #[test]
    fn a_page_is_read_beside_the_filter() {
        let Paged(filter, page) = parse_paged::<Filter>("q=ab&%6Cimit=7&cursor=x").ok().unwrap();
        assert_eq!((filter.q.as_deref(), page.limit), (Some("ab"), Some(7)));
        assert_eq!((page.cursor.as_deref(), page.count), (Some("x"), None));
        let fields = |query| -> Vec<String> {
            let error = parse_paged::<Filter>(query).err().unwrap();
            error.fields().iter().map(|fault| fault.field.to_string()).collect()
        };
        assert_eq!(fields("limit=0&q=a"), ["limit", "q"], "both are told at once");
        assert_eq!(fields("limit=7&page=2"), ["page"]);
        assert_eq!(fields("count=all"), ["count"]);
        assert!(parse_paged::<Filter>("limit=7&li%6Dit=8").is_err(), "twice");
    }
}
