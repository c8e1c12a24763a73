//! Listening to the statements that a piece of work sends to Postgres.

use std::sync::{Arc, Mutex};

use tracing::{
    Event, Subscriber,
    field::{Field, Visit},
};
use tracing_subscriber::{
    Layer,
    layer::{Context, SubscriberExt},
};

/// What the loops behind the requests ask is not counted.
const BACKGROUND: [&str; 4] = ["change_feed", "_sqlx_migrations", "to_regclass", "signing_keys"];

#[derive(Clone, Default)]
struct Ear(Arc<Mutex<Vec<String>>>);

impl<S: Subscriber> Layer<S> for Ear {
    fn on_event(&self, event: &Event<'_>, _: Context<'_, S>) {
        if event.metadata().target() == "sqlx::query" {
            event.record(&mut Summary(&self.0));
        }
    }
}

struct Summary<'a>(&'a Mutex<Vec<String>>);

impl Visit for Summary<'_> {
    fn record_str(&mut self, field: &Field, value: &str) {
        if field.name() == "summary" && !BACKGROUND.iter().any(|word| value.contains(word)) {
            self.0.lock().unwrap().push(value.to_owned());
        }
    }

    fn record_debug(&mut self, _: &Field, _: &dyn std::fmt::Debug) {}
}

/// The statements sent while `work` runs, on a runtime with one thread.
pub async fn during<T>(work: impl Future<Output = T>) -> (T, Vec<String>) {
    let ear = Ear::default();
    let guard = tracing::subscriber::set_default(tracing_subscriber::registry().with(ear.clone()));
    let result = work.await;
    drop(guard);
    let heard = ear.0.lock().unwrap().clone();
    (result, heard)
}
