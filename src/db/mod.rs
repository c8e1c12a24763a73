//! The door to Postgres: reads, transactions, and what their failures mean.
//!
//! A connection that is dropped in the middle of its work (the client left, a deadline passed)
//! is closed hard and never goes back to the pool: sqlx cannot cancel a statement, and a
//! half-finished conversation must not meet the next borrower. The server notices through
//! `client_connection_check_interval`, stops the statement and rolls back.

use std::{future::Future, sync::Arc, time::Duration};

use sqlx::{
    ConnectOptions, Executor, PgConnection, PgPool, Postgres,
    pool::PoolConnection,
    postgres::{PgConnectOptions, PgListener, PgPoolOptions},
};
use tokio::time::{Instant, timeout};

use crate::{
    config,
    error::{Error, Kind, Result},
    telemetry::{metrics as names, work::Operation},
};

mod failure;
mod lease;
mod lock_wait;
mod on_commit;
mod parked;
mod undoable;
mod waits;

use failure::{Hung, is_barred, is_hung, is_lost_connection};
pub use failure::{OnConstraint, is_conflict, is_full};
pub use lease::may_write;
use lease::{Lease, Suspicion, is_of_use};
pub use lock_wait::waiting_at_most;
pub use on_commit::on_commit;
use parked::{Held, Parked};
pub use undoable::undoable;
use waits::Waits;

/// How often a transaction that lost against another is tried again.
const CONFLICT_RETRIES: u32 = 3;
/// Connections idle for longer are asked whether they are still of use before they are lent.
const ASK_AFTER_IDLE: Duration = Duration::from_secs(30);
/// A name may lead elsewhere after a failover, and a role have other settings, while a session goes
/// on as it began: what no failure gives away ends with this. Opening one costs a few milliseconds.
const MAX_LIFETIME: Duration = Duration::from_secs(5 * 60);

#[derive(Clone)]
pub struct Db {
    pool: PgPool,
    parked: Parked<PoolConnection<Postgres>>,
    options: Arc<PgConnectOptions>,
    limits: Limits,
    suspicion: Suspicion,
    /// When nobody could be lent a connection last.
    shortage: Suspicion,
    waits: Waits,
}

#[derive(Clone, Copy)]
struct Limits {
    /// For the first answer of a connection: nothing has happened yet, so failing is clear.
    begin: Duration,
    /// For a read in all; the server's own statement timeout fires first unless it hangs.
    read: Duration,
    /// For a transaction in all, several statements.
    transaction: Duration,
}

impl Db {
    /// Connects lazily: a database that is down at boot is met when it is first asked.
    pub fn new(config: &config::Database) -> Result<Self> {
        let options = connect_options(config, config.url.expose())?;
        let suspicion = Suspicion::default();
        let checker = suspicion.clone();
        let pool = PgPoolOptions::new()
            .max_connections(config.max_connections)
            .acquire_timeout(config.acquire_timeout)
            .max_lifetime(MAX_LIFETIME)
            .test_before_acquire(false)
            .before_acquire(move |conn, meta| {
                let doubtful = meta.idle_for > ASK_AFTER_IDLE || checker.covers(meta.age);
                Box::pin(async move { Ok(!doubtful || is_of_use(conn).await) })
            })
            .connect_lazy_with(options.clone());
        let limits = Limits {
            begin: config.lock_timeout,
            read: config.statement_timeout + Duration::from_secs(1),
            transaction: config.statement_timeout * 3,
        };
        let (parked, options) = (Parked::new(), Arc::new(options));
        let (shortage, waits) = (Suspicion::default(), Waits::default());
        Ok(Self { pool, parked, options, limits, suspicion, shortage, waits })
    }

    /// Work on one connection outside a transaction: single statements that change nothing.
    pub async fn read<T>(
        &self,
        name: &'static str,
        work: impl AsyncFnOnce(&mut PgConnection) -> Result<T>,
    ) -> Result<T> {
        let watch = Watch::start(name);
        // Boxed, as below: a conversation with Postgres is a future of many kilobytes, which callers
        // would carry inside their own and copy whenever that is moved, even if it is never polled.
        let result = Box::pin(async {
            let mut lease = self.lease().await?;
            let result = self.within(self.limits.read, work(&mut lease)).await;
            lease.settle(&result);
            result
        })
        .await;
        watch.stop(self.noting_outages(result))
    }

    /// One statement that changes something and commits by itself. When its answer is lost, so is
    /// whether it happened: only for what can be done again or is found out later.
    pub async fn autocommit<T>(
        &self,
        name: &'static str,
        work: impl AsyncFnOnce(&mut PgConnection) -> Result<T>,
    ) -> Result<T> {
        self.read(name, work).await
    }

    /// A named transaction: commits what `work` did when it answers `Ok`, else nothing remains.
    /// No network call belongs inside.
    pub async fn tx<T>(
        &self,
        name: &'static str,
        work: impl AsyncFnOnce(&mut PgConnection) -> Result<T>,
    ) -> Result<T> {
        self.tx_within(self.limits.transaction, name, work).await
    }

    /// A transaction of very many statements, each of which still has the usual limits. What it
    /// writes for those who follow (the change feed) belongs at its end.
    pub async fn tx_within<T>(
        &self,
        limit: Duration,
        name: &'static str,
        work: impl AsyncFnOnce(&mut PgConnection) -> Result<T>,
    ) -> Result<T> {
        let watch = Watch::start(name);
        let result = on_commit::with_hooks(Box::pin(async {
            let mut lease = self.begin().await?;
            let result = self.within(limit, work(&mut lease)).await;
            self.finish(lease, result).await
        }))
        .await;
        watch.stop(self.noting_outages(result))
    }

    /// Begins on a connection that answers. A dead one from before a restart of the server is
    /// replaced in silence: nothing has happened on it.
    async fn begin(&self) -> Result<Lease> {
        let mut spare = self.pool.options().get_max_connections();
        loop {
            let mut lease = self.lease().await?;
            match self.within(self.limits.begin, execute(&mut lease, "BEGIN")).await {
                Ok(()) => return Ok(lease),
                Err(error) if spare > 0 && is_lost_connection(&error) && !is_hung(&error) => {
                    self.suspicion.raise();
                    spare -= 1;
                }
                Err(error) => return Err(error),
            }
        }
    }

    async fn finish<T>(&self, mut lease: Lease, result: Result<T>) -> Result<T> {
        let end = if result.is_ok() { "COMMIT" } else { "ROLLBACK" };
        let ended = self.within(self.limits.read, execute(&mut lease, end)).await;
        match (result, ended) {
            (result, Ok(())) => {
                lease.settle(&result);
                result
            }
            // Whether it was committed is not known: the connection is closed with the lease.
            (Ok(_), Err(error)) | (Err(error), Err(_)) => Err(error),
        }
    }

    async fn lease(&self) -> Result<Lease> {
        let started = Instant::now();
        let lease = self.borrow().await;
        metrics::histogram!(names::DB_POOL_WAIT).record(started.elapsed().as_secs_f64());
        let lease = lease?;
        self.waits.note(started.elapsed());
        Ok(lease)
    }

    async fn borrow(&self) -> Result<Lease> {
        loop {
            let (held, is_new) = match self.parked.take() {
                Ok(held) => (held, false),
                Err(_waiting) => (Held::new(self.acquire().await?), true),
            };
            let doubtful = !is_new && self.suspicion.covers(held.since.elapsed());
            let mut lease = Lease::new(held, self.parked.clone());
            if !doubtful || is_of_use(&mut lease).await {
                return Ok(lease);
            }
            // The others are not worth another wait.
            self.parked.cut();
        }
    }

    #[expect(clippy::disallowed_methods, reason = "the one place that lends connections")]
    async fn acquire(&self) -> Result<PoolConnection<Postgres>> {
        let acquired = self.pool.acquire().await;
        // Whatever keeps a connection from being opened: nothing has happened on it.
        acquired.inspect_err(|_| self.shortage.raise()).map_err(Error::unavailable)
    }

    async fn within<T>(&self, limit: Duration, work: impl Future<Output = Result<T>>) -> Result<T> {
        timeout(limit, work).await.unwrap_or_else(|_| Err(Error::unavailable(Hung)))
    }

    /// After a connection that was of no use every older one is asked before it is lent again.
    fn noting_outages<T>(&self, result: Result<T>) -> Result<T> {
        match &result {
            Err(error) if is_lost_connection(error) => self.suspicion.raise(),
            Err(error) if is_barred(error) => self.suspicion.raise_now_and_then(),
            _ => {}
        }
        result
    }

    /// A connection of its own, outside the pool: for probes, migrations and locks.
    pub async fn connect(&self) -> Result<PgConnection> {
        let connecting = async { self.options.connect().await.map_err(Error::unavailable) };
        self.within(self.limits.begin, connecting).await
    }

    /// Hears what is told on a channel, on a connection of its own.
    pub async fn listen(&self, channel: &str) -> Result<Listener> {
        let pool =
            PgPoolOptions::new().max_connections(1).connect_lazy_with((*self.options).clone());
        let listening = async {
            let mut listener = PgListener::connect_with(&pool).await?;
            listener.listen(channel).await?;
            Ok(Listener(listener))
        };
        self.within(self.limits.begin, listening).await
    }

    /// All pooled connections are doubtful from now on.
    pub fn suspect(&self) {
        self.suspicion.raise();
    }

    /// Whether one of this age may tell less of the pool than a new one would.
    pub fn doubts(&self, age: Duration) -> bool {
        self.suspicion.covers(age) || self.shortage.covers(age)
    }

    /// Connections open, and of those idle.
    pub fn pool_size(&self) -> (u32, usize) {
        (self.pool.size(), self.pool.num_idle() + self.parked.len())
    }

    /// How long the luckiest waited for a connection since this was last asked.
    pub fn take_shortest_wait(&self) -> Option<Duration> {
        self.waits.take_shortest()
    }

    pub async fn close(&self) {
        self.parked.close();
        self.pool.close().await;
    }
}

/// Hears notifications; one that was sent while there was no connection is not heard.
pub struct Listener(PgListener);

impl Listener {
    /// The next message; an error when the connection is lost.
    pub async fn recv(&mut self) -> Result<String> {
        match self.0.try_recv().await? {
            Some(notification) => Ok(notification.payload().to_owned()),
            None => Err(Error::unavailable("the listening connection was lost")),
        }
    }
}

/// Retries a whole transaction that lost against another (serialization failure or deadlock).
pub async fn retry_conflicts<T, F: Future<Output = Result<T>>>(
    attempt: impl Fn() -> F,
) -> Result<T> {
    for _ in 0..CONFLICT_RETRIES {
        match attempt().await {
            Err(error) if is_conflict(&error) => {
                metrics::counter!(names::DB_CONFLICTS).increment(1)
            }
            result => return result,
        }
    }
    attempt().await
}

/// An advisory lock that ends with the transaction; false when another instance holds it.
pub async fn try_lock(tx: &mut PgConnection, key: i64) -> Result<bool> {
    let lock = sqlx::query_scalar("select pg_try_advisory_xact_lock($1)").bind(key);
    Ok(lock.fetch_one(tx).await?)
}

pub fn connect_options(config: &config::Database, url: &str) -> Result<PgConnectOptions> {
    let millis = |time: Duration| time.as_millis().to_string();
    // A message about the URL would repeat the password.
    let options: PgConnectOptions =
        url.parse().map_err(|_| Error::internal("the database URL cannot be read"))?;
    Ok(options.application_name("mainstay").options([
        ("statement_timeout", millis(config.statement_timeout)),
        ("lock_timeout", millis(config.lock_timeout)),
        ("idle_in_transaction_session_timeout", millis(config.idle_in_transaction_timeout)),
        ("client_connection_check_interval", "500".to_owned()),
        // Short queries with guesses that are far off: compiling one takes a second, running it 0.1.
        ("jit", "off".to_owned()),
        ("timezone", "UTC".to_owned()),
    ]))
}

async fn execute(conn: &mut PgConnection, command: &'static str) -> Result<()> {
    conn.execute(command).await?;
    Ok(())
}

/// Times a transaction or read by its name, also one that nobody waits for any more.
struct Watch {
    name: &'static str,
    operation: Operation,
}

impl Watch {
    fn start(name: &'static str) -> Self {
        Self { name, operation: Operation::db(name) }
    }

    /// What was refused was answered by the database all the same.
    fn stop<T>(mut self, result: Result<T>) -> Result<T> {
        let fault = |error: &&Error| matches!(error.kind(), Kind::Internal | Kind::Unavailable);
        let fault = result.as_ref().err().filter(fault);
        self.operation.end(fault.map(|error| error.code().as_str()));
        result
    }
}

impl Drop for Watch {
    fn drop(&mut self) {
        metrics::histogram!(names::DB_DURATION, "name" => self.name)
            .record(self.operation.elapsed().as_secs_f64());
    }
}
