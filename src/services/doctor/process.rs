//! What the operating system and the proxy in front allow.

use std::{fs, time::Duration};

use super::{Doctor, Verdict};

/// Listeners, logs, libraries, the runtime's own.
const FURTHER: usize = 64;
/// How long nginx keeps an idle connection to an upstream, unless told otherwise.
const PROXY_IDLE: Duration = Duration::from_secs(60);

pub async fn descriptors(it: &Doctor) -> Verdict {
    let Some(allowed) = open_files() else {
        return Verdict::ok("not known on this system");
    };
    let (server, database) = (&it.config.server, &it.config.database);
    let pool = usize::try_from(database.max_connections).unwrap_or(usize::MAX);
    let wanted = server.max_connections.saturating_add(pool).saturating_add(FURTHER);
    let detail = format!(
        "ulimit -n is {allowed}; server.max_connections {} + database.max_connections {pool} + \
         {FURTHER} = {wanted}",
        server.max_connections
    );
    match allowed < wanted {
        true => it.fail_in_production(
            detail,
            format!(
                "raise it (`ulimit -n {wanted}`, LimitNOFILE of systemd, `ulimits` of compose) or \
                     lower server.max_connections"
            ),
        ),
        false => Verdict::ok(detail),
    }
}

/// The soft limit, where Linux tells it.
fn open_files() -> Option<usize> {
    parse_open_files(&fs::read_to_string("/proc/self/limits").ok()?)
}

fn parse_open_files(limits: &str) -> Option<usize> {
    let line = limits.lines().find_map(|line| line.strip_prefix("Max open files"))?;
    match line.split_whitespace().next()? {
        "unlimited" => Some(usize::MAX),
        number => number.parse().ok(),
    }
}

/// A proxy that reuses a connection just as we close it fails the request that it sends.
pub async fn keep_alive(it: &Doctor) -> Verdict {
    let idle = it.config.server.idle_timeout;
    let detail = format!("server.idle_timeout is {idle:?}, that of nginx {PROXY_IDLE:?}");
    match idle > PROXY_IDLE {
        true => Verdict::ok(detail),
        false => it.fail_in_production(
            detail,
            "set server.idle_timeout above keepalive_timeout of the proxy's upstream: 75s for nginx",
        ),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_soft_limit_is_read() {
        let line =
            |text| format!("Max processes 1 2 processes\nMax open files {text} 524288 files");
        assert_eq!(parse_open_files(&line("1024")), Some(1024));
        assert_eq!(parse_open_files(&line("unlimited")), Some(usize::MAX));
        assert_eq!(parse_open_files("Max processes 1"), None);
    }
}
