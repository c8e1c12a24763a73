//! Whether this instance should get traffic. A background probe asks the dependencies on
//! connections of its own, so that the answer costs a load balancer nothing and neither a full
//! pool nor a hung server can hold it.

use std::{
    collections::BTreeMap,
    sync::{Arc, RwLock},
    time::Duration,
};

use serde::Serialize;
use sqlx::PgConnection;
use tokio::time::timeout;
use tokio_util::sync::CancellationToken;
use utoipa::ToSchema;

use super::migrations;
use crate::{
    db::Db,
    error::{Error, Result},
    redis::Redis,
    telemetry::metrics as names,
};

const EVERY: Duration = Duration::from_millis(500);
/// A dependency that takes longer to say hello is as good as gone.
const PROBE_TIMEOUT: Duration = Duration::from_secs(2);

#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, ToSchema)]
#[serde(rename_all = "snake_case")]
pub enum Standing {
    Ok,
    /// Works, with a helper missing.
    Degraded,
    Unavailable,
}

/// One dependency.
#[derive(Debug, Clone, Serialize, ToSchema)]
pub struct Check {
    pub status: Standing,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub detail: Option<&'static str>,
}

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
    state: Arc<RwLock<State>>,
}

struct State {
    started: bool,
    draining: bool,
    postgres: Check,
    migrations: Check,
    redis: Check,
}

impl Check {
    fn ok() -> Self {
        Self { status: Standing::Ok, detail: None }
    }

    fn with(status: Standing, detail: &'static str) -> Self {
        Self { status, detail: Some(detail) }
    }
}

impl Health {
    pub fn new(db: Db, redis: Option<Redis>) -> Self {
        let unknown = || Check::with(Standing::Unavailable, "not yet asked");
        let redis_check = match redis {
            Some(_) => Check::with(Standing::Degraded, "not yet asked"),
            None => Check::with(Standing::Ok, "not configured: single instance"),
        };
        let state = State {
            started: false,
            draining: false,
            postgres: unknown(),
            migrations: unknown(),
            redis: redis_check,
        };
        Self { db, redis, state: Arc::new(RwLock::new(state)) }
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
        self.read(|state| {
            let needed = [&state.postgres, &state.migrations];
            let up = state.started
                && !state.draining
                && needed.iter().all(|check| check.status == Standing::Ok);
            let status = match (up, state.redis.status) {
                (false, _) => Standing::Unavailable,
                (true, Standing::Ok) => Standing::Ok,
                (true, _) => Standing::Degraded,
            };
            let mut checks = BTreeMap::from([
                ("postgres", state.postgres.clone()),
                ("migrations", state.migrations.clone()),
                ("redis", state.redis.clone()),
            ]);
            if state.draining {
                checks.insert("process", Check::with(Standing::Unavailable, "shutting down"));
            }
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
        let mut conn = None;
        while !stop.is_cancelled() {
            let asked = timeout(PROBE_TIMEOUT, self.ask_postgres(conn.take())).await;
            let checks = match asked {
                Ok(Ok((kept, pending))) => {
                    conn = Some(kept);
                    (Check::ok(), migration_check(pending))
                }
                Ok(Err(_)) => (down("does not answer"), down("unknown")),
                Err(_) => (down("does not answer in time"), down("unknown")),
            };
            self.note_postgres(checks);
            tokio::select! { () = stop.cancelled() => {}, () = tokio::time::sleep(EVERY) => {} }
        }
    }

    async fn ask_postgres(&self, conn: Option<PgConnection>) -> Result<(PgConnection, usize)> {
        let mut conn = match conn {
            Some(conn) => conn,
            None => self.db.connect().await?,
        };
        let status = migrations::status_on(&mut conn).await?;
        Ok((conn, status.pending().len()))
    }

    fn note_postgres(&self, (postgres, migrations): (Check, Check)) {
        let up = postgres.status == Standing::Ok;
        if !up && self.read(|state| state.postgres.status == Standing::Ok) {
            self.db.suspect();
            tracing::error!("Postgres does not answer");
        }
        gauge("postgres", up);
        gauge("migrations", migrations.status == Standing::Ok);
        self.write(|state| (state.postgres, state.migrations) = (postgres, migrations));
    }

    async fn probe_redis(&self, stop: CancellationToken) {
        let Some(redis) = &self.redis else { return };
        while !stop.is_cancelled() {
            let up = redis.ping().await.is_ok();
            gauge("redis", up);
            let check = if up {
                Check::ok()
            } else {
                Check::with(Standing::Degraded, "does not answer: local fallbacks are in use")
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
        let ready = self.readiness().status != Standing::Unavailable;
        metrics::gauge!(names::READY).set(f64::from(u8::from(ready)));
    }

    /// For requests that need start-up work to be done.
    pub fn require_started(&self) -> Result<()> {
        match self.is_started() {
            true => Ok(()),
            false => Err(Error::unavailable("start-up work is not done")),
        }
    }
}

fn down(detail: &'static str) -> Check {
    Check::with(Standing::Unavailable, detail)
}

fn migration_check(pending: usize) -> Check {
    match pending {
        0 => Check::ok(),
        _ => down("the database is behind this release"),
    }
}

fn gauge(check: &'static str, up: bool) {
    metrics::gauge!(names::HEALTH, "check" => check).set(f64::from(u8::from(up)));
}
