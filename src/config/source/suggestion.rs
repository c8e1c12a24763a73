//! What was probably meant by a name that is not known.

use super::super::keys;
use super::super::section::variable;
use super::{CONFIG_DIR, ENVIRONMENT};

/// Below this likeness a suggestion would mislead more often than help.
const ALIKE: f64 = 0.7;

pub(super) fn unknown_key(key: &str) -> String {
    let known = keys().map(|key| (key.name.to_owned(), key.name.to_owned()));
    message(nearest(key, known))
}

/// The prefix is left out of the comparison, or every name would be alike.
pub(super) fn unknown_variable(name: &str) -> String {
    let (name, suffix) = name.strip_suffix("_FILE").map_or((name, ""), |name| (name, "_FILE"));
    let key = name.trim_start_matches("APP__").replace("__", ".").to_lowercase();
    let known = keys().map(|key| (key.name.to_owned(), variable(key.name) + suffix));
    let special = [("environment", ENVIRONMENT), ("config_dir", CONFIG_DIR)];
    let special = special.map(|(key, name)| (key.to_owned(), name.to_owned()));
    message(nearest(&key, known.chain(special)))
}

fn nearest(name: &str, known: impl Iterator<Item = (String, String)>) -> Option<String> {
    known
        .map(|(key, shown)| (strsim::normalized_damerau_levenshtein(name, &key), shown))
        .filter(|(likeness, _)| *likeness >= ALIKE)
        .max_by(|(one, _), (other, _)| one.total_cmp(other))
        .map(|(_, shown)| shown)
}

fn message(suggestion: Option<String>) -> String {
    match suggestion {
        Some(name) => format!("is not a known setting; did you mean {name}?"),
        None => "is not a known setting".to_owned(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_slip_of_the_pen_is_told_the_key_that_was_meant() {
        assert!(unknown_key("server.prot").ends_with("did you mean server.port?"));
        assert!(unknown_key("databse.url").ends_with("did you mean database.url?"));
        assert_eq!(unknown_key("weather.tomorrow"), "is not a known setting");
    }

    #[test]
    fn a_variable_is_told_a_variable() {
        let meant = |name: &str| unknown_variable(name).split("mean ").nth(1).map(str::to_owned);
        assert_eq!(meant("APP__SERVER__PROT"), Some("APP__SERVER__PORT?".to_owned()));
        assert_eq!(meant("APP__server__port"), Some("APP__SERVER__PORT?".to_owned()));
        assert_eq!(meant("APP__SERVER_PORT"), Some("APP__SERVER__PORT?".to_owned()));
        assert_eq!(meant("APP__ENVIRONMENT"), Some("APP_ENVIRONMENT?".to_owned()));
        let file = Some("APP__AUTH__MASTER_KEY_FILE?".to_owned());
        assert_eq!(meant("APP__AUTH__MASTERKEY_FILE"), file);
    }
}
