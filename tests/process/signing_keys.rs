//! The published set of keys, and what a removed key means.

use std::time::Duration;

use crate::support::{
    Database, Settings,
    command::run,
    keys::{kid, pair, published, rotate, short_lives},
    within,
};

#[tokio::test(flavor = "multi_thread")]
async fn the_published_set_holds_the_next_the_current_and_the_previous_key() {
    let database = Database::create().await;
    let settings = short_lives(&database);
    let [one, other] = pair(&settings).await;
    let first = published(&one.api).await;
    assert_eq!(first.len(), 2, "one signs, one waits");
    let before = one.api.sign_in().await;
    let waiting = first.iter().find(|key| **key != kid(&before.access)).expect("one waits").clone();
    let rotated = rotate(&settings, &["--now"]);
    assert_eq!(rotated, waiting, "a verifier has to have seen the key before it signs");
    within("the set on the other instance", Duration::from_secs(1), async || {
        published(&other.api).await.len() == 3
    })
    .await;
    let keys = published(&other.api).await;
    assert!(first.iter().all(|key| keys.contains(key)), "{first:?} {keys:?}");
    other.api.me(&before.access).await.expect(200);
    assert_eq!(kid(&other.api.sign_in().await.access), waiting);
    let overlap = Duration::from_secs(3 + 1 + 2);
    within("the previous key leaves the set", overlap, async || {
        published(&other.api).await.len() == 2
    })
    .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn tokens_of_a_removed_key_are_refused_and_everybody_else_stays() {
    let database = Database::create().await;
    let settings = Settings::new(&database.url).with_redis();
    let [one, other] = pair(&settings).await;
    let person = one.api.register().await;
    let leaked = one.api.login(&person).await;
    other.api.me(&leaked.access).await.expect(200);
    let key = kid(&leaked.access);
    rotate(&settings, &["--now", "--remove", &key]);
    for instance in [&one, &other] {
        within("a removed key", Duration::from_secs(1), async || {
            instance.api.me(&leaked.access).await.status == 401
        })
        .await;
        assert!(!published(&instance.api).await.contains(&key));
        let fresh = instance.api.login(&person).await;
        assert_ne!(kid(&fresh.access), key);
        other.api.me(&fresh.access).await.expect(200);
    }
    other.api.refresh(&leaked.refresh).await.expect(200);
}

/// The order an operator gives in a hurry.
#[tokio::test(flavor = "multi_thread")]
async fn removing_the_key_that_signs_leaves_one_that_does() {
    let database = Database::create().await;
    let settings = Settings::new(&database.url).with_redis();
    let instances = pair(&settings).await;
    let person = instances[0].api.register().await;
    let key = kid(&instances[0].api.login(&person).await.access);
    let removed = run(&settings, &["admin", "rotate-keys", "--remove", &key]);
    tokio::time::sleep(Duration::from_millis(700)).await;
    for instance in &instances {
        let tokens = instance.api.login(&person).await;
        instance.api.me(&tokens.access).await.expect(200);
        assert!(!removed.success || kid(&tokens.access) != key, "it says that it is removed");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_key_that_is_not_retired_cannot_be_removed_and_nothing_is_rotated_then() {
    let database = Database::create().await;
    let settings = Settings::new(&database.url).with_redis();
    let [one, _] = pair(&settings).await;
    let before = published(&one.api).await;
    let signer = kid(&one.api.sign_in().await.access);
    let waiting = before.iter().find(|key| **key != signer).expect("one waits");
    for key in [waiting, "unknown", "-begins-as-an-option"] {
        let removed = run(&settings, &["admin", "rotate-keys", "--now", "--remove", key]);
        assert!(!removed.success && removed.err.contains("not a retired one"), "{}", removed.all());
    }
    tokio::time::sleep(Duration::from_secs(1)).await;
    assert_eq!(published(&one.api).await, before);
    let events = "select count(*) from audit_events where action = 'auth.keys_rotated'";
    assert_eq!(database.number(events).await, 0);
}
