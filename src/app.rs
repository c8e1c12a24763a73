//! The composition root: configuration in, a running service out. The only file that knows
//! everything.

use std::{io, net::SocketAddr, sync::Arc, time::Duration};

use axum::Router;
use tokio::{net::TcpListener, sync::Notify};

use crate::{
    adapters::mail::{Letters, Mailer},
    config::Config,
    db::Db,
    domain::feed::ChangeKind,
    error::{Error, Result},
    events::{Consumer, redis_stream, relay::Relay},
    jobs::{self, Registry, Worker},
    lifecycle::Lifecycle,
    middleware::{self, Stack, route_info::Access},
    redis::Redis,
    repos, routes,
    server::{self, Exit},
    services::{
        All, CookiePolicy, Services,
        audit::AuditTrail,
        auth::{
            self, Auth,
            announce::{Announcer, FEED_TOPIC},
            keys::Keyring,
            mail_tokens::MailTokens,
            revocations::Revocations,
            tokens::Tokens,
        },
        doctor::Doctor,
        exports::Exports,
        freshness::Freshness,
        health::Health,
        idempotency::Once,
        imports::{self, Imports},
        jobs::{Jobs, Keep},
        mail::Post,
        migrations,
        outbox::{self, Outbox, Wake},
        products::{self, Products},
        reaper,
        users::Users,
    },
    shared::{
        bus::Bus,
        cache::{self, Cache},
        capacity::{Bounds, Capacity},
        clock::Clock,
        cursor::CursorKey,
        feed::{Batch, Feed, News},
        password_hasher::{Cost, PasswordHasher},
        rate_limit::Limiter,
    },
    telemetry::{self, metrics as names},
};

/// How long start-up work waits before it tries again.
const RETRY_START: Duration = Duration::from_secs(1);
/// Signing keys are read again now and then, in case a hint was lost.
const RELOAD_KEYS: Duration = Duration::from_secs(30);
const MEASURE_POOL: Duration = Duration::from_secs(5);
/// However long the queues and small the pool, this many requests are worked on at once.
const LEAST_IN_FLIGHT: usize = 4;
const MEASURE_CACHE: Duration = Duration::from_secs(5);
const MEASURE_OUTBOX: Duration = Duration::from_secs(5);

/// Everything wired, nothing started.
pub struct App {
    pub config: Arc<Config>,
    pub services: Services,
    pub lifecycle: Lifecycle,
    pub db: Db,
    pub clock: Clock,
    pub keyring: Keyring,
    registry: Arc<Registry>,
    limiter: Limiter,
    capacity: Capacity,
    announcer: Announcer,
    freshness: Freshness,
    keys_changed: Arc<Notify>,
    relay: Relay,
    wake: Wake,
}

impl App {
    pub fn new(config: Config) -> Result<Self> {
        Self::with(config, jobs::registry(), Vec::new())
    }

    /// With other kinds of jobs than the product's, and consumers of events beside its own.
    pub fn with(config: Config, registry: Registry, mut consumers: Vec<Consumer>) -> Result<Self> {
        let config = Arc::new(config);
        let clock = Clock::default();
        let db = Db::new(&config.database)?;
        let redis = redis(&config)?;
        let instance = clock.new_id().to_string();
        let announcer = Announcer {
            revocations: Revocations::new(config.auth.access_ttl + 2 * config.auth.leeway),
            feed: Feed::default(),
            bus: Bus::new(redis.clone(), instance.clone()),
        };
        let cache = cache(&config, redis.clone(), &announcer.feed);
        let freshness = Freshness::new(cache, announcer.clone());
        let audit = AuditTrail::new(db.clone(), clock.clone());
        let keyring = Keyring::new(db.clone(), audit.clone(), &config.auth);
        let once = Once::new(db.clone(), config.idempotency.ttl);
        consumers.extend(own_consumers(&config, redis.as_ref()));
        let wake = Wake::default();
        let outbox = Outbox::new(outbox::Parts {
            db: db.clone(),
            clock: clock.clone(),
            audit: audit.clone(),
            once: once.clone(),
            interests: consumers.iter().map(Consumer::interest).collect(),
            wake: wake.clone(),
            settings: (&config.outbox).into(),
        });
        let relay = Relay::new(outbox.clone(), wake.clone(), consumers.into(), instance);
        let keep = Keep { succeeded: config.jobs.keep_succeeded, dead: config.jobs.keep_dead };
        let jobs = Jobs::new(
            db.clone(),
            clock.clone(),
            (audit.clone(), once.clone()),
            registry.policies(),
            keep,
        );
        let post = post(&config, &db, &clock)?;
        let auth = auth(&config, &audit, &outbox, &announcer, &keyring, &jobs, &post)?;
        let imports = Imports::new(imports::Parts {
            db: db.clone(),
            clock: clock.clone(),
            audit: audit.clone(),
            outbox: outbox.clone(),
            jobs: jobs.clone(),
            freshness: freshness.clone(),
            settings: imports::Settings::new(&config.imports, &config.idempotency),
        });
        let exports = Exports::new(
            db.clone(),
            audit.clone(),
            config.imports.exports_at_once,
            config.imports.progress_timeout,
        );
        let services = Services::new(All {
            auth,
            jobs,
            users: Users::new(db.clone(), audit.clone(), announcer.clone(), outbox.clone()),
            products: Products::new(products::Parts {
                db: db.clone(),
                clock: clock.clone(),
                audit: audit.clone(),
                outbox: outbox.clone(),
                once: once.clone(),
                freshness: freshness.clone(),
            }),
            outbox,
            audit,
            health: Health::new(db.clone(), redis.clone()),
            imports,
            exports,
            once,
            post,
            cursors: CursorKey::derive(config.auth.master_key.bytes()),
            cookies: CookiePolicy {
                secure: config.auth.cookie_secure,
                device_ttl: config.auth.device_ttl,
            },
            jwks_max_age: config.auth.jwks_max_age,
            clock: clock.clone(),
        });
        Ok(Self {
            registry: Arc::new(registry),
            limiter: Limiter::new(redis),
            capacity: capacity(&config),
            lifecycle: Lifecycle::default(),
            keys_changed: Arc::default(),
            freshness,
            config,
            services,
            db,
            clock,
            keyring,
            announcer,
            relay,
            wake,
        })
    }

    pub fn freshness(&self) -> &Freshness {
        &self.freshness
    }

    /// The API inside the whole stack, and what operators ask unless that has a port of its own.
    pub fn router(&self) -> Router {
        self.router_with(Vec::new())
    }

    /// The same with rows of a test's own beside those of the table.
    pub fn router_with(&self, more: Vec<routes::Route>) -> Router {
        let private = self.config.ops.listen.is_some();
        let public = |route: &routes::Route| !(private && route.access == Access::Operations);
        self.wrap(routes::table().into_iter().chain(more).filter(public))
    }

    /// What operators ask, for a port of its own.
    pub fn operations_router(&self) -> Router {
        self.wrap(routes::table().into_iter().filter(|route| route.access == Access::Operations))
    }

    fn wrap(&self, rows: impl Iterator<Item = routes::Route>) -> Router {
        let (router, index) = routes::build(rows);
        let stack = Stack {
            config: self.config.clone(),
            services: self.services.clone(),
            limiter: self.limiter.clone(),
            capacity: self.capacity.clone(),
            lifecycle: self.lifecycle.clone(),
            routes: Arc::new(index),
        };
        middleware::apply(router, &stack).with_state(self.services.clone())
    }

    /// Listens and serves until a signal; then drains.
    pub async fn serve(&self) -> io::Result<Exit> {
        let server = &self.config.server;
        let mut listeners = vec![(listen((server.host, server.port).into())?, self.router())];
        if let Some(address) = self.config.ops.listen {
            listeners.push((listen(address)?, self.operations_router()));
        }
        self.run(listeners, self.config.jobs.in_process).await
    }

    /// Works on jobs until a signal; operators ask it as they ask the API.
    pub async fn work(&self) -> io::Result<Exit> {
        let server = &self.config.server;
        let address = self.config.ops.listen.unwrap_or((server.host, server.port).into());
        self.run(vec![(listen(address)?, self.operations_router())], true).await
    }

    async fn run(&self, listeners: Vec<(TcpListener, Router)>, works: bool) -> io::Result<Exit> {
        let server = &self.config.server;
        self.begin(works);
        let not_ready = || self.services.health.set_draining();
        let exit = server::run(server, &self.lifecycle, listeners, not_ready).await?;
        if exit == Exit::Clean {
            // What does not answer any more must not hold the exit.
            let _ = tokio::time::timeout(Duration::from_secs(2), self.db.close()).await;
        }
        Ok(exit)
    }

    /// Starts the loops behind the requests, and the start-up work.
    pub fn start(&self) {
        self.begin(self.config.jobs.in_process);
    }

    fn begin(&self, works: bool) {
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
        let (announcer, keys_changed) = (self.announcer.clone(), self.keys_changed.clone());
        let freshness = self.freshness.clone();
        async move {
            while let Err(error) = prepare(&config, &db, &keyring).await {
                tracing::warn!(error = error.chain(), "start-up work is tried again");
                tokio::time::sleep(RETRY_START).await;
            }
            if let Some(worker) = worker {
                life.spawn(worker.run(life.draining().clone()));
            }
            let feed = announcer.feed.clone();
            let stop = life.stopped().clone();
            life.spawn_background(follow_feed(
                db,
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

fn listen(address: SocketAddr) -> io::Result<TcpListener> {
    let listener = server::listen(address)?;
    tracing::info!(address = %listener.local_addr()?, "listening");
    Ok(listener)
}

/// As many requests as there are connections never queue for one.
fn capacity(config: &Config) -> Capacity {
    let connections = config.database.max_connections as usize;
    Capacity::new(Bounds {
        least: connections.max(LEAST_IN_FLIGHT),
        most: config.server.max_in_flight,
        tolerated_wait: config.server.tolerated_wait,
    })
}

/// Looks at the place that the service would run in, without starting any of it.
pub fn doctor(config: Config, instances: u32) -> Result<Doctor> {
    let (db, redis) = (Db::new(&config.database)?, redis(&config)?);
    Ok(Doctor { config: Arc::new(config), db, redis, clock: Clock::default(), instances })
}

fn redis(config: &Config) -> Result<Option<Redis>> {
    let Some(url) = &config.redis.url else { return Ok(None) };
    let redis = Redis::new(url.expose(), &config.redis.prefix, config.redis.command_timeout);
    redis.map(Some).map_err(Error::internal)
}

fn cache(config: &Config, redis: Option<Redis>, feed: &Feed) -> Cache {
    let settings = cache::Settings {
        enabled: config.cache.enabled,
        memory_bytes: config.cache.memory_bytes as u64,
        ttl: config.cache.ttl,
        stale_ttl: config.cache.stale_ttl,
        absent_ttl: config.cache.absent_ttl,
    };
    Cache::new(settings, redis, feed.clone())
}

/// Who is told of events.
fn own_consumers(config: &Config, redis: Option<&Redis>) -> Option<Consumer> {
    let outbox = &config.outbox;
    let (redis, stream) = redis.zip(outbox.redis_stream.as_ref())?;
    Some(redis_stream::consumer(redis.clone(), stream, outbox.redis_stream_length))
}

fn auth(
    config: &Config,
    audit: &AuditTrail,
    outbox: &Outbox,
    announcer: &Announcer,
    keyring: &Keyring,
    jobs: &Jobs,
    post: &Post,
) -> Result<Auth> {
    let (db, clock) = (&post.db, &post.clock);
    let settings = &config.auth;
    let cost = Cost { memory_kib: settings.hash_memory_kib, iterations: settings.hash_iterations };
    let parts = auth::Parts {
        db: db.clone(),
        clock: clock.clone(),
        hasher: PasswordHasher::start(settings.hash_workers(), settings.hash_queue, cost)?,
        audit: audit.clone(),
        outbox: outbox.clone(),
        announcer: announcer.clone(),
        tokens: Tokens::new(
            clock.clone(),
            keyring.clone(),
            announcer.revocations.clone(),
            announcer.feed.clone(),
            settings,
        ),
        jobs: jobs.clone(),
        mail_tokens: post.tokens.clone(),
    };
    Ok(Auth::new(parts, settings.master_key.bytes(), settings.into()))
}

fn post(config: &Config, db: &Db, clock: &Clock) -> Result<Post> {
    let key = config.auth.master_key.bytes();
    let tokens = MailTokens::new(key, clock.clone(), config.link_base());
    Ok(Post {
        db: db.clone(),
        clock: clock.clone(),
        tokens: Arc::new(tokens),
        letters: Letters::new(&config.mail.from_name, config.link_base())?,
        mailer: Mailer::new(&config.mail).map_err(Error::internal)?,
    })
}

/// What must be true before the first request: the schema and the signing keys.
async fn prepare(config: &Config, db: &Db, keyring: &Keyring) -> Result<()> {
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

async fn follow_feed(
    db: Db,
    (announcer, freshness): (Announcer, Freshness),
    keys_changed: Arc<Notify>,
    stop: tokio_util::sync::CancellationToken,
) {
    let Announcer { revocations, feed, bus } = announcer;
    let look = |after| look_at_feed(db.clone(), after);
    let apply = move |news: &News| {
        revocations.apply(&news.rows);
        freshness.apply(news);
        if news.rows.iter().any(|change| change.kind == ChangeKind::Keys.as_str()) {
            keys_changed.notify_one();
        }
    };
    feed.follow(bus.subscribe(FEED_TOPIC), look, apply, stop).await;
}

async fn look_at_feed(db: Db, after: i64) -> Result<Batch> {
    db.read("feed.look", async |conn| {
        let (newest, now) = repos::feed::newest(conn).await?;
        let rows = match newest > after {
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
