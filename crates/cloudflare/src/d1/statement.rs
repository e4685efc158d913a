//! SQL and what is bound to it.

use ragflare_core::Tenant;
use ragflare_core::document::{DocumentId, Generation};
use worker::wasm_bindgen::JsValue;

/// Bytes of JSON bound as one value, at most: D1 takes values of 1 MB (limits page, 2026-04).
const SLICE_BYTES: usize = 900_000;

/// A value that is bound. Native, so that statements can be looked at without a runtime.
#[derive(Clone, Debug, PartialEq)]
pub enum Value {
    /// `NULL`.
    Null,
    /// A number, exact to 2^53.
    Number(f64),
    /// A text.
    Text(String),
}

impl From<&str> for Value {
    fn from(text: &str) -> Self {
        Self::Text(text.to_owned())
    }
}

impl From<String> for Value {
    fn from(text: String) -> Self {
        Self::Text(text)
    }
}

impl From<f64> for Value {
    fn from(number: f64) -> Self {
        Self::Number(number)
    }
}

impl From<Value> for JsValue {
    fn from(value: Value) -> Self {
        match value {
            Value::Null => Self::NULL,
            Value::Number(number) => Self::from_f64(number),
            Value::Text(text) => Self::from_str(&text),
        }
    }
}

/// SQL and the values of `?1`, `?2`, …
#[derive(Clone, Debug, PartialEq)]
pub struct Statement {
    sql: String,
    values: Vec<Value>,
}

impl Statement {
    /// A statement without values.
    pub fn new(sql: impl Into<String>) -> Self {
        Self { sql: sql.into(), values: Vec::new() }
    }

    /// Adds the next value.
    pub fn bind(mut self, value: impl Into<Value>) -> Self {
        self.values.push(value.into());
        self
    }

    /// Adds a number; D1 takes JavaScript numbers, exact to 2^53.
    pub fn number(self, value: u64) -> Self {
        self.bind(value as f64)
    }

    /// Adds a number or `NULL`.
    pub fn optional_number(self, value: Option<u64>) -> Self {
        self.bind(value.map_or(Value::Null, |value| Value::Number(value as f64)))
    }

    /// Adds a list as the JSON text for `json_each`: one value, however long the list is (101 values fail).
    pub fn list<T: serde::Serialize>(self, values: &[T]) -> Self {
        let json = serde_json::to_string(values).unwrap_or_else(|_| "[]".into());
        self.bind(json)
    }

    /// How many values are bound.
    pub(crate) fn len(&self) -> usize {
        self.values.len()
    }

    /// Adds to the SQL.
    pub(crate) fn push(&mut self, sql: &str) {
        self.sql.push_str(sql);
    }

    pub(super) fn into_js(self) -> (String, Vec<JsValue>) {
        (self.sql, self.values.into_iter().map(JsValue::from).collect())
    }
}

/// A statement about a document: `?1` tenant, `?2` document.
pub(super) fn about(sql: impl Into<String>, tenant: &Tenant, id: &DocumentId) -> Statement {
    Statement::new(sql).bind(tenant.as_str()).bind(id.as_str())
}

/// A statement about a generation: `?1` tenant, `?2` document, `?3` generation.
pub(super) fn of(
    sql: impl Into<String>,
    tenant: &Tenant,
    id: &DocumentId,
    generation: Generation,
) -> Statement {
    about(sql, tenant, id).number(generation)
}

/// Packs JSON values into arrays of at most [`SLICE_BYTES`].
pub(super) fn slices(values: impl Iterator<Item = String>) -> Vec<String> {
    let mut slices: Vec<String> = Vec::new();
    for value in values {
        match slices.last_mut() {
            Some(slice) if slice.len() + value.len() + 2 <= SLICE_BYTES => slice.push(','),
            _ => slices.push(String::from("[")),
        }
        if let Some(slice) = slices.last_mut() {
            slice.push_str(&value);
        }
    }
    slices.iter_mut().for_each(|slice| slice.push(']'));
    slices
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn values_are_packed_below_the_limit() {
        let value = |length: usize| format!("\"{}\"", "x".repeat(length));
        let packed = slices([value(600_000), value(200_000), value(400_000), value(950_000)].into_iter());
        let all: Vec<Vec<String>> = packed.iter().map(|slice| serde_json::from_str(slice).unwrap()).collect();
        assert_eq!(all.iter().map(Vec::len).collect::<Vec<_>>(), [2, 1, 1]);
        assert!(packed[..2].iter().all(|slice| slice.len() <= SLICE_BYTES));
        assert!(slices(std::iter::empty()).is_empty());
    }
}
