//! Imports: a file of products on its way into the catalogue.

use chrono::{DateTime, Utc};
use serde::{Deserialize, Serialize};
use utoipa::ToSchema;

use super::{
    csv::{Broken, Place},
    ids::{ImportId, JobId, UserId},
};
use crate::error::{Code, Error, Result};

mod head;
mod row;

pub use head::{Column, Head, MAX_HEAD};
pub use row::{Reject, Row, RowReader};

/// The longest record: a description and attributes at their bounds, every character quoted.
pub const MAX_RECORD: usize = 256 * 1024;
/// Rows that are stored together, with a checkpoint: what takes a busy database a second or so,
/// because every word of them is indexed.
pub const BATCH_ROWS: usize = 2_000;
/// A batch of long rows ends earlier.
pub const BATCH_BYTES: usize = 1 << 20;
/// Bad rows that are kept to be shown; the others are counted.
pub const REJECTS_KEPT: i64 = 1_000_000;

#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "snake_case")]
pub enum ImportState {
    /// The file is on its way here.
    Uploading,
    /// Waits for a worker.
    Queued,
    Running,
    Succeeded,
    Failed,
    Cancelled,
}

impl ImportState {
    pub const ALL: [ImportState; 6] = [
        ImportState::Uploading,
        ImportState::Queued,
        ImportState::Running,
        ImportState::Succeeded,
        ImportState::Failed,
        ImportState::Cancelled,
    ];

    pub fn as_str(self) -> &'static str {
        match self {
            ImportState::Uploading => "uploading",
            ImportState::Queued => "queued",
            ImportState::Running => "running",
            ImportState::Succeeded => "succeeded",
            ImportState::Failed => "failed",
            ImportState::Cancelled => "cancelled",
        }
    }

    pub fn parse(text: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|state| state.as_str() == text)
    }

    pub fn is_over(self) -> bool {
        matches!(self, ImportState::Succeeded | ImportState::Failed | ImportState::Cancelled)
    }
}

/// What becomes of the good rows of a file that has bad ones.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "snake_case")]
pub enum ImportMode {
    /// They are taken, batch by batch.
    #[default]
    Partial,
    /// All rows are taken in one moment, or none is.
    Atomic,
}

impl ImportMode {
    pub fn as_str(self) -> &'static str {
        match self {
            ImportMode::Partial => "partial",
            ImportMode::Atomic => "atomic",
        }
    }

    pub fn parse(text: &str) -> Option<Self> {
        [ImportMode::Partial, ImportMode::Atomic].into_iter().find(|mode| mode.as_str() == text)
    }
}

/// How a file is to be read.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Options {
    pub mode: ImportMode,
    /// Rows are judged and counted, and nothing is changed.
    pub dry_run: bool,
    /// The stock of products that exist is set too.
    pub sets_stock: bool,
}

/// Why an import failed as a whole.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Failure {
    pub code: String,
    pub detail: String,
    pub line: Option<i64>,
}

impl Failure {
    pub fn new(code: &str, detail: impl Into<String>) -> Self {
        Self { code: code.to_owned(), detail: detail.into(), line: None }
    }
}

impl From<Broken> for Failure {
    fn from(broken: Broken) -> Self {
        let (code, line, detail) = match broken {
            Broken::UnclosedQuote { line } => ("unclosed_quote", line, "a quote is not closed"),
            Broken::TooLong { line } => (
                "record_too_long",
                line,
                "a row takes more than 262144 bytes; perhaps a quote is not closed",
            ),
        };
        Self { line: i64::try_from(line).ok(), ..Self::new(code, detail) }
    }
}

#[derive(Debug, Clone)]
pub struct Import {
    pub id: ImportId,
    pub user_id: UserId,
    pub state: ImportState,
    pub options: Options,
    pub columns: Vec<Column>,
    pub bytes_total: i64,
    pub bytes_done: i64,
    pub next_line: i64,
    pub rows_at: i64,
    pub rows_line: i64,
    pub rows_read: i64,
    pub rows_upserted: i64,
    pub rows_rejected: i64,
    pub failure: Option<Failure>,
    pub job_id: Option<JobId>,
    pub created_at: DateTime<Utc>,
    pub updated_at: DateTime<Utc>,
    pub finished_at: Option<DateTime<Utc>>,
}

impl Import {
    /// Where reading goes on.
    pub fn checkpoint(&self) -> Place {
        place(self.bytes_done, self.next_line)
    }

    /// Where the rows begin.
    pub fn first_row(&self) -> Place {
        place(self.rows_at, self.rows_line)
    }

    /// 100 only when it has succeeded.
    pub fn percent(&self) -> i64 {
        match self.state {
            ImportState::Succeeded => 100,
            _ if self.bytes_total <= 0 => 0,
            _ => (self.bytes_done.saturating_mul(100) / self.bytes_total).clamp(0, 99),
        }
    }

    /// Bad rows that are counted and not kept.
    pub fn rejects_left_out(&self) -> i64 {
        (self.rows_rejected - REJECTS_KEPT).max(0)
    }
}

fn place(offset: i64, line: i64) -> Place {
    let positive = |n: i64| u64::try_from(n).unwrap_or_default();
    Place { offset: positive(offset), line: positive(line) }
}

/// A bad row as it is kept.
#[derive(Debug, Clone)]
pub struct KeptReject {
    pub line: i64,
    pub column_name: String,
    pub reason: String,
    pub original: String,
}

/// An upload of which nothing more comes.
pub fn interrupted() -> Error {
    Error::new(Code::Conflict, "the upload was given up or cancelled meanwhile")
}

/// Refusals of a file as such.
pub fn unreadable(code: &'static str, message: impl Into<std::borrow::Cow<'static, str>>) -> Error {
    Error::invalid_field("file", code, message)
}

/// What a cancelled import is told that has ended.
pub fn already_over(state: ImportState) -> Result<()> {
    match state {
        ImportState::Succeeded | ImportState::Failed => {
            Err(Error::new(Code::IllegalTransition, "the import has ended"))
        }
        _ => Ok(()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn words_of_states_and_modes_are_read_back() {
        for state in ImportState::ALL {
            assert_eq!(ImportState::parse(state.as_str()), Some(state));
        }
        assert_eq!(ImportMode::parse("atomic"), Some(ImportMode::Atomic));
        assert_eq!((ImportState::parse("gone"), ImportMode::parse("")), (None, None));
    }
}
