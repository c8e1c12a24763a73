//! A message, and the bytes that go over the wire.
//!
//! No header can be injected: the recipient is an [`Email`], the subject is a constant, the
//! id a UUID, and sender and host come from the configuration, which has checked them.

use std::{io, time::SystemTime};

use chrono::{DateTime, Utc};
use lettre::{
    Address,
    message::{
        Mailbox, MultiPart,
        header::{Header, HeaderName, HeaderValue},
    },
};
use uuid::Uuid;

use super::{Content, SendFailure};
use crate::{config, domain::email::Email};

/// What is sent to whom. The same id makes the same `Message-ID`, by which a mailbox that gets
/// a message twice can tell.
pub struct Message {
    pub id: Uuid,
    pub to: Email,
    pub date: DateTime<Utc>,
    pub content: Content,
}

/// A message ready to go.
pub struct Encoded {
    pub id: Uuid,
    pub message_id: String,
    pub content: Content,
    pub bytes: Vec<u8>,
    pub(super) from: Address,
    pub(super) to: Address,
}

pub(super) struct Sender {
    mailbox: Mailbox,
}

/// RFC 3834: vacation responders keep silent.
#[derive(Clone)]
struct AutoSubmitted;

impl Header for AutoSubmitted {
    fn name() -> HeaderName {
        HeaderName::new_from_ascii_str("Auto-Submitted")
    }

    fn parse(_: &str) -> Result<Self, Box<dyn std::error::Error + Send + Sync>> {
        Ok(Self)
    }

    fn display(&self) -> HeaderValue {
        HeaderValue::new(Self::name(), "auto-generated".to_owned())
    }
}

impl Sender {
    pub fn new(config: &config::Mail) -> io::Result<Self> {
        let address = config.from_address.parse::<Address>().map_err(io::Error::other)?;
        Ok(Self { mailbox: Mailbox::new(Some(config.from_name.clone()), address) })
    }

    pub fn encode(&self, message: &Message) -> Result<Encoded, SendFailure> {
        let unfit = |_| SendFailure::permanent("the address is none that SMTP can carry");
        let to: Address = message.to.address().parse().map_err(unfit)?;
        let from = self.mailbox.email.clone();
        let message_id = format!("<{}@{}>", message.id, from.domain());
        let Content { text, html, .. } = message.content.clone();
        let built = lettre::Message::builder()
            .from(self.mailbox.clone())
            .to(to.clone().into())
            .subject(message.content.subject)
            .date(SystemTime::from(message.date))
            .message_id(Some(message_id.clone()))
            .header(AutoSubmitted)
            .multipart(MultiPart::alternative_plain_html(text, html))
            .map_err(|_| SendFailure::permanent("the message cannot be put together"))?;
        let (id, content) = (message.id, message.content.clone());
        Ok(Encoded { id, message_id, content, bytes: built.formatted(), from, to })
    }
}

impl Encoded {
    /// The recipient's address.
    pub fn recipient(&self) -> String {
        self.to.to_string()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config::{Config, Inputs};

    fn sender(name: &str) -> Sender {
        let vars = [
            ("DATABASE_URL", "postgres://localhost/mainstay"),
            ("APP__MAIL__FROM_NAME", name),
            ("APP__MAIL__FROM_ADDRESS", "shop@shop.example"),
        ];
        let vars = vars.map(|(name, value)| (name.to_owned(), value.to_owned())).into();
        let config = Config::load(&Inputs { vars, config_dir: None }).unwrap();
        Sender::new(&config.mail).unwrap()
    }

    fn message(to: &str, text: &str) -> Message {
        Message {
            id: Uuid::from_u128(7),
            to: Email::parse(to).unwrap(),
            date: DateTime::from_timestamp(1_790_000_000, 0).unwrap(),
            content: Content { subject: "Hello", text: text.to_owned(), html: text.to_owned() },
        }
    }

    fn head(sender: &Sender, message: &Message) -> String {
        let text = String::from_utf8(sender.encode(message).unwrap().bytes).unwrap();
        text.split("\r\n\r\n").next().unwrap().to_owned()
    }

    #[test]
    fn the_head_says_from_whom_to_whom_when_and_that_no_human_wrote_it() {
        let head = head(&sender("The Shop"), &message("Ada@Example.com", "hello"));
        for line in [
            "From: \"The Shop\" <shop@shop.example>",
            "To: Ada@example.com",
            "Subject: Hello",
            "Date: Mon, 21 Sep 2026 14:13:20 +0000",
            "Message-ID: <00000000-0000-0000-0000-000000000007@shop.example>",
            "Auto-Submitted: auto-generated",
            "MIME-Version: 1.0",
        ] {
            assert!(head.lines().any(|found| found == line), "{line} is not in\n{head}");
        }
        assert!(head.contains("multipart/alternative"), "{head}");
    }

    #[test]
    fn no_text_becomes_a_header() {
        let hostile = "x\r\nBcc: a@b.example\r\n\r\n.\r\nMAIL FROM:<a@b.example>";
        let encoded = sender("The Shop").encode(&message("ada@example.com", hostile)).unwrap();
        let text = String::from_utf8(encoded.bytes).unwrap();
        let head = text.split("\r\n\r\n").next().unwrap();
        assert!(!head.contains("Bcc"), "{head}");
        assert_eq!(head.matches("\nTo: ").count(), 1);
    }

    #[test]
    fn what_would_inject_a_header_is_no_recipient() {
        for hostile in [
            "x\r\nBcc: a@b.example",
            "ada@example.com\r\nBcc: a@b.example",
            "ada@example.com, a@b.example",
            "Ada <ada@example.com>",
            "ada@example.com\nRCPT TO:<a@b.example>",
            "\"x\r\n\"@example.com",
        ] {
            assert!(Email::parse(hostile).is_err(), "{hostile:?}");
        }
    }

    #[test]
    fn names_and_addresses_beyond_ascii_are_kept() {
        let head = head(&sender("Bücher & Söhne"), &message("jösé@bücher.example", "hello"));
        assert!(head.contains("From: =?utf-8?b?"), "{head}");
        assert!(head.contains("@xn--bcher-kva.example"), "{head}");
    }
}
