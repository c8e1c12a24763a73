//! Promises about time: polled for, asserted at three times their bound, the figure logged.

use std::{
    io::Write,
    time::{Duration, Instant},
};

const POLL: Duration = Duration::from_millis(10);

/// Until `done` says so; fails beyond three times `bound`.
pub async fn within(what: &str, bound: Duration, done: impl AsyncFnMut() -> bool) -> Duration {
    let took = wait(3 * bound, done).await;
    match took {
        Some(took) => note(what, took, bound),
        None => panic!("{what}: not within {:?}, promised within {bound:?}", 3 * bound),
    }
    took.unwrap_or_default()
}

/// Waits for something that has no promise about time.
pub async fn eventually(what: &str, done: impl AsyncFnMut() -> bool) {
    assert!(wait(Duration::from_secs(60), done).await.is_some(), "{what}: not within a minute");
}

/// The slowest but one in a hundred.
pub fn p99(mut times: Vec<Duration>) -> Duration {
    times.sort();
    times[(times.len() - 1) * 99 / 100]
}

pub fn median(mut times: Vec<Duration>) -> Duration {
    times.sort();
    times[times.len() / 2]
}

/// Asserts a duration that was measured.
pub fn kept(what: &str, took: Duration, bound: Duration) {
    note(what, took, bound);
    assert!(took <= 3 * bound, "{what}: took {took:?}, promised within {bound:?}");
}

/// Past the capture of the test harness, so that the figures of tests that pass are seen too.
pub fn say(text: &str) {
    let _ = writeln!(std::io::stderr(), "    {text}");
}

fn note(what: &str, took: Duration, bound: Duration) {
    say(&format!("{what}: {} ms (promised {} ms)", took.as_millis(), bound.as_millis()));
}

async fn wait(limit: Duration, mut done: impl AsyncFnMut() -> bool) -> Option<Duration> {
    let started = Instant::now();
    loop {
        if done().await {
            return Some(started.elapsed());
        }
        if started.elapsed() > limit {
            return None;
        }
        tokio::time::sleep(POLL).await;
    }
}
