//! Who may import whom. A new arrow is a line in this table, and so a decision in a diff.

use std::{collections::BTreeMap, fs, path::Path};

/// Layer, and the layers it may name. `main` and `app` may name everything.
const TABLE: &[(&str, &[&str])] = &[
    ("server", &["config", "lifecycle", "middleware", "telemetry"]),
    ("lifecycle", &[]),
    ("routes", &["handlers", "middleware", "services", "shared"]),
    (
        "middleware",
        // `routes` only hands rows over; the stack reads configuration once, when it is built.
        &["config", "domain", "error", "lifecycle", "services", "shared", "telemetry"],
    ),
    // From middleware: what the layers leave on a request, and how a refusal is rendered.
    ("handlers", &["domain", "error", "middleware", "services", "shared", "telemetry"]),
    (
        // From config: how many slots, how long a lease.
        "jobs",
        &["config", "domain", "error", "services", "telemetry"],
    ),
    (
        "services",
        &["adapters", "config", "db", "domain", "error", "redis", "repos", "shared", "telemetry"],
    ),
    ("adapters", &["config", "domain", "error", "shared", "telemetry"]),
    ("repos", &["db", "domain", "error"]),
    ("shared", &["domain", "error", "redis", "telemetry"]),
    ("domain", &["error"]),
    ("error", &[]),
    // The names of queues are checked with everything else.
    ("config", &["domain"]),
    ("db", &["config", "error", "telemetry"]),
    ("redis", &["shared", "telemetry"]),
    ("telemetry", &["config", "error"]),
];

/// Words that a layer must not contain at all, and why.
const FORBIDDEN: &[(&str, &str, &str)] = &[
    ("handlers", "sqlx", "doors know no SQL"),
    ("handlers", "repos", "doors call services"),
    ("middleware", "sqlx", "layers know no SQL"),
    ("middleware", "repos", "layers call services"),
    ("services", "axum", "services know no HTTP"),
    ("services", "http::", "services know no HTTP"),
    ("services", "StatusCode", "services know no HTTP"),
    ("repos", "axum", "repos know no HTTP"),
    ("repos", "services", "repos know no service"),
    ("repos", "tracing::", "what a statement means is the service's business"),
    ("adapters", "sqlx", "adapters know no SQL"),
    ("adapters", "axum", "adapters know no HTTP routes"),
    ("domain", "tokio", "the domain does no I/O"),
    ("domain", "axum", "the domain knows no HTTP"),
    ("shared", "axum", "building blocks know no HTTP"),
    ("error", "axum", "the error knows no HTTP"),
    ("error", "http", "the error knows no HTTP"),
];

/// Every source file with its layer: the first folder or file below `src`.
fn sources() -> Vec<(String, String, String)> {
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).join("src");
    let (mut found, mut folders) = (Vec::new(), vec![root.clone()]);
    while let Some(folder) = folders.pop() {
        for entry in fs::read_dir(folder).unwrap() {
            let path = entry.unwrap().path();
            if path.is_dir() {
                folders.push(path);
            } else if path.extension().is_some_and(|extension| extension == "rs") {
                let name = path.strip_prefix(&root).unwrap().to_str().unwrap().to_owned();
                let layer = name.split(['/', '.']).next().unwrap().to_owned();
                found.push((layer, name, code(&fs::read_to_string(&path).unwrap())));
            }
        }
    }
    found
}

/// Without comments, and without the tests below `#[cfg(test)]`.
fn code(text: &str) -> String {
    let text = text.split("#[cfg(test)]\nmod tests {").next().unwrap_or_default();
    let lines = text.lines().filter(|line| !line.trim_start().starts_with("//"));
    lines.collect::<Vec<_>>().join("\n")
}

/// The layers a text names after `crate::`, in paths and in grouped imports.
fn named(text: &str) -> Vec<String> {
    let word = |rest: &str| -> String {
        rest.chars().take_while(|c| c.is_ascii_alphanumeric() || *c == '_').collect()
    };
    let mut names = Vec::new();
    for (at, _) in text.match_indices("crate::") {
        let rest = &text[at + "crate::".len()..];
        match rest.strip_prefix('{') {
            Some(group) => names.extend(members(group).iter().map(|member| word(member))),
            None => names.push(word(rest)),
        }
    }
    names
}

/// The members of a group at its first level.
fn members(group: &str) -> Vec<String> {
    let (mut depth, mut members) = (0, vec![String::new()]);
    for c in group.chars() {
        match c {
            '{' => depth += 1,
            '}' if depth == 0 => break,
            '}' => depth -= 1,
            ',' if depth == 0 => members.push(String::new()),
            c if depth == 0 && !c.is_whitespace() => members.last_mut().unwrap().push(c),
            _ => {}
        }
    }
    members.retain(|member| !member.is_empty());
    members
}

#[test]
fn imports_follow_the_table() {
    let table: BTreeMap<_, _> = TABLE.iter().copied().collect();
    let mut wrong = Vec::new();
    for (layer, file, text) in sources() {
        if matches!(layer.as_str(), "main" | "app" | "lib") {
            continue;
        }
        let allowed = table.get(layer.as_str());
        let allowed = allowed.unwrap_or_else(|| panic!("{file}: {layer} has no line in the table"));
        for name in named(&text) {
            let fine = name == layer || allowed.contains(&name.as_str()) || !is_layer(&name);
            if !fine {
                wrong.push(format!("{file} imports {name}"));
            }
        }
    }
    assert!(wrong.is_empty(), "arrows that are not in the table:\n{}", wrong.join("\n"));
}

fn is_layer(name: &str) -> bool {
    name == "app" || name == "main" || TABLE.iter().any(|(layer, _)| *layer == name)
}

#[test]
fn layers_keep_to_their_words() {
    let mut wrong = Vec::new();
    for (layer, file, text) in sources() {
        for (of, word, why) in FORBIDDEN {
            let whole = |at: usize| {
                let before = text[..at].chars().next_back();
                !before.is_some_and(|c| c.is_ascii_alphanumeric() || c == '_')
            };
            if layer == *of && text.match_indices(word).any(|(at, _)| whole(at)) {
                wrong.push(format!("{file} names {word}: {why}"));
            }
        }
    }
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
}

#[test]
fn every_arrow_of_the_table_is_used() {
    let mut used: BTreeMap<String, Vec<String>> = BTreeMap::new();
    for (layer, _, text) in sources() {
        used.entry(layer).or_default().extend(named(&text));
    }
    for (layer, allowed) in TABLE {
        for name in *allowed {
            let names = used.get(*layer);
            assert!(
                names.is_some_and(|names| names.iter().any(|n| n == name)),
                "{layer} -> {name} is not used"
            );
        }
    }
}

#[test]
fn the_table_would_notice() {
    let text = "use crate::{\n    db::Db,\n    services::{auth::Auth, users},\n};\nlet x = crate::repos::users::find;";
    assert_eq!(named(text), ["db", "services", "repos"]);
}
