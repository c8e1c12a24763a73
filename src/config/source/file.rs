//! Layers that are TOML files.

use super::super::fault::Faults;
use super::super::keys;
use super::super::types::{Environment, Raw};
use super::{CONFIG_DIR, Inputs, Source, Values, suggestion};
use std::fs;
use std::io::ErrorKind;

pub(crate) const DEFAULT: &str = "default.toml";

macro_rules! embedded {
    ($($name:literal),+) => {
        [$(($name, include_str!(concat!(env!("CARGO_MANIFEST_DIR"), "/config/", $name)))),+]
    };
}

static EMBEDDED: [(&str, &str); 3] =
    embedded!["default.toml", "development.toml", "production.toml"];

pub(super) fn embedded(name: &str, values: &mut Values, faults: &mut Faults) {
    let known = EMBEDDED.iter().find(|(known, _)| *known == name);
    if let Some((name, text)) = known {
        apply(text, &Source::Embedded(name), values, faults);
    }
}

/// The file of the environment: one of the configuration directory stands in for the embedded one.
pub(super) fn environment(
    environment: Environment,
    inputs: &Inputs,
    values: &mut Values,
    faults: &mut Faults,
) {
    refuse_missing_directory(inputs, faults);
    let name = format!("{environment}.toml");
    let Some(path) = inputs.config_dir.as_ref().map(|dir| dir.join(&name)) else {
        return embedded(&name, values, faults);
    };
    match fs::read_to_string(&path) {
        Ok(text) => apply(&text, &Source::File(path), values, faults),
        Err(error) if error.kind() == ErrorKind::NotFound => embedded(&name, values, faults),
        Err(error) => faults.whole(&Source::File(path), unreadable(error.kind())),
    }
}

/// A directory that was asked for by name and is not there is a slip of the pen, which would
/// otherwise start the process with settings that nobody chose.
fn refuse_missing_directory(inputs: &Inputs, faults: &mut Faults) {
    let missing = |_: &&str| inputs.config_dir.as_ref().is_none_or(|dir| !dir.is_dir());
    if inputs.var(CONFIG_DIR).filter(missing).is_some() {
        faults.whole(&Source::Variable(CONFIG_DIR.to_owned()), "is not a directory");
    }
}

/// Only the kind of the error: its full text may hold the path, which is somebody's value.
pub(super) fn unreadable(kind: ErrorKind) -> String {
    format!("cannot be read: {kind}")
}

fn apply(text: &str, source: &Source, values: &mut Values, faults: &mut Faults) {
    match text.parse::<toml::Table>() {
        Ok(table) => flatten("", table, &mut |key, value| {
            set(&key, value, source, values, faults);
        }),
        Err(error) => faults.whole(source, not_toml(text, &error)),
    }
}

/// The parser's own message is left out, since it may quote what it could not read.
fn not_toml(text: &str, error: &toml::de::Error) -> String {
    let before = error.span().and_then(|span| text.get(..span.start)).unwrap_or_default();
    let line = before.matches('\n').count() + 1;
    let column = before.chars().rev().take_while(|c| *c != '\n').count() + 1;
    format!("is not valid TOML at line {line}, column {column}")
}

fn flatten(prefix: &str, table: toml::Table, each: &mut impl FnMut(String, toml::Value)) {
    for (name, value) in table {
        let key = format!("{prefix}{name}");
        match value {
            toml::Value::Table(inner) if !inner.is_empty() => {
                flatten(&format!("{key}."), inner, each);
            }
            value => each(key, value),
        }
    }
}

fn set(key: &str, value: toml::Value, source: &Source, values: &mut Values, faults: &mut Faults) {
    let empty_section = |section: &str| value.is_table() && section == key;
    if let Some(known) = keys().find(|known| known.name == key) {
        let raw = raw(value).unwrap_or_else(|| {
            faults.key(key, source, "must be text, a number, true or false, or a list of these");
            Raw::Faulty
        });
        values.set(known.name, raw, source.clone());
    } else if !keys().filter_map(|key| key.name.split('.').next()).any(empty_section) {
        faults.key(key, source, suggestion::unknown_key(key));
    }
}

fn raw(value: toml::Value) -> Option<Raw> {
    match value {
        toml::Value::Array(items) => {
            items.into_iter().map(scalar).collect::<Option<_>>().map(Raw::List)
        }
        value => scalar(value).map(Raw::Text),
    }
}

fn scalar(value: toml::Value) -> Option<String> {
    match value {
        toml::Value::String(text) => Some(text),
        toml::Value::Integer(number) => Some(number.to_string()),
        toml::Value::Float(number) => Some(number.to_string()),
        toml::Value::Boolean(truth) => Some(truth.to_string()),
        toml::Value::Datetime(_) | toml::Value::Array(_) | toml::Value::Table(_) => None,
    }
}
