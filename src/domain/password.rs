//! Passwords: what is accepted as new, and how they are kept out of logs.

use std::fmt;

use secrecy::{ExposeSecret, SecretString};
use unicode_normalization::UnicodeNormalization;

use crate::error::{Error, FieldError, Result};

const MIN_CHARS: usize = 8;
/// Far above any passphrase, far below what would make hashing or scoring a burden.
const MAX_BYTES: usize = 1024;
/// zxcvbn's cost grows with the square of the length; the first part decides for long ones.
const SCORED_CHARS: usize = 100;
const MIN_SCORE: u8 = 3;
/// Context words shorter than this would refuse too much by accident.
const MIN_CONTEXT_CHARS: usize = 4;
const PRODUCT: &str = "mainstay";

/// A password in Unicode NFC (NIST SP 800-63B-4, 3.1.1.2), whole and untruncated.
#[derive(Clone)]
pub struct Password(SecretString);

impl Password {
    /// Any password that may be compared with a stored hash. `field` names it in a refusal.
    pub fn parse(field: &'static str, input: &str) -> Result<Self> {
        if input.len() > MAX_BYTES {
            return Err(refuse(field, "length", "has more than 1024 bytes"));
        }
        Ok(Self(input.nfc().collect::<String>().into()))
    }

    /// A password good enough to be set: long enough, hard to guess (zxcvbn score 3 of 4, which
    /// knows the common and breached ones), and without the words an attacker tries first.
    pub fn parse_new(field: &'static str, input: &str, context: &[&str]) -> Result<Self> {
        let password = Self::parse(field, input)?;
        let text = password.expose();
        if text.chars().count() < MIN_CHARS {
            return Err(refuse(field, "length", "has fewer than 8 characters"));
        }
        if contains_context(text, context) {
            return Err(refuse(field, "context", "contains the product's or the user's name"));
        }
        if score(text, context) < MIN_SCORE {
            return Err(refuse(field, "weak", "is too easy to guess"));
        }
        Ok(password)
    }

    pub fn expose(&self) -> &str {
        self.0.expose_secret()
    }
}

impl fmt::Debug for Password {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Password(***)")
    }
}

fn refuse(field: &'static str, code: &'static str, message: &'static str) -> Error {
    Error::invalid(vec![FieldError::new(field, code, message)])
}

fn score(text: &str, context: &[&str]) -> u8 {
    let head: String = text.chars().take(SCORED_CHARS).collect();
    u8::from(zxcvbn::zxcvbn(&head, context).score())
}

fn contains_context(text: &str, context: &[&str]) -> bool {
    let text = text.to_lowercase();
    let words = context.iter().flat_map(|words| words.split(|c: char| !c.is_alphanumeric()));
    words
        .chain([PRODUCT])
        .map(str::to_lowercase)
        .any(|word| word.chars().count() >= MIN_CONTEXT_CHARS && text.contains(&word))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn accepts(input: &str) -> bool {
        Password::parse_new("password", input, &["ada.lovelace", "Ada Lovelace"]).is_ok()
    }

    #[test]
    fn strong_passwords_of_any_alphabet_and_length_are_accepted() {
        assert!(accepts("orbit velvet lantern"));
        assert!(accepts("пароль-зелёный-верблюд-77"));
        let long: String = (0..128).map(|n| char::from_u32(0x430 + n * 7 % 32).unwrap()).collect();
        assert!(accepts(&long));
    }

    #[test]
    fn common_short_and_personal_passwords_are_refused() {
        for input in [
            "short7!",
            "password",
            "12345678",
            "qwertyuiop",
            "iloveyou",
            "letmein123",
            "Passw0rd",
            "Password123!",
            "sunshine1",
            "football12",
            "monkey123",
            "aaaaaaaaaaaa",
            "abcdefgh1",
            "Mainstay-violin-74",
            "lovelace-violin-74",
            "11223344",
            "zaq12wsx",
            "trustno1!",
        ] {
            assert!(!accepts(input), "{input}");
        }
    }

    #[test]
    fn more_than_a_kibibyte_is_refused_without_being_scored() {
        let started = std::time::Instant::now();
        assert!(Password::parse("password", &"x".repeat(1025)).is_err());
        assert!(Password::parse_new("password", &"x".repeat(10_000_000), &[]).is_err());
        assert!(started.elapsed().as_millis() < 500);
    }

    #[test]
    fn composed_and_decomposed_forms_are_one_password() {
        let composed = Password::parse("password", "caf\u{e9} noir 1815").unwrap();
        let decomposed = Password::parse("password", "cafe\u{301} noir 1815").unwrap();
        assert_eq!(composed.expose(), decomposed.expose());
    }

    #[test]
    fn debug_shows_nothing() {
        let password = Password::parse("password", "canary").unwrap();
        assert_eq!(format!("{password:?}"), "Password(***)");
    }
}
