//! Whoever reads the log may stop reading: the service goes on as before, and ends in time.

use std::{
    io::{BufRead, BufReader, PipeReader},
    process::{Child, Stdio},
    time::{Duration, Instant},
};

use crate::support::{
    Api, Database, Settings,
    command::kill,
    eventually,
    instance::listening_address,
    timing::{kept, median, p99, say},
};

/// A service whose output nobody reads any more once it listens.
struct Unread {
    child: Child,
    api: Api,
    _pipe: BufReader<PipeReader>,
}

impl Unread {
    fn start(settings: &Settings) -> Self {
        let (pipe, output) = std::io::pipe().expect("a pipe");
        let mut command = settings.command(&["serve"]);
        command.stdin(Stdio::null()).stdout(output.try_clone().expect("a pipe")).stderr(output);
        let child = command.spawn().expect("it starts");
        // With it goes our end of the pipe for writing.
        drop(command);
        let mut pipe = BufReader::new(pipe);
        let mut line = String::new();
        let address = loop {
            line.clear();
            assert!(pipe.read_line(&mut line).expect("a line") > 0, "it ends at start");
            if let Some(address) = listening_address(&line) {
                break address;
            }
        };
        Self { child, api: Api::new(&format!("http://{address}")), _pipe: pipe }
    }

    async fn measure(&self, path: &str, requests: usize) -> Vec<Duration> {
        let mut times = Vec::new();
        for _ in 0..requests {
            let started = Instant::now();
            self.api.get(path).await.expect(404);
            times.push(started.elapsed());
        }
        times
    }

    async fn dropped_lines(&self) -> u64 {
        let metrics = self.api.get("/metrics").await.expect(200).text;
        let line = metrics.lines().find_map(|line| line.strip_prefix("log_lines_dropped_total "));
        line.map_or(0, |number| number.parse().expect("a number"))
    }
}

impl Drop for Unread {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_log_that_nobody_reads_costs_requests_nothing_and_does_not_hold_the_end() {
    let database = Database::create().await;
    let mut service = Unread::start(&Settings::new(&database.url).with_redis());
    eventually("it is ready", async || service.api.get("/health/ready").await.status == 200).await;
    // Each line of the log repeats the path: this many fill the pipe and the buffer behind it.
    let path = format!("/api/v1/{}", "x".repeat(7000));
    let before = service.measure(&path, 300).await;
    assert_eq!(service.dropped_lines().await, 0);
    while service.dropped_lines().await == 0 {
        service.measure(&path, 100).await;
    }
    let after = service.measure(&path, 300).await;
    let (p99_before, p99_after) = (p99(before.clone()), p99(after.clone()));
    say(&format!("p99 with room {p99_before:?}, with none {p99_after:?}"));
    // The median: a writer that waits holds up every request, a busy machine some of them.
    let (before, after) = (median(before), median(after));
    assert!(after <= 3 * before.max(Duration::from_millis(10)), "{before:?}, then {after:?}");
    assert!(service.dropped_lines().await >= 300);
    let started = Instant::now();
    kill("TERM", &[service.child.id()]);
    let mut status = None;
    eventually("the process ends", async || {
        status = service.child.try_wait().expect("a child can be asked");
        status.is_some()
    })
    .await;
    assert!(status.expect("it has ended").success());
    kept("the end with a log that nobody reads", started.elapsed(), Duration::from_secs(3));
}
