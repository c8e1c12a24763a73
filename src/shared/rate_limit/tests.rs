//! The limiter as its callers see it: alone, and several instances over one Redis.

use crate::telemetry::metrics as names;
use std::sync::Arc;
use std::time::Duration;

use futures_util::future::join_all;
use metrics_exporter_prometheus::PrometheusBuilder;
use tokio::time::{Instant, advance, sleep};
use tokio_util::sync::CancellationToken;

use super::lease::Tokens;
use super::refill::{self, Addressed, Order};
use super::{Ask, Limiter, Policy, Quota, Verdict};
use crate::redis::Redis;
use crate::shared::clock::Clock;

const CLIENT: &str = "user:1";

fn policy(name: &'static str, limit: u64, secs: u64) -> Policy {
    let window = Duration::from_secs(secs);
    Policy { name, quota: Quota { limit, window } }
}

async fn check(limiter: &Limiter, policies: &[Policy]) -> Verdict {
    let ask = |policy| Ask { policy, key: CLIENT };
    let asks: Vec<Ask<'_>> = policies.iter().map(ask).collect();
    limiter.check(&asks).await
}

/// How many of so many requests, one after the other, are admitted.
async fn admitted(limiter: &Limiter, policy: Policy, requests: usize) -> u64 {
    let mut admitted = 0;
    for _ in 0..requests {
        admitted += u64::from(check(limiter, &[policy]).await.allowed);
    }
    admitted
}

fn redis(prefix: &str) -> Redis {
    let url = std::env::var("REDIS_URL");
    let url = url.expect("set REDIS_URL to a Redis for the tests, as `make test` does");
    let redis = Redis::new(&url, prefix, Duration::from_millis(100));
    redis.expect("REDIS_URL is a URL")
}

fn prefix() -> String {
    format!("test:{}:", Clock::default().new_id().simple())
}

/// Instances over one Redis, with a prefix of their own.
struct Fleet {
    limiters: Vec<Limiter>,
    stop: CancellationToken,
}

impl Fleet {
    fn start(instances: u32) -> Self {
        let prefix = prefix();
        let stop = CancellationToken::new();
        let limiter = |_| {
            let limiter = Limiter::new(Some(redis(&prefix)));
            limiter.set_instances(instances);
            let (running, stop) = (limiter.clone(), stop.clone());
            tokio::spawn(async move { running.run(stop).await });
            limiter
        };
        Self { limiters: (0..instances).map(limiter).collect(), stop }
    }

    /// Every instance is asked for so long by four callers, each as fast as it is answered but
    /// with a pause after a refusal. Returns when the admitted ones came, and how many asked.
    async fn flood(&self, policy: Policy, lasting: Duration) -> (Vec<Duration>, usize) {
        let start = Instant::now();
        let caller = |limiter: &Limiter| {
            let limiter = limiter.clone();
            tokio::spawn(async move {
                let (mut admitted, mut requests) = (Vec::new(), 0);
                while start.elapsed() < lasting {
                    requests += 1;
                    match check(&limiter, &[policy]).await.allowed {
                        true => admitted.push(start.elapsed()),
                        false => sleep(Duration::from_millis(5)).await,
                    }
                }
                (admitted, requests)
            })
        };
        let callers = self.limiters.iter().flat_map(|l| (0..4).map(move |_| l));
        let (mut admitted, mut requests) = (Vec::new(), 0);
        for outcome in join_all(callers.map(caller)).await {
            let (times, asked) = outcome.expect("a caller does not panic");
            admitted.extend(times);
            requests += asked;
        }
        admitted.sort_unstable();
        (admitted, requests)
    }
}

impl Drop for Fleet {
    fn drop(&mut self) {
        self.stop.cancel();
    }
}

/// The most that lie within any window of this length.
fn densest(times: &[Duration], window: Duration) -> usize {
    let within = |(i, start): (usize, &Duration)| {
        let end = *start + window;
        times[i..].iter().take_while(|time| **time < end).count()
    };
    times.iter().enumerate().map(within).max().unwrap_or(0)
}

#[tokio::test]
async fn four_instances_admit_the_limit_from_idle_and_hardly_more_in_any_window() {
    let fleet = Fleet::start(4);
    let policy = policy("default", 1_000, 3);
    let (times, requests) = fleet.flood(policy, Duration::from_millis(8_500)).await;
    let first = times.iter().filter(|time| time.as_millis() < 2_900).count();
    let densest = densest(&times, policy.quota.window);
    println!("first window {first}, densest {densest} of 1000, {requests} requests");
    assert!((1_000..=1_060).contains(&first), "{first}");
    assert!(densest <= 1_100, "{densest} within a window");
    assert!(times.len() >= 2_000, "{} in nearly three windows", times.len());
}

#[tokio::test]
async fn a_busy_client_costs_one_redis_command_in_ten_requests_at_most() {
    let recorder = PrometheusBuilder::new().build_recorder();
    let _recording = metrics::set_default_local_recorder(&recorder);
    let fleet = Fleet::start(2);
    let policy = policy("default", 6_000, 60);
    let (times, _) = fleet.flood(policy, Duration::from_secs(2)).await;
    let metrics = recorder.handle().render();
    let count = format!("{}_count{{what=\"rate_limit\"}} ", names::REDIS_DURATION);
    let count = metrics.lines().find_map(|line| line.strip_prefix(&count));
    let commands: f64 = count.and_then(|n| n.parse().ok()).expect("commands");
    let cost = commands / times.len() as f64;
    println!("{commands} commands for {} admitted: {cost:.3}", times.len());
    assert!(cost <= 0.1, "{cost} commands for each request");
}

#[tokio::test]
async fn simultaneous_requests_neither_overrun_the_limit_nor_fall_short_of_it() {
    let fleet = Fleet::start(2);
    let policies = [policy("default", 100, 60), policy("narrow", 10, 60)];
    let at_once = (0..30).map(|i| check(&fleet.limiters[i % 2], &policies));
    let verdicts = join_all(at_once).await;
    assert_eq!(verdicts.iter().filter(|v| v.allowed).count(), 10);
}

#[tokio::test]
async fn a_refused_request_consumes_nothing_from_any_policy() {
    let fleet = Fleet::start(1);
    let policies = [policy("wide", 10, 60), policy("narrow", 2, 60)];
    for _ in 0..7 {
        check(&fleet.limiters[0], &policies).await;
    }
    let refused = check(&fleet.limiters[0], &policies).await;
    assert_eq!(refused.violated().collect::<Vec<_>>(), ["narrow"]);
    assert_eq!(admitted(&fleet.limiters[0], policies[0], 20).await, 8);
}

#[tokio::test]
async fn a_retry_after_the_time_stated_is_admitted_on_every_instance() {
    let fleet = Fleet::start(2);
    let policy = policy("default", 5, 2);
    assert_eq!(admitted(&fleet.limiters[0], policy, 5).await, 5);
    for limiter in &fleet.limiters {
        let refused = check(limiter, &[policy]).await;
        assert!(!refused.allowed);
        assert!(refused.retry_after >= Some(Duration::from_secs(1)));
    }
    let refused = check(&fleet.limiters[1], &[policy]).await;
    let wait = refused.retry_after.expect("refused");
    assert!(wait >= Duration::from_secs(refused.standings[0].reset_secs));
    sleep(wait).await;
    assert_eq!(admitted(&fleet.limiters[1], policy, 3).await, 3);
    assert_eq!(admitted(&fleet.limiters[0], policy, 3).await, 2);
}

#[tokio::test]
async fn what_an_instance_leased_and_does_not_use_is_soon_there_for_the_others() {
    let fleet = Fleet::start(2);
    let policy = policy("default", 2_000, 60);
    assert_eq!(admitted(&fleet.limiters[0], policy, 1_000).await, 1_000);
    let mut rest = admitted(&fleet.limiters[1], policy, 1_500).await;
    println!("{rest} at once");
    assert!(rest >= 980, "{rest}: at most a fiftieth is held by another");
    let patience = Instant::now();
    while rest < 1_000 && patience.elapsed() < Duration::from_secs(4) {
        rest += admitted(&fleet.limiters[1], policy, 50).await;
        sleep(Duration::from_millis(50)).await;
    }
    println!("all after {:?}", patience.elapsed());
    assert_eq!(rest, 1_000);
}

#[tokio::test]
async fn an_instance_that_stops_gives_its_leases_back_at_once() {
    let fleet = Fleet::start(2);
    let policy = policy("default", 2_000, 60);
    admitted(&fleet.limiters[0], policy, 1_000).await;
    let stopped = CancellationToken::new();
    stopped.cancel();
    fleet.limiters[0].run(stopped).await;
    assert_eq!(admitted(&fleet.limiters[1], policy, 1_500).await, 1_000);
}

#[tokio::test]
async fn what_remains_counts_down_one_by_one_whatever_is_leased() {
    let fleet = Fleet::start(1);
    for used in 1..=300 {
        let verdict = check(&fleet.limiters[0], &[policy("default", 1_000, 60)]).await;
        assert_eq!(verdict.standings[0].remaining, 1_000 - used);
        assert!((1..=60).contains(&verdict.standings[0].reset_secs));
    }
}

#[tokio::test]
async fn the_log_counts_what_was_admitted_elsewhere_and_not_what_is_given_back() {
    let redis = redis(&prefix());
    let key: Arc<str> = redis.key("test", "log").into();
    let left = async |need, debt, back| {
        let (limit, window, extra) = (100, 60_000, 0);
        let order = Order { limit, window, need, extra, debt, back };
        let order = Addressed { slot: 0, key: Arc::clone(&key), order };
        let grants = refill::send(&redis, 1, &[order]).await.expect("an answer");
        (grants[0].left, grants[0].tokens)
    };
    let (rest, granted) = left(5, 0, Tokens::default()).await;
    assert_eq!((rest, granted.count), (95, 5));
    let back = Tokens { count: 3, ..granted };
    assert_eq!(left(0, 0, back).await.0, 98);
    assert_eq!(left(1, 10, Tokens::default()).await.0, 87);
    let too_many = Tokens { count: 1_000, ..granted };
    assert!(left(0, 0, too_many).await.0 <= 100);
}

#[tokio::test]
async fn while_redis_is_away_each_instance_admits_its_share_without_waiting() {
    let redis = Redis::new("redis://127.0.0.1:1", "test:", Duration::from_millis(100));
    let limiter = Limiter::new(Some(redis.expect("a URL")));
    limiter.set_instances(4);
    let start = Instant::now();
    assert_eq!(admitted(&limiter, policy("default", 100, 60), 200).await, 25);
    assert!(start.elapsed() < Duration::from_secs(1));
    assert_eq!(admitted(&limiter, policy("narrow", 2, 60), 10).await, 1);
}

#[tokio::test(start_paused = true)]
async fn without_redis_the_whole_limit_is_admitted_in_every_window() {
    let limiter = Limiter::new(None);
    limiter.set_instances(4);
    let policy = policy("default", 60, 60);
    assert_eq!(admitted(&limiter, policy, 100).await, 60);
    let refused = check(&limiter, &[policy]).await;
    assert_eq!(refused.retry_after, Some(Duration::from_secs(60)));
    advance(Duration::from_secs(59)).await;
    assert_eq!(admitted(&limiter, policy, 100).await, 0);
    advance(Duration::from_secs(1)).await;
    assert_eq!(admitted(&limiter, policy, 100).await, 60);
}

#[tokio::test(start_paused = true)]
async fn clients_are_forgotten_once_their_window_is_over_and_never_too_many_are_known() {
    let limiter = Limiter::new(None);
    let policy = policy("default", 60, 60);
    for client in 0..200_000 {
        let key = &format!("addr:{client}");
        limiter.check(&[Ask { policy: &policy, key }]).await;
    }
    assert!((50_000..=110_000).contains(&limiter.clients()));
    let stop = CancellationToken::new();
    tokio::spawn({
        let (limiter, stop) = (limiter.clone(), stop.clone());
        async move { limiter.run(stop).await }
    });
    sleep(Duration::from_secs(70)).await;
    assert_eq!(limiter.clients(), 0);
    stop.cancel();
}

#[tokio::test(start_paused = true)]
async fn a_limit_of_nothing_refuses_everything() {
    let limiter = Limiter::new(None);
    let refused = check(&limiter, &[policy("closed", 0, 60)]).await;
    assert_eq!(refused.retry_after, Some(Duration::from_secs(60)));
    assert!(check(&limiter, &[]).await.allowed);
}
