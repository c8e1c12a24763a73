//! A private Postgres and Redis that a test may break; stopped and removed with it.

use std::{
    collections::HashMap,
    fs,
    path::{Path, PathBuf},
    process::Command,
};

use super::{Database, Settings, command::kill, required, unique};

pub struct Services {
    folder: PathBuf,
}

impl Services {
    /// Only Redis is private.
    pub fn private_redis() -> Self {
        Self::up(&["up"], &[("DATABASE_URL", required("DATABASE_URL"))])
    }

    /// Only Postgres is private. What it has committed survives that it is killed.
    pub fn private_postgres() -> Self {
        Self::up(&["up", "--durable"], &[("REDIS_URL", required("REDIS_URL"))])
    }

    fn up(command: &[&str], given: &[(&str, String)]) -> Self {
        let folder = std::env::temp_dir().join(unique("mainstay-services"));
        let services = Self { folder };
        services.script(command, given);
        services
    }

    fn script(&self, command: &[&str], given: &[(&str, String)]) {
        let script = Path::new(env!("CARGO_MANIFEST_DIR")).join(".ci/services");
        let mut call = Command::new(script);
        call.arg(command[0]).arg(&self.folder).args(&command[1..]);
        call.env_remove("DATABASE_URL").env_remove("REDIS_URL");
        let output = call.envs(given.iter().cloned()).output().expect(".ci/services starts");
        let said = String::from_utf8_lossy(&output.stderr);
        assert!(output.status.success(), ".ci/services {command:?} fails: {said}");
    }

    /// What the script exports.
    fn exported(&self) -> HashMap<String, String> {
        let file = fs::read_to_string(self.folder.join("env")).expect("up has written env");
        let lines = file.lines().filter_map(|line| line.strip_prefix("export ")?.split_once('='));
        lines.map(|(name, value)| (name.to_owned(), value.replace('\\', ""))).collect()
    }

    fn get(&self, name: &str) -> String {
        self.exported().remove(name).unwrap_or_else(|| panic!(".ci/services exports no {name}"))
    }

    fn pid(&self, name: &str) -> Option<u32> {
        self.exported().get(name)?.parse().ok()
    }

    pub fn settings(&self) -> Settings {
        Settings::new(&self.get("DATABASE_URL"))
            .set("REDIS_URL", self.get("REDIS_URL"))
            .set("APP__REDIS__PREFIX", unique("test").replace('_', "-") + ":")
    }

    pub fn redis_url(&self) -> String {
        self.get("REDIS_URL")
    }

    pub fn database(&self) -> Database {
        Database::existing(&self.get("DATABASE_URL"))
    }

    pub fn restart_postgres(&self, mode: &str) {
        self.script(&["restart-postgres", mode], &[]);
    }

    pub fn start_postgres(&self) {
        self.script(&["start-postgres"], &[]);
    }

    pub fn start_redis(&self) {
        self.script(&["start-redis"], &[]);
    }

    pub fn signal_redis(&self, signal: &str) {
        kill(signal, &[self.pid("MAINSTAY_REDIS_PID").expect("a private Redis")]);
    }

    /// The server that takes connections first, then those that serve them.
    pub fn signal_postgres(&self, signal: &str) {
        let server = self.pid("MAINSTAY_PG_PID").expect("a private Postgres");
        kill(signal, &[server]);
        let children = children(server);
        // A connection may end between looking and signalling.
        for child in children {
            let _ = std::panic::catch_unwind(|| kill(signal, &[child]));
        }
    }

    /// Without warning, and all of it.
    pub fn kill_postgres(&self) {
        let server = self.pid("MAINSTAY_PG_PID").expect("a private Postgres");
        let all = [vec![server], children(server)].concat();
        kill("KILL", &all);
    }

    /// What is stopped cannot be ended.
    fn continue_all(&self) {
        let pids = ["MAINSTAY_PG_PID", "MAINSTAY_REDIS_PID"].map(|name| self.pid(name));
        for pid in pids.into_iter().flatten() {
            let all = [vec![pid], children(pid)].concat();
            let all = all.iter().map(u32::to_string);
            let _ = Command::new("kill").args(["-s", "CONT"]).args(all).output();
        }
    }
}

impl Drop for Services {
    fn drop(&mut self) {
        if self.folder.join("env").exists() {
            self.continue_all();
        }
        let script = Path::new(env!("CARGO_MANIFEST_DIR")).join(".ci/services");
        let _ = Command::new(script).arg("wipe").arg(&self.folder).output();
        let _ = fs::remove_dir_all(&self.folder);
    }
}

fn children(parent: u32) -> Vec<u32> {
    let output = Command::new("ps").args(["-A", "-o", "pid=,ppid="]).output();
    let output = output.expect("there is a ps command").stdout;
    let output = String::from_utf8_lossy(&output).into_owned();
    let pairs = output.lines().filter_map(|line| {
        let mut numbers = line.split_whitespace().map(str::parse::<u32>);
        Some((numbers.next()?.ok()?, numbers.next()?.ok()?))
    });
    pairs.filter(|(_, of)| *of == parent).map(|(pid, _)| pid).collect()
}
