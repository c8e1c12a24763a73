//! What is to be written to a user: plain data, kept in the queue until it is sent. It holds ids
//! and no secret: links are made when a letter is rendered (see services/auth/mail_tokens).

use chrono::{DateTime, Utc};
use serde::{Deserialize, Serialize};

use super::{
    audit::Origin,
    ids::{MailTokenId, UserId},
    text::is_deceptive,
};

#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "letter", rename_all = "snake_case")]
pub enum Mail {
    /// A link that confirms the address of a new account.
    VerifyEmail {
        token: MailTokenId,
    },
    /// A link that sets a new password.
    ResetPassword {
        token: MailTokenId,
    },
    /// A link that makes another address that of the account; it goes to the other address.
    ChangeEmail {
        token: MailTokenId,
    },
    /// To the former address, which stands nowhere else any more.
    EmailChanged {
        former_address: String,
        at: DateTime<Utc>,
    },
    PasswordChanged {
        user: UserId,
        at: DateTime<Utc>,
    },
    NewDevice {
        user: UserId,
        at: DateTime<Utc>,
        device: Device,
    },
    TokenReused {
        user: UserId,
        at: DateTime<Utc>,
        device: Device,
    },
    /// Instead of a refusal, which would tell strangers that the address has an account.
    /// With a link that sets a new password, since whoever forgot the account forgot that too.
    AlreadyRegistered {
        token: MailTokenId,
    },
}

/// Where something was done from.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Device {
    pub user_agent: Option<String>,
    pub address: Option<String>,
}

/// Enough to recognise a browser.
const LONGEST_NAME: usize = 120;

impl Device {
    /// What the client says of itself, without what a mail program would make a link of: whoever
    /// has stolen a password must not write into our letter where to click.
    pub fn name(&self) -> Option<String> {
        let mut rest = self.user_agent.as_deref()?.chars().take(LONGEST_NAME).peekable();
        let mut name = String::new();
        while let Some(c) = rest.next() {
            let version = c == '.' && rest.peek().is_some_and(char::is_ascii_digit);
            let plain = c.is_alphanumeric() || "()/;-_,".contains(c) || version;
            name.push(if plain && !is_deceptive(c) { c } else { ' ' });
        }
        let words: Vec<_> = name.split_whitespace().collect();
        (!words.is_empty()).then(|| words.join(" "))
    }
}

impl From<&Origin> for Device {
    fn from(origin: &Origin) -> Self {
        Self { user_agent: origin.user_agent.clone(), address: origin.address_text() }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn name(user_agent: &str) -> Option<String> {
        Device { user_agent: Some(user_agent.to_owned()), address: None }.name()
    }

    #[test]
    fn a_device_is_recognised_by_its_name() {
        let firefox = "Mozilla/5.0 (X11; Linux x86_64; rv:128.0) Gecko/20100101 Firefox/128.0";
        let shown = "Mozilla/5.0 (X11; Linux x86_64; rv 128.0) Gecko/20100101 Firefox/128.0";
        assert_eq!(name(firefox).as_deref(), Some(shown));
        assert_eq!(name(&"x".repeat(999)).unwrap().len(), LONGEST_NAME);
        assert_eq!(name(" \r\n "), None);
    }

    #[test]
    fn the_name_of_a_device_holds_no_link_and_no_second_line() {
        for hostile in ["https://evil.example/reset", "www.evil.example", "a@evil.example"] {
            let shown = name(hostile).unwrap();
            assert!(
                !shown.contains("://") && !shown.contains(".e") && !shown.contains('@'),
                "{shown}"
            );
        }
        assert_eq!(name("curl\r\nBcc: x\u{202e}y").as_deref(), Some("curl Bcc x y"));
    }

    #[test]
    fn a_mail_survives_the_queue() {
        let mail = Mail::NewDevice {
            user: UserId(uuid::Uuid::from_u128(7)),
            at: DateTime::from_timestamp(1_790_000_000, 0).unwrap(),
            device: Device { user_agent: Some("curl".to_owned()), address: None },
        };
        let text = serde_json::to_string(&mail).unwrap();
        assert!(text.starts_with(r#"{"letter":"new_device","user":"#), "{text}");
        assert_eq!(serde_json::from_str::<Mail>(&text).unwrap(), mail);
    }
}
