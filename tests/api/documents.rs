//! What is written down is complete: the API description, the codes, the metrics.

use std::collections::BTreeSet;

use mainstay::{error::Code, middleware::error_mapper, routes, telemetry::metrics};
use serde_json::{Value, json};

use super::support::{Call, TestApp};

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
        let schema = &operation["requestBody"]["content"]["application/json"]["schema"];
        if operation.get("requestBody").is_some() {
            let schema = resolve(&document, schema);
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
const NOT_OF_AN_OPERATION: [Code; 3] =
    [Code::MethodNotAllowed, Code::Conflict, Code::PreconditionRequired];

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

/// The examples of bodies in the order in which a client may send them, and how each is called.
const TOUR: [(&str, u16); 11] = [
    ("POST /api/v1/auth/register", 201),
    ("POST /api/v1/auth/email/resend", 202),
    ("POST /api/v1/auth/email/verify", 204),
    ("POST /api/v1/auth/login", 200),
    ("POST /api/v1/auth/refresh", 200),
    ("PATCH /api/v1/users/me", 200),
    ("PATCH /api/v1/users/{id}", 200),
    ("PUT /api/v1/users/me/email", 202),
    ("PUT /api/v1/auth/password", 204),
    ("POST /api/v1/auth/password/forgot", 202),
    ("POST /api/v1/auth/password/reset", 204),
];

#[tokio::test]
async fn the_examples_of_request_bodies_are_accepted() {
    let app = TestApp::mailing(&[]).await;
    let admin = app.admin("admin").await;
    let document = document();
    let mut ada = json!({});
    for (line, status) in TOUR {
        let (method, path) = line.split_once(' ').unwrap();
        let mut body = example(&document, line);
        let id = ada["user"]["id"].as_str().unwrap_or_default();
        let mut call = app.call(method, &path.replace("{id}", id));
        if line.ends_with("/refresh") {
            // A token cannot be written down beforehand.
            body["refresh_token"] = ada["refresh_token"].clone();
        } else if body.get("token").is_some() {
            body["token"] = json!(app.newest_token("ada@example.com").await);
        } else {
            let own = ada["access_token"].as_str();
            let token = if path.contains("{id}") { Some(admin.access.as_str()) } else { own };
            call = token.into_iter().fold(call, Call::bearer);
        }
        let answer = call.json(&body).send().await.expect(status);
        if line.ends_with("/login") {
            ada = answer.json();
        }
        if path.contains("{id}") {
            // The change of role has made the token stale.
            let again = app.post("/api/v1/auth/login");
            let again = again.json(&example(&document, "POST /api/v1/auth/login")).send().await;
            ada = again.expect(200).json();
        }
    }
    let with_body =
        operations(&document).into_iter().filter(|it| it.1.get("requestBody").is_some());
    for (line, _) in with_body {
        assert!(TOUR.iter().any(|it| it.0 == line), "the example of {line} is not tried here");
    }
}

fn example(document: &Value, line: &str) -> Value {
    let all = operations(document);
    let (_, operation) = all.iter().find(|it| it.0 == line).unwrap();
    let example = &operation["requestBody"]["content"]["application/json"]["example"];
    assert!(example.is_object(), "{line} has no example");
    example.clone()
}

#[test]
fn the_readme_lists_every_error_code_with_its_status() {
    for code in Code::ALL {
        let status = error_mapper::status(code.kind()).as_u16();
        let row = format!("| `{}` | {status} | {} |", code.as_str(), code.title());
        assert!(README.contains(&row), "the README lacks: {row}");
    }
}

#[test]
fn the_readme_lists_every_metric_with_its_kind() {
    for metric in metrics::ALL {
        let kind = format!("{:?}", metric.kind).to_lowercase();
        let row = format!("| `{}` | {kind} | {} |", metric.name, metric.help);
        assert!(README.contains(&row), "the README lacks: {row}");
    }
}
