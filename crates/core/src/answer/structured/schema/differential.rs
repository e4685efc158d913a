//! The same verdicts as the crate `jsonschema`, on schemas and values at random.

use super::{check, supported};
use proptest::collection::{btree_map, btree_set, vec};
use proptest::option::of;
use proptest::prelude::*;
use proptest::sample::{select, subsequence};
use serde_json::{Map, Value, json};

/// Few, so that keywords and values meet.
const NAMES: [&str; 3] = ["a", "b", "c"];

fn scalar() -> impl Strategy<Value = Value> {
    // Numbers that a double holds: beyond those the peer rounds.
    let numbers = [
        json!(0),
        json!(-0.0),
        json!(1),
        json!(1.0),
        json!(-1),
        json!(2),
        json!(2.5),
        json!(3),
        json!(0.3),
        json!(1e15),
        json!(9_007_199_254_740_992_u64),
        json!(i64::MIN),
    ];
    let others = [
        json!(null),
        json!(true),
        json!(false),
        json!(""),
        json!("a"),
        json!("é"),
        json!("日本"),
        json!("a💡b"),
    ];
    prop_oneof![select(numbers.to_vec()), select(others.to_vec())]
}

fn value() -> impl Strategy<Value = Value> {
    scalar().prop_recursive(3, 24, 4, |inner| {
        prop_oneof![
            vec(inner.clone(), 0..4).prop_map(Value::from),
            btree_map(select(NAMES.to_vec()), inner, 0..4).prop_map(object),
        ]
    })
}

fn object(members: impl IntoIterator<Item = (&'static str, Value)>) -> Value {
    members.into_iter().map(|(name, value)| (name.to_owned(), value)).collect::<Map<_, _>>().into()
}

/// A keyword and what it says, made of `inner` schemas.
fn keyword(inner: BoxedStrategy<Value>) -> BoxedStrategy<(&'static str, Value)> {
    let types = ["object", "array", "string", "number", "integer", "boolean", "null"];
    let bound =
        || prop_oneof![Just(json!(0)), Just(json!(1)), Just(json!(1.5)), Just(json!(2.0)), Just(json!(-1))];
    let step =
        prop_oneof![Just(json!(1)), Just(json!(2)), Just(json!(0.5)), Just(json!(0.1)), Just(json!(1.5))];
    let schemas = vec(inner.clone(), 1..4).prop_map(Value::from);
    let properties = btree_map(select(NAMES.to_vec()), inner.clone(), 0..4).prop_map(object);
    let lengths = ["minProperties", "maxProperties", "minItems", "maxItems", "minLength", "maxLength"];
    let bounds = ["minimum", "maximum", "exclusiveMinimum", "exclusiveMaximum"];
    let set = |names: Vec<&'static str>| Value::from(names);
    prop_oneof![
        4 => select(types.to_vec()).prop_map(|name| ("type", json!(name))),
        2 => subsequence(types.to_vec(), 1..4).prop_map(move |names| ("type", set(names))),
        1 => btree_set(value().prop_map(|value| value.to_string()), 1..4).prop_map(|texts| {
            ("enum", texts.iter().filter_map(|text| serde_json::from_str::<Value>(text).ok()).collect())
        }),
        1 => value().prop_map(|value| ("const", value)),
        4 => properties.prop_map(|properties| ("properties", properties)),
        2 => subsequence(NAMES.to_vec(), 0..3).prop_map(move |names| ("required", set(names))),
        2 => inner.clone().prop_map(|schema| ("additionalProperties", schema)),
        2 => inner.clone().prop_map(|schema| ("items", schema)),
        1 => schemas.clone().prop_map(|schemas| ("prefixItems", schemas)),
        2 => (select(lengths.to_vec()), 0_u64..4).prop_map(|(name, length)| (name, json!(length))),
        1 => any::<bool>().prop_map(|unique| ("uniqueItems", json!(unique))),
        2 => (select(bounds.to_vec()), bound()).prop_map(|(name, bound)| (name, bound)),
        1 => step.prop_map(|step| ("multipleOf", step)),
        2 => (select(vec!["anyOf", "oneOf", "allOf"]), schemas).prop_map(|(name, schemas)| (name, schemas)),
        1 => inner.prop_map(|schema| ("not", schema)),
        1 => Just(("description", json!("of no matter"))),
    ]
    .boxed()
}

/// Schemas; references only to what holds none, so that all of them end.
fn schema(references: bool) -> BoxedStrategy<Value> {
    let leaf = prop_oneof![
        4 => Just(json!({})),
        1 => any::<bool>().prop_map(Value::from),
        if references { 3 } else { 0 } => select(NAMES.to_vec()).prop_map(|name| json!({"$ref": format!("#/$defs/{name}")})),
    ];
    leaf.prop_recursive(3, 24, 3, |inner| vec(keyword(inner), 1..4).prop_map(object)).boxed()
}

/// A schema with what it refers to.
fn whole() -> impl Strategy<Value = Value> {
    let definitions = vec(schema(false), NAMES.len());
    let next = of(Just(json!({"$ref": "#"})));
    (schema(true), definitions, next).prop_map(|(schema, definitions, next)| {
        let Value::Object(mut keywords) = schema else { return schema };
        keywords.insert("$defs".into(), object(NAMES.into_iter().zip(definitions)));
        if let (Some(next), Some(properties)) = (next, keywords.get_mut("properties")) {
            // What holds itself, a member deeper.
            properties["next"] = next;
        }
        keywords.into()
    })
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 10_000, ..ProptestConfig::default() })]

    #[test]
    fn verdicts_are_those_of_the_crate_that_knows_all(schema in whole(), values in vec(value(), 1..6)) {
        prop_assert_eq!(supported(&schema), Ok(()), "{}", schema);
        let peer = jsonschema::validator_for(&schema).map_err(|error| TestCaseError::fail(format!("{schema}: {error}")))?;
        for value in values {
            let verdict = check(&schema, &value);
            prop_assert_eq!(verdict.is_ok(), peer.is_valid(&value), "{} against {}: {:?}", value, schema, verdict);
        }
    }
}
