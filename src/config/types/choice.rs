//! Values that are one of a few words.

use super::{Raw, Value};
use std::fmt;

macro_rules! choice {
    (
        $(#[doc = $about:literal])*
        pub enum $name:ident { $($(#[doc = $doc:literal])* $variant:ident = $word:literal,)+ }
    ) => {
        $(#[doc = $about])*
        #[derive(Debug, Clone, Copy, PartialEq, Eq)]
        pub enum $name { $($(#[doc = $doc])* $variant,)+ }

        impl Value for $name {
            fn parse(raw: &Raw) -> Result<Self, String> {
                match raw.one()? {
                    $($word => Ok(Self::$variant),)+
                    _ => Err(format!("must be one of {}", [$($word),+].join(", "))),
                }
            }
        }

        impl fmt::Display for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str(match self { $(Self::$variant => $word,)+ })
            }
        }
    };
}

choice! {
    /// Where the process runs: it chooses the file of settings and how strict the rules are.
    pub enum Environment {
        /// A developer's machine; the default.
        Development = "development",
        /// Real users: no secret of development, no insecure cookie.
        Production = "production",
        /// Automatic tests, which set what they need themselves.
        Test = "test",
    }
}

choice! {
    /// The header in which a trusted proxy names the client.
    pub enum ForwardedHeader {
        /// The peer of the connection is the client.
        None = "none",
        /// `X-Forwarded-For`, the convention.
        XForwardedFor = "x-forwarded-for",
        /// `Forwarded`, RFC 7239.
        Forwarded = "forwarded",
    }
}

choice! {
    /// How a line of the log is written.
    pub enum LogFormat {
        /// One JSON object a line, for machines.
        Json = "json",
        /// Coloured text, for people.
        Pretty = "pretty",
    }
}

choice! {
    /// Where mail goes when no relay is named.
    pub enum LocalDelivery {
        /// A file for each message, which mail programs open.
        Directory = "directory",
        /// Kept while the process runs; for tests.
        Memory = "memory",
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_word_that_is_no_choice_is_told_the_choices() {
        let parse = |text: &str| ForwardedHeader::parse(&Raw::Text(text.to_owned()));
        assert_eq!(parse("x-forwarded-for"), Ok(ForwardedHeader::XForwardedFor));
        let problem = "must be one of none, x-forwarded-for, forwarded".to_owned();
        assert_eq!(parse("X-Real-Ip"), Err(problem));
    }
}
