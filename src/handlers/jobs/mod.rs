//! Background work, for those who look after it.

use axum::{
    extract::State,
    http::StatusCode,
    response::{IntoResponse, Response},
};
use serde::Deserialize;
use utoipa::IntoParams;
use validator::Validate;

use super::{
    etag::Conditions,
    extract::{Admin, From, Path, Staff, Target},
    idempotency::{self, NoBody, Once},
    page::{List, Scope},
    query::{PageQuery, Paged},
};
use crate::{
    domain::{
        ids::JobId,
        jobs::{Job, JobFilter, JobState, Queue},
    },
    error::Result,
    services::{Services, idempotency::Answer, jobs::Cancelled},
};

mod body;
pub mod queues;

use body::{JobBody, JobDetailBody};
use queues::QueueName;

/// Named, so that the API description has a name for it.
type JobList = List<JobBody>;

#[derive(Deserialize, Validate, IntoParams)]
#[serde(deny_unknown_fields)]
#[into_params(parameter_in = Query)]
pub struct JobsQuery {
    /// Only jobs in this state.
    #[param(inline)]
    state: Option<JobState>,
    /// Only jobs of this queue.
    #[param(inline)]
    queue: Option<QueueName>,
    /// Only jobs of this kind.
    #[validate(length(min = 1, max = 64, message = "must have 1 to 64 characters"))]
    #[param(min_length = 1, max_length = 64, pattern = r"^[^\u0000]*$", example = "send_mail")]
    kind: Option<String>,
}

/// Background jobs, newest first.
///
/// Finished jobs are kept for a configured time.
#[utoipa::path(get, path = "/api/v1/admin/jobs", tag = "background work",
    operation_id = "list_jobs", params(JobsQuery, PageQuery),
    responses((status = 200, description = "A page of jobs", body = JobList, links(
        ("get_job" = (operation_id = "get_job",
            parameters(("id" = "$response.body#/data/0/id")),
            description = "The first job of the page.")),
        ("cancel_job" = (operation_id = "cancel_job",
            parameters(("id" = "$response.body#/data/0/id")),
            description = "Cancels the first job of the page, if it has not ended.")),
        ("retry_job" = (operation_id = "retry_job",
            parameters(("id" = "$response.body#/data/0/id")),
            description = "Makes the first job of the page due now, if it waits or is dead.")),
    ))))]
pub async fn list(
    State(services): State<Services>,
    Staff(_actor): Staff,
    Target(uri): Target,
    Paged(query, page): Paged<JobsQuery>,
) -> Result<Response> {
    let name = format!("jobs/{:?}/{:?}/{:?}", query.state, query.queue, query.kind);
    let scope = Scope { key: &services.cursors, name };
    let page = scope.request(&page)?;
    let queue = query.queue.map(Queue::from);
    let filter = JobFilter { state: query.state, queue, kind: query.kind };
    scope.respond(&uri, services.jobs.list(&filter, page).await?, JobBody::from)
}

/// One background job, with its payload and its timeline.
///
/// The timeline tells when it was enqueued, started and ended, and every failure between.
#[utoipa::path(get, path = "/api/v1/admin/jobs/{id}", tag = "background work",
    operation_id = "get_job", params(("id" = JobId, Path, description = "The job's id"),
        ("If-Match" = Option<String>, Header), ("If-None-Match" = Option<String>, Header)),
    responses((status = 200, description = "The job", body = JobDetailBody)))]
pub async fn get(
    State(services): State<Services>,
    Staff(_actor): Staff,
    Path(id): Path<JobId>,
    conditions: Conditions,
) -> Result<Response> {
    conditions.respond_digested(&JobDetailBody::from(services.jobs.get(id).await?))
}

/// Makes a dead or waiting job due now.
///
/// It has all its attempts before it again.
#[utoipa::path(post, path = "/api/v1/admin/jobs/{id}/retry", tag = "background work",
    operation_id = "retry_job", params(("id" = JobId, Path, description = "The job's id"),
        ("Idempotency-Key" = Option<String>, Header)),
    responses(
        (status = 200, description = "The job as it is now", body = JobDetailBody),
        (status = 409, description = "`ILLEGAL_TRANSITION`: the job is running or has succeeded; \
            `CONFLICT`: another live job does the same work"),
    ))]
pub async fn retry(
    State(services): State<Services>,
    Admin(actor): Admin,
    From(origin): From,
    Path(id): Path<JobId>,
    Once(NoBody, request): Once<NoBody>,
) -> Result<Answer> {
    let rendered = |job: Job| idempotency::json(StatusCode::OK, &JobDetailBody::from(job));
    let outcome = request.outcome(&actor, rendered);
    services.jobs.retry(&actor, id, &outcome, &origin).await
}

/// Cancels a job.
///
/// A waiting job is dead at once; the worker of a running one is asked to stop it.
#[utoipa::path(delete, path = "/api/v1/admin/jobs/{id}", tag = "background work",
    operation_id = "cancel_job", params(("id" = JobId, Path, description = "The job's id"),
        ("If-Match" = Option<String>, Header)),
    responses(
        (status = 204, description = "Cancelled"),
        (status = 202, description = "It is running and was asked to stop"),
        (status = 409, description = "`ILLEGAL_TRANSITION`: the job has ended"),
    ))]
pub async fn cancel(
    State(services): State<Services>,
    Admin(actor): Admin,
    From(origin): From,
    Path(id): Path<JobId>,
    conditions: Conditions,
) -> Result<Response> {
    let found = async { services.jobs.get(id).await.map(JobDetailBody::from) };
    conditions.insist_digested(found).await?;
    Ok(match services.jobs.cancel(&actor, id, &origin).await? {
        Cancelled::Now => StatusCode::NO_CONTENT.into_response(),
        Cancelled::Asked => StatusCode::ACCEPTED.into_response(),
    })
}
