//! Queues and schedules.

use axum::{Json, extract::State, http::StatusCode};
use serde::{Deserialize, Serialize};
use utoipa::ToSchema;

use super::super::{
    extract::{Admin, From, Path, Staff},
    idempotency::{self, NoBody, Once},
    time::Timestamp,
};
use crate::{
    domain::{
        ids::{JobId, UserId},
        jobs::{Queue, QueueStats, Schedule},
    },
    error::{Error, Result},
    services::{Services, idempotency::Answer},
};

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
