//! Background work: what a job is, how often and when it is tried, and what is known of it.

use std::{collections::BTreeMap, time::Duration};

use chrono::{DateTime, Utc};
use serde::{Deserialize, Serialize, de::DeserializeOwned};
use serde_json::Value;
use utoipa::ToSchema;

use super::ids::{JobId, UserId, WorkerId};

mod backoff;
mod payloads;

pub use backoff::Backoff;
pub use payloads::*;

/// What a job needs to know, as plain data: ids, not copies, and never a secret.
pub trait Payload: Serialize + DeserializeOwned + Send + Sync + 'static {
    /// The name of the kind, for ever: jobs of older releases carry it.
    const KIND: &'static str;

    /// Of a kind with keys, at most one job per key is live; enqueueing another changes nothing.
    fn unique_key(&self) -> Option<String> {
        None
    }
}

/// Queues share nothing but the process: each has slots of its own, so that slow work of one
/// cannot hold up another, and each can be paused.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Queue {
    /// Short work that somebody waits for.
    Default,
    /// Outgoing mail: the other side may be slow.
    Mail,
    /// Long work that nobody waits for by the second.
    Bulk,
}

impl Queue {
    pub const ALL: [Queue; 3] = [Queue::Default, Queue::Mail, Queue::Bulk];

    pub fn as_str(self) -> &'static str {
        match self {
            Queue::Default => "default",
            Queue::Mail => "mail",
            Queue::Bulk => "bulk",
        }
    }

    pub fn parse(text: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|queue| queue.as_str() == text)
    }
}

/// Within a queue, all due work of a higher priority goes first; within a priority, kinds take
/// turns, and a kind's jobs go in the order in which they are due.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Priority {
    High = 1,
    Normal = 2,
    Low = 3,
}

impl Priority {
    pub const ALL: [Priority; 3] = [Priority::High, Priority::Normal, Priority::Low];

    pub fn number(self) -> i16 {
        self as i16
    }
}

/// How a kind of job is run.
#[derive(Debug, Clone, Copy)]
pub struct Policy {
    pub queue: Queue,
    pub priority: Priority,
    /// Attempts before the job is dead.
    pub max_attempts: i32,
    pub backoff: Backoff,
    /// An attempt that takes longer has failed.
    pub timeout: Duration,
    /// How many may run at once, over all processes.
    pub concurrency: Option<u32>,
}

impl Policy {
    pub const DEFAULT: Policy = Policy {
        queue: Queue::Default,
        priority: Priority::Normal,
        max_attempts: 10,
        backoff: Backoff::Exponential {
            first: Duration::from_secs(2),
            longest: Duration::from_mins(10),
        },
        timeout: Duration::from_secs(30),
        concurrency: None,
    };
}

/// The policy of every kind this release knows.
pub type Policies = BTreeMap<&'static str, Policy>;

/// A job that is its worker's to run, until the worker is given up. `fence` tells this claim from
/// every other one of the same job.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Lease {
    pub job: JobId,
    pub fence: i64,
}

/// A claimed job.
#[derive(Debug, Clone)]
pub struct Claimed {
    pub lease: Lease,
    pub kind: String,
    pub payload: Value,
    pub attempt: i32,
    pub max_attempts: i32,
    pub request_id: String,
    pub traceparent: Option<String>,
    /// How long it has been due.
    pub waited: Duration,
}

/// How many crashes of its worker make a job a suspect, that runs beside no other one.
pub const SUSPECT_AFTER: i16 = 2;
/// How many make it dead.
pub const CRASHES_ALLOWED: i16 = 3;

/// What is said of a job to the outside.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "snake_case")]
pub enum JobState {
    /// Waits for its time.
    Scheduled,
    /// Waits for a worker.
    Ready,
    Running,
    Succeeded,
    /// The last attempt failed; waits for the next one.
    Failed,
    /// Will not be tried again by itself: the dead letter.
    Dead,
}

impl JobState {
    pub const ALL: [JobState; 6] = [
        JobState::Scheduled,
        JobState::Ready,
        JobState::Running,
        JobState::Succeeded,
        JobState::Failed,
        JobState::Dead,
    ];

    pub fn as_str(self) -> &'static str {
        match self {
            JobState::Scheduled => "scheduled",
            JobState::Ready => "ready",
            JobState::Running => "running",
            JobState::Succeeded => "succeeded",
            JobState::Failed => "failed",
            JobState::Dead => "dead",
        }
    }

    pub fn parse(text: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|state| state.as_str() == text)
    }
}

/// How far a job is.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct Progress {
    #[schema(example = 500)]
    pub done: u64,
    /// As far as it is known.
    #[schema(required, example = 2000)]
    pub total: Option<u64>,
}

/// A job as it is seen by those who look after the queues.
#[derive(Debug, Clone)]
pub struct Job {
    pub id: JobId,
    pub kind: String,
    pub queue: String,
    pub state: JobState,
    pub priority: i16,
    pub attempts: i32,
    pub max_attempts: i32,
    pub crashes: i16,
    pub unique_key: Option<String>,
    pub run_at: DateTime<Utc>,
    pub worker_id: Option<WorkerId>,
    pub cancel_requested: bool,
    pub progress: Option<Progress>,
    pub result: Option<Value>,
    pub last_error: Option<String>,
    pub request_id: String,
    pub payload: Value,
    pub history: Vec<Incident>,
    pub created_at: DateTime<Utc>,
    pub updated_at: DateTime<Utc>,
    pub started_at: Option<DateTime<Utc>>,
    pub finished_at: Option<DateTime<Utc>>,
}

/// One thing that happened to a job beside the plain way.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct Incident {
    pub at: DateTime<Utc>,
    pub event: String,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub attempt: Option<i32>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub detail: Option<String>,
}

#[derive(Debug, Clone, Default)]
pub struct JobFilter {
    pub state: Option<JobState>,
    pub queue: Option<Queue>,
    pub kind: Option<String>,
}

/// How an attempt ended that did not succeed.
#[derive(Debug, Clone)]
pub struct Ended<'a> {
    /// The word in the job's history.
    pub event: &'a str,
    pub detail: &'a str,
    /// When it is tried again; never, with none.
    pub again_in: Option<Duration>,
    /// Whether the attempt counts.
    pub counts: bool,
}

/// What a job is after an attempt that did not succeed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Became {
    Waiting,
    Dead,
}

/// The jobs of one kind that are not done, counted up to a bound.
#[derive(Debug, Clone)]
pub struct Depth {
    pub kind: String,
    pub scheduled: i64,
    pub ready: i64,
    pub failed: i64,
    pub running: i64,
    /// How long the one that waits longest has been due.
    pub oldest: Option<Duration>,
}

/// The state of one queue.
#[derive(Debug, Clone)]
pub struct QueueStats {
    pub queue: Queue,
    pub paused_at: Option<DateTime<Utc>>,
    pub paused_by: Option<UserId>,
    pub scheduled: i64,
    pub ready: i64,
    pub running: i64,
    pub failed: i64,
    pub dead: i64,
    pub oldest: Option<Duration>,
}

/// Work that starts by the clock.
#[derive(Debug, Clone)]
pub struct Schedule {
    pub name: String,
    pub kind: String,
    pub cron: String,
    pub next_at: DateTime<Utc>,
    pub last_at: Option<DateTime<Utc>>,
    pub last_job: Option<JobId>,
}
