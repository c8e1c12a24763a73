//! A user's own sessions: the devices it is signed in on.

use axum::{extract::State, response::Response};
use http::StatusCode;
use serde::{Deserialize, Serialize};
use utoipa::{IntoParams, ToSchema};
use validator::Validate;

use super::{
    extract::{Actor, From, Path, Target},
    page::{Count, List, Scope},
    query::Query,
    time::Timestamp,
};
use crate::{
    domain::{auth::Session, ids::SessionId},
    error::Result,
    services::Services,
};

#[derive(Serialize, ToSchema)]
pub struct SessionBody {
    id: SessionId,
    device_name: Option<String>,
    user_agent: Option<String>,
    address: Option<String>,
    created_at: Timestamp,
    updated_at: Timestamp,
    last_used_at: Timestamp,
    expires_at: Timestamp,
    /// Whether it is the one that asks.
    current: bool,
}

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

#[derive(Deserialize, Validate, IntoParams)]
#[serde(deny_unknown_fields)]
#[into_params(parameter_in = Query)]
pub struct SessionsQuery {
    #[validate(range(min = 1, max = 100, message = "must be from 1 to 100"))]
    #[param(minimum = 1, maximum = 100)]
    limit: Option<i64>,
    cursor: Option<String>,
    count: Option<Count>,
}

/// The live sessions of the user, newest first.
#[utoipa::path(get, path = "/api/v1/auth/sessions", tag = "accounts", params(SessionsQuery),
    responses((status = 200, body = List<SessionBody>)))]
pub async fn list(
    State(services): State<Services>,
    Actor(actor): Actor,
    Target(uri): Target,
    Query(query): Query<SessionsQuery>,
) -> Result<Response> {
    let scope = Scope { key: &services.cursors, name: format!("sessions/{}", actor.user_id) };
    let page = scope.request(query.limit, query.cursor.as_deref(), query.count)?;
    let page = services.auth.sessions(&actor, page).await?;
    scope.respond(&uri, page, |session| SessionBody::new(session, actor.session_id))
}

/// Ends one of the user's own sessions.
#[utoipa::path(delete, path = "/api/v1/auth/sessions/{id}", tag = "accounts",
    params(("id" = SessionId, Path)), responses((status = 204)))]
pub async fn end(
    State(services): State<Services>,
    Actor(actor): Actor,
    From(origin): From,
    Path(id): Path<SessionId>,
) -> Result<StatusCode> {
    services.auth.end_session(&actor, id, &origin).await?;
    Ok(StatusCode::NO_CONTENT)
}
