//! Faults of the configuration, gathered so that one run names them all.

use super::source::Source;
use std::fmt;

/// One thing that is wrong: the key, where its value came from, and what it must be instead. It
/// never holds the value.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Fault {
    key: Option<String>,
    origin: String,
    problem: String,
}

impl Fault {
    /// The key, such as `server.port`; none if a whole file or the environment is at fault.
    pub fn key(&self) -> Option<&str> {
        self.key.as_deref()
    }

    /// Where the value came from, such as `environment variable PORT`.
    pub fn origin(&self) -> &str {
        &self.origin
    }

    /// What is wrong.
    pub fn problem(&self) -> &str {
        &self.problem
    }
}

impl fmt::Display for Fault {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match &self.key {
            Some(key) => write!(f, "{key} ({}): {}", self.origin, self.problem),
            None => write!(f, "{}: {}", self.origin, self.problem),
        }
    }
}

/// Everything that is wrong with the configuration, one line a fault.
#[derive(Debug, Clone)]
pub struct ConfigError {
    pub(super) faults: Vec<Fault>,
}

impl ConfigError {
    pub fn faults(&self) -> &[Fault] {
        &self.faults
    }
}

impl fmt::Display for ConfigError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let count = self.faults.len();
        write!(f, "the configuration has {count} fault{}", if count == 1 { "" } else { "s" })?;
        self.faults.iter().try_for_each(|fault| write!(f, "\n  {fault}"))
    }
}

impl std::error::Error for ConfigError {}

/// The faults found so far.
#[derive(Default)]
pub(super) struct Faults(Vec<Fault>);

impl Faults {
    pub(super) fn key(&mut self, key: &str, source: &Source, problem: impl Into<String>) {
        // A key of a file may hold a line break, which would forge a line of the report.
        let key = Some(key.escape_debug().to_string());
        self.0.push(Fault { key, origin: source.to_string(), problem: problem.into() });
    }

    pub(super) fn whole(&mut self, source: &Source, problem: impl Into<String>) {
        self.0.push(Fault { key: None, origin: source.to_string(), problem: problem.into() });
    }

    pub(super) fn into_vec(self) -> Vec<Fault> {
        self.0
    }
}
