//! What is shown of the configuration: the effective settings, and the table of all keys.

use super::fault::Faults;
use super::section::{Key, conventional, variable};
use super::source::{ENVIRONMENT, Inputs, Source, Values, layers};
use super::types::{Environment, Raw, shown};
use super::{Config, keys};

/// A line of `mainstay check-config`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Setting {
    /// The key, such as `server.port`.
    pub key: String,
    /// The value as text, or `[secret]`, `(none)`, or `[invalid]` for what does not parse.
    pub value: String,
    /// The layer that won, such as `environment variable PORT`.
    pub origin: String,
}

impl Config {
    /// Every setting as it stands after all layers, whether or not it is valid.
    pub fn describe(inputs: &Inputs) -> Vec<Setting> {
        let (_, values) = layers(inputs, &mut Faults::default());
        let setting = |key: &Key| {
            let (raw, source) = values.get(key.name);
            Setting { key: key.name.into(), value: (key.shown)(raw), origin: source.to_string() }
        };
        std::iter::once(environment(inputs)).chain(keys().map(setting)).collect()
    }

    /// The table of the README: every key with its variables, its default and its meaning.
    pub fn markdown_table() -> String {
        let default = Values::embedded("default.toml");
        let development = Values::embedded("development.toml");
        let row = |key| row(key, &default, &development);
        let head = "| key | environment variable | default | meaning |\n|---|---|---|---|\n";
        keys().map(row).fold(head.to_owned(), |table, row| table + &row)
    }
}

fn environment(inputs: &Inputs) -> Setting {
    let (value, origin) = match inputs.var(ENVIRONMENT) {
        Some(text) => {
            let value = shown::<Environment>(&Raw::Text(text.to_owned()));
            (value, Source::Variable(ENVIRONMENT.to_owned()).to_string())
        }
        None => (Environment::Development.to_string(), "default".to_owned()),
    };
    Setting { key: "environment".to_owned(), value, origin }
}

fn row(key: &Key, default: &Values, development: &Values) -> String {
    let variables = conventional(key.name).map(str::to_owned).into_iter();
    let variables: Vec<_> =
        variables.chain([variable(key.name)]).map(|name| format!("`{name}`")).collect();
    let default = if key.required { "required".to_owned() } else { cell(key, default) };
    let default = match development.find(key.name) {
        Some(_) => format!("{default}; development: {}", cell(key, development)),
        None => default,
    };
    let meaning = key.doc.trim().replace('|', "\\|");
    format!("| `{}` | {} | {default} | {meaning} |\n", key.name, variables.join(" or "))
}

fn cell(key: &Key, values: &Values) -> String {
    match (key.shown)(&values.get(key.name).0).as_str() {
        "(none)" => "none".to_owned(),
        "[secret]" => "a fixed one".to_owned(),
        text => format!("`{text}`"),
    }
}
