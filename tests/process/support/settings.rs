//! The environment of a process: what is not said here is not in it.

use std::{collections::BTreeMap, process::Command};

use super::{required, unique};

pub const BINARY: &str = env!("CARGO_BIN_EXE_mainstay");

#[derive(Clone, Default)]
pub struct Settings(BTreeMap<String, String>);

impl Settings {
    /// Nothing at all: the defaults of development.
    pub fn bare() -> Self {
        Self::default()
    }

    /// An instance for tests: any free port, a log that can be read, no limits in the way, and a
    /// machine that others keep busy does not look like an overload.
    pub fn new(database_url: &str) -> Self {
        Self::bare()
            .set("DATABASE_URL", database_url)
            .set("PORT", "0")
            .set("APP__LOG__FORMAT", "json")
            .set("APP__LIMITS__ENABLED", "false")
            .set("APP__MAIL__LOCAL_DELIVERY", "memory")
            // Within the shortest shutdown that a test asks for.
            .set("APP__JOBS__DRAIN_TIMEOUT", "500ms")
            .set("APP__SERVER__TOLERATED_WAIT", "4s")
    }

    /// With the Redis that all tests share, under a prefix of its own.
    pub fn with_redis(self) -> Self {
        self.set("REDIS_URL", required("REDIS_URL"))
            .set("APP__REDIS__PREFIX", unique("test").replace('_', "-") + ":")
    }

    pub fn set(mut self, name: &str, value: impl Into<String>) -> Self {
        self.0.insert(name.to_owned(), value.into());
        self
    }

    /// A line for a shell, to which the binary is `$0`.
    pub fn command_in_shell(&self, line: &str) -> Command {
        let mut command = Command::new("/bin/sh");
        command.args(["-c", line, BINARY]).env_clear().envs(&self.0);
        command
    }

    pub fn command(&self, arguments: &[&str]) -> Command {
        let mut command = Command::new(BINARY);
        command.args(arguments).env_clear().envs(&self.0);
        command
    }
}
