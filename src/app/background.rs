//! What goes on beside the requests: start-up work, loops and measurements.

use std::{
    sync::Arc,
    time::{Duration, Instant},
};

use chrono::{DateTime, Utc};
use sqlx::PgConnection;
use tokio::sync::Notify;

use super::App;
use crate::{
    config::Config,
    db::Db,
    domain::feed::ChangeKind,
    error::{Error, Result},
    jobs::Worker,
    repos,
    services::{
        auth::{
            announce::{Announcer, FEED_TOPIC},
            keys::Keyring,
        },
        freshness::Freshness,
        migrations,
        outbox::Outbox,
        reaper,
    },
    shared::{
        bus::Bus,
        cache::Cache,
        clock::Clock,
        feed::{Batch, Feed, News},
        rate_limit::Limiter,
    },
    telemetry::{self, metrics as names},
};

/// How long start-up work waits before it tries again.
const RETRY_START: Duration = Duration::from_secs(1);
/// Signing keys are read again now and then, in case a hint was lost.
const RELOAD_KEYS: Duration = Duration::from_secs(30);
const MEASURE_POOL: Duration = Duration::from_secs(5);
const MEASURE_CACHE: Duration = Duration::from_secs(5);
const MEASURE_OUTBOX: Duration = Duration::from_secs(5);

impl App {
    /// Starts the loops behind the requests, and the start-up work.
    pub fn start(&self) {
        self.begin(self.config.jobs.in_process);
    }

    pub(super) fn begin(&self, works: bool) {
        let life = &self.lifecycle;
        let stop = || life.stopped().clone();
        life.spawn_background(self.services.health.clone().probe(stop()));
        life.spawn_background(reaper::run(self.db.clone(), self.config.outbox.keep, stop()));
        let imports = self.services.imports.clone();
        self.spawn_until_stopped(async move { imports.reap_now_and_then().await });
        life.spawn_background(self.relay.clone().run(stop()));
        self.spawn_until_stopped(self.wake.clone().run(self.announcer.bus.clone()));
        self.spawn_until_stopped(measure_outbox(self.services.outbox.clone()));
        let (bus, bus_stop) = (self.announcer.bus.clone(), stop());
        life.spawn_background(async move { bus.run(bus_stop).await });
        let (limiter, limiter_stop) = (self.limiter.clone(), stop());
        life.spawn_background(async move { limiter.run(limiter_stop).await });
        self.spawn_until_stopped(share_limits(self.limiter.clone(), self.announcer.bus.clone()));
        self.spawn_until_stopped(measure_pool(self.db.clone(), self.announcer.feed.clone()));
        self.spawn_until_stopped(measure_cache(self.freshness.cache.clone()));
        let wakeup = self.services.jobs.wakeup().clone();
        life.spawn_background(wakeup.clone().tell_others(self.db.clone(), stop()));
        if works {
            life.spawn_background(wakeup.hear_others(self.db.clone(), stop()));
        }
        self.spawn_until_stopped(self.start_up(works.then(|| self.worker())));
        self.spawn_until_stopped(telemetry::runtime::watch(telemetry::metrics::install()));
        let db = self.db.clone();
        self.spawn_until_stopped(self.capacity.clone().follow(move || db.take_shortest_wait()));
    }

    fn spawn_until_stopped(&self, run: impl Future<Output = ()> + Send + 'static) {
        let stop = self.lifecycle.stopped().clone();
        self.lifecycle.spawn_background(async move {
            stop.run_until_cancelled(run).await;
        });
    }

    fn worker(&self) -> Worker {
        Worker {
            registry: self.registry.clone(),
            services: self.services.clone(),
            settings: self.config.jobs.clone(),
        }
    }

    /// Until it has succeeded the process is alive and not ready.
    fn start_up(&self, worker: Option<Worker>) -> impl Future<Output = ()> + Send + 'static {
        let (config, db, keyring) = (self.config.clone(), self.db.clone(), self.keyring.clone());
        let (health, life) = (self.services.health.clone(), self.lifecycle.clone());
        let clock = self.clock.clone();
        let (announcer, keys_changed) = (self.announcer.clone(), self.keys_changed.clone());
        let freshness = self.freshness.clone();
        async move {
            while let Err(error) = prepare(&config, &db, &keyring, &clock).await {
                tracing::warn!(error = error.chain(), "start-up work is tried again");
                tokio::time::sleep(RETRY_START).await;
            }
            if let Some(worker) = worker {
                life.spawn(worker.run(life.draining().clone()));
            }
            let feed = announcer.feed.clone();
            let stop = life.stopped().clone();
            life.spawn_background(follow_feed(
                (db, clock),
                (announcer, freshness),
                keys_changed.clone(),
                stop,
            ));
            let reload = reload_keys(keyring, keys_changed);
            let stop = life.stopped().clone();
            life.spawn_background(async move {
                stop.run_until_cancelled(reload).await;
            });
            while !feed.is_current() {
                tokio::time::sleep(Duration::from_millis(10)).await;
            }
            health.set_started();
            tracing::info!("start-up work is done");
        }
    }
}

/// What must be true before the first request: the schema and the signing keys.
async fn prepare(config: &Config, db: &Db, keyring: &Keyring, clock: &Clock) -> Result<()> {
    // Before anything is dated.
    db.read("clock.follow", async |conn| follow_clock(conn, clock).await).await?;
    if config.database.migrate_on_start {
        migrations::up(&config.database).await?;
    }
    let pending = migrations::status(db).await?.pending();
    if !pending.is_empty() {
        return Err(Error::unavailable(format!("migrations are missing: {pending:?}")));
    }
    keyring.ensure().await?;
    keyring.reload().await
}

async fn follow_clock(conn: &mut PgConnection, clock: &Clock) -> Result<()> {
    let asked = Instant::now();
    let there = repos::server::now(conn).await?;
    note_clock(clock, there, asked);
    Ok(())
}

fn note_clock(clock: &Clock, there: DateTime<Utc>, asked: Instant) {
    if let Some(behind) = clock.follow(there, asked.elapsed()) {
        metrics::gauge!(names::CLOCK_BEHIND).set(behind.as_seconds_f64());
    }
}

async fn follow_feed(
    (db, clock): (Db, Clock),
    (announcer, freshness): (Announcer, Freshness),
    keys_changed: Arc<Notify>,
    stop: tokio_util::sync::CancellationToken,
) {
    let Announcer { revocations, feed, bus } = announcer;
    let look = |after| look_at_feed(db.clone(), clock.clone(), after);
    let apply = move |news: &News| {
        revocations.apply(&news.rows);
        freshness.apply(news);
        if news.rows.iter().any(|change| change.kind == ChangeKind::Keys.as_str()) {
            keys_changed.notify_one();
        }
    };
    feed.follow(bus.subscribe(FEED_TOPIC), look, apply, stop).await;
}

async fn look_at_feed(db: Db, clock: Clock, after: i64) -> Result<Batch> {
    db.read("feed.look", async |conn| {
        let asked = Instant::now();
        let (newest, now) = repos::feed::newest(conn).await?;
        note_clock(&clock, now, asked);
        let rows = match newest > after {
            true if after == 0 => repos::feed::recent(conn).await?,
            true => repos::feed::after(conn, after).await?,
            false => Vec::new(),
        };
        Ok(Batch { rows, newest, now })
    })
    .await
}

async fn reload_keys(keyring: Keyring, changed: Arc<Notify>) {
    loop {
        let _ = tokio::time::timeout(RELOAD_KEYS, changed.notified()).await;
        if let Err(error) = keyring.reload().await {
            tracing::warn!(error = error.chain(), "signing keys cannot be read");
        }
    }
}

/// Tells the limiter among how many instances the limits are shared.
async fn share_limits(limiter: Limiter, bus: Bus) {
    let mut instances = bus.instances();
    loop {
        limiter.set_instances(*instances.borrow_and_update());
        if instances.changed().await.is_err() {
            std::future::pending::<()>().await;
        }
    }
}

async fn measure_cache(cache: Cache) {
    loop {
        let (entries, bytes) = cache.size();
        metrics::gauge!(names::CACHE_ENTRIES).set(entries as f64);
        metrics::gauge!(names::CACHE_BYTES).set(bytes as f64);
        tokio::time::sleep(MEASURE_CACHE).await;
    }
}

async fn measure_outbox(outbox: Outbox) {
    loop {
        // What cannot be measured is seen by the health checks.
        let _ = outbox.measure().await;
        tokio::time::sleep(MEASURE_OUTBOX).await;
    }
}

async fn measure_pool(db: Db, feed: Feed) {
    loop {
        let (size, idle) = db.pool_size();
        let used = f64::from(size) - idle as f64;
        metrics::gauge!(names::DB_POOL_SIZE, "state" => "idle").set(idle as f64);
        metrics::gauge!(names::DB_POOL_SIZE, "state" => "used").set(used);
        if let Some(age) = feed.age() {
            metrics::gauge!(names::FEED_LAG).set(age.as_secs_f64());
        }
        tokio::time::sleep(MEASURE_POOL).await;
    }
}
