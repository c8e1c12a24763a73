//! Accounts: one's own, and all of them for administrators.

use axum::{extract::State, response::Response};
use http::StatusCode;
use serde::{Deserialize, Serialize};
use utoipa::{
    IntoParams, PartialSchema, ToSchema,
    openapi::{ObjectBuilder, RefOr, Schema, schema::Type},
};
use validator::Validate;

use super::{
    auth::signed_out,
    etag::Conditions,
    extract::{Actor, Admin, From, Path, Target},
    json::Valid,
    page::{List, Scope},
    query::{PageQuery, Paged},
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

/// What deceives the eye (`domain::text`), up to U+FFFF: beyond, regular expressions differ.
const DECEPTIVE: &str = concat!(
    r"\u0000-\u001F\u007F-\u009F\u00AD\u034F\u061C\u115F\u1160\u17B4\u17B5\u180B-\u180F\u200B\u200E",
    r"\u200F\u2028-\u202E\u2060-\u206F\u3164\uFEFF\uFFA0\uFFF0-\uFFFD",
);

/// How the API description writes a text that people read: not longer than a name.
pub fn plain_text() -> ObjectBuilder {
    ObjectBuilder::new()
        .schema_type(Type::String)
        .min_length(Some(1))
        .max_length(Some(100))
        .pattern(Some(format!("^[^{DECEPTIVE}]*$")))
}

/// The same for a name, which is not blank either.
pub struct DisplayName;

impl PartialSchema for DisplayName {
    fn schema() -> RefOr<Schema> {
        plain_text()
            .description(Some("Not blank, without control or invisible characters."))
            .pattern(Some(format!(r"^(?!\s*$)[^{DECEPTIVE}]*$")))
            .examples(["Ada Lovelace"])
            .into()
    }
}

impl ToSchema for DisplayName {}

/// An account.
#[derive(Serialize, ToSchema)]
#[schema(as = User)]
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

/// Named, so that the API description has a name for it.
type UserList = List<UserBody>;

fn respond(user: User, conditions: &Conditions) -> Response {
    conditions.respond(user.version, UserBody::from(user))
}

/// The caller's own account.
///
/// The same as `/api/v1/users/{id}` with one's own id.
#[utoipa::path(get, path = "/api/v1/users/me", tag = "users", operation_id = "get_own_user",
    params(("If-Match" = Option<String>, Header), ("If-None-Match" = Option<String>, Header)),
    responses((status = 200, description = "The account", body = UserBody, links(
        ("update_own_user" = (operation_id = "update_own_user",
            parameters(("If-Match" = "$response.header.ETag")),
            description = "Changes exactly what was read.")),
    ))))]
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
    #[schema(value_type = Option<DisplayName>)]
    name: Option<String>,
}

/// Changes one's own profile.
///
/// What is left out, or null, stays.
#[utoipa::path(patch, path = "/api/v1/users/me", tag = "users", operation_id = "update_own_user",
    params(("If-Match" = Option<String>, Header)),
    request_body(content = ProfilePatch, example = json!({"name": "Ada King"})),
    responses((status = 200, description = "The account as it is now", body = UserBody)))]
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
///
/// Every session ends.
#[utoipa::path(delete, path = "/api/v1/users/me", tag = "users", operation_id = "delete_own_user",
    params(("If-Match" = Option<String>, Header)),
    responses(
        (status = 204, description = "Deleted", headers(("Set-Cookie"), ("Clear-Site-Data"))),
        (status = 409, description = "`LAST_ADMIN`: the last administrator stays"),
    ))]
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
    /// Only users of this role.
    role: Option<Role>,
    /// A part of the name or of the address.
    #[validate(length(min = 1, max = 100, message = "must have 1 to 100 characters"))]
    #[param(min_length = 1, max_length = 100, pattern = r"^[^\u0000]*$", example = "ada")]
    q: Option<String>,
}

/// All accounts, newest first.
///
/// Deleted ones are not among them.
#[utoipa::path(get, path = "/api/v1/users", tag = "users", operation_id = "list_users",
    params(UsersQuery, PageQuery),
    responses((status = 200, description = "A page of accounts", body = UserList, links(
        ("get_user" = (operation_id = "get_user",
            parameters(("id" = "$response.body#/data/0/id")),
            description = "The first account of the page.")),
    ))))]
pub async fn list(
    State(services): State<Services>,
    Admin(_actor): Admin,
    Target(uri): Target,
    Paged(query, page): Paged<UsersQuery>,
) -> Result<Response> {
    let name = format!("users/{:?}/{:?}", query.role, query.q);
    let scope = Scope { key: &services.cursors, name };
    let page = scope.request(&page)?;
    let filter = UserFilter { role: query.role, q: query.q };
    scope.respond(&uri, services.users.list(&filter, page).await?, UserBody::from)
}

/// One account: for administrators, and for its owner.
///
/// For everybody else there is no such account.
#[utoipa::path(get, path = "/api/v1/users/{id}", tag = "users", operation_id = "get_user",
    params(("id" = UserId, Path, description = "The account's id"),
        ("If-Match" = Option<String>, Header), ("If-None-Match" = Option<String>, Header)),
    responses((status = 200, description = "The account", body = UserBody, links(
        ("update_user" = (operation_id = "update_user",
            parameters(("id" = "$response.body#/id"), ("If-Match" = "$response.header.ETag")),
            description = "Changes exactly what was read.")),
        ("delete_user" = (operation_id = "delete_user",
            parameters(("id" = "$response.body#/id"), ("If-Match" = "$response.header.ETag")),
            description = "Deletes exactly what was read.")),
        ("end_user_sessions" = (operation_id = "end_user_sessions",
            parameters(("id" = "$response.body#/id")),
            description = "Signs the user out everywhere.")),
    ))))]
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
#[schema(as = UserPatch)]
pub struct UserPatchBody {
    #[schema(value_type = Option<DisplayName>)]
    name: Option<String>,
    role: Option<Role>,
    disabled: Option<bool>,
}

/// Changes role, name or whether the account may be used.
///
/// What is left out, or null, stays. Access tokens of before a change of role are refused as
/// stale; those of a disabled account, and its sessions, end.
#[utoipa::path(patch, path = "/api/v1/users/{id}", tag = "users", operation_id = "update_user",
    params(("id" = UserId, Path, description = "The account's id"),
        ("If-Match" = Option<String>, Header)),
    request_body(content = UserPatchBody, example = json!({"role": "staff"})),
    responses(
        (status = 200, description = "The account as it is now", body = UserBody),
        (status = 409, description = "`LAST_ADMIN`: the last administrator stays one, and enabled"),
    ))]
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
///
/// Every session of the user ends.
#[utoipa::path(delete, path = "/api/v1/users/{id}", tag = "users", operation_id = "delete_user",
    params(("id" = UserId, Path, description = "The account's id"),
        ("If-Match" = Option<String>, Header)),
    responses(
        (status = 204, description = "Deleted"),
        (status = 409, description = "`LAST_ADMIN`: the last administrator stays"),
    ))]
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
///
/// The account stays usable: the user may sign in again.
#[utoipa::path(delete, path = "/api/v1/users/{id}/sessions", tag = "users",
    operation_id = "end_user_sessions",
    params(("id" = UserId, Path, description = "The account's id")),
    responses((status = 204, description = "Ended")))]
pub async fn end_sessions(
    State(services): State<Services>,
    Admin(actor): Admin,
    From(origin): From,
    Path(id): Path<UserId>,
) -> Result<StatusCode> {
    services.auth.end_user_sessions(&actor, id, &origin).await?;
    Ok(StatusCode::NO_CONTENT)
}
