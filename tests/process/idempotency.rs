//! Idempotency keys when the service dies in the middle: all of a request or nothing of it.

use std::{collections::BTreeMap, time::Duration};

use futures_util::future::join_all;
use serde_json::json;

use crate::support::{
    Database, Instance, Person, Settings, Tokens, command::create_user, timing::say,
};

const AT_ONCE: i64 = 24;
const DEATHS: i64 = 6;
const STOCK: i64 = 1000;

async fn staff(settings: &Settings, instance: &Instance) -> Tokens {
    let person = Person::new();
    create_user(settings, "staff", &person.email, &person.password);
    instance.api.login(&person).await
}

async fn product(instance: &Instance, token: &str) -> String {
    let body = json!({"sku": "A-1", "name": "Knife", "category": "knives", "stock": STOCK,
        "price": {"amount": 1999, "currency": "EUR"}});
    let created = instance.api.attempt_once(token, "/api/v1/products", "make", &body).await;
    created.expect("an answer").expect(201).text_of("id")
}

/// The answers by key, of those that came.
async fn book_all(
    instance: &Instance,
    token: &str,
    path: &str,
    keys: &[String],
) -> BTreeMap<String, String> {
    let body = json!({"delta": -1, "reason": "sold by hand"});
    let sent = keys.iter().map(|key| instance.api.attempt_once(token, path, key, &body));
    let answers = keys.iter().zip(join_all(sent).await);
    let done = answers.filter_map(|(key, answer)| Some((key.clone(), answer.ok()?)));
    done.filter(|(_, answer)| answer.status == 200)
        .map(|(key, answer)| (key, answer.text))
        .collect()
}

#[tokio::test(flavor = "multi_thread")]
async fn requests_that_are_killed_with_their_instance_and_come_again_are_done_once() {
    let database = Database::create().await;
    let settings = Settings::new(&database.url).with_redis();
    let mut instance = Instance::ready(&settings).await;
    let token = staff(&settings, &instance).await.access;
    let path = format!("/api/v1/products/{}/stock-adjustments", product(&instance, &token).await);
    let (mut answered, mut keys) = (0, Vec::new());
    for death in 0..DEATHS {
        let new: Vec<_> = (0..AT_ONCE).map(|n| format!("{death}-{n}")).collect();
        let pid = instance.pid();
        let killer = tokio::spawn(async move {
            // Earlier and later each time, so that requests die at every step of their way.
            tokio::time::sleep(Duration::from_millis(10 + 50 * death as u64)).await;
            crate::support::command::kill("KILL", &[pid]);
        });
        let before = book_all(&instance, &token, &path, &new).await;
        killer.await.expect("it kills");
        instance = Instance::ready(&settings).await;
        let after = book_all(&instance, &token, &path, &new).await;
        assert_eq!(after.len() as i64, AT_ONCE, "every request is done at last");
        for (key, answer) in &before {
            assert_eq!(after[key], *answer, "the first answer again");
        }
        answered += before.len();
        keys.extend(new);
    }
    say(&format!(
        "{} of {} requests were answered before their instance died",
        answered,
        keys.len()
    ));
    let stock = database.number("select stock from products").await;
    assert_eq!(stock, STOCK - keys.len() as i64);
    let booked = "select count(*) from stock_movements where kind = 'adjustment'";
    assert_eq!(database.number(booked).await, keys.len() as i64);
}
