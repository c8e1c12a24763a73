//! Ids are UUIDv7, and a type each, so that a session id cannot be passed for a user id.

use std::fmt;

use serde::{Deserialize, Serialize};
use utoipa::ToSchema;
use uuid::Uuid;

macro_rules! ids {
    ($($(#[$doc:meta])* $name:ident)*) => {$(
        $(#[$doc])*
        #[derive(
            Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize,
            sqlx::Type, ToSchema,
        )]
        #[serde(transparent)]
        #[sqlx(transparent)]
        pub struct $name(pub Uuid);

        impl fmt::Display for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                self.0.fmt(f)
            }
        }

        impl From<Uuid> for $name {
            fn from(id: Uuid) -> Self {
                Self(id)
            }
        }
    )*};
}

ids! {
    /// An account.
    UserId
    /// A login on one device; access tokens carry it as `sid`.
    SessionId
    /// One line of the audit trail.
    AuditEventId
    /// Something that happened, as the outbox tells it.
    EventId
    /// An event on its way to one consumer.
    DeliveryId
    /// A piece of background work.
    JobId
    /// A process that runs jobs, from its start until it is given up.
    WorkerId
    /// A link in a mail, before its secret.
    MailTokenId
    /// A product of the catalogue.
    ProductId
    /// A place in the tree of the catalogue.
    CategoryId
    /// A file of products on its way into the catalogue.
    ImportId
}
