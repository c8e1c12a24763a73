//! Signing keys change under the feet of nobody.

use std::collections::HashSet;

use mainstay::{domain::audit::Origin, services::auth::keys::Rotation};

use super::support::{TestApp, eventually};

const NOW: Rotation = Rotation { now: true, remove: None };

async fn kids(app: &TestApp) -> HashSet<String> {
    let set = app.get("/.well-known/jwks.json").send().await.expect(200).json();
    let keys = set["keys"].as_array().unwrap();
    for key in keys {
        let mut members: Vec<_> = key.as_object().unwrap().keys().map(String::as_str).collect();
        members.sort_unstable();
        assert_eq!(members, ["alg", "crv", "kid", "kty", "use", "x"], "nothing private");
    }
    keys.iter().map(|key| key["kid"].as_str().unwrap().to_owned()).collect()
}

fn kid(token: &str) -> String {
    let head = mainstay::shared::crypto::from_base64url(token.split('.').next().unwrap()).unwrap();
    let head: serde_json::Value = serde_json::from_slice(&head).unwrap();
    head["kid"].as_str().unwrap().to_owned()
}

#[tokio::test]
async fn two_keys_are_made_once_over_all_instances() {
    let app = TestApp::new().await;
    let other = app.sibling().await;
    assert_eq!(app.count("select count(*) from signing_keys").await, 2);
    assert_eq!(kids(&app).await, kids(&other).await);
    let answer = app.get("/.well-known/jwks.json").send().await;
    assert_eq!(answer.header("cache-control"), "public, max-age=60");
}

#[tokio::test]
async fn after_a_rotation_old_and_new_tokens_pass_on_all_instances() {
    let app = TestApp::new().await;
    let other = app.sibling().await;
    let ada = app.customer("ada").await;
    let before = kids(&app).await;
    let rotated = app.app.keyring.rotate(&NOW, &Origin::command_line()).await.unwrap();
    assert!(before.contains(&rotated.kid), "the next key was published before");
    app.app.keyring.reload().await.unwrap();
    let fresh = app.sign_in(&ada.email).await;
    assert_eq!(kid(&fresh.access), rotated.kid);
    assert_ne!(kid(&ada.access), rotated.kid);
    for instance in [&app, &other] {
        assert!(instance.accepts(&ada.access).await && instance.accepts(&fresh.access).await);
    }
    eventually("the other instance publishes three", async || kids(&other).await.len() == 3).await;
    let overlap = "select extract(epoch from expires_at - now())::bigint from signing_keys where expires_at is not null";
    assert!(app.count(overlap).await >= 600 + 60 - 5);
    let told = "select count(*) from audit_events where action = 'auth.keys_rotated'";
    assert_eq!(app.count(told).await, 1);
}

#[tokio::test]
async fn a_key_that_verifiers_may_not_have_seen_waits_for_its_turn() {
    let app = TestApp::new().await;
    let rotated =
        app.app.keyring.rotate(&Rotation::default(), &Origin::command_line()).await.unwrap();
    app.app.keyring.reload().await.unwrap();
    let ada = app.customer("ada").await;
    assert_ne!(kid(&ada.access), rotated.kid, "published less than a minute ago");
    app.app.clock.advance(chrono::TimeDelta::seconds(61));
    let later = app.sign_in(&ada.email).await;
    assert_eq!(kid(&later.access), rotated.kid);
    assert!(app.accepts(&ada.access).await && app.accepts(&later.access).await);
}

#[tokio::test]
async fn what_a_removed_key_has_signed_is_refused_everywhere_at_once() {
    let app = TestApp::new().await;
    let other = app.sibling().await;
    let ada = app.customer("ada").await;
    assert!(other.accepts(&ada.access).await);
    let remove = Rotation { now: false, remove: Some(kid(&ada.access)) };
    app.app.keyring.rotate(&remove, &Origin::command_line()).await.unwrap();
    eventually("both refuse it", async || {
        !app.accepts(&ada.access).await && !other.accepts(&ada.access).await
    })
    .await;
    let fresh = app.refresh_call(&ada.refresh).send().await.expect(200).json();
    assert!(other.accepts(fresh["access_token"].as_str().unwrap()).await);
}

#[tokio::test]
async fn a_private_key_is_stored_sealed() {
    let app = TestApp::new().await;
    let rows: Vec<Vec<u8>> = sqlx::query_scalar("select private_key from signing_keys")
        .fetch_all(&app.pool)
        .await
        .unwrap();
    for row in rows {
        assert!(aws_lc_rs::signature::Ed25519KeyPair::from_pkcs8(&row).is_err());
        assert!(
            !row.windows(5).any(|w| w == [0x06, 0x03, 0x2b, 0x65, 0x70]),
            "an Ed25519 OID in the clear"
        );
    }
}

#[tokio::test]
async fn a_key_that_was_still_waiting_never_signs_after_its_successor() {
    let app = TestApp::new().await;
    let origin = Origin::command_line();
    let scheduled = app.app.keyring.rotate(&Rotation::default(), &origin).await.unwrap();
    let newest = app.app.keyring.rotate(&NOW, &origin).await.unwrap();
    app.app.keyring.reload().await.unwrap();
    app.customer("ada").await;
    for minutes in [0, 2, 4] {
        app.app.clock.advance(chrono::TimeDelta::minutes(minutes));
        let token = app.sign_in("ada@example.com").await.access;
        assert_eq!(kid(&token), newest.kid);
        assert!(app.accepts(&token).await);
    }
    assert_ne!(scheduled.kid, newest.kid);
}

#[tokio::test]
async fn only_a_retired_key_can_be_removed_and_a_lost_one_is_replaced() {
    let app = TestApp::new().await;
    for kid in ["nonsense", ""] {
        let remove = Rotation { now: true, remove: Some(kid.to_owned()) };
        assert!(app.app.keyring.rotate(&remove, &Origin::command_line()).await.is_err());
    }
    let waiting: String =
        sqlx::query_scalar("select kid from signing_keys where activates_at is null")
            .fetch_one(&app.pool)
            .await
            .unwrap();
    let remove = Rotation { now: true, remove: Some(waiting) };
    assert!(app.app.keyring.rotate(&remove, &Origin::command_line()).await.is_err());
    assert_eq!(app.count("select count(*) from signing_keys").await, 2);
    app.execute("delete from signing_keys where activates_at is not null").await;
    app.app.keyring.ensure().await.unwrap();
    app.app.keyring.reload().await.unwrap();
    app.customer("ada").await;
}

#[tokio::test]
async fn an_instance_whose_clock_is_an_hour_off_gives_and_takes_tokens() {
    let app = TestApp::new().await;
    let other = app.sibling().await;
    let ada = app.customer("ada").await;
    for hours in [1, -1] {
        other.app.clock.misset(chrono::TimeDelta::hours(hours));
        eventually("it follows the database's clock", async || {
            (other.app.clock.now() - app.app.clock.now()).num_seconds().abs() < 5
        })
        .await;
        let there = other.sign_in(&ada.email).await.access;
        let here = app.sign_in(&ada.email).await.access;
        assert!(app.accepts(&there).await && other.accepts(&here).await, "{hours} h");
    }
}
