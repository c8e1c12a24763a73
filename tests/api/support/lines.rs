//! The canonical lines of the requests that tests make.

use std::{
    collections::HashMap,
    sync::{LazyLock, Mutex},
};

use serde_json::{Map, Value, json};
use tracing::{
    Event, Subscriber,
    field::{Field, Visit},
};
use tracing_subscriber::{Layer, layer::Context};

use super::Answer;

pub const TARGET: &str = "mainstay::access";

static HEARD: LazyLock<Mutex<HashMap<String, Value>>> = LazyLock::new(Mutex::default);

pub struct Ear;

impl<S: Subscriber> Layer<S> for Ear {
    fn on_event(&self, event: &Event<'_>, _: Context<'_, S>) {
        let mut fields = Fields::default();
        event.record(&mut fields);
        let line = json!({"level": event.metadata().level().as_str(), "fields": fields.0});
        let id = line["fields"]["request_id"].as_str().unwrap_or_default().to_owned();
        if line["fields"]["late"].is_null() {
            HEARD.lock().unwrap().insert(id, line);
        }
    }
}

#[derive(Default)]
struct Fields(Map<String, Value>);

impl Fields {
    fn set(&mut self, field: &Field, value: impl Into<Value>) {
        self.0.insert(field.name().to_owned(), value.into());
    }
}

impl Visit for Fields {
    fn record_str(&mut self, field: &Field, value: &str) {
        self.set(field, value);
    }

    fn record_u64(&mut self, field: &Field, value: u64) {
        self.set(field, value);
    }

    fn record_f64(&mut self, field: &Field, value: f64) {
        self.set(field, value);
    }

    fn record_bool(&mut self, field: &Field, value: bool) {
        self.set(field, value);
    }

    fn record_debug(&mut self, field: &Field, value: &dyn std::fmt::Debug) {
        self.set(field, format!("{value:?}"));
    }
}

impl Answer {
    /// What the log says about this request: its level and its fields.
    #[track_caller]
    pub fn line(&self) -> Value {
        let id = self.header("x-request-id");
        let heard = HEARD.lock().unwrap();
        heard.get(id).cloned().unwrap_or_else(|| panic!("no line for {self:?}"))
    }

    /// How many statements the request cost.
    #[track_caller]
    pub fn statements(&self) -> u64 {
        self.line()["fields"]["db_statements"].as_u64().expect("a number")
    }
}
