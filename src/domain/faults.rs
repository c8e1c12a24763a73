//! Collects what is wrong with every field, so that all faults are told in one answer.

use crate::error::{Error, FieldError, Result};

#[derive(Debug, Default)]
pub struct Faults(Vec<FieldError>);

impl Faults {
    /// The value, or its faults for later.
    pub fn take<T>(&mut self, parsed: Result<T>) -> Option<T> {
        parsed.map_err(|error| self.0.extend_from_slice(error.fields())).ok()
    }

    /// The same for what may be left out.
    pub fn take_some<T>(&mut self, parsed: Option<Result<T>>) -> Option<T> {
        parsed.and_then(|parsed| self.take(parsed))
    }

    /// All faults, if there was one.
    pub fn end(self) -> Result<()> {
        if self.0.is_empty() { Ok(()) } else { Err(Error::invalid(self.0)) }
    }
}
