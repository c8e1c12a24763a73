//! What the system knows of this process, read from `/proc` when it is asked for. Elsewhere than
//! on Linux there is nothing to read, and these metrics are absent.

use std::fs;

use super::metrics as names;

/// In which the kernel counts for programs, on every architecture of today.
const TICKS_PER_SECOND: f64 = 100.0;

/// Metrics and their values.
pub fn figures() -> Vec<(&'static str, f64)> {
    let all = [
        (names::PROCESS_CPU, cpu_seconds()),
        (names::PROCESS_MEMORY, status("VmRSS:").map(|kib| kib * 1024.0)),
        (names::PROCESS_THREADS, status("Threads:")),
        (names::PROCESS_FDS, open_descriptors()),
        (names::PROCESS_MAX_FDS, word_after("/proc/self/limits", "Max open files")),
        (names::PROCESS_START, start_time()),
    ];
    all.into_iter().filter_map(|(name, value)| Some((name, value?))).collect()
}

fn cpu_seconds() -> Option<f64> {
    let [user, system] = [stat(14)?, stat(15)?];
    Some((user + system) / TICKS_PER_SECOND)
}

fn start_time() -> Option<f64> {
    Some(word_after("/proc/stat", "btime")? + stat(22)? / TICKS_PER_SECOND)
}

/// A field by its number in proc(5). The name of the program, the second, may hold anything.
fn stat(number: usize) -> Option<f64> {
    let text = fs::read_to_string("/proc/self/stat").ok()?;
    let (_, after_name) = text.rsplit_once(')')?;
    after_name.split_whitespace().nth(number - 3)?.parse().ok()
}

fn status(name: &str) -> Option<f64> {
    word_after("/proc/self/status", name)
}

/// The first number in the line that begins so.
fn word_after(file: &str, start: &str) -> Option<f64> {
    let text = fs::read_to_string(file).ok()?;
    let rest = text.lines().find_map(|line| line.strip_prefix(start))?;
    rest.split_whitespace().next()?.parse().ok()
}

fn open_descriptors() -> Option<f64> {
    // Looking opens one itself.
    Some(fs::read_dir("/proc/self/fd").ok()?.count().saturating_sub(1) as f64)
}
