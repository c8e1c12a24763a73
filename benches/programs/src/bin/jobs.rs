//! `jobs work` is the product's worker with one kind of job, which does nothing; `jobs feed N MS`
//! adds N such jobs, one every MS milliseconds, each in a transaction of its own.

use std::time::Duration;

use mainstay::{
    app::App,
    config::{Config, Inputs},
    domain::{
        audit::Origin,
        jobs::{Payload, Policy},
    },
    jobs::{Context, Done, Outcome, Registry, Run},
    telemetry,
};
use serde::{Deserialize, Serialize};

type Failure = Box<dyn std::error::Error + Send + Sync>;

#[derive(Debug, Serialize, Deserialize)]
struct Nothing {}

impl Payload for Nothing {
    const KIND: &'static str = "bench_nothing";
}

impl Run for Nothing {
    const POLICY: Policy = Policy::DEFAULT;

    async fn run(self, _: &Context) -> Outcome {
        Ok(Done::Plain)
    }
}

async fn feed(app: &App, jobs: u32, every: Duration) -> Result<(), Failure> {
    app.start();
    let origin = Origin { address: None, user_agent: None, request_id: "bench".to_owned() };
    let mut tick = tokio::time::interval(every);
    for _ in 0..jobs {
        tick.tick().await;
        let queue = &app.services.jobs;
        app.db.tx("bench.feed", async |tx| queue.enqueue(tx, &Nothing {}, &origin).await).await?;
    }
    // What wakes the workers is sent after the commit.
    tokio::time::sleep(Duration::from_millis(200)).await;
    Ok(())
}

#[tokio::main]
async fn main() -> Result<(), Failure> {
    let config = Config::load(&Inputs::from_process())?;
    // All that the product does for a job is part of what a job costs.
    telemetry::logs::install(&config.log)?;
    telemetry::metrics::install();
    let app = App::with(config, Registry::default().with::<Nothing>(), Vec::new())?;
    let words: Vec<_> = std::env::args().skip(1).collect();
    match words.iter().map(String::as_str).collect::<Vec<_>>()[..] {
        ["work"] => app.work().await.map(drop)?,
        ["feed", jobs, ms] => feed(&app, jobs.parse()?, Duration::from_millis(ms.parse()?)).await?,
        _ => return Err("usage: jobs work | jobs feed N MS".into()),
    }
    Ok(())
}
