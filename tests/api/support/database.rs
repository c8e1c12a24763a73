//! Databases: one migrated template per set of migrations, copied for each test.

use std::{
    process,
    sync::{
        OnceLock,
        atomic::{AtomicU32, Ordering},
    },
    thread::{self, JoinHandle},
};

use sqlx::{AssertSqlSafe, Connection, Executor, PgConnection};
use url::Url;

/// Serialises the making of the template over test binaries.
const TEMPLATE_LOCK: i64 = 20_261_121;

const AS_ROLE: (&str, &str) = ("options[role]", "mainstay_app");

/// The owner's URL of the same database.
pub fn owners_url(service_url: &str) -> String {
    let mut url = Url::parse(service_url).unwrap();
    let rest: Vec<(String, String)> =
        url.query_pairs().into_owned().filter(|(key, _)| key != AS_ROLE.0).collect();
    url.query_pairs_mut().clear().extend_pairs(rest);
    url.into()
}

pub struct Database {
    name: String,
}

impl Database {
    pub fn clone_of_template() -> Self {
        static NEXT: AtomicU32 = AtomicU32::new(0);
        let next = NEXT.fetch_add(1, Ordering::Relaxed);
        let name = format!("mainstay_test_{}_{next}", process::id());
        let create = format!("create database {name} template {}", template());
        on_server(async move |conn| {
            conn.execute(AssertSqlSafe(create)).await.unwrap();
        });
        Self { name }
    }

    pub fn name(&self) -> &str {
        &self.name
    }

    /// As the owner of everything.
    pub fn url(&self) -> String {
        url_of(&self.name)
    }

    /// As the role that the service has in production, where the server lets us make it.
    pub fn service_url(&self) -> String {
        let mut url = Url::parse(&self.url()).unwrap();
        if roles_exist() {
            url.query_pairs_mut().append_pair(AS_ROLE.0, AS_ROLE.1);
        }
        url.into()
    }
}

impl Drop for Database {
    /// Nobody waits for it: a connection that this thread is just opening would wait for us to
    /// go on, and Postgres for that connection. What is left at the end is swept by the next run.
    fn drop(&mut self) {
        let drop = format!("drop database if exists {} with (force)", self.name);
        on_thread(async move |conn| {
            let _ = conn.execute(AssertSqlSafe(drop)).await;
        });
    }
}

/// Databases of test runs that are over.
async fn sweep(conn: &mut PgConnection) {
    let names = sqlx::query_scalar(
        "select datname::text from pg_database where datname like 'mainstay_test_%'",
    );
    let names: Vec<String> = names.fetch_all(&mut *conn).await.unwrap();
    let runs = |name: &String| {
        let pid = name.split('_').nth(2).unwrap_or_default();
        std::path::Path::new("/proc").join(pid).exists()
    };
    for name in names.iter().filter(|name| !runs(name)) {
        let drop = format!("drop database if exists {name} with (force)");
        let _ = conn.execute(AssertSqlSafe(drop)).await;
    }
}

fn server_url() -> String {
    std::env::var("DATABASE_URL").expect("DATABASE_URL is not set: run `make test`")
}

fn url_of(database: &str) -> String {
    let mut url = Url::parse(&server_url()).unwrap();
    url.set_path(database);
    url.into()
}

fn on_server<T: Send + 'static>(
    work: impl AsyncFnOnce(&mut PgConnection) -> T + Send + 'static,
) -> T {
    on_thread(work).join().unwrap()
}

/// On a thread and runtime of its own, so that it works from `Drop` and from any runtime.
fn on_thread<T: Send + 'static>(
    work: impl AsyncFnOnce(&mut PgConnection) -> T + Send + 'static,
) -> JoinHandle<T> {
    let run = move || {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
        runtime.block_on(async move {
            let mut conn = PgConnection::connect(&server_url()).await.unwrap();
            let result = work(&mut conn).await;
            conn.close().await.unwrap();
            result
        })
    };
    thread::spawn(run)
}

/// Migrated once per process; made once per set of migrations.
fn template() -> &'static str {
    static NAME: OnceLock<String> = OnceLock::new();
    NAME.get_or_init(|| {
        let name = format!("mainstay_template_{}", fingerprint());
        let made = name.clone();
        on_server(async move |conn| make_template(conn, &made).await);
        name
    })
}

const ROLES: &str = include_str!("../../../deploy/postgres/roles.sql");

/// Whoever runs the tests on a server of their own may not be allowed to make roles there.
fn roles_exist() -> bool {
    static EXIST: OnceLock<bool> = OnceLock::new();
    *EXIST.get_or_init(|| {
        let usable = "select exists(select from pg_roles where rolname = 'mainstay_app'
            and pg_has_role(oid, 'member'))";
        let usable = on_server(async move |conn| {
            sqlx::query_scalar::<_, bool>(usable).fetch_one(conn).await.unwrap()
        });
        if !usable {
            eprintln!(
                "skipped: the service runs as the owner, for this server lets us make no role"
            );
        }
        usable
    })
}

async fn may_make_roles(conn: &mut PgConnection) -> bool {
    let superuser = "select rolsuper from pg_roles where rolname = current_user";
    sqlx::query_scalar(superuser).fetch_one(conn).await.unwrap()
}

fn fingerprint() -> String {
    let mut all: Vec<_> = std::fs::read_dir(concat!(env!("CARGO_MANIFEST_DIR"), "/migrations"))
        .unwrap()
        .map(|entry| entry.unwrap().path())
        .collect();
    all.sort();
    let mut text: Vec<u8> = all.iter().flat_map(|path| std::fs::read(path).unwrap()).collect();
    text.extend(ROLES.as_bytes());
    let digest = mainstay::shared::crypto::sha256(&text);
    digest[..6].iter().map(|byte| format!("{byte:02x}")).collect()
}

async fn make_template(conn: &mut PgConnection, name: &str) {
    let lock = sqlx::query("select pg_advisory_lock($1)").bind(TEMPLATE_LOCK);
    lock.execute(&mut *conn).await.unwrap();
    sweep(conn).await;
    let exists = sqlx::query_scalar("select exists(select from pg_database where datname = $1)");
    let exists: bool = exists.bind(name).fetch_one(&mut *conn).await.unwrap();
    if !exists {
        // Renamed when it is whole, so that a killed run leaves no half of one.
        let raw = format!("{name}_{}", process::id());
        conn.execute(AssertSqlSafe(format!("create database {raw}"))).await.unwrap();
        let vars = [("DATABASE_URL".to_owned(), url_of(&raw))].into();
        let config = super::config(&vars);
        mainstay::services::migrations::up(&config.database).await.unwrap();
        if may_make_roles(conn).await {
            let mut inside = PgConnection::connect(&url_of(&raw)).await.unwrap();
            inside.execute(ROLES).await.unwrap();
            inside.close().await.unwrap();
        }
        let rename = format!("alter database {raw} rename to {name}");
        conn.execute(AssertSqlSafe(rename)).await.unwrap();
    }
    let unlock = sqlx::query("select pg_advisory_unlock($1)").bind(TEMPLATE_LOCK);
    unlock.execute(conn).await.unwrap();
}
