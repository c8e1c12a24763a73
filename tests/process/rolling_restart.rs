//! Three instances behind nginx are terminated under load and replaced, one after the other: nobody
//! notices.

use std::{
    sync::{Arc, Mutex},
    time::Duration,
};

use reqwest::Method;
use serde_json::json;

use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    time::timeout,
};

use crate::support::{
    Api, Database, Instance, Load, Person, Reply, Settings, Tokens,
    load::Outcomes,
    nginx::{Nginx, free_port},
    raw,
    timing::say,
};

const INSTANCES: usize = 3;

struct Fleet {
    database: Database,
    settings: Settings,
    ports: Vec<u16>,
    instances: Vec<Instance>,
    nginx: Nginx,
    /// The ids of the changes that were acknowledged.
    changed: Arc<Mutex<Vec<String>>>,
}

impl Fleet {
    async fn start(retries: bool) -> Option<Self> {
        let database = Database::create().await;
        let settings =
            Settings::new(&database.url).with_redis().set("APP__SERVER__DRAIN_DELAY", "2s");
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
            let others = self.ports.iter().filter(|other| **other != port);
            self.nginx.use_only(&others.copied().collect::<Vec<_>>());
        }
        let status = old.exit().await;
        assert!(status.success(), "{}", old.whole_log().await);
        let settings = self.settings.clone().set("PORT", port.to_string());
        self.instances[index] = Instance::ready(&settings).await;
        self.nginx.use_only(&self.ports);
    }

    /// All are replaced, one after the other, so many times.
    async fn roll(&mut self, told: bool, times: usize, what: &str) -> Outcomes {
        let api = self.nginx.api();
        let person = api.register().await;
        let (tokens, changed) = (api.login(&person).await, self.changed.clone());
        // A kept connection would meet the end of the nginx worker that is replaced when nginx is
        // told of something, which is no fault of ours.
        let api = api.without_keep_alive();
        let load = Load::start(8, move |worker, n| {
            let (people, changed) = ((person.clone(), tokens.clone()), changed.clone());
            request(api.clone(), worker, people, n, changed)
        });
        tokio::time::sleep(Duration::from_millis(500)).await;
        for index in (0..INSTANCES).cycle().take(INSTANCES * times) {
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
    (person, tokens): (Person, Tokens),
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
        1 => upload(&api, &tokens.access).await,
        2 | 3 => api.attempt(Method::GET, "/api/v1/ping", token, None).await,
        4 => {
            let body = json!({"email": person.email, "password": person.password});
            api.attempt(Method::POST, "/api/v1/auth/login", None, Some(body)).await
        }
        _ => api.attempt(Method::GET, path, token, None).await,
    }
}

/// A body that takes a second to come, as from somebody on a train.
async fn upload(api: &Api, access: &str) -> Result<Reply, String> {
    const PIECES: usize = 10;
    let (body, padding) = (r#"{"name": "uploaded"}"#, " ".repeat(20_000));
    let head = format!(
        "PATCH /api/v1/users/me HTTP/1.1\r\nHost: test\r\nAuthorization: Bearer {access}\r\n\
         Content-Type: application/json\r\nContent-Length: {}\r\nConnection: close\r\n\r\n",
        body.len() + PIECES * padding.len()
    );
    let mut stream = raw::connect(api).await;
    let mut answer = String::new();
    let exchange = async {
        stream.write_all(head.as_bytes()).await?;
        for _ in 0..PIECES {
            stream.write_all(padding.as_bytes()).await?;
            tokio::time::sleep(Duration::from_millis(100)).await;
        }
        stream.write_all(body.as_bytes()).await?;
        stream.read_to_string(&mut answer).await
    };
    match timeout(Duration::from_secs(30), exchange).await {
        Ok(Ok(_)) => {}
        problem => return Err(format!("{problem:?} after {answer:?}")),
    }
    let status = answer.split(' ').nth(1).and_then(|status| status.parse().ok());
    let status = status.ok_or_else(|| format!("no answer: {answer:?}"))?;
    Ok(Reply { status, headers: Default::default(), text: answer })
}

fn errors(nginx: &Nginx) -> Vec<String> {
    let log = nginx.errors();
    log.lines().filter(|line| line.contains("[error]")).map(str::to_owned).collect()
}

#[tokio::test(flavor = "multi_thread")]
async fn a_rolling_restart_behind_nginx_fails_no_request() {
    let Some(mut fleet) = Fleet::start(true).await else { return };
    let outcomes = fleet.roll(false, 1, "a rolling restart that nginx finds out about").await;
    let errors = errors(&fleet.nginx);
    say(&format!("nginx noted {} errors", errors.len()));
    outcomes.all_ok(&errors.join("\n"));
    fleet.has_stored_everything().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_rolling_restart_that_nginx_is_told_of_fails_no_request_without_any_retries() {
    let Some(mut fleet) = Fleet::start(false).await else { return };
    let outcomes = fleet.roll(true, 1, "a rolling restart without retries").await;
    outcomes.all_ok(&errors(&fleet.nginx).join("\n"));
    fleet.has_stored_everything().await;
}

/// As many as performance.md counts.
#[tokio::test(flavor = "multi_thread")]
#[ignore = "full size: make faults"]
async fn a_hundred_thousand_requests_during_rolling_restarts_do_not_fail() {
    let Some(mut fleet) = Fleet::start(false).await else { return };
    let mut made = 0;
    while made < 100_000 {
        let outcomes = fleet.roll(true, 5, "rolling restarts without retries").await;
        outcomes.all_ok(&errors(&fleet.nginx).join("\n"));
        made += outcomes.0.len();
    }
    fleet.has_stored_everything().await;
}

/// What an operator gets who does neither: nginx learns of the closed door from those it sends
/// there. Whoever was let in is still served.
#[tokio::test(flavor = "multi_thread")]
#[ignore = "a measurement: make faults"]
async fn without_notice_and_without_retries_requests_fail_only_at_the_closed_door() {
    let Some(mut fleet) = Fleet::start(false).await else { return };
    let outcomes = fleet.roll(false, 1, "a rolling restart without notice or retries").await;
    let failed = outcomes.count(502);
    say(&format!("{failed} of {} requests met a closed door", outcomes.0.len()));
    outcomes.all("without notice", |outcome| matches!(outcome.status(), 200 | 502));
    let others = errors(&fleet.nginx).into_iter().filter(|line| !line.contains("refused"));
    assert_eq!(others.collect::<Vec<_>>(), [""; 0]);
    fleet.has_stored_everything().await;
}
