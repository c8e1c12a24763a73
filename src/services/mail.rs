//! Writing to users: what a queued mail says and where it goes is decided when it is sent.

use std::sync::Arc;

use chrono::{DateTime, Utc};
use url::Url;
use uuid::Uuid;

use super::auth::mail_tokens::MailTokens;
use crate::{
    adapters::mail::{Device, FailureKind, Letter, Letters, Mailer, Message, Moment},
    db::Db,
    domain::{
        email::Email,
        ids::{MailTokenId, UserId},
        mail::{self, Mail},
        mail_tokens::Purpose,
    },
    error::{Error, Result},
    repos,
    shared::clock::Clock,
};

pub struct Post {
    pub db: Db,
    pub clock: Clock,
    pub tokens: Arc<MailTokens>,
    pub letters: Letters,
    pub mailer: Mailer,
}

/// How an attempt ended that need not be made again.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Delivery {
    Sent,
    /// The link was used, replaced or has expired, or the account is gone: nobody waits for it.
    Obsolete,
    /// It will never be taken; why, without the recipient.
    Refused(String),
}

impl Post {
    /// One attempt. `id` is the job's: every attempt carries the same `Message-ID`. An error means
    /// that trying again later is right.
    pub async fn deliver(&self, id: Uuid, mail: &Mail) -> Result<Delivery> {
        let Some((to, letter)) = self.compose(mail).await? else { return Ok(Delivery::Obsolete) };
        let content = self.letters.render(&letter)?;
        let message = Message { id, to, date: self.clock.now(), content };
        match self.mailer.send(&message).await {
            Ok(()) => Ok(Delivery::Sent),
            Err(failure) if failure.kind == FailureKind::Permanent => {
                Ok(Delivery::Refused(failure.reason))
            }
            Err(failure) => Err(Error::unavailable(failure)),
        }
    }

    async fn compose(&self, mail: &Mail) -> Result<Option<(Email, Letter)>> {
        match mail {
            Mail::VerifyEmail { token } => {
                let letter = |link, valid_for| Letter::VerifyEmail { link, valid_for };
                self.with_link(*token, Purpose::VerifyEmail, letter).await
            }
            Mail::ResetPassword { token } => {
                let letter = |link, valid_for| Letter::ResetPassword { link, valid_for };
                self.with_link(*token, Purpose::ResetPassword, letter).await
            }
            Mail::AlreadyRegistered { token } => {
                let letter = |link, valid_for| Letter::AlreadyRegistered { link, valid_for };
                self.with_link(*token, Purpose::ResetPassword, letter).await
            }
            Mail::ChangeEmail { token } => {
                let letter = |link, valid_for| Letter::ChangeEmail { link, valid_for };
                self.with_link(*token, Purpose::ChangeEmail, letter).await
            }
            Mail::EmailChanged { former_address, at } => {
                let letter = Letter::EmailChanged { at: Moment(*at) };
                Ok(Some((Email::parse(former_address)?, letter)))
            }
            Mail::PasswordChanged { user, at } => {
                self.to_user(*user, Letter::PasswordChanged { at: Moment(*at) }).await
            }
            Mail::NewDevice { user, at, device } => {
                let (at, device) = seen(*at, device);
                self.to_user(*user, Letter::NewDevice { at, device }).await
            }
            Mail::TokenReused { user, at, device } => {
                let (at, device) = seen(*at, device);
                self.to_user(*user, Letter::TokenReused { at, device }).await
            }
        }
    }

    async fn with_link(
        &self,
        token: MailTokenId,
        purpose: Purpose,
        letter: fn(Url, &'static str) -> Letter,
    ) -> Result<Option<(Email, Letter)>> {
        let found = self
            .db
            .read("mail.link", async |conn| self.tokens.address(conn, token, purpose).await)
            .await?;
        Ok(found.map(|found| (found.to, letter(found.link, purpose.valid_for_text()))))
    }

    /// To the stored address, whatever was typed into a form.
    async fn to_user(&self, user: UserId, letter: Letter) -> Result<Option<(Email, Letter)>> {
        let find =
            self.db.read("mail.recipient", async |conn| repos::users::find(conn, user).await);
        match find.await? {
            Some(user) => Ok(Some((Email::parse(&user.email)?, letter))),
            None => Ok(None),
        }
    }
}

fn seen(at: DateTime<Utc>, device: &mail::Device) -> (Moment, Device) {
    (Moment(at), Device::from(device))
}
