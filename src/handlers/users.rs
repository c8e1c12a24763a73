//! Accounts: one's own, and all of them for administrators.

use axum::{extract::State, response::Response};
use http::StatusCode;
use serde::{Deserialize, Serialize};
use utoipa::{IntoParams, ToSchema};
use validator::Validate;

use super::{
    auth::signed_out,
    etag::Conditions,
    extract::{Actor, Admin, From, Path, Target},
    json::Valid,
    page::{Count, List, Scope},
    query::Query,
    time::Timestamp,
};
use crate::{
    domain::{
        ids::UserId,
        users::{Name, Role, User, UserFilter, UserPatch},
    },
    error::Result,
    services::Services,
};

#[derive(Serialize, ToSchema)]
pub struct UserBody {
    pub id: UserId,
    #[schema(example = "ada@example.com")]
    pub email: String,
    #[schema(example = "Ada Lovelace")]
    pub name: String,
    pub role: Role,
    pub email_verified: bool,
    pub disabled: bool,
    pub created_at: Timestamp,
    pub updated_at: Timestamp,
}

impl std::convert::From<User> for UserBody {
    fn from(user: User) -> Self {
        Self {
            id: user.id,
            email: user.email,
            name: user.name,
            role: user.role,
            email_verified: user.email_verified,
            disabled: user.disabled,
            created_at: Timestamp(user.created_at),
            updated_at: Timestamp(user.updated_at),
        }
    }
}

fn respond(user: User, conditions: &Conditions) -> Response {
    conditions.respond(user.version, UserBody::from(user))
}

/// The caller's own account.
#[utoipa::path(get, path = "/api/v1/users/me", tag = "users", responses((status = 200, body = UserBody)))]
pub async fn me(
    State(services): State<Services>,
    Actor(actor): Actor,
    conditions: Conditions,
) -> Result<Response> {
    Ok(respond(services.users.get(actor.user_id).await?, &conditions))
}

#[derive(Deserialize, Validate, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct ProfilePatch {
    #[schema(example = "Ada King", min_length = 1, max_length = 100)]
    name: Option<String>,
}

/// Changes one's own profile.
#[utoipa::path(patch, path = "/api/v1/users/me", tag = "users", request_body = ProfilePatch,
    responses((status = 200, body = UserBody)))]
pub async fn update_me(
    State(services): State<Services>,
    Actor(actor): Actor,
    From(origin): From,
    conditions: Conditions,
    Valid(body): Valid<ProfilePatch>,
) -> Result<Response> {
    let name = body.name.as_deref().map(Name::parse).transpose()?;
    let patch = UserPatch { name, ..UserPatch::default() };
    let (id, versions) = (actor.user_id, conditions.versions());
    let user = services.users.update(&actor, id, &patch, versions.as_deref(), &origin).await?;
    Ok(respond(user, &conditions.for_write()))
}

/// Deletes one's own account: address and name are removed, the id stays.
#[utoipa::path(delete, path = "/api/v1/users/me", tag = "users", responses((status = 204)))]
pub async fn delete_me(
    State(services): State<Services>,
    Actor(actor): Actor,
    From(origin): From,
    conditions: Conditions,
) -> Result<Response> {
    let versions = conditions.versions();
    services.users.delete(&actor, actor.user_id, versions.as_deref(), &origin).await?;
    Ok(signed_out(&services))
}

#[derive(Deserialize, Validate, IntoParams)]
#[serde(deny_unknown_fields)]
#[into_params(parameter_in = Query)]
pub struct UsersQuery {
    role: Option<Role>,
    /// A part of the name or of the address.
    #[validate(length(min = 1, max = 100, message = "must have 1 to 100 characters"))]
    #[param(min_length = 1, max_length = 100)]
    q: Option<String>,
    #[validate(range(min = 1, max = 100, message = "must be from 1 to 100"))]
    #[param(minimum = 1, maximum = 100)]
    limit: Option<i64>,
    cursor: Option<String>,
    count: Option<Count>,
}

/// All accounts, newest first.
#[utoipa::path(get, path = "/api/v1/users", tag = "users", params(UsersQuery),
    responses((status = 200, body = List<UserBody>)))]
pub async fn list(
    State(services): State<Services>,
    Admin(_actor): Admin,
    Target(uri): Target,
    Query(query): Query<UsersQuery>,
) -> Result<Response> {
    let name = format!("users/{:?}/{:?}", query.role, query.q);
    let scope = Scope { key: &services.cursors, name };
    let page = scope.request(query.limit, query.cursor.as_deref(), query.count)?;
    let filter = UserFilter { role: query.role, q: query.q };
    scope.respond(&uri, services.users.list(&filter, page).await?, UserBody::from)
}

/// One account: for administrators, and for its owner.
#[utoipa::path(get, path = "/api/v1/users/{id}", tag = "users", params(("id" = UserId, Path)),
    responses((status = 200, body = UserBody)))]
pub async fn get(
    State(services): State<Services>,
    Actor(actor): Actor,
    Path(id): Path<UserId>,
    conditions: Conditions,
) -> Result<Response> {
    Ok(respond(services.users.get_for(&actor, id).await?, &conditions))
}

#[derive(Deserialize, Validate, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct UserPatchBody {
    #[schema(min_length = 1, max_length = 100)]
    name: Option<String>,
    role: Option<Role>,
    disabled: Option<bool>,
}

/// Changes role, name or whether the account may be used.
#[utoipa::path(patch, path = "/api/v1/users/{id}", tag = "users", params(("id" = UserId, Path)),
    request_body = UserPatchBody, responses((status = 200, body = UserBody)))]
pub async fn update(
    State(services): State<Services>,
    Admin(actor): Admin,
    From(origin): From,
    Path(id): Path<UserId>,
    conditions: Conditions,
    Valid(body): Valid<UserPatchBody>,
) -> Result<Response> {
    let name = body.name.as_deref().map(Name::parse).transpose()?;
    let patch = UserPatch { name, role: body.role, disabled: body.disabled };
    let versions = conditions.versions();
    let user = services.users.update(&actor, id, &patch, versions.as_deref(), &origin).await?;
    Ok(respond(user, &conditions.for_write()))
}

/// Deletes an account: address and name are removed, the id stays.
#[utoipa::path(delete, path = "/api/v1/users/{id}", tag = "users", params(("id" = UserId, Path)),
    responses((status = 204)))]
pub async fn delete(
    State(services): State<Services>,
    Admin(actor): Admin,
    From(origin): From,
    Path(id): Path<UserId>,
    conditions: Conditions,
) -> Result<StatusCode> {
    services.users.delete(&actor, id, conditions.versions().as_deref(), &origin).await?;
    Ok(StatusCode::NO_CONTENT)
}

/// Ends every session of a user.
#[utoipa::path(delete, path = "/api/v1/users/{id}/sessions", tag = "users",
    params(("id" = UserId, Path)), responses((status = 204)))]
pub async fn end_sessions(
    State(services): State<Services>,
    Admin(actor): Admin,
    From(origin): From,
    Path(id): Path<UserId>,
) -> Result<StatusCode> {
    services.auth.end_user_sessions(&actor, id, &origin).await?;
    Ok(StatusCode::NO_CONTENT)
}
