//! Registration, login, refresh, logout and the password.

use axum::{
    Json,
    extract::State,
    response::{IntoResponse, Response},
};
use http::{HeaderMap, HeaderValue, StatusCode, header};

use super::{
    extract::{Actor, Credentials, From},
    json::{Optional, Valid},
    users::UserBody,
};
use crate::{
    error::{Code, Error, Result},
    middleware::{authenticate::Authentication, cookies::Cookies},
    services::{
        Services,
        auth::{LoginRequest, NewAccount, RefreshGrant, Registered},
    },
};

mod body;

use body::{
    LoginAnswer, LoginBody, PasswordBody, RefreshBody, RegisterBody, TokenBody, TokenDelivery,
};

/// Opens an account.
///
/// An address has one account, however it is spelt; a link to verify it comes by mail. Where an
/// address must be verified before the first login, the answer is 202 whether or not it has an
/// account, and only its mailbox learns which.
#[utoipa::path(post, path = "/api/v1/auth/register", tag = "accounts",
    operation_id = "register_user",
    request_body(content = RegisterBody, example = json!({
        "email": "ada@example.com", "password": "orbit-velvet-lantern-42", "name": "Ada Lovelace",
    })),
    responses(
        (status = 201, description = "The new account", body = UserBody, links(
            ("get_user" = (operation_id = "get_user",
                parameters(("id" = "$response.body#/id")),
                description = "The account, for administrators and its owner.")),
        )),
        (status = 202, description = "What comes next stands in a mail; where addresses must be verified"),
        (status = 409, description = "`EMAIL_TAKEN`: the address has an account; where addresses need not be verified"),
    ))]
pub async fn register(
    State(services): State<Services>,
    From(origin): From,
    Valid(body): Valid<RegisterBody>,
) -> Result<Response> {
    let account = NewAccount { email: body.email, password: body.password, name: body.name };
    let user = match services.auth.register(account, &origin).await? {
        Registered::Opened(user) => user,
        Registered::Pending => return Ok(StatusCode::ACCEPTED.into_response()),
    };
    let location = [(header::LOCATION, "/api/v1/users/me")];
    Ok((StatusCode::CREATED, location, Json(UserBody::from(user))).into_response())
}

/// Signs in with address and password.
///
/// The refresh token comes in a cookie, or in the body for native clients that ask for it. After
/// repeated failures of an account or a network further attempts have to wait, except from a
/// device that has signed in before.
#[utoipa::path(post, path = "/api/v1/auth/login", tag = "accounts", operation_id = "login_user",
    request_body(content = LoginBody, example = json!({
        "email": "ada@example.com", "password": "orbit-velvet-lantern-42", "remember_me": true,
        "device_name": "Ada's phone", "token_delivery": "body",
    })),
    responses(
        (status = 200, description = "Signed in", body = LoginAnswer, headers(("Set-Cookie"))),
        (status = 401, description = "`INVALID_CREDENTIALS`: for known and unknown addresses alike"),
        (status = 403, description = "`EMAIL_NOT_VERIFIED`: only after the right password; \
            `FORBIDDEN`: tokens in a body for a request with an `Origin`; `CSRF_REJECTED`"),
        (status = 429, description = "`TOO_MANY_ATTEMPTS`: too many failed logins; `RATE_LIMITED`"),
    ))]
pub async fn login(
    State(services): State<Services>,
    From(origin): From,
    headers: HeaderMap,
    Valid(body): Valid<LoginBody>,
) -> Result<Response> {
    let delivery = body.token_delivery;
    refuse_body_delivery_to_browsers(delivery, &headers)?;
    let cookies = Cookies::new(services.cookies.secure);
    let request = LoginRequest {
        email: body.email,
        password: body.password,
        remember_me: body.remember_me,
        device_name: body.device_name,
        device_token: body.device_token.or_else(|| cookies.device_token(&headers)),
    };
    let signed_in = services.auth.login(request, &origin).await?;
    let in_body = delivery == TokenDelivery::Body;
    let answer = LoginAnswer {
        tokens: TokenBody::of(signed_in.access, in_body.then(|| signed_in.refresh.token.clone())),
        device_token: in_body.then(|| signed_in.device_token.clone()),
        user: UserBody::from(signed_in.user),
    };
    let mut response = Json(answer).into_response();
    if !in_body {
        let headers = response.headers_mut();
        set_refresh_cookie(&services, headers, &signed_in.refresh);
        cookies.set_device(headers, &signed_in.device_token, services.cookies.device_ttl);
    }
    Ok(response)
}

/// Trades a refresh token for a new pair, once.
///
/// The answer comes the way the token came: as a cookie or in the body. The token just used is
/// answered with the same successor for ten seconds (a lost answer, two tabs); any older one ends
/// the session, because two parties hold its tokens.
#[utoipa::path(post, path = "/api/v1/auth/refresh", tag = "accounts",
    operation_id = "refresh_session", security(("refresh_cookie" = []), ()),
    request_body(content = Option<RefreshBody>, description = "Left out by browsers",
        example = json!({
            "refresh_token": "AZ6k0PFzcgqL3fJfXDfKbUqI0b4KkY6R1mDqkq9yQ0mB7l2Qw8r5uZ0cVtYxN1sE",
        })),
    responses(
        (status = 200, description = "A new pair", body = TokenBody, headers(("Set-Cookie"))),
        (status = 401, description = "`REFRESH_TOKEN_INVALID`: absent, unknown or expired; \
            `REFRESH_TOKEN_REUSED`: used before, the session has ended"),
        (status = 403, description = "`FORBIDDEN`: tokens in a body for a request with an `Origin`; `CSRF_REJECTED`"),
    ))]
pub async fn refresh(
    State(services): State<Services>,
    From(origin): From,
    headers: HeaderMap,
    Optional(body): Optional<RefreshBody>,
) -> Result<Response> {
    let cookies = Cookies::new(services.cookies.secure);
    let (token, delivery) = match body.and_then(|body| body.refresh_token) {
        Some(token) => (Some(token), TokenDelivery::Body),
        None => (cookies.refresh_token(&headers), TokenDelivery::Cookie),
    };
    refuse_body_delivery_to_browsers(delivery, &headers)?;
    let token = token.ok_or_else(|| Error::of(Code::RefreshTokenInvalid))?;
    let refreshed = services.auth.refresh(&token, &origin).await?;
    let in_body = delivery == TokenDelivery::Body;
    let refresh_token = in_body.then(|| refreshed.refresh.token.clone());
    let mut response = Json(TokenBody::of(refreshed.access, refresh_token)).into_response();
    if !in_body {
        set_refresh_cookie(&services, response.headers_mut(), &refreshed.refresh);
    }
    Ok(response)
}

/// Ends the session of the access token, or else that of the refresh cookie.
///
/// Its access tokens stop working on every instance within a second.
#[utoipa::path(post, path = "/api/v1/auth/logout", tag = "accounts",
    operation_id = "logout_session", security(("bearer" = []), ("refresh_cookie" = [])),
    responses((status = 204, description = "Signed out",
        headers(("Set-Cookie"), ("Clear-Site-Data")))))]
pub async fn logout(
    State(services): State<Services>,
    From(origin): From,
    Credentials(authentication): Credentials,
    headers: HeaderMap,
) -> Result<Response> {
    let cookie = Cookies::new(services.cookies.secure).refresh_token(&headers);
    match (authentication, cookie) {
        (Authentication::Known(actor), _) => services.auth.logout(&actor, &origin).await?,
        (_, Some(token)) => services.auth.logout_by_refresh_token(&token, &origin).await?,
        (authentication, None) => {
            authentication.identity()?;
            return Err(Error::of(Code::Unauthenticated));
        }
    }
    Ok(signed_out(&services))
}

/// Ends every session of the user, on all devices.
///
/// The session that asks is among them.
#[utoipa::path(post, path = "/api/v1/auth/logout-all", tag = "accounts",
    operation_id = "logout_all_sessions",
    responses((status = 204, description = "Signed out everywhere",
        headers(("Set-Cookie"), ("Clear-Site-Data")))))]
pub async fn logout_all(
    State(services): State<Services>,
    Actor(actor): Actor,
    From(origin): From,
) -> Result<Response> {
    services.auth.logout_all(&actor, &origin).await?;
    Ok(signed_out(&services))
}

/// Changes the password; every other session ends.
///
/// Wrong guesses of the current one count like failed logins.
#[utoipa::path(put, path = "/api/v1/auth/password", tag = "accounts",
    operation_id = "change_password",
    request_body(content = PasswordBody, example = json!({
        "current_password": "orbit-velvet-lantern-42", "new_password": "copper-meadow-violin-81",
    })),
    responses(
        (status = 204, description = "Changed"),
        (status = 401, description = "`INVALID_CREDENTIALS`: not the current password; \
            `UNAUTHENTICATED`; `TOKEN_EXPIRED`; `TOKEN_STALE`"),
        (status = 429, description = "`TOO_MANY_ATTEMPTS`: too many wrong passwords; `RATE_LIMITED`"),
    ))]
pub async fn change_password(
    State(services): State<Services>,
    Actor(actor): Actor,
    From(origin): From,
    Valid(body): Valid<PasswordBody>,
) -> Result<StatusCode> {
    let PasswordBody { current_password, new_password } = body;
    services.auth.change_password(&actor, &current_password, new_password, &origin).await?;
    Ok(StatusCode::NO_CONTENT)
}

/// Scripts on a page must never see a refresh token.
fn refuse_body_delivery_to_browsers(delivery: TokenDelivery, headers: &HeaderMap) -> Result<()> {
    match delivery {
        TokenDelivery::Body if headers.contains_key(header::ORIGIN) => Err(Error::new(
            Code::Forbidden,
            "refresh tokens are not put into bodies for requests with an Origin",
        )),
        _ => Ok(()),
    }
}

fn set_refresh_cookie(services: &Services, headers: &mut HeaderMap, grant: &RefreshGrant) {
    let kept_until = grant.remember.then_some(grant.expires_at);
    let now = services.clock.now();
    Cookies::new(services.cookies.secure).set_refresh(headers, &grant.token, kept_until, now);
}

/// The device cookie stays: it tells that the user has been here, not that he is.
pub fn signed_out(services: &Services) -> Response {
    let mut response = StatusCode::NO_CONTENT.into_response();
    let headers = response.headers_mut();
    Cookies::new(services.cookies.secure).clear_refresh(headers);
    let clear = HeaderValue::from_static(r#""cache", "storage""#);
    headers.insert("clear-site-data", clear);
    response
}
