//! As much of JSON Schema as the API description uses. A keyword that is not known here is a
//! fault, so that nothing is passed over in silence.

use chrono::DateTime;
use serde_json::{Map, Value};
use uuid::Uuid;

/// Say nothing about which values are valid.
const NOTES: [&str; 5] = ["description", "example", "examples", "title", "readOnly"];

/// What is wrong with a value, each with its path. `document` is where references lead.
pub fn faults(document: &Value, schema: &Value, value: &Value) -> Vec<String> {
    let mut found = Vec::new();
    Check { document, found: &mut found }.value("$", schema, value);
    found
}

struct Check<'a> {
    document: &'a Value,
    found: &'a mut Vec<String>,
}

impl Check<'_> {
    fn fault(&mut self, at: &str, text: &str) {
        self.found.push(format!("{at} {text}"));
    }

    fn value(&mut self, at: &str, schema: &Value, value: &Value) {
        let Some(schema) = schema.as_object() else {
            return self.fault(at, "has a schema that is no object");
        };
        for (keyword, argument) in schema {
            self.keyword(at, schema, keyword, argument, value);
        }
    }

    fn keyword(
        &mut self,
        at: &str,
        schema: &Map<String, Value>,
        keyword: &str,
        argument: &Value,
        value: &Value,
    ) {
        let length = || value.as_str().map_or(0, |text| text.chars().count() as u64);
        let holds = match keyword {
            "$ref" => return self.reference(at, argument, value),
            "properties" => return self.properties(at, argument, value),
            "additionalProperties" => return self.further(at, schema, argument, value),
            "items" => return self.items(at, argument, value),
            "allOf" => return self.all(at, argument, value),
            "oneOf" | "anyOf" => self.matches(argument, value) == 1,
            "type" => is_of_type(argument, value),
            "enum" => argument.as_array().is_some_and(|all| all.contains(value)),
            "required" => strings(argument).all(|name| !value[name].is_null() || has(value, name)),
            "minLength" => argument.as_u64() <= Some(length()),
            "maxLength" => argument.as_u64() >= Some(length()),
            "minimum" => value.as_f64().is_none_or(|it| Some(it) >= argument.as_f64()),
            "maximum" => value.as_f64().is_none_or(|it| Some(it) <= argument.as_f64()),
            "format" => has_format(argument, value),
            // Names of members are always text; what patterns say is tried by schemathesis.
            "maxProperties" => value.as_object().map(|it| it.len() as u64) <= argument.as_u64(),
            "propertyNames" | "pattern" => true,
            note => NOTES.contains(&note),
        };
        if !holds {
            self.fault(at, &format!("does not hold to {keyword} {argument}: {value}"));
        }
    }

    fn reference(&mut self, at: &str, to: &Value, value: &Value) {
        let pointer = to.as_str().unwrap_or_default().trim_start_matches('#');
        match self.document.pointer(pointer) {
            Some(schema) => self.value(at, &schema.clone(), value),
            None => self.fault(at, &format!("refers to {to}, which is missing")),
        }
    }

    fn properties(&mut self, at: &str, properties: &Value, value: &Value) {
        for (name, schema) in properties.as_object().into_iter().flatten() {
            if let Some(member) = value.get(name) {
                self.value(&format!("{at}.{name}"), schema, member);
            }
        }
    }

    fn further(&mut self, at: &str, of: &Map<String, Value>, schema: &Value, value: &Value) {
        let known = |name: &String| of.get("properties").is_some_and(|all| has(all, name));
        let members = value.as_object().into_iter().flatten();
        for (name, member) in members.filter(|(name, _)| !known(name)) {
            match schema {
                Value::Bool(true) => {}
                Value::Bool(false) => {
                    self.fault(at, &format!("has {name}, which is not described"))
                }
                schema => self.value(&format!("{at}.{name}"), schema, member),
            }
        }
    }

    fn items(&mut self, at: &str, schema: &Value, value: &Value) {
        for (index, item) in value.as_array().into_iter().flatten().enumerate() {
            self.value(&format!("{at}[{index}]"), schema, item);
        }
    }

    fn all(&mut self, at: &str, schemas: &Value, value: &Value) {
        schemas.as_array().into_iter().flatten().for_each(|schema| self.value(at, schema, value));
    }

    fn matches(&self, schemas: &Value, value: &Value) -> usize {
        let fits = |schema: &&Value| faults(self.document, schema, value).is_empty();
        schemas.as_array().into_iter().flatten().filter(fits).count()
    }
}

fn has(object: &Value, name: &str) -> bool {
    object.get(name).is_some()
}

fn strings(list: &Value) -> impl Iterator<Item = &str> {
    list.as_array().into_iter().flatten().filter_map(Value::as_str)
}

fn is_of_type(types: &Value, value: &Value) -> bool {
    let is = |name: &str| match name {
        "null" => value.is_null(),
        "boolean" => value.is_boolean(),
        "integer" => value.is_i64() || value.is_u64(),
        "number" => value.is_number(),
        "string" => value.is_string(),
        "array" => value.is_array(),
        "object" => value.is_object(),
        _ => false,
    };
    types.as_str().is_some_and(is) || strings(types).any(is)
}

fn has_format(format: &Value, value: &Value) -> bool {
    let Some(text) = value.as_str() else { return true };
    match format.as_str() {
        Some("date-time") => DateTime::parse_from_rfc3339(text).is_ok(),
        Some("uuid") => Uuid::parse_str(text).is_ok(),
        Some("email") => text.contains('@'),
        Some("password") => true,
        _ => false,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    #[test]
    fn what_does_not_hold_is_named_by_its_path() {
        let document = json!({"schemas": {"Id": {"type": "string", "format": "uuid"}}});
        let schema = json!({
            "type": "object",
            "required": ["id", "tags"],
            "properties": {
                "id": {"$ref": "#/schemas/Id"},
                "tags": {"type": "array", "items": {"enum": ["a", "b"]}},
                "note": {"oneOf": [{"type": "null"}, {"type": "string", "maxLength": 3}]},
            },
            "additionalProperties": false,
        });
        let id = "0193f0a2-6f3a-7c51-9d0e-2b7a4c5d6e7f";
        let good = json!({"id": id, "tags": ["a"], "note": null});
        assert_eq!(faults(&document, &schema, &good), Vec::<String>::new());
        for (bad, at) in [
            (json!({"id": id}), "$ "),
            (json!({"id": "x", "tags": []}), "$.id "),
            (json!({"id": id, "tags": ["a", "c"]}), "$.tags[1] "),
            (json!({"id": id, "tags": [], "note": "long"}), "$.note "),
            (json!({"id": id, "tags": [], "more": 1}), "$ has more"),
            (json!([]), "$ "),
        ] {
            let found = faults(&document, &schema, &bad);
            assert!(found.iter().any(|fault| fault.starts_with(at)), "{bad}: {found:?}");
        }
        assert!(!faults(&document, &json!({"odd": 1}), &json!(1)).is_empty());
    }
}
