//! A running `mainstay serve`, killed when it goes out of scope.

use std::{
    io::{BufRead, BufReader, Read},
    path::Path,
    process::{Child, Command, ExitStatus, Stdio},
    sync::{Arc, Mutex},
    thread,
    time::Duration,
};

use super::{Api, Settings, command, eventually};

const LINES_SHOWN: usize = 40;

pub struct Instance {
    child: Child,
    log: Log,
    pub api: Api,
}

/// What a process has written to either stream.
#[derive(Clone, Default)]
struct Log(Arc<Mutex<String>>);

impl Instance {
    /// Returns when it listens, ready or not.
    pub async fn start(settings: &Settings) -> Self {
        Self::start_in(settings, Path::new("/")).await
    }

    pub async fn start_in(settings: &Settings, folder: &Path) -> Self {
        let mut command = settings.command(&["serve"]);
        command.current_dir(folder);
        Self::spawn(command).await
    }

    /// A `mainstay worker`, ready.
    pub async fn worker(settings: &Settings) -> Self {
        let instance = Self::spawn(settings.command(&["worker"])).await;
        instance.becomes_ready().await;
        instance
    }

    /// With so many descriptors and no more.
    pub async fn start_limited(settings: &Settings, descriptors: u64) -> Self {
        let limit = format!("ulimit -n {descriptors}; exec \"$0\" serve");
        Self::spawn(settings.command_in_shell(&limit)).await
    }

    /// Whatever serves when it is started like this.
    pub async fn spawn(mut command: Command) -> Self {
        command.stdin(Stdio::null());
        let mut child = command.stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().unwrap();
        let log = Log::default();
        log.follow(child.stdout.take().expect("a pipe"));
        log.follow(child.stderr.take().expect("a pipe"));
        // Owned before anything can fail, so that it is killed then.
        let mut instance = Self { child, log, api: Api::new("") };
        let address = instance.wait_until_it_listens().await;
        instance.api = Api::new(&format!("http://{address}"));
        instance
    }

    /// Returns when it is ready.
    pub async fn ready(settings: &Settings) -> Self {
        let instance = Self::start(settings).await;
        instance.becomes_ready().await;
        instance
    }

    pub async fn becomes_ready(&self) {
        eventually("the instance becomes ready", async || {
            self.api.get("/health/ready").await.status == 200
        })
        .await;
    }

    async fn wait_until_it_listens(&mut self) -> String {
        let mut address = None;
        eventually("the instance listens", async || {
            address = self.log().lines().find_map(listening_address);
            assert!(address.is_some() || self.exited().is_none(), "it ends at start");
            address.is_some()
        })
        .await;
        address.expect("it listens")
    }

    pub fn pid(&self) -> u32 {
        self.child.id()
    }

    pub fn signal(&self, name: &str) {
        command::kill(name, &[self.pid()]);
    }

    pub fn log(&self) -> String {
        self.log.0.lock().unwrap().clone()
    }

    pub fn exited(&mut self) -> Option<ExitStatus> {
        self.child.try_wait().expect("a child can be asked")
    }

    pub async fn exit(&mut self) -> ExitStatus {
        let mut status = None;
        eventually("the process ends", async || {
            status = self.exited();
            status.is_some()
        })
        .await;
        status.expect("it has ended")
    }

    /// The end of what it wrote may still be in the pipe.
    pub async fn whole_log(&self) -> String {
        tokio::time::sleep(Duration::from_millis(100)).await;
        self.log()
    }
}

impl Drop for Instance {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
        if thread::panicking() {
            let log = self.log();
            let plain = |line: &&str| !(line.contains("mainstay::access") && line.contains("INFO"));
            let lines: Vec<_> = log.lines().filter(plain).collect();
            let from = lines.len().saturating_sub(LINES_SHOWN);
            eprintln!(
                "--- the last lines of {}, requests left out:\n{}",
                self.pid(),
                lines[from..].join("\n")
            );
        }
    }
}

impl Log {
    fn follow(&self, stream: impl Read + Send + 'static) {
        let log = self.0.clone();
        thread::spawn(move || {
            let mut stream = BufReader::new(stream);
            let mut line = Vec::new();
            while stream.read_until(b'\n', &mut line).is_ok_and(|read| read > 0) {
                log.lock().unwrap().push_str(&String::from_utf8_lossy(&line));
                line.clear();
            }
        });
    }
}

/// Of the line that says so, in JSON or for people.
pub fn listening_address(line: &str) -> Option<String> {
    if let Ok(line) = serde_json::from_str::<serde_json::Value>(line) {
        return (line["message"] == "listening")
            .then(|| line["address"].as_str().map(str::to_owned))?;
    }
    let (_, address) = line.split_once(": listening address=")?;
    address.split_whitespace().next().map(str::to_owned)
}
