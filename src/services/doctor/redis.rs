//! Redis: a helper, so nothing about it is more than a warning.

use std::time::Duration;

use tokio::time::Instant;

use super::{Doctor, Verdict};
use crate::redis::{Redis, RedisError};

const OLDEST: u32 = 7;
/// Every command of a request has to be done within a tenth of a second.
const SLOW: Duration = Duration::from_millis(5);
/// Connecting may take longer than a command may.
const TRIES: usize = 4;
const SAMPLES: usize = 5;

pub async fn answers(it: &Doctor) -> Verdict {
    let Some(redis) = &it.redis else { return without(it.instances) };
    match ask(redis).await {
        Ok((version, latency)) => judge(&version, latency),
        Err(error) => Verdict::warn(
            format!("{error}: each instance decides limits alone, and hears of changes by polling"),
            "start Redis; see that REDIS_URL names its host, port and password, and that its user \
             may run INFO, EVAL and PUBLISH",
        ),
    }
}

async fn ask(redis: &Redis) -> Result<(String, Duration), RedisError> {
    let mut version = redis.version().await;
    for _ in 1..TRIES {
        if version.is_ok() {
            break;
        }
        version = redis.version().await;
    }
    let mut samples = [Duration::ZERO; SAMPLES];
    for sample in &mut samples {
        let started = Instant::now();
        redis.ping().await?;
        *sample = started.elapsed();
    }
    samples.sort();
    Ok((version?, samples[SAMPLES / 2]))
}

fn without(instances: u32) -> Verdict {
    match instances {
        1 => Verdict::ok("not configured, as a single instance may"),
        _ => Verdict::warn(
            format!("not configured, and {instances} instances each allow the whole rate limit"),
            "set REDIS_URL",
        ),
    }
}

fn judge(version: &str, latency: Duration) -> Verdict {
    let detail = format!("Redis {version}, {latency:.1?} per command");
    let major: u32 = version.split('.').next().and_then(|it| it.parse().ok()).unwrap_or_default();
    if major < OLDEST {
        return Verdict::warn(detail, "upgrade Redis to 7 or newer, which the tests run on");
    }
    match latency > SLOW {
        true => Verdict::warn(detail, "move the service nearer to its Redis"),
        false => Verdict::ok(detail),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::services::doctor::Outcome;

    #[test]
    fn an_old_or_slow_redis_is_looked_at() {
        let quick = Duration::from_millis(1);
        assert_eq!(judge("7.0.15", quick).outcome, Outcome::Ok);
        for (version, latency) in [("6.2.1", quick), ("odd", quick), ("8.0.0", 10 * quick)] {
            let verdict = judge(version, latency);
            assert_eq!(verdict.outcome, Outcome::Warn, "{}", verdict.detail);
            assert!(verdict.fix.is_some());
        }
    }
}
