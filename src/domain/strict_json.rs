//! A first pass over a JSON text that holds it to more than the grammar: no key twice, no
//! nesting beyond what any body of ours needs, no NUL, which Postgres cannot store.

use std::{collections::HashSet, fmt};

use serde::de::{DeserializeSeed, Deserializer, Error as _, MapAccess, SeqAccess, Visitor};

const MAX_DEPTH: usize = 64;

/// Why a text is refused.
#[derive(Debug, PartialEq, Eq)]
pub enum Refusal {
    /// Not JSON, too deep, or with a key twice.
    Malformed(String),
    /// A string at this path holds a NUL.
    Nul(String),
}

pub fn check(text: &[u8]) -> Result<(), Refusal> {
    let mut nul = None;
    let mut parser = serde_json::Deserializer::from_slice(text);
    let checked = Check { depth: 0, path: &Segment::Root, nul: &mut nul }
        .deserialize(&mut parser)
        .and_then(|()| parser.end());
    match (checked, nul) {
        (Err(error), _) => Err(Refusal::Malformed(describe(&error))),
        (Ok(()), Some(path)) => Err(Refusal::Nul(path)),
        (Ok(()), None) => Ok(()),
    }
}

/// The place and the rule; our own messages name no input, and the parser's quote none.
fn describe(error: &serde_json::Error) -> String {
    if error.is_data() { error.to_string() } else { format!("not JSON: {error}") }
}

/// Where the check is, as a list towards the root: it is written out only for a refusal, because
/// a path built for every element would cost the square of what a client sends.
enum Segment<'a> {
    Root,
    Key(&'a Segment<'a>, &'a str),
    Index(&'a Segment<'a>, usize),
}

impl fmt::Display for Segment<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Segment::Root => Ok(()),
            Segment::Key(Segment::Root, key) => f.write_str(key),
            Segment::Key(parent, key) => write!(f, "{parent}.{key}"),
            Segment::Index(parent, index) => write!(f, "{parent}[{index}]"),
        }
    }
}

struct Check<'a> {
    depth: usize,
    path: &'a Segment<'a>,
    nul: &'a mut Option<String>,
}

impl Check<'_> {
    fn enter<E: serde::de::Error>(&self) -> Result<(), E> {
        if self.depth >= MAX_DEPTH { Err(E::custom("nested more than 64 deep")) } else { Ok(()) }
    }

    fn text(&mut self, text: &str) {
        if text.contains('\0') {
            let path = self.path;
            self.nul.get_or_insert_with(|| path.to_string());
        }
    }
}

impl<'de> DeserializeSeed<'de> for Check<'_> {
    type Value = ();

    fn deserialize<D: Deserializer<'de>>(self, deserializer: D) -> Result<(), D::Error> {
        deserializer.deserialize_any(self)
    }
}

impl<'de> Visitor<'de> for Check<'_> {
    type Value = ();

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("JSON")
    }

    fn visit_bool<E>(self, _: bool) -> Result<(), E> {
        Ok(())
    }

    fn visit_i64<E>(self, _: i64) -> Result<(), E> {
        Ok(())
    }

    fn visit_u64<E>(self, _: u64) -> Result<(), E> {
        Ok(())
    }

    fn visit_f64<E>(self, _: f64) -> Result<(), E> {
        Ok(())
    }

    fn visit_unit<E>(self) -> Result<(), E> {
        Ok(())
    }

    fn visit_str<E>(mut self, text: &str) -> Result<(), E> {
        self.text(text);
        Ok(())
    }

    fn visit_seq<A: SeqAccess<'de>>(self, mut seq: A) -> Result<(), A::Error> {
        self.enter()?;
        let Check { depth, path, nul } = self;
        for index in 0.. {
            let path = &Segment::Index(path, index);
            if seq.next_element_seed(Check { depth: depth + 1, path, nul })?.is_none() {
                break;
            }
        }
        Ok(())
    }

    fn visit_map<A: MapAccess<'de>>(mut self, mut map: A) -> Result<(), A::Error> {
        self.enter()?;
        let mut seen = HashSet::new();
        while let Some(key) = map.next_key::<String>()? {
            self.text(&key);
            let Check { depth, path, nul } = &mut self;
            let path = &Segment::Key(path, &key);
            map.next_value_seed(Check { depth: *depth + 1, path, nul })?;
            if !seen.insert(key) {
                return Err(A::Error::custom("a key appears twice"));
            }
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn plain_json_passes() {
        for text in ["{}", "null", " [1, 2.5, \"a\", true, {\"b\": {\"c\": []}}] ", "\"\u{fffd}\""]
        {
            assert_eq!(check(text.as_bytes()), Ok(()), "{text}");
        }
    }

    #[test]
    fn what_is_not_json_is_malformed() {
        for text in [
            "",
            "{",
            "{\"a\":}",
            "[1,]",
            "{'a':1}",
            "nul",
            "{} {}",
            "\"\\ud800\"",
            "01",
            "NaN",
            "// x\n{}",
            "\u{feff}{}",
        ] {
            assert!(matches!(check(text.as_bytes()), Err(Refusal::Malformed(_))), "{text}");
        }
        assert!(matches!(check(b"\"\xff\""), Err(Refusal::Malformed(_))));
    }

    #[test]
    fn a_key_twice_is_malformed_at_any_depth() {
        for text in [r#"{"a":1,"a":2}"#, r#"[{"b":{"a":1,"\u0061":2}}]"#] {
            assert!(matches!(check(text.as_bytes()), Err(Refusal::Malformed(_))), "{text}");
        }
        assert_eq!(check(br#"{"a":{"a":1}}"#), Ok(()));
    }

    #[test]
    fn sixty_four_levels_pass_and_sixty_five_do_not() {
        let nested = |n: usize| format!("{}{}", "[".repeat(n), "]".repeat(n));
        assert_eq!(check(nested(64).as_bytes()), Ok(()));
        for depth in [65, 100_000] {
            assert!(matches!(check(nested(depth).as_bytes()), Err(Refusal::Malformed(_))));
        }
    }

    #[test]
    fn a_nul_is_named_by_its_path() {
        let text = br#"{"a":[{"b":"x\u0000"}]}"#;
        assert_eq!(check(text), Err(Refusal::Nul("a[0].b".to_owned())));
    }

    #[test]
    fn a_long_key_over_many_elements_costs_no_more_than_its_length() {
        let elements = vec!["0"; 250_000].join(",");
        let text = format!("{{\"{}\":[{elements}]}}", "k".repeat(500_000));
        let started = std::time::Instant::now();
        assert_eq!(check(text.as_bytes()), Ok(()));
        assert!(started.elapsed().as_millis() < 1000, "{:?}", started.elapsed());
    }

    #[test]
    fn a_hundred_thousand_keys_take_no_time() {
        let keys: Vec<_> = (0..100_000).map(|n| format!("\"k{n}\":0")).collect();
        let started = std::time::Instant::now();
        assert_eq!(check(format!("{{{}}}", keys.join(",")).as_bytes()), Ok(()));
        assert!(started.elapsed().as_millis() < 2000, "{:?}", started.elapsed());
    }
}
