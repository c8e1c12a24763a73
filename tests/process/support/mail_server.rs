//! Mail servers that others wrote.

use std::{
    path::Path,
    process::{Child, Command, Stdio},
    time::Duration,
};

use tokio::net::TcpStream;

use super::{command, nginx::free_port, timing::say, unique};

pub struct MailServer {
    child: Child,
    port: u16,
    output: std::path::PathBuf,
}

/// What `.ci/mail-server` ends with where the server cannot be had.
const SKIPPED: i32 = 77;
/// It may have to be fetched first.
const PATIENCE: Duration = Duration::from_secs(180);

impl MailServer {
    /// `None`, with a word, where there is neither the server nor a way to install it.
    pub async fn start(name: &str, more_ports: &[u16]) -> Option<Self> {
        let script = Path::new(env!("CARGO_MANIFEST_DIR")).join(".ci/mail-server");
        let (port, output) = (free_port(), std::env::temp_dir().join(unique(name)));
        let written = std::fs::File::create(&output).expect("a file");
        let ports = [&[port], more_ports].concat();
        let mut command = Command::new(script);
        command.arg(name).args(ports.iter().map(u16::to_string));
        command.stdin(Stdio::null()).stdout(written).stderr(Stdio::inherit());
        let mut server = Self { child: command.spawn().expect("bash is there"), port, output };
        let up = tokio::time::timeout(PATIENCE, server.is_up(&ports)).await;
        up.unwrap_or_else(|_| panic!("{name} does not listen")).then_some(server)
    }

    async fn is_up(&mut self, ports: &[u16]) -> bool {
        for port in ports {
            while TcpStream::connect(("127.0.0.1", *port)).await.is_err() {
                if let Some(status) = self.child.try_wait().expect("it is ours") {
                    assert_eq!(status.code(), Some(SKIPPED), "the mail server has ended");
                    say("skipped: a mail server that cannot be installed here");
                    return false;
                }
                tokio::time::sleep(Duration::from_millis(50)).await;
            }
        }
        true
    }

    pub fn url(&self) -> String {
        format!("smtp://127.0.0.1:{}", self.port)
    }

    /// The lines it has written.
    pub fn told(&self) -> Vec<serde_json::Value> {
        let written = std::fs::read_to_string(&self.output).expect("its output");
        let whole = written.rsplit_once('\n').map_or("", |(lines, _)| lines);
        whole.lines().map(|line| serde_json::from_str(line).expect("a line of JSON")).collect()
    }
}

impl Drop for MailServer {
    fn drop(&mut self) {
        command::kill("TERM", &[self.child.id()]);
        let _ = self.child.wait();
        let _ = std::fs::remove_file(&self.output);
    }
}
