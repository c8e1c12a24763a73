//! Links in mails: their secrets, and that they work once.

use std::sync::Arc;

use mainstay::{
    domain::{
        email::Email,
        ids::{MailTokenId, UserId},
        mail::{Device, Mail},
        mail_tokens::{ISSUES_PER_HOUR, Purpose},
    },
    services::mail::Delivery,
};
use serde_json::json;
use uuid::Uuid;

use crate::support::{Person, TestApp, people::PASSWORD};

fn user(person: &Person) -> UserId {
    UserId(person.id.parse().unwrap())
}

async fn try_issue(app: &TestApp, person: &Person, purpose: Purpose) -> Option<MailTokenId> {
    let (tokens, new) = (&app.app.services.post.tokens, Email::parse("new@example.com").unwrap());
    let new = (purpose == Purpose::ChangeEmail).then_some(&new);
    let issue = async |tx: &mut sqlx::PgConnection| {
        tokens.issue(tx, Some(user(person)), purpose, new).await
    };
    let issued = app.app.db.tx("test.issue", issue).await.unwrap();
    issued.holds.then_some(issued.id)
}

async fn issue(app: &TestApp, person: &Person, purpose: Purpose) -> MailTokenId {
    try_issue(app, person, purpose).await.expect("the first ones are issued")
}

/// As the mail carries it.
async fn secret(app: &TestApp, id: MailTokenId, purpose: Purpose) -> Option<String> {
    let tokens = &app.app.services.post.tokens;
    let find = async |conn: &mut sqlx::PgConnection| tokens.address(conn, id, purpose).await;
    let link = app.app.db.read("test.address", find).await.unwrap()?.link;
    Some(link.fragment().unwrap().strip_prefix("token=").unwrap().to_owned())
}

async fn take(app: &TestApp, secret: &str, purposes: &[Purpose]) -> Option<UserId> {
    let tokens = &app.app.services.post.tokens;
    let take = async |tx: &mut sqlx::PgConnection| tokens.take(tx, secret, purposes).await;
    app.app.db.tx("test.take", take).await.ok().map(|used| used.user_id)
}

#[tokio::test]
async fn of_thirty_simultaneous_uses_one_succeeds() {
    let app = Arc::new(TestApp::with(&[("APP__DATABASE__ACQUIRE_TIMEOUT", "4500ms")]).await);
    let ada = app.customer("ada").await;
    for purpose in Purpose::ALL {
        let id = issue(&app, &ada, purpose).await;
        let secret = secret(&app, id, purpose).await.unwrap();
        let mut uses = tokio::task::JoinSet::new();
        for _ in 0..30 {
            let (app, secret) = (app.clone(), secret.clone());
            uses.spawn(async move { take(&app, &secret, &[purpose]).await.is_some() });
        }
        let successes = uses.join_all().await.into_iter().filter(|used| *used).count();
        assert_eq!(successes, 1, "{purpose:?}");
    }
}

#[tokio::test]
async fn a_newer_link_voids_the_older_one_of_its_purpose_alone() {
    let app = TestApp::new().await;
    let (ada, eve) = (app.customer("ada").await, app.customer("eve").await);
    let purpose = Purpose::ResetPassword;
    let (older, verify) = (issue(&app, &ada, purpose).await, Purpose::VerifyEmail);
    let old = secret(&app, older, purpose).await.unwrap();
    let other = issue(&app, &ada, verify).await;
    let of_eve = issue(&app, &eve, purpose).await;
    let newer = issue(&app, &ada, purpose).await;
    assert_eq!(secret(&app, older, purpose).await, None, "a mail that waits is not sent");
    assert_eq!(take(&app, &old, &[purpose]).await, None);
    for (id, purpose, whose) in
        [(newer, purpose, &ada), (other, verify, &ada), (of_eve, purpose, &eve)]
    {
        let secret = secret(&app, id, purpose).await.unwrap();
        assert_eq!(take(&app, &secret, &[purpose]).await, Some(user(whose)));
        assert_eq!(take(&app, &secret, &[purpose]).await, None, "it works once");
    }
}

#[tokio::test]
async fn a_link_does_only_what_it_is_for_and_not_after_its_time() {
    let app = TestApp::new().await;
    let ada = app.customer("ada").await;
    let id = issue(&app, &ada, Purpose::VerifyEmail).await;
    let token = secret(&app, id, Purpose::VerifyEmail).await.unwrap();
    assert_eq!(token.len(), 64, "16 bytes of id and 256 bits of secret in base64");
    assert_eq!(take(&app, &token, &[Purpose::ResetPassword]).await, None);
    for at in [0, 30, 63] {
        let mut bent = token.clone().into_bytes();
        bent[at] = if bent[at] == b'A' { b'B' } else { b'A' };
        let bent = String::from_utf8(bent).unwrap();
        assert_eq!(take(&app, &bent, &[Purpose::VerifyEmail]).await, None, "byte {at}");
    }
    app.execute("update mail_tokens set expires_at = now() - interval '1 second'").await;
    assert_eq!(take(&app, &token, &[Purpose::VerifyEmail]).await, None);
    assert_eq!(secret(&app, id, Purpose::VerifyEmail).await, None);
    app.execute("update mail_tokens set expires_at = now() + interval '1 second'").await;
    let both = [Purpose::ChangeEmail, Purpose::VerifyEmail];
    assert_eq!(take(&app, &token, &both).await, Some(user(&ada)));
}

#[tokio::test]
async fn links_hold_as_long_as_promised_and_are_not_in_the_database() {
    let app = TestApp::new().await;
    let ada = app.customer("ada").await;
    let mut secrets = Vec::new();
    for purpose in Purpose::ALL {
        let id = issue(&app, &ada, purpose).await;
        secrets.push(secret(&app, id, purpose).await.unwrap());
    }
    let ttls = "select count(*) from mail_tokens where extract(epoch from expires_at - created_at)
                = case purpose when 'reset_password' then 1800 else 86400 end";
    assert_eq!(app.count(ttls).await, 3);
    let row =
        "select string_agg(t::text || encode(salt, 'base64') || encode(token_hash, 'base64'), ' ')
               from mail_tokens t";
    let stored: String = sqlx::query_scalar(row).fetch_one(&app.pool).await.unwrap();
    for secret in secrets {
        assert!(!stored.contains(&secret[22..]), "{stored}");
    }
}

#[tokio::test]
async fn a_mailbox_is_not_flooded() {
    let app = TestApp::new().await;
    let ada = app.customer("ada").await;
    let mut last = None;
    for _ in 0..ISSUES_PER_HOUR {
        last = Some(issue(&app, &ada, Purpose::ResetPassword).await);
    }
    assert_eq!(try_issue(&app, &ada, Purpose::ResetPassword).await, None);
    assert!(secret(&app, last.unwrap(), Purpose::ResetPassword).await.is_some(), "the last holds");
    app.execute("update mail_tokens set expires_at = now()").await;
    assert!(try_issue(&app, &ada, Purpose::ResetPassword).await.is_some(), "the last has expired");
    assert_eq!(try_issue(&app, &ada, Purpose::ResetPassword).await, None);
    app.execute("update mail_tokens set window_start = now() - interval '61 minutes'").await;
    assert!(try_issue(&app, &ada, Purpose::ResetPassword).await.is_some());
    assert_eq!(app.count("select issues::bigint from mail_tokens").await, 1);
}

#[tokio::test]
async fn links_end_with_what_they_were_for() {
    let app = TestApp::new().await;
    let ada = app.customer("ada").await;
    for purpose in Purpose::ALL {
        issue(&app, &ada, purpose).await;
    }
    let change = json!({"current_password": PASSWORD, "new_password": "copper-meadow-violin-81"});
    let change = app.call("PUT", "/api/v1/auth/password").bearer(&ada.access).json(&change);
    change.send().await.expect(204);
    let left = "select count(*) from mail_tokens where purpose = 'verify_email'";
    assert_eq!(
        (app.count("select count(*) from mail_tokens").await, app.count(left).await),
        (1, 1)
    );
    app.call("DELETE", "/api/v1/users/me").bearer(&ada.access).send().await.expect(204);
    assert_eq!(
        app.count("select count(*) from mail_tokens").await,
        0,
        "nor is the new address kept"
    );
}

async fn deliver(app: &TestApp, mail: &Mail) -> Delivery {
    app.app.services.post.deliver(Uuid::from_u128(7), mail).await.unwrap()
}

#[tokio::test]
async fn a_mail_goes_to_the_stored_address_and_carries_a_link_below_the_configured_base() {
    let base = ("APP__MAIL__LINK_BASE_URL", "https://shop.example/app");
    let app = TestApp::with(&[base]).await;
    let ada = app.customer("Ada.L").await;
    let token = issue(&app, &ada, Purpose::ResetPassword).await;
    let mail = Mail::ResetPassword { token };
    assert_eq!(deliver(&app, &mail).await, Delivery::Sent);
    assert_eq!(deliver(&app, &mail).await, Delivery::Sent);
    let memory = app.app.services.post.mailer.memory().unwrap();
    let sent = memory.sent_to("Ada.L@example.com");
    assert_eq!(sent.len(), 2);
    assert_eq!(sent[0].content, sent[1].content, "the second attempt sends the same link");
    assert_eq!(sent[0].message_id, sent[1].message_id);
    let secret = secret(&app, token, Purpose::ResetPassword).await.unwrap();
    let link = format!("\nhttps://shop.example/app/account/reset-password#token={secret}\n");
    assert!(sent[0].content.text.contains(&link), "{}", sent[0].content.text);
}

#[tokio::test]
async fn a_link_for_another_address_goes_there_and_notices_go_to_the_owner() {
    let app = TestApp::new().await;
    let ada = app.customer("ada").await;
    let (id, at) = (user(&ada), app.app.clock.now());
    let device = Device { user_agent: Some("curl/8.0".to_owned()), address: None };
    let token = issue(&app, &ada, Purpose::ChangeEmail).await;
    let reset = issue(&app, &ada, Purpose::ResetPassword).await;
    let former_address = "former@example.com".to_owned();
    for (mail, to) in [
        (Mail::ChangeEmail { token }, "new@example.com"),
        (Mail::EmailChanged { former_address, at }, "former@example.com"),
        (Mail::PasswordChanged { user: id, at }, "ada@example.com"),
        (Mail::NewDevice { user: id, at, device: device.clone() }, "ada@example.com"),
        (Mail::TokenReused { user: id, at, device }, "ada@example.com"),
        (Mail::AlreadyRegistered { token: reset }, "ada@example.com"),
    ] {
        let memory = app.app.services.post.mailer.memory().unwrap();
        let before = memory.sent_to(to).len();
        assert_eq!(deliver(&app, &mail).await, Delivery::Sent, "{mail:?}");
        assert_eq!(memory.sent_to(to).len(), before + 1, "{mail:?}");
    }
}

#[tokio::test]
async fn nobody_is_written_to_about_an_account_that_is_gone() {
    let app = TestApp::new().await;
    let ada = app.customer("ada").await;
    let token = issue(&app, &ada, Purpose::ResetPassword).await;
    app.call("DELETE", "/api/v1/users/me").bearer(&ada.access).send().await.expect(204);
    let at = app.app.clock.now();
    for mail in [Mail::ResetPassword { token }, Mail::PasswordChanged { user: user(&ada), at }] {
        assert_eq!(deliver(&app, &mail).await, Delivery::Obsolete, "{mail:?}");
    }
}
