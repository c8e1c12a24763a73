//! Three instances behind nginx are terminated under load and replaced, one after the other: nobody
//! notices.

use std::{sync::Arc, time::Duration};

use traffic::{Acknowledged, Traffic, WORKERS};

use crate::support::{
    Database, Instance, Load, Settings,
    load::Outcomes,
    nginx::{Nginx, free_port},
    timing::say,
};

mod traffic;

const INSTANCES: usize = 3;

struct Fleet {
    database: Database,
    settings: Settings,
    ports: Vec<u16>,
    instances: Vec<Instance>,
    nginx: Nginx,
    acknowledged: Arc<Acknowledged>,
    /// Lines of those that were replaced.
    failures: Vec<String>,
}

impl Fleet {
    async fn start(retries: bool, beside_others: bool) -> Option<Self> {
        let database = Database::create().await;
        let mut settings =
            Settings::new(&database.url).with_redis().set("APP__SERVER__DRAIN_DELAY", "2s");
        // Beside all the other tests, twice the usual; what has the machine to itself keeps to that.
        if beside_others {
            for wait in ["APP__DATABASE__ACQUIRE_TIMEOUT", "APP__DATABASE__LOCK_TIMEOUT"] {
                settings = settings.set(wait, "4s");
            }
        }
        let ports: Vec<_> = (0..INSTANCES).map(|_| free_port()).collect();
        let mut instances = Vec::new();
        for port in &ports {
            let settings = settings.clone().set("PORT", port.to_string());
            instances.push(Instance::ready(&settings).await);
        }
        let Some(nginx) = Nginx::start(&ports, retries).await else {
            say("skipped: there is no nginx here, and only root can install it");
            return None;
        };
        Some(Self {
            database,
            settings,
            ports,
            instances,
            nginx,
            acknowledged: Arc::default(),
            failures: Vec::new(),
        })
    }

    /// Ends one and puts another in its place. With `told`, nginx hears of it as soon as the
    /// instance is not ready, as it would from an orchestrator; otherwise it has to find out.
    async fn replace(&mut self, index: usize, told: bool) {
        let (old, port) = (&mut self.instances[index], self.ports[index]);
        old.signal("TERM");
        if told {
            crate::support::eventually("it is not ready", async || {
                old.api.get("/health/ready").await.status == 503
            })
            .await;
            let others = self.ports.iter().filter(|other| **other != port);
            self.nginx.use_only(&others.copied().collect::<Vec<_>>());
        }
        let status = old.exit().await;
        let log = old.whole_log().await;
        assert!(status.success(), "{log}");
        let failed = |line: &&str| line.contains(r#""status":5"#) && !line.contains("/health/");
        self.failures.extend(log.lines().filter(failed).map(str::to_owned));
        let settings = self.settings.clone().set("PORT", port.to_string());
        self.instances[index] = Instance::ready(&settings).await;
        self.nginx.use_only(&self.ports);
    }

    /// All are replaced, one after the other, so many times.
    async fn roll(&mut self, told: bool, times: usize, what: &str) -> Outcomes {
        let traffic = Traffic::new(&self.nginx.api(), &self.settings).await;
        let acknowledged = self.acknowledged.clone();
        let load = Load::start(WORKERS, move |worker, _| {
            let (traffic, acknowledged) = (traffic.clone(), acknowledged.clone());
            async move { traffic.request(worker, &acknowledged).await }
        });
        tokio::time::sleep(Duration::from_millis(500)).await;
        for index in (0..INSTANCES).cycle().take(INSTANCES * times) {
            self.replace(index, told).await;
            tokio::time::sleep(Duration::from_millis(500)).await;
        }
        load.stop(what).await
    }
}

fn errors(nginx: &Nginx) -> Vec<String> {
    let log = nginx.errors();
    log.lines().filter(|line| line.contains("[error]")).map(str::to_owned).collect()
}

fn told(fleet: &Fleet) -> String {
    [&errors(&fleet.nginx)[..], &fleet.failures].concat().join("\n")
}

#[tokio::test(flavor = "multi_thread")]
async fn a_rolling_restart_behind_nginx_fails_no_request() {
    let Some(mut fleet) = Fleet::start(true, true).await else { return };
    let outcomes = fleet.roll(false, 1, "a rolling restart that nginx finds out about").await;
    say(&format!("nginx noted {} errors", errors(&fleet.nginx).len()));
    outcomes.all_ok(&told(&fleet));
    fleet.acknowledged.is_stored(&fleet.database).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_rolling_restart_that_nginx_is_told_of_fails_no_request_without_any_retries() {
    let Some(mut fleet) = Fleet::start(false, true).await else { return };
    let outcomes = fleet.roll(true, 1, "a rolling restart without retries").await;
    outcomes.all_ok(&told(&fleet));
    fleet.acknowledged.is_stored(&fleet.database).await;
}

/// As many as performance.md counts.
#[tokio::test(flavor = "multi_thread")]
#[ignore = "full size: make faults"]
async fn a_hundred_thousand_requests_during_rolling_restarts_do_not_fail() {
    let Some(mut fleet) = Fleet::start(false, false).await else { return };
    let mut made = 0;
    while made < 100_000 {
        let outcomes = fleet.roll(true, 5, "rolling restarts without retries").await;
        outcomes.all_ok(&told(&fleet));
        made += outcomes.0.len();
    }
    fleet.acknowledged.is_stored(&fleet.database).await;
}

/// What an operator gets who does neither: nginx learns of the closed door from those it sends
/// there. Whoever was let in is still served.
#[tokio::test(flavor = "multi_thread")]
#[ignore = "a measurement: make faults"]
async fn without_notice_and_without_retries_requests_fail_only_at_the_closed_door() {
    let Some(mut fleet) = Fleet::start(false, false).await else { return };
    let outcomes = fleet.roll(false, 1, "a rolling restart without notice or retries").await;
    let failed = outcomes.count(502);
    say(&format!("{failed} of {} requests met a closed door", outcomes.0.len()));
    outcomes.all("without notice", |outcome| matches!(outcome.status(), 200 | 201 | 502));
    let others = errors(&fleet.nginx).into_iter().filter(|line| !line.contains("refused"));
    assert_eq!(others.collect::<Vec<_>>(), [""; 0]);
    fleet.acknowledged.is_stored(&fleet.database).await;
}
