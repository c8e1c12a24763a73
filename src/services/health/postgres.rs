//! Whether Postgres would serve the pool, as a session of the probe's own tells.

use std::time::Duration;

use sqlx::PgConnection;
use tokio::time::{Instant, timeout};

use super::Check;
use crate::{
    db::{self, Db},
    error::Result,
    services::migrations,
};

/// A dependency that takes longer to say hello is as good as gone.
const PATIENCE: Duration = Duration::from_secs(2);
/// An open session says nothing of the next one: the password may have changed, the settings of the
/// role, or the host that the name leads to.
const RENEW_AFTER: Duration = Duration::from_secs(30);

pub struct Session {
    conn: PgConnection,
    opened: Instant,
}

pub struct Finding {
    pub postgres: Check,
    /// `None` when nothing new is known.
    pub migrations: Option<Check>,
}

impl Finding {
    fn down(detail: &'static str) -> Self {
        let migrations = Some(Check::unavailable("unknown"));
        Self { postgres: Check::unavailable(detail), migrations }
    }
}

impl Session {
    async fn open(db: &Db) -> Result<Self> {
        let opened = Instant::now();
        Ok(Self { conn: db.connect().await?, opened })
    }

    /// Not when the pool has met what this one has not.
    fn tells_of_new_ones(&self, db: &Db) -> bool {
        let age = self.opened.elapsed();
        age < RENEW_AFTER && !db.doubts(age)
    }
}

/// The session is kept for the next time if it is worth it.
pub async fn ask(db: &Db, kept: Option<Session>) -> (Option<Session>, Finding) {
    let kept = kept.filter(|session| session.tells_of_new_ones(db));
    match timeout(PATIENCE, examine(db, kept)).await {
        Ok(Ok((session, finding))) => (finding.postgres.is_up().then_some(session), finding),
        Ok(Err(error)) if db::is_full(&error) => {
            // The pool may have sessions, which a load balancer should not take from the clients.
            let postgres = Check::degraded("has no room for another connection");
            (None, Finding { postgres, migrations: None })
        }
        Ok(Err(_)) => (None, Finding::down("does not answer")),
        Err(_) => (None, Finding::down("does not answer in time")),
    }
}

async fn examine(db: &Db, kept: Option<Session>) -> Result<(Session, Finding)> {
    let mut session = match kept {
        Some(session) => session,
        None => Session::open(db).await?,
    };
    let postgres = match db::may_write(&mut session.conn).await? {
        true => Check::ok(),
        false => Check::unavailable("only reads"),
    };
    let status = migrations::status_on(&mut session.conn).await?;
    let migrations = Some(Check::of_migrations(status.pending().len()));
    Ok((session, Finding { postgres, migrations }))
}
