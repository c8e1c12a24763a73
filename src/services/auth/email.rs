//! The address of an account: proving that it is one's own, and changing it.

use std::time::Duration;

use serde_json::json;
use sqlx::PgConnection;

use super::{
    Auth, invalid_credentials, letters::LinkLetter, mail_tokens::invalid,
    throttle::too_many_attempts,
};
use crate::{
    db::retry_conflicts,
    domain::{
        audit::{Action, Origin},
        auth::Identity,
        email::Email,
        mail::Mail,
        mail_tokens::Purpose,
        password::Password,
        users::User,
    },
    error::{Code, Error, Result},
    repos::{self, login_failures},
};

const LINKS: [Purpose; 2] = [Purpose::VerifyEmail, Purpose::ChangeEmail];

impl Auth {
    /// Sends the link of a registration again. Nobody learns whether the address has an account,
    /// or has been verified.
    pub async fn resend_verification(&self, email: &str, origin: &Origin) -> Result<()> {
        let email = Email::parse(email)?;
        self.db
            .tx("auth.resend_verification", async |tx| {
                let user = repos::users::find_unless_written_to(tx, &email).await?;
                let waiting = user.filter(|user| !user.email_verified).map(|user| user.id);
                let (letter, action) = (LinkLetter::VERIFY_EMAIL, Action::VerificationRequested);
                self.write_to_stranger(tx, waiting, &letter, action, origin).await
            })
            .await
    }

    /// Uses up a link that was sent to an address: it is verified, or becomes that of the account.
    pub async fn verify_email(&self, token: &str, origin: &Origin) -> Result<()> {
        retry_conflicts(|| {
            self.db.tx("auth.verify_email", async |tx| {
                // The account before the link, as everybody takes them.
                let holder = self.mail_tokens.holder(tx, token, &LINKS).await?;
                let user = repos::users::lock(tx, holder.user_id).await?;
                let user = user.filter(|user| !user.disabled).ok_or_else(invalid)?;
                let used = self.mail_tokens.take(tx, token, &LINKS).await?;
                match used.new_email {
                    Some(new) => self.replace_email(tx, &user, &Email::parse(&new)?, origin).await,
                    None => {
                        self.mark_verified(tx, &user, origin).await?;
                        let action = Action::EmailVerified;
                        self.record_own(tx, user.id, action, json!({}), origin).await
                    }
                }
            })
        })
        .await
    }

    /// Where addresses must be verified, others learn of the account now.
    pub(super) async fn mark_verified(
        &self,
        tx: &mut PgConnection,
        user: &User,
        origin: &Origin,
    ) -> Result<()> {
        let first = repos::users::verify_email(tx, user.id).await?;
        if first && self.settings.require_verified_email {
            self.emit_registered(tx, user, Some(user.id), origin).await?;
        }
        Ok(())
    }

    /// Links that went to the former address end with it.
    async fn replace_email(
        &self,
        tx: &mut PgConnection,
        user: &User,
        new: &Email,
        origin: &Origin,
    ) -> Result<()> {
        repos::users::set_email(tx, user.id, new).await?;
        let former_links = [Purpose::ResetPassword, Purpose::VerifyEmail];
        repos::mail_tokens::void(tx, user.id, &former_links).await?;
        let notice =
            Mail::EmailChanged { former_address: user.email.clone(), at: self.clock.now() };
        self.write(tx, notice, origin).await?;
        self.record_own(tx, user.id, Action::EmailChanged, json!({}), origin).await
    }

    /// Sends a link to the new address; the account keeps its own until that is used.
    ///
    /// Whether the new one has an account is not even looked up: a user who asks for one address
    /// after the other must not learn it. Who uses the link owns the mailbox and may be told.
    pub async fn change_email(
        &self,
        actor: &Identity,
        email: &str,
        current: &str,
        origin: &Origin,
    ) -> Result<()> {
        let new = Email::parse(email)?;
        let current = Password::parse("current_password", current)?;
        let place = self.hasher.reserve()?;
        let (user, stored) = self.own_account(actor).await?;
        let buckets = self.buckets(Email::parse(&user.email)?.key(), origin.address);
        self.prove_password(&place, &user, &buckets, current, &stored, origin).await?;
        self.db
            .tx("auth.change_email", async |tx| {
                // Of simultaneous guesses only as many are heard as one after the other.
                if let Some(secs) = login_failures::blocked_secs(tx, &buckets.all()).await? {
                    return Err(too_many_attempts(secs));
                }
                if repos::users::confirm(tx, user.id, &stored).await?.is_none() {
                    return Err(invalid_credentials());
                }
                let letter = LinkLetter {
                    purpose: Purpose::ChangeEmail,
                    new_email: Some(&new),
                    mail: |token| Mail::ChangeEmail { token },
                };
                if !self.write_link(tx, Some(user.id), &letter, origin).await? {
                    return Err(too_many_links());
                }
                let action = Action::EmailChangeRequested;
                self.record_own(tx, user.id, action, json!({}), origin).await
            })
            .await
    }
}

fn too_many_links() -> Error {
    Error::new(Code::RateLimited, "too many links were sent for this account within the hour")
        .retry_after(Duration::from_hours(1))
}
