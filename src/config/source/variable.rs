//! Layers that are environment variables, and the files that variables name.

use super::super::fault::Faults;
use super::super::section::{conventional, variable};
use super::super::types::Raw;
use super::super::{keys, section};
use super::file::unreadable;
use super::{Inputs, Source, Values, suggestion};
use std::fs;

/// Lowest first: the customary names, the names of our own, then the files of either.
pub(super) fn apply(inputs: &Inputs, values: &mut Values, faults: &mut Faults) {
    let names = names();
    for (name, key) in &names {
        plain(inputs, name, key, values, faults);
    }
    for (name, key) in &names {
        named_file(inputs, name, key, values, faults);
    }
    refuse_unknown(inputs, &names, faults);
}

fn names() -> Vec<(String, &'static str)> {
    let customary = |key: &section::Key| Some((conventional(key.name)?.to_owned(), key.name));
    let own = keys().map(|key| (variable(key.name), key.name));
    keys().filter_map(customary).chain(own).collect()
}

fn plain(inputs: &Inputs, name: &str, key: &'static str, values: &mut Values, faults: &mut Faults) {
    let Some(text) = inputs.var(name) else { return };
    let source = Source::Variable(name.to_owned());
    // What is not Unicode arrives with this sign in its place, and would be another secret.
    let raw = if text.contains(char::REPLACEMENT_CHARACTER) {
        faults.key(key, &source, "is not valid UTF-8");
        Raw::Faulty
    } else {
        Raw::Text(text.to_owned())
    };
    values.set(key, raw, source);
}

fn named_file(
    inputs: &Inputs,
    name: &str,
    key: &'static str,
    values: &mut Values,
    faults: &mut Faults,
) {
    let file = format!("{name}_FILE");
    let Some(path) = inputs.var(&file) else { return };
    let source = Source::Named(file);
    if inputs.var(name).is_some() {
        faults.key(key, &source, format!("is set twice: {name} is set too"));
    }
    let raw = contents(path).unwrap_or_else(|problem| {
        faults.key(key, &source, problem);
        Raw::Faulty
    });
    values.set(key, raw, source);
}

/// An empty file is refused: whoever mounts one meant to set something.
fn contents(path: &str) -> Result<Raw, String> {
    let text = fs::read_to_string(path).map_err(|error| unreadable(error.kind()))?;
    let text = text.trim_end_matches(['\n', '\r']);
    if text.trim().is_empty() {
        return Err("is empty".to_owned());
    }
    Ok(Raw::Text(text.to_owned()))
}

fn refuse_unknown(inputs: &Inputs, names: &[(String, &'static str)], faults: &mut Faults) {
    let own = inputs.vars.keys().filter(|name| name.starts_with("APP__"));
    for name in own.filter(|name| inputs.var(name).is_some()) {
        let plain = name.strip_suffix("_FILE").unwrap_or(name);
        if !names.iter().any(|(known, _)| known == plain || known == name) {
            let source = Source::Variable(name.escape_debug().to_string());
            faults.whole(&source, suggestion::unknown_variable(name));
        }
    }
}
