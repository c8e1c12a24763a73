//! Redis, a helper and never the truth: every command may fail, soon, and its caller has an
//! answer of its own then.
//!
//! All ordinary commands share one multiplexed connection (a checkout from a pool would cost a
//! ping each). It is made by whoever needs it first, in a task of its own that the others wait
//! for too, and made anew after an I/O error or when the breaker opens, so that a connection that
//! leads nowhere is not kept. A command waits `command_timeout` at most, connecting included.
//! While the breaker is open commands fail at once, and the probe runs in the background: no
//! request ever waits for it. Blocking commands do not belong here.

use crate::telemetry::{metrics as names, work::Operation};
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
use tokio::time::timeout;

use crate::shared::circuit_breaker::{CircuitBreaker, Permit};

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
    /// The command may have been carried out all the same.
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

    /// As the server tells it. The name of the line is the same in servers that follow Redis.
    pub async fn version(&self) -> Result<String, RedisError> {
        let info: String = self.run("info", redis::cmd("INFO").arg("server")).await?;
        let line = info.lines().find_map(|line| line.strip_prefix("redis_version:"));
        Ok(line.unwrap_or("of unknown version").trim().to_owned())
    }

    /// Listens on a channel (its full name) over a connection of its own, past the breaker: the
    /// subscriber has its own patience. Takes a second at most.
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

impl RedisError {
    fn word(&self) -> &'static str {
        match self {
            Self::Unavailable => "unavailable",
            Self::Timeout => "timeout",
            Self::Server(_) => "server",
        }
    }

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

#[cfg(test)]
mod tests {
    use futures_util::FutureExt;

    use super::*;
    use crate::shared::clock::Clock;
    use futures_util::future::join_all;
    use tokio::io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt};
    use tokio::net::{TcpListener, TcpStream};
    use tokio::sync::watch;
    use tokio::time::{Instant, sleep};

    const TIMEOUT: Duration = Duration::from_millis(100);

    fn url() -> String {
        let url = std::env::var("REDIS_URL");
        url.expect("set REDIS_URL to a Redis for the tests, as `make test` does")
    }

    fn connect_to(url: &str) -> Redis {
        let prefix = format!("test:{}:", Clock::default().new_id().simple());
        Redis::new(url, &prefix, TIMEOUT).expect("a URL")
    }

    async fn client_id(redis: &Redis) -> Result<u64, RedisError> {
        redis.run("test", redis::cmd("CLIENT").arg("ID")).await
    }

    /// The URL of something between the tests and Redis, which passes nothing on while it hangs.
    async fn proxy(hangs: watch::Receiver<bool>) -> String {
        let listener = TcpListener::bind("127.0.0.1:0").await.expect("a port");
        let server = url().as_str().into_connection_info().expect("a URL");
        let mut url = url::Url::parse(&url()).expect("a URL");
        url.set_host(Some("127.0.0.1")).expect("a host");
        url.set_port(Some(listener.local_addr().expect("bound").port())).expect("a port");
        tokio::spawn(async move {
            while let Ok((client, _)) = listener.accept().await {
                let server = TcpStream::connect(server.addr().to_string()).await;
                let (from, to) = client.into_split();
                let (back, forth) = server.expect("REDIS_URL answers").into_split();
                tokio::spawn(pass(from, forth, hangs.clone()));
                tokio::spawn(pass(back, to, hangs.clone()));
            }
        });
        url.to_string()
    }

    async fn pass(
        mut from: impl AsyncRead + Unpin,
        mut to: impl AsyncWrite + Unpin,
        mut hangs: watch::Receiver<bool>,
    ) {
        let mut buffer = [0; 4096];
        while let Ok(length @ 1..) = from.read(&mut buffer).await {
            let flows = hangs.wait_for(|hangs| !hangs).await.is_ok();
            if !flows || to.write_all(&buffer[..length]).await.is_err() {
                return;
            }
        }
    }

    /// How long it takes until Redis is available again.
    async fn recovery(redis: &Redis) -> Duration {
        let start = Instant::now();
        while redis.ping().await.is_err() {
            assert!(start.elapsed() < Duration::from_secs(15), "never");
            sleep(Duration::from_millis(20)).await;
        }
        start.elapsed()
    }

    #[test]
    fn a_url_that_cannot_be_read_is_refused_without_being_repeated() {
        let error = Redis::new("redis//:secret@host", "", TIMEOUT).err();
        assert!(!error.expect("refused").to_string().contains("secret"));
    }

    #[tokio::test]
    async fn keys_and_channels_carry_the_prefix() {
        let redis = Redis::new("redis://127.0.0.1", "shop:", TIMEOUT).expect("a URL");
        assert_eq!(redis.key("rate", "7"), "shop:rate:7");
        assert_eq!(redis.channel("bus"), "shop:bus");
    }

    #[tokio::test]
    async fn simultaneous_commands_share_one_connection() {
        let redis = connect_to(&url());
        let ids = join_all((0..50).map(|_| client_id(&redis))).await;
        assert!(ids[0].is_ok() && ids.iter().all(|id| id == &ids[0]));
    }

    #[tokio::test]
    async fn a_connection_that_was_cut_is_replaced() {
        let redis = connect_to(&url());
        let first = client_id(&redis).await.expect("connected");
        let other = connect_to(&url());
        let mut kill = redis::cmd("CLIENT");
        kill.arg("KILL").arg("ID").arg(first);
        other.run::<u32>("test", &kill).await.expect("killed");
        assert!(recovery(&redis).await < 3 * OPEN_FOR);
        assert_ne!(client_id(&redis).await, Ok(first));
    }

    #[tokio::test]
    async fn a_script_the_server_does_not_know_is_taught_to_it() {
        let redis = connect_to(&url());
        let unknown = format!("return ARGV[1] + 1 -- {}", redis.key("a", "b"));
        let script = redis::Script::new(&unknown);
        for _ in 0..2 {
            let sum = redis.run_script("test", script.arg(41).key("k")).await;
            assert_eq!(sum, Ok(42));
        }
    }

    #[tokio::test]
    async fn a_wrong_command_is_named_and_does_not_open_the_breaker() {
        let redis = connect_to(&url());
        let key = redis.key("test", "list");
        let mut push = redis::cmd("LPUSH");
        assert_eq!(redis.run("test", push.arg(&key).arg("secret")).await, Ok(1));
        let mut get = redis::cmd("GET");
        get.arg(&key);
        for _ in 0..2 * FAILURES_TO_OPEN {
            let answer = redis.run::<String>("test", &get).await;
            assert_eq!(answer, Err(RedisError::Server("WRONGTYPE".to_owned())));
        }
        assert!(redis.available());
        assert_eq!(redis.run("test", redis::cmd("DEL").arg(&key)).await, Ok(1));
    }

    #[tokio::test]
    async fn a_redis_that_is_away_is_not_tried_after_five_failures() {
        let redis = connect_to("redis://127.0.0.1:1");
        for _ in 0..FAILURES_TO_OPEN {
            assert!(redis.available());
            assert_eq!(redis.ping().await, Err(RedisError::Unavailable));
        }
        assert!(!redis.available());
    }

    #[tokio::test]
    async fn a_hanging_redis_costs_five_timeouts_and_comes_back_by_itself() {
        let (hang, hangs) = watch::channel(false);
        let redis = connect_to(&proxy(hangs).await);
        redis.ping().await.expect("connected");
        hang.send_replace(true);
        for _ in 0..FAILURES_TO_OPEN {
            assert_eq!(redis.ping().await, Err(RedisError::Timeout));
        }
        let hung = Instant::now();
        while hung.elapsed() < 3 * OPEN_FOR {
            let answer = redis.ping().now_or_never();
            assert!(matches!(answer, Some(Err(_))), "somebody waited for the probe");
            sleep(Duration::from_millis(5)).await;
        }
        hang.send_replace(false);
        let recovery = recovery(&redis).await;
        println!("recovery {recovery:?}");
        assert!(recovery < Duration::from_secs(15));
    }

    #[tokio::test]
    async fn a_subscription_hears_its_channel_and_that_somebody_is_there() {
        let redis = connect_to(&url());
        let channel = redis.channel("news");
        let mut subscription = redis.subscribe(&channel).await.expect("subscribed");
        let mut publish = redis::cmd("PUBLISH");
        publish.arg(&channel).arg("hello");
        assert_eq!(redis.run("test", &publish).await, Ok(1));
        assert_eq!(subscription.next().await.as_deref(), Some("hello"));
        subscription.somebody_there().await.expect("it answers");
    }
}
