//! Vectorize's filter language over the declared fields: parsed once, then asked of Vectorize, of D1 and of values.

use crate::document::Metadata;
use crate::ports::DOCUMENT_FIELD;
use crate::settings::{Field, FieldType};
use crate::{Error, Result};
use serde_json::{Map, Value, json};
use std::cmp::Ordering;

/// How a condition compares.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Operator {
    /// Equal.
    Eq,
    /// Not equal; also when the field is absent.
    Ne,
    /// Less.
    Lt,
    /// Less or equal.
    Lte,
    /// Greater.
    Gt,
    /// Greater or equal.
    Gte,
    /// One of a list.
    In,
    /// None of a list; also when the field is absent.
    Nin,
}

impl Operator {
    const ALL: [(Self, &'static str); 8] = [
        (Self::Eq, "$eq"),
        (Self::Ne, "$ne"),
        (Self::Lt, "$lt"),
        (Self::Lte, "$lte"),
        (Self::Gt, "$gt"),
        (Self::Gte, "$gte"),
        (Self::In, "$in"),
        (Self::Nin, "$nin"),
    ];

    fn parse(name: &str) -> Option<Self> {
        Self::ALL.iter().find(|(_, own)| *own == name).map(|(operator, _)| *operator)
    }

    fn name(self) -> &'static str {
        Self::ALL.iter().find(|(operator, _)| *operator == self).map_or("$eq", |(_, name)| name)
    }
}

/// One condition on one field.
#[derive(Clone, Debug, PartialEq)]
pub struct Condition {
    /// A declared field.
    pub field: String,
    /// How it compares.
    pub operator: Operator,
    /// With what: one value, or the list of `$in` and `$nin`.
    pub values: Vec<Value>,
}

/// Conditions that must all hold.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Filter {
    conditions: Vec<Condition>,
}

impl Filter {
    /// Vectorize's limit on the compact JSON of a filter, in bytes (exclusive).
    pub const MAX_BYTES: usize = 2048;

    /// From `{field: value | {$op: value} | {$in: [value]}}`.
    ///
    /// # Errors
    /// [`Error::FieldNotDeclared`], or [`Error::Invalid`] for a wrong operator, type or size.
    pub fn parse(filter: &Value, fields: &[Field]) -> Result<Self> {
        let Value::Object(entries) = filter else {
            return Err(Error::invalid("filter", "must be an object"));
        };
        let mut conditions = Vec::new();
        for (name, wanted) in entries {
            let field = fields
                .iter()
                .find(|field| field.name == *name)
                .ok_or_else(|| Error::FieldNotDeclared(name.clone()))?;
            match wanted {
                Value::Object(operators) => {
                    if operators.is_empty() {
                        return Err(Error::invalid(format!("filter.{name}"), "has no operator"));
                    }
                    let first = conditions.len();
                    for (operator, operand) in operators {
                        conditions.push(condition(field, operator, operand)?);
                    }
                    check_together(field, &conditions[first..])?;
                }
                value => conditions.push(condition(field, "$eq", value)?),
            }
        }
        let filter = Self { conditions };
        // As it is sent: a bare value is written out with `$eq`.
        let bytes = filter.to_json().to_string().len();
        if bytes >= Self::MAX_BYTES {
            let message = format!("is {bytes} bytes of compact JSON, `$eq` written out; allowed are 2047");
            return Err(Error::invalid("filter", message));
        }
        Ok(filter)
    }

    /// The conditions.
    pub fn conditions(&self) -> &[Condition] {
        &self.conditions
    }

    /// Whether everything matches.
    pub fn is_empty(&self) -> bool {
        self.conditions.is_empty()
    }

    /// As Vectorize takes it.
    pub fn to_json(&self) -> Value {
        let mut fields = Map::new();
        for condition in &self.conditions {
            let operand = match condition.operator {
                Operator::In | Operator::Nin => Value::Array(condition.values.clone()),
                _ => condition.values[0].clone(),
            };
            let entry = fields.entry(condition.field.clone()).or_insert_with(|| json!({}));
            entry[condition.operator.name()] = operand;
        }
        Value::Object(fields)
    }

    /// What Vectorize can be asked, since it compares strings by no more than their first [`INDEXED_BYTES`] bytes: every
    /// document that matches this filter matches that one too, and some that do not. `$eq` and `$in` are asked with
    /// as much of a long string as the index holds; other conditions on a long string are left out.
    #[must_use]
    pub fn for_vectors(&self) -> Self {
        let one = |condition: &Condition| {
            let mut condition = condition.clone();
            match condition.operator {
                Operator::Eq | Operator::In => condition.values.iter_mut().for_each(cut),
                Operator::Nin => {
                    condition.values.retain(|value| !may_be_cut(value));
                }
                _ if condition.values.iter().any(may_be_cut) => condition.values.clear(),
                _ => {}
            }
            (!condition.values.is_empty()).then_some(condition)
        };
        Self { conditions: self.conditions.iter().filter_map(one).collect() }
    }

    /// This filter, and one of these documents (`Operator::In`) or none of them (`Operator::Nin`), by their
    /// [tags](crate::identity::document_tag). As many as fit below [`Self::MAX_BYTES`], the first ones first; `None` when
    /// not even one does.
    pub(crate) fn and_documents(&self, operator: Operator, tags: &[String]) -> Option<Self> {
        // `,"document":{"$nin":[]}`, the longest frame.
        let frame = format!(",{:?}:{{{:?}:[]}}", DOCUMENT_FIELD, operator.name()).len();
        let mut room = (Self::MAX_BYTES - 1).checked_sub(self.to_json().to_string().len() + frame)?;
        let mut values = Vec::new();
        for tag in tags {
            let value = Value::from(tag.as_str());
            let Some(left) = room.checked_sub(value.to_string().len() + 1) else { break };
            room = left;
            values.push(value);
        }
        if values.is_empty() {
            return None;
        }
        let mut conditions = self.conditions.clone();
        conditions.push(Condition { field: DOCUMENT_FIELD.into(), operator, values });
        Some(Self { conditions })
    }

    /// Whether a document's metadata satisfies all conditions.
    pub fn matches(&self, metadata: &Metadata) -> bool {
        self.conditions.iter().all(|condition| condition.holds(metadata.get(&condition.field)))
    }
}

/// Bytes of a string that Vectorize's metadata index holds, less what is left of a character cut in two.
pub const INDEXED_BYTES: usize = 64;

fn cut(value: &mut Value) {
    if let Value::String(text) = value {
        text.truncate(text.floor_char_boundary(INDEXED_BYTES));
    }
}

/// Whether the index may hold a longer string in the same form: a character has at most four bytes.
fn may_be_cut(value: &Value) -> bool {
    value.as_str().is_some_and(|text| text.len() + 3 >= INDEXED_BYTES)
}

impl Condition {
    fn holds(&self, value: Option<&Value>) -> bool {
        let value = value.filter(|value| !value.is_null());
        let equals = |wanted: &Value| match value {
            Some(value) => compare(value, wanted) == Some(Ordering::Equal),
            None => wanted.is_null(),
        };
        let ordered = |accept: fn(Ordering) -> bool| {
            value.and_then(|value| compare(value, &self.values[0])).is_some_and(accept)
        };
        match self.operator {
            Operator::Eq => equals(&self.values[0]),
            Operator::Ne => !equals(&self.values[0]),
            Operator::In => self.values.iter().any(equals),
            Operator::Nin => !self.values.iter().any(equals),
            Operator::Lt => ordered(Ordering::is_lt),
            Operator::Lte => ordered(Ordering::is_le),
            Operator::Gt => ordered(Ordering::is_gt),
            Operator::Gte => ordered(Ordering::is_ge),
        }
    }
}

fn compare(left: &Value, right: &Value) -> Option<Ordering> {
    match (left, right) {
        (Value::String(left), Value::String(right)) => Some(left.cmp(right)),
        (Value::Number(left), Value::Number(right)) => left.as_f64()?.partial_cmp(&right.as_f64()?),
        (Value::Bool(left), Value::Bool(right)) => Some(left.cmp(right)),
        _ => None,
    }
}

/// Vectorize combines operators on one field only as a range: one lower and one upper bound.
fn check_together(field: &Field, conditions: &[Condition]) -> Result<()> {
    let lower = |operator| matches!(operator, Operator::Gt | Operator::Gte);
    let upper = |operator| matches!(operator, Operator::Lt | Operator::Lte);
    match conditions {
        [_] => Ok(()),
        [one, other]
            if (lower(one.operator) && upper(other.operator))
                || (upper(one.operator) && lower(other.operator)) =>
        {
            Ok(())
        }
        _ => Err(Error::invalid(
            format!("filter.{}", field.name),
            "takes one operator, or one lower and one upper bound",
        )),
    }
}

fn condition(field: &Field, operator: &str, operand: &Value) -> Result<Condition> {
    let place = || format!("filter.{}", field.name);
    let parsed = Operator::parse(operator).ok_or_else(|| {
        Error::invalid(place(), format!("`{operator}` is not one of $eq $ne $lt $lte $gt $gte $in $nin"))
    })?;
    let values = match (parsed, operand) {
        (Operator::In | Operator::Nin, Value::Array(values)) if !values.is_empty() => values.clone(),
        (Operator::In | Operator::Nin, _) => {
            return Err(Error::invalid(place(), format!("`{operator}` takes a list of at least one value")));
        }
        (_, value) => vec![value.clone()],
    };
    let ordered = matches!(parsed, Operator::Lt | Operator::Lte | Operator::Gt | Operator::Gte);
    if ordered && field.r#type == FieldType::Boolean {
        return Err(Error::invalid(place(), format!("`{operator}` takes strings and numbers")));
    }
    let list = matches!(parsed, Operator::In | Operator::Nin);
    for value in &values {
        if ((ordered || list) && value.is_null()) || !(value.is_null() || has_type(value, field.r#type)) {
            return Err(Error::invalid(place(), format!("{value} is not of the field's type")));
        }
    }
    Ok(Condition { field: field.name.clone(), operator: parsed, values })
}

/// Whether a value is of a declared field's type.
pub fn has_type(value: &Value, r#type: FieldType) -> bool {
    match r#type {
        FieldType::String => value.is_string(),
        FieldType::Number => value.is_number(),
        FieldType::Boolean => value.is_boolean(),
    }
}

/// Checks an upload's metadata: at most 8 KiB of JSON, declared fields of their declared type (or null).
///
/// # Errors
/// [`Error::Invalid`] naming the field.
pub fn check_metadata(metadata: &Metadata, fields: &[Field]) -> Result<()> {
    const MAX_BYTES: usize = 8 * 1024;
    let size = serde_json::to_string(metadata).map_or(usize::MAX, |json| json.len());
    if size > MAX_BYTES {
        return Err(Error::invalid("metadata", format!("is {size} bytes of JSON; allowed are {MAX_BYTES}")));
    }
    for field in fields {
        if let Some(value) = metadata.get(&field.name)
            && !value.is_null()
            && !has_type(value, field.r#type)
        {
            return Err(Error::invalid(
                format!("metadata.{}", field.name),
                format!("{value} is not of the declared type"),
            ));
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn fields() -> Vec<Field> {
        vec![
            Field { name: "lang".into(), r#type: FieldType::String },
            Field { name: "year".into(), r#type: FieldType::Number },
        ]
    }

    fn matches(filter: &Value, metadata: &Value) -> bool {
        Filter::parse(filter, &fields()).unwrap().matches(metadata.as_object().unwrap())
    }

    #[test]
    fn conditions_are_anded() {
        let filter = json!({"lang": "en", "year": {"$gte": 2000, "$lt": 2010}});
        assert!(matches(&filter, &json!({"lang": "en", "year": 2005})));
        assert!(!matches(&filter, &json!({"lang": "en", "year": 2010})));
        assert!(!matches(&filter, &json!({"lang": "de", "year": 2005})));
        assert!(!matches(&filter, &json!({"lang": "en"})));
    }

    #[test]
    fn negations_match_absent_fields() {
        assert!(matches(&json!({"lang": {"$ne": "en"}}), &json!({})));
        assert!(matches(&json!({"lang": {"$nin": ["en", "de"]}}), &json!({})));
        assert!(!matches(&json!({"lang": {"$in": ["en", "de"]}}), &json!({})));
    }

    #[test]
    fn an_undeclared_field_and_a_wrong_type_are_refused() {
        assert_eq!(
            Filter::parse(&json!({"owner": "me"}), &fields()),
            Err(Error::FieldNotDeclared("owner".into()))
        );
        for filter in [
            json!({"year": "2000"}),
            json!({"year": {"$like": 3}}),
            json!({"lang": {"$in": []}}),
            json!({"lang": {}}),
            json!([]),
            json!({"year": {"$gt": null}}),
            json!({"year": {"$gt": 1, "$gte": 2}}),
            json!({"year": {"$eq": 1, "$lt": 2}}),
            json!({"lang": {"$in": [null]}}),
            json!({"lang": "x".repeat(3000)}),
        ] {
            assert!(matches!(Filter::parse(&filter, &fields()), Err(Error::Invalid { .. })), "{filter}");
        }
    }

    #[test]
    fn it_goes_back_to_vectorize_s_json() {
        let filter = json!({"lang": {"$in": ["en"]}, "year": {"$gte": 2000, "$lt": 2010}});
        assert_eq!(Filter::parse(&filter, &fields()).unwrap().to_json(), filter);
    }
}
