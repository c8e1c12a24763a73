//! Text that people type and others read.

use serde_json::Value;

/// Controls, bidirectional marks, zero-width and other invisible characters: what makes a text
/// look like another one.
pub fn is_deceptive(c: char) -> bool {
    c.is_control()
        || matches!(c, '\u{ad}' | '\u{34f}' | '\u{61c}' | '\u{115f}'..='\u{1160}' | '\u{17b4}'..='\u{17b5}'
            | '\u{180b}'..='\u{180f}' | '\u{200b}' | '\u{200e}'..='\u{200f}' | '\u{2028}'..='\u{202e}'
            | '\u{2060}'..='\u{206f}' | '\u{3164}' | '\u{feff}' | '\u{ffa0}' | '\u{fff0}'..='\u{fffd}'
            | '\u{e0000}'..='\u{e0fff}')
}

/// As much of a text as is kept. Postgres stores no NUL, and a row that it refuses for ever would
/// be written again for ever.
pub fn storable_text(text: &str, most: usize) -> String {
    text.chars().filter(|c| *c != '\0').take(most).collect()
}

/// The same for every string in a value.
pub fn storable(value: Value) -> Value {
    let text = |text: String| storable_text(&text, usize::MAX);
    match value {
        Value::String(string) => Value::String(text(string)),
        Value::Array(items) => items.into_iter().map(storable).collect(),
        Value::Object(members) => {
            let members = members.into_iter().map(|(name, value)| (text(name), storable(value)));
            Value::Object(members.collect())
        }
        scalar => scalar,
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn what_postgres_cannot_store_is_left_out() {
        assert_eq!(storable_text("a\0bc", 2), "ab");
        let value = json!({"a\0": ["\0x", 1, null], "b": {"c": "plain"}});
        assert_eq!(storable(value), json!({"a": ["x", 1, null], "b": {"c": "plain"}}));
    }

    #[test]
    fn what_cannot_be_seen_deceives_and_letters_do_not() {
        for c in ['\0', '\n', '\u{200b}', '\u{202e}', '\u{2066}', '\u{feff}', '\u{85}'] {
            assert!(is_deceptive(c), "{c:?}");
        }
        for c in ['a', ' ', 'é', 'ж', '語', '\u{1f98a}', '\u{200d}'] {
            assert!(!is_deceptive(c), "{c:?}");
        }
    }
}
