//! A worker process with kinds of jobs that leave a trace: this very binary, started again. What
//! it runs is the product's own `App::work`; only the kinds are the tests'.

use std::{
    path::Path,
    process::{Child, Command, ExitStatus, Stdio},
    sync::OnceLock,
    time::Duration,
};

use mainstay::{
    app::App,
    config::{Config, Inputs},
    db::Db,
    domain::jobs::{Backoff, Payload, Policy},
    jobs::{Context, Done, Outcome, Registry, Run},
    server::Exit,
};
use serde::{Deserialize, Serialize};

use crate::support::{Settings, command, eventually};

/// Set for a process that is to be a worker.
const MARK: &str = "MAINSTAY_TEST_WORKER";

static DB: OnceLock<Db> = OnceLock::new();

/// Waits, then counts itself in `effects`, in the transaction that settles it.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct Effect {
    pub wait_ms: u64,
}

impl Payload for Effect {
    const KIND: &'static str = "test_effect";
}

impl Run for Effect {
    const POLICY: Policy = Policy {
        max_attempts: 50,
        backoff: Backoff::Exponential {
            first: Duration::from_millis(100),
            longest: Duration::from_secs(1),
        },
        ..Policy::DEFAULT
    };

    async fn run(self, context: &Context) -> Outcome {
        tokio::time::sleep(Duration::from_millis(self.wait_ms)).await;
        let db = DB.get().expect("the worker has a database");
        db.tx("test.effect", async |tx| {
            sqlx::query("insert into effects (job) values ($1)")
                .bind(context.lease.job.0)
                .execute(&mut *tx)
                .await?;
            context.services.jobs.settle(tx, context.lease).await
        })
        .await?;
        Ok(Done::Settled)
    }
}

/// Kills its worker.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct Poison {}

impl Payload for Poison {
    const KIND: &'static str = "test_poison";
}

impl Run for Poison {
    const POLICY: Policy = Policy::DEFAULT;

    async fn run(self, _: &Context) -> Outcome {
        std::process::abort()
    }
}

pub fn kinds() -> Registry {
    Registry::default().with::<Effect>().with::<Poison>()
}

/// The entry of the worker process; for everybody else a test without content.
#[test]
#[ignore = "started by the tests of this folder"]
fn worker_process() {
    if std::env::var_os(MARK).is_none() {
        return;
    }
    let config = Config::load(&Inputs::from_process()).expect("the settings hold");
    mainstay::telemetry::logs::install(&config.log).expect("a log");
    mainstay::telemetry::metrics::install();
    let runtime = tokio::runtime::Builder::new_multi_thread().enable_all().build().unwrap();
    let exit = runtime.block_on(async {
        let app = App::with_jobs(config, kinds()).expect("the parts fit");
        DB.set(app.db.clone()).ok();
        app.work().await.expect("it listens")
    });
    std::process::exit(i32::from(exit == Exit::Forced));
}

pub struct Worker(Child);

impl Worker {
    pub fn start(settings: &Settings) -> Self {
        let program = std::env::current_exe().expect("this program has a path");
        let given = settings.command(&[]);
        let given = given.get_envs().filter_map(|(name, value)| Some((name, value?)));
        let mut worker = Command::new(program);
        worker.args(["jobs::worker::worker_process", "--exact", "--ignored", "--nocapture"]);
        worker.env_clear().envs(given).env(MARK, "1").current_dir(Path::new("/"));
        worker.stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::null());
        Self(worker.spawn().expect("the worker starts"))
    }

    pub fn signal(&self, name: &str) {
        command::kill(name, &[self.0.id()]);
    }

    pub fn exited(&mut self) -> Option<ExitStatus> {
        self.0.try_wait().expect("a child can be asked")
    }

    pub async fn exit(&mut self) -> ExitStatus {
        let mut status = None;
        eventually("the worker ends", async || {
            status = self.exited();
            status.is_some()
        })
        .await;
        status.expect("it has ended")
    }

    /// Without warning.
    pub fn kill(mut self) {
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

impl Drop for Worker {
    fn drop(&mut self) {
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}
