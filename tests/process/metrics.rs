//! What Prometheus gets.

use std::{io::ErrorKind, process::Command, time::Duration};

use crate::support::{Database, Instance, Settings, command::finish, eventually, timing::say};

fn value(text: &str, name: &str) -> f64 {
    let line = text.lines().find_map(|line| line.strip_prefix(name)?.strip_prefix(' '));
    line.unwrap_or_else(|| panic!("no {name}")).parse().expect("a number")
}

#[tokio::test(flavor = "multi_thread")]
async fn promtool_finds_nothing_and_the_process_is_described() {
    let database = Database::create().await;
    let instance = Instance::ready(&Settings::new(&database.url).with_redis()).await;
    let tokens = instance.api.sign_in().await;
    instance.api.me(&tokens.access).await.expect(200);
    eventually("the runtime has been watched", async || {
        instance.api.get("/metrics").await.text.contains("runtime_lag_seconds_count")
    })
    .await;
    let text = instance.api.get("/metrics").await.expect(200).text;
    let age = std::time::UNIX_EPOCH.elapsed().expect("a clock").as_secs_f64()
        - value(&text, "process_start_time_seconds");
    assert!((-1.0..Duration::from_secs(60).as_secs_f64()).contains(&age), "started {age} s ago");
    assert!(value(&text, "process_cpu_seconds_total") > 0.0);
    assert!(value(&text, "process_resident_memory_bytes") > 4e6);
    let descriptors = value(&text, "process_open_fds");
    assert!(descriptors > 5.0 && descriptors < value(&text, "process_max_fds"));
    assert!(value(&text, "process_threads") > value(&text, "runtime_workers"));
    assert!(value(&text, "runtime_tasks_alive") > 5.0);
    assert!(value(&text, "runtime_busy_seconds_total") > 0.0);
    assert_eq!(value(&text, "ready"), 1.0);
    assert!(text.contains(&format!("build_info{{version=\"{}\"}} 1", env!("CARGO_PKG_VERSION"))));
    let mut promtool = Command::new("promtool");
    promtool.args(["check", "metrics"]);
    if Command::new("promtool")
        .arg("--version")
        .output()
        .is_err_and(|e| e.kind() == ErrorKind::NotFound)
    {
        return say("skipped: promtool (Debian's package prometheus) is not installed");
    }
    let said = finish(promtool, &text);
    assert!(said.success && said.all().is_empty(), "{}", said.all());
}
