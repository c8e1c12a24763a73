//! The links in our mails: what each is for, and how long it holds.

use std::time::Duration;

/// What a link does, once.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, sqlx::Type)]
#[sqlx(type_name = "text", rename_all = "snake_case")]
pub enum Purpose {
    VerifyEmail,
    ResetPassword,
    /// Makes the address that it was sent to that of the account.
    ChangeEmail,
}

impl Purpose {
    pub const ALL: [Purpose; 3] =
        [Purpose::VerifyEmail, Purpose::ResetPassword, Purpose::ChangeEmail];

    pub fn as_str(self) -> &'static str {
        match self {
            Purpose::VerifyEmail => "verify_email",
            Purpose::ResetPassword => "reset_password",
            Purpose::ChangeEmail => "change_email",
        }
    }

    pub fn valid_for(self) -> Duration {
        match self {
            Purpose::VerifyEmail | Purpose::ChangeEmail => Duration::from_hours(24),
            Purpose::ResetPassword => Duration::from_mins(30),
        }
    }

    /// The same for readers.
    pub fn valid_for_text(self) -> &'static str {
        match self {
            Purpose::VerifyEmail | Purpose::ChangeEmail => "24 hours",
            Purpose::ResetPassword => "30 minutes",
        }
    }

    /// The page that the link opens, below the base of links.
    pub fn page(self) -> &'static str {
        match self {
            Purpose::VerifyEmail => "account/verify-email",
            Purpose::ResetPassword => "account/reset-password",
            Purpose::ChangeEmail => "account/confirm-email",
        }
    }
}

/// Links of one purpose that an account is sent in an hour: whoever floods a mailbox through us
/// is stopped before its owner calls us spam.
pub const ISSUES_PER_HOUR: i32 = 5;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn links_hold_no_longer_than_promised_and_readers_are_told_the_same() {
        for purpose in Purpose::ALL {
            let secs = purpose.valid_for().as_secs();
            let (bound, text) = match purpose {
                Purpose::ResetPassword => (30 * 60, format!("{} minutes", secs / 60)),
                _ => (24 * 3600, format!("{} hours", secs / 3600)),
            };
            assert!(secs <= bound && purpose.valid_for_text() == text, "{purpose:?}");
        }
    }
}
