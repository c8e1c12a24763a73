//! One of two instances behind nginx is terminated under load and replaced: nobody notices.

use std::{
    sync::{Arc, Mutex},
    time::Duration,
};

use reqwest::Method;
use serde_json::json;

use crate::support::{
    Api, Database, Instance, Load, Reply, Settings, Tokens,
    load::Outcomes,
    nginx::{Nginx, free_port},
    timing::say,
};

struct Fleet {
    database: Database,
    settings: Settings,
    ports: [u16; 2],
    instances: [Instance; 2],
    nginx: Nginx,
    /// The ids of the changes that were acknowledged.
    changed: Arc<Mutex<Vec<String>>>,
}

impl Fleet {
    async fn start(retries: bool) -> Option<Self> {
        let database = Database::create().await;
        let settings =
            Settings::new(&database.url).with_redis().set("APP__SERVER__DRAIN_DELAY", "2s");
        let ports = [free_port(), free_port()];
        let on = |port: u16| settings.clone().set("PORT", port.to_string());
        let instances =
            [Instance::ready(&on(ports[0])).await, Instance::ready(&on(ports[1])).await];
        let Some(nginx) = Nginx::start(&ports, retries).await else {
            say("skipped: there is no nginx here, and only root can install it");
            return None;
        };
        Some(Self { database, settings, ports, instances, nginx, changed: Arc::default() })
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
            self.nginx.use_only(&[self.ports[1 - index]]);
        }
        let status = old.exit().await;
        assert!(status.success(), "{}", old.whole_log().await);
        let settings = self.settings.clone().set("PORT", port.to_string());
        self.instances[index] = Instance::ready(&settings).await;
        self.nginx.use_only(&self.ports);
    }

    /// Both are replaced, one after the other.
    async fn roll(&mut self, told: bool, what: &str) -> Outcomes {
        let api = self.nginx.api();
        let (tokens, changed) = (api.sign_in().await, self.changed.clone());
        // A kept connection would meet the end of the nginx worker that is replaced when nginx is
        // told of something, which is no fault of ours.
        let api = api.without_keep_alive();
        let load = Load::start(8, move |worker, n| {
            request(api.clone(), worker, tokens.clone(), n, changed.clone())
        });
        tokio::time::sleep(Duration::from_millis(500)).await;
        for index in [0, 1] {
            self.replace(index, told).await;
            tokio::time::sleep(Duration::from_millis(500)).await;
        }
        load.stop(what).await
    }

    /// Each change that was acknowledged is in the trail.
    async fn has_stored_everything(&self) {
        let ids = self.changed.lock().unwrap().clone();
        assert!(!ids.is_empty(), "nothing was changed");
        let list: Vec<_> = ids.iter().map(|id| format!("'{id}'")).collect();
        let query = format!(
            "select count(*) from audit_events
             where action = 'user.updated' and request_id in ({})",
            list.join(", ")
        );
        assert_eq!(self.database.number(&query).await, ids.len() as i64);
    }
}

async fn request(
    api: Api,
    worker: usize,
    tokens: Tokens,
    n: usize,
    changed: Arc<Mutex<Vec<String>>>,
) -> Result<Reply, String> {
    let (token, path) = (Some(tokens.access.as_str()), "/api/v1/users/me");
    match worker {
        0 => {
            let body = json!({"name": format!("change {n}")});
            let reply = api.attempt(Method::PATCH, path, token, Some(body)).await?;
            if reply.status == 200 {
                changed.lock().unwrap().push(reply.header("x-request-id").to_owned());
            }
            Ok(reply)
        }
        1 | 2 => api.attempt(Method::GET, "/api/v1/ping", token, None).await,
        _ => api.attempt(Method::GET, path, token, None).await,
    }
}

fn errors(nginx: &Nginx) -> Vec<String> {
    let log = nginx.errors();
    log.lines().filter(|line| line.contains("[error]")).map(str::to_owned).collect()
}

#[tokio::test(flavor = "multi_thread")]
async fn a_rolling_restart_behind_nginx_fails_no_request() {
    let Some(mut fleet) = Fleet::start(true).await else { return };
    let outcomes = fleet.roll(false, "a rolling restart that nginx finds out about").await;
    let errors = errors(&fleet.nginx);
    say(&format!("nginx noted {} errors", errors.len()));
    outcomes.all_ok(&errors.join("\n"));
    fleet.has_stored_everything().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_rolling_restart_that_nginx_is_told_of_fails_no_request_without_any_retries() {
    let Some(mut fleet) = Fleet::start(false).await else { return };
    let outcomes = fleet.roll(true, "a rolling restart without retries").await;
    outcomes.all_ok(&errors(&fleet.nginx).join("\n"));
    fleet.has_stored_everything().await;
}
