//! Redis, a helper and never the truth: every command may fail, soon, and its caller has an
//! answer of its own then.
//!
//! All ordinary commands share one multiplexed connection (a checkout from a pool would cost a
//! ping each). It is made by whoever needs it first, in a task of its own that the others wait
//! for too, and made anew after an I/O error or when the breaker opens, so that a connection that
//! leads nowhere is not kept. A command waits `command_timeout` at most, connecting included.
//! While the breaker is open commands fail at once, and the probe runs in the background: no
//! request ever waits for it. Blocking commands do not belong here.

mod failure;
mod subscription;
#[cfg(test)]
mod tests;

use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use deadpool_redis::redis::aio::MultiplexedConnection;
use deadpool_redis::redis::io::tcp::TcpSettings;
use deadpool_redis::redis::{
    self, AsyncConnectionConfig, Client, Cmd, ErrorKind, FromRedisValue, IntoConnectionInfo,
    RedisResult, ScriptInvocation, Value,
};
use deadpool_redis::{Connection, Manager, Pool, PoolError};
use futures_util::future::{BoxFuture, FutureExt, Shared};
use tokio::time::timeout;

use crate::shared::circuit_breaker::{CircuitBreaker, Permit};
use crate::telemetry::{metrics as names, work::Operation};
pub use failure::{InvalidUrl, RedisError};
pub use subscription::Subscription;

const MAX_COMMAND_TIMEOUT: Duration = Duration::from_millis(100);
/// Name resolution, TCP, TLS and greeting together. A command does not wait that long, but the
/// attempt goes on for the next one.
const CONNECT_DEADLINE: Duration = Duration::from_secs(1);
const FAILURES_TO_OPEN: u32 = 5;
const OPEN_FOR: Duration = Duration::from_secs(1);

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

    /// As the server tells it. The name of the line is the same in servers that follow Redis.
    pub async fn version(&self) -> Result<String, RedisError> {
        let info: String = self.run("info", redis::cmd("INFO").arg("server")).await?;
        let line = info.lines().find_map(|line| line.strip_prefix("redis_version:"));
        Ok(line.unwrap_or("of unknown version").trim().to_owned())
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
            command.arg(redis.key("redis", "probe")).arg(1).arg("PX").arg(1);
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
        let mut operation = Operation::redis(what);
        let (generation, connecting) = self.connection();
        let answer = timeout(deadline, async { work(connecting.await?).await }).await;
        metrics::histogram!(names::REDIS_DURATION, "what" => what).record(operation.elapsed());
        let error = match answer {
            Ok(Ok(value)) => {
                permit.success();
                operation.end(None);
                return Ok(value);
            }
            Ok(Err(error)) => RedisError::from(&error),
            Err(_) => RedisError::Timeout,
        };
        operation.end(Some(error.word()));
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
    let kind = error.word();
    metrics::counter!(names::REDIS_FAILURES, "what" => what, "kind" => kind).increment(1);
}
