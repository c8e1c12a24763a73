//! Changing one's password.

use serde_json::json;
use sqlx::PgConnection;

use super::{
    Auth,
    announce::Voided,
    invalid_credentials,
    register::check_new_password,
    throttle::{Buckets, too_many_attempts},
};
use crate::{
    domain::{
        audit::{Action, Origin},
        auth::{EndReason, Identity},
        email::Email,
        events::{Aggregate, EventType, NewEvent},
        ids::UserId,
        mail::Mail,
        mail_tokens::Purpose,
        password::Password,
        users::User,
    },
    error::{Error, Result},
    repos::{self, login_failures},
    shared::password_hasher::{Place, Verdict},
};

impl Auth {
    /// Needs the current password, guesses of which count like failed logins. Every other
    /// session of the user ends.
    pub async fn change_password(
        &self,
        actor: &Identity,
        current: &str,
        new: String,
        origin: &Origin,
    ) -> Result<()> {
        let current = Password::parse("current_password", current)?;
        let place = self.hasher.reserve()?;
        let (user, stored) = self.own_account(actor).await?;
        let email = Email::parse(&user.email)?;
        let words = vec![email.local_part().to_owned(), user.name.clone()];
        let new = check_new_password("new_password", new, words).await?;
        let buckets = self.buckets(email.key(), origin.address);
        self.prove_password(&place, &user, &buckets, current, &stored, origin).await?;
        let hash = place.hash(new).await?;
        let voided = self
            .db
            .tx("auth.change_password", async |tx| {
                // Of simultaneous guesses only as many are heard as one after the other.
                if let Some(secs) = login_failures::blocked_secs(tx, &buckets.all()).await? {
                    return Err(too_many_attempts(secs));
                }
                // Somebody else may have changed it since it was compared.
                if repos::users::confirm(tx, user.id, &stored).await?.is_none() {
                    return Err(invalid_credentials());
                }
                repos::users::set_password_hash(tx, user.id, &hash).await?;
                // Whoever had the old one may have asked for another address.
                let links = [Purpose::ResetPassword, Purpose::ChangeEmail];
                repos::mail_tokens::void(tx, user.id, &links).await?;
                let (others, reason) = (Some(actor.session_id), EndReason::PasswordChanged);
                let ended = repos::sessions::end_all(tx, user.id, others, reason).await?;
                let voided = Voided::sessions(tx, ended).await?;
                self.emit_password_changed(tx, user.id, &voided, origin).await?;
                let notice = Mail::PasswordChanged { user: user.id, at: self.clock.now() };
                self.write(tx, notice, origin).await?;
                let details = json!({"sessions_ended": voided.session_count()});
                self.record_own(tx, user.id, Action::PasswordChanged, details, origin).await?;
                Ok(voided)
            })
            .await?;
        self.announcer.announce(&voided);
        Ok(())
    }

    pub(super) async fn emit_password_changed(
        &self,
        tx: &mut PgConnection,
        user: UserId,
        voided: &Voided,
        origin: &Origin,
    ) -> Result<()> {
        let event = NewEvent {
            kind: EventType::UserPasswordChanged,
            aggregate: Aggregate::user(user),
            actor: Some(user),
            payload: json!({"sessions_ended": voided.session_count()}),
        };
        self.outbox.emit(tx, event, origin).await
    }

    pub(super) async fn own_account(&self, actor: &Identity) -> Result<(User, String)> {
        self.db
            .read("auth.own_account", async |conn| {
                let user = repos::users::find(conn, actor.user_id).await?;
                let hash = repos::users::password_hash(conn, actor.user_id).await?;
                user.zip(hash).ok_or_else(Error::not_found)
            })
            .await
    }

    pub(super) async fn prove_password(
        &self,
        place: &Place<'_>,
        user: &User,
        buckets: &Buckets,
        password: Password,
        stored: &str,
        origin: &Origin,
    ) -> Result<()> {
        let keys = buckets.all();
        let blocked = self
            .db
            .read("auth.prove_password", async |conn| {
                login_failures::blocked_secs(conn, &keys).await
            })
            .await?;
        if let Some(secs) = blocked {
            return Err(too_many_attempts(secs));
        }
        if place.verify(password, Some(stored.to_owned())).await? != Verdict::Mismatch {
            return Ok(());
        }
        let unheard = self
            .db
            .tx("auth.refuse_password", async |tx| {
                let unheard = self.count_failure(tx, buckets).await?;
                let action = Action::PasswordRefused;
                self.record_own(tx, user.id, action, json!({}), origin).await?;
                Ok(unheard)
            })
            .await?;
        Err(unheard.map_or_else(invalid_credentials, too_many_attempts))
    }
}
