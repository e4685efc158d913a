//! JSON against a JSON schema: what the structured outputs of chat models use of it (draft 2020-12 without regular expressions
//! and without what depends on other keywords). A schema with more is refused, so that nothing is silently left unchecked.
//! Crates that know all of it bring a regular-expression engine, which would take the query worker over its size.

#[cfg(test)]
mod differential;

use serde_json::{Map, Value};
use std::cell::Cell;

/// What is checked.
const CHECKED: [&str; 25] = [
    "type",
    "enum",
    "const",
    "properties",
    "required",
    "additionalProperties",
    "minProperties",
    "maxProperties",
    "items",
    "prefixItems",
    "minItems",
    "maxItems",
    "uniqueItems",
    "minLength",
    "maxLength",
    "minimum",
    "maximum",
    "exclusiveMinimum",
    "exclusiveMaximum",
    "multipleOf",
    "anyOf",
    "oneOf",
    "allOf",
    "not",
    "$ref",
];
/// What says something to people and models only, or holds schemas that others name.
const NOTES: [&str; 14] = [
    "title",
    "description",
    "default",
    "examples",
    "deprecated",
    "readOnly",
    "writeOnly",
    "format",
    "$schema",
    "$id",
    "$comment",
    "$defs",
    "definitions",
    "$anchor",
];
const TYPES: [&str; 7] = ["object", "array", "string", "number", "integer", "boolean", "null"];
/// Schemas within schemas, references followed.
const DEEPEST: usize = 64;
/// Schemas that a value is held against, each time it is.
const MOST_STEPS: u32 = 100_000;

/// Whether all of a schema is checked.
pub(super) fn supported(schema: &Value) -> Result<(), String> {
    look(schema, schema, 0)
}

fn look(root: &Value, schema: &Value, depth: usize) -> Result<(), String> {
    if depth > DEEPEST {
        return Err(format!("the schema is nested deeper than {DEEPEST}"));
    }
    let Value::Object(keywords) = schema else {
        return if schema.is_boolean() { Ok(()) } else { Err(format!("`{schema}` is no schema")) };
    };
    for (keyword, value) in keywords {
        let wrong = |wanted: &str| Err(format!("`{keyword}` must be {wanted}"));
        let name = keyword.as_str();
        if !CHECKED.contains(&name) && !NOTES.contains(&name) {
            return Err(format!("the keyword `{keyword}` is not supported"));
        }
        match (name, value) {
            ("type", value) => {
                let known = |value: &Value| value.as_str().is_some_and(|name| TYPES.contains(&name));
                let names = value.as_array().map_or_else(|| known(value), |names| names.iter().all(known));
                if !names {
                    return wrong("a type or a list of types");
                }
            }
            ("properties" | "$defs" | "definitions", Value::Object(schemas)) => {
                for schema in schemas.values() {
                    look(root, schema, depth + 1)?;
                }
            }
            ("anyOf" | "oneOf" | "allOf" | "prefixItems", Value::Array(schemas)) if !schemas.is_empty() => {
                for schema in schemas {
                    look(root, schema, depth + 1)?;
                }
            }
            ("items" | "additionalProperties" | "not", schema) => look(root, schema, depth + 1)?,
            ("$ref", Value::String(path)) if find(root, path).is_some() => {}
            ("$ref", _) => return Err(format!("{value} is not found in the schema")),
            ("properties" | "$defs" | "definitions", _) => return wrong("an object of schemas"),
            ("anyOf" | "oneOf" | "allOf" | "prefixItems", _) => return wrong("a list of schemas"),
            ("enum", value) if !value.is_array() => return wrong("a list"),
            ("required", value)
                if !value.as_array().is_some_and(|names| names.iter().all(Value::is_string)) =>
            {
                return wrong("a list of names");
            }
            (
                "minProperties" | "maxProperties" | "minItems" | "maxItems" | "minLength" | "maxLength",
                value,
            ) if value.as_u64().is_none() => return wrong("a whole number"),
            ("minimum" | "maximum" | "exclusiveMinimum" | "exclusiveMaximum", value)
                if !value.is_number() =>
            {
                return wrong("a number");
            }
            ("multipleOf", value) if !value.as_f64().is_some_and(|step| step > 0.0) => {
                return wrong("a number above 0");
            }
            ("uniqueItems", value) if !value.is_boolean() => return wrong("true or false"),
            _ => {}
        }
    }
    Ok(())
}

/// The schema that `#`, `#/$defs/name` and the like name.
fn find<'a>(root: &'a Value, path: &str) -> Option<&'a Value> {
    root.pointer(path.strip_prefix('#')?)
}

/// Whether a value is what a schema asks for; what is wrong with it, and where.
pub(super) fn check(schema: &Value, value: &Value) -> Result<(), String> {
    let check = Check { root: schema, left: Cell::new(MOST_STEPS) };
    let verdict = check.value(schema, value, "$", 0);
    // Whatever `not` or `anyOf` made of it: it was not checked to the end.
    if check.left.get() == 0 {
        return Err("the schema takes too many steps to check".into());
    }
    verdict
}

struct Check<'a> {
    root: &'a Value,
    /// References that meet again and again double the steps with every level.
    left: Cell<u32>,
}

impl Check<'_> {
    fn value(&self, schema: &Value, value: &Value, at: &str, depth: usize) -> Result<(), String> {
        let keywords = match schema {
            Value::Bool(true) => return Ok(()),
            Value::Object(keywords) => keywords,
            _ => return Err(format!("{at} must not be there")),
        };
        let Some(left) = self.left.get().checked_sub(1) else { return Err(String::new()) };
        self.left.set(left);
        if depth > DEEPEST {
            return Err(format!("{at} is nested deeper than {DEEPEST}"));
        }
        let fits = |schema: &Value| self.value(schema, value, at, depth + 1);
        if let Some(path) = keywords.get("$ref").and_then(Value::as_str) {
            fits(find(self.root, path).unwrap_or(&Value::Null))?;
        }
        if let Some(types) = keywords.get("type")
            && !types
                .as_array()
                .map_or_else(|| is(types, value), |types| types.iter().any(|one| is(one, value)))
        {
            return Err(format!("{at} must be of type {types}"));
        }
        if let Some(allowed) = keywords.get("enum").and_then(Value::as_array)
            && !allowed.iter().any(|one| equal(one, value))
        {
            return Err(format!("{at} must be one of {}", Value::from(allowed.clone())));
        }
        if let Some(only) = keywords.get("const").filter(|only| !equal(only, value)) {
            return Err(format!("{at} must be {only}"));
        }
        let several = |name: &str| keywords.get(name).and_then(Value::as_array).into_iter().flatten();
        for schema in several("allOf") {
            fits(schema)?;
        }
        if keywords.contains_key("anyOf") && !several("anyOf").any(|schema| fits(schema).is_ok()) {
            return Err(format!("{at} is nothing of `anyOf`"));
        }
        if keywords.contains_key("oneOf")
            && several("oneOf").filter(|schema| fits(schema).is_ok()).count() != 1
        {
            return Err(format!("{at} must be exactly one of `oneOf`"));
        }
        if keywords.get("not").is_some_and(|schema| fits(schema).is_ok()) {
            return Err(format!("{at} is what `not` excludes"));
        }
        match value {
            Value::Object(members) => self.object(keywords, members, at, depth),
            Value::Array(items) => self.array(keywords, items, at, depth),
            Value::String(text) => length(keywords, "Length", text.chars().count(), at),
            Value::Number(_) => number(keywords, value, at),
            _ => Ok(()),
        }
    }

    fn object(
        &self,
        keywords: &Map<String, Value>,
        members: &Map<String, Value>,
        at: &str,
        depth: usize,
    ) -> Result<(), String> {
        length(keywords, "Properties", members.len(), at)?;
        let required = keywords.get("required").and_then(Value::as_array).into_iter().flatten();
        for name in required.filter_map(Value::as_str) {
            if !members.contains_key(name) {
                return Err(format!("{at} lacks `{name}`"));
            }
        }
        let properties = keywords.get("properties").and_then(Value::as_object);
        for (name, member) in members {
            let place = format!("{at}.{name}");
            let schema = properties.and_then(|properties| properties.get(name));
            match schema.or_else(|| keywords.get("additionalProperties")) {
                Some(Value::Bool(false)) => return Err(format!("{place} must not be there")),
                Some(schema) => self.value(schema, member, &place, depth + 1)?,
                None => {}
            }
        }
        Ok(())
    }

    fn array(
        &self,
        keywords: &Map<String, Value>,
        items: &[Value],
        at: &str,
        depth: usize,
    ) -> Result<(), String> {
        length(keywords, "Items", items.len(), at)?;
        let first = keywords.get("prefixItems").and_then(Value::as_array).map_or(&[][..], Vec::as_slice);
        for (position, item) in items.iter().enumerate() {
            if let Some(schema) = first.get(position).or_else(|| keywords.get("items")) {
                self.value(schema, item, &format!("{at}[{position}]"), depth + 1)?;
            }
        }
        let unique = keywords.get("uniqueItems") == Some(&Value::Bool(true));
        let repeated =
            |(position, item): (usize, &Value)| items[..position].iter().any(|other| equal(other, item));
        if unique && items.iter().enumerate().any(repeated) {
            return Err(format!("{at} has an item twice"));
        }
        Ok(())
    }
}

fn is(name: &Value, value: &Value) -> bool {
    match name.as_str().unwrap_or_default() {
        "object" => value.is_object(),
        "array" => value.is_array(),
        "string" => value.is_string(),
        "boolean" => value.is_boolean(),
        "null" => value.is_null(),
        "number" => value.is_number(),
        // 1.0 is whole.
        "integer" => {
            value.is_i64() || value.is_u64() || value.as_f64().is_some_and(|number| number.fract() == 0.0)
        }
        _ => false,
    }
}

/// Numbers are equal by what they are worth, at any depth.
fn equal(left: &Value, right: &Value) -> bool {
    match (left, right) {
        (Value::Number(_), Value::Number(_)) => left == right || left.as_f64() == right.as_f64(),
        (Value::Array(left), Value::Array(right)) => {
            left.len() == right.len() && left.iter().zip(right).all(|(left, right)| equal(left, right))
        }
        (Value::Object(left), Value::Object(right)) => {
            let same =
                |(name, value): (&String, &Value)| right.get(name).is_some_and(|other| equal(value, other));
            left.len() == right.len() && left.iter().all(same)
        }
        _ => left == right,
    }
}

fn length(keywords: &Map<String, Value>, what: &str, found: usize, at: &str) -> Result<(), String> {
    let bound = |side: &str| keywords.get(&format!("{side}{what}")).and_then(Value::as_u64);
    let found = found as u64;
    if bound("min").is_some_and(|least| found < least) || bound("max").is_some_and(|most| found > most) {
        return Err(format!("{at} has a length of {found}, against `min{what}` or `max{what}`"));
    }
    Ok(())
}

fn number(keywords: &Map<String, Value>, value: &Value, at: &str) -> Result<(), String> {
    let number = value.as_f64().unwrap_or_default();
    let bound = |name: &str| keywords.get(name).and_then(Value::as_f64);
    let broken = [
        ("minimum", bound("minimum").is_some_and(|bound| number < bound)),
        ("maximum", bound("maximum").is_some_and(|bound| number > bound)),
        ("exclusiveMinimum", bound("exclusiveMinimum").is_some_and(|bound| number <= bound)),
        ("exclusiveMaximum", bound("exclusiveMaximum").is_some_and(|bound| number >= bound)),
        ("multipleOf", keywords.get("multipleOf").is_some_and(|step| !is_multiple(value, step))),
    ];
    match broken.iter().find(|(_, broken)| *broken) {
        Some((name, _)) => Err(format!("{at} is {value}, against `{name}`")),
        None => Ok(()),
    }
}

/// As decimals: 0.3 is three times 0.1.
fn is_multiple(value: &Value, step: &Value) -> bool {
    let exact = |number: &Value| {
        let text = number.to_string();
        let (whole, part) = text.split_once('.').unwrap_or((&text, ""));
        Some((format!("{whole}{part}").parse::<i128>().ok()?, part.len()))
    };
    let remainder = || {
        let ((value, value_places), (step, step_places)) = (exact(value)?, exact(step)?);
        let places = value_places.max(step_places);
        let scaled = |digits: i128, from: usize| {
            digits.checked_mul(10_i128.checked_pow(u32::try_from(places - from).ok()?)?)
        };
        scaled(value, value_places)?.checked_rem(scaled(step, step_places)?)
    };
    let (number, step) = (value.as_f64().unwrap_or_default(), step.as_f64().unwrap_or(1.0));
    remainder().map_or(number % step == 0.0, |remainder| remainder == 0)
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    #[test]
    fn what_is_wrong_is_said_with_its_place() {
        let schema = json!({
            "type": "object", "required": ["name", "tags"], "additionalProperties": false,
            "properties": {
                "name": {"type": "string", "minLength": 2},
                "tags": {"type": "array", "items": {"$ref": "#/$defs/tag"}, "uniqueItems": true},
                "size": {"type": ["integer", "null"], "minimum": 1},
            },
            "$defs": {"tag": {"enum": ["a", "b"]}},
        });
        assert_eq!(supported(&schema), Ok(()));
        assert_eq!(check(&schema, &json!({"name": "ab", "tags": ["a"], "size": 1.0})), Ok(()));
        for (value, wrong) in [
            (json!([]), "$ must be of type \"object\""),
            (json!({"name": "ab"}), "$ lacks `tags`"),
            (
                json!({"name": "é", "tags": []}),
                "$.name has a length of 1, against `minLength` or `maxLength`",
            ),
            (json!({"name": "ab", "tags": ["a", "c"]}), "$.tags[1] must be one of [\"a\",\"b\"]"),
            (json!({"name": "ab", "tags": ["a", "a"]}), "$.tags has an item twice"),
            (json!({"name": "ab", "tags": [], "size": 0}), "$.size is 0, against `minimum`"),
            (json!({"name": "ab", "tags": [], "size": 1.5}), "$.size must be of type [\"integer\",\"null\"]"),
            (json!({"name": "ab", "tags": [], "more": 1}), "$.more must not be there"),
        ] {
            assert_eq!(check(&schema, &value), Err(wrong.to_owned()));
        }
    }

    #[test]
    fn what_is_not_checked_is_refused() {
        for (schema, wrong) in [
            (json!({"pattern": "a+"}), "the keyword `pattern` is not supported"),
            (json!({"properties": {"a": {"if": true}}}), "the keyword `if` is not supported"),
            (json!({"type": "text"}), "`type` must be a type or a list of types"),
            (json!({"items": 1}), "`1` is no schema"),
            (json!({"$ref": "#/$defs/a"}), "\"#/$defs/a\" is not found in the schema"),
            (json!({"anyOf": []}), "`anyOf` must be a list of schemas"),
        ] {
            assert_eq!(supported(&schema), Err(wrong.to_owned()));
        }
    }

    #[test]
    fn steps_that_double_with_every_level_come_to_an_end() {
        let mut definitions = Map::new();
        for level in 0..40 {
            let next = json!({"$ref": format!("#/$defs/d{}", level + 1)});
            definitions.insert(format!("d{level}"), json!({"anyOf": [next, next]}));
        }
        definitions.insert("d40".into(), json!({"type": "null"}));
        let chain = json!({"$ref": "#/$defs/d0", "$defs": definitions});
        for schema in [chain, json!({"anyOf": [{"$ref": "#"}, {"$ref": "#"}]})] {
            assert_eq!(
                check(&schema, &json!({"x": 1})),
                Err("the schema takes too many steps to check".into()),
                "{schema}"
            );
        }
    }

    #[test]
    fn a_schema_that_holds_itself_ends() {
        let schema = json!({"type": "object", "properties": {"next": {"$ref": "#"}}});
        assert_eq!(supported(&schema), Ok(()));
        assert_eq!(check(&schema, &json!({"next": {"next": {}}})), Ok(()));
        let endless = json!({"$ref": "#"});
        assert!(check(&endless, &json!(1)).unwrap_err().contains("nested deeper"));
    }
}
