//! Sessions, the identity a request speaks with, and the rules of refresh.

use std::time::Duration;

use chrono::{DateTime, Utc};

use super::{
    ids::{SessionId, UserId},
    users::Role,
};

/// Who a verified access token speaks for. Roles and sessions are those of the token: a change
/// raises the user's version or ends the session, and the change feed refuses the token then.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Identity {
    pub user_id: UserId,
    pub session_id: SessionId,
    pub role: Role,
    pub version: i64,
}

/// A login on one device.
#[derive(Debug, Clone)]
pub struct Session {
    pub id: SessionId,
    pub device_name: Option<String>,
    pub user_agent: Option<String>,
    pub address: Option<String>,
    pub created_at: DateTime<Utc>,
    pub last_used_at: DateTime<Utc>,
    pub expires_at: DateTime<Utc>,
}

/// What a presented refresh token is in the history of its session.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Presented {
    /// The newest one: it is rotated.
    Leaf,
    /// The one before, again and soon: a second tab or a lost answer. It gets the same successor.
    Retry,
    /// One that must not come again: somebody else holds a copy, so the session ends.
    Reused,
}

impl Presented {
    /// `generation` is the presented token's, `newest` the session's; `since_use` is the time
    /// since the presented token was first used.
    pub fn classify(
        generation: i32,
        newest: i32,
        since_use: Option<Duration>,
        window: Duration,
    ) -> Self {
        let soon = since_use.is_some_and(|age| age <= window);
        match newest - generation {
            0 => Presented::Leaf,
            1 if soon => Presented::Retry,
            _ => Presented::Reused,
        }
    }
}

/// Why a session ended, as the audit trail and the session row keep it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum EndReason {
    Logout,
    LogoutAll,
    EndedByUser,
    EndedByAdmin,
    PasswordChanged,
    PasswordReset,
    RefreshTokenReused,
    AccountDeleted,
}

impl EndReason {
    pub fn as_str(self) -> &'static str {
        match self {
            EndReason::Logout => "logout",
            EndReason::LogoutAll => "logout_all",
            EndReason::EndedByUser => "ended_by_user",
            EndReason::EndedByAdmin => "ended_by_admin",
            EndReason::PasswordChanged => "password_changed",
            EndReason::PasswordReset => "password_reset",
            EndReason::RefreshTokenReused => "refresh_token_reused",
            EndReason::AccountDeleted => "account_deleted",
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const WINDOW: Duration = Duration::from_secs(10);

    #[test]
    fn the_newest_token_is_rotated_however_old_it_is() {
        assert_eq!(Presented::classify(4, 4, None, WINDOW), Presented::Leaf);
    }

    #[test]
    fn the_parent_is_a_retry_for_ten_seconds_and_a_theft_afterwards() {
        let at = |ms| Presented::classify(3, 4, Some(Duration::from_millis(ms)), WINDOW);
        assert_eq!(at(0), Presented::Retry);
        assert_eq!(at(10_000), Presented::Retry);
        assert_eq!(at(10_001), Presented::Reused);
    }

    #[test]
    fn an_older_ancestor_is_a_theft_at_any_time() {
        assert_eq!(Presented::classify(2, 4, Some(Duration::ZERO), WINDOW), Presented::Reused);
        assert_eq!(Presented::classify(0, 9, Some(Duration::ZERO), WINDOW), Presented::Reused);
    }
}
