//! The secrets in the links of our mails.
//!
//! A token is the row's id and 32 secret bytes; only its SHA-256 is stored. The secret is an HMAC
//! over id, purpose and the row's random salt, under a key that is not in the database: the job
//! that sends the mail derives it again, so that it stands neither in the queue nor in any dump,
//! and a second attempt sends the same link.

use sqlx::PgConnection;
use url::Url;
use uuid::Uuid;

use crate::{
    domain::{
        email::Email,
        ids::{MailTokenId, UserId},
        mail_tokens::{ISSUES_PER_HOUR, Purpose},
    },
    error::{Error, Result},
    repos::{
        self,
        mail_tokens::{Holder, NewToken, Used},
    },
    shared::{
        clock::Clock,
        crypto::{self, Keyed},
    },
};

const SECRET_LEN: usize = 32;

/// Issues, derives and uses them.
pub struct MailTokens {
    key: Keyed,
    clock: Clock,
    /// What links begin with: never taken from a request.
    link_base: Url,
}

/// A link's id and secret.
struct Token {
    id: MailTokenId,
    secret: [u8; SECRET_LEN],
}

impl Token {
    fn derive(key: &Keyed, id: MailTokenId, purpose: Purpose, salt: &[u8]) -> Self {
        let secret = key.mac(&[id.0.as_bytes(), purpose.as_str().as_bytes(), salt]);
        Self { id, secret }
    }

    fn parse(text: &str) -> Option<Self> {
        let bytes = crypto::from_base64url(text)?;
        let (id, secret) = bytes.split_at_checked(16)?;
        let id = MailTokenId(Uuid::from_slice(id).ok()?);
        Some(Self { id, secret: secret.try_into().ok()? })
    }

    fn bytes(&self) -> Vec<u8> {
        [&self.id.0.as_bytes()[..], &self.secret].concat()
    }

    fn encode(&self) -> String {
        crypto::to_base64url(&self.bytes())
    }

    fn hash(&self) -> [u8; 32] {
        crypto::sha256(&self.bytes())
    }
}

/// A link that was made. One for nobody, or for an account that was sent too many lately, does
/// not hold, and has an id all the same: its mail is queued like any other and never sent, so
/// that no answer tells who has an account.
#[derive(Debug, Clone, Copy)]
pub struct Issued {
    pub id: MailTokenId,
    pub holds: bool,
}

/// What the letter with a link needs.
pub struct Addressed {
    pub to: Email,
    pub link: Url,
}

impl MailTokens {
    pub fn new(master_key: &[u8; 32], clock: Clock, link_base: Url) -> Self {
        Self { key: Keyed::derive(master_key, "mail-token"), clock, link_base }
    }

    /// Makes a link and voids the one before; the same statement for nobody.
    /// `new_email` is for [`Purpose::ChangeEmail`] alone.
    pub async fn issue(
        &self,
        tx: &mut PgConnection,
        user_id: Option<UserId>,
        purpose: Purpose,
        new_email: Option<&Email>,
    ) -> Result<Issued> {
        let (id, salt) = (MailTokenId(self.clock.new_id()), crypto::random::<32>());
        let token = Token::derive(&self.key, id, purpose, &salt);
        let new = NewToken {
            id,
            user_id,
            purpose,
            hash: &token.hash(),
            salt: &salt,
            new_email: new_email.map(|email| (email.address(), email.key())),
            ttl_secs: purpose.valid_for().as_secs_f64(),
        };
        let holds = repos::mail_tokens::issue(tx, &new, ISSUES_PER_HOUR).await?;
        Ok(Issued { id, holds })
    }

    /// Where the letter goes and its link; `None` when the link does not hold any more.
    pub async fn address(
        &self,
        conn: &mut PgConnection,
        id: MailTokenId,
        purpose: Purpose,
    ) -> Result<Option<Addressed>> {
        let Some(pending) = repos::mail_tokens::find(conn, id, purpose).await? else {
            return Ok(None);
        };
        let token = Token::derive(&self.key, id, purpose, &pending.salt);
        let to = Email::parse(&pending.address)?;
        Ok(Some(Addressed { to, link: self.link(purpose, &token) }))
    }

    /// Whose link it is, if it is for one of these and holds; it is not used up.
    pub async fn holder(
        &self,
        conn: &mut PgConnection,
        text: &str,
        purposes: &[Purpose],
    ) -> Result<Holder> {
        let token = Token::parse(text).ok_or_else(invalid)?;
        let holder = repos::mail_tokens::holder(conn, token.id, purposes, &token.hash()).await?;
        holder.ok_or_else(invalid)
    }

    /// Uses a link up that is for one of these: of simultaneous uses one succeeds.
    pub async fn take(
        &self,
        tx: &mut PgConnection,
        text: &str,
        purposes: &[Purpose],
    ) -> Result<Used> {
        let token = Token::parse(text).ok_or_else(invalid)?;
        let used = repos::mail_tokens::take(tx, token.id, purposes, &token.hash()).await?;
        used.ok_or_else(invalid)
    }

    /// In the fragment, which no browser sends: it reaches no log and no `Referer`.
    fn link(&self, purpose: Purpose, token: &Token) -> Url {
        let mut link = self.link_base.clone();
        let base = link.path().trim_end_matches('/').to_owned();
        link.set_path(&format!("{base}/{}", purpose.page()));
        link.set_fragment(Some(&format!("token={}", token.encode())));
        link
    }
}

/// The same for a token that never was, was used, or has expired.
pub(super) fn invalid() -> Error {
    Error::invalid_field("token", "token", "is not valid any more, or never was")
}

#[cfg(test)]
mod tests {
    use super::*;

    fn tokens(base: &str) -> MailTokens {
        MailTokens::new(&[7; 32], Clock::default(), Url::parse(base).unwrap())
    }

    #[test]
    fn a_token_is_the_same_however_often_it_is_derived_and_differs_by_every_input() {
        let (key, id) = (Keyed::derive(&[1; 32], "mail-token"), MailTokenId(Uuid::from_u128(9)));
        let token = |key: &Keyed, id, purpose, salt: u8| {
            Token::derive(key, MailTokenId(Uuid::from_u128(id)), purpose, &[salt; 32]).encode()
        };
        let one = token(&key, 9, Purpose::ResetPassword, 5);
        assert_eq!(one, Token::derive(&key, id, Purpose::ResetPassword, &[5; 32]).encode());
        assert_ne!(one, token(&key, 8, Purpose::ResetPassword, 5));
        assert_ne!(one, token(&key, 9, Purpose::VerifyEmail, 5));
        assert_ne!(one, token(&key, 9, Purpose::ResetPassword, 6));
        let other = Keyed::derive(&[2; 32], "mail-token");
        assert_ne!(one, token(&other, 9, Purpose::ResetPassword, 5));
    }

    #[test]
    fn a_link_carries_its_token_in_the_fragment_below_whatever_base() {
        for (base, page) in [
            ("https://shop.example", "https://shop.example/account/reset-password"),
            ("https://shop.example/app/", "https://shop.example/app/account/reset-password"),
        ] {
            let (tokens, id) = (tokens(base), MailTokenId(Uuid::from_u128(9)));
            let token = Token::derive(&tokens.key, id, Purpose::ResetPassword, &[5; 32]);
            let link = tokens.link(Purpose::ResetPassword, &token);
            let (before, after) = link.as_str().split_once("#token=").unwrap();
            assert_eq!((before, link.query()), (page, None));
            assert_eq!(Token::parse(after).unwrap().hash(), token.hash());
        }
    }

    #[test]
    fn garbage_is_no_token() {
        for garbage in ["", "abc", "ä", &"A".repeat(63), &"A".repeat(65), &"=".repeat(64)] {
            assert!(Token::parse(garbage).is_none(), "{garbage}");
        }
    }
}
