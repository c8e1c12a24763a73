//! Commands of the binary that end by themselves.

use std::{
    io::Write,
    process::{Command, Output, Stdio},
    time::{Duration, Instant},
};

use super::Settings;

pub struct Finished {
    pub success: bool,
    pub out: String,
    pub err: String,
    pub took: Duration,
}

impl Finished {
    /// What it printed, when it succeeded.
    pub fn expect(self, what: &str) -> String {
        assert!(self.success, "{what} fails: {}{}", self.out, self.err);
        self.out.trim().to_owned()
    }

    pub fn all(&self) -> String {
        format!("{}{}", self.out, self.err)
    }
}

pub fn run(settings: &Settings, arguments: &[&str]) -> Finished {
    finish(settings.command(arguments), "")
}

pub fn run_with_input(settings: &Settings, arguments: &[&str], input: &str) -> Finished {
    finish(settings.command(arguments), input)
}

pub fn finish(mut command: Command, input: &str) -> Finished {
    let started = Instant::now();
    command.stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped());
    let mut child = command.spawn().expect("the command starts");
    // A command that reads nothing may be gone already.
    let _ = child.stdin.take().expect("a pipe").write_all(input.as_bytes());
    let output = child.wait_with_output().expect("the command ends");
    Finished { took: started.elapsed(), ..Finished::from(output) }
}

impl From<Output> for Finished {
    fn from(output: Output) -> Self {
        Self {
            success: output.status.success(),
            out: String::from_utf8_lossy(&output.stdout).into_owned(),
            err: String::from_utf8_lossy(&output.stderr).into_owned(),
            took: Duration::ZERO,
        }
    }
}

/// Makes an account on the command line; its id.
pub fn create_user(settings: &Settings, role: &str, email: &str, password: &str) -> String {
    let arguments =
        ["admin", "create-user", "--email", email, "--name", "Grace Hopper", "--role", role];
    let arguments = [&arguments[..], &["--password-stdin"]].concat();
    run_with_input(settings, &arguments, &format!("{password}\n")).expect("admin create-user")
}

/// `kill -s SIGNAL PID...`
pub fn kill(signal: &str, pids: &[u32]) {
    let pids = pids.iter().map(u32::to_string);
    let done = Command::new("kill").args(["-s", signal]).args(pids).output();
    let done = done.expect("there is a kill command");
    assert!(done.status.success(), "kill {signal}: {}", String::from_utf8_lossy(&done.stderr));
}
