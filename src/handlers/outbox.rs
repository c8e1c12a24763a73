//! Events on their way to their consumers, for staff.

use axum::{extract::State, response::Response};
use http::StatusCode;
use serde::{Deserialize, Serialize};
use utoipa::{IntoParams, ToSchema};
use uuid::Uuid;
use validator::Validate;

use super::{
    extract::{Admin, From, Path, Staff, Target},
    idempotency::{self, NoBody, Once},
    page::{List, Scope},
    query::{PageQuery, Paged},
    time::Timestamp,
};
use crate::{
    domain::{
        events::{DeliveryFilter, DeliveryReport, DeliveryState},
        idempotency::Stored,
        ids::{DeliveryId, EventId, UserId},
    },
    error::Result,
    services::{Services, idempotency::Answer},
};

/// An event on its way to one consumer.
#[derive(Serialize, ToSchema)]
#[schema(as = Delivery)]
pub struct DeliveryBody {
    id: DeliveryId,
    #[schema(example = "redis_stream")]
    consumer: String,
    #[schema(value_type = DeliveryState)]
    state: String,
    /// Failures so far.
    attempts: i32,
    /// When it is tried again, while it is pending.
    next_attempt_at: Timestamp,
    #[schema(required)]
    last_error: Option<String>,
    created_at: Timestamp,
    updated_at: Timestamp,
    event: EventBody,
}

/// What happened.
#[derive(Serialize, ToSchema)]
#[schema(as = Event)]
pub struct EventBody {
    id: EventId,
    #[serde(rename = "type")]
    #[schema(example = "user.registered")]
    kind: String,
    version: i32,
    /// The kind of thing whose events are in order.
    #[schema(example = "user")]
    aggregate_type: String,
    aggregate_id: Uuid,
    /// Counts the events of the aggregate.
    #[schema(example = 1)]
    sequence: i64,
    /// Who did it; null for what happened without a signed-in user.
    #[schema(required)]
    actor_id: Option<UserId>,
    request_id: String,
    /// Which members, the type decides.
    #[schema(value_type = Object, example = json!({"role": "customer", "by_operator": false}))]
    payload: serde_json::Value,
}

/// Named, so that the API description has a name for it.
type DeliveryList = List<DeliveryBody>;

impl std::convert::From<DeliveryReport> for DeliveryBody {
    fn from(report: DeliveryReport) -> Self {
        Self {
            id: report.id,
            consumer: report.consumer,
            state: report.state,
            attempts: report.attempts,
            next_attempt_at: Timestamp(report.next_at),
            last_error: report.last_error,
            created_at: Timestamp(report.created_at),
            updated_at: Timestamp(report.updated_at),
            event: EventBody {
                id: report.event_id,
                kind: report.event_type,
                version: report.event_version,
                aggregate_type: report.aggregate_kind,
                aggregate_id: report.aggregate_id,
                sequence: report.sequence,
                actor_id: report.actor_id,
                request_id: report.request_id,
                payload: report.payload,
            },
        }
    }
}

#[derive(Deserialize, Validate, IntoParams)]
#[serde(deny_unknown_fields)]
#[into_params(parameter_in = Query)]
pub struct DeliveriesQuery {
    /// Only those in this state.
    #[param(inline)]
    state: Option<DeliveryState>,
    /// Only those to this consumer.
    #[validate(length(min = 1, max = 64, message = "must have 1 to 64 characters"))]
    #[param(min_length = 1, max_length = 64, pattern = r"^[^\u0000]*$", example = "redis_stream")]
    consumer: Option<String>,
}

/// Events and who is told of them, newest first.
///
/// A `dead` delivery was given up after too many failures and waits to be replayed.
#[utoipa::path(get, path = "/api/v1/admin/outbox", tag = "administration",
    operation_id = "list_deliveries", params(DeliveriesQuery, PageQuery),
    responses((status = 200, description = "A page of deliveries", body = DeliveryList, links(
        ("replay_delivery" = (operation_id = "replay_delivery",
            parameters(("id" = "$response.body#/data/0/id")),
            description = "Hands the first of the page over again, if it is dead.")),
    ))))]
pub async fn list(
    State(services): State<Services>,
    Staff(_actor): Staff,
    Target(uri): Target,
    Paged(query, page): Paged<DeliveriesQuery>,
) -> Result<Response> {
    let name = format!("outbox/{:?}/{:?}", query.state, query.consumer);
    let scope = Scope { key: &services.cursors, name };
    let page = scope.request(&page)?;
    let filter = DeliveryFilter { state: query.state, consumer: query.consumer };
    scope.respond(&uri, services.outbox.list(&filter, page).await?, DeliveryBody::from)
}

/// Hands a dead delivery over again.
///
/// Its attempts count from nought. Later events of its aggregate have passed it meanwhile.
#[utoipa::path(post, path = "/api/v1/admin/outbox/{id}/replay", tag = "administration",
    operation_id = "replay_delivery",
    params(("id" = DeliveryId, Path, description = "The delivery's id"),
        ("Idempotency-Key" = Option<String>, Header)),
    responses(
        (status = 200, description = "It is pending again", body = DeliveryBody),
        (status = 409, description = "`CONFLICT`: it is not dead"),
    ))]
pub async fn replay(
    State(services): State<Services>,
    Admin(actor): Admin,
    From(origin): From,
    Path(id): Path<DeliveryId>,
    Once(NoBody, request): Once<NoBody>,
) -> Result<Answer> {
    let outcome = request.outcome(&actor, rendered);
    services.outbox.replay(&actor, id, &outcome, &origin).await
}

fn rendered(report: DeliveryReport) -> Result<Stored> {
    idempotency::json(StatusCode::OK, &DeliveryBody::from(report))
}
