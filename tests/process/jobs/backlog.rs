//! A claim out of a huge backlog.

use std::time::{Duration, Instant};

use mainstay::{
    app::App,
    config::{Config, Inputs},
    domain::{ids::WorkerId, jobs::Queue},
};
use serde_json::Value;

use super::{enqueue, stage, worker};

/// Half of it is due, half waits for tomorrow.
async fn claims_are_quick(jobs: u32, bound: Duration) {
    let (database, settings) = stage().await;
    enqueue(&database, &worker::Effect { wait_ms: 0 }, jobs / 2).await;
    database.execute("update jobs set run_at = run_at + interval '1 day'").await;
    enqueue(&database, &worker::Effect { wait_ms: 0 }, jobs / 2).await;
    database.execute("vacuum analyze jobs").await;
    let given = settings.command(&[]);
    let vars = given
        .get_envs()
        .filter_map(|(name, value)| Some((name.to_str()?.to_owned(), value?.to_str()?.to_owned())));
    let config = Config::load(&Inputs { vars: vars.collect(), config_dir: None }).unwrap();
    let app = App::with_jobs(config, worker::kinds()).unwrap();
    let claims = app.services.jobs.claims();
    let id = WorkerId(app.clock.new_id());
    claims.register(id, &[Queue::Default]).await.unwrap();
    let mut times = Vec::new();
    for _ in 0..400 {
        let started = Instant::now();
        let claimed = claims.claim(id, Queue::Default, &mut 0, 16).await.unwrap();
        times.push(started.elapsed());
        let leases: Vec<_> = claimed.iter().map(|job| job.lease).collect();
        assert_eq!(leases.len(), 16);
        claims.succeed(&leases, &vec![Value::Null; 16]).await.unwrap();
    }
    times.sort();
    let (p50, p99) = (times[200], times[396]);
    eprintln!("claim of 16 out of {jobs} jobs: p50 {p50:?}, p99 {p99:?}, longest {:?}", times[399]);
    assert!(p99 <= bound, "p99 {p99:?}");
}

#[tokio::test]
async fn a_claim_out_of_a_backlog_is_quick() {
    claims_are_quick(50_000, Duration::from_millis(150)).await;
}

#[tokio::test]
#[ignore = "full size: make faults"]
async fn a_claim_out_of_a_million_jobs_is_quick() {
    claims_are_quick(1_000_000, Duration::from_millis(50)).await;
}
