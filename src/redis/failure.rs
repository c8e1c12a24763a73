//! Why Redis gave no answer.

use deadpool_redis::redis::{self, ErrorKind};

/// The URL given to [`Redis::new`] is none. It may hold a password, so it is not repeated.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct InvalidUrl;

/// Why there is no answer. Holds neither address nor data.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum RedisError {
    /// Not connected, connection lost, or not tried because the breaker is open.
    Unavailable,
    /// The command may have been carried out all the same.
    Timeout,
    /// The server refused. Only the first word of its answer is kept, such as `READONLY`;
    /// `TYPE` stands for an answer that is not what the caller expected.
    Server(String),
}

impl RedisError {
    pub(super) fn word(&self) -> &'static str {
        match self {
            Self::Unavailable => "unavailable",
            Self::Timeout => "timeout",
            Self::Server(_) => "server",
        }
    }

    /// Whether Redis as a whole is of no use now, rather than this one command wrong.
    pub(super) fn is_outage(&self) -> bool {
        let Self::Server(kind) = self else {
            return true;
        };
        matches!(
            kind.as_str(),
            "BUSY"
                | "CLUSTERDOWN"
                | "LOADING"
                | "MASTERDOWN"
                | "MISCONF"
                | "NOAUTH"
                | "NOREPLICAS"
                | "OOM"
                | "READONLY"
        )
    }
}

impl From<&redis::RedisError> for RedisError {
    fn from(error: &redis::RedisError) -> Self {
        match (error.code(), error.kind()) {
            (Some(code), _) => Self::Server(code.to_owned()),
            (None, ErrorKind::UnexpectedReturnType) => Self::Server("TYPE".to_owned()),
            (None, _) if error.is_timeout() => Self::Timeout,
            (None, _) => Self::Unavailable,
        }
    }
}

impl std::fmt::Display for RedisError {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Self::Unavailable => f.write_str("redis is not available"),
            Self::Timeout => f.write_str("redis did not answer in time"),
            Self::Server(kind) => write!(f, "redis refused the command: {kind}"),
        }
    }
}

impl std::error::Error for RedisError {}

impl std::fmt::Display for InvalidUrl {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("the redis URL cannot be read (redis://, rediss:// or unix://)")
    }
}

impl std::error::Error for InvalidUrl {}
