//! Bringing the schema up to date: once, however many instances start together, and without
//! ever waiting for a lock long enough to stop the traffic of the release before.

use std::time::{Duration, Instant};

use sqlx::{
    Connection, PgConnection,
    migrate::{Migrate, Migrator},
};

use crate::{
    config,
    db::{self, Db},
    error::{Error, Result},
};

static MIGRATOR: Migrator = sqlx::migrate!();

/// Any number will do, as long as it is always the same.
const ADVISORY_LOCK: i64 = 0x6d61_696e_7374_6179;
const RETRY: Duration = Duration::from_millis(250);

/// How far the database is.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Status {
    /// Known to this release, with their descriptions.
    pub known: Vec<(i64, String)>,
    pub applied: Vec<i64>,
}

impl Status {
    /// Known but not applied. Applied ones that are not known belong to a later release.
    pub fn pending(&self) -> Vec<i64> {
        let known = self.known.iter().map(|(version, _)| *version);
        known.filter(|version| !self.applied.contains(version)).collect()
    }
}

/// Applies what is missing, and tells how far the database is then. Waits for another instance
/// that does so, trying again and again instead of standing in the queue of a lock. Before the
/// first migration the service's own role may not even exist: all of it is the migrator's.
pub async fn up(config: &config::Database) -> Result<Status> {
    let mut conn = connect(config).await?;
    while !try_lock(&mut conn).await? {
        tokio::time::sleep(RETRY).await;
    }
    let result = match apply(&mut conn, config).await {
        Ok(()) => status_on(&mut conn).await,
        Err(error) => Err(error),
    };
    // The lock ends with the connection, whatever happens.
    let _ = conn.close().await;
    result
}

/// A table that is locked is waited for `lock_timeout` at a time, so that others get through.
async fn apply(conn: &mut PgConnection, config: &config::Database) -> Result<()> {
    let mut migrator = Migrator::with_migrations(MIGRATOR.iter().cloned().collect());
    // The lock is ours already; migrations of a later release are none of our business.
    migrator.set_locking(false).set_ignore_missing(true);
    let patience = 12 * config.migrate_lock_timeout;
    let (mut since, mut done) = (Instant::now(), 0);
    loop {
        let error = match migrator.run_direct(None, conn, false).await {
            Err(error) if is_lock_timeout(&error) => error,
            result => return result.map_err(Error::internal),
        };
        // Each migration has all the time to get its lock, however long those before it took.
        let applied = status_on(conn).await?.applied.len();
        if applied > done {
            (since, done) = (Instant::now(), applied);
        }
        if since.elapsed() > patience {
            return Err(Error::internal(error));
        }
        tracing::warn!("a migration waits for a locked table");
        tokio::time::sleep(RETRY).await;
    }
}

fn is_lock_timeout(error: &sqlx::migrate::MigrateError) -> bool {
    let source: Option<&sqlx::Error> = match error {
        sqlx::migrate::MigrateError::Execute(source)
        | sqlx::migrate::MigrateError::ExecuteMigration(source, _) => Some(source),
        _ => None,
    };
    source.and_then(|error| error.as_database_error()?.code()).is_some_and(|state| state == "55P03")
}

async fn connect(config: &config::Database) -> Result<PgConnection> {
    let url = config.migration_url.as_ref().unwrap_or(&config.url);
    let options = db::connect_options(config, url.expose())?.options([
        ("statement_timeout", "0".to_owned()),
        ("lock_timeout", config.migrate_lock_timeout.as_millis().to_string()),
    ]);
    Ok(PgConnection::connect_with(&options).await?)
}

async fn try_lock(conn: &mut PgConnection) -> Result<bool> {
    let lock = sqlx::query_scalar("select pg_try_advisory_lock($1)").bind(ADVISORY_LOCK);
    Ok(lock.fetch_one(conn).await?)
}

pub async fn status(db: &Db) -> Result<Status> {
    db.read("migrations.status", async |conn| status_on(conn).await).await
}

/// As [`status`], on a connection the caller has.
pub async fn status_on(conn: &mut PgConnection) -> Result<Status> {
    let exists: bool = sqlx::query_scalar("select to_regclass('_sqlx_migrations') is not null")
        .fetch_one(&mut *conn)
        .await?;
    let applied = match exists {
        true => conn
            .list_applied_migrations(&MIGRATOR.table_name)
            .await
            .map_err(Error::internal)?
            .into_iter()
            .map(|migration| migration.version)
            .collect(),
        false => Vec::new(),
    };
    Ok(Status { known: known(), applied })
}

fn known() -> Vec<(i64, String)> {
    MIGRATOR.iter().map(|one| (one.version, one.description.to_string())).collect()
}
