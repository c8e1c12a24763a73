//! `database`: Postgres.

use super::fault::Faults;
use super::section::{Read, section};
use super::types::Secret;
use std::time::Duration;

section! {
    /// The pool of Postgres connections and the time limits that every one of them carries.
    pub struct Database ("database", drafted as DatabaseDraft) {
        /// `postgres://` URL.
        pub url: Secret,
        /// URL with the rights to change the schema, for `migrate up`; with none, `database.url`.
        pub migration_url: Option<Secret>,
        /// Connections of the pool; one listens, so at least 2.
        pub max_connections: u32,
        /// How long a request waits for a connection before it is answered 503.
        pub acquire_timeout: Duration,
        /// `statement_timeout` of a connection.
        pub statement_timeout: Duration,
        /// `lock_timeout` of a connection.
        pub lock_timeout: Duration,
        /// `idle_in_transaction_session_timeout` of a connection.
        pub idle_in_transaction_timeout: Duration,
        /// Whether `serve` applies missing migrations before it starts.
        pub migrate_on_start: bool,
        /// `lock_timeout` of a migration, which must not queue all traffic behind itself.
        pub migrate_lock_timeout: Duration,
    }
}

impl DatabaseDraft {
    pub(super) fn rules(&self, faults: &mut Faults) {
        let postgres = |url: &Secret| is_postgres(url);
        faults.must(&self.url, postgres, NOT_POSTGRES);
        let postgres = |url: &Option<Secret>| url.as_ref().is_none_or(is_postgres);
        faults.must(&self.migration_url, postgres, NOT_POSTGRES);
        faults.must(&self.max_connections, |count| *count >= 2, "must be at least 2");
        self.timeouts(faults);
    }

    fn timeouts(&self, faults: &mut Faults) {
        faults.positive(&self.acquire_timeout);
        for timeout in [
            &self.statement_timeout,
            &self.lock_timeout,
            &self.idle_in_transaction_timeout,
            &self.migrate_lock_timeout,
        ] {
            server_side(timeout, faults);
        }
        faults.less(&self.acquire_timeout, &self.statement_timeout);
        faults.less(&self.lock_timeout, &self.statement_timeout);
    }
}

/// Postgres counts whole milliseconds in 32 bits, and takes 0 for "no limit".
fn server_side(timeout: &Read<Duration>, faults: &mut Faults) {
    let range = Duration::from_millis(1)..=Duration::from_hours(24);
    faults.must(timeout, |value| range.contains(value), "must be from 1ms to 1d");
}

const NOT_POSTGRES: &str = "must be a postgres:// URL";

fn is_postgres(url: &Secret) -> bool {
    let url = url::Url::parse(url.expose());
    url.is_ok_and(|url| matches!(url.scheme(), "postgres" | "postgresql"))
}
