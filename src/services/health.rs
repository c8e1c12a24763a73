//! Whether this instance should get traffic. A background probe asks the dependencies on
//! connections of its own, so that the answer costs a load balancer nothing and neither a full
//! pool nor a hung server can hold it.

use std::{
    collections::BTreeMap,
    sync::{Arc, RwLock},
    time::Duration,
};

use serde::Serialize;
use tokio_util::sync::CancellationToken;
use utoipa::ToSchema;

use crate::{
    db::Db,
    error::{Error, Result},
    redis::Redis,
    shared::feed::Feed,
    telemetry::metrics as names,
};

mod check;
mod postgres;

pub use check::{Check, Standing};
use postgres::Finding;

const EVERY: Duration = Duration::from_millis(500);
const NOT_YET: &str = "not yet asked";

/// What `/health/ready` answers.
#[derive(Debug, Clone, Serialize, ToSchema)]
pub struct Readiness {
    pub status: Standing,
    pub checks: BTreeMap<&'static str, Check>,
}

#[derive(Clone)]
pub struct Health {
    db: Db,
    redis: Option<Redis>,
    feed: Feed,
    state: Arc<RwLock<State>>,
}

struct State {
    started: bool,
    draining: bool,
    postgres: Check,
    migrations: Check,
    redis: Check,
}

impl Health {
    pub fn new(db: Db, redis: Option<Redis>, feed: Feed) -> Self {
        let unknown = || Check::unavailable(NOT_YET);
        let redis_check = match redis {
            Some(_) => Check::degraded(NOT_YET),
            None => Check::ok_though("not configured: single instance"),
        };
        let state = State {
            started: false,
            draining: false,
            postgres: unknown(),
            migrations: unknown(),
            redis: redis_check,
        };
        Self { db, redis, feed, state: Arc::new(RwLock::new(state)) }
    }

    /// Start-up work is done.
    pub fn set_started(&self) {
        self.write(|state| state.started = true);
    }

    pub fn is_started(&self) -> bool {
        self.read(|state| state.started)
    }

    /// From now on this instance is not ready, whatever its dependencies say.
    pub fn set_draining(&self) {
        self.write(|state| state.draining = true);
    }

    pub fn is_draining(&self) -> bool {
        self.read(|state| state.draining)
    }

    pub fn readiness(&self) -> Readiness {
        let feed = Check::of_feed(self.feed.age());
        self.read(|state| {
            let mut checks = BTreeMap::from([
                ("postgres", state.postgres.clone()),
                ("migrations", state.migrations.clone()),
                ("redis", state.redis.clone()),
                ("feed", feed),
            ]);
            if state.draining {
                checks.insert("process", Check::unavailable("shutting down"));
            }
            let worst = checks.values().map(|check| check.status).max().unwrap_or(Standing::Ok);
            let status = if state.started { worst } else { Standing::Unavailable };
            Readiness { status, checks }
        })
    }

    /// Asks until `stop`.
    pub async fn probe(self, stop: CancellationToken) {
        let postgres = self.probe_postgres(stop.clone());
        let redis = self.probe_redis(stop.clone());
        tokio::join!(postgres, redis);
    }

    async fn probe_postgres(&self, stop: CancellationToken) {
        let mut session = None;
        while !stop.is_cancelled() {
            let (kept, finding) = postgres::ask(&self.db, session.take()).await;
            session = kept;
            self.note_postgres(finding);
            tokio::select! { () = stop.cancelled() => {}, () = tokio::time::sleep(EVERY) => {} }
        }
    }

    /// What was opened before a turn, to the worse or to the better, may be of no use after it.
    fn note_postgres(&self, Finding { postgres, migrations }: Finding) {
        let was = self.read(|state| state.postgres.clone());
        if was.detail != Some(NOT_YET) && was.is_up() != postgres.is_up() {
            self.db.suspect();
        }
        if was.is_up() && !postgres.is_up() {
            tracing::error!(detail = postgres.detail, "Postgres is of no use");
        }
        self.write(|state| {
            state.postgres = postgres;
            state.migrations = migrations.unwrap_or_else(|| state.migrations.clone());
        });
    }

    async fn probe_redis(&self, stop: CancellationToken) {
        let Some(redis) = &self.redis else { return };
        while !stop.is_cancelled() {
            let up = redis.ping().await.is_ok();
            gauge("redis", up);
            let check = if up {
                Check::ok()
            } else {
                Check::degraded("does not answer: local fallbacks are in use")
            };
            self.write(|state| state.redis = check);
            tokio::select! { () = stop.cancelled() => {}, () = tokio::time::sleep(EVERY) => {} }
        }
    }

    fn read<T>(&self, look: impl FnOnce(&State) -> T) -> T {
        look(&self.state.read().unwrap_or_else(|poisoned| poisoned.into_inner()))
    }

    fn write(&self, change: impl FnOnce(&mut State)) {
        change(&mut self.state.write().unwrap_or_else(|poisoned| poisoned.into_inner()));
        let Readiness { status, checks } = self.readiness();
        metrics::gauge!(names::READY).set(f64::from(u8::from(status != Standing::Unavailable)));
        for check in ["postgres", "migrations", "feed"] {
            gauge(check, checks[check].is_up());
        }
    }

    /// For requests that need start-up work to be done.
    pub fn require_started(&self) -> Result<()> {
        match self.is_started() {
            true => Ok(()),
            false => Err(Error::unavailable("start-up work is not done")),
        }
    }
}

fn gauge(check: &'static str, up: bool) {
    metrics::gauge!(names::HEALTH, "check" => check).set(f64::from(u8::from(up)));
}
