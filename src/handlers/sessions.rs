//! A user's own sessions: the devices it is signed in on.

use axum::{extract::State, response::Response};
use http::StatusCode;
use serde::Serialize;
use utoipa::ToSchema;

use super::{
    extract::{Actor, From, Path, Target},
    page::{List, Scope},
    query::{PageQuery, Query},
    time::Timestamp,
};
use crate::{
    domain::{auth::Session, ids::SessionId},
    error::Result,
    services::Services,
};

/// A device the user is signed in on.
#[derive(Serialize, ToSchema)]
#[schema(as = Session)]
pub struct SessionBody {
    id: SessionId,
    #[schema(required, example = "Ada's phone")]
    device_name: Option<String>,
    #[schema(required, example = "curl/8.5.0")]
    user_agent: Option<String>,
    #[schema(required, example = "192.0.2.7")]
    address: Option<String>,
    created_at: Timestamp,
    updated_at: Timestamp,
    last_used_at: Timestamp,
    expires_at: Timestamp,
    /// Whether it is the one that asks.
    current: bool,
}

/// Named, so that the API description has a name for it.
type SessionList = List<SessionBody>;

impl SessionBody {
    fn new(session: Session, current: SessionId) -> Self {
        Self {
            id: session.id,
            device_name: session.device_name,
            user_agent: session.user_agent,
            address: session.address,
            created_at: Timestamp(session.created_at),
            updated_at: Timestamp(session.last_used_at),
            last_used_at: Timestamp(session.last_used_at),
            expires_at: Timestamp(session.expires_at),
            current: session.id == current,
        }
    }
}

/// The live sessions of the user, newest first.
///
/// The one that asks says so in `current`.
#[utoipa::path(get, path = "/api/v1/auth/sessions", tag = "accounts",
    operation_id = "list_sessions", params(PageQuery),
    responses((status = 200, description = "A page of sessions", body = SessionList, links(
        ("end_session" = (operation_id = "end_session",
            parameters(("id" = "$response.body#/data/0/id")),
            description = "Signs the first device of the page out.")),
    ))))]
pub async fn list(
    State(services): State<Services>,
    Actor(actor): Actor,
    Target(uri): Target,
    Query(query): Query<PageQuery>,
) -> Result<Response> {
    let scope = Scope { key: &services.cursors, name: format!("sessions/{}", actor.user_id) };
    let page = scope.request(&query)?;
    let page = services.auth.sessions(&actor, page).await?;
    scope.respond(&uri, page, |session| SessionBody::new(session, actor.session_id))
}

/// Ends one of the user's own sessions.
///
/// Its access tokens stop working on every instance within a second.
#[utoipa::path(delete, path = "/api/v1/auth/sessions/{id}", tag = "accounts",
    operation_id = "end_session",
    params(("id" = SessionId, Path, description = "The session's id")),
    responses((status = 204, description = "Ended")))]
pub async fn end(
    State(services): State<Services>,
    Actor(actor): Actor,
    From(origin): From,
    Path(id): Path<SessionId>,
) -> Result<StatusCode> {
    services.auth.end_session(&actor, id, &origin).await?;
    Ok(StatusCode::NO_CONTENT)
}
