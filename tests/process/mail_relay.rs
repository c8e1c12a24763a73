//! Mail through a relay that behaves, and through one that refuses.

use mainstay::adapters::mail::{FailureKind, SendFailure};

use crate::support::{
    mail::{failure, mailer, message},
    smtp::{Fault, Relay, Step},
};

#[tokio::test]
async fn a_message_arrives_once_with_its_head_and_both_bodies() {
    let relay = Relay::start().await;
    let mailer = mailer(&relay, &[]);
    mailer.send(&message(1, "ada@example.com")).await.unwrap();
    let received = relay.received();
    assert_eq!(received.len(), 1);
    let received = &received[0];
    assert_eq!(
        (received.from.as_str(), received.to.as_str()),
        ("shop@shop.example", "ada@example.com")
    );
    assert_eq!(received.header("To"), Some("ada@example.com"));
    assert_eq!(received.header("Subject"), Some("A test"));
    assert_eq!(received.header("Auto-Submitted"), Some("auto-generated"));
    let id = "<00000000-0000-0000-0000-000000000001@shop.example>";
    assert_eq!(received.header("Message-ID"), Some(id));
    assert!(received.data.contains("the text") && received.data.contains("<p>the HTML</p>"));
}

#[tokio::test]
async fn messages_in_a_row_share_a_connection_and_those_at_once_no_more_than_are_allowed() {
    let relay = Relay::start().await;
    let mailer = mailer(&relay, &[("APP__MAIL__MAX_CONNECTIONS", "3")]);
    for number in 0..10 {
        mailer.send(&message(number, "ada@example.com")).await.unwrap();
    }
    assert_eq!((relay.connections(), relay.received().len()), (1, 10));
    let messages: Vec<_> = (10..40).map(|number| message(number, "ada@example.com")).collect();
    let sends = messages.iter().map(|message| mailer.send(message));
    for sent in futures_util::future::join_all(sends).await {
        sent.unwrap();
    }
    assert!(relay.connections() <= 3, "{}", relay.connections());
    assert_eq!(relay.received().len(), 40);
}

#[tokio::test]
async fn a_line_that_is_a_dot_does_not_end_the_message() {
    let relay = Relay::start().await;
    let mut message = message(1, "ada@example.com");
    message.content.text = "before\r\n.\r\nMAIL FROM:<eve@example.com>\r\nafter".to_owned();
    mailer(&relay, &[]).send(&message).await.unwrap();
    let received = relay.received();
    assert_eq!(received.len(), 1);
    assert!(received[0].data.contains("\r\n.\r\nMAIL FROM:<eve@example.com>\r\nafter"));
}

/// Step, what the relay says there, and whether the message is given up.
const REFUSALS: &[(Step, &str, FailureKind)] = &[
    (Step::Rcpt, "550 5.1.1 <ada@example.com> is unknown here", FailureKind::Permanent),
    (Step::Rcpt, "451 4.7.1 greylisted, ada@example.com", FailureKind::Transient),
    (Step::Rcpt, "421 4.3.2 going down", FailureKind::Transient),
    (Step::Message, "554 5.6.0 looks like spam to ada@example.com", FailureKind::Permanent),
    (Step::Message, "452 4.3.1 no room", FailureKind::Transient),
    // Not the recipient's fault, and an operator can mend it.
    (Step::Mail, "550 5.7.1 shop@shop.example may not send", FailureKind::Transient),
    (Step::Data, "554 5.5.1 not now", FailureKind::Transient),
    (Step::Greeting, "554 5.7.1 we do not like your network", FailureKind::Transient),
    (Step::Greeting, "421 4.3.2 too busy", FailureKind::Transient),
];

#[tokio::test]
async fn a_refusal_is_for_good_only_when_it_is_about_the_message() {
    for (step, words, kind) in REFUSALS {
        let relay = Relay::start().await;
        let mailer = mailer(&relay, &[]);
        relay.fail(*step, Fault::Say(words));
        let SendFailure { kind: told, reason } = failure(&mailer, 1).await;
        assert_eq!(told, *kind, "{step:?} {words}: {reason}");
        assert!(!reason.contains("example") && reason.contains(&words[..3]), "{reason}");
        assert!(relay.received().is_empty());
        relay.behave();
        mailer.send(&message(2, "eve@example.com")).await.unwrap();
        let received = relay.received();
        assert_eq!((received.len(), received[0].to.as_str()), (1, "eve@example.com"), "{words}");
    }
}

#[tokio::test]
async fn refused_recipients_cost_no_new_connection_and_never_open_the_breaker() {
    let relay = Relay::start().await;
    let mailer = mailer(&relay, &[]);
    relay.fail(Step::Rcpt, Fault::Say("550 5.1.1 unknown"));
    for number in 0..12 {
        assert_eq!(failure(&mailer, number).await.kind, FailureKind::Permanent);
    }
    assert_eq!(relay.connections(), 1);
}
