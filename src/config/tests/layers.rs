//! Which layer wins, and what counts as set.

use super::fixture::*;
use crate::config::{Config, Environment, Inputs, LogFormat};
use std::path::PathBuf;

const AUTH: &str = "[auth]\nrequire_verified_email = false\n";

#[test]
fn development_needs_nothing_but_a_database() {
    let config = load(&[]);
    assert_eq!(config.environment, Environment::Development);
    assert_eq!(config.database.url.expose(), DATABASE);
    assert_eq!(config.server.port, 8080);
    assert_eq!(config.log.format, LogFormat::Pretty);
    assert!(config.database.migrate_on_start);
    assert!(!config.auth.cookie_secure);
}

#[test]
fn production_has_the_defaults() {
    let config = Config::load(&production(&[])).unwrap();
    assert_eq!(config.environment, Environment::Production);
    assert_eq!(config.log.format, LogFormat::Json);
    assert!(!config.database.migrate_on_start);
    assert!(config.auth.cookie_secure);
}

#[test]
fn each_layer_wins_over_the_ones_below() {
    let file =
        format!("{AUTH}master_key = '{KEY}'\n[server]\nport = 1\n[limits]\nrefresh = '1/1s'");
    let (dir, mut inputs) = with_file(&file, &[]);
    let port = |inputs: &Inputs| Config::load(inputs).unwrap().server.port;
    assert_eq!(port(&inputs), 1);
    assert_eq!(Config::load(&inputs).unwrap().limits.refresh.limit, 1);
    inputs.vars.insert("PORT".into(), "2".into());
    assert_eq!(port(&inputs), 2);
    inputs.vars.insert("APP__SERVER__PORT".into(), "3".into());
    assert_eq!(port(&inputs), 3);
    inputs.vars.remove("PORT");
    inputs.vars.insert("PORT_FILE".into(), dir.file("port", "4\n"));
    assert_eq!(port(&inputs), 4);
    inputs.vars.remove("APP__SERVER__PORT");
    inputs.vars.insert("APP__SERVER__PORT_FILE".into(), dir.file("own", "5\r\n"));
    assert_eq!(port(&inputs), 5);
}

#[test]
fn a_file_stands_in_for_the_embedded_one_of_its_name() {
    let (_dir, inputs) = with_file(AUTH, &[("APP__AUTH__MASTER_KEY", KEY)]);
    let config = Config::load(&inputs).unwrap();
    assert!(config.auth.cookie_secure, "the embedded file would have said false");
}

#[test]
fn a_directory_without_the_file_leaves_the_embedded_one_in_force() {
    let dir = Dir::new();
    let config_dir = Some(dir.path().to_owned());
    let set = [("APP_CONFIG_DIR", dir.path().to_str().unwrap())];
    let config = Config::load(&Inputs { config_dir, ..development(&set) }).unwrap();
    assert!(!config.auth.cookie_secure);
}

#[test]
fn a_directory_that_was_asked_for_must_be_there() {
    let config_dir = Some(PathBuf::from("no/such/directory"));
    let absent = Inputs { config_dir: config_dir.clone(), ..development(&[]) };
    assert!(Config::load(&absent).is_ok(), "./config may be absent");
    let vars = development(&[("APP_CONFIG_DIR", "no/such/directory")]);
    let keys = keys_at_fault(&Inputs { config_dir, ..vars });
    assert_eq!(keys, ["environment variable APP_CONFIG_DIR"]);
}

#[test]
fn an_empty_variable_is_not_set() {
    let config = load(&[("PORT", ""), ("PORT_FILE", ""), ("APP__NO__SUCH", ""), ("REDIS_URL", "")]);
    assert_eq!(config.server.port, 8080);
    assert!(config.redis.url.is_none());
}

#[test]
fn a_variable_and_its_file_together_are_a_fault() {
    let dir = Dir::new();
    let file = dir.file("port", "80");
    let error = faults(&development(&[("PORT", "80"), ("PORT_FILE", &file)])).to_string();
    assert!(error.contains("server.port (file named by environment variable PORT_FILE)"));
    assert!(error.contains("PORT is set too"), "{error}");
}

#[test]
fn a_secret_may_come_from_a_file() {
    let dir = Dir::new();
    let (url, key) = (dir.file("url", &format!("{DATABASE}\n")), dir.file("key", KEY));
    let files = [("DATABASE_URL_FILE", &*url), ("APP__AUTH__MASTER_KEY_FILE", &*key)];
    let config = Config::load(&inputs(&files)).unwrap();
    assert_eq!(config.database.url.expose(), DATABASE);
    assert_eq!(config.auth.master_key.bytes()[31], 31);
}

#[test]
fn a_file_that_is_missing_or_empty_is_one_fault() {
    let dir = Dir::new();
    for path in [dir.file("empty", "\n"), format!("{}/none", dir.path().display())] {
        assert_eq!(keys_at_fault(&inputs(&[("DATABASE_URL_FILE", &path)])), ["database.url"]);
    }
}

#[test]
fn customary_variables_reach_their_keys() {
    let set = [
        ("HOST", "::1"),
        ("RUST_LOG", "debug"),
        ("REDIS_URL", "redis://localhost"),
        ("DATABASE_MIGRATION_URL", DATABASE),
    ];
    let config = load(&set);
    assert_eq!(config.server.host.to_string(), "::1");
    assert_eq!(config.log.filter, "debug");
    assert!(config.redis.url.is_some());
    assert_eq!(config.database.migration_url.unwrap().expose(), DATABASE);
}

#[test]
fn lists_come_from_arrays_and_from_commas() {
    let proxies = format!("{AUTH}[server]\ntrusted_proxies = ['10.0.0.0/8', '::1']");
    let (_dir, inputs) = with_file(&proxies, &[("APP__AUTH__MASTER_KEY", KEY)]);
    assert_eq!(Config::load(&inputs).unwrap().server.trusted_proxies.len(), 2);
    let config = load(&[("APP__CORS__ALLOWED_ORIGINS", "https://a.example, http://localhost:1")]);
    let origins: Vec<_> = config.cors.allowed_origins.iter().map(|o| o.as_str()).collect();
    assert_eq!(origins, ["https://a.example", "http://localhost:1"]);
}
