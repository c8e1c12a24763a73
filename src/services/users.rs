//! Accounts as their owners and administrators see them.

use serde_json::json;
use sqlx::PgConnection;

use super::{
    audit::AuditTrail,
    auth::announce::{Announcer, Voided},
    outbox::Outbox,
};
use crate::{
    db::{Db, retry_conflicts},
    domain::{
        audit::{Action, NewAuditEvent, Origin, Target},
        auth::{EndReason, Identity},
        events::{Aggregate, EventType, NewEvent},
        ids::UserId,
        mail_tokens::Purpose,
        page::{After, Page, PageRequest},
        users::{Name, Role, User, UserFilter, UserPatch},
    },
    error::{Code, Error, Result},
    repos,
};

pub struct Users {
    db: Db,
    audit: AuditTrail,
    announcer: Announcer,
    outbox: Outbox,
}

impl Users {
    pub fn new(db: Db, audit: AuditTrail, announcer: Announcer, outbox: Outbox) -> Self {
        Self { db, audit, announcer, outbox }
    }

    pub async fn get(&self, id: UserId) -> Result<User> {
        let found =
            self.db.read("users.get", async |conn| repos::users::find(conn, id).await).await?;
        found.ok_or_else(Error::not_found)
    }

    /// A user sees itself and an administrator everybody; to others a user does not exist.
    pub async fn get_for(&self, actor: &Identity, id: UserId) -> Result<User> {
        if actor.user_id != id && actor.role < Role::Admin {
            return Err(Error::not_found());
        }
        self.get(id).await
    }

    /// Newest first.
    pub async fn list(&self, filter: &UserFilter, page: PageRequest) -> Result<Page<User>> {
        self.db
            .read("users.list", async |conn| {
                let rows = repos::users::list(conn, filter, &page).await?;
                let total = match page.count {
                    true => Some(repos::users::count(conn, filter).await?),
                    false => None,
                };
                Ok(Page::cut(rows, page.limit, total, |u| After { at: u.created_at, id: u.id.0 }))
            })
            .await
    }

    /// Changes what `patch` names. A changed role or disabling makes the user's access tokens
    /// stale everywhere; the sessions stay. The present version must be among
    /// `versions`, if given.
    pub async fn update(
        &self,
        actor: &Identity,
        id: UserId,
        patch: &UserPatch,
        versions: Option<&[i64]>,
        origin: &Origin,
    ) -> Result<User> {
        let (user, voided) = retry_conflicts(|| {
            self.db.tx("users.update", async |tx| {
                self.apply(tx, actor, id, patch, versions, origin).await
            })
        })
        .await?;
        if let Some(voided) = voided {
            self.announcer.announce(&voided);
        }
        Ok(user)
    }

    async fn apply(
        &self,
        tx: &mut PgConnection,
        actor: &Identity,
        id: UserId,
        patch: &UserPatch,
        versions: Option<&[i64]>,
        origin: &Origin,
    ) -> Result<(User, Option<Voided>)> {
        // Before the user's own row, so that all who need both take them in one order.
        let admins = match patch.role.is_some() || patch.disabled.is_some() {
            true => repos::users::lock_admins(tx).await?,
            false => Vec::new(),
        };
        let before = repos::users::lock(tx, id).await?.ok_or_else(Error::not_found)?;
        check_version(&before, versions)?;
        let after = patched(&before, patch);
        if after == before {
            return Ok((before, None));
        }
        let loses_admin = after.role < Role::Admin || after.disabled;
        if loses_admin && admins == [id] {
            return Err(Error::of(Code::LastAdmin));
        }
        let rights = (before.role, before.disabled) != (after.role, after.disabled);
        let user = repos::users::update(tx, &after, rights).await?;
        let mut voided = None;
        if rights {
            voided.insert(Voided::default()).add_user(tx, id, user.authz_version).await?;
            let payload = changed_rights(&before, &user);
            self.emit(tx, actor, id, EventType::UserUpdated, payload, origin).await?;
        }
        self.record(tx, actor, id, Action::UserUpdated, changes(&before, &user), origin).await?;
        Ok((user, voided))
    }

    /// Anonymises: the row and the id stay for what refers to them, the person is gone.
    pub async fn delete(
        &self,
        actor: &Identity,
        id: UserId,
        versions: Option<&[i64]>,
        origin: &Origin,
    ) -> Result<()> {
        let voided = retry_conflicts(|| {
            self.db.tx("users.delete", async |tx| {
                let admins = repos::users::lock_admins(tx).await?;
                let user = repos::users::lock(tx, id).await?.ok_or_else(Error::not_found)?;
                check_version(&user, versions)?;
                if admins == [id] {
                    return Err(Error::of(Code::LastAdmin));
                }
                let authz_version = repos::users::anonymise(tx, id).await?;
                let reason = EndReason::AccountDeleted;
                let ended = repos::sessions::end_all(tx, id, None, reason).await?;
                repos::sessions::anonymise(tx, id).await?;
                repos::devices::forget(tx, id).await?;
                repos::idempotency::forget(tx, id).await?;
                repos::mail_tokens::void(tx, id, &Purpose::ALL).await?;
                let mut voided = Voided::sessions(tx, ended).await?;
                voided.add_user(tx, id, authz_version).await?;
                self.emit(tx, actor, id, EventType::UserDeleted, json!({}), origin).await?;
                self.record(tx, actor, id, Action::UserDeleted, json!({}), origin).await?;
                Ok(voided)
            })
        })
        .await?;
        self.announcer.announce(&voided);
        Ok(())
    }

    async fn emit(
        &self,
        tx: &mut PgConnection,
        actor: &Identity,
        user: UserId,
        kind: EventType,
        payload: serde_json::Value,
        origin: &Origin,
    ) -> Result<()> {
        let aggregate = Aggregate::user(user);
        let event = NewEvent { kind, aggregate, actor: Some(actor.user_id), payload };
        self.outbox.emit(tx, event, origin).await
    }

    async fn record(
        &self,
        tx: &mut PgConnection,
        actor: &Identity,
        user: UserId,
        action: Action,
        details: serde_json::Value,
        origin: &Origin,
    ) -> Result<()> {
        let target = Target::user(user);
        let event = NewAuditEvent { actor: Some(actor.user_id), action, target, details };
        self.audit.record(tx, event, origin).await
    }
}

fn check_version(user: &User, expected: Option<&[i64]>) -> Result<()> {
    match expected {
        Some(versions) if !versions.contains(&user.version) => {
            Err(Error::of(Code::PreconditionFailed))
        }
        _ => Ok(()),
    }
}

fn patched(user: &User, patch: &UserPatch) -> User {
    let mut user = user.clone();
    if let Some(name) = &patch.name {
        user.name = Name::as_str(name).to_owned();
    }
    user.role = patch.role.unwrap_or(user.role);
    user.disabled = patch.disabled.unwrap_or(user.disabled);
    user
}

/// The members of `user.updated`.
fn changed_rights(before: &User, after: &User) -> serde_json::Value {
    json!({
        "role": {"from": before.role, "to": after.role},
        "disabled": {"from": before.disabled, "to": after.disabled},
    })
}

/// What changed, for the audit trail; names are personal data, so only that they changed.
fn changes(before: &User, after: &User) -> serde_json::Value {
    let mut details = serde_json::Map::new();
    if before.role != after.role {
        details.insert("role".into(), json!({"from": before.role, "to": after.role}));
    }
    if before.disabled != after.disabled {
        details.insert("disabled".into(), json!({"from": before.disabled, "to": after.disabled}));
    }
    if before.name != after.name {
        details.insert("name".into(), json!("changed"));
    }
    details.into()
}
