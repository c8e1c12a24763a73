//! `limits`: how many requests a client may send.

use super::section::section;
use super::types::Rate;

section! {
    /// Rates of requests, written `6000/1m`. The type refuses what makes no sense.
    pub struct Limits ("limits", drafted as LimitsDraft) {
        /// Whether rates are limited at all.
        pub enabled: bool,
        /// Requests per actor, or per address without one.
        pub default: Rate,
        /// Requests per address that carry a password or the like.
        pub credentials: Rate,
        /// Requests per session for new tokens.
        pub refresh: Rate,
    }
}
