//! Writing to the owners of accounts: jobs in the transaction of what they tell of.

use serde_json::{Value, json};
use sqlx::PgConnection;

use super::Auth;
use crate::{
    domain::{
        audit::{Action, NewAuditEvent, Origin, Target},
        email::Email,
        ids::{MailTokenId, UserId},
        jobs::SendMail,
        mail::Mail,
        mail_tokens::Purpose,
    },
    error::Result,
};

/// A letter with a link, before the link is made.
pub(super) struct LinkLetter<'a> {
    pub purpose: Purpose,
    /// For [`Purpose::ChangeEmail`] alone.
    pub new_email: Option<&'a Email>,
    pub mail: fn(MailTokenId) -> Mail,
}

impl LinkLetter<'_> {
    pub const VERIFY_EMAIL: LinkLetter<'static> = LinkLetter {
        purpose: Purpose::VerifyEmail,
        new_email: None,
        mail: |token| Mail::VerifyEmail { token },
    };
    pub const RESET_PASSWORD: LinkLetter<'static> = LinkLetter {
        purpose: Purpose::ResetPassword,
        new_email: None,
        mail: |token| Mail::ResetPassword { token },
    };
    pub const ALREADY_REGISTERED: LinkLetter<'static> = LinkLetter {
        purpose: Purpose::ResetPassword,
        new_email: None,
        mail: |token| Mail::AlreadyRegistered { token },
    };
}

impl Auth {
    pub(super) async fn write(
        &self,
        tx: &mut PgConnection,
        mail: Mail,
        origin: &Origin,
    ) -> Result<()> {
        self.jobs.enqueue(tx, &SendMail { mail }, origin).await?;
        Ok(())
    }

    /// The same statements for nobody, and for an account that was sent too many: then the job
    /// finds no link, and nothing is sent. False is for the audit trail and for owners only.
    pub(super) async fn write_link(
        &self,
        tx: &mut PgConnection,
        user: Option<UserId>,
        letter: &LinkLetter<'_>,
        origin: &Origin,
    ) -> Result<bool> {
        let LinkLetter { purpose, new_email, mail } = *letter;
        let issued = self.mail_tokens.issue(tx, user, purpose, new_email).await?;
        self.write(tx, mail(issued.id), origin).await?;
        Ok(issued.holds)
    }

    /// A link for whoever has the address, asked for by somebody unknown.
    pub(super) async fn write_to_stranger(
        &self,
        tx: &mut PgConnection,
        user: Option<UserId>,
        letter: &LinkLetter<'_>,
        action: Action,
        origin: &Origin,
    ) -> Result<()> {
        let sent = self.write_link(tx, user, letter, origin).await?;
        let event = NewAuditEvent {
            actor: None,
            action,
            target: Target { kind: "user", id: user.map(|id| id.0) },
            details: json!({"sent": sent}),
        };
        self.audit.record(tx, event, origin).await
    }

    /// What a user did to the own account.
    pub(super) async fn record_own(
        &self,
        tx: &mut PgConnection,
        user: UserId,
        action: Action,
        details: Value,
        origin: &Origin,
    ) -> Result<()> {
        let event =
            NewAuditEvent { actor: Some(user), action, target: Target::user(user), details };
        self.audit.record(tx, event, origin).await
    }
}
