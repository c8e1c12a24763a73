//! Keyset pages: lists are walked by the sort key of the last row seen, never by OFFSET, so
//! that rows inserted or deleted meanwhile make none of the others skip or repeat.

use serde::{Deserialize, Serialize};
use uuid::Uuid;

use chrono::{DateTime, Utc};

pub const DEFAULT_LIMIT: i64 = 20;
pub const MAX_LIMIT: i64 = 100;

/// Where the previous page ended: newest first, ties broken by id.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct After {
    pub at: DateTime<Utc>,
    pub id: Uuid,
}

/// `K` is where a page ends, in the order of its list.
#[derive(Debug, Clone, Copy)]
pub struct PageRequest<K = After> {
    pub limit: i64,
    pub after: Option<K>,
    /// Whether the number of all matching rows is wanted (`count=exact`).
    pub count: bool,
}

#[derive(Debug, Clone)]
pub struct Page<T, K = After> {
    pub rows: Vec<T>,
    pub next: Option<K>,
    pub total: Option<i64>,
}

impl<T, K> Page<T, K> {
    /// `rows` were fetched with one more than the limit: that one tells whether a page follows.
    pub fn cut(mut rows: Vec<T>, limit: i64, total: Option<i64>, key: impl Fn(&T) -> K) -> Self {
        let limit = usize::try_from(limit).unwrap_or(usize::MAX);
        let more = rows.len() > limit;
        rows.truncate(limit);
        let next = if more { rows.last().map(key) } else { None };
        Self { rows, next, total }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn after(n: &u128) -> After {
        After { at: DateTime::UNIX_EPOCH, id: Uuid::from_u128(*n) }
    }

    #[test]
    fn a_full_page_with_one_more_row_names_its_last_row() {
        let page = Page::cut(vec![1, 2, 3], 2, None, after);
        assert_eq!((page.rows, page.next), (vec![1, 2], Some(after(&2))));
    }

    #[test]
    fn the_last_page_has_no_next() {
        assert_eq!(Page::cut(vec![1, 2], 2, None, after).next, None);
    }
}
