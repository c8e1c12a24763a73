//! Keys and files that are not what they should be.

use super::fixture::*;

#[test]
fn unknown_keys_are_told_what_was_meant() {
    let (_dir, inputs) = with_file("[databse]\nurl = ''", &[("APP__LIMITS__DEFUALT", "1/1s")]);
    let error = faults(&inputs).to_string();
    assert!(error.contains("did you mean database.url?"), "{error}");
    assert!(error.contains("did you mean APP__LIMITS__DEFAULT?"), "{error}");
}

#[test]
fn a_file_that_is_not_as_it_should_be_is_a_fault() {
    for (text, key) in [
        ("server = 5", "server"),
        ("[server]\nport.a = 1", "server.port.a"),
        ("[foo]", "foo"),
        ("[server]\nport = [[1]]", "server.port"),
        ("[ops]\nlisten = {}", "ops.listen"),
        ("\"a\\nb\" = 1", "a\\nb"),
    ] {
        let vars = [("APP__AUTH__MASTER_KEY", KEY), ("APP__AUTH__REQUIRE_VERIFIED_EMAIL", "false")];
        let (_dir, inputs) = with_file(text, &vars);
        assert_eq!(keys_at_fault(&inputs), [key], "{text}");
    }
    let (_dir, inputs) = with_file("\n[server", &[]);
    assert!(faults(&inputs).to_string().contains("not valid TOML at line 2, column"));
}

#[test]
fn a_file_that_cannot_be_read_is_a_fault_and_not_absent() {
    let dir = Dir::new();
    std::fs::create_dir(dir.path().join("development.toml")).unwrap();
    let vars = [("APP__AUTH__MASTER_KEY", KEY), ("APP__AUTH__REQUIRE_VERIFIED_EMAIL", "false")];
    let config_dir = Some(dir.path().to_owned());
    let inputs = crate::config::Inputs { config_dir, ..development(&vars) };
    assert!(faults(&inputs).to_string().contains("development.toml: cannot be read"));
}
