//! A job as staff sees it.

use serde::Serialize;
use utoipa::ToSchema;

use super::super::time::Timestamp;
use crate::domain::{
    ids::{JobId, WorkerId},
    jobs::{Incident, Job, JobState, Progress},
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

impl From<Job> for JobBody {
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

impl From<Job> for JobDetailBody {
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
