//! What is written down is complete: the API description, the codes, the metrics.

use mainstay::{error::Code, middleware::error_mapper, routes, telemetry::metrics};

const README: &str = include_str!("../../README.md");

#[test]
fn the_api_description_has_every_route_and_its_refusals() {
    let document = serde_json::to_value(routes::openapi::document()).unwrap();
    assert_eq!(document["openapi"], "3.1.0");
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
            for status in ["429", "503", "504"] {
                assert!(responses.contains_key(status), "{method} {} lacks {status}", route.path);
            }
        }
        assert!(operation["summary"].is_string(), "{method} {} has no summary", route.path);
    }
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
