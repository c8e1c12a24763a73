//! E-mail addresses: what was typed, and the key by which two spellings are one mailbox.

use std::{fmt, net::IpAddr};

use unicode_normalization::UnicodeNormalization;

use super::text::is_deceptive;
use crate::error::{Error, FieldError, Result};

/// RFC 5321 4.5.3.1: a path has at most 256 octets, two of them angle brackets.
const MAX_ADDRESS: usize = 254;
const MAX_LOCAL: usize = 64;

/// An address fit to receive mail, and the canonical form that must be unique.
///
/// Mail goes to `address`; accounts are found by `key`, which folds case, compatibility forms
/// (full width, ligatures) and composition, and writes the domain in its ASCII form (UTS 46).
#[derive(Clone, PartialEq, Eq)]
pub struct Email {
    address: String,
    key: String,
}

impl Email {
    pub fn parse(input: &str) -> Result<Self> {
        Self::try_parse(input).ok_or_else(|| {
            Error::invalid(vec![FieldError::new("email", "email", "is not an e-mail address")])
        })
    }

    fn try_parse(input: &str) -> Option<Self> {
        let input = input.trim();
        if input.len() > MAX_ADDRESS || input.chars().any(is_out_of_place) {
            return None;
        }
        let (local, domain) = input.rsplit_once('@')?;
        let domain = ascii_domain(domain)?;
        let folded: String = local.nfkc().flat_map(char::to_lowercase).nfkc().collect();
        let (address, key) = (format!("{local}@{domain}"), format!("{folded}@{domain}"));
        // The ASCII form of a domain is longer than what was typed.
        let short = address.len() <= MAX_ADDRESS && key.len() <= MAX_ADDRESS;
        (short && is_dot_atom(local) && is_dot_atom(&folded)).then_some(Self { address, key })
    }

    /// As typed, with the domain in ASCII: where mail goes.
    pub fn address(&self) -> &str {
        &self.address
    }

    /// Equal for all spellings of one mailbox: what is unique.
    pub fn key(&self) -> &str {
        &self.key
    }

    /// The words a password must not contain.
    pub fn local_part(&self) -> &str {
        self.key.split('@').next().unwrap_or_default()
    }
}

/// Addresses are personal data: a log line shows only the domain.
impl fmt::Debug for Email {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Email(***@{})", self.key.rsplit('@').next().unwrap_or_default())
    }
}

/// Joiners and variation selectors have no place in an address either.
fn is_out_of_place(c: char) -> bool {
    is_deceptive(c)
        || c.is_whitespace()
        || matches!(c, '\u{200c}' | '\u{200d}' | '\u{fe00}'..='\u{fe0f}')
}

/// RFC 5321 dot-string with the characters of RFC 6531; quoted strings are not accepted.
fn is_dot_atom(local: &str) -> bool {
    let allowed =
        |c: char| c.is_alphanumeric() || !c.is_ascii() || "!#$%&'*+/=?^_`{|}~-".contains(c);
    !local.is_empty()
        && local.len() <= MAX_LOCAL
        && local.split('.').all(|atom| !atom.is_empty() && atom.chars().all(allowed))
}

fn ascii_domain(domain: &str) -> Option<String> {
    let ascii = idna::domain_to_ascii_strict(domain).ok()?;
    let labels = ascii.split('.').collect::<Vec<_>>();
    let sound = labels.len() >= 2 && labels.iter().all(|label| !label.is_empty());
    (sound && ascii.parse::<IpAddr>().is_err()).then_some(ascii)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn key(input: &str) -> Option<String> {
        Email::try_parse(input).map(|email| email.key)
    }

    #[test]
    fn spellings_of_one_mailbox_share_a_key() {
        for (one, other) in [
            ("Ada@Example.COM", " ada@example.com "),
            ("jose\u{301}@example.com", "jos\u{e9}@example.com"),
            ("\u{ff41}da@example.com", "ada@example.com"),
            ("ada@b\u{fc}cher.example", "ada@xn--bcher-kva.example"),
            ("ada@\u{ff45}xample.com", "ada@example.com"),
        ] {
            assert_eq!(key(one), key(other), "{one} and {other}");
            assert!(key(one).is_some(), "{one}");
        }
    }

    #[test]
    fn look_alikes_stay_different_mailboxes() {
        assert_ne!(key("m\u{131}ke@example.com"), key("mike@example.com"));
        assert_ne!(key("mike@ex\u{430}mple.com"), key("mike@example.com"));
    }

    #[test]
    fn mail_goes_to_the_address_as_it_was_typed() {
        let email = Email::parse("Ada.L@Example.COM").unwrap();
        assert_eq!(email.address(), "Ada.L@example.com");
    }

    #[test]
    fn what_is_no_address_or_deceives_the_eye_is_refused() {
        for input in [
            "",
            "@",
            "ada",
            "ada@",
            "@example.com",
            "ada@localhost",
            "a..b@example.com",
            ".a@example.com",
            "a@b@example.com",
            "a b@example.com",
            "a\u{0}@example.com",
            "a\r\nb@example.com",
            "a\u{200b}@example.com",
            "a\u{202e}b@example.com",
            "ada@127.0.0.1",
            "ada@[::1]",
            "ada@-x.example",
            "ada@example..com",
            "\"a b\"@example.com",
            "a@exa_mple.com",
        ] {
            assert_eq!(key(input), None, "{input:?}");
        }
        assert_eq!(key(&format!("{}@example.com", "a".repeat(65))), None);
        assert_eq!(key(&format!("a@{}.com", "b".repeat(250))), None);
    }

    #[test]
    fn debug_hides_the_mailbox() {
        let shown = format!("{:?}", Email::parse("ada@example.com").unwrap());
        assert!(!shown.contains("ada"), "{shown}");
    }
}
