//! Mail of the real binary over a real relay: the API enqueues, `mainstay worker` sends.

use std::{
    collections::BTreeSet,
    time::{Duration, Instant},
};

use reqwest::Method;
use serde_json::json;

use crate::support::{
    Database, Instance, Person, Services, Settings, eventually,
    smtp::{Fault, Received, Relay, Step, Tls},
    timing::{kept, say},
};

const SUBJECT: &str = "Set a new password";

fn settings(database: &Database, relay: &Relay) -> Settings {
    dressed(Settings::new(&database.url), relay)
}

fn dressed(settings: Settings, relay: &Relay) -> Settings {
    settings
        .set("APP__JOBS__IN_PROCESS", "false")
        .set("APP__JOBS__LEASE", "1s")
        .set("APP__SERVER__PUBLIC_URL", "https://shop.example")
        .set("APP__MAIL__FROM_ADDRESS", "shop@shop.example")
        .set("SMTP_URL", relay.url())
}

async fn forgot(api: &Instance, person: &Person) {
    let body = json!({"email": person.email});
    api.api.post("/api/v1/auth/password/forgot", body).await.expect(202);
}

fn resets(relay: &Relay) -> Vec<Received> {
    let all = relay.received().into_iter();
    all.filter(|received| received.header("Subject") == Some(SUBJECT)).collect()
}

fn ids(received: &[Received]) -> BTreeSet<&str> {
    received.iter().filter_map(|received| received.header("Message-ID")).collect()
}

async fn all_is_sent(database: &Database) {
    let open = "select count(*) from jobs where kind = 'send_mail' and state <> 'succeeded'";
    eventually("all mail is sent", async || database.number(open).await == 0).await;
}

/// As its reader sees it: quoted-printable is undone.
fn token(received: &Received) -> String {
    let text = received.data.replace("=\r\n", "").replace("=3D", "=");
    let (_, rest) = text.split_once("https://shop.example/account/reset-password#token=").unwrap();
    rest.split(|c: char| c.is_whitespace() || c == '"' || c == '<').next().unwrap().to_owned()
}

#[tokio::test]
async fn a_forgotten_password_is_replaced_by_a_mail_that_comes_once() {
    let (database, relay) = (Database::create().await, Relay::start().await);
    let settings = settings(&database, &relay);
    let api = Instance::ready(&settings).await;
    let worker = Instance::worker(&settings).await;
    let person = api.api.register().await;
    let asked = Instant::now();
    forgot(&api, &person).await;
    eventually("the mail arrives", async || !resets(&relay).is_empty()).await;
    kept("from the request to the relay", asked.elapsed(), Duration::from_secs(1));
    all_is_sent(&database).await;
    let received = resets(&relay);
    assert_eq!((received.len(), received[0].to.as_str()), (1, person.email.as_str()));
    let secret = token(&received[0]);
    let body = json!({"token": secret.clone(), "password": "copper-meadow-violin-81"});
    api.api.post("/api/v1/auth/password/reset", body.clone()).await.expect(204);
    api.api.post("/api/v1/auth/password/reset", body).await.expect(422);
    let password = "copper-meadow-violin-81".to_owned();
    let changed = Person { password, ..person.clone() };
    api.api.login(&changed).await;
    all_is_sent(&database).await;
    let told =
        |received: &&Received| received.header("Subject") == Some("Your password was changed");
    assert_eq!(relay.received().iter().filter(told).count(), 1);
    for process in [&api, &worker] {
        let written = process.whole_log().await + &process.api.get("/metrics").await.text;
        assert!(written.contains("mail_messages_total") || written.contains("forgot"));
        assert!(!written.contains(&secret) && !written.contains(&person.email));
    }
}

#[tokio::test]
async fn while_the_relay_is_down_requests_go_on_and_afterwards_each_mail_is_sent_once() {
    let (database, relay) = (Database::create().await, Relay::start().await);
    let settings = settings(&database, &relay);
    let api = Instance::ready(&settings).await;
    let _worker = Instance::worker(&settings).await;
    let mut people = Vec::new();
    for _ in 0..10 {
        people.push(api.api.register().await);
    }
    all_is_sent(&database).await;
    let address = relay.address;
    drop(relay);
    let (down, mut slowest) = (Instant::now(), Duration::ZERO);
    for person in &people {
        let asked = Instant::now();
        forgot(&api, person).await;
        slowest = slowest.max(asked.elapsed());
    }
    kept("the slowest request while the relay is down", slowest, Duration::from_millis(300));
    let failed = "select count(*) from jobs where kind = 'send_mail' and state = 'pending'
                  and attempts > 0";
    eventually("sending has failed", async || database.number(failed).await == 10).await;
    tokio::time::sleep(Duration::from_secs(3).saturating_sub(down.elapsed())).await;
    let relay = Relay::on(address, Tls::None, None).await;
    let up = Instant::now();
    all_is_sent(&database).await;
    say(&format!("10 mails were sent {} ms after the relay was back", up.elapsed().as_millis()));
    let received = relay.received();
    assert_eq!((received.len(), ids(&received).len()), (10, 10));
    let to: BTreeSet<_> = received.iter().map(|received| received.to.as_str()).collect();
    assert_eq!(to, people.iter().map(|person| person.email.as_str()).collect());
}

/// The clock of the database cannot be moved: instead each wait ends as soon as it has begun.
#[tokio::test]
async fn an_hour_without_a_relay_loses_no_mail_and_doubles_none() {
    let (database, relay) = (Database::create().await, Relay::start().await);
    let settings = settings(&database, &relay);
    let api = Instance::ready(&settings).await;
    let _worker = Instance::worker(&settings).await;
    let person = api.api.register().await;
    let tokens = api.api.login(&person).await;
    all_is_sent(&database).await;
    let address = relay.address;
    drop(relay);
    let body =
        json!({"current_password": person.password, "new_password": "copper-meadow-violin-81"});
    let path = "/api/v1/auth/password";
    api.api.call(&tokens.access, Method::PUT, path, Some(body)).await.expect(204);
    let waits = "from jobs where kind = 'send_mail' and state = 'pending' and run_at > now()";
    let skip = "update jobs set run_at = now() where kind = 'send_mail' and state = 'pending'";
    // What it has waited for so far, and the present wait where there is one.
    let (mut away, mut attempts) = (0, 0);
    while away < 3600 {
        let wait = format!(
            "select coalesce(ceil(max(extract(epoch from run_at - now()))), 0)::bigint {waits}"
        );
        eventually("an attempt has failed", async || {
            let wait = database.number(&wait).await;
            away += wait;
            wait > 0
        })
        .await;
        attempts += 1;
        database.execute(skip).await;
    }
    say(&format!("{attempts} attempts within an hour"));
    let relay = Relay::on(address, Tls::None, None).await;
    let open = "select count(*) from jobs where kind = 'send_mail' and state <> 'succeeded'";
    eventually("the mail is sent", async || {
        database.execute(skip).await;
        database.number(open).await == 0
    })
    .await;
    assert_eq!((relay.received().len(), ids(&relay.received()).len()), (1, 1));
}

#[tokio::test]
async fn restarts_of_postgres_lose_no_mail() {
    let (services, relay) = (Services::private_postgres(), Relay::start().await);
    let database = services.database();
    let settings = dressed(services.settings(), &relay);
    let api = Instance::ready(&settings).await;
    let _worker = Instance::worker(&settings).await;
    let mut people = Vec::new();
    for _ in 0..20 {
        people.push(api.api.register().await);
    }
    all_is_sent(&database).await;
    let before = relay.received().len();
    let asking = async {
        for person in &people {
            let body = json!({"email": person.email});
            eventually("it is promised", async || {
                let path = "/api/v1/auth/password/forgot";
                api.api.post(path, body.clone()).await.status == 202
            })
            .await;
            tokio::time::sleep(Duration::from_millis(150)).await;
        }
    };
    let restarting = tokio::task::spawn_blocking(move || {
        for mode in ["fast", "immediate"] {
            std::thread::sleep(Duration::from_secs(1));
            services.restart_postgres(mode);
        }
        services
    });
    asking.await;
    let _services = restarting.await.unwrap();
    all_is_sent(&database).await;
    let received = &relay.received()[before..];
    let to: BTreeSet<_> = received.iter().map(|received| received.to.clone()).collect();
    assert_eq!(to, people.iter().map(|person| person.email.clone()).collect());
    let doubled = received.len() - ids(received).len();
    say(&format!("{} mails over two restarts, {doubled} twice", received.len()));
    assert!(doubled <= 4, "only what the relay had and could not be marked as sent");
}

/// Whether the relay had kept the message when the worker died, and how many copies there are.
const DEATHS: [(Step, usize); 2] = [(Step::Message, 1), (Step::Acknowledgement, 2)];

#[tokio::test]
async fn a_worker_that_is_killed_while_it_sends_makes_one_duplicate_at_most() {
    let (database, relay) = (Database::create().await, Relay::start().await);
    let settings = settings(&database, &relay);
    let api = Instance::ready(&settings).await;
    for (step, copies) in DEATHS {
        let worker = Instance::worker(&settings).await;
        let person = api.api.register().await;
        all_is_sent(&database).await;
        relay.fail(step, Fault::Silence);
        let heard = relay.heard().matches("DATA").count();
        forgot(&api, &person).await;
        eventually("the relay has the message", async || {
            relay.heard().matches("DATA").count() > heard
                && (step == Step::Message || resets(&relay).iter().any(|it| it.to == person.email))
        })
        .await;
        if step == Step::Message {
            // The rest of the message is on its way.
            tokio::time::sleep(Duration::from_millis(300)).await;
        }
        drop(worker);
        relay.behave();
        let _successor = Instance::worker(&settings).await;
        all_is_sent(&database).await;
        let all = resets(&relay);
        let received: Vec<_> = all.into_iter().filter(|it| it.to == person.email).collect();
        assert_eq!(received.len(), copies, "{step:?}");
        assert_eq!(ids(&received).len(), 1, "{step:?}: one Message-ID");
        let tokens: BTreeSet<_> = received.iter().map(token).collect();
        assert_eq!(tokens.len(), 1, "{step:?}: the same link");
        let lost = format!(
            "select count(*) from jobs where kind = 'send_mail' and crashes = 1 and \
             id::text = '{}'",
            ids(&received).first().unwrap().trim_start_matches('<').split('@').next().unwrap()
        );
        assert_eq!(database.number(&lost).await, 1, "{step:?}: its worker died");
    }
}
