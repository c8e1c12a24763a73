//! What is done through links in mails: verifying an address, changing it, a forgotten password.

use axum::extract::State;
use http::StatusCode;
use serde::Deserialize;
use utoipa::ToSchema;
use validator::Validate;

use super::{
    extract::{Actor, From},
    json::Valid,
};
use crate::{error::Result, services::Services};

#[derive(Deserialize, Validate, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct EmailBody {
    #[schema(example = "ada@example.com", format = "email", max_length = 254)]
    email: String,
}

#[derive(Deserialize, Validate, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct MailTokenBody {
    /// What follows `#token=` in the link.
    #[schema(
        example = "AZ6k0PFzcgqL3fJfXDfKbUqI0b4KkY6R1mDqkq9yQ0mB7l2Qw8r5uZ0cVtYxN1sE",
        pattern = r"^[^\u0000]*$",
        max_length = 128
    )]
    token: String,
}

/// Verifies an address: that of a new account, or the new one of an account.
///
/// With the token of a mail, once. A new address becomes that of the account now, and the former
/// one is told.
#[utoipa::path(post, path = "/api/v1/auth/email/verify", tag = "accounts",
    operation_id = "verify_email",
    request_body(content = MailTokenBody, example = json!({
        "token": "AZ6k0PFzcgqL3fJfXDfKbUqI0b4KkY6R1mDqkq9yQ0mB7l2Qw8r5uZ0cVtYxN1sE",
    })),
    responses(
        (status = 204, description = "Verified"),
        (status = 409, description = "`EMAIL_TAKEN`: the new address has got an account meanwhile"),
        (status = 422, description = "`VALIDATION_FAILED`: among others, a token that was used, \
            replaced by a newer one, or has expired"),
    ))]
pub async fn verify_email(
    State(services): State<Services>,
    From(origin): From,
    Valid(body): Valid<MailTokenBody>,
) -> Result<StatusCode> {
    services.auth.verify_email(&body.token, &origin).await?;
    Ok(StatusCode::NO_CONTENT)
}

/// Sends the link that verifies an address again; the one before does not work any more.
///
/// The answer is the same for every address. Nothing is sent to one that has no account or is
/// verified, and no more than five links an hour to any.
#[utoipa::path(post, path = "/api/v1/auth/email/resend", tag = "accounts",
    operation_id = "resend_verification",
    request_body(content = EmailBody, example = json!({"email": "ada@example.com"})),
    responses((status = 202, description = "Sent, if there is an account that waits for it")))]
pub async fn resend_verification(
    State(services): State<Services>,
    From(origin): From,
    Valid(body): Valid<EmailBody>,
) -> Result<StatusCode> {
    services.auth.resend_verification(&body.email, &origin).await?;
    Ok(StatusCode::ACCEPTED)
}

/// Sends a link that sets a new password; the one before does not work any more.
///
/// The answer is the same for every address. Nothing is sent to one that has no account, and no
/// more than five links an hour to any. The link works for thirty minutes.
#[utoipa::path(post, path = "/api/v1/auth/password/forgot", tag = "accounts",
    operation_id = "forgot_password",
    request_body(content = EmailBody, example = json!({"email": "ada@example.com"})),
    responses((status = 202, description = "Sent, if there is an account")))]
pub async fn forgot_password(
    State(services): State<Services>,
    From(origin): From,
    Valid(body): Valid<EmailBody>,
) -> Result<StatusCode> {
    services.auth.forgot_password(&body.email, &origin).await?;
    Ok(StatusCode::ACCEPTED)
}

#[derive(Deserialize, Validate, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct ResetBody {
    /// What follows `#token=` in the link.
    #[schema(
        example = "AZ6k0PFzcgqL3fJfXDfKbUqI0b4KkY6R1mDqkq9yQ0mB7l2Qw8r5uZ0cVtYxN1sE",
        pattern = r"^[^\u0000]*$",
        max_length = 128
    )]
    token: String,
    /// As at registration.
    #[schema(
        example = "copper-meadow-violin-81",
        format = "password",
        pattern = r"^[^\u0000]*$",
        min_length = 8,
        max_length = 1024
    )]
    password: String,
}

/// Sets a new password with the token of a mail, once; every session ends.
///
/// A password that is refused leaves the token as it is. The address counts as verified from now.
#[utoipa::path(post, path = "/api/v1/auth/password/reset", tag = "accounts",
    operation_id = "reset_password",
    request_body(content = ResetBody, example = json!({
        "token": "AZ6k0PFzcgqL3fJfXDfKbUqI0b4KkY6R1mDqkq9yQ0mB7l2Qw8r5uZ0cVtYxN1sE",
        "password": "copper-meadow-violin-81",
    })),
    responses(
        (status = 204, description = "Set"),
        (status = 422, description = "`VALIDATION_FAILED`: among others, a token that was used, \
            replaced by a newer one, or has expired"),
    ))]
pub async fn reset_password(
    State(services): State<Services>,
    From(origin): From,
    Valid(body): Valid<ResetBody>,
) -> Result<StatusCode> {
    services.auth.reset_password(&body.token, body.password, &origin).await?;
    Ok(StatusCode::NO_CONTENT)
}

#[derive(Deserialize, Validate, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct ChangeEmailBody {
    #[schema(example = "ada@example.org", format = "email", max_length = 254)]
    email: String,
    #[schema(
        example = "orbit-velvet-lantern-42",
        format = "password",
        pattern = r"^[^\u0000]*$",
        max_length = 1024
    )]
    current_password: String,
}

/// Sends a link to a new address of one's account, which keeps its own until that is used.
///
/// The answer does not tell whether the new address has an account: that is said to whoever uses
/// the link. Wrong guesses of the password count like failed logins.
#[utoipa::path(put, path = "/api/v1/users/me/email", tag = "users",
    operation_id = "change_email",
    request_body(content = ChangeEmailBody, example = json!({
        "email": "ada@example.org", "current_password": "orbit-velvet-lantern-42",
    })),
    responses(
        (status = 202, description = "Sent to the new address"),
        (status = 401, description = "`INVALID_CREDENTIALS`: not the current password; \
            `UNAUTHENTICATED`; `TOKEN_EXPIRED`; `TOKEN_STALE`"),
        (status = 429, description = "`TOO_MANY_ATTEMPTS`: too many wrong passwords; \
            `RATE_LIMITED`: also after five links within an hour"),
    ))]
pub async fn change_email(
    State(services): State<Services>,
    Actor(actor): Actor,
    From(origin): From,
    Valid(body): Valid<ChangeEmailBody>,
) -> Result<StatusCode> {
    let ChangeEmailBody { email, current_password } = body;
    services.auth.change_email(&actor, &email, &current_password, &origin).await?;
    Ok(StatusCode::ACCEPTED)
}
