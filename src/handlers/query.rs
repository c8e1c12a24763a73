//! Query parameters, as strictly read as bodies.

use std::collections::HashSet;

use axum::extract::FromRequestParts;
use http::request::Parts;
use percent_encoding::percent_decode_str;
use serde::de::DeserializeOwned;
use validator::Validate;

use super::json::type_fault;
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
    let parser = serde_urlencoded::Deserializer::new(url::form_urlencoded::parse(query.as_bytes()));
    let value: T = serde_path_to_error::deserialize(parser).map_err(|error| type_fault(&error))?;
    value.validate().map_err(|errors| super::json::broken_rules(&errors))?;
    Ok(value)
}

/// Decodable, nothing twice, no NUL.
fn check(query: &str) -> Result<()> {
    let mut seen = HashSet::new();
    for pair in query.split('&').filter(|pair| !pair.is_empty()) {
        let (name, value) = pair.split_once('=').unwrap_or((pair, ""));
        let (name, value) = (decode(name)?, decode(value)?);
        if value.contains('\0') || name.contains('\0') {
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
    use serde::Deserialize;

    #[derive(Deserialize, Validate, Debug)]
    #[serde(deny_unknown_fields)]
    struct Sample {
        #[validate(range(min = 1, max = 100))]
        limit: Option<i64>,
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
}
