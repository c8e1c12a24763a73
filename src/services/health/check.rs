//! One thing that an instance depends on, and how it stands.

use std::time::Duration;

use serde::Serialize;
use utoipa::ToSchema;

use crate::shared::feed::STALE_AFTER;

/// The feed is read a few times per second: by now something is in its way.
const LATE_AFTER: Duration = Duration::from_secs(5);

// From the best to the worst: they are compared.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize, ToSchema)]
#[serde(rename_all = "snake_case")]
pub enum Standing {
    Ok,
    /// Works, with a helper missing.
    Degraded,
    Unavailable,
}

/// One dependency.
#[derive(Debug, Clone, Serialize, ToSchema)]
pub struct Check {
    pub status: Standing,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub detail: Option<&'static str>,
}

impl Check {
    pub fn ok() -> Self {
        Self { status: Standing::Ok, detail: None }
    }

    pub fn ok_though(detail: &'static str) -> Self {
        Self { status: Standing::Ok, detail: Some(detail) }
    }

    pub fn degraded(detail: &'static str) -> Self {
        Self { status: Standing::Degraded, detail: Some(detail) }
    }

    pub fn unavailable(detail: &'static str) -> Self {
        Self { status: Standing::Unavailable, detail: Some(detail) }
    }

    pub fn is_up(&self) -> bool {
        self.status != Standing::Unavailable
    }

    /// An instance whose feed is stale honours no token: whoever can, asks another one.
    pub fn of_feed(age: Option<Duration>) -> Self {
        match age {
            Some(age) if age < LATE_AFTER => Self::ok(),
            Some(age) if age < STALE_AFTER => {
                Self::degraded("is late: changes made elsewhere are not known")
            }
            Some(_) => Self::unavailable("is stale: tokens are refused"),
            None => Self::unavailable("not yet read"),
        }
    }

    pub fn of_migrations(pending: usize) -> Self {
        match pending {
            0 => Self::ok(),
            _ => Self::unavailable("the database is behind this release"),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_feed_is_late_after_five_seconds_and_stale_when_tokens_are_refused() {
        let of = |secs| Check::of_feed(Some(Duration::from_secs(secs))).status;
        assert_eq!([of(0), of(4)], [Standing::Ok; 2]);
        assert_eq!([of(5), of(29)], [Standing::Degraded; 2]);
        assert_eq!([of(30), of(3600)], [Standing::Unavailable; 2]);
        assert_eq!(Check::of_feed(None).status, Standing::Unavailable);
    }

    #[test]
    fn the_worst_of_several_is_the_greatest() {
        assert!(Standing::Ok < Standing::Degraded && Standing::Degraded < Standing::Unavailable);
    }
}
