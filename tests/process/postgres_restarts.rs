//! Postgres restarted under load: clear answers meanwhile, nothing acknowledged is lost, and the
//! same process goes on with a whole pool.

use std::{
    sync::{
        Arc,
        atomic::{AtomicUsize, Ordering},
    },
    time::Duration,
};

use reqwest::Method;
use serde_json::json;

use crate::support::{Api, Instance, Load, Reply, Services, Tokens, load::Outcomes, pool, within};

const RECOVERY: Duration = Duration::from_secs(5);

/// Three read and one writes numbers into its own name.
async fn request(
    api: Api,
    worker: usize,
    tokens: Tokens,
    next: Arc<AtomicUsize>,
) -> Result<Reply, String> {
    let token = Some(tokens.access.as_str());
    let path = "/api/v1/users/me";
    match worker {
        0 => {
            let name = format!("{}", next.fetch_add(1, Ordering::SeqCst));
            api.attempt(Method::PATCH, path, token, Some(json!({"name": name}))).await
        }
        1 => api.attempt(Method::GET, "/api/v1/auth/sessions", token, None).await,
        _ => api.attempt(Method::GET, path, token, None).await,
    }
}

fn load(api: &Api, tokens: &Tokens) -> Load {
    let (api, tokens, next) = (api.clone(), tokens.clone(), Arc::new(AtomicUsize::new(1)));
    Load::start(4, move |worker, _| request(api.clone(), worker, tokens.clone(), next.clone()))
}

/// The highest number that was acknowledged.
fn acknowledged(outcomes: &Outcomes) -> usize {
    let names = outcomes.0.iter().filter_map(|outcome| {
        let reply = outcome.reply.as_ref().ok().filter(|reply| reply.status == 200)?;
        reply.json()["name"].as_str()?.parse::<usize>().ok()
    });
    names.max().unwrap_or_default()
}

async fn survives_a_restart(mode: &str) {
    let services = Services::private_postgres();
    let database = services.database();
    let settings =
        services.settings().set("APP__DATABASE__MAX_CONNECTIONS", pool::SIZE.to_string());
    let mut instance = Instance::ready(&settings).await;
    let tokens = instance.api.sign_in().await;
    let load = load(&instance.api, &tokens);
    for round in 1..=2 {
        tokio::time::sleep(Duration::from_millis(700)).await;
        services.restart_postgres(mode);
        let what = format!("recovered from restart {round} ({mode})");
        within(&what, RECOVERY, async || {
            instance.api.get("/health/ready").await.status == 200
                && instance.api.me(&tokens.access).await.status == 200
        })
        .await;
    }
    tokio::time::sleep(Duration::from_secs(1)).await;
    let outcomes = load.stop(&format!("requests during two restarts ({mode})")).await;
    outcomes.all("during a restart", |outcome| match &outcome.reply {
        Ok(reply) => reply.status == 200 || reply.is_clear_503(),
        Err(_) => false,
    });
    assert!(instance.exited().is_none());
    let query = format!("select name from users where id = '{}'", tokens.user);
    let stored: usize = database.text(&query).await.parse().unwrap_or_default();
    let acknowledged = acknowledged(&outcomes);
    assert!(stored >= acknowledged, "{acknowledged} was acknowledged, {stored} is stored");
    pool::is_whole(&instance, &database, &tokens.access).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_fast_restart_of_postgres_under_load_gives_clear_answers_and_a_whole_pool() {
    survives_a_restart("fast").await;
}

#[tokio::test(flavor = "multi_thread")]
async fn an_immediate_restart_of_postgres_under_load_gives_clear_answers_and_a_whole_pool() {
    survives_a_restart("immediate").await;
}

#[tokio::test(flavor = "multi_thread")]
async fn postgres_gone_for_a_while_is_told_within_seconds_and_met_again() {
    let services = Services::private_postgres();
    let database = services.database();
    let settings =
        services.settings().set("APP__DATABASE__MAX_CONNECTIONS", pool::SIZE.to_string());
    let instance = Instance::ready(&settings).await;
    let tokens = instance.api.sign_in().await;
    services.kill_postgres();
    within("not ready after a crash of Postgres", Duration::from_secs(5), async || {
        instance.api.get("/health/ready").await.status == 503
    })
    .await;
    for _ in 0..10 {
        let reply = instance.api.me(&tokens.access).await;
        assert!(reply.is_clear_503(), "{} {}", reply.status, reply.text);
        instance.api.get("/health/live").await.expect(200);
        tokio::time::sleep(Duration::from_millis(100)).await;
    }
    services.start_postgres();
    within("recovered from a crash of Postgres", RECOVERY, async || {
        instance.api.get("/health/ready").await.status == 200
            && instance.api.me(&tokens.access).await.status == 200
    })
    .await;
    pool::is_whole(&instance, &database, &tokens.access).await;
}

/// Backends cut one by one, as a failover or an administrator does.
#[tokio::test(flavor = "multi_thread")]
async fn connections_that_were_cut_are_replaced() {
    let services = Services::private_postgres();
    let database = services.database();
    let settings =
        services.settings().set("APP__DATABASE__MAX_CONNECTIONS", pool::SIZE.to_string());
    let instance = Instance::ready(&settings).await;
    let tokens = instance.api.sign_in().await;
    let load = load(&instance.api, &tokens);
    for _ in 0..10 {
        tokio::time::sleep(Duration::from_millis(150)).await;
        let cut = "select count(pg_terminate_backend(pid)) from pg_stat_activity
                   where application_name = 'mainstay'";
        database.number(cut).await;
    }
    tokio::time::sleep(Duration::from_millis(500)).await;
    let outcomes = load.stop("requests while connections are cut").await;
    outcomes.all("while connections are cut", |outcome| match &outcome.reply {
        Ok(reply) => reply.status == 200 || reply.is_clear_503(),
        Err(_) => false,
    });
    pool::is_whole(&instance, &database, &tokens.access).await;
}
