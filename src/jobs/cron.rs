//! Cron expressions, in UTC: five fields, or six with seconds first.

use std::str::FromStr;

use chrono::{DateTime, Utc};
use croner::Cron;

pub fn is_valid(expression: &str) -> bool {
    Cron::from_str(expression).is_ok()
}

/// The first tick after this moment.
pub fn next(expression: &str, after: DateTime<Utc>) -> Option<DateTime<Utc>> {
    Cron::from_str(expression).ok()?.find_next_occurrence(&after, false).ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn next_text(expression: &str, after: &str) -> String {
        next(expression, after.parse().unwrap()).unwrap().to_rfc3339()
    }

    #[test]
    fn the_next_tick_is_after_the_moment_and_never_at_it() {
        assert_eq!(next_text("*/5 * * * *", "2026-11-21T10:00:00Z"), "2026-11-21T10:05:00+00:00");
        assert_eq!(next_text("*/5 * * * *", "2026-11-21T10:04:59Z"), "2026-11-21T10:05:00+00:00");
        assert_eq!(next_text("0 0 29 2 *", "2026-11-21T10:00:00Z"), "2028-02-29T00:00:00+00:00");
        assert_eq!(next_text("*/2 * * * * *", "2026-11-21T10:00:00Z"), "2026-11-21T10:00:02+00:00");
    }

    #[test]
    fn what_is_no_expression_or_never_comes_is_none() {
        assert!(!is_valid("every day"));
        assert!(next("0 0 31 2 *", "2026-11-21T10:00:00Z".parse().unwrap()).is_none());
    }
}
