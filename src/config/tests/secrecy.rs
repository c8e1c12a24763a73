//! No value ever stands in an error, and no secret in any listing.

use super::fixture::*;
use crate::config::{Config, Inputs, keys};

const CANARY: &str = "c4n4ry";

#[test]
fn no_fault_repeats_the_value_of_any_variable() {
    for key in keys() {
        let variable = crate::config::section::variable(key.name);
        let inputs = production(&[(&variable, CANARY)]);
        let Err(error) = Config::load(&inputs) else { continue };
        assert!(!format!("{error} {error:?}").contains(CANARY), "{error}");
        assert!(error.to_string().contains(key.name), "{error}");
    }
}

#[test]
fn no_fault_repeats_what_stands_in_a_file() {
    for text in [
        "x = c4n4ry",
        "[c4n4ry",
        "x = \"c4n4ry",
        "x = 'a' c4n4ry",
        "x = 1c4n4ry",
        "server.port = 'c4n4ry'",
        "server.host = ['c4n4ry']",
        "auth.leeway = { a = 'c4n4ry' }",
        "x = \"\\c4n4ry\"",
        "x = 'c4n4ry'",
    ] {
        let (_dir, inputs) = with_file(text, &[]);
        let error = faults(&inputs);
        assert!(!format!("{error} {error:?}").contains(CANARY), "{error}");
    }
}

#[test]
fn no_fault_repeats_the_path_or_the_contents_of_a_secret_file() {
    let dir = Dir::new();
    let contents = dir.file("secret", CANARY);
    let missing = format!("{}/{CANARY}", dir.path().display());
    for path in [contents, missing] {
        let error = faults(&inputs(&[("APP__AUTH__MASTER_KEY_FILE", &path)]));
        assert!(!format!("{error} {error:?}").contains(CANARY), "{error}");
        assert!(error.to_string().contains("auth.master_key (file named by"), "{error}");
    }
}

#[test]
fn an_unknown_environment_or_variable_is_not_repeated() {
    let error = faults(&inputs(&[("APP_ENVIRONMENT", CANARY), ("APP__NO__SUCH", CANARY)]));
    assert!(!format!("{error} {error:?}").contains(CANARY), "{error}");
}

fn with_secrets() -> Inputs {
    production(&[
        ("DATABASE_URL", "postgres://user:c4n4ry@localhost/mainstay"),
        ("DATABASE_MIGRATION_URL", "postgres://user:c4n4ry@localhost/mainstay"),
        ("REDIS_URL", "redis://:c4n4ry@localhost"),
        ("SMTP_URL", "smtps://user:c4n4ry@localhost"),
        ("APP__MAIL__FROM_ADDRESS", "shop@shop.example"),
        ("APP__MAIL__LINK_BASE_URL", "https://shop.example"),
    ])
}

#[test]
fn debug_output_holds_no_secret() {
    let config = Config::load(&with_secrets()).unwrap();
    assert!(config.database.url.expose().contains(CANARY));
    let shown = format!("{config:?} {config:#?}");
    assert!(!shown.contains(CANARY) && !shown.contains(KEY), "{shown}");
    assert!(!shown.contains("0, 1, 2, 3"), "the bytes of the master key: {shown}");
}

#[test]
fn the_description_holds_no_secret_and_nothing_that_may_be_a_misplaced_one() {
    let mut inputs = with_secrets();
    let misplaced = "https://user:c4n4ry@api.example";
    inputs.vars.insert("APP__SERVER__PUBLIC_URL".into(), misplaced.into());
    inputs.vars.insert("PORT".into(), CANARY.into());
    let shown = format!("{:?}", Config::describe(&inputs));
    assert!(!shown.contains(CANARY) && !shown.contains(KEY), "{shown}");
    assert!(shown.contains("[invalid]"));
}

#[test]
fn text_that_is_not_unicode_is_refused_rather_than_mangled() {
    let error = faults(&development(&[("DATABASE_URL", "postgres://a:\u{FFFD}@localhost/b")]));
    assert!(error.to_string().ends_with("is not valid UTF-8"), "{error}");
}
