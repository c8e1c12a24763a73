//! Random readers and writers over several instances, while Redis dies and returns: no read may
//! be older than promised.

use std::{
    sync::{Arc, Mutex},
    time::{Duration, Instant},
};

use futures_util::future::join_all;
use serde_json::Value;

use crate::support::{
    Person, TestApp,
    products::{draft, path},
    relay::{Mode, Relay},
};

const RUNS_FOR: Duration = Duration::from_secs(8);
const PROMISED: Duration = Duration::from_secs(1);
const PRODUCTS: usize = 3;

/// A write that was answered: which product, what stock it left, where and when.
#[derive(Clone, Copy)]
struct Acknowledged {
    product: usize,
    stock: i64,
    instance: usize,
    at: Instant,
}

#[derive(Default)]
struct History {
    writes: Vec<Acknowledged>,
    reads: usize,
    /// How old the oldest answer was: the time since a write that it did not show.
    oldest: Duration,
}

impl History {
    /// What a read must show that began at `began`.
    fn check(&mut self, product: usize, instance: usize, began: Instant, stock: i64) {
        self.reads += 1;
        for write in self.writes.iter().filter(|write| write.product == product) {
            if stock >= write.stock || write.at > began {
                continue;
            }
            let age = began.duration_since(write.at);
            assert_ne!(write.instance, instance, "not shown by its own instance after {age:?}");
            self.oldest = self.oldest.max(age);
        }
    }
}

/// Numbers that look random and can be had again.
struct Dice(u64);

impl Dice {
    fn below(&mut self, bound: u64) -> u64 {
        self.0 = self.0.wrapping_mul(6364136223846793005).wrapping_add(1442695040888963407);
        (self.0 >> 33) % bound
    }
}

struct World {
    apps: Vec<TestApp>,
    staff: Person,
    products: Vec<Value>,
    history: Mutex<History>,
}

impl World {
    async fn new(vars: &[(&str, &str)]) -> Arc<Self> {
        let first = TestApp::with(vars).await;
        let staff = first.staff("staff").await;
        let mut products = Vec::new();
        for n in 0..PRODUCTS {
            products.push(first.product(&staff, &draft(&format!("KN-{n}"))).await);
        }
        let others = [first.sibling().await, first.sibling().await];
        let apps = [first].into_iter().chain(others).collect();
        Arc::new(Self { apps, staff, products, history: Mutex::default() })
    }

    async fn act(&self, instance: usize, dice: &mut Dice, end: Instant) {
        while Instant::now() < end {
            let product = dice.below(PRODUCTS as u64) as usize;
            match dice.below(20) {
                0 => self.write(instance, product).await,
                1..4 => tokio::time::sleep(Duration::from_millis(dice.below(60))).await,
                _ => self.read(instance, product).await,
            }
        }
    }

    async fn write(&self, instance: usize, product: usize) {
        let call = self.apps[instance].adjustment(&self.staff, &self.products[product], 1);
        let stock = call.send().await.expect(200).json()["stock"].as_i64().unwrap();
        let at = Instant::now();
        self.history.lock().unwrap().writes.push(Acknowledged { product, stock, instance, at });
    }

    async fn read(&self, instance: usize, product: usize) {
        let began = Instant::now();
        let answer = self.apps[instance].get(&path(&self.products[product])).send().await;
        let stock = answer.expect(200).json()["stock"].as_i64().unwrap();
        self.history.lock().unwrap().check(product, instance, began, stock);
    }
}

async fn chaos(relay: &Relay, dice: &mut Dice, end: Instant) {
    while Instant::now() < end {
        let mode = [Mode::Flows, Mode::Hangs, Mode::Cut][dice.below(3) as usize];
        relay.set(mode);
        tokio::time::sleep(Duration::from_millis(100 + dice.below(900))).await;
    }
}

async fn run(world: &Arc<World>, relay: Option<&Relay>) {
    let seed: u64 = u64::from_be_bytes(mainstay::shared::crypto::random());
    println!("seed {seed}");
    let end = Instant::now() + RUNS_FOR;
    let actors = (0..9).map(|n| {
        let world = world.clone();
        tokio::spawn(async move { world.act(n % 3, &mut Dice(seed + n as u64), end).await })
    });
    let actors = join_all(actors.collect::<Vec<_>>());
    let faults = async {
        if let Some(relay) = relay {
            chaos(relay, &mut Dice(seed), end).await;
        }
    };
    let (ended, ()) = futures_util::future::join(actors, faults).await;
    ended.into_iter().for_each(|actor| actor.expect("no read was too old"));
    let history = world.history.lock().unwrap();
    let (writes, oldest) = (history.writes.len(), history.oldest);
    println!("{} reads, {writes} writes; the oldest answer was {oldest:?} old", history.reads);
    assert!(writes >= 5 && history.reads >= 50, "too little happened");
    assert!(oldest < 3 * PROMISED, "seed {seed}: {oldest:?}");
}

#[tokio::test]
async fn no_read_is_too_old_while_redis_dies_and_returns() {
    let relay = Relay::to_redis().await;
    let world = World::new(&[("REDIS_URL", relay.url())]).await;
    run(&world, Some(&relay)).await;
}

#[tokio::test]
async fn no_read_is_too_old_without_redis() {
    let world = World::new(&[("REDIS_URL", "")]).await;
    run(&world, None).await;
}

/// Without memory, every read that is no load is an answer of Redis.
#[tokio::test]
async fn no_read_is_too_old_when_all_comes_from_redis() {
    let relay = Relay::to_redis().await;
    let vars = [("REDIS_URL", relay.url()), ("APP__CACHE__MEMORY_BYTES", "0")];
    let world = World::new(&vars).await;
    run(&world, Some(&relay)).await;
}
