//! Rates of requests.

use super::{Raw, Value};
use std::fmt;
use std::time::Duration;

/// So many requests in so much time, written `6000/1m`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Rate {
    pub limit: u64,
    pub window: Duration,
}

impl fmt::Display for Rate {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}/{}", self.limit, humantime::format_duration(self.window))
    }
}

impl Value for Rate {
    fn parse(raw: &Raw) -> Result<Self, String> {
        let text = raw.one()?;
        rate(text).ok_or_else(|| {
            "must be a rate such as 6000/1m: a number of requests, a window of whole seconds"
                .to_owned()
        })
    }
}

/// The window is whole seconds, because `RateLimit-Policy` can say nothing finer.
fn rate(text: &str) -> Option<Rate> {
    let (limit, window) = text.split_once('/')?;
    let limit = limit.trim().parse().ok().filter(|limit| *limit > 0)?;
    let window = Duration::parse(&Raw::Text(window.trim().to_owned())).ok()?;
    let whole = window.as_secs() > 0 && window.subsec_nanos() == 0;
    whole.then_some(Rate { limit, window })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_rate_is_a_number_and_a_window() {
        let minute = Rate { limit: 6000, window: Duration::from_secs(60) };
        assert_eq!(rate("6000/1m"), Some(minute));
        assert_eq!(minute.to_string(), "6000/1m");
        for wrong in ["6000", "6000/m", "0/1m", "10/0s", "10/1500ms", "-1/1s", "/1m", "10/"] {
            assert_eq!(rate(wrong), None, "{wrong}");
        }
    }
}
