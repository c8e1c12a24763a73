//! What registration, login, refresh and the password take and give.

use serde::{Deserialize, Serialize};
use utoipa::{
    ToSchema,
    openapi::{
        ObjectBuilder,
        schema::{SchemaType, Type},
    },
};
use validator::{Validate, ValidationError};

use super::super::users::{DisplayName, UserBody, plain_text};
use crate::{domain::text::is_deceptive, services::auth::AccessToken};

#[derive(Deserialize, Validate, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct RegisterBody {
    #[schema(example = "ada@example.com", format = "email", max_length = 254)]
    pub email: String,
    /// At least 8 characters and hard to guess; no rules of composition. At most 1024 bytes.
    #[schema(
        example = "orbit-velvet-lantern-42",
        format = "password",
        pattern = r"^[^\u0000]*$",
        min_length = 8,
        max_length = 1024
    )]
    pub password: String,
    #[schema(value_type = DisplayName)]
    pub name: String,
}

/// How the refresh token is handed over.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Deserialize, ToSchema)]
#[serde(rename_all = "snake_case")]
pub enum TokenDelivery {
    /// In an HttpOnly cookie: for browsers.
    #[default]
    Cookie,
    /// In the JSON body: for native clients; refused when the request carries an `Origin`.
    Body,
}

#[derive(Deserialize, Validate, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct LoginBody {
    #[schema(example = "ada@example.com", format = "email", max_length = 254)]
    pub email: String,
    #[schema(
        example = "orbit-velvet-lantern-42",
        format = "password",
        pattern = r"^[^\u0000]*$",
        max_length = 1024
    )]
    pub password: String,
    /// Keeps the session for 30 days of silence instead of 7.
    #[serde(default)]
    pub remember_me: bool,
    #[validate(
        length(min = 1, max = 100, message = "must have 1 to 100 characters"),
        custom(function = "plain", message = "must not contain control or invisible characters")
    )]
    #[schema(schema_with = device_name)]
    pub device_name: Option<String>,
    #[serde(default)]
    pub token_delivery: TokenDelivery,
    /// What an earlier login with `token_delivery: body` gave as `device_token`; anything else is
    /// an unknown device.
    #[schema(pattern = r"^[^\u0000]*$")]
    pub device_token: Option<String>,
}

fn device_name() -> ObjectBuilder {
    plain_text()
        .schema_type(SchemaType::from_iter([Type::String, Type::Null]))
        .description(Some("Shown in the list of sessions; no control or invisible characters."))
        .examples(["Ada's phone"])
}

fn plain(text: &str) -> std::result::Result<(), ValidationError> {
    match text.chars().any(is_deceptive) {
        true => Err(ValidationError::new("characters")),
        false => Ok(()),
    }
}

/// An access token, to be sent as `Authorization: Bearer`.
#[derive(Serialize, ToSchema)]
#[schema(as = Tokens)]
pub struct TokenBody {
    /// A signed JWT (RFC 9068); its keys are at `/.well-known/jwks.json`.
    pub access_token: String,
    #[schema(example = "Bearer")]
    pub token_type: &'static str,
    /// Seconds.
    #[schema(example = 600)]
    pub expires_in: u64,
    /// Only with `token_delivery: body`.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schema(nullable = false)]
    pub refresh_token: Option<String>,
}

impl TokenBody {
    pub fn of(access: AccessToken, refresh_token: Option<String>) -> Self {
        Self {
            access_token: access.token,
            token_type: "Bearer",
            expires_in: access.expires_in.as_secs(),
            refresh_token,
        }
    }
}

#[derive(Serialize, ToSchema)]
pub struct LoginAnswer {
    #[serde(flatten)]
    pub tokens: TokenBody,
    /// Only with `token_delivery: body`: sent with the next login, it tells that the device is known.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schema(nullable = false)]
    pub device_token: Option<String>,
    pub user: UserBody,
}

#[derive(Deserialize, Validate, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct RefreshBody {
    /// For native clients; browsers send the cookie and no body.
    #[schema(max_length = 128, pattern = r"^[^\u0000]*$")]
    pub refresh_token: Option<String>,
}

#[derive(Deserialize, Validate, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct PasswordBody {
    #[schema(
        example = "orbit-velvet-lantern-42",
        format = "password",
        pattern = r"^[^\u0000]*$",
        max_length = 1024
    )]
    pub current_password: String,
    /// As at registration.
    #[schema(
        example = "copper-meadow-violin-81",
        format = "password",
        pattern = r"^[^\u0000]*$",
        min_length = 8,
        max_length = 1024
    )]
    pub new_password: String,
}
