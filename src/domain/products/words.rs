//! The texts of a product.

use crate::{
    domain::text::is_deceptive,
    error::{Error, Result},
};

macro_rules! words {
    ($($(#[$doc:meta])* $name:ident)*) => {$(
        $(#[$doc])*
        #[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
        pub struct $name(String);

        impl $name {
            pub fn as_str(&self) -> &str {
                &self.0
            }
        }
    )*};
}

words! {
    /// The merchant's code: 1 to 64 visible ASCII characters.
    Sku
    /// One line of 1 to 200 characters.
    ProductName
    /// Up to 10,000 characters, in lines.
    Description
    /// Why stock was moved: one line of 1 to 200 characters.
    Reason
}

impl Sku {
    pub fn parse(input: &str) -> Result<Self> {
        let sku = input.trim();
        if sku.is_empty() || sku.len() > 64 || !sku.bytes().all(|b| b.is_ascii_graphic()) {
            let message = "must have 1 to 64 visible ASCII characters, without spaces";
            return Err(Error::invalid_field("sku", "format", message));
        }
        Ok(Self(sku.to_owned()))
    }
}

impl ProductName {
    pub fn parse(input: &str) -> Result<Self> {
        line("name", input).map(Self)
    }
}

impl Reason {
    pub fn parse(input: &str) -> Result<Self> {
        line("reason", input).map(Self)
    }
}

fn line(field: &'static str, input: &str) -> Result<String> {
    let text = input.trim();
    if text.is_empty() || text.chars().count() > 200 {
        return Err(Error::invalid_field(field, "length", "must have 1 to 200 characters"));
    }
    if text.chars().any(is_deceptive) {
        let message = "must not contain control or invisible characters";
        return Err(Error::invalid_field(field, "characters", message));
    }
    Ok(text.to_owned())
}

impl Description {
    pub fn parse(input: &str) -> Result<Self> {
        let refuse = |code, message| Err(Error::invalid_field("description", code, message));
        if input.chars().count() > 10_000 {
            return refuse("length", "must have at most 10000 characters");
        }
        if input.chars().any(|c| c.is_control() && !matches!(c, '\n' | '\r' | '\t')) {
            return refuse(
                "characters",
                "must not contain control characters other than line ends",
            );
        }
        Ok(Self(input.to_owned()))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_sku_is_visible_ascii() {
        assert_eq!(Sku::parse(" AB-12/x.y_z ").unwrap().as_str(), "AB-12/x.y_z");
        for bad in ["", "a b", "é", "a\0", &"x".repeat(65)] {
            assert!(Sku::parse(bad).is_err(), "{bad:?}");
        }
    }

    #[test]
    fn a_name_is_one_line_of_characters_not_bytes() {
        assert!(ProductName::parse(&"語".repeat(200)).is_ok());
        for bad in ["", "  ", "a\nb", "a\u{202e}b", &"語".repeat(201)] {
            assert!(ProductName::parse(bad).is_err(), "{bad:?}");
        }
    }

    #[test]
    fn a_description_has_lines_and_no_controls() {
        assert!(Description::parse("a\r\n\tb").is_ok() && Description::parse("").is_ok());
        assert!(Description::parse("a\u{7}").is_err());
        assert!(Description::parse(&"x".repeat(10_001)).is_err());
    }
}
