//! What is kept of the catalogue is never older than promised, whatever is killed or stopped.

use std::time::{Duration, Instant};

use reqwest::Method;
use serde_json::json;

use crate::support::{
    Database, Instance, Person, Reply, Services, Settings, Tokens, command::create_user,
    timing::kept, within,
};

const BOUND: Duration = Duration::from_secs(1);

/// Two instances and a product that both have read.
struct Pair {
    here: Instance,
    there: Instance,
    staff: Tokens,
    path: String,
    stock: i64,
}

impl Pair {
    async fn start(settings: &Settings) -> Self {
        let here = Instance::ready(settings).await;
        let there = Instance::ready(settings).await;
        let person = Person::new();
        create_user(settings, "staff", &person.email, &person.password);
        let staff = here.api.login(&person).await;
        let draft = json!({
            "sku": "KN-1", "name": "Knife", "category": "home",
            "price": {"amount": 1999, "currency": "EUR"}, "stock": 10,
        });
        let path = "/api/v1/products";
        let made = here.api.call(&staff.access, Method::POST, path, Some(draft)).await;
        let path = format!("{path}/{}", made.expect(201).text_of("id"));
        let pair = Self { here, there, staff, path, stock: 10 };
        pair.shown_by(&pair.there).await;
        pair
    }

    async fn get(&self, instance: &Instance) -> Reply {
        instance.api.get(&self.path).await.expect(200)
    }

    async fn shows(&self, instance: &Instance) -> bool {
        self.get(instance).await.json()["stock"] == self.stock
    }

    async fn shown_by(&self, instance: &Instance) {
        within("a change is shown elsewhere", BOUND, async || self.shows(instance).await).await;
    }

    /// One more.
    async fn add(&mut self) {
        let path = format!("{}/stock-adjustments", self.path);
        let body = json!({"delta": 1, "reason": "counted"});
        let call = self.here.api.call(&self.staff.access, Method::POST, &path, Some(body));
        call.await.expect(200);
        self.stock += 1;
    }

    async fn changes_are_shown(&mut self, times: usize) {
        for _ in 0..times {
            self.add().await;
            assert!(self.shows(&self.here).await, "the instance that wrote");
            self.shown_by(&self.there).await;
        }
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_change_is_shown_by_both_instances_while_redis_is_killed_hung_and_back() {
    let services = Services::private_redis();
    let database = Database::create().await;
    let settings = Settings::new(&database.url).set("REDIS_URL", services.redis_url());
    let mut pair = Pair::start(&settings).await;
    pair.changes_are_shown(3).await;
    services.signal_redis("STOP");
    pair.changes_are_shown(5).await;
    services.signal_redis("CONT");
    pair.changes_are_shown(5).await;
    services.signal_redis("KILL");
    pair.changes_are_shown(5).await;
    services.start_redis();
    pair.changes_are_shown(5).await;
    database.is_at_rest().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn an_instance_that_was_stopped_serves_nothing_from_before_when_it_goes_on() {
    let database = Database::create().await;
    let mut pair = Pair::start(&Settings::new(&database.url).with_redis()).await;
    for _ in 0..3 {
        pair.shown_by(&pair.there).await;
        pair.there.signal("STOP");
        pair.add().await;
        tokio::time::sleep(BOUND + Duration::from_millis(500)).await;
        pair.there.signal("CONT");
        assert!(pair.shows(&pair.there).await, "what was kept before the stop");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_hung_redis_delays_reads_no_longer_than_its_first_failures() {
    let services = Services::private_redis();
    let database = Database::create().await;
    let settings = Settings::new(&database.url).set("REDIS_URL", services.redis_url());
    let mut pair = Pair::start(&settings).await;
    services.signal_redis("STOP");
    for _ in 0..5 {
        pair.add().await;
        pair.get(&pair.here).await;
    }
    let mut slowest = Duration::ZERO;
    for _ in 0..20 {
        pair.add().await;
        let began = Instant::now();
        let reply = pair.get(&pair.here).await;
        slowest = slowest.max(began.elapsed());
        assert_eq!(reply.header("x-cache"), "miss");
    }
    // Somebody who waited for Redis would have waited for its deadline of 100 ms.
    kept("the slowest miss while Redis hangs", slowest, Duration::from_millis(33));
    services.signal_redis("CONT");
}
