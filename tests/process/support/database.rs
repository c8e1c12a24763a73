//! A database of one's own, and a look into it past the service.

use std::thread;

use sqlx::{
    Connection, Executor, PgConnection, Row,
    postgres::{PgConnectOptions, PgRow},
};

use super::{eventually, required, unique};

pub struct Database {
    pub url: String,
    /// Where to drop it at the end, and its name; nothing for that of private services.
    made: Option<(String, String)>,
}

impl Database {
    /// A fresh one on the server that all tests share.
    pub async fn create() -> Self {
        let server = required("DATABASE_URL");
        let name = unique("mainstay_process");
        let mut conn = connect(&server).await;
        execute(&mut conn, &format!("create database {name}")).await;
        let mut url = url::Url::parse(&server).expect("DATABASE_URL is a URL");
        url.set_path(&name);
        Self { url: url.into(), made: Some((server, name)) }
    }

    /// One that somebody else takes care of.
    pub fn existing(url: &str) -> Self {
        Self { url: url.to_owned(), made: None }
    }

    pub fn name(&self) -> String {
        let url = url::Url::parse(&self.url).expect("a Postgres URL");
        url.path().trim_start_matches('/').to_owned()
    }

    pub async fn connect(&self) -> PgConnection {
        connect(&self.url).await
    }

    /// The one number a query answers.
    pub async fn number(&self, query: &str) -> i64 {
        self.row(query).await.get(0)
    }

    pub async fn text(&self, query: &str) -> String {
        self.row(query).await.get(0)
    }

    pub async fn row(&self, query: &str) -> PgRow {
        let mut conn = self.connect().await;
        let row = conn.fetch_one(sqlx::AssertSqlSafe(query.to_owned())).await;
        row.unwrap_or_else(|error| panic!("{query}: {error}"))
    }

    pub async fn execute(&self, query: &str) {
        execute(&mut self.connect().await, query).await;
    }

    /// Connections of the service by their state, such as `idle` or `idle in transaction`.
    pub async fn backends(&self, condition: &str) -> i64 {
        self.number(&format!(
            "select count(*) from pg_stat_activity where datname = current_database()
             and application_name = 'mainstay' and {condition}"
        ))
        .await
    }

    /// No transaction is open and nothing runs. The service asks now and then, so it is looked
    /// for a quiet moment; an abandoned transaction would last.
    pub async fn is_at_rest(&self) {
        eventually("every connection of the service is idle", async || {
            self.backends("state <> 'idle'").await == 0
        })
        .await;
        assert_eq!(self.backends("state like 'idle in transaction%'").await, 0);
    }
}

/// A table that nobody else can use until this is released or dropped.
pub struct Lock(PgConnection);

impl Database {
    pub async fn lock(&self, table: &str) -> Lock {
        let mut conn = self.connect().await;
        execute(&mut conn, "begin").await;
        execute(&mut conn, &format!("lock table {table} in access exclusive mode")).await;
        Lock(conn)
    }

    /// Connections of the service that stand before a lock.
    pub async fn waiting(&self) -> i64 {
        self.backends("wait_event_type = 'Lock'").await
    }
}

impl Lock {
    pub async fn release(mut self) {
        execute(&mut self.0, "commit").await;
    }
}

impl Drop for Database {
    fn drop(&mut self) {
        let Some((server, name)) = self.made.take() else { return };
        // A test's own runtime cannot be waited for inside of it.
        let dropping = thread::spawn(move || {
            let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build();
            runtime.expect("a runtime").block_on(async {
                let drop_it = format!("drop database if exists {name} with (force)");
                execute(&mut connect(&server).await, &drop_it).await;
            });
        });
        if dropping.join().is_err() {
            eprintln!("a database of the tests could not be dropped");
        }
    }
}

pub async fn connect(url: &str) -> PgConnection {
    let options: PgConnectOptions = url.parse().expect("a Postgres URL");
    let conn = PgConnection::connect_with(&options.application_name("tests")).await;
    conn.unwrap_or_else(|error| panic!("the tests cannot reach Postgres: {error}"))
}

pub async fn execute(conn: &mut PgConnection, query: &str) {
    let done = conn.execute(sqlx::AssertSqlSafe(query.to_owned())).await;
    done.unwrap_or_else(|error| panic!("{query}: {error}"));
}
