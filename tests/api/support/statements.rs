//! Listening to the statements that a piece of work sends to Postgres.

use std::{cell::RefCell, sync::OnceLock};

use tracing::{
    Event, Subscriber,
    field::{Field, Visit},
    level_filters::LevelFilter,
};
use tracing_subscriber::{
    Layer,
    filter::Targets,
    layer::{Context, SubscriberExt},
};

const QUERY: &str = "sqlx::query";
/// What the loops behind the requests ask is not counted.
const BACKGROUND: [&str; 8] = [
    "coalesce(max(id)",
    "change_feed",
    "SELECT version, checksum",
    "to_regclass",
    "signing_keys",
    "outbox_lease",
    "outbox_standing",
    "heads as",
];

thread_local! {
    /// A test has one thread, and so does all that it asks for.
    static HEARD: RefCell<Vec<String>> = const { RefCell::new(Vec::new()) };
}

struct Ear;

impl<S: Subscriber> Layer<S> for Ear {
    fn on_event(&self, event: &Event<'_>, _: Context<'_, S>) {
        event.record(&mut Summary);
    }
}

struct Summary;

impl Visit for Summary {
    fn record_str(&mut self, field: &Field, value: &str) {
        if field.name() == "summary" && !BACKGROUND.iter().any(|word| value.contains(word)) {
            HEARD.with_borrow_mut(|heard| heard.push(value.to_owned()));
        }
    }

    fn record_debug(&mut self, _: &Field, _: &dyn std::fmt::Debug) {}
}

/// The statements sent while `work` runs, on a runtime with one thread.
pub async fn during<T>(work: impl Future<Output = T>) -> (T, Vec<String>) {
    static INSTALLED: OnceLock<()> = OnceLock::new();
    INSTALLED.get_or_init(|| {
        let only = Targets::new().with_target(QUERY, LevelFilter::DEBUG);
        let subscriber = tracing_subscriber::registry().with(Ear.with_filter(only));
        tracing::subscriber::set_global_default(subscriber).expect("nobody else listens");
    });
    HEARD.with_borrow_mut(Vec::clear);
    let result = work.await;
    (result, HEARD.with_borrow_mut(std::mem::take))
}
