//! Requests whose end two readers may see in different places, sent straight and through nginx: what
//! hides in them is never answered as a request.

use std::time::Duration;

use futures_util::{StreamExt, stream};
use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    time::timeout,
};

use crate::support::{
    Api, Database, Instance, Settings,
    nginx::Nginx,
    raw,
    smuggling::{Case, cases},
    timing::say,
};

/// Longer than the service waits for a head or body.
const QUIET: Duration = Duration::from_secs(3);
const AT_ONCE: usize = 16;

struct Outcome {
    name: String,
    /// Of final answers; 0 for one that is none.
    statuses: Vec<u16>,
    closed: bool,
}

async fn send(api: &Api, case: Case) -> Outcome {
    let mut stream = raw::connect(api).await;
    // It may be refused before all of it was sent.
    let _ = stream.write_all(&case.bytes).await;
    let (mut answer, mut part, mut closed) = (Vec::new(), [0; 4096], false);
    while let Ok(read) = timeout(QUIET, stream.read(&mut part)).await {
        match read {
            Ok(read @ 1..) => answer.extend_from_slice(&part[..read]),
            _ => {
                closed = true;
                break;
            }
        }
    }
    Outcome { name: case.name, statuses: statuses(&String::from_utf8_lossy(&answer)), closed }
}

fn statuses(answer: &str) -> Vec<u16> {
    let heads = answer.match_indices("HTTP/1.1 ").map(|(at, name)| &answer[at + name.len()..]);
    heads.map(|rest| rest[..3].parse().unwrap_or(0)).filter(|status| *status != 100).collect()
}

async fn all(api: &Api) -> Vec<Outcome> {
    let sending = stream::iter(cases()).map(|case| send(api, case));
    sending.buffer_unordered(AT_ONCE).collect().await
}

/// Where nobody can be misled, because no reader ends the request anywhere else.
const TOLERATED: &[&str] = &["line \"GET /api/v1/ping#x HTTP/1.1\""];

/// Requests for what was hidden that the service has seen.
async fn found(instance: &Instance) -> usize {
    instance.whole_log().await.matches("\"path\":\"/smuggled\"").count()
}

async fn instance() -> (Instance, Database) {
    let database = Database::create().await;
    let settings = Settings::new(&database.url)
        .set("APP__SERVER__HEAD_TIMEOUT", "1s")
        .set("APP__SERVER__BODY_GRACE", "500ms");
    (Instance::ready(&settings).await, database)
}

#[tokio::test(flavor = "multi_thread")]
async fn what_may_end_in_two_places_is_answered_once_and_the_connection_ends() {
    let (instance, _database) = instance().await;
    let outcomes = all(&instance.api).await;
    assert!(outcomes.len() > 130, "{}", outcomes.len());
    let (tolerated, others): (Vec<_>, Vec<_>) =
        outcomes.into_iter().partition(|outcome| TOLERATED.contains(&outcome.name.as_str()));
    for Outcome { name, statuses, closed } in others {
        let refused = statuses.iter().all(|status| (400..500).contains(status));
        assert!(refused && statuses.len() <= 1 && closed, "{name}: {statuses:?}, closed: {closed}");
    }
    assert_eq!(tolerated.len(), TOLERATED.len(), "a deviation that is none any more");
    assert_eq!(found(&instance).await, TOLERATED.len());
}

/// nginx may take a request that we refuse, and then it may find another behind it. What must not
/// be is that the two see a different number of requests.
#[tokio::test(flavor = "multi_thread")]
async fn nginx_and_the_service_see_the_same_requests() {
    let (instance, _database) = instance().await;
    let port = instance.api.address().rsplit_once(':').and_then(|(_, port)| port.parse().ok());
    let Some(nginx) = Nginx::start(&[port.expect("a port")], false).await else {
        say("skipped: there is no nginx here, and only root can install it");
        return;
    };
    let outcomes = all(&nginx.api()).await;
    let twice: Vec<_> = outcomes.iter().filter(|outcome| outcome.statuses.len() > 1).collect();
    say(&format!("nginx took {} of {} for two requests", twice.len(), outcomes.len()));
    for Outcome { name, statuses, .. } in &twice {
        let framing = name.contains("length") || name.contains("coding");
        assert!(!framing || name.starts_with("trailer"), "{name}: {statuses:?}");
        assert!(statuses.len() == 2 && statuses[1] == 404, "{name}: {statuses:?}");
    }
    assert_eq!(found(&instance).await, twice.len(), "nginx does not know of a request");
    whoever_asks_gets_the_own_answer(&nginx.api()).await;
}

/// The connections between the two, which everybody shares, are in step.
async fn whoever_asks_gets_the_own_answer(api: &Api) {
    for n in 0..50 {
        let path = format!("/api/v1/auth/sessions/{n}");
        let mut stream = raw::connect(api).await;
        let head = format!(
            "GET {path} HTTP/1.1\r\nHost: a\r\nX-Request-Id: own-{n}\r\nConnection: close\r\n\r\n"
        );
        stream.write_all(head.as_bytes()).await.expect("nginx reads");
        let mut answer = String::new();
        stream.read_to_string(&mut answer).await.expect("an answer");
        assert!(answer.contains(&format!("\"request_id\":\"own-{n}\"")), "{answer}");
    }
}
