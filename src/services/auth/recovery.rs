//! A forgotten password: a link to the stored address, and a new password for it.

use serde_json::json;
use sqlx::PgConnection;

use super::{
    Auth, announce::Voided, letters::LinkLetter, mail_tokens::invalid, register::check_new_password,
};
use crate::{
    db::retry_conflicts,
    domain::{
        audit::{Action, Origin},
        auth::EndReason,
        email::Email,
        mail::Mail,
        mail_tokens::Purpose,
        users::User,
    },
    error::Result,
    repos::{self, login_failures},
};

const LINK: [Purpose; 1] = [Purpose::ResetPassword];

impl Auth {
    /// Nobody learns whether the address has an account.
    pub async fn forgot_password(&self, email: &str, origin: &Origin) -> Result<()> {
        let email = Email::parse(email)?;
        self.db
            .tx("auth.forgot_password", async |tx| {
                let user = repos::users::find_unless_written_to(tx, &email).await?;
                let user = user.map(|user| user.id);
                let (letter, action) = (LinkLetter::RESET_PASSWORD, Action::PasswordResetRequested);
                self.write_to_stranger(tx, user, &letter, action, origin).await
            })
            .await
    }

    /// Every session of the user ends. A password that is refused leaves the link as it is.
    pub async fn reset_password(&self, token: &str, new: String, origin: &Origin) -> Result<()> {
        let place = self.hasher.reserve()?;
        let holder = self
            .db
            .read("auth.reset_password.look", async |conn| {
                self.mail_tokens.holder(conn, token, &LINK).await
            })
            .await?;
        let email = Email::parse(&holder.email)?;
        let words = vec![email.local_part().to_owned(), holder.name];
        let new = check_new_password("password", new, words).await?;
        let hash = place.hash(new).await?;
        let account = self.buckets(email.key(), None).account;
        let voided = retry_conflicts(|| {
            self.db.tx("auth.reset_password", async |tx| {
                // In the order of a login: failures, account; then the link.
                login_failures::clear(tx, &account).await?;
                let user = repos::users::lock(tx, holder.user_id).await?;
                let user = user.filter(|user| !user.disabled).ok_or_else(invalid)?;
                self.mail_tokens.take(tx, token, &LINK).await?;
                self.replace_password(tx, &user, &hash, origin).await
            })
        })
        .await?;
        self.announcer.announce(&voided);
        Ok(())
    }

    async fn replace_password(
        &self,
        tx: &mut PgConnection,
        user: &User,
        hash: &str,
        origin: &Origin,
    ) -> Result<Voided> {
        repos::users::set_password_hash(tx, user.id, hash).await?;
        // The link was sent to the address and came back.
        self.mark_verified(tx, user, origin).await?;
        // Whoever had the old password may have asked for another address.
        repos::mail_tokens::void(tx, user.id, &Purpose::ALL).await?;
        let reason = EndReason::PasswordReset;
        let ended = repos::sessions::end_all(tx, user.id, None, reason).await?;
        let voided = Voided::sessions(tx, ended).await?;
        let notice = Mail::PasswordChanged { user: user.id, at: self.clock.now() };
        self.write(tx, notice, origin).await?;
        self.emit_password_changed(tx, user.id, &voided, origin).await?;
        let details = json!({"sessions_ended": voided.session_count()});
        self.record_own(tx, user.id, Action::PasswordReset, details, origin).await?;
        Ok(voided)
    }
}
