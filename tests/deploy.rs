//! What stands under `deploy/` and around it fits the service and itself.

use std::{
    fs,
    io::ErrorKind,
    path::{Path, PathBuf},
    process::Command,
};

use mainstay::{
    config::Config,
    telemetry::metrics::{self, Metric, MetricKind},
};
use serde_json::Value;

const ALERTS: &str = "deploy/prometheus/alerts.yml";
const DASHBOARD: &str = "deploy/grafana/dashboards/mainstay.json";

fn path(name: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join(name)
}

fn read(name: &str) -> String {
    fs::read_to_string(path(name)).unwrap_or_else(|error| panic!("{name}: {error}"))
}

/// The values of `expr:`, each on its line or as a block below it.
fn alert_queries() -> Vec<String> {
    let text = read(ALERTS);
    let indent = |line: &str| line.len() - line.trim_start().len();
    let mut lines = text.lines().peekable();
    let mut found = Vec::new();
    while let Some(line) = lines.next() {
        let Some(value) = line.trim_start().strip_prefix("expr: ") else { continue };
        let mut query = value.trim_start_matches(['>', '|', '-']).to_owned();
        while let Some(more) = lines.next_if(|next| indent(next) > indent(line)) {
            query += " ";
            query += more.trim();
        }
        found.push(query);
    }
    assert_eq!(found.len(), text.matches("- alert:").count(), "a rule without a query was seen");
    found
}

fn dashboard_queries() -> Vec<String> {
    fn collect(value: &Value, found: &mut Vec<String>) {
        match value {
            Value::Object(fields) => {
                for (key, value) in fields {
                    match value {
                        Value::String(text) if key == "expr" => found.push(text.clone()),
                        Value::String(text) if key == "query" => {
                            // The rest of `label_values(metric, label)` names no metric.
                            let inner = text.strip_prefix("label_values(").unwrap_or(text);
                            found.push(inner.rsplit_once(',').map_or(inner, |it| it.0).to_owned());
                        }
                        value => collect(value, found),
                    }
                }
            }
            Value::Array(values) => values.iter().for_each(|value| collect(value, found)),
            _ => {}
        }
    }
    let mut found = Vec::new();
    collect(&serde_json::from_str(&read(DASHBOARD)).unwrap(), &mut found);
    assert!(found.len() > 20, "the dashboard's queries were not found");
    found
}

/// Without what stands between `open` and `close`.
fn without(text: &str, open: char, close: char) -> String {
    let mut depth = 0;
    let keep = |c: &char| {
        depth += usize::from(*c == open);
        let inside = depth > 0;
        depth -= usize::from(*c == close && inside);
        !inside
    };
    text.chars().filter(keep).collect()
}

/// The metrics that a query reads: its words that are no function, no keyword, no label.
fn metrics_of(query: &str) -> Vec<String> {
    const GROUPING: &[&str] = &["by", "without", "on", "ignoring", "group_left", "group_right"];
    const KEYWORDS: &[&str] = &["and", "or", "unless", "bool", "offset"];
    let bare = without(&without(query, '{', '}'), '[', ']');
    let is_word = |c: char| c.is_ascii_alphanumeric() || matches!(c, '_' | ':');
    let (mut rest, mut found) = (bare.as_str(), Vec::new());
    while let Some(start) = rest.find(is_word) {
        let from = &rest[start..];
        let (word, after) = from.split_at(from.find(|c| !is_word(c)).unwrap_or(from.len()));
        let next = after.trim_start();
        rest = after;
        if GROUPING.contains(&word) && next.starts_with('(') {
            rest = next.split_once(')').expect("a closed list of labels").1;
        } else if !(["(", "by", "without"].iter().any(|it| next.starts_with(it))
            || word.starts_with(|c: char| c.is_ascii_digit())
            || GROUPING.contains(&word)
            || KEYWORDS.contains(&word))
        {
            found.push(word.to_owned());
        }
    }
    found
}

fn is_series_of(name: &str, metric: &Metric) -> bool {
    match (name.strip_prefix(metric.name), metric.kind) {
        (Some(suffix), MetricKind::Histogram) => ["_bucket", "_sum", "_count"].contains(&suffix),
        (Some(suffix), _) => suffix.is_empty(),
        (None, _) => false,
    }
}

#[test]
fn every_query_reads_metrics_that_exist() {
    for query in alert_queries().iter().chain(&dashboard_queries()) {
        let names = metrics_of(query);
        assert!(!names.is_empty(), "reads no metric: {query}");
        for name in names {
            let exists = name == "up" || metrics::ALL.iter().any(|m| is_series_of(&name, m));
            assert!(exists, "there is no {name}: {query}");
        }
    }
}

#[test]
fn metrics_are_found_in_any_query() {
    let query = r#"histogram_quantile(0.9, sum by (le) (rate(a_bucket{x="b{c}"}[5m]))) > 1e3
        and on (instance) max(d) or e_total offset 5m / on () group_left sum(up)"#;
    assert_eq!(metrics_of(query), ["a_bucket", "d", "e_total", "up"]);
}

#[test]
fn the_compose_file_names_only_files_services_and_keys_that_exist() {
    let compose = read("docker-compose.yml");
    let words = |text: &str| -> Vec<String> {
        text.split([' ', '"', '[', ']', ',', ';', '\n']).map(str::to_owned).collect()
    };
    for word in words(&compose).iter().filter(|word| word.starts_with("./")) {
        let file = word.split(':').next().unwrap();
        assert!(path(file).exists(), "docker-compose.yml names {file}, which is missing");
    }
    for file in ["Dockerfile", ".dockerignore"] {
        assert!(path(file).is_file(), "{file} is missing");
    }
    for config in ["deploy/nginx/nginx.conf", "deploy/prometheus/prometheus.yml"] {
        let text = read(config);
        let hosts: Vec<_> = words(&text).into_iter().filter(|w| w.starts_with("api-")).collect();
        assert_eq!(hosts.len(), 2, "{config} names both replicas");
        for host in hosts {
            let service = format!("\n  {}:\n", host.split(':').next().unwrap());
            assert!(compose.contains(&service), "{config} names {host}, which is no service");
        }
    }
    let table = Config::markdown_table();
    for line in compose.lines().map(str::trim_start) {
        let Some((key, _)) = line.split_once(':') else { continue };
        if key.starts_with("APP__") {
            assert!(table.contains(&format!("`{key}`")), "{key} is no variable of the service");
        }
    }
}

#[test]
fn the_replicas_let_nobody_but_nginx_name_the_client() {
    let compose = read("docker-compose.yml");
    let after = |text: &str, key: &str| -> String {
        let (_, rest) = text.split_once(key).unwrap_or_else(|| panic!("there is no {key}"));
        rest.split([' ', '\n']).next().unwrap().to_owned()
    };
    let (_, nginx) = compose.split_once("\n  nginx:\n").expect("a service nginx");
    assert_eq!(
        after(&compose, "APP__SERVER__TRUSTED_PROXIES: "),
        after(nginx, "edge: { ipv4_address: ")
    );
}

#[test]
fn every_table_is_granted_to_the_role_of_the_service() {
    let roles = read("deploy/postgres/roles.sql");
    let granted = |table: &str| {
        roles.lines().any(|line| {
            let line =
                line.strip_prefix("grant ").and_then(|it| it.strip_suffix(" to mainstay_app;"));
            line.is_some_and(|it| it.ends_with(&format!(" on {table}")))
        })
    };
    let mut tables = 0;
    for file in fs::read_dir(path("migrations")).unwrap() {
        let text = fs::read_to_string(file.unwrap().path()).unwrap();
        for line in text.lines().filter_map(|line| line.strip_prefix("create table ")) {
            let table = line.trim_start_matches("if not exists ").split([' ', '(']).next().unwrap();
            assert!(granted(table), "deploy/postgres/roles.sql grants nothing on {table}");
            tables += 1;
        }
    }
    assert!(tables >= 8, "the tables of the migrations were not found");
}

#[test]
fn promtool_accepts_the_rules() {
    let promtool = |arguments: [&str; 2], file: &str| {
        let output = Command::new("promtool").args(arguments).arg(path(file)).output();
        match output {
            Ok(output) => assert!(
                output.status.success(),
                "promtool {arguments:?}: {}{}",
                String::from_utf8_lossy(&output.stdout),
                String::from_utf8_lossy(&output.stderr)
            ),
            Err(error) if error.kind() == ErrorKind::NotFound => {
                eprintln!("skipped: promtool (Debian's package prometheus) is not installed");
            }
            Err(error) => panic!("promtool: {error}"),
        }
    };
    promtool(["check", "rules"], ALERTS);
    promtool(["check", "config"], "deploy/prometheus/prometheus.yml");
    promtool(["test", "rules"], "deploy/prometheus/alerts_test.yml");
}
