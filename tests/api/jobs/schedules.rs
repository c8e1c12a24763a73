//! What starts by the clock.

use std::time::Duration;

use super::{
    super::support::{TestApp, eventually},
    kinds,
};

#[tokio::test]
async fn each_tick_fires_once_over_three_instances() {
    let app = TestApp::working(kinds::ticking, &[]).await;
    let (_second, _third) = (app.sibling().await, app.sibling().await);
    eventually("it ticks four times", async || {
        app.count("select count(*) from jobs where kind = 'test_ticked'").await >= 4
    })
    .await;
    let doubled =
        "select count(*) - count(distinct request_id) from jobs where kind = 'test_ticked'";
    assert_eq!(app.count(doubled).await, 0);
    let spread = "select (extract(epoch from max(created_at) - min(created_at)) + 1.5)::bigint
                  from jobs where kind = 'test_ticked'";
    let (jobs, seconds) = (
        app.count("select count(*) from jobs where kind = 'test_ticked'").await,
        app.count(spread).await,
    );
    assert!(jobs <= seconds, "{jobs} jobs in {seconds} s");
}

/// A clock that steps back leaves the next tick in the future; ticks that were missed are one.
#[tokio::test]
async fn a_clock_that_is_set_fires_nothing_twice() {
    let app = TestApp::working(kinds::ticking, &[]).await;
    eventually("it ticks", async || app.count("select count(*) from jobs").await >= 1).await;
    app.execute("update job_schedules set next_at = now() + interval '1 hour'").await;
    tokio::time::sleep(Duration::from_millis(200)).await;
    let before = app.count("select count(*) from jobs").await;
    tokio::time::sleep(Duration::from_millis(2500)).await;
    assert_eq!(app.count("select count(*) from jobs").await, before);
    app.execute("update job_schedules set next_at = now() - interval '1 hour'").await;
    eventually("it catches up", async || app.count("select count(*) from jobs").await > before)
        .await;
    assert!(app.count("select count(*) from jobs").await <= before + 2);
    let behind = "select count(*) from job_schedules where next_at < now() - interval '1 minute'";
    assert_eq!(app.count(behind).await, 0);
}
