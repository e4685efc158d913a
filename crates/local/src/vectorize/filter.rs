//! Metadata filters.
//!
//! Source: Cloudflare's "Metadata filtering" page and the `VectorizeVectorMetadataFilter` type. Not documented, and
//! chosen here: a missing (or null, or wrongly typed) value equals `null` and nothing else, so `$ne` and `$nin` match
//! it; ranges never match it; a range compares only values of the same type.

use std::collections::BTreeMap;

use serde_json::{Map, Value};

use super::limits;
use super::store::FieldType;
use super::wire::WireError;

/// A value as a metadata index holds it.
#[derive(Debug, Clone, PartialEq, PartialOrd)]
pub enum Indexed {
    /// The first 64 bytes of a string.
    Text(String),
    /// A number.
    Number(f64),
    /// A boolean.
    Boolean(bool),
}

/// What one vector carries for filtering: an entry for every metadata index that existed when it was written, `None`
/// where its metadata has no value of the index's type.
pub type IndexedFields = BTreeMap<String, Option<Indexed>>;

/// A checked filter: all conditions must hold.
#[derive(Debug, Clone, PartialEq)]
pub struct Filter {
    conditions: Vec<(String, Condition)>,
}

#[derive(Debug, Clone, PartialEq)]
enum Condition {
    Equal(Option<Indexed>),
    NotEqual(Option<Indexed>),
    Less(Option<Indexed>),
    LessOrEqual(Option<Indexed>),
    Greater(Option<Indexed>),
    GreaterOrEqual(Option<Indexed>),
    In(Vec<Option<Indexed>>),
    NotIn(Vec<Option<Indexed>>),
}

impl Filter {
    /// Checks and reads a filter.
    ///
    /// # Errors
    /// 40026 (the code for a bad filter is not documented) with the field in question.
    pub fn parse(filter: &Value) -> Result<Self, WireError> {
        let bad = |text: String| WireError::bad(limits::CODE_BODY, text);
        let Value::Object(fields) = filter else { return Err(bad("filter must be an object".to_owned())) };
        if fields.is_empty() {
            return Err(bad("filter must not be empty".to_owned()));
        }
        let bytes = filter.to_string().len();
        if bytes >= limits::FILTER_BYTES {
            return Err(bad(format!("filter must be less than {} bytes, got {bytes}", limits::FILTER_BYTES)));
        }
        let mut conditions = Vec::new();
        for (key, value) in fields {
            if key.is_empty()
                || key.contains('"')
                || key.starts_with('$')
                || key.chars().count() > limits::FILTER_KEY_CHARS
            {
                return Err(bad(format!(
                    "filter key {key:?} must not be empty, contain '\"', start with '$' or exceed {} characters",
                    limits::FILTER_KEY_CHARS
                )));
            }
            match value {
                Value::Object(operators) if operators.is_empty() => {
                    return Err(bad(format!("filter for {key:?} must not be empty")));
                }
                Value::Object(operators) => {
                    for (operator, operand) in operators {
                        let condition = Condition::parse(operator, operand)
                            .map_err(|why| bad(format!("filter for {key:?}: {why}")))?;
                        conditions.push((key.clone(), condition));
                    }
                }
                scalar => {
                    let operand =
                        scalar_of(scalar).map_err(|why| bad(format!("filter for {key:?}: {why}")))?;
                    conditions.push((key.clone(), Condition::Equal(operand)));
                }
            }
        }
        Ok(Self { conditions })
    }

    /// Whether a vector passes. A field without a metadata index (at the time the vector was written) never matches.
    pub fn matches(&self, fields: &IndexedFields) -> bool {
        self.conditions
            .iter()
            .all(|(key, condition)| fields.get(key).is_some_and(|value| condition.holds(value.as_ref())))
    }
}

impl Condition {
    fn parse(operator: &str, operand: &Value) -> Result<Self, String> {
        let list = || match operand {
            Value::Array(items) if !items.is_empty() => {
                items.iter().map(scalar_of).collect::<Result<Vec<_>, _>>()
            }
            _ => Err(format!("{operator} takes a list of at least one value")),
        };
        Ok(match operator {
            "$eq" => Self::Equal(scalar_of(operand)?),
            "$ne" => Self::NotEqual(scalar_of(operand)?),
            "$lt" => Self::Less(scalar_of(operand)?),
            "$lte" => Self::LessOrEqual(scalar_of(operand)?),
            "$gt" => Self::Greater(scalar_of(operand)?),
            "$gte" => Self::GreaterOrEqual(scalar_of(operand)?),
            "$in" => Self::In(list()?),
            "$nin" => Self::NotIn(list()?),
            other => return Err(format!("unknown operator {other:?}")),
        })
    }

    fn holds(&self, value: Option<&Indexed>) -> bool {
        use std::cmp::Ordering::{Equal, Greater, Less};
        // `partial_cmp` of two variants would order them; a range must not.
        let order = |operand: &Option<Indexed>| match (value, operand.as_ref()) {
            (Some(a), Some(b)) if std::mem::discriminant(a) == std::mem::discriminant(b) => a.partial_cmp(b),
            _ => None,
        };
        let equals = |operand: &Option<Indexed>| value == operand.as_ref();
        match self {
            Self::Equal(operand) => equals(operand),
            Self::NotEqual(operand) => !equals(operand),
            Self::Less(operand) => order(operand) == Some(Less),
            Self::LessOrEqual(operand) => matches!(order(operand), Some(Less | Equal)),
            Self::Greater(operand) => order(operand) == Some(Greater),
            Self::GreaterOrEqual(operand) => matches!(order(operand), Some(Greater | Equal)),
            Self::In(operands) => operands.iter().any(equals),
            Self::NotIn(operands) => !operands.iter().any(equals),
        }
    }
}

/// A filter operand; strings are compared by the part an index sees.
fn scalar_of(value: &Value) -> Result<Option<Indexed>, String> {
    match value {
        Value::Null => Ok(None),
        Value::String(text) => Ok(Some(Indexed::Text(limits::indexed_part(text).to_owned()))),
        Value::Number(number) => Ok(number.as_f64().map(Indexed::Number)),
        Value::Bool(flag) => Ok(Some(Indexed::Boolean(*flag))),
        _ => Err("a value must be a string, a number, a boolean or null".to_owned()),
    }
}

/// What the given metadata indexes hold for a vector's metadata. A `.` in a field's name leads into an object.
pub fn index_fields(
    metadata: Option<&Map<String, Value>>,
    indexes: &BTreeMap<String, FieldType>,
) -> IndexedFields {
    indexes
        .iter()
        .map(|(field, kind)| {
            let value = metadata.and_then(|m| lookup(m, field));
            let indexed = match (kind, value) {
                (FieldType::String, Some(Value::String(text))) => {
                    Some(Indexed::Text(limits::indexed_part(text).to_owned()))
                }
                (FieldType::Number, Some(Value::Number(number))) => number.as_f64().map(Indexed::Number),
                (FieldType::Boolean, Some(Value::Bool(flag))) => Some(Indexed::Boolean(*flag)),
                _ => None,
            };
            (field.clone(), indexed)
        })
        .collect()
}

fn lookup<'m>(metadata: &'m Map<String, Value>, path: &str) -> Option<&'m Value> {
    match path.split_once('.') {
        None => metadata.get(path),
        Some((head, rest)) => lookup(metadata.get(head)?.as_object()?, rest),
    }
}

/// The metadata of a vector as its indexes hold it (`returnMetadata: "indexed"`), nested as it was.
pub fn indexed_metadata(fields: &IndexedFields) -> Map<String, Value> {
    let mut metadata = Map::new();
    for (path, value) in fields {
        let Some(value) = value else { continue };
        let value = match value {
            Indexed::Text(text) => Value::from(text.as_str()),
            Indexed::Number(number) if number.fract() == 0.0 && number.abs() < 9e15 => {
                Value::from(*number as i64)
            }
            Indexed::Number(number) => Value::from(*number),
            Indexed::Boolean(flag) => Value::from(*flag),
        };
        let mut place = &mut metadata;
        let mut parts = path.split('.').peekable();
        while let Some(part) = parts.next() {
            if parts.peek().is_none() {
                place.insert(part.to_owned(), value);
                break;
            }
            let inner = place.entry(part).or_insert_with(|| Value::Object(Map::new()));
            let Value::Object(inner) = inner else { break };
            place = inner;
        }
    }
    metadata
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    fn indexes() -> BTreeMap<String, FieldType> {
        [
            ("lang", FieldType::String),
            ("year", FieldType::Number),
            ("draft", FieldType::Boolean),
            ("author.name", FieldType::String),
        ]
        .into_iter()
        .map(|(k, t)| (k.to_owned(), t))
        .collect()
    }

    fn passes(metadata: &Value, filter: &Value) -> bool {
        let fields = index_fields(metadata.as_object(), &indexes());
        Filter::parse(filter).unwrap_or_else(|e| panic!("{filter}: {}", e.error)).matches(&fields)
    }

    #[test]
    fn operators() {
        let m = json!({"lang": "en", "year": 2020, "draft": false, "author": {"name": "Ada"}});
        for filter in [
            json!({"lang": "en"}),
            json!({"lang": "en", "year": 2020}),
            json!({"lang": {"$eq": "en"}}),
            json!({"lang": {"$ne": "de"}}),
            json!({"year": {"$gte": 2020, "$lt": 2021}}),
            json!({"year": {"$gt": 2019.5, "$lte": 2020.0}}),
            json!({"lang": {"$in": ["de", "en"]}}),
            json!({"lang": {"$nin": ["de", "fr"]}}),
            json!({"lang": {"$gte": "e", "$lt": "f"}}),
            json!({"draft": false}),
            json!({"author.name": "Ada"}),
        ] {
            assert!(passes(&m, &filter), "{filter}");
        }
        for filter in [
            json!({"lang": "de"}),
            json!({"lang": "en", "year": 2021}),
            json!({"year": {"$gt": 2020}}),
            json!({"year": {"$gt": "2019"}}),
            json!({"year": "2020"}),
            json!({"lang": {"$in": ["de"]}}),
            json!({"lang": {"$nin": ["en"]}}),
            json!({"lang": {"$ne": "en"}}),
            json!({"author.name": "Bob"}),
            json!({"lang": null}),
        ] {
            assert!(!passes(&m, &filter), "{filter}");
        }
    }

    #[test]
    fn a_field_without_an_index_matches_nothing() {
        let m = json!({"other": "x"});
        for filter in [json!({"other": "x"}), json!({"other": {"$ne": "y"}}), json!({"other": null})] {
            assert!(!passes(&m, &filter), "{filter}");
        }
    }

    #[test]
    fn missing_values() {
        for m in [json!({}), json!({"lang": null}), json!({"lang": 5})] {
            assert!(passes(&m, &json!({"lang": null})));
            assert!(passes(&m, &json!({"lang": {"$ne": "en"}})));
            assert!(passes(&m, &json!({"lang": {"$nin": ["en"]}})));
            assert!(!passes(&m, &json!({"lang": {"$ne": null}})));
            assert!(!passes(&m, &json!({"lang": {"$lt": "z"}})));
        }
    }

    #[test]
    fn only_the_first_64_bytes_of_a_string_count() {
        let (stored, asked) = (format!("{}X", "a".repeat(64)), format!("{}Y", "a".repeat(64)));
        assert!(passes(&json!({"lang": stored}), &json!({"lang": asked})));
        assert!(!passes(&json!({"lang": "a".repeat(63)}), &json!({"lang": asked})));
        let fields = index_fields(json!({"lang": "€".repeat(30)}).as_object(), &indexes());
        assert_eq!(indexed_metadata(&fields)["lang"], json!("€".repeat(21)));
    }

    #[test]
    fn bad_filters_are_refused() {
        for filter in [
            json!([]),
            json!({}),
            json!({"": 1}),
            json!({"$or": 1}),
            json!({"a\"b": 1}),
            json!({"k".repeat(513): 1}),
            json!({"a": {}}),
            json!({"a": {"$regex": "x"}}),
            json!({"a": {"$in": []}}),
            json!({"a": {"$in": "x"}}),
            json!({"a": [1]}),
            json!({"a": "x".repeat(2048)}),
        ] {
            assert_eq!(Filter::parse(&filter).err().map(|e| e.code), Some(limits::CODE_BODY), "{filter}");
        }
    }

    #[test]
    fn indexed_metadata_is_nested_again() {
        let m = json!({"lang": "en", "year": 2020, "author": {"name": "Ada"}, "hidden": 1});
        let fields = index_fields(m.as_object(), &indexes());
        let expected = json!({"lang": "en", "year": 2020, "author": {"name": "Ada"}});
        assert_eq!(Value::Object(indexed_metadata(&fields)), expected);
    }
}
