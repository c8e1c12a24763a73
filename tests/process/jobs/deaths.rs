use std::time::{Duration, Instant};

use super::{
    each_effect_happened_once, enqueue, prepare, settings, stage, until_all_have_ended,
    worker::{Effect, Poison, Worker},
};
use crate::support::{Database, Services, Settings, eventually, within};

async fn runs(database: &Database, jobs: i64) {
    eventually("jobs run", async || {
        database.number("select count(*) from jobs where state = 'running'").await >= jobs
    })
    .await;
}

#[tokio::test]
async fn the_jobs_of_a_killed_worker_run_again_within_a_minute() {
    let (database, settings) = stage().await;
    let first = Worker::start(&settings);
    enqueue(&database, &Effect { wait_ms: 3000 }, 5).await;
    runs(&database, 5).await;
    let _second = Worker::start(&settings);
    eventually("the second registers", async || {
        database.number("select count(*) from job_workers").await == 2
    })
    .await;
    first.kill();
    // With a lease of a second; the default is fifteen, and the promise a minute.
    within("jobs of a killed worker are taken over", Duration::from_secs(4), async || {
        database.number("select count(*) from jobs where crashes = 1 and state = 'running'").await
            == 5
    })
    .await;
    until_all_have_ended(&database, Duration::from_secs(30)).await;
    each_effect_happened_once(&database, 5).await;
}

#[tokio::test]
async fn a_worker_that_was_stopped_and_continued_changes_nothing() {
    let (database, settings) = stage().await;
    stop_and_continue(&database, &settings, Duration::ZERO).await;
}

#[tokio::test]
#[ignore = "full size: make faults"]
async fn a_worker_that_was_stopped_for_two_minutes_changes_nothing() {
    let (database, settings) = stage().await;
    let settings = settings.set("APP__JOBS__LEASE", "15s");
    stop_and_continue(&database, &settings, Duration::from_secs(120)).await;
}

/// Stopped for `least`, and until a successor has done its jobs.
async fn stop_and_continue(database: &Database, settings: &Settings, least: Duration) {
    let mut sleeper = Worker::start(settings);
    enqueue(database, &Effect { wait_ms: 1500 }, 4).await;
    runs(database, 4).await;
    sleeper.signal("STOP");
    let stopped = Instant::now();
    let _successor = Worker::start(settings);
    until_all_have_ended(database, Duration::from_secs(30) + least).await;
    tokio::time::sleep(least.saturating_sub(stopped.elapsed())).await;
    sleeper.signal("CONT");
    // It finds its jobs taken, starts anew, and works again.
    eventually("it is a worker again", async || {
        database.number("select count(*) from job_workers").await == 2
    })
    .await;
    assert!(sleeper.exited().is_none());
    each_effect_happened_once(database, 4).await;
    enqueue(database, &Effect { wait_ms: 0 }, 50).await;
    until_all_have_ended(database, Duration::from_secs(30)).await;
    each_effect_happened_once(database, 54).await;
}

#[tokio::test]
async fn a_worker_that_is_asked_to_end_finishes_or_gives_back() {
    let (database, settings) = stage().await;
    let settings = settings.set("APP__JOBS__DRAIN_TIMEOUT", "1s");
    let mut worker = Worker::start(&settings);
    enqueue(&database, &Effect { wait_ms: 500 }, 2).await;
    enqueue(&database, &Effect { wait_ms: 20_000 }, 2).await;
    runs(&database, 4).await;
    let started = Instant::now();
    worker.signal("TERM");
    assert!(worker.exit().await.success());
    eprintln!("a worker with a drain of 1 s ended after {:?}", started.elapsed());
    each_effect_happened_once(&database, 2).await;
    let given_back =
        "select count(*) from jobs where state = 'pending' and attempts = 0 and crashes = 0
                      and run_at <= now()";
    assert_eq!(database.number(given_back).await, 2);
    assert_eq!(database.number("select count(*) from job_workers").await, 0);
}

#[tokio::test]
async fn a_job_that_kills_its_worker_dies_and_all_others_are_done() {
    let (database, settings) = stage().await;
    enqueue(&database, &Poison {}, 1).await;
    enqueue(&database, &Effect { wait_ms: 50 }, 60).await;
    // As a supervisor would.
    let mut workers = [Worker::start(&settings), Worker::start(&settings)];
    let started = Instant::now();
    let mut deaths = 0;
    while database
        .number("select count(*) from jobs where state not in ('succeeded', 'dead')")
        .await
        > 0
    {
        for worker in &mut workers {
            if worker.exited().is_some() {
                deaths += 1;
                *worker = Worker::start(&settings);
            }
        }
        assert!(started.elapsed() < Duration::from_secs(90), "not all have ended");
        tokio::time::sleep(Duration::from_millis(100)).await;
    }
    eprintln!("{deaths} workers died; all else was done after {:?}", started.elapsed());
    let dead = "select string_agg(kind, ',') from jobs where state = 'dead'";
    assert_eq!(database.text(dead).await, "test_poison");
    assert_eq!(database.number("select crashes::bigint from jobs where state = 'dead'").await, 3);
    each_effect_happened_once(&database, 60).await;
}

#[tokio::test]
async fn postgres_is_restarted_under_running_jobs() {
    let services = Services::private_postgres();
    let database = services.database();
    let settings = settings(&database.url);
    prepare(&database, &settings).await;
    let _workers = [Worker::start(&settings), Worker::start(&settings)];
    enqueue(&database, &Effect { wait_ms: 20 }, 400).await;
    for mode in ["fast", "immediate"] {
        runs(&database, 1).await;
        services.restart_postgres(mode);
    }
    until_all_have_ended(&database, Duration::from_secs(60)).await;
    each_effect_happened_once(&database, 400).await;
}

/// Deaths at any instant. A job that was there at three of them is dead by the rule for poison;
/// an operator retries it, and so does this test.
async fn random_deaths(jobs: u32, kills: u32, settings: &Settings, database: &Database) {
    let seed = std::time::UNIX_EPOCH.elapsed().map_or(1, |age| age.subsec_nanos()) | 1;
    eprintln!("random deaths with seed {seed}");
    let mut random = seed;
    let mut next = move |bound: u32| {
        random ^= random << 13;
        random ^= random >> 17;
        random ^= random << 5;
        random % bound
    };
    enqueue(database, &Effect { wait_ms: 60 }, jobs).await;
    let mut workers: Vec<_> = (0..3).map(|_| Worker::start(settings)).collect();
    for _ in 0..kills {
        tokio::time::sleep(Duration::from_millis(200 + u64::from(next(600)))).await;
        workers.swap_remove(next(3) as usize).kill();
        workers.push(Worker::start(settings));
    }
    until_all_have_ended(database, Duration::from_secs(180)).await;
    let condemned = database.number("select count(*) from jobs where state = 'dead'").await;
    let innocent = "select count(*) from jobs where state = 'dead' and crashes < 3";
    assert_eq!(database.number(innocent).await, 0, "dead without three lost workers");
    database
        .execute("update jobs set state = 'pending', crashes = 0, finished_at = null where state = 'dead'")
        .await;
    until_all_have_ended(database, Duration::from_secs(60)).await;
    let crashed = database.number("select count(*) from jobs where history <> '[]'").await;
    eprintln!(
        "{jobs} jobs, {kills} workers killed: {crashed} jobs lost a worker, {condemned} lost three"
    );
    each_effect_happened_once(database, i64::from(jobs)).await;
}

#[tokio::test]
async fn random_deaths_lose_and_double_nothing() {
    let (database, settings) = stage().await;
    random_deaths(500, 8, &settings, &database).await;
}

#[tokio::test]
#[ignore = "full size: make faults"]
async fn random_deaths_lose_and_double_nothing_in_full() {
    let (database, settings) = stage().await;
    random_deaths(5000, 60, &settings, &database).await;
}
