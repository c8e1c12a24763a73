//! A relay that hangs, vanishes and comes back.

use std::time::{Duration, Instant};

use mainstay::adapters::mail::FailureKind;

use crate::support::{
    mail::{failure, mailer, message},
    smtp::{Fault, Relay, Step, Tls},
    timing::{kept, within},
};

const STEPS: [Step; 6] =
    [Step::Greeting, Step::Mail, Step::Rcpt, Step::Data, Step::Message, Step::Acknowledgement];

const QUICK: [(&str, &str); 2] =
    [("APP__MAIL__TIMEOUT", "500ms"), ("APP__MAIL__ACKNOWLEDGE_TIMEOUT", "500ms")];

#[tokio::test]
async fn a_relay_that_falls_silent_costs_no_more_than_the_deadline() {
    for step in STEPS {
        let relay = Relay::start().await;
        let mailer = mailer(&relay, &QUICK);
        relay.fail(step, Fault::Silence);
        let started = Instant::now();
        let failure = failure(&mailer, 1).await;
        kept(&format!("silence at {step:?}"), started.elapsed(), Duration::from_millis(500));
        assert_eq!(failure.kind, FailureKind::Transient);
        assert_eq!(failure.reason, "the relay did not answer in time");
    }
}

/// What a cancelled conversation leaves on the wire must not be taken for answers to the next.
#[tokio::test]
async fn after_a_silence_the_next_message_has_a_conversation_of_its_own() {
    for step in STEPS {
        let relay = Relay::start().await;
        let mailer = mailer(&relay, &QUICK);
        mailer.send(&message(1, "ada@example.com")).await.unwrap();
        relay.fail(step, Fault::Silence);
        if step != Step::Greeting {
            failure(&mailer, 2).await;
        }
        relay.behave();
        relay.fail(Step::Rcpt, Fault::Say("550 5.1.1 unknown"));
        assert_eq!(failure(&mailer, 3).await.kind, FailureKind::Permanent, "{step:?}");
        relay.behave();
        mailer.send(&message(4, "eve@example.com")).await.unwrap();
        assert_eq!(relay.received().last().unwrap().to, "eve@example.com", "{step:?}");
    }
}

#[tokio::test]
async fn a_refusal_stands_although_the_relay_hangs_afterwards() {
    let relay = Relay::start().await;
    let mailer = mailer(&relay, &QUICK);
    relay.fail(Step::Rcpt, Fault::Say("550 5.1.1 unknown"));
    relay.fail(Step::Reset, Fault::Silence);
    assert_eq!(failure(&mailer, 1).await.kind, FailureKind::Permanent);
    relay.behave();
    mailer.send(&message(2, "eve@example.com")).await.unwrap();
    assert_eq!(relay.received().len(), 1);
}

#[tokio::test]
async fn a_lost_acknowledgement_makes_one_duplicate_with_the_same_message_id() {
    let relay = Relay::start().await;
    let mailer = mailer(&relay, &[]);
    relay.fail(Step::Acknowledgement, Fault::HangUp);
    assert_eq!(failure(&mailer, 7).await.kind, FailureKind::Transient);
    relay.behave();
    mailer.send(&message(7, "ada@example.com")).await.unwrap();
    let received = relay.received();
    assert_eq!(received.len(), 2, "one for the crash, one for the retry");
    assert_eq!(received[0].header("Message-ID"), received[1].header("Message-ID"));
}

/// It looks the message over while the client waits, and keeps it.
#[tokio::test]
async fn a_relay_that_thinks_about_a_message_gets_it_once() {
    let relay = Relay::start().await;
    let mailer = mailer(&relay, &[("APP__MAIL__TIMEOUT", "500ms")]);
    for (number, step) in [(1, Step::Message), (2, Step::Acknowledgement)] {
        relay.fail(step, Fault::Delay(Duration::from_millis(1500)));
        mailer.send(&message(number, "ada@example.com")).await.unwrap();
        relay.behave();
    }
    assert_eq!(relay.received().len(), 2);
}

#[tokio::test]
async fn a_connection_lost_before_the_message_was_heard_leaves_none() {
    for step in [Step::Mail, Step::Rcpt, Step::Data, Step::Message] {
        let relay = Relay::start().await;
        let mailer = mailer(&relay, &[]);
        relay.fail(step, Fault::HangUp);
        assert_eq!(failure(&mailer, 1).await.kind, FailureKind::Transient, "{step:?}");
        assert!(relay.received().is_empty());
    }
}

#[tokio::test]
async fn a_kept_connection_that_has_died_is_replaced_in_silence() {
    let relay = Relay::start().await;
    let mailer = mailer(&relay, &[]);
    mailer.send(&message(1, "ada@example.com")).await.unwrap();
    let address = relay.address;
    drop(relay);
    tokio::time::sleep(Duration::from_millis(100)).await;
    let relay = Relay::on(address, Tls::None, None).await;
    mailer.send(&message(2, "ada@example.com")).await.unwrap();
    assert_eq!((relay.connections(), relay.received().len()), (1, 1));
}

#[tokio::test]
async fn a_relay_that_is_down_is_left_alone_and_found_again() {
    let relay = Relay::start().await;
    let mailer = mailer(&relay, &[]);
    let address = relay.address;
    drop(relay);
    tokio::time::sleep(Duration::from_millis(100)).await;
    for number in 0..5 {
        assert_eq!(failure(&mailer, number).await.kind, FailureKind::Transient);
    }
    let started = Instant::now();
    for number in 0..100 {
        assert_eq!(failure(&mailer, number).await.kind, FailureKind::Unavailable);
    }
    kept("100 messages kept back", started.elapsed(), Duration::from_millis(50));
    let relay = Relay::on(address, Tls::None, None).await;
    within("mail flows again", Duration::from_secs(5), async || {
        mailer.send(&message(9, "ada@example.com")).await.is_ok()
    })
    .await;
    assert_eq!(relay.received().len(), 1);
}

#[tokio::test]
async fn a_relay_that_hangs_holds_no_more_than_its_connections() {
    let relay = Relay::start().await;
    let mailer =
        mailer(&relay, &[("APP__MAIL__TIMEOUT", "500ms"), ("APP__MAIL__MAX_CONNECTIONS", "2")]);
    relay.fail(Step::Greeting, Fault::Silence);
    let messages: Vec<_> = (0..20).map(|number| message(number, "ada@example.com")).collect();
    let started = Instant::now();
    let sends = messages.iter().map(|message| mailer.send(message));
    let failed = futures_util::future::join_all(sends).await;
    assert!(failed.iter().all(Result::is_err));
    kept("20 messages to a tarpit", started.elapsed(), Duration::from_millis(1500));
    assert!(relay.connections() <= 6, "{}", relay.connections());
}
