//! New accounts.

use serde_json::json;

use super::Auth;
use crate::{
    domain::{
        audit::{Action, NewAuditEvent, Origin, Target},
        email::Email,
        events::{Aggregate, EventType, NewEvent},
        ids::UserId,
        password::Password,
        users::{Name, Role, User},
    },
    error::{Error, Result},
    repos::{self, users::NewUser},
};

pub struct NewAccount {
    pub email: String,
    pub password: String,
    pub name: String,
}

impl Auth {
    /// A customer signs up. Fails with `EMAIL_TAKEN` when the mailbox has an account.
    pub async fn register(&self, account: NewAccount, origin: &Origin) -> Result<User> {
        self.create(account, Role::Customer, Action::UserRegistered, origin).await
    }

    /// An operator makes an account of any role.
    pub async fn create_user(
        &self,
        account: NewAccount,
        role: Role,
        origin: &Origin,
    ) -> Result<User> {
        self.create(account, role, Action::UserCreated, origin).await
    }

    async fn create(
        &self,
        account: NewAccount,
        role: Role,
        action: Action,
        origin: &Origin,
    ) -> Result<User> {
        let (email, name, password) = check(account).await?;
        let password_hash = self.hasher.reserve()?.hash(password).await?;
        let id = UserId(self.clock.new_id());
        self.db
            .tx("auth.register", async |tx| {
                let new = NewUser {
                    id,
                    email: &email,
                    name: name.as_str(),
                    role,
                    password_hash: &password_hash,
                };
                let user = repos::users::insert(tx, &new).await?;
                let event = NewAuditEvent {
                    actor: (action == Action::UserRegistered).then_some(id),
                    action,
                    target: Target::user(id),
                    details: json!({"role": role}),
                };
                let actor = event.actor;
                self.audit.record(tx, event, origin).await?;
                let event = NewEvent {
                    kind: EventType::UserRegistered,
                    aggregate: Aggregate::user(id),
                    actor,
                    payload: json!({"role": role, "by_operator": actor.is_none()}),
                };
                self.outbox.emit(tx, event, origin).await?;
                Ok(user)
            })
            .await
    }
}

/// All faults of rules are told together.
async fn check(account: NewAccount) -> Result<(Email, Name, Password)> {
    let (email, name) = (Email::parse(&account.email), Name::parse(&account.name));
    let words = vec![
        email.as_ref().map(|email| email.local_part().to_owned()).unwrap_or_default(),
        account.name,
    ];
    let password = check_new_password("password", account.password, words).await;
    match (email, name, password) {
        (Ok(email), Ok(name), Ok(password)) => Ok((email, name, password)),
        (email, name, password) => {
            let faults = [email.err(), name.err(), password.err()];
            let fields = faults.iter().flatten().flat_map(|error| error.fields().to_vec());
            Err(Error::invalid(fields.collect()))
        }
    }
}

/// Scoring costs milliseconds: it must not hold a thread that serves requests.
pub(super) async fn check_new_password(
    field: &'static str,
    input: String,
    words: Vec<String>,
) -> Result<Password> {
    let scored = tokio::task::spawn_blocking(move || {
        let words: Vec<_> = words.iter().map(String::as_str).collect();
        Password::parse_new(field, &input, &words)
    });
    scored.await.map_err(Error::internal)?
}
