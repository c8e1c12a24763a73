//! A consumer that writes down what it is told, and fails when it is told to.

use std::sync::{
    Arc, Mutex,
    atomic::{AtomicBool, Ordering},
};

use futures_util::future::{BoxFuture, FutureExt};
use mainstay::{
    domain::{
        audit::Origin,
        events::{Aggregate, Event, EventType, NewEvent, Wants},
    },
    error::{Error, Result},
    events::{Consumer, Handler, Inside},
};
use sqlx::PgConnection;
use uuid::Uuid;

use super::TestApp;

/// A row per effect: one that happens twice is seen.
pub const TABLE: &str = "create table ledger (
    n bigint generated always as identity, consumer text, event_id uuid, aggregate_id uuid,
    sequence bigint, at timestamptz default clock_timestamp())";

#[derive(Clone, Default)]
pub struct Mood(Arc<Inner>);

#[derive(Default)]
struct Inner {
    refused: Mutex<Vec<Uuid>>,
    panics: Mutex<Vec<Uuid>>,
    away: AtomicBool,
}

impl Mood {
    /// Events of this aggregate fail, after their effect.
    pub fn refuse(&self, aggregate: Uuid) {
        self.0.refused.lock().unwrap().push(aggregate);
    }

    pub fn panic_at(&self, aggregate: Uuid) {
        self.0.panics.lock().unwrap().push(aggregate);
    }

    pub fn forgive(&self) {
        self.0.refused.lock().unwrap().clear();
        self.0.panics.lock().unwrap().clear();
    }

    pub fn go_away(&self, away: bool) {
        self.0.away.store(away, Ordering::SeqCst);
    }
}

struct Ledger {
    name: &'static str,
    mood: Mood,
}

impl Ledger {
    async fn write(&self, tx: &mut PgConnection, event: &Event) -> Result<()> {
        let insert = "insert into ledger (consumer, event_id, aggregate_id, sequence)
                      values ($1, $2, $3, $4)";
        let insert = sqlx::query(insert).bind(self.name).bind(event.id.0);
        insert.bind(event.aggregate_id).bind(event.sequence).execute(tx).await?;
        let moody = |of: &Mutex<Vec<Uuid>>| of.lock().unwrap().contains(&event.aggregate_id);
        assert!(!moody(&self.mood.0.panics), "a consumer that panics");
        if self.mood.0.away.load(Ordering::SeqCst) {
            return Err(Error::unavailable("away"));
        }
        if moody(&self.mood.0.refused) { Err(Error::internal("refused")) } else { Ok(()) }
    }
}

impl Inside for Ledger {
    fn handle<'a>(
        &'a self,
        tx: &'a mut PgConnection,
        event: &'a Event,
    ) -> BoxFuture<'a, Result<()>> {
        self.write(tx, event).boxed()
    }
}

pub fn consumer(name: &'static str, blocking: bool, mood: &Mood) -> Consumer {
    let ledger = Ledger { name, mood: mood.clone() };
    Consumer { name, wants: Wants::All, blocking, handler: Handler::Inside(Box::new(ledger)) }
}

impl TestApp {
    /// With a ledger that passes dead events, and one that waits for them.
    pub async fn with_ledgers(vars: &[(&str, &str)], mood: &Mood) -> Self {
        let mood = mood.clone();
        let consumers =
            move || vec![consumer("passing", false, &mood), consumer("waiting", true, &mood)];
        let quick = [("APP__OUTBOX__BACKOFF_FIRST", "20ms"), ("APP__OUTBOX__BACKOFF_MAX", "50ms")];
        let app = Self::with_consumers(&[&quick, vars].concat(), Arc::new(consumers)).await;
        app.execute(TABLE).await;
        app.execute("grant select, insert, update, delete on ledger to mainstay_app").await;
        app
    }

    /// `n` events of one aggregate, a transaction each.
    pub async fn emit(&self, aggregate: Uuid, n: usize) {
        for _ in 0..n {
            let event = NewEvent {
                kind: EventType::UserUpdated,
                aggregate: Aggregate { kind: "thing", id: aggregate },
                actor: None,
                payload: serde_json::json!({}),
            };
            let outbox = &self.app.services.outbox;
            let emit =
                async |tx: &mut PgConnection| outbox.emit(tx, event, &Origin::command_line()).await;
            self.app.db.tx("tests.emit", emit).await.unwrap();
        }
    }
}
