//! New accounts.

use serde_json::json;
use sqlx::PgConnection;

use super::{Auth, letters::LinkLetter};
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

/// What a registration came to.
pub enum Registered {
    Opened(User),
    /// The mailbox is told what comes next, and nobody else.
    Pending,
}

impl Auth {
    /// A customer signs up. Where addresses must be verified, the answer, the statements and the
    /// time are the same for a mailbox that has an account; else that fails with `EMAIL_TAKEN`.
    pub async fn register(&self, account: NewAccount, origin: &Origin) -> Result<Registered> {
        let candidate = self.candidate(account, Role::Customer).await?;
        if self.settings.require_verified_email {
            self.register_unseen(&candidate, origin).await?;
            return Ok(Registered::Pending);
        }
        let (id, letter) = (candidate.id, LinkLetter::VERIFY_EMAIL);
        let user = self.db.tx("auth.register", async |tx| {
            let user = repos::users::insert(tx, &candidate.row(false)).await?;
            self.write_link(tx, Some(id), &letter, origin).await?;
            let details = json!({"role": candidate.role});
            self.record_own(tx, id, Action::UserRegistered, details, origin).await?;
            self.emit_registered(tx, &user, Some(id), origin).await?;
            Ok(user)
        });
        Ok(Registered::Opened(user.await?))
    }

    async fn register_unseen(&self, candidate: &Candidate, origin: &Origin) -> Result<()> {
        self.db
            .tx("auth.register", async |tx| {
                let owner = repos::users::insert_or_find(tx, &candidate.row(false)).await?;
                let fresh = owner == Some(candidate.id);
                let letter = match fresh {
                    true => LinkLetter::VERIFY_EMAIL,
                    false => LinkLetter::ALREADY_REGISTERED,
                };
                self.write_link(tx, owner, &letter, origin).await?;
                let action =
                    if fresh { Action::UserRegistered } else { Action::RegistrationRepeated };
                let event = NewAuditEvent {
                    actor: owner.filter(|_| fresh),
                    action,
                    target: Target { kind: "user", id: owner.map(|id| id.0) },
                    details: json!({"role": candidate.role}),
                };
                self.audit.record(tx, event, origin).await
            })
            .await
    }

    /// An operator makes an account of any role, and vouches for its address.
    pub async fn create_user(
        &self,
        account: NewAccount,
        role: Role,
        origin: &Origin,
    ) -> Result<User> {
        let candidate = self.candidate(account, role).await?;
        self.db
            .tx("auth.create_user", async |tx| {
                let user = repos::users::insert(tx, &candidate.row(true)).await?;
                let event = NewAuditEvent {
                    actor: None,
                    action: Action::UserCreated,
                    target: Target::user(user.id),
                    details: json!({"role": role}),
                };
                self.audit.record(tx, event, origin).await?;
                self.emit_registered(tx, &user, None, origin).await?;
                Ok(user)
            })
            .await
    }

    /// Where addresses must be verified, others learn of an account when its address is: a
    /// registration that has to look the same for every address emits nothing.
    pub(super) async fn emit_registered(
        &self,
        tx: &mut PgConnection,
        user: &User,
        actor: Option<UserId>,
        origin: &Origin,
    ) -> Result<()> {
        let event = NewEvent {
            kind: EventType::UserRegistered,
            aggregate: Aggregate::user(user.id),
            actor,
            payload: json!({"role": user.role, "by_operator": actor.is_none()}),
        };
        self.outbox.emit(tx, event, origin).await
    }

    async fn candidate(&self, account: NewAccount, role: Role) -> Result<Candidate> {
        let (email, name, password) = check(account).await?;
        let password_hash = self.hasher.reserve()?.hash(password).await?;
        Ok(Candidate { id: UserId(self.clock.new_id()), email, name, role, password_hash })
    }
}

/// An account that may be opened.
struct Candidate {
    id: UserId,
    email: Email,
    name: Name,
    role: Role,
    password_hash: String,
}

impl Candidate {
    fn row(&self, email_verified: bool) -> NewUser<'_> {
        NewUser {
            id: self.id,
            email: &self.email,
            name: self.name.as_str(),
            role: self.role,
            password_hash: &self.password_hash,
            email_verified,
        }
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
