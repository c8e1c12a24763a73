//! The change feed: what became stale, written by the transaction that made it so.

use chrono::{DateTime, Utc};
use uuid::Uuid;

/// What kind of thing changed. The text is stored.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum ChangeKind {
    /// A session ended; `key` is its id.
    Session,
    /// A user's authorisation version was raised to `value`; `key` is the user's id.
    User,
    /// Signing keys were rotated or removed; `key` is nil.
    Keys,
    /// A product was written, and so lists and counts changed; `key` is its id and `value` its
    /// revision.
    Product,
    /// Anything in the catalogue may have changed, as after an import; `key` is nil.
    Catalogue,
}

impl ChangeKind {
    pub fn as_str(self) -> &'static str {
        match self {
            ChangeKind::Session => "session",
            ChangeKind::User => "user",
            ChangeKind::Keys => "keys",
            ChangeKind::Product => "product",
            ChangeKind::Catalogue => "catalogue",
        }
    }

    /// `None` for kinds of a later release, which this one has nothing to do for.
    pub fn parse(word: &str) -> Option<Self> {
        let all = [
            ChangeKind::Session,
            ChangeKind::User,
            ChangeKind::Keys,
            ChangeKind::Product,
            ChangeKind::Catalogue,
        ];
        all.into_iter().find(|kind| kind.as_str() == word)
    }
}

#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Change {
    pub id: i64,
    pub at: DateTime<Utc>,
    pub kind: String,
    pub key: Uuid,
    pub value: i64,
}
