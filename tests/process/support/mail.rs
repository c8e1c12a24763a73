//! Messages to send, and who sends them.

use chrono::DateTime;
use mainstay::{
    adapters::mail::{Content, Mailer, Message, SendFailure},
    config::{Config, Inputs},
    domain::email::Email,
};
use uuid::Uuid;

use super::smtp::Relay;

/// That talks to this relay, with settings of the test upon the usual ones.
pub fn mailer(relay: &Relay, vars: &[(&str, &str)]) -> Mailer {
    let url = relay.url();
    let usual = [
        ("DATABASE_URL", "postgres://localhost/mainstay"),
        ("SMTP_URL", url.as_str()),
        ("APP__MAIL__FROM_ADDRESS", "shop@shop.example"),
    ];
    let all = usual.iter().chain(vars);
    let vars = all.map(|(name, value)| ((*name).to_owned(), (*value).to_owned())).collect();
    let config = Config::load(&Inputs { vars, config_dir: None });
    Mailer::new(&config.unwrap_or_else(|faults| panic!("{faults}")).mail).expect("a mailer")
}

pub fn message(number: u128, to: &str) -> Message {
    Message {
        id: Uuid::from_u128(number),
        to: Email::parse(to).expect("an address"),
        date: DateTime::from_timestamp(1_790_000_000, 0).expect("a time"),
        content: Content {
            subject: "A test",
            text: "the text".to_owned(),
            html: "<p>the HTML</p>".to_owned(),
        },
    }
}

/// Why a message to somebody is not sent.
pub async fn failure(mailer: &Mailer, number: u128) -> SendFailure {
    mailer.send(&message(number, "ada@example.com")).await.expect_err("it is not sent")
}
