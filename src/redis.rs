//! Redis, a helper and never the truth: every command may fail, soon, and its caller has an
//! answer of its own then.
//!
//! All ordinary commands share one multiplexed connection (a checkout from a pool would cost a
//! ping each). It is made by whoever needs it first, in a task of its own that the others wait
//! for too, and made anew after an I/O error or when the breaker opens, so that a connection that
//! leads nowhere is not kept. A command waits `command_timeout` at most, connecting included.
//! While the breaker is open commands fail at once, and the probe runs in the background: no
//! request ever waits for it. Blocking commands do not belong here.

use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use deadpool_redis::redis::aio::{MultiplexedConnection, PubSubSink, PubSubStream};
use deadpool_redis::redis::io::tcp::TcpSettings;
use deadpool_redis::redis::{
    self, AsyncConnectionConfig, Client, Cmd, ErrorKind, FromRedisValue, IntoConnectionInfo,
    RedisResult, ScriptInvocation, Value,
};
use deadpool_redis::{Connection, Manager, Pool, PoolError};
use futures_util::future::{BoxFuture, FutureExt, Shared};
use futures_util::stream::StreamExt;
use tokio::time::{Instant, timeout};

use crate::shared::circuit_breaker::{CircuitBreaker, Permit};

/// Histogram, seconds, label `what`: commands that were sent, failed ones included.
pub const METRIC_REDIS_COMMAND_SECONDS: &str = "mainstay_redis_command_duration_seconds";
/// Counter, labels `what` and `kind` (unavailable, timeout, server): commands without a result,
/// those that an open breaker kept from being sent included.
pub const METRIC_REDIS_FAILURES: &str = "mainstay_redis_failures_total";

const MAX_COMMAND_TIMEOUT: Duration = Duration::from_millis(100);
/// Name resolution, TCP, TLS and greeting together. A command does not wait that long, but the
/// attempt goes on for the next one.
const CONNECT_DEADLINE: Duration = Duration::from_secs(1);
const FAILURES_TO_OPEN: u32 = 5;
const OPEN_FOR: Duration = Duration::from_secs(1);
/// A subscription that heard nothing for so long asks whether anybody is there.
const SILENCE: Duration = Duration::from_secs(5);

/// A handle; clones share the connection and the breaker.
#[derive(Clone)]
pub struct Redis(Arc<Inner>);

struct Inner {
    /// Only makes connections; each is taken out of it for good.
    pool: Pool,
    client: Client,
    prefix: String,
    command_timeout: Duration,
    breaker: CircuitBreaker,
    slot: Mutex<Slot>,
}

/// The connection, made or in the making.
#[derive(Default)]
struct Slot {
    generation: u64,
    connection: Option<Connecting>,
}

type Connecting = Shared<BoxFuture<'static, RedisResult<MultiplexedConnection>>>;

/// The URL given to [`Redis::new`] is none. It may hold a password, so it is not repeated.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct InvalidUrl;

/// Why there is no answer. Holds neither address nor data.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum RedisError {
    /// Not connected, connection lost, or not tried because the breaker is open.
    Unavailable,
    Timeout,
    /// The server refused. Only the first word of its answer is kept, such as `READONLY`;
    /// `TYPE` stands for an answer that is not what the caller expected.
    Server(String),
}

impl Redis {
    /// Connects to nothing yet, so it works while Redis is down. `prefix` stands verbatim before
    /// every key and channel. `command_timeout` is cut to 100 ms.
    pub fn new(url: &str, prefix: &str, command_timeout: Duration) -> Result<Self, InvalidUrl> {
        // Small commands, many in flight: Nagle's algorithm would hold them back.
        let tcp = TcpSettings::default().set_nodelay(true);
        let server = url.into_connection_info().map_err(|_| InvalidUrl)?;
        let server = server.set_tcp_settings(tcp);
        let config = AsyncConnectionConfig::new()
            .set_connection_timeout(Some(CONNECT_DEADLINE))
            .set_response_timeout(None);
        let client = Client::open(server.clone()).map_err(|_| InvalidUrl)?;
        let manager = Manager::new_with_config(server, config).map_err(|_| InvalidUrl)?;
        let pool = Pool::builder(manager).build().map_err(|_| InvalidUrl)?;
        Ok(Self(Arc::new(Inner {
            pool,
            client,
            prefix: prefix.to_owned(),
            command_timeout: command_timeout.min(MAX_COMMAND_TIMEOUT),
            breaker: CircuitBreaker::new("redis", FAILURES_TO_OPEN, OPEN_FOR),
            slot: Mutex::default(),
        })))
    }

    /// The full name of a key. A namespace belongs to one module.
    pub fn key(&self, namespace: &str, id: &str) -> String {
        format!("{}{namespace}:{id}", self.0.prefix)
    }

    /// The full name of a channel. Channels ignore database numbers, so they need the prefix too.
    pub fn channel(&self, name: &str) -> String {
        format!("{}{name}", self.0.prefix)
    }

    /// Whether a command would be sent now. Asking is what starts the probe once it is due, so a
    /// caller with a fallback that only asks notices the return of Redis as well.
    pub fn available(&self) -> bool {
        self.admit().is_some()
    }

    /// Runs one command. `what` names its purpose in metrics: a small fixed set.
    pub async fn run<T: FromRedisValue>(
        &self,
        what: &'static str,
        command: &Cmd,
    ) -> Result<T, RedisError> {
        let work = async |mut c: MultiplexedConnection| command.query_async(&mut c).await;
        self.attempt(what, work).await
    }

    /// Runs a script by its hash; a server that does not know it (restarted, flushed) is taught
    /// it within the same deadline.
    pub async fn run_script<T: FromRedisValue>(
        &self,
        what: &'static str,
        call: &ScriptInvocation<'_>,
    ) -> Result<T, RedisError> {
        let work = async |mut c: MultiplexedConnection| call.invoke_async(&mut c).await;
        self.attempt(what, work).await
    }

    pub async fn ping(&self) -> Result<(), RedisError> {
        self.run::<Value>("ping", &redis::cmd("PING")).await?;
        Ok(())
    }

    /// Listens on a channel (its full name) over a connection of its own, past the breaker: the
    /// subscriber has its own patience. Takes [`CONNECT_DEADLINE`] at most.
    pub async fn subscribe(&self, channel: &str) -> Result<Subscription, RedisError> {
        let subscribing = async {
            let mut connection = self.0.client.get_async_pubsub().await?;
            connection.subscribe(channel).await?;
            RedisResult::Ok(connection.split())
        };
        match timeout(CONNECT_DEADLINE, subscribing).await {
            Ok(Ok((sink, messages))) => Ok(Subscription { sink, messages }),
            Ok(Err(error)) => Err(RedisError::from(&error)),
            Err(_) => Err(RedisError::Timeout),
        }
    }

    fn admit(&self) -> Option<Permit> {
        let permit = self.0.breaker.permit()?;
        if permit.is_probe() {
            self.probe(permit);
            return None;
        }
        Some(permit)
    }

    /// Writes, because a server that is read-only or out of memory still answers a ping.
    fn probe(&self, permit: Permit) {
        let redis = self.clone();
        tokio::spawn(async move {
            let mut command = redis::cmd("SET");
            command.arg(redis.channel("probe")).arg(1).arg("PX").arg(1);
            let work = async |mut c: MultiplexedConnection| command.query_async(&mut c).await;
            let deadline = CONNECT_DEADLINE + redis.0.command_timeout;
            _ = redis.execute::<Value>("probe", permit, deadline, work).await;
        });
    }

    async fn attempt<T>(
        &self,
        what: &'static str,
        work: impl AsyncFnOnce(MultiplexedConnection) -> RedisResult<T>,
    ) -> Result<T, RedisError> {
        let result = match self.admit() {
            Some(permit) => {
                let deadline = self.0.command_timeout;
                self.execute(what, permit, deadline, work).await
            }
            None => Err(RedisError::Unavailable),
        };
        result.inspect_err(|error| count_failure(what, error))
    }

    async fn execute<T>(
        &self,
        what: &'static str,
        permit: Permit,
        deadline: Duration,
        work: impl AsyncFnOnce(MultiplexedConnection) -> RedisResult<T>,
    ) -> Result<T, RedisError> {
        let started = Instant::now();
        let (generation, connecting) = self.connection();
        let answer = timeout(deadline, async { work(connecting.await?).await }).await;
        let elapsed = started.elapsed();
        metrics::histogram!(METRIC_REDIS_COMMAND_SECONDS, "what" => what).record(elapsed);
        let error = match answer {
            Ok(Ok(value)) => {
                permit.success();
                return Ok(value);
            }
            Ok(Err(error)) => RedisError::from(&error),
            Err(_) => RedisError::Timeout,
        };
        self.judge(permit, generation, &error);
        Err(error)
    }

    fn judge(&self, permit: Permit, generation: u64, error: &RedisError) {
        if !error.is_outage() {
            return permit.success();
        }
        let opened = permit.failure();
        if opened || *error == RedisError::Unavailable {
            self.discard(generation);
        }
    }

    /// The connection, or the attempt at it that all callers of this moment share.
    fn connection(&self) -> (u64, Connecting) {
        let mut slot = self.slot();
        let connection = slot.connection.get_or_insert_with(|| connect(self.0.pool.clone()));
        let connection = connection.clone();
        (slot.generation, connection)
    }

    /// Forgets the connection of that generation, unless somebody has done so before.
    fn discard(&self, generation: u64) {
        let mut slot = self.slot();
        if slot.generation == generation {
            *slot = Slot { generation: generation + 1, connection: None };
        }
    }

    /// A slot is never half changed, so a poisoned lock guards a whole one.
    fn slot(&self) -> MutexGuard<'_, Slot> {
        self.0.slot.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Runs on when those who wait for it are cancelled: a burst of impatient callers would otherwise
/// never get a connection.
fn connect(pool: Pool) -> Connecting {
    let task = tokio::spawn(async move { timeout(CONNECT_DEADLINE, pool.get()).await });
    let gone = |why| redis::RedisError::from((ErrorKind::Io, why));
    let connecting = async move {
        let error = match task.await {
            Ok(Ok(Ok(connection))) => return Ok(Connection::take(connection)),
            Ok(Ok(Err(PoolError::Backend(error)))) => error,
            Ok(Ok(Err(_))) => gone("no connection"),
            Ok(Err(_)) => gone("connecting took too long"),
            Err(_) => gone("connecting was stopped"),
        };
        tracing::debug!(%error, "cannot connect to redis");
        Err(error)
    };
    connecting.boxed().shared()
}

fn count_failure(what: &'static str, error: &RedisError) {
    let kind = match error {
        RedisError::Unavailable => "unavailable",
        RedisError::Timeout => "timeout",
        RedisError::Server(_) => "server",
    };
    metrics::counter!(METRIC_REDIS_FAILURES, "what" => what, "kind" => kind).increment(1);
}

impl RedisError {
    /// Whether Redis as a whole is of no use now, rather than this one command wrong.
    fn is_outage(&self) -> bool {
        let Self::Server(kind) = self else {
            return true;
        };
        matches!(
            kind.as_str(),
            "BUSY"
                | "CLUSTERDOWN"
                | "LOADING"
                | "MASTERDOWN"
                | "MISCONF"
                | "NOAUTH"
                | "NOREPLICAS"
                | "OOM"
                | "READONLY"
        )
    }
}

impl From<&redis::RedisError> for RedisError {
    fn from(error: &redis::RedisError) -> Self {
        match (error.code(), error.kind()) {
            (Some(code), _) => Self::Server(code.to_owned()),
            (None, ErrorKind::UnexpectedReturnType) => Self::Server("TYPE".to_owned()),
            (None, _) if error.is_timeout() => Self::Timeout,
            (None, _) => Self::Unavailable,
        }
    }
}

impl std::fmt::Display for RedisError {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Self::Unavailable => f.write_str("redis is not available"),
            Self::Timeout => f.write_str("redis did not answer in time"),
            Self::Server(kind) => write!(f, "redis refused the command: {kind}"),
        }
    }
}

impl std::error::Error for RedisError {}

impl std::fmt::Display for InvalidUrl {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("the redis URL cannot be read (redis://, rediss:// or unix://)")
    }
}

impl std::error::Error for InvalidUrl {}

/// Messages of one channel. Those sent while nobody is connected are lost.
pub struct Subscription {
    sink: PubSubSink,
    messages: PubSubStream,
}

impl Subscription {
    /// The next message, or `None` when the connection is gone: subscribe again. A connection
    /// that died without a word is found out within 6 s. Messages that are not text are skipped.
    pub async fn next(&mut self) -> Option<String> {
        loop {
            match timeout(SILENCE, self.messages.next()).await {
                Ok(message) => match message?.get_payload() {
                    Ok(text) => return Some(text),
                    Err(_) => continue,
                },
                Err(_) => self.somebody_there().await?,
            }
        }
    }

    async fn somebody_there(&mut self) -> Option<()> {
        let answer = timeout(CONNECT_DEADLINE, self.sink.ping::<Value>()).await;
        answer.ok()?.ok().map(drop)
    }
}
