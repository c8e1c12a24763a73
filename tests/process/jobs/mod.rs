//! Workers that are killed, stopped, continued and asked to end, and a database that is restarted
//! under them: every effect happens exactly once, and no job is lost.

mod backlog;
mod deaths;
mod worker;

use std::time::{Duration, Instant};

use mainstay::domain::jobs::Payload;

use crate::support::{Database, Settings, command};

/// A database with the schema and a table of effects.
async fn stage() -> (Database, Settings) {
    let database = Database::create().await;
    let settings = settings(&database.url);
    prepare(&database, &settings).await;
    (database, settings)
}

fn settings(url: &str) -> Settings {
    Settings::new(url)
        .set("APP__JOBS__LEASE", "1s")
        .set("APP__SERVER__DRAIN_DELAY", "0s")
        .set("APP__DATABASE__MIGRATE_ON_START", "false")
}

async fn prepare(database: &Database, settings: &Settings) {
    command::run(settings, &["migrate", "up"]).expect("migrate up");
    database.execute("create table effects (job uuid not null)").await;
}

/// Adds jobs as another release, or a script, might.
async fn enqueue<P: Payload>(database: &Database, payload: &P, count: u32) {
    let kind = P::KIND;
    let payload = serde_json::to_string(payload).unwrap();
    database
        .execute(&format!(
            "insert into jobs (id, queue, kind, payload, priority, run_at, max_attempts, request_id)
             select gen_random_uuid(), 'default', '{kind}', '{payload}', 2, clock_timestamp(), 50, 'test'
             from generate_series(1, {count})"
        ))
        .await;
}

async fn unfinished(database: &Database) -> i64 {
    database.number("select count(*) from jobs where state not in ('succeeded', 'dead')").await
}

/// Until every job has ended; longer than `eventually` waits.
async fn until_all_have_ended(database: &Database, limit: Duration) {
    let started = Instant::now();
    while unfinished(database).await > 0 {
        assert!(started.elapsed() < limit, "{} jobs have not ended", unfinished(database).await);
        tokio::time::sleep(Duration::from_millis(50)).await;
    }
}

async fn each_effect_happened_once(database: &Database, jobs: i64) {
    assert_eq!(database.number("select count(*) from effects").await, jobs, "effects");
    assert_eq!(database.number("select count(distinct job) from effects").await, jobs, "jobs");
    let lost = "select count(*) from jobs where state = 'succeeded' and kind = 'test_effect'
                and id not in (select job from effects)";
    assert_eq!(database.number(lost).await, 0, "marked without an effect");
}
