//! Kinds of jobs that leave a trace, so that tests can see what ran.

use std::{
    collections::HashMap,
    sync::{
        LazyLock, Mutex,
        atomic::{AtomicU32, Ordering},
    },
    time::Duration,
};

use mainstay::{
    domain::jobs::{Backoff, Payload, Policy, Priority, Progress, Queue},
    error::{Code, Error},
    jobs::{Context, Done, Failure, Outcome, Registry, Run},
};
use serde::{Deserialize, Serialize};
use serde_json::json;

/// What ran, per test.
static SEEN: LazyLock<Mutex<HashMap<String, Vec<String>>>> = LazyLock::new(Mutex::default);

pub fn seen(test: &str) -> Vec<String> {
    SEEN.lock().unwrap().get(test).cloned().unwrap_or_default()
}

fn see(test: &str, what: String) {
    SEEN.lock().unwrap().entry(test.to_owned()).or_default().push(what);
}

const QUICK: Backoff =
    Backoff::Exponential { first: Duration::from_millis(10), longest: Duration::from_millis(20) };

#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct Note {
    pub test: String,
    pub what: String,
    pub act: Act,
}

#[derive(Debug, Clone, Serialize, Deserialize)]
pub enum Act {
    Succeed,
    FailUntil(i32),
    GiveUp,
    Panic,
    Hang,
    Sleep(u64),
    WaitForStop,
    Progress,
    /// Answers, or fails, with what Postgres cannot store.
    AnswerNul,
    FailNul,
}

pub fn note(test: &str, what: &str, act: Act) -> Note {
    Note { test: test.to_owned(), what: what.to_owned(), act }
}

impl Payload for Note {
    const KIND: &'static str = "test_note";
}

impl Run for Note {
    const POLICY: Policy = Policy { max_attempts: 3, backoff: QUICK, ..Policy::DEFAULT };

    async fn run(self, context: &Context) -> Outcome {
        see(&self.test, self.what.clone());
        let refused = || Error::new(Code::DependencyUnavailable, "not today");
        match self.act {
            Act::Succeed => Ok(Done::Plain),
            Act::FailUntil(attempt) if context.attempt < attempt => Err(refused().into()),
            Act::FailUntil(_) => Ok(Done::Plain),
            Act::GiveUp => Err(Failure::GiveUp(refused())),
            Act::Panic => panic!("a job that panics on purpose"),
            Act::Hang => std::future::pending().await,
            Act::Sleep(ms) => {
                tokio::time::sleep(Duration::from_millis(ms)).await;
                Ok(Done::Plain)
            }
            Act::WaitForStop => {
                context.stop.cancelled().await;
                Err(refused().into())
            }
            Act::AnswerNul => Ok(Done::With(json!({"said": "a\0b"}))),
            Act::FailNul => Err(Failure::GiveUp(Error::new(Code::DependencyUnavailable, "a\0b"))),
            Act::Progress => {
                context.progress(Progress { done: 1, total: Some(2) }).await;
                context.progress(Progress { done: 2, total: Some(2) }).await;
                Ok(Done::With(json!({"answer": 42})))
            }
        }
    }
}

/// As [`Note`], of another kind and with little time.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct Other(pub Note);

impl Payload for Other {
    const KIND: &'static str = "test_other";
}

impl Run for Other {
    const POLICY: Policy = Policy { timeout: Duration::from_millis(300), ..Note::POLICY };

    async fn run(self, context: &Context) -> Outcome {
        self.0.run(context).await
    }
}

#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct Keyed {
    pub key: String,
}

impl Payload for Keyed {
    const KIND: &'static str = "test_keyed";

    fn unique_key(&self) -> Option<String> {
        Some(self.key.clone())
    }
}

impl Run for Keyed {
    const POLICY: Policy = Policy { priority: Priority::Low, ..Policy::DEFAULT };

    async fn run(self, _: &Context) -> Outcome {
        see(&self.key, self.key.clone());
        Ok(Done::Plain)
    }
}

/// No more than two at once.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct Limited {}

pub static RUNNING: AtomicU32 = AtomicU32::new(0);
pub static MOST: AtomicU32 = AtomicU32::new(0);

impl Payload for Limited {
    const KIND: &'static str = "test_limited";
}

impl Run for Limited {
    const POLICY: Policy = Policy { queue: Queue::Bulk, concurrency: Some(2), ..Policy::DEFAULT };

    async fn run(self, _: &Context) -> Outcome {
        MOST.fetch_max(RUNNING.fetch_add(1, Ordering::SeqCst) + 1, Ordering::SeqCst);
        tokio::time::sleep(Duration::from_millis(20)).await;
        RUNNING.fetch_sub(1, Ordering::SeqCst);
        Ok(Done::Plain)
    }
}

/// One after the other.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct Single {}

impl Payload for Single {
    const KIND: &'static str = "test_single";
}

impl Run for Single {
    const POLICY: Policy = Policy { queue: Queue::Bulk, concurrency: Some(1), ..Policy::DEFAULT };

    async fn run(self, _: &Context) -> Outcome {
        Ok(Done::Plain)
    }
}

#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct Ticked {
    pub tick: u8,
}

impl Payload for Ticked {
    const KIND: &'static str = "test_ticked";
}

impl Run for Ticked {
    const POLICY: Policy = Policy::DEFAULT;

    async fn run(self, _: &Context) -> Outcome {
        Ok(Done::Plain)
    }
}

pub fn all() -> Registry {
    Registry::default()
        .with::<Note>()
        .with::<Other>()
        .with::<Keyed>()
        .with::<Limited>()
        .with::<Single>()
        .retired("test_retired", Queue::Default)
}

/// With work for every second.
pub fn ticking() -> Registry {
    all().with::<Ticked>().every("each_second", "* * * * * *", Ticked { tick: 1 })
}
