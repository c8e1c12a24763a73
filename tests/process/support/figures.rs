//! What a process uses, where there is a /proc to tell; elsewhere nothing.

use std::{fs, time::Duration};

use super::Instance;

/// Fields of /proc/PID/stat are counted after the name, which may hold anything.
const UTIME: usize = 11;
const STIME: usize = 12;
/// What Linux calls USER_HZ.
const TICKS_PER_SEC: u64 = 100;
const KIB: u64 = 1024;

impl Instance {
    /// Memory that is resident.
    pub fn rss(&self) -> u64 {
        let status = fs::read_to_string(format!("/proc/{}/status", self.pid()));
        let status = status.unwrap_or_default();
        let line = status.lines().find_map(|line| line.strip_prefix("VmRSS:"));
        line.and_then(|rest| rest.split_whitespace().next()?.parse().ok()).unwrap_or(0) * KIB
    }

    /// Time of processors so far.
    pub fn cpu(&self) -> Duration {
        let stat = fs::read_to_string(format!("/proc/{}/stat", self.pid())).unwrap_or_default();
        let fields: Vec<_> = match stat.rsplit_once(") ") {
            Some((_, rest)) => rest.split_whitespace().collect(),
            None => return Duration::ZERO,
        };
        let ticks = [UTIME, STIME].map(|at| fields[at].parse::<u64>().unwrap_or(0));
        Duration::from_millis((ticks[0] + ticks[1]) * 1000 / TICKS_PER_SEC)
    }

    pub fn descriptors(&self) -> usize {
        fs::read_dir(format!("/proc/{}/fd", self.pid())).map_or(0, Iterator::count)
    }
}
