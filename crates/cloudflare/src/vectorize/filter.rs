//! Vectorize's filter language: conditions on metadata fields that must all hold.
//!
//! `{field: scalar | {$eq|$ne: scalar} | {$in|$nin: [scalar, …]} | {$gt|$gte: bound, $lt|$lte: bound}}`. Rules
//! (documentation, "Metadata filtering"): a field is not empty, at most 512 characters, without `"`, not starting
//! with `$`; a dot reaches into nested metadata; a range has at most one bound on each side, and bounds are strings
//! or numbers; the compact JSON is below 2048 bytes.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};
use serde_json::{Map, Number, Value};

/// The compact JSON of a filter must be below this many bytes.
pub const FILTER_BYTES: usize = 2048;
/// Most characters of a field name.
pub const FIELD_CHARS: usize = 512;

/// Conditions on metadata fields, all of which must hold. Without any, everything matches.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
#[serde(try_from = "Value", into = "Value")]
pub struct Filter {
    /// The condition on each field.
    pub conditions: BTreeMap<String, Condition>,
}

/// A condition on one field.
#[derive(Debug, Clone, PartialEq)]
pub enum Condition {
    /// `$eq`
    Equal(Scalar),
    /// `$ne`
    NotEqual(Scalar),
    /// `$in`
    In(Vec<Scalar>),
    /// `$nin`
    NotIn(Vec<Scalar>),
    /// `$gt`, `$gte`, `$lt`, `$lte`: one side or both.
    Range {
        /// The lower bound.
        lower: Option<Bound>,
        /// The upper bound.
        upper: Option<Bound>,
    },
}

/// One end of a range: a string or a number. Strings are ordered by their bytes.
#[derive(Debug, Clone, PartialEq)]
pub struct Bound {
    /// The value.
    pub value: Scalar,
    /// Whether the value itself is inside the range.
    pub inclusive: bool,
}

/// A value to compare with.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Scalar {
    /// Text. Vectorize indexes its first 64 bytes only.
    String(String),
    /// A number, compared as a 64-bit float.
    Number(Number),
    /// A boolean.
    Bool(bool),
    /// Null.
    Null,
}

/// What is wrong with a filter.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("at `{path}`: {reason}")]
pub struct FilterError {
    /// Where, such as `year.$gt`. Empty for the filter as a whole.
    pub path: String,
    /// What is wrong there.
    pub reason: String,
}

impl Filter {
    /// A filter without conditions.
    pub fn new() -> Self {
        Self::default()
    }

    /// With this condition. It replaces an earlier one on the same field.
    pub fn with(mut self, field: impl Into<String>, condition: Condition) -> Self {
        self.conditions.insert(field.into(), condition);
        self
    }

    /// With the condition that the field equals the value.
    pub fn equal(self, field: impl Into<String>, value: impl Into<Scalar>) -> Self {
        self.with(field, Condition::Equal(value.into()))
    }

    /// Whether there is no condition.
    pub fn is_empty(&self) -> bool {
        self.conditions.is_empty()
    }

    /// Reads the JSON form.
    ///
    /// # Errors
    /// Anything outside the language, or over its limits.
    pub fn parse(value: &Value) -> Result<Self, FilterError> {
        let object = value.as_object().ok_or_else(|| wrong("", "must be an object"))?;
        let mut conditions = BTreeMap::new();
        for (field, condition) in object {
            conditions.insert(field.clone(), Condition::parse(field, condition)?);
        }
        let filter = Self { conditions };
        filter.check()?;
        Ok(filter)
    }

    /// The JSON form.
    pub fn to_json(&self) -> Value {
        self.conditions.iter().map(|(field, condition)| (field.clone(), condition.to_json())).collect()
    }

    /// Checks the rules that the types do not enforce.
    ///
    /// # Errors
    /// A field name or bound that is not allowed, an empty range, or JSON of 2048 bytes or more.
    pub fn check(&self) -> Result<(), FilterError> {
        for (field, condition) in &self.conditions {
            let reason = if field.is_empty() {
                "a field name must not be empty".to_owned()
            } else if field.starts_with('$') {
                "a field name must not begin with `$`".to_owned()
            } else if field.contains('"') {
                "a field name must not contain `\"`".to_owned()
            } else if field.chars().count() > FIELD_CHARS {
                format!("a field name of {} characters, {FIELD_CHARS} are allowed", field.chars().count())
            } else {
                condition.check(field)?;
                continue;
            };
            return Err(wrong(field, reason));
        }
        let bytes = self.to_json().to_string().len();
        if bytes >= FILTER_BYTES {
            return Err(wrong("", format!("{bytes} bytes of compact JSON, must be below {FILTER_BYTES}")));
        }
        Ok(())
    }
}

impl TryFrom<Value> for Filter {
    type Error = FilterError;

    fn try_from(value: Value) -> Result<Self, FilterError> {
        Self::parse(&value)
    }
}

impl From<Filter> for Value {
    fn from(filter: Filter) -> Self {
        filter.to_json()
    }
}

impl Condition {
    fn parse(field: &str, value: &Value) -> Result<Self, FilterError> {
        let Some(operators) = value.as_object() else {
            return Ok(Self::Equal(Scalar::parse(field, value)?));
        };
        let (mut lower, mut upper, mut other) = (None, None, None);
        for (operator, value) in operators {
            let path = format!("{field}.{operator}");
            let bound = |inclusive| Ok(Some(Bound { value: Scalar::parse(&path, value)?, inclusive }));
            let taken = match operator.as_str() {
                "$gt" | "$gte" => std::mem::replace(&mut lower, bound(operator == "$gte")?).is_some(),
                "$lt" | "$lte" => std::mem::replace(&mut upper, bound(operator == "$lte")?).is_some(),
                _ => {
                    let condition = match operator.as_str() {
                        "$eq" => Self::Equal(Scalar::parse(&path, value)?),
                        "$ne" => Self::NotEqual(Scalar::parse(&path, value)?),
                        "$in" => Self::In(scalars(&path, value)?),
                        "$nin" => Self::NotIn(scalars(&path, value)?),
                        _ => {
                            let known = "$eq, $ne, $in, $nin, $gt, $gte, $lt, $lte";
                            return Err(wrong(&path, format!("no such operator; there are {known}")));
                        }
                    };
                    other.replace(condition).is_some()
                }
            };
            if taken || (other.is_some() && (lower.is_some() || upper.is_some())) {
                return Err(wrong(&path, "only one lower and one upper bound can be combined"));
            }
        }
        match other {
            Some(condition) => Ok(condition),
            None => Ok(Self::Range { lower, upper }),
        }
    }

    fn to_json(&self) -> Value {
        let of = |operator: &str, value: Value| Value::Object(Map::from_iter([(operator.to_owned(), value)]));
        let list = |values: &[Scalar]| values.iter().map(Scalar::to_json).collect();
        match self {
            Self::Equal(value) => of("$eq", value.to_json()),
            Self::NotEqual(value) => of("$ne", value.to_json()),
            Self::In(values) => of("$in", list(values)),
            Self::NotIn(values) => of("$nin", list(values)),
            Self::Range { lower, upper } => {
                let operator = |bound: &Bound, strict: &str, inclusive: &str| {
                    let operator = if bound.inclusive { inclusive } else { strict };
                    (operator.to_owned(), bound.value.to_json())
                };
                let lower = lower.iter().map(|bound| operator(bound, "$gt", "$gte"));
                lower.chain(upper.iter().map(|bound| operator(bound, "$lt", "$lte"))).collect()
            }
        }
    }

    fn check(&self, field: &str) -> Result<(), FilterError> {
        let Self::Range { lower, upper } = self else {
            return Ok(());
        };
        if lower.is_none() && upper.is_none() {
            return Err(wrong(field, "a range needs a bound"));
        }
        let ordered = |bound: &Bound| matches!(bound.value, Scalar::String(_) | Scalar::Number(_));
        if lower.iter().chain(upper).all(ordered) {
            Ok(())
        } else {
            Err(wrong(field, "a bound must be a string or a number"))
        }
    }
}

impl Scalar {
    fn parse(path: &str, value: &Value) -> Result<Self, FilterError> {
        Ok(match value {
            Value::String(text) => Self::String(text.clone()),
            Value::Number(number) => Self::Number(number.clone()),
            Value::Bool(value) => Self::Bool(*value),
            Value::Null => Self::Null,
            Value::Array(_) | Value::Object(_) => {
                return Err(wrong(path, "must be a string, a number, a boolean or null"));
            }
        })
    }

    /// The JSON form.
    pub fn to_json(&self) -> Value {
        match self {
            Self::String(text) => Value::String(text.clone()),
            Self::Number(number) => Value::Number(number.clone()),
            Self::Bool(value) => Value::Bool(*value),
            Self::Null => Value::Null,
        }
    }
}

impl From<&str> for Scalar {
    fn from(text: &str) -> Self {
        Self::String(text.to_owned())
    }
}

impl From<String> for Scalar {
    fn from(text: String) -> Self {
        Self::String(text)
    }
}

impl From<i64> for Scalar {
    fn from(number: i64) -> Self {
        Self::Number(number.into())
    }
}

impl From<bool> for Scalar {
    fn from(value: bool) -> Self {
        Self::Bool(value)
    }
}

fn scalars(path: &str, value: &Value) -> Result<Vec<Scalar>, FilterError> {
    let values = value.as_array().ok_or_else(|| wrong(path, "must be a list"))?;
    values.iter().map(|value| Scalar::parse(path, value)).collect()
}

fn wrong(path: &str, reason: impl Into<String>) -> FilterError {
    FilterError { path: path.to_owned(), reason: reason.into() }
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    #[test]
    fn every_form_survives_the_way_there_and_back() {
        let wire = json!({
            "a": { "$eq": "x" }, "b.c": { "$ne": null }, "d": { "$in": ["x", 1, true] }, "e": { "$nin": [] },
            "f": { "$gte": 1.5, "$lt": 9 }, "g": { "$lte": "m" }
        });
        let filter = Filter::parse(&wire).unwrap();
        assert_eq!(filter.to_json(), wire);
        let bound = |number: Value, inclusive| {
            let Value::Number(number) = number else { panic!() };
            Some(Bound { value: Scalar::Number(number), inclusive })
        };
        let range = Condition::Range { lower: bound(json!(1.5), true), upper: bound(json!(9), false) };
        assert_eq!(filter.conditions["f"], range);
    }

    #[test]
    fn a_bare_scalar_means_equal() {
        let filter = Filter::parse(&json!({ "a": "x", "n": null })).unwrap();
        assert_eq!(filter, Filter::new().equal("a", "x").with("n", Condition::Equal(Scalar::Null)));
    }

    #[test]
    fn what_is_outside_the_language_is_refused_with_its_place() {
        for (filter, place) in [
            (json!([]), "at ``"),
            (json!({ "": 1 }), "at ``"),
            (json!({ "$or": [] }), "at `$or`"),
            (json!({ "$a": 1 }), "at `$a`"),
            (json!({ "a\"b": 1 }), "at `a\"b`"),
            (json!({ "a": [1] }), "at `a`"),
            (json!({ "a": {} }), "at `a`"),
            (json!({ "a": { "b": 1 } }), "at `a.b`"),
            (json!({ "a": { "$regex": "x" } }), "at `a.$regex`"),
            (json!({ "a": { "$in": 1 } }), "at `a.$in`"),
            (json!({ "a": { "$in": [[1]] } }), "at `a.$in`"),
            (json!({ "a": { "$eq": 1, "$ne": 2 } }), "at `a.$ne`"),
            (json!({ "a": { "$gt": 1, "$gte": 2 } }), "at `a.$gte`"),
            (json!({ "a": { "$gt": 1, "$in": [2] } }), "at `a.$in`"),
            (json!({ "a": { "$gt": true } }), "at `a`"),
            (json!({ "k".repeat(513): 1 }), "at `kkk"),
        ] {
            let error = Filter::parse(&filter).unwrap_err().to_string();
            assert!(error.starts_with(place), "{filter}: {error}");
        }
        assert!(Filter::parse(&json!({ "k".repeat(512): 1 })).is_ok());
    }

    #[test]
    fn the_size_limit_is_on_the_compact_json() {
        let of = |n: usize| Filter::new().equal("a", "x".repeat(n));
        let frame = of(0).to_json().to_string().len();
        assert!(of(FILTER_BYTES - frame - 1).check().is_ok());
        let error = of(FILTER_BYTES - frame).check().unwrap_err();
        assert_eq!(error.reason, "2048 bytes of compact JSON, must be below 2048");
    }
}
