//! Hands events to their consumers: one relay over all instances, by a lease in the database. A
//! relay that crashes or is stopped is succeeded within seconds, and what it still wants to write
//! when it wakes is refused.
//!
//! Each consumer has a loop of its own, so that one that is slow or away keeps no other waiting.

use std::{collections::HashMap, panic::AssertUnwindSafe, sync::Arc, time::Duration};

use futures_util::{
    FutureExt,
    future::join_all,
    stream::{self, StreamExt},
};
use tokio::{
    sync::watch,
    time::{Instant, sleep, timeout},
};
use tokio_util::sync::CancellationToken;

use super::{Consumer, Handler};
use crate::{
    domain::events::{Backoff, Delivery, DeliveryState},
    error::{Error, Kind, Result},
    services::outbox::{Lease, Outbox, Wake},
    shared::crypto,
    telemetry::metrics as names,
};

const LEASE: Duration = Duration::from_secs(5);
const RENEW: Duration = Duration::from_millis(1500);
/// How often an instance that does not relay asks whether it should.
const ASK: Duration = Duration::from_secs(1);
/// How often the outbox is looked at when nobody says that something was committed.
const POLL: Duration = Duration::from_millis(500);
/// Aggregates that one consumer works on at once; each may need a connection.
const HANDS: usize = 4;
/// For one event. Beyond, it has failed.
const PATIENCE: Duration = Duration::from_secs(10);
/// After this much of a round nothing more is begun, so that what was done is marked soon: a crash
/// repeats no more than that, and who is asked to stop does.
const ROUND: Duration = Duration::from_secs(1);
/// Between two looks while a consumer, or the database, is away.
const OUTAGE: Backoff = Backoff { first: Duration::from_millis(200), most: Duration::from_secs(5) };

#[derive(Clone)]
pub struct Relay {
    outbox: Outbox,
    wake: Wake,
    consumers: Arc<[Consumer]>,
    instance: String,
}

enum Round {
    Nothing,
    Progress,
    /// Nothing succeeded, for want of what the consumer stands on.
    Outage(Error),
}

/// What became of the due events of one aggregate.
#[derive(Default)]
struct Handed {
    done: Vec<Delivery>,
    failed: Option<(Delivery, Error)>,
}

impl Relay {
    pub fn new(outbox: Outbox, wake: Wake, consumers: Arc<[Consumer]>, instance: String) -> Self {
        Self { outbox, wake, consumers, instance }
    }

    /// Until stopped; then what is in hand is finished and the lease given back.
    pub async fn run(self, stop: CancellationToken) {
        if self.consumers.is_empty() {
            return;
        }
        while !stop.is_cancelled() {
            let since = Instant::now();
            match self.outbox.acquire(&self.instance, LEASE).await {
                Ok(Some(lease)) => self.lead(lease, since, &stop).await,
                Ok(None) => {}
                Err(error) => tracing::debug!(error = error.chain(), "no lease of the outbox"),
            }
            stop.run_until_cancelled(sleep(ASK)).await;
        }
    }

    async fn lead(&self, lease: Lease, since: Instant, stop: &CancellationToken) {
        tracing::info!("this instance relays the outbox");
        metrics::gauge!(names::OUTBOX_RELAY).set(1.0);
        let work = join_all(self.consumers.iter().map(|it| self.serve(lease, it, stop)));
        tokio::select! {
            _ = work => {}
            () = self.keep(lease, since) => tracing::warn!("another instance relays the outbox"),
        }
        metrics::gauge!(names::OUTBOX_RELAY).set(0.0);
        if let Err(error) = self.outbox.release(lease).await {
            tracing::warn!(error = error.chain(), "the lease of the outbox runs out by itself");
        }
    }

    /// Returns when the lease is lost.
    async fn keep(&self, lease: Lease, mut since: Instant) {
        loop {
            sleep(RENEW).await;
            let asked = Instant::now();
            match timeout(RENEW, self.outbox.renew(lease, LEASE)).await {
                Ok(Ok(true)) => since = asked,
                Ok(Ok(false)) => return,
                Ok(Err(_)) | Err(_) if since.elapsed() > LEASE => return,
                Ok(Err(_)) | Err(_) => {}
            }
        }
    }

    async fn serve(&self, lease: Lease, consumer: &Consumer, stop: &CancellationToken) {
        let mut commits = self.wake.commits();
        let mut outages = 0;
        while !stop.is_cancelled() {
            commits.mark_unchanged();
            let round = self.round(lease, consumer, stop).await;
            let pause = match round.unwrap_or_else(Round::Outage) {
                Round::Progress => {
                    outages = 0;
                    continue;
                }
                Round::Nothing => wait(&mut commits).right_future(),
                Round::Outage(error) => {
                    outages += 1;
                    let (consumer, error) = (consumer.name, error.chain());
                    tracing::warn!(consumer, error, "events cannot be handed over");
                    sleep(OUTAGE.pause(outages, 0.5 + chance() / 2.0)).left_future()
                }
            };
            stop.run_until_cancelled(pause).await;
        }
    }

    async fn round(
        &self,
        lease: Lease,
        consumer: &Consumer,
        stop: &CancellationToken,
    ) -> Result<Round> {
        let due = self.outbox.due(consumer.name, consumer.blocking).await?;
        if due.is_empty() {
            return Ok(Round::Nothing);
        }
        let begun = Instant::now();
        let over = || stop.is_cancelled() || begun.elapsed() > ROUND;
        let hand_over = |chain| self.hand_over(lease, consumer, chain, &over);
        let chains = stream::iter(chains(due)).map(hand_over);
        let handed: Vec<Handed> = chains.buffer_unordered(HANDS).collect().await;
        let (mut done, mut failed) = (Vec::new(), Vec::new());
        for chain in handed {
            done.extend(chain.done);
            failed.extend(chain.failed);
        }
        if let Handler::Outside(_) = consumer.handler
            && !done.is_empty()
        {
            let marked = self.outbox.mark_done(lease, &done).await?;
            if marked == 0 {
                return Ok(Round::Outage(Error::unavailable("the lease has run out")));
            }
        }
        let outage = failed.iter().all(|(_, error)| error.kind() == Kind::Unavailable);
        if done.is_empty() && outage {
            let first = failed.into_iter().next().map(|(_, error)| Round::Outage(error));
            // Another relay has taken what was due.
            return Ok(first.unwrap_or(Round::Nothing));
        }
        count(consumer, "delivered", done.len());
        for (delivery, error) in &failed {
            self.give_back(lease, consumer, delivery, error).await?;
        }
        Ok(Round::Progress)
    }

    /// One after the other; the first that fails holds up the rest of its aggregate.
    async fn hand_over(
        &self,
        lease: Lease,
        consumer: &Consumer,
        chain: Vec<Delivery>,
        over: &impl Fn() -> bool,
    ) -> Handed {
        let mut handed = Handed::default();
        for delivery in chain {
            if over() {
                break;
            }
            let handling = self.handle(lease, &consumer.handler, &delivery);
            let result = timeout(PATIENCE, AssertUnwindSafe(handling).catch_unwind()).await;
            let result = match result {
                Ok(Ok(result)) => result,
                Ok(Err(_)) => Err(Error::internal("the consumer panicked")),
                Err(_) => Err(Error::internal("the consumer took too long")),
            };
            match result {
                Ok(true) => {
                    let delay = self.outbox.delay(&delivery.event).as_secs_f64();
                    metrics::histogram!(names::OUTBOX_DELAY, "consumer" => consumer.name)
                        .record(delay);
                    handed.done.push(delivery);
                }
                Ok(false) => break,
                Err(error) => {
                    handed.failed = Some((delivery, error));
                    break;
                }
            }
        }
        handed
    }

    async fn handle(&self, lease: Lease, handler: &Handler, delivery: &Delivery) -> Result<bool> {
        match handler {
            Handler::Inside(inside) => {
                let handle =
                    async |tx: &mut sqlx::PgConnection, event: &_| inside.handle(tx, event).await;
                self.outbox.hand_over(lease, delivery, handle).await
            }
            Handler::Outside(outside) => outside.handle(&delivery.event).await.map(|()| true),
        }
    }

    async fn give_back(
        &self,
        lease: Lease,
        consumer: &Consumer,
        delivery: &Delivery,
        error: &Error,
    ) -> Result<()> {
        let outcome = match self.outbox.mark_failed(lease, delivery, error).await? {
            Some(DeliveryState::Dead) => "dead",
            Some(_) => "failed",
            None => return Ok(()),
        };
        let (consumer_name, event, error) = (consumer.name, &delivery.event, error.chain());
        tracing::warn!(
            consumer = consumer_name, event_id = %event.id, event_type = event.kind,
            request_id = event.request_id, attempts = delivery.attempts + 1, outcome, error,
            "an event was not handled"
        );
        count(consumer, outcome, 1);
        Ok(())
    }
}

/// By aggregate, each in order.
fn chains(due: Vec<Delivery>) -> Vec<Vec<Delivery>> {
    let mut places = HashMap::new();
    let mut chains: Vec<Vec<Delivery>> = Vec::new();
    for delivery in due {
        let event = &delivery.event;
        let aggregate = (event.aggregate_kind.clone(), event.aggregate_id);
        let place = *places.entry(aggregate).or_insert(chains.len());
        match chains.get_mut(place) {
            Some(chain) => chain.push(delivery),
            None => chains.push(vec![delivery]),
        }
    }
    chains
}

async fn wait(commits: &mut watch::Receiver<u64>) {
    let _ = timeout(POLL, commits.changed()).await;
}

fn chance() -> f64 {
    u32::from_be_bytes(crypto::random()) as f64 / f64::from(u32::MAX)
}

fn count(consumer: &Consumer, outcome: &'static str, n: usize) {
    let labels = [("consumer", consumer.name), ("outcome", outcome)];
    metrics::counter!(names::OUTBOX_DELIVERIES, &labels).increment(n as u64);
}
