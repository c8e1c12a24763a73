//! What a key may hold: how each type of field is read from text, and what to say when it cannot
//! be. A problem never repeats the text it is about, because that may be a secret.

mod choice;
mod collection;
mod net;
mod rate;
mod secret;
mod slots;

use std::net::{IpAddr, SocketAddr};
use std::path::PathBuf;
use std::str::FromStr;
use std::time::Duration;

pub use choice::{Environment, ForwardedHeader, LocalDelivery, LogFormat};
pub use net::Origin;
pub use rate::Rate;
pub use secret::{MasterKey, Secret};
pub use slots::Slots;

/// A value as a layer gave it, before its type is known. It has no `Debug`: it may be a secret.
#[derive(Clone, PartialEq, Eq)]
pub(super) enum Raw {
    Text(String),
    List(Vec<String>),
    /// It could not be read, and a fault says so already.
    Faulty,
}

impl Raw {
    pub(super) fn is_blank(&self) -> bool {
        match self {
            Self::Text(text) => text.trim().is_empty(),
            Self::List(items) => items.is_empty(),
            Self::Faulty => false,
        }
    }

    pub(super) fn one(&self) -> Result<&str, String> {
        match self {
            Self::Text(text) => Ok(text),
            Self::List(_) => Err("must be one value, not a list".to_owned()),
            Self::Faulty => Err("could not be read".to_owned()),
        }
    }

    fn parsed<T: FromStr>(&self, problem: &str) -> Result<T, String> {
        self.one()?.parse().map_err(|_| problem.to_owned())
    }
}

/// A type of field. The error says what the value must be.
pub(super) trait Value: Sized {
    /// Whether the value is hidden wherever settings are listed.
    const SECRET: bool = false;
    /// Whether a blank value means "not set" and is a fault.
    const REQUIRED: bool = false;

    fn parse(raw: &Raw) -> Result<Self, String>;
}

/// The value for people to read. Text that does not parse is hidden too: it may be a secret that
/// was put into the wrong variable.
pub(super) fn shown<T: Value>(raw: &Raw) -> String {
    match raw {
        raw if raw.is_blank() => "(none)".to_owned(),
        _ if T::SECRET => "[secret]".to_owned(),
        raw if T::parse(raw).is_err() => "[invalid]".to_owned(),
        Raw::Text(text) => text.clone(),
        Raw::List(items) => items.join(", "),
        Raw::Faulty => "[invalid]".to_owned(),
    }
}

macro_rules! from_text {
    ($($type:ty: $problem:expr,)+) => { $(
        impl Value for $type {
            fn parse(raw: &Raw) -> Result<Self, String> {
                raw.parsed($problem)
            }
        }
    )+ };
}

from_text! {
    bool: "must be true or false",
    u16: "must be a whole number from 0 to 65535",
    u32: "must be a whole number from 0 to 4294967295",
    f64: "must be a number",
    usize: "must be a whole number, not negative",
    IpAddr: "must be an IP address",
    SocketAddr: "must be an IP address and a port, such as 127.0.0.1:9090",
}

impl Value for String {
    fn parse(raw: &Raw) -> Result<Self, String> {
        raw.one().map(str::to_owned)
    }
}

impl Value for PathBuf {
    fn parse(raw: &Raw) -> Result<Self, String> {
        raw.one().map(Self::from)
    }
}

/// Longer than any sensible setting, short enough that adding it to a time cannot overflow.
const LONGEST: Duration = Duration::from_secs(3660 * 24 * 60 * 60);

impl Value for Duration {
    fn parse(raw: &Raw) -> Result<Self, String> {
        match humantime::parse_duration(raw.one()?) {
            Ok(duration) if duration <= LONGEST => Ok(duration),
            Ok(_) => Err("must be at most 10 years".to_owned()),
            Err(_) => Err(r#"must be a duration such as "300ms", "10s" or "30d""#.to_owned()),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn text<T: Value>(text: &str) -> Result<T, String> {
        T::parse(&Raw::Text(text.to_owned()))
    }

    #[test]
    fn durations_are_written_with_a_unit() {
        assert_eq!(text("300ms"), Ok(Duration::from_millis(300)));
        assert_eq!(text("30d"), Ok(Duration::from_secs(30 * 24 * 60 * 60)));
        for wrong in ["10", "", "ten seconds", "-1s", "11y", "99999999999999999999y"] {
            assert!(text::<Duration>(wrong).is_err(), "{wrong}");
        }
    }

    #[test]
    fn a_list_is_no_value_for_a_single_field() {
        let list = Raw::List(vec!["8080".to_owned()]);
        assert_eq!(u16::parse(&list), Err("must be one value, not a list".to_owned()));
    }

    #[test]
    fn numbers_out_of_range_are_refused() {
        assert_eq!(text("65535"), Ok(65535_u16));
        for wrong in ["65536", "-1", "80.5", "", " 80"] {
            assert!(text::<u16>(wrong).is_err(), "{wrong}");
        }
    }
}
