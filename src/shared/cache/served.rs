//! What callers say of a value, and what they get.

use std::sync::Arc;

use bytes::Bytes;
use uuid::Uuid;

/// What an entry depends on.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct Tag {
    pub kind: &'static str,
    pub id: Uuid,
}

impl Tag {
    /// One that stands for all of its kind.
    pub const fn all(kind: &'static str) -> Self {
        Self { kind, id: Uuid::nil() }
    }
}

/// What a change made stale.
#[derive(Debug, Clone, Copy)]
pub enum Scope<'a> {
    Tags(&'a [Tag]),
    Everything,
}

/// What a door made of a value, ready to be sent: bytes, and a word beside them such as a version.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Rendered {
    pub label: String,
    pub body: Bytes,
}

/// How a read was answered.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Found {
    Hit,
    Miss,
    /// Expired, and being refreshed.
    Stale,
    /// Loaded, for the cache is off or cannot know what has changed.
    Bypass,
}

impl Found {
    pub fn as_str(self) -> &'static str {
        match self {
            Found::Hit => "hit",
            Found::Miss => "miss",
            Found::Stale => "stale",
            Found::Bypass => "bypass",
        }
    }
}

/// The answer to a read.
#[derive(Debug, Clone)]
pub struct Served {
    /// `None` when nothing is there.
    pub value: Option<Arc<Rendered>>,
    pub found: Found,
}
