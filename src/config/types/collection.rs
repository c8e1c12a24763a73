//! Optional values and lists.

use super::{Raw, Value};

/// A blank value is none at all: TOML has no null, and a file should be able to list every key.
impl<T: Value> Value for Option<T> {
    const SECRET: bool = T::SECRET;

    fn parse(raw: &Raw) -> Result<Self, String> {
        if raw.is_blank() { Ok(None) } else { T::parse(raw).map(Some) }
    }
}

/// An array in TOML; commas between the items in a variable, which cannot hold an array.
impl<T: Value> Value for Vec<T> {
    const SECRET: bool = T::SECRET;

    fn parse(raw: &Raw) -> Result<Self, String> {
        match raw {
            Raw::List(list) => items(list.iter().map(String::as_str)),
            Raw::Text(text) => items(text.split(',').filter(|item| !item.trim().is_empty())),
            Raw::Faulty => raw.one().map(|_| Vec::new()),
        }
    }
}

fn items<'a, T: Value>(texts: impl Iterator<Item = &'a str>) -> Result<Vec<T>, String> {
    let item = |(index, text): (usize, &str)| {
        T::parse(&Raw::Text(text.trim().to_owned()))
            .map_err(|problem| format!("item {} {problem}", index + 1))
    };
    texts.enumerate().map(item).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn text(text: &str) -> Raw {
        Raw::Text(text.to_owned())
    }

    #[test]
    fn a_blank_value_is_none() {
        assert_eq!(Option::<u16>::parse(&text("")), Ok(None));
        assert_eq!(Option::<u16>::parse(&text("7")), Ok(Some(7)));
        assert!(Option::<u16>::parse(&text("seven")).is_err());
    }

    #[test]
    fn a_list_is_an_array_or_text_with_commas() {
        let array = Raw::List(vec!["1".to_owned(), "2".to_owned()]);
        assert_eq!(Vec::<u16>::parse(&array), Ok(vec![1, 2]));
        assert_eq!(Vec::<u16>::parse(&text("1, 2,")), Ok(vec![1, 2]));
        assert_eq!(Vec::<u16>::parse(&text("")), Ok(vec![]));
    }

    #[test]
    fn the_problem_names_the_item_by_its_number() {
        let problem = Vec::<u16>::parse(&text("1,two")).unwrap_err();
        assert_eq!(problem, "item 2 must be a whole number from 0 to 65535");
    }
}
