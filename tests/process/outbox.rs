//! Events under kill -9, SIGSTOP and a consumer that is away: each is told, in order, and what it
//! causes in the database happens once.
//!
//! The consumer is the tests' own, so the instances are this test binary, started again.

use std::{collections::HashMap, process::Command, time::Duration};

use deadpool_redis::redis;
use futures_util::future::{BoxFuture, FutureExt};
use mainstay::{
    app::App,
    config::{Config, Inputs},
    domain::events::{Event, EventType, Wants},
    error::Result,
    events::{Consumer, Handler, Inside},
    telemetry,
};
use reqwest::Method;
use serde_json::json;
use sqlx::PgConnection;

use crate::support::{
    Api, Database, Instance, Load, Person, Services, Settings, Tokens,
    command::{self, create_user},
    eventually,
    timing::{kept, say},
    within,
};

const TAKEOVER: Duration = Duration::from_secs(10);
const LAG: Duration = Duration::from_secs(1);
const DRAIN: Duration = Duration::from_secs(30);
const AGGREGATES: usize = 20;
const I_AM: &str = "MAINSTAY_TEST_IS_AN_INSTANCE";

struct Ledger;

impl Inside for Ledger {
    fn handle<'a>(
        &'a self,
        tx: &'a mut PgConnection,
        event: &'a Event,
    ) -> BoxFuture<'a, Result<()>> {
        async move {
            let insert =
                "insert into ledger (event_id, aggregate_id, sequence) values ($1, $2, $3)";
            let insert = sqlx::query(insert).bind(event.id.0).bind(event.aggregate_id);
            insert.bind(event.sequence).execute(tx).await?;
            // Something must be in hand whenever the process dies.
            tokio::time::sleep(Duration::from_millis(2)).await;
            Ok(())
        }
        .boxed()
    }
}

#[tokio::test(flavor = "multi_thread")]
#[ignore = "is an instance for the other tests, and nothing when it is run by itself"]
async fn an_instance() {
    if std::env::var(I_AM).is_err() {
        return;
    }
    let config = Config::load(&Inputs::from_process()).unwrap();
    telemetry::logs::install(&config.log).unwrap();
    telemetry::metrics::install();
    let ledger = Consumer {
        name: "ledger",
        wants: Wants::Only(&[EventType::UserUpdated]),
        blocking: false,
        handler: Handler::Inside(Box::new(Ledger)),
    };
    App::with(config, mainstay::jobs::registry(), vec![ledger]).unwrap().serve().await.unwrap();
}

/// Instances over one database, and an administrator of it.
struct Fleet {
    settings: Settings,
    instances: Vec<Instance>,
    database: Database,
    admin: Tokens,
    users: Vec<String>,
}

impl Fleet {
    async fn start(size: usize) -> Self {
        let database = Database::create().await;
        let settings = Settings::new(&database.url).with_redis();
        Self::over(database, settings, size).await
    }

    async fn over(database: Database, settings: Settings, size: usize) -> Self {
        let settings = settings.set(I_AM, "1");
        command::run(&settings, &["migrate", "up"]).expect("migrate up");
        database
            .execute(
                "create table ledger (n bigint generated always as identity, event_id uuid,
                 aggregate_id uuid, sequence bigint, at timestamptz default clock_timestamp())",
            )
            .await;
        let mut instances = Vec::new();
        for _ in 0..size {
            instances.push(instance(&settings).await);
        }
        let (admin, users) = people(&settings, &database, &instances[0].api).await;
        Self { settings, instances, database, admin, users }
    }

    /// The place of the one that relays.
    async fn relay(&self) -> usize {
        let mut found = None;
        eventually("somebody relays", async || {
            found = None;
            for (place, instance) in self.instances.iter().enumerate() {
                let metrics = instance.api.get("/metrics").await.text;
                if metrics.lines().any(|line| line == "outbox_relay_active 1") {
                    found = Some(place);
                }
            }
            found.is_some()
        })
        .await;
        found.expect("somebody relays")
    }

    /// Changes of roles on all instances but one.
    fn load(&self, spared: usize) -> Load {
        let others = self.instances.iter().enumerate().filter(|(place, _)| *place != spared);
        let apis = others.map(|(_, instance)| instance.api.clone()).collect();
        load(apis, &self.admin, &self.users)
    }

    /// Whether something was, by the database's clock.
    async fn is_handled_since(&self, since: &str) -> bool {
        let handled = format!("select count(*) from ledger where at > '{since}'");
        self.database.number(&handled).await > 0
    }

    async fn now(&self) -> String {
        self.database.text("select clock_timestamp()::text").await
    }

    /// What was under way on the connections of one that is gone may still be committed.
    async fn dust_settled(&self) -> String {
        tokio::time::sleep(Duration::from_millis(500)).await;
        self.now().await
    }

    /// Everything was handled, once, and in order.
    async fn settles(&self, what: &str) {
        let pending = "select count(*) from outbox_deliveries where state <> 'done'";
        eventually("all is handed over", async || self.database.number(pending).await == 0).await;
        let count = async |query: &str| self.database.number(query).await;
        let updated = "from outbox_events e where e.type = 'user.updated'";
        let events = count(&format!("select count(*) {updated}")).await;
        let effects = count("select count(*) from ledger").await;
        let missing = format!(
            "select count(*) {updated} and not exists (select from ledger l where l.event_id = e.id)"
        );
        let disorder = "select count(*) from (
            select sequence, lag(sequence) over (partition by aggregate_id order by n) as before
            from ledger) it where it.before >= it.sequence";
        say(&format!("{what}: {events} events, {effects} effects"));
        assert!(events > 30, "the load was too small to tell anything");
        assert_eq!((count(&missing).await, count(disorder).await), (0, 0), "{what}");
        assert_eq!(effects, events, "{what}: each effect happened once");
    }

    /// From an event to its effect.
    async fn lag(&self, what: &str, before: &str) -> Duration {
        let lag = async |share: f64| {
            let query = format!(
                "select (1000 * percentile_cont({share}) within group (
                            order by extract(epoch from l.at - e.at)))::bigint
                 from ledger l join outbox_events e on e.id = l.event_id where l.at < '{before}'"
            );
            self.database.number(&query).await
        };
        let (p50, p99, most) = (lag(0.5).await, lag(0.99).await, lag(1.0).await);
        say(&format!("{what}: lag p50 {p50} ms, p99 {p99} ms, most {most} ms"));
        Duration::from_millis(p99.unsigned_abs())
    }
}

async fn instance(settings: &Settings) -> Instance {
    let mut command = Command::new(std::env::current_exe().expect("this binary"));
    command.current_dir("/");
    command.args(["outbox::an_instance", "--exact", "--ignored", "--nocapture"]);
    let instance = Instance::spawn(settings.dress(command)).await;
    instance.becomes_ready().await;
    instance
}

async fn people(settings: &Settings, database: &Database, api: &Api) -> (Tokens, Vec<String>) {
    let admin = Person::new();
    create_user(settings, "admin", &admin.email, &admin.password);
    let admin = api.login(&admin).await;
    let mut users = Vec::new();
    for n in 0..AGGREGATES {
        let insert = format!(
            "insert into users (id, email, email_key, name, role)
             values (gen_random_uuid(), 'u{n}@example.com', 'u{n}@example.com', 'Grace', 'customer')
             returning id::text"
        );
        users.push(database.text(&insert).await);
    }
    (admin, users)
}

/// Each worker has users of its own, and changes their roles in turn.
fn load(apis: Vec<Api>, admin: &Tokens, users: &[String]) -> Load {
    const WORKERS: usize = 4;
    let (access, users) = (admin.access.clone(), users.to_vec());
    Load::start(WORKERS, move |worker, n| {
        let api = apis[worker % apis.len()].clone();
        let own = AGGREGATES / WORKERS;
        let user = users[worker * own + n % own].clone();
        let role = ["staff", "customer"][n / own % 2];
        let access = access.clone();
        async move {
            let path = format!("/api/v1/users/{user}");
            api.attempt(Method::PATCH, &path, Some(&access), Some(json!({"role": role}))).await
        }
    })
}

#[tokio::test(flavor = "multi_thread")]
async fn a_relay_that_is_killed_is_succeeded_and_nothing_is_lost_or_done_twice() {
    let mut fleet = Fleet::start(3).await;
    let relay = fleet.relay().await;
    let load = fleet.load(relay);
    tokio::time::sleep(Duration::from_secs(3)).await;
    let killed = fleet.now().await;
    fleet.instances[relay].signal("KILL");
    let since = fleet.dust_settled().await;
    within("takeover after kill -9", TAKEOVER, async || fleet.is_handled_since(&since).await).await;
    tokio::time::sleep(Duration::from_secs(2)).await;
    load.stop("roles changed, relay killed").await.all_ok("nobody noticed");
    fleet.instances.remove(relay);
    fleet.settles("relay killed").await;
    let p99 = fleet.lag("before the kill", &killed).await;
    kept("lag p99", p99, LAG);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_relay_that_was_stopped_and_goes_on_does_nothing_over_its_successor() {
    let fleet = Fleet::start(2).await;
    let relay = fleet.relay().await;
    let load = fleet.load(relay);
    tokio::time::sleep(Duration::from_secs(1)).await;
    let stopped = fleet.now().await;
    fleet.instances[relay].signal("STOP");
    let since = fleet.dust_settled().await;
    within("takeover after SIGSTOP", TAKEOVER, async || fleet.is_handled_since(&since).await).await;
    tokio::time::sleep(Duration::from_secs(3)).await;
    fleet.instances[relay].signal("CONT");
    tokio::time::sleep(Duration::from_secs(3)).await;
    load.stop("roles changed, relay stopped").await.all_ok("nobody noticed");
    fleet.settles("relay stopped").await;
    assert_ne!(fleet.relay().await, relay, "it has not taken the lease back");
    fleet.lag("before the stop", &stopped).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_relay_that_ends_in_peace_is_succeeded_at_once() {
    let mut fleet = Fleet::start(2).await;
    let relay = fleet.relay().await;
    let load = fleet.load(relay);
    tokio::time::sleep(Duration::from_secs(2)).await;
    fleet.instances[relay].signal("TERM");
    fleet.instances[relay].exit().await;
    let ended = fleet.now().await;
    let bound = Duration::from_secs(2);
    within("takeover after SIGTERM", bound, async || fleet.is_handled_since(&ended).await).await;
    load.stop("roles changed, relay ended").await.all_ok("nobody noticed");
    fleet.instances.remove(relay);
    fleet.settles("relay ended").await;
}

#[tokio::test(flavor = "multi_thread")]
async fn restarts_of_postgres_lose_no_event_and_double_no_effect() {
    let services = Services::private_postgres();
    let fleet = Fleet::over(services.database(), services.settings(), 2).await;
    let load = fleet.load(usize::MAX);
    for mode in ["fast", "immediate"] {
        tokio::time::sleep(Duration::from_secs(2)).await;
        services.restart_postgres(mode);
        let since = fleet.now().await;
        let what = format!("events are handed over after a restart ({mode})");
        within(&what, TAKEOVER, async || fleet.is_handled_since(&since).await).await;
    }
    load.stop("roles changed over two restarts of Postgres").await;
    fleet.settles("Postgres restarted").await;
}

#[tokio::test(flavor = "multi_thread")]
#[ignore = "minutes long: one of `make faults`"]
async fn relays_that_are_killed_and_stopped_again_and_again_lose_nothing_and_do_nothing_twice() {
    let mut fleet = Fleet::start(3).await;
    // The last is only there to take the load.
    for round in 0..20 {
        let relay = fleet.relay().await;
        let load = fleet.load(relay);
        tokio::time::sleep(Duration::from_millis(500 + 137 * round % 1500)).await;
        let signal = ["KILL", "STOP"][round as usize % 2];
        fleet.instances[relay].signal(signal);
        let since = fleet.dust_settled().await;
        let what = format!("round {round}, takeover after SIG{signal}");
        within(&what, TAKEOVER, async || fleet.is_handled_since(&since).await).await;
        if signal == "STOP" {
            tokio::time::sleep(Duration::from_secs(10)).await;
            fleet.instances[relay].signal("CONT");
            tokio::time::sleep(Duration::from_secs(2)).await;
        } else {
            let again = instance(&fleet.settings).await;
            fleet.instances[relay] = again;
        }
        load.stop(&what).await.all_ok("nobody noticed");
    }
    fleet.settles("twenty deaths").await;
}

type Entries = Vec<(String, HashMap<String, String>)>;

async fn entries(url: &str, key: &str) -> Entries {
    let client = redis::Client::open(url).expect("a URL");
    // A long stream takes longer than the half second that the client waits by default.
    let patient = redis::AsyncConnectionConfig::new().set_response_timeout(None);
    let conn = client.get_multiplexed_async_connection_with_config(&patient).await;
    let mut conn = conn.expect("Redis is back");
    let mut range = redis::cmd("XRANGE");
    range.arg(key).arg("-").arg("+");
    range.query_async(&mut conn).await.expect("a stream")
}

/// Each event is in the stream, and the first mention of each is in order per aggregate.
fn is_whole_and_in_order(entries: &Entries, events: i64) {
    let mut newest = HashMap::<&str, i64>::new();
    let mut seen = std::collections::HashSet::new();
    for (_, entry) in entries.iter().filter(|(_, entry)| entry["type"] == "user.updated") {
        if seen.insert(&entry["id"]) {
            let sequence = entry["sequence"].parse().expect("a number");
            let before = newest.insert(&entry["aggregate"], sequence);
            assert!(before.is_none_or(|before| before < sequence), "{entry:?} after {before:?}");
        }
    }
    say(&format!("{} entries of {events} events", entries.len()));
    assert_eq!(seen.len() as i64, events);
}

async fn redis_is_away(length: Duration) {
    let services = Services::private_redis();
    let database = Database::create().await;
    let settings = Settings::new(&database.url)
        .set("REDIS_URL", services.redis_url())
        .set("APP__REDIS__PREFIX", "away:")
        .set("APP__OUTBOX__REDIS_STREAM", "events");
    let instance = Instance::ready(&settings).await;
    let (admin, users) = people(&settings, &database, &instance.api).await;
    let load = load(vec![instance.api.clone()], &admin, &users);
    tokio::time::sleep(Duration::from_secs(1)).await;
    services.signal_redis("STOP");
    tokio::time::sleep(length).await;
    load.stop("roles changed, Redis away").await.all_ok("nobody noticed");
    let pending = "select count(*) from outbox_deliveries where state <> 'done'";
    let waiting = database.number(pending).await;
    assert!(waiting > 50, "{waiting} wait");
    services.signal_redis("CONT");
    let what = format!("{waiting} events drained after {} s of outage", length.as_secs());
    within(&what, DRAIN, async || database.number(pending).await == 0).await;
    let events = "select count(*) from outbox_events where type = 'user.updated'";
    let events = database.number(events).await;
    is_whole_and_in_order(&entries(&services.redis_url(), "away:events").await, events);
}

#[tokio::test(flavor = "multi_thread")]
async fn what_happened_while_redis_was_away_is_published_soon_after() {
    redis_is_away(Duration::from_secs(8)).await;
}

#[tokio::test(flavor = "multi_thread")]
#[ignore = "minutes long: one of `make faults`"]
async fn what_happened_in_five_minutes_without_redis_is_published_in_half_a_minute() {
    redis_is_away(Duration::from_secs(300)).await;
}
