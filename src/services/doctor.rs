//! `mainstay doctor`: what an operator wants to know of a place before traffic comes. Each check
//! is one function that looks at one thing; a new one is that function and a line in [`CHECKS`].
//! Nothing is changed, and no value of a secret is ever part of what is said.

use std::{sync::Arc, time::Duration};

use futures_util::future::BoxFuture;
use serde::Serialize;
use sqlx::PgConnection;
use tokio::time::timeout;

use crate::{
    config::{Config, ConfigError, Environment},
    db::Db,
    redis::Redis,
    shared::clock::Clock,
};

mod catalogue;
mod jobs;
mod postgres;
mod process;
mod redis;
mod secrets;
mod settings;

/// For one check: what takes longer is in no state to serve.
const PATIENCE: Duration = Duration::from_secs(5);

type Check = for<'a> fn(&'a Doctor) -> BoxFuture<'a, Verdict>;

/// In the order of what an operator would mend first.
const CHECKS: &[(&str, Check)] = &[
    ("postgres", |it| Box::pin(postgres::answers(it))),
    ("migrations", |it| Box::pin(postgres::migrations(it))),
    ("database connections", |it| Box::pin(postgres::connections(it))),
    ("database clock", |it| Box::pin(postgres::clock(it))),
    ("database rights", |it| Box::pin(postgres::rights(it))),
    ("job slots", |it| Box::pin(jobs::slots(it))),
    ("job workers", |it| Box::pin(jobs::workers(it))),
    ("stock", |it| Box::pin(catalogue::stock(it))),
    ("redis", |it| Box::pin(redis::answers(it))),
    ("descriptors", |it| Box::pin(process::descriptors(it))),
    ("keep-alive", |it| Box::pin(process::keep_alive(it))),
    ("master key", |it| Box::pin(secrets::master_key(it))),
    ("passwords", |it| Box::pin(secrets::passwords(it))),
    ("environment", |it| Box::pin(settings::environment(it))),
    ("browsers", |it| Box::pin(settings::browsers(it))),
    ("client addresses", |it| Box::pin(settings::client_addresses(it))),
    ("rate limits", |it| Box::pin(settings::rate_limits(it))),
    ("operations port", |it| Box::pin(settings::operations_port(it))),
];

#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum Outcome {
    Ok,
    /// Works, and may not for long or not as meant.
    Warn,
    Fail,
}

/// What a check found.
pub struct Verdict {
    outcome: Outcome,
    detail: String,
    fix: Option<String>,
}

impl Verdict {
    fn ok(detail: impl Into<String>) -> Self {
        Self { outcome: Outcome::Ok, detail: detail.into(), fix: None }
    }

    fn warn(detail: impl Into<String>, fix: impl Into<String>) -> Self {
        Self { outcome: Outcome::Warn, detail: detail.into(), fix: Some(fix.into()) }
    }

    fn fail(detail: impl Into<String>, fix: impl Into<String>) -> Self {
        Self { outcome: Outcome::Fail, detail: detail.into(), fix: Some(fix.into()) }
    }
}

#[derive(Debug, Serialize)]
pub struct Finding {
    pub name: &'static str,
    pub outcome: Outcome,
    pub detail: String,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub fix: Option<String>,
}

/// The findings, and the worst of their outcomes.
#[derive(Debug, Serialize)]
pub struct Report {
    pub outcome: Outcome,
    pub checks: Vec<Finding>,
}

impl Report {
    fn new(checks: Vec<Finding>) -> Self {
        let outcome = checks.iter().map(|finding| finding.outcome).max().unwrap_or(Outcome::Ok);
        Self { outcome, checks }
    }

    /// Of a configuration that is not valid: nothing else can be looked at.
    pub fn of_faults(faults: &ConfigError) -> Self {
        let fix = "`mainstay check-config` shows every value and where it comes from";
        Self::new(vec![finding("configuration", Verdict::fail(faults.to_string(), fix))])
    }

    /// For people: a line for each check, and below it what to do.
    pub fn to_text(&self) -> String {
        let line = |it: &Finding| {
            let word = match it.outcome {
                Outcome::Ok => "ok  ",
                Outcome::Warn => "WARN",
                Outcome::Fail => "FAIL",
            };
            let fix = it.fix.iter().map(|fix| format!("      fix: {fix}\n")).collect::<String>();
            format!("{word}  {}: {}\n{fix}", it.name, it.detail)
        };
        let count = |of| self.checks.iter().filter(|it| it.outcome == of).count();
        let [ok, warn, fail] = [Outcome::Ok, Outcome::Warn, Outcome::Fail].map(count);
        let lines = self.checks.iter().map(line).collect::<String>();
        format!("{lines}{ok} ok, {warn} to look at, {fail} failed")
    }
}

fn finding(name: &'static str, Verdict { outcome, detail, fix }: Verdict) -> Finding {
    Finding { name, outcome, detail, fix }
}

pub struct Doctor {
    pub config: Arc<Config>,
    pub db: Db,
    pub redis: Option<Redis>,
    pub clock: Clock,
    /// How many instances share Postgres.
    pub instances: u32,
}

impl Doctor {
    pub async fn examine(&self) -> Report {
        let mut findings = Vec::new();
        for (name, check) in CHECKS {
            let verdict = timeout(PATIENCE, check(self)).await;
            let verdict = verdict.unwrap_or_else(|_| {
                let seconds = PATIENCE.as_secs();
                Verdict::fail(format!("no answer within {seconds} s"), "see what it waits for")
            });
            findings.push(finding(name, verdict));
        }
        Report::new(findings)
    }

    fn in_production(&self) -> bool {
        self.config.environment == Environment::Production
    }

    /// What a developer may live with.
    fn fail_in_production(&self, detail: impl Into<String>, fix: impl Into<String>) -> Verdict {
        match self.in_production() {
            true => Verdict::fail(detail, fix),
            false => Verdict::warn(detail, fix),
        }
    }

    /// A connection outside the pool; the check `postgres` says why there is none.
    async fn connect(&self) -> Result<PgConnection, Verdict> {
        self.db.connect().await.map_err(|_| unknown())
    }
}

fn unknown() -> Verdict {
    Verdict::warn("not known: Postgres does not answer", "mend `postgres` first")
}
