//! The audit trail, for administrators.

use axum::{extract::State, response::Response};
use serde::{Deserialize, Serialize};
use utoipa::{IntoParams, ToSchema};
use uuid::Uuid;
use validator::Validate;

use super::{
    extract::{Admin, Target},
    page::{List, Scope},
    query::{PageQuery, Paged},
    time::Timestamp,
};
use crate::{
    domain::{
        audit::{AuditEvent, AuditFilter},
        ids::{AuditEventId, UserId},
    },
    error::Result,
    services::Services,
};

/// One line of the audit trail.
#[derive(Serialize, ToSchema)]
#[schema(as = AuditEvent)]
pub struct AuditEventBody {
    id: AuditEventId,
    at: Timestamp,
    /// Who did it; null for what happened without a signed-in user.
    #[schema(required)]
    actor_id: Option<UserId>,
    #[schema(example = "auth.login_succeeded")]
    action: String,
    #[schema(example = "user")]
    target_type: String,
    #[schema(required)]
    target_id: Option<Uuid>,
    #[schema(required, example = "192.0.2.7")]
    address: Option<String>,
    #[schema(required, example = "curl/8.5.0")]
    user_agent: Option<String>,
    request_id: String,
    /// What else there is to say; which members, the action decides.
    #[schema(value_type = Object, example = json!({"known_device": true}))]
    details: serde_json::Value,
}

/// Named, so that the API description has a name for it.
type AuditEventList = List<AuditEventBody>;

impl From<AuditEvent> for AuditEventBody {
    fn from(event: AuditEvent) -> Self {
        Self {
            id: event.id,
            at: Timestamp(event.at),
            actor_id: event.actor_id,
            action: event.action,
            target_type: event.target_type,
            target_id: event.target_id,
            address: event.address,
            user_agent: event.user_agent,
            request_id: event.request_id,
            details: event.details,
        }
    }
}

#[derive(Deserialize, Validate, IntoParams)]
#[serde(deny_unknown_fields)]
#[into_params(parameter_in = Query)]
pub struct AuditQuery {
    /// Only what this user did.
    actor_id: Option<UserId>,
    /// Only this action.
    #[validate(length(min = 1, max = 64, message = "must have 1 to 64 characters"))]
    #[param(min_length = 1, max_length = 64, pattern = r"^[^\u0000]*$", example = "user.updated")]
    action: Option<String>,
    /// Only what was done to this user or session.
    target_id: Option<Uuid>,
}

/// Who did what to whom, newest first.
///
/// The trail is append-only. Events outlive the accounts they name.
#[utoipa::path(get, path = "/api/v1/admin/audit-events", tag = "administration",
    operation_id = "list_audit_events", params(AuditQuery, PageQuery),
    responses((status = 200, description = "A page of events", body = AuditEventList)))]
pub async fn list(
    State(services): State<Services>,
    Admin(_actor): Admin,
    Target(uri): Target,
    Paged(query, page): Paged<AuditQuery>,
) -> Result<Response> {
    let name = format!("audit/{:?}/{:?}/{:?}", query.actor_id, query.action, query.target_id);
    let scope = Scope { key: &services.cursors, name };
    let page = scope.request(&page)?;
    let filter =
        AuditFilter { actor_id: query.actor_id, action: query.action, target_id: query.target_id };
    scope.respond(&uri, services.audit.list(&filter, page).await?, AuditEventBody::from)
}
