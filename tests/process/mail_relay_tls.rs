//! TLS with the relay, and its password.

use mainstay::adapters::mail::FailureKind;

use crate::support::{
    mail::{failure, mailer, message},
    smtp::{Relay, Tls},
    tls::certificate,
};

const PASSWORD: &str = "a%20password%2Fwith%20signs";
const DECODED: &str = "a password/with signs";

fn secure() -> [(&'static str, &'static str); 2] {
    let path = certificate().path.to_str().expect("a plain path");
    [("APP__MAIL__REQUIRE_TLS", "true"), ("APP__MAIL__TLS_CA_FILE", path)]
}

#[tokio::test]
async fn passwords_and_messages_go_over_tls_by_either_way() {
    for tls in [Tls::Upgrade, Tls::Implicit] {
        let relay = Relay::with(tls, Some(DECODED)).await;
        let url = relay.url().replace(DECODED, PASSWORD);
        let mailer = mailer(&relay, &[&secure()[..], &[("SMTP_URL", &url)]].concat());
        for number in 0..3 {
            mailer.send(&message(number, "ada@example.com")).await.unwrap();
        }
        let received = relay.received();
        assert_eq!((received.len(), relay.connections()), (3, 1), "{tls:?}");
        let safe = |it: &crate::support::smtp::Received| it.encrypted && it.user.is_some();
        assert!(received.iter().all(safe), "{tls:?}");
    }
}

#[tokio::test]
async fn a_relay_without_tls_or_with_an_unknown_certificate_is_told_nothing() {
    let required = [("APP__MAIL__REQUIRE_TLS", "true")];
    for (tls, why) in [
        (Tls::None, "offers no STARTTLS"),
        (Tls::Upgrade, "TLS with the relay fails"),
        (Tls::Implicit, "the relay cannot be reached"),
    ] {
        let relay = Relay::with(tls, Some("secret")).await;
        let failure = failure(&mailer(&relay, &required), 1).await;
        assert_eq!(failure.kind, FailureKind::Transient);
        assert!(failure.reason.contains(why), "{tls:?}: {}", failure.reason);
        assert!(relay.received().is_empty());
        let heard = relay.heard();
        assert!(!heard.contains("AUTH") && !heard.contains("MAIL"), "{heard}");
    }
}

#[tokio::test]
async fn starttls_is_used_where_it_is_offered_even_when_nobody_asks() {
    let relay = Relay::with(Tls::Upgrade, None).await;
    let path = certificate().path.to_str().unwrap();
    mailer(&relay, &[("APP__MAIL__TLS_CA_FILE", path)])
        .send(&message(1, "ada@example.com"))
        .await
        .unwrap();
    assert!(relay.received()[0].encrypted);
}

#[tokio::test]
async fn a_wrong_password_is_the_operators_fault_and_not_repeated() {
    let relay = Relay::with(Tls::Implicit, Some("right")).await;
    let url = relay.url().replace("right", "c4n4ry");
    let mailer = mailer(&relay, &[&secure()[..], &[("SMTP_URL", &url)]].concat());
    let failure = failure(&mailer, 1).await;
    assert_eq!(failure.kind, FailureKind::Transient);
    assert_eq!(failure.reason, "the relay refuses the password: 535");
}
