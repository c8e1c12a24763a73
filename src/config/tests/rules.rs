//! What is refused, and that all of it is refused at once.

use super::fixture::*;
use crate::config::{Config, Inputs};

#[test]
fn every_fault_of_every_kind_is_found_in_one_run() {
    let file = "[server]\nprot = 1\n[auth]\nhash_iterations = 'two'\nmaster_key = ''\n";
    let vars = [
        ("APP__SERVER__PORT", "http"),
        ("APP__NO__SUCH", "x"),
        ("DATABASE_URL", ""),
        ("APP__REDIS__COMMAND_TIMEOUT", "1s"),
        ("APP__DATABASE__STATEMENT_TIMEOUT", "11s"),
    ];
    let (_dir, inputs) = with_file(file, &vars);
    let keys = keys_at_fault(&inputs);
    let expected = [
        "server.prot",
        "environment variable APP__NO__SUCH",
        "server.port",
        "database.url",
        "auth.master_key",
        "auth.hash_iterations",
        "redis.command_timeout",
        "database.statement_timeout",
    ];
    assert_eq!(keys, expected);
}

#[test]
fn a_fault_names_the_key_the_origin_and_what_is_expected() {
    let error = faults(&development(&[("APP__SERVER__PORT", "http")])).to_string();
    let expected = "the configuration has 1 fault\n  server.port (environment variable \
        APP__SERVER__PORT): must be a whole number from 0 to 65535";
    assert_eq!(error, expected);
}

#[test]
fn an_unknown_environment_is_a_fault_and_held_to_the_rules_of_production() {
    let wrong = [("APP_ENVIRONMENT", "prod"), ("APP__AUTH__COOKIE_SECURE", "false")];
    let keys = keys_at_fault(&production(&wrong));
    assert_eq!(keys, ["environment variable APP_ENVIRONMENT", "auth.cookie_secure"]);
}

/// One setting and the key that is at fault for it, on an otherwise valid developer's machine.
const REFUSED: &[(&str, &str, &str)] = &[
    ("DATABASE__LOCK_TIMEOUT", "5s", "database.lock_timeout"),
    ("DATABASE__LOCK_TIMEOUT", "500us", "database.lock_timeout"),
    ("DATABASE__ACQUIRE_TIMEOUT", "5s", "database.acquire_timeout"),
    ("DATABASE__ACQUIRE_TIMEOUT", "0s", "database.acquire_timeout"),
    ("DATABASE__STATEMENT_TIMEOUT", "10s", "database.statement_timeout"),
    ("DATABASE__IDLE_IN_TRANSACTION_TIMEOUT", "30d", "database.idle_in_transaction_timeout"),
    ("DATABASE__MIGRATE_LOCK_TIMEOUT", "0s", "database.migrate_lock_timeout"),
    ("DATABASE__MAX_CONNECTIONS", "1", "database.max_connections"),
    ("CACHE__TTL", "0s", "cache.ttl"),
    ("CACHE__TTL", "21m", "cache.ttl"),
    ("CACHE__STALE_TTL", "21m", "cache.stale_ttl"),
    ("CACHE__ABSENT_TTL", "0s", "cache.absent_ttl"),
    ("CACHE__ABSENT_TTL", "6s", "cache.absent_ttl"),
    ("DATABASE__URL", "mysql://localhost", "database.url"),
    ("DATABASE__MIGRATION_URL", "localhost", "database.migration_url"),
    ("SERVER__REQUEST_TIMEOUT", "25s", "server.request_timeout"),
    ("SERVER__HARD_TIMEOUT", "31s", "server.hard_timeout"),
    ("SERVER__MAX_CONNECTIONS", "0", "server.max_connections"),
    ("SERVER__MAX_IN_FLIGHT", "0", "server.max_in_flight"),
    ("SERVER__TOLERATED_WAIT", "0s", "server.tolerated_wait"),
    ("SERVER__JSON_LIMIT_BYTES", "0", "server.json_limit_bytes"),
    ("SERVER__FORWARDED_HEADER", "forwarded", "server.forwarded_header"),
    ("SERVER__PUBLIC_URL", "api.example", "server.public_url"),
    ("OPS__LISTEN", "0.0.0.0:8080", "ops.listen"),
    ("OPS__LISTEN", "9090", "ops.listen"),
    ("REDIS__COMMAND_TIMEOUT", "101ms", "redis.command_timeout"),
    ("REDIS__COMMAND_TIMEOUT", "0s", "redis.command_timeout"),
    ("REDIS__URL", "http://localhost", "redis.url"),
    ("AUTH__ACCESS_TTL", "16m", "auth.access_ttl"),
    ("AUTH__REFRESH_TTL", "10m", "auth.access_ttl"),
    ("AUTH__SESSION_MAX", "6d", "auth.refresh_ttl"),
    ("AUTH__REFRESH_TTL_REMEMBERED", "91d", "auth.refresh_ttl_remembered"),
    ("AUTH__REFRESH_TTL_REMEMBERED", "6d", "auth.refresh_ttl"),
    ("AUTH__SESSION_MAX", "91d", "auth.session_max"),
    ("AUTH__LEEWAY", "61s", "auth.leeway"),
    ("AUTH__HASH_MEMORY_KIB", "19455", "auth.hash_memory_kib"),
    ("AUTH__HASH_ITERATIONS", "1", "auth.hash_iterations"),
    ("AUTH__HASH_QUEUE", "0", "auth.hash_queue"),
    ("AUTH__FAILURES_ALLOWED", "0", "auth.failures_allowed"),
    ("AUTH__NETWORK_FAILURES_ALLOWED", "0", "auth.network_failures_allowed"),
    ("AUTH__FAILURES_WINDOW", "0s", "auth.failures_window"),
    ("AUTH__FAILURES_DELAY_MAX", "0s", "auth.failures_delay_max"),
    ("AUTH__DEVICE_TTL", "0s", "auth.device_ttl"),
    ("AUTH__ISSUER", " ", "auth.issuer"),
    ("AUTH__MASTER_KEY", "c2hvcnQ=", "auth.master_key"),
    ("LIMITS__DEFAULT", "0/1m", "limits.default"),
    ("CORS__ALLOWED_ORIGINS", "*", "cors.allowed_origins"),
    ("CORS__MAX_AGE", "601s", "cors.max_age"),
    ("LOG__FILTER", " ", "log.filter"),
    ("MAIL__SMTP_URL", "http://relay.example", "mail.smtp_url"),
    ("MAIL__SMTP_URL", "smtp://", "mail.smtp_url"),
    ("MAIL__SMTP_URL", "smtp://relay.example/?tls=none", "mail.smtp_url"),
    ("MAIL__SMTP_URL", "smtps://user@relay.example", "mail.smtp_url"),
    ("MAIL__SMTP_URL", "smtp://user:secret@relay.example", "mail.require_tls"),
    ("MAIL__LOCAL_DELIVERY", "pigeon", "mail.local_delivery"),
    ("MAIL__FROM_ADDRESS", "Mainstay <a@b.example>", "mail.from_address"),
    ("MAIL__FROM_ADDRESS", "a@b.example\r\nBcc: c@d.example", "mail.from_address"),
    ("MAIL__FROM_ADDRESS", " ", "mail.from_address"),
    ("MAIL__FROM_NAME", "A\r\nBcc: c@d.example", "mail.from_name"),
    ("MAIL__FROM_NAME", " ", "mail.from_name"),
    ("MAIL__LINK_BASE_URL", "shop.example", "mail.link_base_url"),
    ("MAIL__TIMEOUT", "61s", "mail.timeout"),
    ("MAIL__TIMEOUT", "0s", "mail.timeout"),
    ("MAIL__ACKNOWLEDGE_TIMEOUT", "6m", "mail.acknowledge_timeout"),
    ("MAIL__ACKNOWLEDGE_TIMEOUT", "0s", "mail.acknowledge_timeout"),
    ("MAIL__MAX_CONNECTIONS", "0", "mail.max_connections"),
];

#[test]
fn what_makes_no_sense_is_refused_under_its_own_key() {
    assert_eq!(keys_at_fault(&development(&[])), [""; 0]);
    for &(name, value, key) in REFUSED {
        let variable = format!("APP__{name}");
        let keys = keys_at_fault(&development(&[(&variable, value)]));
        assert_eq!(keys, [key], "{name} = {value}");
    }
}

#[test]
fn what_lies_exactly_on_a_bound_is_accepted() {
    load(&[
        ("APP__SERVER__HARD_TIMEOUT", "30s"),
        ("APP__AUTH__REFRESH_TTL", "30d"),
        ("APP__AUTH__ACCESS_TTL", "15m"),
        ("APP__CORS__MAX_AGE", "600s"),
        ("APP__OPS__LISTEN", "127.0.0.1:0"),
        ("PORT", "0"),
    ]);
}

#[test]
fn production_sends_mail_through_a_relay_or_says_where_else_it_goes() {
    const RELAY: (&str, &str) = ("SMTP_URL", "smtps://user:secret@relay.example");
    const SENDER: (&str, &str) = ("APP__MAIL__FROM_ADDRESS", "shop@shop.example");
    const LINKS: (&str, &str) = ("APP__MAIL__LINK_BASE_URL", "https://shop.example");
    let none = ("APP__MAIL__LOCAL_DELIVERY", "");
    for (vars, keys) in [
        (&[none][..], &["mail.smtp_url"][..]),
        (&[none, RELAY], &["mail.from_address", "mail.link_base_url"]),
        (&[none, RELAY, SENDER], &["mail.link_base_url"]),
        (&[none, RELAY, SENDER, LINKS], &[]),
        (&[none, RELAY, SENDER, ("APP__SERVER__PUBLIC_URL", "https://api.example")], &[]),
        (&[("APP__MAIL__LINK_BASE_URL", "http://shop.example")], &["mail.link_base_url"]),
    ] {
        assert_eq!(keys_at_fault(&production(vars)), keys, "{vars:?}");
    }
}

#[test]
fn no_number_of_hash_threads_leaves_at_least_one() {
    assert!(load(&[]).auth.hash_workers() >= 1);
    assert_eq!(load(&[("APP__AUTH__HASH_THREADS", "3")]).auth.hash_workers(), 3);
}

#[test]
fn a_rule_over_two_keys_names_both_origins() {
    let error = faults(&development(&[("APP__DATABASE__LOCK_TIMEOUT", "6s")])).to_string();
    let bound = "must be less than database.statement_timeout (built-in config/default.toml)";
    assert!(error.contains(bound), "{error}");
}

#[test]
fn a_mistyped_field_does_not_fail_rules_as_well() {
    let keys = keys_at_fault(&development(&[("APP__DATABASE__STATEMENT_TIMEOUT", "soon")]));
    assert_eq!(keys, ["database.statement_timeout"]);
}

#[test]
fn a_forwarded_header_with_proxies_is_accepted() {
    let set = [
        ("APP__SERVER__FORWARDED_HEADER", "x-forwarded-for"),
        ("APP__SERVER__TRUSTED_PROXIES", "10.0.0.1"),
    ];
    assert_eq!(load(&set).server.trusted_proxies[0].to_string(), "10.0.0.1/32");
}

#[test]
fn production_refuses_what_development_may() {
    let development = include_str!("../../../config/development.toml");
    let shipped = development.split('"').find(|text| text.len() == 44).unwrap();
    for (variable, value, key) in [
        ("APP__AUTH__MASTER_KEY", shipped, "auth.master_key"),
        ("APP__AUTH__MASTER_KEY", "", "auth.master_key"),
        ("APP__AUTH__COOKIE_SECURE", "false", "auth.cookie_secure"),
        ("APP__SERVER__PUBLIC_URL", "http://api.example", "server.public_url"),
        ("APP__CORS__ALLOWED_ORIGINS", "http://shop.example", "cors.allowed_origins"),
        ("PORT", "0", "server.port"),
        ("DATABASE_URL", "", "database.url"),
    ] {
        let inputs: Inputs = production(&[(variable, value)]);
        assert_eq!(keys_at_fault(&inputs), [key], "{variable}");
    }
    assert!(Config::load(&production(&[("APP__SERVER__PUBLIC_URL", "https://a.example")])).is_ok());
}
