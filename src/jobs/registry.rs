//! The kinds of jobs, by name.

use std::{collections::BTreeMap, sync::Arc};

use futures_util::future::BoxFuture;
use serde_json::Value;

use super::{Context, Done, Failure, Outcome, Run, cron};
use crate::{
    domain::jobs::{Policies, Policy, Queue},
    error::Error,
    services::jobs::Plan,
};

type Start = Arc<dyn Fn(Value, Context) -> BoxFuture<'static, Outcome> + Send + Sync>;

#[derive(Default)]
pub struct Registry {
    kinds: BTreeMap<&'static str, Kind>,
    schedules: Vec<Schedule>,
}

struct Kind {
    policy: Policy,
    start: Start,
}

/// Work that starts by the clock (UTC).
#[derive(Clone)]
pub struct Schedule {
    pub name: &'static str,
    pub kind: &'static str,
    pub cron: &'static str,
    payload: Value,
    unique_key: Option<String>,
}

impl Registry {
    pub fn with<J: Run>(self) -> Self {
        self.add(J::KIND, J::POLICY, |payload, context| {
            Box::pin(async move {
                // A worker of a later release may know what to make of it.
                let job: J = serde_json::from_value(payload)
                    .map_err(|error| Failure::Retry(Error::internal(error)))?;
                job.run(&context).await
            })
        })
    }

    /// A kind that is no more: what is left of it ends without effect.
    pub fn retired(self, kind: &'static str, queue: Queue) -> Self {
        let policy = Policy { queue, ..Policy::DEFAULT };
        self.add(kind, policy, |_, _| {
            Box::pin(async { Ok(Done::With(serde_json::json!({"retired": true}))) })
        })
    }

    fn add(
        mut self,
        kind: &'static str,
        policy: Policy,
        start: impl Fn(Value, Context) -> BoxFuture<'static, Outcome> + Send + Sync + 'static,
    ) -> Self {
        let start = Arc::new(start);
        let twice = self.kinds.insert(kind, Kind { policy, start }).is_some();
        assert!(!twice, "two kinds of jobs are called {kind}");
        self
    }

    /// Enqueues this job at every tick of the expression.
    pub fn every<J: Run>(mut self, name: &'static str, cron: &'static str, job: J) -> Self {
        assert!(cron::is_valid(cron), "{cron} is no cron expression");
        let payload = serde_json::to_value(&job).expect("a payload is plain data");
        let unique_key = job.unique_key();
        self.schedules.push(Schedule { name, kind: J::KIND, cron, payload, unique_key });
        self
    }

    pub fn policies(&self) -> Policies {
        self.kinds.iter().map(|(name, kind)| (*name, kind.policy)).collect()
    }

    /// A kind's name as the code has it, for labels.
    pub(super) fn name(&self, kind: &str) -> &'static str {
        self.kinds.get_key_value(kind).map_or("unknown", |(name, _)| *name)
    }

    pub(super) fn start(
        &self,
        kind: &str,
        payload: Value,
        context: Context,
    ) -> BoxFuture<'static, Outcome> {
        match self.kinds.get(kind) {
            Some(kind) => (kind.start)(payload, context),
            None => Box::pin(async { Err(Failure::Retry(Error::internal("unknown kind"))) }),
        }
    }

    pub(super) fn plans(&self) -> Vec<Plan> {
        let plan = |schedule: Schedule| Plan {
            name: schedule.name,
            kind: schedule.kind,
            cron: schedule.cron,
            payload: schedule.payload,
            unique_key: schedule.unique_key,
            next: Box::new(move |after| cron::next(schedule.cron, after)),
        };
        self.schedules.iter().cloned().map(plan).collect()
    }
}
