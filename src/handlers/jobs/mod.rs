//! Background work, for those who look after it.

use axum::{
    Json,
    extract::State,
    http::StatusCode,
    response::{IntoResponse, Response},
};
use serde::{Deserialize, Serialize};
use utoipa::{IntoParams, ToSchema};
use validator::Validate;

use super::{
    extract::{Admin, From, Path, Staff, Target},
    idempotency::{self, NoBody, Once},
    page::{Count, List, Scope},
    query::Query,
    time::Timestamp,
};
use crate::{
    domain::{
        ids::{JobId, UserId, WorkerId},
        jobs::{Incident, Job, JobFilter, JobState, Progress, Queue, QueueStats, Schedule},
    },
    error::{Error, Result},
    services::{Services, idempotency::Answer, jobs::Cancelled},
};

/// A piece of background work.
#[derive(Serialize, ToSchema)]
#[schema(as = Job)]
pub struct JobBody {
    id: JobId,
    #[schema(example = "send_mail")]
    kind: String,
    #[schema(example = "mail")]
    queue: String,
    state: JobState,
    /// The smaller, the earlier.
    #[schema(minimum = 1, maximum = 3, example = 2)]
    priority: i16,
    /// Attempts that ran to an end of their own, the present one included.
    attempts: i32,
    max_attempts: i32,
    /// Attempts that ended with their worker.
    crashes: i16,
    #[schema(required)]
    unique_key: Option<String>,
    /// When it is, or was, due.
    run_at: Timestamp,
    #[schema(required)]
    worker_id: Option<WorkerId>,
    /// Its worker was asked to stop it.
    cancel_requested: bool,
    #[schema(required)]
    progress: Option<Progress>,
    #[schema(required, value_type = Option<Object>)]
    result: Option<serde_json::Value>,
    #[schema(required)]
    last_error: Option<String>,
    /// The request it follows from.
    request_id: String,
    created_at: Timestamp,
    updated_at: Timestamp,
    #[schema(required)]
    started_at: Option<Timestamp>,
    #[schema(required)]
    finished_at: Option<Timestamp>,
}

/// A piece of background work, with what it was told and what has happened to it.
#[derive(Serialize, ToSchema)]
#[schema(as = JobDetail)]
pub struct JobDetailBody {
    #[serde(flatten)]
    job: JobBody,
    /// What it needs to know; which members, the kind decides.
    #[schema(value_type = Object)]
    payload: serde_json::Value,
    /// Oldest first.
    timeline: Vec<TimelineBody>,
}

/// One thing that happened to a job.
#[derive(Serialize, ToSchema)]
#[schema(as = JobTimelineEntry)]
pub struct TimelineBody {
    at: Timestamp,
    #[schema(example = "failed")]
    event: String,
    #[schema(required)]
    attempt: Option<i32>,
    #[schema(required)]
    detail: Option<String>,
}

/// Named, so that the API description has a name for it.
type JobList = List<JobBody>;

impl std::convert::From<Job> for JobBody {
    fn from(job: Job) -> Self {
        Self {
            id: job.id,
            kind: job.kind,
            queue: job.queue,
            state: job.state,
            priority: job.priority,
            attempts: job.attempts,
            max_attempts: job.max_attempts,
            crashes: job.crashes,
            unique_key: job.unique_key,
            run_at: Timestamp(job.run_at),
            worker_id: job.worker_id,
            cancel_requested: job.cancel_requested,
            progress: job.progress,
            result: job.result,
            last_error: job.last_error,
            request_id: job.request_id,
            created_at: Timestamp(job.created_at),
            updated_at: Timestamp(job.updated_at),
            started_at: job.started_at.map(Timestamp),
            finished_at: job.finished_at.map(Timestamp),
        }
    }
}

impl std::convert::From<Job> for JobDetailBody {
    fn from(mut job: Job) -> Self {
        let payload = job.payload.take();
        let timeline = timeline(&mut job);
        Self { job: job.into(), payload, timeline }
    }
}

/// The plain way from the columns, and between it what was noted.
fn timeline(job: &mut Job) -> Vec<TimelineBody> {
    let plain =
        |event: &str, at| Incident { at, event: event.to_owned(), attempt: None, detail: None };
    let mut all = std::mem::take(&mut job.history);
    all.push(plain("enqueued", job.created_at));
    all.extend(job.started_at.map(|at| plain("started", at)));
    all.extend(job.finished_at.map(|at| plain(job.state.as_str(), at)));
    all.sort_by_key(|incident| incident.at);
    let entry = |incident: Incident| TimelineBody {
        at: Timestamp(incident.at),
        event: incident.event,
        attempt: incident.attempt,
        detail: incident.detail,
    };
    all.into_iter().map(entry).collect()
}

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
    /// How many rows a page has at most.
    #[validate(range(min = 1, max = 100, message = "must be from 1 to 100"))]
    #[param(minimum = 1, maximum = 100, default = 20)]
    limit: Option<i64>,
    /// `next_cursor` of the page before; everything else in the query stays as it was.
    #[param(min_length = 1, pattern = "^[A-Za-z0-9_-]+$")]
    cursor: Option<String>,
    /// `exact` adds `total`.
    #[param(inline)]
    count: Option<Count>,
}

/// A queue of background work.
#[derive(Debug, Clone, Copy, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "snake_case")]
pub enum QueueName {
    Default,
    Mail,
    Bulk,
}

impl std::convert::From<QueueName> for Queue {
    fn from(name: QueueName) -> Self {
        match name {
            QueueName::Default => Queue::Default,
            QueueName::Mail => Queue::Mail,
            QueueName::Bulk => Queue::Bulk,
        }
    }
}

/// Background jobs, newest first.
///
/// Finished jobs are kept for a configured time.
#[utoipa::path(get, path = "/api/v1/admin/jobs", tag = "background work",
    operation_id = "list_jobs", params(JobsQuery),
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
    Query(query): Query<JobsQuery>,
) -> Result<Response> {
    let name = format!("jobs/{:?}/{:?}/{:?}", query.state, query.queue, query.kind);
    let scope = Scope { key: &services.cursors, name };
    let page = scope.request(query.limit, query.cursor.as_deref(), query.count)?;
    let queue = query.queue.map(Queue::from);
    let filter = JobFilter { state: query.state, queue, kind: query.kind };
    scope.respond(&uri, services.jobs.list(&filter, page).await?, JobBody::from)
}

/// One background job, with its payload and its timeline.
///
/// The timeline tells when it was enqueued, started and ended, and every failure between.
#[utoipa::path(get, path = "/api/v1/admin/jobs/{id}", tag = "background work",
    operation_id = "get_job", params(("id" = JobId, Path, description = "The job's id")),
    responses((status = 200, description = "The job", body = JobDetailBody)))]
pub async fn get(
    State(services): State<Services>,
    Staff(_actor): Staff,
    Path(id): Path<JobId>,
) -> Result<Json<JobDetailBody>> {
    Ok(Json(services.jobs.get(id).await?.into()))
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
    operation_id = "cancel_job", params(("id" = JobId, Path, description = "The job's id")),
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
) -> Result<Response> {
    Ok(match services.jobs.cancel(&actor, id, &origin).await? {
        Cancelled::Now => StatusCode::NO_CONTENT.into_response(),
        Cancelled::Asked => StatusCode::ACCEPTED.into_response(),
    })
}

/// What a queue holds.
#[derive(Serialize, ToSchema)]
#[schema(as = QueueStats)]
pub struct QueueBody {
    #[schema(value_type = QueueName)]
    queue: &'static str,
    #[schema(required)]
    paused_at: Option<Timestamp>,
    #[schema(required)]
    paused_by: Option<UserId>,
    scheduled: i64,
    ready: i64,
    running: i64,
    failed: i64,
    dead: i64,
    /// How long the job that waits longest has been due, in seconds.
    #[schema(required)]
    oldest_due_seconds: Option<f64>,
}

impl std::convert::From<QueueStats> for QueueBody {
    fn from(stats: QueueStats) -> Self {
        Self {
            queue: stats.queue.as_str(),
            paused_at: stats.paused_at.map(Timestamp),
            paused_by: stats.paused_by,
            scheduled: stats.scheduled,
            ready: stats.ready,
            running: stats.running,
            failed: stats.failed,
            dead: stats.dead,
            oldest_due_seconds: stats.oldest.map(|age| age.as_secs_f64()),
        }
    }
}

/// All queues.
#[derive(Serialize, ToSchema)]
#[schema(as = QueueStatsList)]
pub struct QueuesBody {
    data: Vec<QueueBody>,
}

/// How many jobs each queue holds, by state.
///
/// Waiting jobs are counted up to 100,000 a kind and priority, dead ones up to 100,000.
#[utoipa::path(get, path = "/api/v1/admin/jobs/stats", tag = "background work",
    operation_id = "get_job_stats",
    responses((status = 200, description = "All queues", body = QueuesBody)))]
pub async fn stats(
    State(services): State<Services>,
    Staff(_actor): Staff,
) -> Result<Json<QueuesBody>> {
    let data = services.jobs.stats().await?.into_iter().map(QueueBody::from).collect();
    Ok(Json(QueuesBody { data }))
}

/// Work that starts by the clock.
#[derive(Serialize, ToSchema)]
#[schema(as = Schedule)]
pub struct ScheduleBody {
    #[schema(example = "reap_jobs")]
    name: String,
    #[schema(example = "reap_jobs")]
    kind: String,
    /// In UTC.
    #[schema(example = "* * * * *")]
    cron: String,
    next_at: Timestamp,
    #[schema(required)]
    last_at: Option<Timestamp>,
    #[schema(required)]
    last_job: Option<JobId>,
}

impl std::convert::From<Schedule> for ScheduleBody {
    fn from(schedule: Schedule) -> Self {
        Self {
            name: schedule.name,
            kind: schedule.kind,
            cron: schedule.cron,
            next_at: Timestamp(schedule.next_at),
            last_at: schedule.last_at.map(Timestamp),
            last_job: schedule.last_job,
        }
    }
}

/// All schedules.
#[derive(Serialize, ToSchema)]
#[schema(as = ScheduleList)]
pub struct SchedulesBody {
    data: Vec<ScheduleBody>,
}

/// What starts by the clock, and when next.
///
/// Each tick fires once, however many instances there are; missed ticks are made good by one.
#[utoipa::path(get, path = "/api/v1/admin/schedules", tag = "background work",
    operation_id = "list_schedules",
    responses((status = 200, description = "All schedules", body = SchedulesBody)))]
pub async fn schedules(
    State(services): State<Services>,
    Staff(_actor): Staff,
) -> Result<Json<SchedulesBody>> {
    let data = services.jobs.schedules().await?.into_iter().map(ScheduleBody::from).collect();
    Ok(Json(SchedulesBody { data }))
}

/// A queue by its name in the path; another name names nothing.
fn queue(name: &str) -> Result<Queue> {
    Queue::parse(name).ok_or_else(Error::not_found)
}

/// Pauses a queue.
///
/// No worker takes jobs of it any more; running ones finish.
#[utoipa::path(post, path = "/api/v1/admin/queues/{queue}/pause", tag = "background work",
    operation_id = "pause_queue",
    params(("queue" = inline(QueueName), Path, description = "The queue"),
        ("Idempotency-Key" = Option<String>, Header)),
    responses((status = 204, description = "Paused")))]
pub async fn pause(
    State(services): State<Services>,
    Admin(actor): Admin,
    From(origin): From,
    Path(name): Path<String>,
    Once(NoBody, request): Once<NoBody>,
) -> Result<Answer> {
    let outcome = request.outcome(&actor, |()| Ok(idempotency::empty(StatusCode::NO_CONTENT)));
    services.jobs.pause(&actor, queue(&name)?, &outcome, &origin).await
}

/// Resumes a paused queue.
///
/// Waiting workers look at it at once.
#[utoipa::path(post, path = "/api/v1/admin/queues/{queue}/resume", tag = "background work",
    operation_id = "resume_queue",
    params(("queue" = inline(QueueName), Path, description = "The queue"),
        ("Idempotency-Key" = Option<String>, Header)),
    responses((status = 204, description = "Not paused")))]
pub async fn resume(
    State(services): State<Services>,
    Admin(actor): Admin,
    From(origin): From,
    Path(name): Path<String>,
    Once(NoBody, request): Once<NoBody>,
) -> Result<Answer> {
    let outcome = request.outcome(&actor, |()| Ok(idempotency::empty(StatusCode::NO_CONTENT)));
    services.jobs.resume(&actor, queue(&name)?, &outcome, &origin).await
}
