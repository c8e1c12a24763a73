//! The parts that take more than a line to make.

use std::sync::Arc;

use crate::{
    adapters::mail::{Letters, Mailer},
    config::Config,
    db::Db,
    error::{Error, Result},
    events::{Consumer, redis_stream},
    redis::Redis,
    services::{
        audit::AuditTrail,
        auth::{
            self, Auth, announce::Announcer, keys::Keyring, mail_tokens::MailTokens, tokens::Tokens,
        },
        jobs::Jobs,
        mail::Post,
        outbox::Outbox,
    },
    shared::{
        cache::{self, Cache},
        capacity::{Bounds, Capacity},
        clock::Clock,
        feed::Feed,
        password_hasher::{Cost, PasswordHasher},
    },
};

/// However long the queues and small the pool, this many requests are worked on at once.
const LEAST_IN_FLIGHT: usize = 4;

/// As many requests as there are connections never queue for one.
pub fn capacity(config: &Config) -> Capacity {
    let connections = config.database.max_connections as usize;
    Capacity::new(Bounds {
        least: connections.max(LEAST_IN_FLIGHT),
        most: config.server.max_in_flight,
        tolerated_wait: config.server.tolerated_wait,
    })
}

pub fn redis(config: &Config) -> Result<Option<Redis>> {
    let Some(url) = &config.redis.url else { return Ok(None) };
    let redis = Redis::new(url.expose(), &config.redis.prefix, config.redis.command_timeout);
    redis.map(Some).map_err(Error::internal)
}

pub fn cache(config: &Config, redis: Option<Redis>, feed: &Feed) -> Cache {
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
pub fn own_consumers(config: &Config, redis: Option<&Redis>) -> Option<Consumer> {
    let outbox = &config.outbox;
    let (redis, stream) = redis.zip(outbox.redis_stream.as_ref())?;
    Some(redis_stream::consumer(redis.clone(), stream, outbox.redis_stream_length))
}

pub fn auth(
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

pub fn post(config: &Config, db: &Db, clock: &Clock) -> Result<Post> {
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
