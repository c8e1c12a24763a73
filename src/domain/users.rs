//! Users and their roles.

use chrono::{DateTime, Utc};
use serde::{Deserialize, Serialize};
use utoipa::ToSchema;

use super::{ids::UserId, text::is_deceptive};
use crate::error::{Error, FieldError, Result};

/// What a user may do. Later roles may do all that earlier ones may.
#[derive(
    Debug,
    Clone,
    Copy,
    PartialEq,
    Eq,
    PartialOrd,
    Ord,
    Hash,
    Serialize,
    Deserialize,
    sqlx::Type,
    ToSchema,
)]
#[serde(rename_all = "snake_case")]
#[sqlx(type_name = "text", rename_all = "snake_case")]
pub enum Role {
    Customer,
    Staff,
    Admin,
}

impl Role {
    pub fn as_str(self) -> &'static str {
        match self {
            Role::Customer => "customer",
            Role::Staff => "staff",
            Role::Admin => "admin",
        }
    }
}

impl std::str::FromStr for Role {
    type Err = String;

    fn from_str(word: &str) -> std::result::Result<Self, String> {
        [Role::Customer, Role::Staff, Role::Admin]
            .into_iter()
            .find(|role| role.as_str() == word)
            .ok_or_else(|| "is none of customer, staff, admin".to_owned())
    }
}

/// An account as others may see it.
#[derive(Debug, Clone, PartialEq, Eq, sqlx::FromRow)]
pub struct User {
    pub id: UserId,
    pub email: String,
    pub name: String,
    pub role: Role,
    pub email_verified: bool,
    pub disabled: bool,
    /// Raised by every change of the row; the entity tag.
    pub version: i64,
    /// Raised when rights change: access tokens carry it.
    pub authz_version: i64,
    pub created_at: DateTime<Utc>,
    pub updated_at: DateTime<Utc>,
}

/// A display name: one line of 1 to 100 characters.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Name(String);

impl Name {
    pub fn parse(input: &str) -> Result<Self> {
        let name = input.trim();
        if name.is_empty() || name.chars().count() > 100 {
            return Err(refuse("length", "must have 1 to 100 characters"));
        }
        if name.chars().any(is_deceptive) {
            return Err(refuse("characters", "must not contain control or invisible characters"));
        }
        Ok(Self(name.to_owned()))
    }

    pub fn as_str(&self) -> &str {
        &self.0
    }
}

fn refuse(code: &'static str, message: &'static str) -> Error {
    Error::invalid(vec![FieldError::new("name", code, message)])
}

/// What an administrator may change of a user; `None` leaves it.
#[derive(Debug, Clone, Default)]
pub struct UserPatch {
    pub name: Option<Name>,
    pub role: Option<Role>,
    pub disabled: Option<bool>,
}

/// Which users to list.
#[derive(Debug, Clone, Default)]
pub struct UserFilter {
    pub role: Option<Role>,
    /// A part of the name or the address.
    pub q: Option<String>,
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_are_trimmed_and_bounded() {
        assert_eq!(Name::parse("  Ada  ").unwrap().as_str(), "Ada");
        for bad in ["", "   ", "a\nb", "a\u{0}b", "a\u{202e}b", "a\u{200b}b", &"x".repeat(101)] {
            assert!(Name::parse(bad).is_err(), "{bad:?}");
        }
    }

    #[test]
    fn roles_are_ordered_by_what_they_may_do() {
        assert!(Role::Customer < Role::Staff && Role::Staff < Role::Admin);
        for role in [Role::Customer, Role::Staff, Role::Admin] {
            assert_eq!(role.as_str().parse(), Ok(role));
        }
    }
}
