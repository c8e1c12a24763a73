//! The examples of the API description are sent, and what the service answers is what is written
//! there: no example and no schema is only text.

use mainstay::routes;
use serde_json::{Value, json};

use super::support::{Answer, Call, TestApp, products, schema};

fn document() -> Value {
    serde_json::to_value(routes::openapi::document()).unwrap()
}

/// Every operation with its line ("GET /path") and its description.
fn operations(document: &Value) -> Vec<(String, Value)> {
    let paths = document["paths"].as_object().unwrap().iter();
    let all = paths.flat_map(|(path, item)| {
        let methods = item.as_object().unwrap().iter();
        methods.map(move |(method, it)| (format!("{} {path}", method.to_uppercase()), it.clone()))
    });
    all.collect()
}

/// The status is documented; the media type and the body are as described.
fn assert_as_described(document: &Value, line: &str, answer: &Answer) {
    let (method, path) = line.split_once(' ').unwrap();
    let operation = &document["paths"][path][method.to_lowercase()];
    let response = &operation["responses"][answer.status.as_str()];
    assert!(response.is_object(), "{line}: {} is not documented", answer.status);
    let Some(content) = response["content"].as_object() else {
        return assert!(answer.body.is_empty(), "{line}: a body that is not described");
    };
    let media = answer.header("content-type").replace("; charset=utf-8", "");
    let described = content.get(&media);
    let described = described.unwrap_or_else(|| panic!("{line}: {media} is not described"));
    if media.ends_with("json") {
        let faults = schema::faults(document, &described["schema"], &answer.json());
        assert!(faults.is_empty(), "{line}: {faults:#?}");
    }
}

/// The examples of bodies in the order in which a client may send them, and how each is called.
const TOUR: [(&str, u16); 14] = [
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
    ("POST /api/v1/products", 201),
    ("PATCH /api/v1/products/{id}", 200),
    ("POST /api/v1/products/{id}/stock-adjustments", 200),
];

/// Its body is no JSON.
const FILE: &str = "POST /api/v1/imports";

#[tokio::test]
async fn the_examples_of_request_bodies_are_answered_as_described() {
    let app = TestApp::mailing(&[]).await;
    let admin = app.admin("admin").await;
    let document = document();
    let (mut ada, mut product) = (json!({}), json!({}));
    for (line, status) in TOUR {
        let (method, path) = line.split_once(' ').unwrap();
        let mut body = example(&document, line);
        let of_products = path.contains("/products");
        let id = if of_products { &product["id"] } else { &ada["user"]["id"] };
        let id = id.as_str().unwrap_or_default();
        let mut call = app.call(method, &path.replace("{id}", id));
        if line.ends_with("/refresh") {
            // A token cannot be written down beforehand.
            body["refresh_token"] = ada["refresh_token"].clone();
        } else if body.get("token").is_some() {
            body["token"] = json!(app.newest_token("ada@example.com").await);
        } else {
            let own = ada["access_token"].as_str();
            let token = match of_products || path.contains("{id}") {
                true => Some(admin.access.as_str()),
                false => own,
            };
            call = token.into_iter().fold(call, Call::bearer);
        }
        if method == "PATCH" && of_products {
            call = call.header("if-match", "*");
        }
        let answer = call.json(&body).send().await.expect(status);
        assert_as_described(&document, line, &answer);
        if line.ends_with("/login") {
            ada = answer.json();
        }
        if of_products {
            product = answer.json();
        } else if path.contains("{id}") {
            // The change of role has made the token stale.
            let again = app.post("/api/v1/auth/login");
            let again = again.json(&example(&document, "POST /api/v1/auth/login")).send().await;
            ada = again.expect(200).json();
        }
    }
    let with_body =
        operations(&document).into_iter().filter(|it| it.1.get("requestBody").is_some());
    for (line, _) in with_body {
        let tried = TOUR.iter().any(|it| it.0 == line) || line == FILE;
        assert!(tried, "the example of {line} is not tried here");
    }
    let content = &document["paths"]["/api/v1/imports"]["post"]["requestBody"]["content"];
    let example = content["text/csv"]["example"].as_str().unwrap().to_owned();
    let call = app.post("/api/v1/imports").bearer(&admin.access).text("text/csv", example);
    assert_as_described(&document, FILE, &call.send().await.expect(202));
}

fn example(document: &Value, line: &str) -> Value {
    let all = operations(document);
    let (_, operation) = all.iter().find(|it| it.0 == line).unwrap();
    let body = &operation["requestBody"]["content"]["application/json"];
    assert!(body["example"].is_object(), "{line} has no example");
    let faults = schema::faults(document, &body["schema"], &body["example"]);
    assert!(faults.is_empty(), "the example of {line}: {faults:#?}");
    body["example"].clone()
}

#[tokio::test]
async fn every_operation_without_a_body_answers_as_described() {
    let app = TestApp::new().await;
    let document = document();
    for (number, (line, operation)) in operations(&document).into_iter().enumerate() {
        if operation.get("requestBody").is_some() {
            continue;
        }
        let (method, path) = line.split_once(' ').unwrap();
        // Some of these end their caller, or whom they are about.
        let admin = app.admin(&format!("admin{number}")).await;
        let other = app.customer(&format!("other{number}")).await;
        let id = match path {
            path if path.contains("/sessions/{id}") => own_session(&app, &admin.access).await,
            path if path.contains("/jobs/{id}") => app.waiting_job().await,
            path if path.contains("/outbox/{id}") => app.dead_delivery().await,
            path if path.contains("/imports/{id}") => app.queued_import(&admin).await,
            path if path.contains("/products/{id}") => {
                let draft = products::draft(&format!("KN-{number}"));
                products::id(&app.product(&admin, &draft).await).to_owned()
            }
            _ => other.id,
        };
        let path = path.replace("{id}", &id).replace("{queue}", "bulk");
        let call = app.call(method, &path).bearer(&admin.access);
        let answer = call.send().await;
        assert!(answer.status.is_success(), "{line}: {answer:?}");
        assert_as_described(&document, &line, &answer);
    }
}

async fn own_session(app: &TestApp, access: &str) -> String {
    let sessions = app.get("/api/v1/auth/sessions").bearer(access).send().await.expect(200);
    sessions.json()["data"][0]["id"].as_str().unwrap().to_owned()
}

#[tokio::test]
async fn refusals_are_problems_as_described() {
    let app = TestApp::new().await;
    let document = document();
    let schema = json!({"$ref": "#/components/schemas/Problem"});
    let refused = [
        app.get("/api/v1/users/me").send().await.expect(401),
        app.get("/api/v1/nowhere").send().await.expect(404),
        app.post("/api/v1/auth/login").json(&json!({"email": 1})).send().await.expect(422),
        app.post("/api/v1/auth/login").text("text/plain", "x").send().await.expect(415),
        app.call("DELETE", "/api/v1/ping").send().await.expect(405),
    ];
    for answer in refused {
        let faults = schema::faults(&document, &schema, &answer.json());
        assert!(faults.is_empty(), "{faults:#?}");
    }
}

/// Every schema in the document that carries examples, with them.
fn examples<'a>(value: &'a Value, found: &mut Vec<(&'a Value, &'a Value)>) {
    match value {
        Value::Object(object) => {
            // A member that is called `example` is no example.
            let is_schema =
                ["type", "$ref", "oneOf", "allOf"].iter().any(|key| object.contains_key(*key));
            if is_schema && let Some(example) = object.get("example") {
                found.push((value, example));
            }
            if is_schema && let Some(Value::Array(all)) = object.get("examples") {
                found.extend(all.iter().map(|example| (value, example)));
            }
            // Of parameters and headers.
            if let (Some(schema), Some(example)) = (object.get("schema"), object.get("example")) {
                found.push((schema, example));
            }
            object.values().for_each(|member| examples(member, found));
        }
        Value::Array(items) => items.iter().for_each(|item| examples(item, found)),
        _ => {}
    }
}

#[test]
fn every_example_in_the_description_holds_to_its_schema() {
    let document = document();
    let mut all = Vec::new();
    examples(&document, &mut all);
    assert!(all.len() > 40, "the examples were not found: {}", all.len());
    for (schema, example) in all {
        let faults = schema::faults(&document, schema, example);
        assert!(faults.is_empty(), "{example}: {faults:#?}");
    }
}
