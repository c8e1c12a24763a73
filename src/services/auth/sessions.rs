//! Sessions: listing and ending them.

use serde_json::json;
use sqlx::PgConnection;

use super::{Auth, announce::Voided};
use crate::{
    domain::{
        audit::{Action, NewAuditEvent, Origin, Target},
        auth::{EndReason, Identity, Session},
        ids::{SessionId, UserId},
        page::{After, Page, PageRequest},
    },
    error::{Error, Result},
    repos,
};

impl Auth {
    pub async fn logout(&self, actor: &Identity, origin: &Origin) -> Result<()> {
        let (user, id) = (actor.user_id, actor.session_id);
        let voided = self
            .db
            .tx("auth.logout", async |tx| {
                self.end_one(tx, user, id, EndReason::Logout, origin).await
            })
            .await?;
        self.announcer.announce(&voided);
        Ok(())
    }

    /// Every session of the caller, this one included.
    pub async fn logout_all(&self, actor: &Identity, origin: &Origin) -> Result<()> {
        self.end_sessions(actor.user_id, actor.user_id, EndReason::LogoutAll, origin).await
    }

    /// An administrator ends every session of a user.
    pub async fn end_user_sessions(
        &self,
        actor: &Identity,
        user: UserId,
        origin: &Origin,
    ) -> Result<()> {
        self.end_sessions(actor.user_id, user, EndReason::EndedByAdmin, origin).await
    }

    /// One session of the caller's own; another's is unknown.
    pub async fn end_session(
        &self,
        actor: &Identity,
        id: SessionId,
        origin: &Origin,
    ) -> Result<()> {
        let voided = self
            .db
            .tx("auth.end_session", async |tx| {
                let reason = EndReason::EndedByUser;
                let voided = self.end_one(tx, actor.user_id, id, reason, origin).await?;
                if voided.session_count() == 0 { Err(Error::not_found()) } else { Ok(voided) }
            })
            .await?;
        self.announcer.announce(&voided);
        Ok(())
    }

    pub async fn sessions(&self, actor: &Identity, page: PageRequest) -> Result<Page<Session>> {
        let user = actor.user_id;
        self.db
            .read("auth.sessions", async |conn| {
                let rows = repos::sessions::list(conn, user, &page).await?;
                let total = match page.count {
                    true => Some(repos::sessions::count(conn, user).await?),
                    false => None,
                };
                Ok(Page::cut(rows, page.limit, total, |s| After { at: s.created_at, id: s.id.0 }))
            })
            .await
    }

    async fn end_sessions(
        &self,
        actor: UserId,
        user: UserId,
        reason: EndReason,
        origin: &Origin,
    ) -> Result<()> {
        let voided = self
            .db
            .tx("auth.end_sessions", async |tx| {
                if actor != user && repos::users::find(tx, user).await?.is_none() {
                    return Err(Error::not_found());
                }
                let ended = repos::sessions::end_all(tx, user, None, reason).await?;
                let voided = Voided::sessions(tx, ended).await?;
                let details =
                    json!({"reason": reason.as_str(), "sessions": voided.session_count()});
                let action = Action::SessionsEnded;
                let event = NewAuditEvent {
                    actor: Some(actor),
                    action,
                    target: Target::user(user),
                    details,
                };
                self.audit.record(tx, event, origin).await?;
                Ok(voided)
            })
            .await?;
        self.announcer.announce(&voided);
        Ok(())
    }

    /// Nothing happens, and nothing is recorded, when the session is not live any more.
    pub(super) async fn end_one(
        &self,
        tx: &mut PgConnection,
        user: UserId,
        id: SessionId,
        reason: EndReason,
        origin: &Origin,
    ) -> Result<Voided> {
        let ended = repos::sessions::end(tx, user, id, reason).await?;
        let voided = Voided::sessions(tx, ended).await?;
        if voided.session_count() > 0 {
            let event = NewAuditEvent {
                actor: Some(user),
                action: Action::SessionsEnded,
                target: Target::session(id),
                details: json!({"reason": reason.as_str(), "sessions": 1}),
            };
            self.audit.record(tx, event, origin).await?;
        }
        Ok(voided)
    }
}
