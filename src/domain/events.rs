//! Events: what happened, told to whoever wants to know, in order per aggregate.

use std::time::Duration;

use chrono::{DateTime, Utc};
use serde::Deserialize;
use serde_json::Value;
use utoipa::ToSchema;
use uuid::Uuid;

use super::ids::{DeliveryId, EventId, ImportId, ProductId, SessionId, UserId};

macro_rules! event_types {
    ($($(#[$doc:meta])* $variant:ident $text:literal $version:literal)*) => {
        /// Every event there is. The text and the meaning of a version are stable.
        #[derive(Debug, Clone, Copy, PartialEq, Eq)]
        pub enum EventType { $($(#[$doc])* $variant),* }

        impl EventType {
            pub const ALL: &'static [EventType] = &[$(EventType::$variant),*];

            pub fn as_str(self) -> &'static str {
                match self { $(EventType::$variant => $text),* }
            }

            /// Rises when members of the payload change their meaning or vanish.
            pub fn version(self) -> i32 {
                match self { $(EventType::$variant => $version),* }
            }
        }
    };
}

event_types! {
    /// An account was made: `role`, and `by_operator`.
    UserRegistered "user.registered" 1
    /// Role or disabling changed: `role` and `disabled`, each with `from` and `to`.
    UserUpdated "user.updated" 1
    /// The account was anonymised.
    UserDeleted "user.deleted" 1
    /// `sessions_ended`: how many others.
    UserPasswordChanged "user.password_changed" 1
    /// A refresh token came twice and the session has ended: `user_id`.
    SessionTokenReused "session.token_reused" 1
    /// A login on a device on which the user was not known: `session_id`.
    DeviceFirstSeen "device.first_seen" 1
    /// `sku`, `name`, `category`, `price` (`amount`, `currency`) and `stock`.
    ProductCreated "product.created" 1
    /// `version` and `changed`: the names of the fields.
    ProductUpdated "product.updated" 1
    /// It is not sold any more: `version`.
    ProductArchived "product.archived" 1
    /// `delta`, and the `stock` after it.
    ProductStockAdjusted "product.stock_adjusted" 1
    /// A file of products was read: `state`, `mode`, `dry_run`, the counts of rows, and `error`.
    ImportFinished "import.finished" 1
}

/// What events are ordered by.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Aggregate {
    pub kind: &'static str,
    pub id: Uuid,
}

impl Aggregate {
    pub fn user(id: UserId) -> Self {
        Self { kind: "user", id: id.0 }
    }

    pub fn product(id: ProductId) -> Self {
        Self { kind: "product", id: id.0 }
    }

    pub fn import(id: ImportId) -> Self {
        Self { kind: "import", id: id.0 }
    }

    pub fn session(id: SessionId) -> Self {
        Self { kind: "session", id: id.0 }
    }
}

/// An event to be emitted in the transaction it tells of.
#[derive(Debug)]
pub struct NewEvent {
    pub kind: EventType,
    pub aggregate: Aggregate,
    pub actor: Option<UserId>,
    /// Ids and facts; never a secret, never an address of a person.
    pub payload: Value,
}

/// An event as consumers get it.
#[derive(Debug, Clone)]
pub struct Event {
    pub id: EventId,
    pub at: DateTime<Utc>,
    pub kind: String,
    pub version: i32,
    pub aggregate_kind: String,
    pub aggregate_id: Uuid,
    /// Counts the events of the aggregate, from 1 without gaps.
    pub sequence: i64,
    pub actor_id: Option<UserId>,
    pub request_id: String,
    pub traceparent: Option<String>,
    pub payload: Value,
}

/// Which events a consumer wants.
#[derive(Debug, Clone, Copy)]
pub enum Wants {
    All,
    Only(&'static [EventType]),
}

impl Wants {
    pub fn includes(self, kind: EventType) -> bool {
        match self {
            Wants::All => true,
            Wants::Only(kinds) => kinds.contains(&kind),
        }
    }
}

/// Who is to be told of what. From the release on that knows a consumer, it gets what it wants.
#[derive(Debug, Clone, Copy)]
pub struct Interest {
    pub consumer: &'static str,
    pub wants: Wants,
}

/// An event on its way to one consumer.
#[derive(Debug, Clone)]
pub struct Delivery {
    pub id: DeliveryId,
    /// Failures so far.
    pub attempts: i32,
    pub event: Event,
}

/// What became of it so far.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Deserialize, ToSchema)]
#[serde(rename_all = "snake_case")]
pub enum DeliveryState {
    Pending,
    Done,
    /// Given up; replayed by hand.
    Dead,
}

impl DeliveryState {
    pub fn as_str(self) -> &'static str {
        match self {
            DeliveryState::Pending => "pending",
            DeliveryState::Done => "done",
            DeliveryState::Dead => "dead",
        }
    }
}

/// A delivery as administrators see it.
#[derive(Debug, Clone, sqlx::FromRow)]
pub struct DeliveryReport {
    pub id: DeliveryId,
    pub consumer: String,
    pub state: String,
    pub attempts: i32,
    pub next_at: DateTime<Utc>,
    pub last_error: Option<String>,
    pub created_at: DateTime<Utc>,
    pub updated_at: DateTime<Utc>,
    pub event_id: EventId,
    pub event_type: String,
    pub event_version: i32,
    pub aggregate_kind: String,
    pub aggregate_id: Uuid,
    pub sequence: i64,
    pub actor_id: Option<UserId>,
    pub request_id: String,
    pub payload: Value,
}

#[derive(Debug, Clone, Default)]
pub struct DeliveryFilter {
    pub state: Option<DeliveryState>,
    pub consumer: Option<String>,
}

/// When a failed delivery is tried again: exponential, full jitter.
#[derive(Debug, Clone, Copy)]
pub struct Backoff {
    pub first: Duration,
    pub most: Duration,
}

impl Backoff {
    /// `failures` so far, at least one; `chance` from 0 to 1 spreads those that failed together.
    pub fn pause(&self, failures: i32, chance: f64) -> Duration {
        let doublings = u32::try_from(failures - 1).unwrap_or_default().min(30);
        let whole = self.first.saturating_mul(1 << doublings).min(self.most);
        whole.mul_f64(chance.clamp(0.0, 1.0))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn pauses_double_up_to_the_most_and_chance_takes_its_share() {
        let backoff = Backoff { first: Duration::from_secs(1), most: Duration::from_secs(300) };
        let secs = |failures, chance| backoff.pause(failures, chance).as_secs_f64();
        assert_eq!([secs(1, 1.0), secs(2, 1.0), secs(5, 1.0)], [1.0, 2.0, 16.0]);
        assert_eq!([secs(10, 1.0), secs(i32::MAX, 1.0)], [300.0, 300.0]);
        assert_eq!([secs(5, 0.0), secs(5, 0.25)], [0.0, 4.0]);
    }

    #[test]
    fn every_type_has_a_word_of_its_own() {
        let words: std::collections::HashSet<_> =
            EventType::ALL.iter().map(|kind| kind.as_str()).collect();
        assert_eq!(words.len(), EventType::ALL.len());
    }

    #[test]
    fn a_consumer_gets_what_it_wants() {
        let only = Wants::Only(&[EventType::UserDeleted]);
        assert!(
            only.includes(EventType::UserDeleted) && Wants::All.includes(EventType::UserDeleted)
        );
        assert!(!only.includes(EventType::UserUpdated));
    }
}
