//! The composition root: configuration in, a running service out. The only file that knows
//! everything.

mod background;
mod parts;
#[cfg(test)]
mod tests;

use std::{io, net::SocketAddr, sync::Arc, time::Duration};

use axum::Router;
use tokio::{net::TcpListener, sync::Notify};

use crate::{
    config::Config,
    db::Db,
    error::Result,
    events::{Consumer, relay::Relay},
    jobs::{self, Registry},
    lifecycle::Lifecycle,
    middleware::{self, Stack, route_info::Access},
    routes,
    server::{self, Exit},
    services::{
        All, CookiePolicy, Services,
        audit::AuditTrail,
        auth::{announce::Announcer, keys::Keyring, revocations::Revocations},
        doctor::Doctor,
        exports::Exports,
        freshness::Freshness,
        health::Health,
        idempotency::Once,
        imports::{self, Imports},
        jobs::{Jobs, Keep},
        outbox::{self, Outbox, Wake},
        products::{self, Products},
        users::Users,
    },
    shared::{
        bus::Bus, capacity::Capacity, clock::Clock, cursor::CursorKey, feed::Feed,
        rate_limit::Limiter,
    },
};

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
        let redis = parts::redis(&config)?;
        let instance = clock.new_id().to_string();
        let announcer = Announcer {
            revocations: Revocations::new(config.auth.access_ttl + 2 * config.auth.leeway),
            feed: Feed::default(),
            bus: Bus::new(redis.clone(), instance.clone()),
        };
        let cache = parts::cache(&config, redis.clone(), &announcer.feed);
        let freshness = Freshness::new(cache, announcer.clone());
        let audit = AuditTrail::new(db.clone(), clock.clone());
        let keyring = Keyring::new(db.clone(), audit.clone(), &config.auth);
        let once = Once::new(db.clone(), config.idempotency.ttl);
        consumers.extend(parts::own_consumers(&config, redis.as_ref()));
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
        let post = parts::post(&config, &db, &clock)?;
        let auth = parts::auth(&config, &audit, &outbox, &announcer, &keyring, &jobs, &post)?;
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
            health: Health::new(db.clone(), redis.clone(), announcer.feed.clone()),
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
            capacity: parts::capacity(&config),
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
}

fn listen(address: SocketAddr) -> io::Result<TcpListener> {
    let listener = server::listen(address)?;
    tracing::info!(address = %listener.local_addr()?, "listening");
    Ok(listener)
}

/// Looks at the place that the service would run in, without starting any of it.
pub fn doctor(config: Config, instances: u32) -> Result<Doctor> {
    let (db, redis) = (Db::new(&config.database)?, parts::redis(&config)?);
    Ok(Doctor { config: Arc::new(config), db, redis, clock: Clock::default(), instances })
}
