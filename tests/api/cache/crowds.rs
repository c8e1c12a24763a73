//! A crowd on one product costs one query for each instance.

use std::time::Duration;

use futures_util::future::join_all;
use sqlx::Executor;

use super::{Shop, selects};
use crate::support::{Answer, Call, TestApp, products::path, statements};

/// So many read at the same time, by turns on these instances. They come in waves: the tests'
/// one thread has to get round to the change feed as well.
async fn readers(
    shop: &Shop,
    apps: &[&TestApp],
    count: usize,
) -> Vec<tokio::task::JoinHandle<Answer>> {
    let mut reading = Vec::new();
    for n in 0..count {
        let router = apps[n % apps.len()].router.clone();
        reading.push(tokio::spawn(Call::new(router, "GET", &path(&shop.product)).send()));
        if n % 50 == 0 {
            tokio::time::sleep(Duration::from_millis(1)).await;
        }
    }
    reading
}

/// How they were answered, all alike.
async fn found(reading: Vec<tokio::task::JoinHandle<Answer>>) -> Vec<String> {
    let answers: Vec<_> = join_all(reading).await.into_iter().map(Result::unwrap).collect();
    let etag = answers[0].header("etag").to_owned();
    assert!(answers.iter().all(|answer| answer.status == 200 && answer.header("etag") == etag));
    answers.iter().map(|answer| answer.header("x-cache").to_owned()).collect()
}

#[tokio::test]
async fn two_thousand_readers_at_once_cost_one_load_for_each_of_four_instances() {
    let patient =
        [("APP__DATABASE__STATEMENT_TIMEOUT", "8s"), ("APP__DATABASE__LOCK_TIMEOUT", "7s")];
    let shop = Shop::with(&patient).await;
    let (two, three, four) =
        (shop.app.sibling().await, shop.app.sibling().await, shop.app.sibling().await);
    let apps = [&shop.app, &two, &three, &four];
    // Nobody is answered before all have asked.
    let mut locked = shop.app.app.db.connect().await.unwrap();
    locked.execute("begin").await.unwrap();
    locked.execute("lock table products in access exclusive mode").await.unwrap();
    let (found_first, heard) = statements::during(async {
        let reading = readers(&shop, &apps, 2000).await;
        tokio::time::sleep(Duration::from_millis(20)).await;
        locked.execute("commit").await.unwrap();
        found(reading).await
    })
    .await;
    let loads = selects(&heard);
    assert!((1..=4).contains(&loads), "{loads} loads");
    let waited = |found: &String| found == "miss" || found == "bypass";
    assert!(found_first.iter().all(waited), "somebody was not in the crowd");
    let (found_then, heard) =
        statements::during(async { found(readers(&shop, &apps, 200).await).await }).await;
    assert_eq!((selects(&heard), found_then.iter().all(|found| found == "hit")), (0, true));
}

#[tokio::test]
async fn when_a_value_expires_under_a_crowd_one_load_refreshes_it_and_nobody_waits() {
    let shop = Shop::with(&[("APP__CACHE__TTL", "4s")]).await;
    let two = shop.app.sibling().await;
    let apps = [&shop.app, &two];
    for app in apps {
        shop.get(app).await.expect(200);
    }
    tokio::time::sleep(Duration::from_millis(4100)).await;
    let (found, heard) =
        statements::during(async { found(readers(&shop, &apps, 200).await).await }).await;
    assert!(selects(&heard) <= 2, "{} loads", selects(&heard));
    assert!(found.iter().all(|found| found != "miss"), "somebody waited");
    assert!(found.iter().any(|found| found == "stale"));
    assert_eq!(shop.read(&shop.app).await.1, "hit");
}

#[tokio::test]
async fn a_reader_who_leaves_does_not_take_the_load_from_the_others() {
    let shop = Shop::new().await;
    let (answers, heard) = statements::during(async {
        let ask = || Call::new(shop.app.router.clone(), "GET", &path(&shop.product)).send();
        let leaver = tokio::spawn(ask());
        let stayers: Vec<_> = (0..50).map(|_| tokio::spawn(ask())).collect();
        tokio::task::yield_now().await;
        leaver.abort();
        join_all(stayers).await
    })
    .await;
    assert!(answers.into_iter().all(|answer| answer.unwrap().status == 200));
    assert!(selects(&heard) <= 2, "{heard:?}");
}
