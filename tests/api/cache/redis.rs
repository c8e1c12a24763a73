//! The tier that instances share: believed only when it cannot be wrong, missed by nobody.

use std::time::{Duration, Instant};

use deadpool_redis::redis::{self, Value as Reply};
use mainstay::redis::Redis;

use super::Shop;
use crate::support::{
    TestApp, eventually,
    products::id,
    relay::{Mode, Relay},
};

fn client(app: &TestApp) -> (Redis, String) {
    let config = &app.app.config.redis;
    let url = config.url.as_ref().unwrap().expose();
    let redis = Redis::new(url, &config.prefix, Duration::from_millis(100)).unwrap();
    (redis.clone(), redis.key("cache", "products:"))
}

async fn stored(shop: &Shop) -> Option<Vec<u8>> {
    let (redis, prefix) = client(&shop.app);
    let mut get = redis::cmd("GET");
    redis.run("test", get.arg(prefix + id(&shop.product))).await.unwrap()
}

/// It comes there once the feed has told of the product.
async fn until_stored(shop: &Shop) {
    eventually("it is in Redis", async || {
        shop.read(&shop.app).await;
        stored(shop).await.is_some()
    })
    .await;
}

async fn store(shop: &Shop, text: &[u8]) {
    let (redis, prefix) = client(&shop.app);
    let mut set = redis::cmd("SET");
    redis.run::<Reply>("test", set.arg(prefix + id(&shop.product)).arg(text)).await.unwrap();
}

#[tokio::test]
async fn an_instance_that_comes_later_loads_nothing_that_is_in_redis() {
    let shop = Shop::new().await;
    until_stored(&shop).await;
    let later = shop.app.sibling().await;
    let answer = shop.get(&later).await.expect(200);
    assert_eq!((answer.header("x-cache"), answer.statements()), ("hit", 0));
}

#[tokio::test]
async fn an_old_value_put_back_into_redis_is_taken_by_nobody() {
    let shop = Shop::new().await;
    let other = shop.app.sibling().await;
    until_stored(&shop).await;
    let old = stored(&shop).await.unwrap();
    shop.add(&shop.app).await;
    store(&shop, &old).await;
    assert_eq!(shop.read(&shop.app).await.0, 11);
    eventually("it is known", async || shop.read(&other).await.0 == 11).await;
    // Also by those who have heard of the change only as part of the past.
    store(&shop, &old).await;
    let later = shop.app.sibling().await;
    assert_eq!(shop.read(&later).await.0, 11);
}

#[tokio::test]
async fn what_is_broken_or_foreign_in_redis_is_a_miss() {
    let shop = Shop::new().await;
    until_stored(&shop).await;
    let whole = stored(&shop).await.unwrap();
    let mut flipped = whole.clone();
    *flipped.last_mut().unwrap() ^= 1;
    let mut schema = whole.clone();
    schema[11] ^= 1;
    for text in [flipped, schema, whole[..whole.len() / 2].to_vec(), b"null".to_vec(), vec![]] {
        store(&shop, &text).await;
        let fresh = shop.app.sibling().await;
        let answer = shop.get(&fresh).await.expect(200);
        assert_eq!((answer.header("x-cache"), answer.statements()), ("miss", 1));
        assert_eq!(answer.json()["stock"], 10);
    }
    store(&shop, &whole).await;
    let fresh = shop.app.sibling().await;
    assert_eq!(shop.read(&fresh).await.1, "hit", "the test would not have noticed");
}

/// Reads after writes, so that each is a miss; the median of the later ones, for the machine may
/// be busy.
async fn usual_read(shop: &Shop) -> Duration {
    let mut took = Vec::new();
    for round in 0..30 {
        shop.add(&shop.app).await;
        let began = Instant::now();
        let answer = shop.get(&shop.app).await.expect(200);
        assert_eq!(answer.header("x-cache"), "miss");
        // The first failures may cost their deadline; five open the breaker.
        if round >= 5 {
            took.push(began.elapsed());
        }
    }
    took.sort();
    took[took.len() / 2]
}

#[tokio::test]
async fn a_redis_that_hangs_or_is_gone_costs_no_answer_and_after_the_first_failures_no_time() {
    let relay = Relay::to_redis().await;
    let shop = Shop::with(&[("REDIS_URL", relay.url())]).await;
    shop.read(&shop.app).await;
    for mode in [Mode::Hangs, Mode::Cut] {
        relay.set(mode);
        let usual = usual_read(&shop).await;
        println!("{mode:?}: a miss takes {usual:?}");
        assert!(usual < Duration::from_millis(100), "{mode:?}: readers waited: {usual:?}");
        relay.set(Mode::Flows);
        let began = Instant::now();
        eventually("Redis is used again", async || {
            shop.add(&shop.app).await;
            shop.read(&shop.app).await;
            tokio::time::sleep(Duration::from_millis(400)).await;
            shop.read(&shop.app).await;
            stored(&shop).await.is_some()
        })
        .await;
        println!("{mode:?}: used again after {:?}", began.elapsed());
    }
}
