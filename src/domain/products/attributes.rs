//! What else is to be said of a product: an object with bounds.

use serde_json::{Map, Value};

use crate::error::{Error, Result};

pub const MAX_ATTRIBUTES: usize = 64;
pub const MAX_NAME_OF_ATTRIBUTE: usize = 64;
/// As JSON without white space.
pub const MAX_ATTRIBUTES_BYTES: usize = 8 * 1024;
/// A value, or a list or object of values.
const MAX_DEPTH: usize = 3;
/// Postgres writes numbers out, and near the end of what a double holds they cannot be read again.
const MAX_NUMBER: f64 = 1e100;

#[derive(Debug, Clone, PartialEq, Default)]
pub struct Attributes(Map<String, Value>);

impl Attributes {
    pub fn parse(members: Map<String, Value>) -> Result<Self> {
        let refuse =
            |code, message: &'static str| Err(Error::invalid_field("attributes", code, message));
        if members.len() > MAX_ATTRIBUTES {
            return refuse("count", "must have at most 64 members");
        }
        if !members.keys().all(|name| is_name(name)) {
            return refuse(
                "name",
                "must have names of 1 to 64 characters without control characters",
            );
        }
        if members.values().any(|value| depth(value) > MAX_DEPTH) {
            return refuse("depth", "must not be nested deeper than three levels");
        }
        if members.values().any(has_extreme_number) {
            return refuse("range", "must not have numbers beyond 1e100 or -1e100");
        }
        let value = Value::Object(members);
        if value.to_string().len() > MAX_ATTRIBUTES_BYTES {
            return refuse("length", "must not take more than 8192 bytes as JSON");
        }
        match value {
            Value::Object(members) => Ok(Self(members)),
            _ => Ok(Self::default()),
        }
    }

    pub fn to_value(&self) -> Value {
        Value::Object(self.0.clone())
    }
}

fn is_name(name: &str) -> bool {
    (1..=MAX_NAME_OF_ATTRIBUTE).contains(&name.chars().count())
        && !name.chars().any(char::is_control)
}

fn has_extreme_number(value: &Value) -> bool {
    match value {
        Value::Number(number) => number.as_f64().is_none_or(|number| number.abs() > MAX_NUMBER),
        Value::Array(items) => items.iter().any(has_extreme_number),
        Value::Object(members) => members.values().any(has_extreme_number),
        _ => false,
    }
}

fn depth(value: &Value) -> usize {
    match value {
        Value::Array(items) => 1 + items.iter().map(depth).max().unwrap_or_default(),
        Value::Object(members) => 1 + members.values().map(depth).max().unwrap_or_default(),
        _ => 1,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    fn parse(value: Value) -> Result<Attributes> {
        Attributes::parse(value.as_object().unwrap().clone())
    }

    #[test]
    fn values_of_every_kind_are_kept() {
        let value =
            json!({"colour": "red", "sizes": ["S", 42, {"eu": 38}], "new": true, "x": null});
        assert_eq!(parse(value.clone()).unwrap().to_value(), value);
    }

    #[test]
    fn an_object_has_bounds() {
        let many: Map<_, _> = (0..65).map(|n| (n.to_string(), json!(n))).collect();
        for bad in [
            json!(many),
            json!({"": 1}),
            json!({"a\n": 1}),
            json!({"x".repeat(65): 1}),
            json!({"a": [[[1]]]}),
            json!({"a": "x".repeat(8192)}),
            json!({"a": [{"b": -1.1e100}]}),
        ] {
            assert!(parse(bad.clone()).is_err(), "{bad}");
        }
    }
}
