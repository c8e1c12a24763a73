//! How the async runtime fares: what it has to do, and how late it is in doing it.

use std::time::Duration;

use metrics_exporter_prometheus::PrometheusHandle;
use tokio::{
    runtime::Handle,
    time::{Instant, sleep},
};

use super::metrics as names;

const TICK: Duration = Duration::from_millis(250);
/// Samples wait in memory until they are sorted into buckets; a scrape does that too, but nobody
/// may scrape.
const TICKS_PER_UPKEEP: u32 = 20;

/// Metrics and their values, inside of the runtime.
pub fn figures() -> Vec<(&'static str, f64)> {
    let Ok(handle) = Handle::try_current() else { return Vec::new() };
    let runtime = handle.metrics();
    let workers = runtime.num_workers();
    let busy: Duration = (0..workers).map(|it| runtime.worker_total_busy_duration(it)).sum();
    vec![
        (names::RUNTIME_WORKERS, workers as f64),
        (names::RUNTIME_TASKS, runtime.num_alive_tasks() as f64),
        (names::RUNTIME_QUEUE, runtime.global_queue_depth() as f64),
        (names::RUNTIME_BUSY, busy.as_secs_f64()),
    ]
}

/// Measures how late a task is woken: by as much is every request late at each of its steps.
pub async fn watch(recorder: PrometheusHandle) {
    loop {
        for _ in 0..TICKS_PER_UPKEEP {
            let due = Instant::now() + TICK;
            sleep(TICK).await;
            metrics::histogram!(names::RUNTIME_LAG).record(due.elapsed().as_secs_f64());
        }
        recorder.run_upkeep();
    }
}
