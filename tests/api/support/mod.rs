//! A running service per test.

pub mod client;
pub mod database;
pub mod imports;
pub mod ledger;
pub mod lines;
mod mail;
pub mod notes;
pub mod people;
pub mod products;
pub mod relay;
pub mod schema;
pub mod statements;

use std::{
    collections::BTreeMap,
    sync::{Arc, OnceLock},
    time::Duration,
};

use axum::Router;
use mainstay::{
    app::App,
    config::{Config, Inputs},
    events::Consumer,
    jobs::{self, Registry},
    telemetry::work::StatementCounter,
};
use sqlx::PgPool;
use tracing::level_filters::LevelFilter;
use tracing_subscriber::{Layer, filter::Targets, layer::SubscriberExt};

pub use client::{Answer, Call};
pub use database::Database;
pub use people::Person;

/// Makes the consumers of an instance.
pub type Consumers = Arc<dyn Fn() -> Vec<Consumer> + Send + Sync>;

/// The service with its router, on a database and a Redis prefix of its own.
pub struct TestApp {
    pub app: App,
    pub router: Router,
    pub pool: PgPool,
    vars: BTreeMap<String, String>,
    kinds: fn() -> Registry,
    consumers: Consumers,
    /// Dropped last: with it goes the database.
    _database: Option<Database>,
}

impl TestApp {
    pub async fn new() -> Self {
        Self::with(&[]).await
    }

    /// With some variables of the environment beside the usual ones.
    pub async fn with(vars: &[(&str, &str)]) -> Self {
        Self::with_consumers(vars, Arc::new(Vec::new)).await
    }

    /// With consumers of events beside the usual ones.
    pub async fn with_consumers(vars: &[(&str, &str)], consumers: Consumers) -> Self {
        let database = Database::clone_of_template();
        let mut all = usual(&database);
        all.extend(vars.iter().map(|(name, value)| (name.to_string(), value.to_string())));
        Self::start(all, (jobs::registry, consumers), Some(database)).await
    }

    /// With a worker in it that knows these kinds of jobs.
    pub async fn working(kinds: fn() -> Registry, vars: &[(&str, &str)]) -> Self {
        let database = Database::clone_of_template();
        let mut all = usual(&database);
        let quick = [("APP__JOBS__IN_PROCESS", "true"), ("APP__JOBS__LEASE", "1s")];
        let vars = quick.iter().chain(vars);
        all.extend(vars.map(|(name, value)| (name.to_string(), value.to_string())));
        Self::start(all, (kinds, Arc::new(Vec::new)), Some(database)).await
    }

    /// Another instance beside this one: the same database, the same Redis.
    pub async fn sibling(&self) -> Self {
        Self::start(self.vars.clone(), (self.kinds, self.consumers.clone()), None).await
    }

    async fn start(
        vars: BTreeMap<String, String>,
        (kinds, consumers): (fn() -> Registry, Consumers),
        database: Option<Database>,
    ) -> Self {
        listen();
        let config = config(&vars);
        let pool =
            PgPool::connect_lazy(&database::owners_url(config.database.url.expose())).unwrap();
        let app = App::with(config, kinds(), consumers()).unwrap();
        mainstay::telemetry::metrics::install();
        app.start();
        let router = app.router();
        let test = Self { app, router, pool, vars, kinds, consumers, _database: database };
        eventually("the service starts", async || test.app.services.health.is_started()).await;
        test
    }

    pub fn call(&self, method: &str, path: &str) -> Call {
        Call::new(self.router.clone(), method, path)
    }

    pub fn get(&self, path: &str) -> Call {
        self.call("GET", path)
    }

    pub fn post(&self, path: &str) -> Call {
        self.call("POST", path)
    }

    /// A job that waits for tomorrow; its id.
    pub async fn waiting_job(&self) -> String {
        let insert = "insert into jobs (id, queue, kind, payload, priority, run_at, max_attempts, request_id)
                      values (gen_random_uuid(), 'default', 'x', '{}', 2, now() + interval '1 day', 3, 'x')
                      returning id::text";
        sqlx::query_scalar(insert).fetch_one(&self.pool).await.unwrap()
    }

    /// A delivery of some event that was given up, to a consumer that nobody is; its id.
    pub async fn dead_delivery(&self) -> String {
        let insert = "insert into outbox_deliveries (id, event_id, consumer, position, aggregate_kind,
                                                     aggregate_id, sequence, state)
                      select gen_random_uuid(), id, 'nobody ' || gen_random_uuid(), position, aggregate_kind,
                             aggregate_id, sequence, 'dead'
                      from outbox_events order by position limit 1 returning id::text";
        sqlx::query_scalar(insert).fetch_one(&self.pool).await.unwrap()
    }

    /// One number out of the database.
    pub async fn count(&self, sql: &'static str) -> i64 {
        sqlx::query_scalar(sql).fetch_one(&self.pool).await.unwrap()
    }

    pub async fn execute(&self, sql: &'static str) {
        sqlx::query(sql).execute(&self.pool).await.unwrap();
    }
}

impl Drop for TestApp {
    fn drop(&mut self) {
        self.app.lifecycle.draining().cancel();
        self.app.lifecycle.stopped().cancel();
    }
}

/// Once for all tests: to the canonical lines and to the statements.
fn listen() {
    static INSTALLED: OnceLock<()> = OnceLock::new();
    INSTALLED.get_or_init(|| {
        let only = |target: &str| Targets::new().with_target(target, LevelFilter::DEBUG);
        let subscriber = tracing_subscriber::registry()
            .with(StatementCounter::layer())
            .with(statements::Ear.with_filter(only(statements::TARGET)))
            .with(lines::Ear.with_filter(only(lines::TARGET)));
        tracing::subscriber::set_global_default(subscriber).expect("nobody else listens");
    });
}

fn usual(database: &Database) -> BTreeMap<String, String> {
    let redis = std::env::var("REDIS_URL").expect("REDIS_URL is not set: run `make test`");
    let pairs = [
        ("DATABASE_URL", database.service_url()),
        ("REDIS_URL", redis),
        ("APP__REDIS__PREFIX", format!("{}:", database.name())),
        ("APP__DATABASE__MIGRATE_ON_START", "false".to_owned()),
        ("APP__DATABASE__MAX_CONNECTIONS", "8".to_owned()),
        // A busy machine must not look like a full pool.
        ("APP__DATABASE__ACQUIRE_TIMEOUT", "4s".to_owned()),
        ("APP__DATABASE__LOCK_TIMEOUT", "4s".to_owned()),
        ("APP__SERVER__TOLERATED_WAIT", "4s".to_owned()),
        ("APP__LIMITS__ENABLED", "false".to_owned()),
        ("APP__JOBS__IN_PROCESS", "false".to_owned()),
        ("APP__AUTH__HASH_QUEUE", "256".to_owned()),
        ("APP__MAIL__LOCAL_DELIVERY", "memory".to_owned()),
    ];
    pairs.map(|(name, value)| (name.to_owned(), value)).into()
}

pub fn config(vars: &BTreeMap<String, String>) -> Config {
    let inputs = Inputs { vars: vars.clone(), config_dir: None };
    Config::load(&inputs).unwrap_or_else(|faults| panic!("{faults}"))
}

/// Waits for what must become true within three times its bound of a second.
pub async fn eventually(what: &str, mut holds: impl AsyncFnMut() -> bool) {
    let started = std::time::Instant::now();
    while !holds().await {
        assert!(started.elapsed() < Duration::from_secs(10), "in vain waited until {what}");
        tokio::time::sleep(Duration::from_millis(5)).await;
    }
}
