//! Listening to the statements that a piece of work sends to Postgres.

use std::cell::RefCell;

use mainstay::telemetry::work;
use tracing::{
    Event, Subscriber,
    field::{Field, Visit},
};
use tracing_subscriber::{Layer, layer::Context};

pub const TARGET: &str = "sqlx::query";

thread_local! {
    /// A test has one thread, and so does all that it asks for.
    static HEARD: RefCell<Vec<String>> = const { RefCell::new(Vec::new()) };
}

pub struct Ear;

impl<S: Subscriber> Layer<S> for Ear {
    fn on_event(&self, event: &Event<'_>, _: Context<'_, S>) {
        // What the loops behind the requests ask is nobody's work.
        if work::current().is_some() {
            event.record(&mut Summary);
        }
    }
}

struct Summary;

impl Visit for Summary {
    fn record_str(&mut self, field: &Field, value: &str) {
        if field.name() == "summary" {
            HEARD.with_borrow_mut(|heard| heard.push(value.to_owned()));
        }
    }

    fn record_debug(&mut self, _: &Field, _: &dyn std::fmt::Debug) {}
}

/// The statements sent while `work` runs, on a runtime with one thread.
pub async fn during<T>(work: impl Future<Output = T>) -> (T, Vec<String>) {
    HEARD.with_borrow_mut(Vec::clear);
    let result = work.await;
    (result, HEARD.with_borrow_mut(std::mem::take))
}
