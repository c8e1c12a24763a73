//! What is written down is complete: the API description, the codes, the metrics.

use std::collections::BTreeSet;

use mainstay::{error::Code, middleware::error_mapper, routes, telemetry::metrics};
use serde_json::Value;

use super::support::TestApp;

const README: &str = include_str!("../../README.md");
const COMMITTED: &str = include_str!("openapi.json");

fn document() -> Value {
    serde_json::to_value(routes::openapi::document()).unwrap()
}

/// Every operation with its line ("GET /path") and its description.
fn operations(document: &Value) -> Vec<(String, Value)> {
    let paths = document["paths"].as_object().unwrap();
    let all = paths.iter().flat_map(|(path, item)| {
        let methods = item.as_object().unwrap();
        methods
            .iter()
            .map(move |(method, it)| (format!("{} {path}", method.to_uppercase()), it.clone()))
    });
    all.collect()
}

/// Every object in the document.
fn objects<'a>(value: &'a Value, found: &mut Vec<&'a serde_json::Map<String, Value>>) {
    match value {
        Value::Object(object) => {
            found.push(object);
            object.values().for_each(|member| objects(member, found));
        }
        Value::Array(items) => items.iter().for_each(|item| objects(item, found)),
        _ => {}
    }
}

fn references(document: &Value) -> BTreeSet<String> {
    let mut all = Vec::new();
    objects(document, &mut all);
    let refs = all.iter().filter_map(|object| object.get("$ref")?.as_str());
    refs.map(|reference| reference.trim_start_matches('#').to_owned()).collect()
}

/// A response, or the shared one it refers to.
fn resolve<'a>(document: &'a Value, response: &'a Value) -> &'a Value {
    match response["$ref"].as_str() {
        Some(reference) => document.pointer(reference.trim_start_matches('#')).unwrap(),
        None => response,
    }
}

#[test]
fn the_api_description_has_every_route_and_its_refusals() {
    let document = document();
    assert_eq!(document["openapi"], "3.1.0");
    assert_eq!(operations(&document).len(), routes::table().len());
    for route in routes::table() {
        let method = route.method.as_str().to_lowercase();
        let operation = &document["paths"][route.path][&method];
        let responses = operation["responses"].as_object();
        let responses = responses.unwrap_or_else(|| panic!("{method} {} is missing", route.path));
        assert!(
            responses.keys().any(|status| status.starts_with('2')),
            "{} has no success",
            route.path
        );
        if route.path.starts_with("/api/") {
            for status in ["406", "422", "429", "503", "504"] {
                assert!(responses.contains_key(status), "{method} {} lacks {status}", route.path);
            }
        }
        for text in ["summary", "description", "operationId"] {
            assert!(operation[text].is_string(), "{method} {} has no {text}", route.path);
        }
    }
}

#[test]
fn the_committed_api_description_is_the_present_one() {
    let present = routes::openapi::document().to_pretty_json().unwrap();
    let how = "cargo run -- openapi > tests/api/openapi.json, and look at the difference";
    assert!(COMMITTED.trim_end() == present, "the API description has changed: {how}");
}

#[tokio::test]
async fn the_api_description_is_served() {
    let app = TestApp::new().await;
    let answer = app.get("/openapi.json").send().await.expect(200);
    assert_eq!(answer.header("content-type"), "application/json");
    assert_eq!(answer.json(), document());
}

#[test]
fn operations_have_names_of_their_own_and_tags_that_are_described() {
    let document = document();
    let tags = document["tags"].as_array().unwrap();
    let mut names = BTreeSet::new();
    for (line, operation) in operations(&document) {
        let name = operation["operationId"].as_str().unwrap().to_owned();
        assert!(name.contains('_'), "{line}: {name} is no verb and noun");
        assert!(names.insert(name.clone()), "{line}: {name} names two operations");
        for tag in operation["tags"].as_array().unwrap() {
            assert!(tags.iter().any(|it| it["name"] == *tag), "{line}: {tag} is not described");
        }
    }
}

#[test]
fn every_reference_has_a_target_and_every_component_is_referred_to() {
    let document = document();
    let references = references(&document);
    for reference in &references {
        assert!(document.pointer(reference).is_some(), "{reference} is missing");
    }
    for (kind, components) in document["components"].as_object().unwrap() {
        for name in components.as_object().unwrap().keys() {
            let reference = format!("/components/{kind}/{name}");
            // Security schemes are referred to by name.
            let used = references.contains(&reference) || kind == "securitySchemes";
            assert!(used, "{reference} is not used");
        }
    }
}

#[test]
fn request_bodies_refuse_members_that_are_not_described() {
    let document = document();
    for (line, operation) in operations(&document) {
        let content = &operation["requestBody"]["content"];
        // A file has no members.
        if operation.get("requestBody").is_some() && content.get("text/csv").is_none() {
            let schema = resolve(&document, &content["application/json"]["schema"]);
            assert_eq!(schema["additionalProperties"], false, "{line}");
        }
    }
}

#[test]
fn the_description_of_a_problem_lists_every_code_with_its_status() {
    let document = document();
    let code = &document["components"]["schemas"]["Problem"]["properties"]["code"];
    let text = code["description"].as_str().unwrap();
    for code in Code::ALL {
        let status = error_mapper::status(code.kind()).as_u16();
        let line = format!("- `{}` ({status}): {}", code.as_str(), code.title());
        assert!(text.contains(&line), "the API description lacks: {line}");
    }
}

/// What no described operation answers: other methods of a path, the command line, and what is
/// there for later.
const NOT_OF_AN_OPERATION: [Code; 2] = [Code::MethodNotAllowed, Code::PreconditionRequired];

#[test]
fn refusals_name_the_codes_of_their_status_and_all_codes_are_named() {
    let document = document();
    let mut named = BTreeSet::new();
    for (line, operation) in operations(&document) {
        for (status, response) in operation["responses"].as_object().unwrap() {
            let response = resolve(&document, response);
            if response["content"].get("application/problem+json").is_none() {
                continue;
            }
            let text = response["description"].as_str().unwrap();
            let of_status = |code: &&Code| error_mapper::status(code.kind()).as_str() == status;
            let is_named = |code: &&Code| text.contains(&format!("`{}`", code.as_str()));
            let codes: Vec<_> = Code::ALL.iter().filter(is_named).collect();
            assert!(!codes.is_empty(), "{line} {status} names no code");
            assert!(codes.iter().all(of_status), "{line} {status} names a code of another status");
            named.extend(codes.iter().map(|code| code.as_str()));
        }
    }
    for code in Code::ALL.iter().filter(|code| !NOT_OF_AN_OPERATION.contains(code)) {
        assert!(named.contains(code.as_str()), "no operation names {}", code.as_str());
    }
}

/// Words that are written like codes: `UPPER_SNAKE`.
fn codes_in(text: &str) -> BTreeSet<String> {
    let words = text.split('`').skip(1).step_by(2);
    let is_code = |word: &&str| {
        word.contains(|c: char| c.is_ascii_uppercase())
            && word.chars().all(|c| c.is_ascii_uppercase() || c == '_')
    };
    words.filter(is_code).map(str::to_owned).collect()
}

#[test]
fn no_description_names_a_code_that_there_is_not() {
    let document = document();
    let mut all = Vec::new();
    objects(&document, &mut all);
    let texts = all.iter().filter_map(|object| object.get("description")?.as_str());
    let named: BTreeSet<_> = texts.flat_map(codes_in).collect();
    assert!(named.len() > 20, "the codes were not found: {named:?}");
    let known: BTreeSet<_> = Code::ALL.iter().map(|code| code.as_str().to_owned()).collect();
    let unknown: Vec<_> = named.difference(&known).collect();
    assert!(unknown.is_empty(), "{unknown:?}");
}

/// The lines of `src`, without those of its tests.
fn source_lines() -> Vec<String> {
    let mut folders = vec![std::path::Path::new(env!("CARGO_MANIFEST_DIR")).join("src")];
    let mut lines = Vec::new();
    while let Some(folder) = folders.pop() {
        for entry in std::fs::read_dir(folder).unwrap() {
            let path = entry.unwrap().path();
            if path.is_dir() {
                folders.push(path);
            } else if path.extension().is_some_and(|extension| extension == "rs") {
                let text = std::fs::read_to_string(&path).unwrap();
                let text = text.split("#[cfg(test)]\nmod tests {").next().unwrap_or_default();
                lines.extend(text.lines().map(str::to_owned));
            }
        }
    }
    lines
}

#[test]
fn every_code_is_raised_somewhere() {
    let lines = source_lines();
    for code in Code::ALL {
        let name = format!("Code::{code:?}");
        let names = |line: &String| {
            let mut after = line.match_indices(&name).map(|(at, _)| &line[at + name.len()..]);
            after.any(|rest| !rest.starts_with(|c: char| c.is_ascii_alphanumeric()))
        };
        assert!(lines.iter().any(names), "{name} is never raised");
    }
}

/// The rows between two markers.
fn rows<'a>(marker: &str, end: &str) -> Vec<&'a str> {
    let after = README.split_once(&format!("<!-- {marker} -->")).unwrap().1;
    let table = after.split_once(&format!("<!-- {end} -->")).unwrap().0;
    table.lines().filter(|line| line.starts_with("| `")).collect()
}

#[test]
fn the_readme_lists_every_error_code_with_its_status_and_no_other() {
    let row = |code: &Code| {
        let status = error_mapper::status(code.kind()).as_u16();
        format!("| `{}` | {status} | {} |", code.as_str(), code.title())
    };
    assert_eq!(
        rows("error codes", "end error codes"),
        Code::ALL.iter().map(row).collect::<Vec<_>>()
    );
}

#[test]
fn the_readme_lists_every_metric_with_its_kind_and_no_other() {
    let row = |metric: &metrics::Metric| {
        let kind = format!("{:?}", metric.kind).to_lowercase();
        format!("| `{}` | {kind} | {} |", metric.name, metric.help)
    };
    let present: BTreeSet<_> = metrics::ALL.iter().map(row).collect();
    let listed = rows("metrics", "end metrics").into_iter().map(str::to_owned);
    assert_eq!(listed.collect::<BTreeSet<_>>(), present);
}
