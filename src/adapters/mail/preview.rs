//! Every letter as files, for whoever wants to see or translate them.

use std::{fs, io, path::Path};

use chrono::{DateTime, Utc};
use url::Url;
use uuid::Uuid;

use super::{Device, Letter, Letters, Mailer, Message, Moment};
use crate::{domain::email::Email, error::Error};

/// Writes `.txt`, `.html` and `.eml` of each; tells how many letters there are.
pub fn write(
    letters: &Letters,
    mailer: &Mailer,
    at: DateTime<Utc>,
    out: &Path,
) -> io::Result<usize> {
    fs::create_dir_all(out)?;
    let all = samples(&letters.home, at);
    for (number, letter) in all.iter().enumerate() {
        let content = letters.render(letter).map_err(told)?;
        let to = Email::parse("ada@example.com").map_err(told)?;
        let id = Uuid::from_u128(number as u128);
        let message = Message { id, to, date: at, content };
        let encoded = mailer.encode(&message).map_err(io::Error::other)?;
        let file = |form: &str| out.join(format!("{}.{form}", letter.name()));
        fs::write(file("txt"), &message.content.text)?;
        fs::write(file("html"), &message.content.html)?;
        fs::write(file("eml"), &encoded.bytes)?;
    }
    Ok(all.len())
}

fn told(error: Error) -> io::Error {
    io::Error::other(error.chain())
}

/// One of each.
pub(super) fn samples(home: &Url, at: DateTime<Utc>) -> Vec<Letter> {
    let at = Moment(at);
    let link = |page: &str| {
        let mut link = home.clone();
        link.set_path(&format!("{}/account/{page}", home.path().trim_end_matches('/')));
        link.set_fragment(Some("token=a-token-of-86-characters"));
        link
    };
    let device = || Device {
        name: "Mozilla/5.0 (X11; Linux x86_64) Firefox/140.0".to_owned(),
        address: "192.0.2.7".to_owned(),
    };
    vec![
        Letter::VerifyEmail { link: link("verify-email"), valid_for: "24 hours" },
        Letter::ResetPassword { link: link("reset-password"), valid_for: "30 minutes" },
        Letter::ChangeEmail { link: link("confirm-email"), valid_for: "24 hours" },
        Letter::EmailChanged { at },
        Letter::PasswordChanged { at },
        Letter::NewDevice { at, device: device() },
        Letter::TokenReused { at, device: device() },
        Letter::AlreadyRegistered { link: link("reset-password"), valid_for: "30 minutes" },
    ]
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn there_is_a_sample_of_every_letter() {
        let home = Url::parse("https://shop.example").unwrap();
        let all = samples(&home, DateTime::UNIX_EPOCH);
        let names: Vec<_> = all.iter().map(Letter::name).collect();
        assert_eq!(names, Letter::NAMES);
    }
}
