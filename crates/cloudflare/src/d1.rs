//! D1 behind core's `DocumentStore` and `KeywordIndex`. The schema is in `migrations/`.

mod conditions;
mod documents;
mod keywords;
mod letters;
mod rows;

pub use documents::D1Documents;
pub use keywords::D1Keywords;
pub use letters::Letters;

use crate::ledger::Ledger;
use ragflare_core::{Error, Result, Retry};
use serde::de::DeserializeOwned;
use std::rc::Rc;
use worker::wasm_bindgen::JsValue;
use worker::{D1Database, D1Result};

/// A database and the ledger its statements are counted in.
#[derive(Clone, Debug)]
pub struct Database {
    inner: Rc<D1Database>,
    ledger: Ledger,
}

/// SQL and the values of `?1`, `?2`, …
#[derive(Clone, Debug)]
pub struct Statement {
    sql: String,
    values: Vec<JsValue>,
}

impl Statement {
    /// A statement without values.
    pub fn new(sql: impl Into<String>) -> Self {
        Self { sql: sql.into(), values: Vec::new() }
    }

    /// Adds the next value.
    pub fn bind(mut self, value: impl Into<JsValue>) -> Self {
        self.values.push(value.into());
        self
    }

    /// Adds a number; D1 takes JavaScript numbers, exact to 2^53.
    pub fn number(self, value: u64) -> Self {
        self.bind(value as f64)
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
}

impl Database {
    /// # Errors
    /// When `binding` is no D1 database.
    pub fn from_env(env: &worker::Env, binding: &str, ledger: Ledger) -> worker::Result<Self> {
        Ok(Self { inner: Rc::new(env.d1(binding)?), ledger })
    }

    /// Runs statements in one transaction; results in order.
    pub(crate) async fn batch(&self, statements: Vec<Statement>) -> Result<Vec<D1Result>> {
        self.ledger.count_d1(statements.len() as u32);
        let prepared = statements
            .into_iter()
            .map(|statement| self.inner.prepare(statement.sql).bind(&statement.values))
            .collect::<worker::Result<Vec<_>>>()
            .map_err(|error| fault(&error))?;
        let results = self.inner.batch(prepared).await.map_err(|error| fault(&error))?;
        if let Some(message) = results.iter().find_map(D1Result::error) {
            return Err(storage(message));
        }
        Ok(results)
    }

    /// Runs one statement.
    pub(crate) async fn run(&self, statement: Statement) -> Result<()> {
        self.batch(vec![statement]).await.map(drop)
    }

    /// The rows of one statement.
    pub(crate) async fn all<T: DeserializeOwned>(&self, statement: Statement) -> Result<Vec<T>> {
        rows(&self.batch(vec![statement]).await?[0])
    }
}

/// The rows of a result.
pub(crate) fn rows<T: DeserializeOwned>(result: &D1Result) -> Result<Vec<T>> {
    result.results().map_err(|error| fault(&error))
}

fn fault(error: &worker::Error) -> Error {
    storage(error.to_string())
}

/// Whatever D1 complains of passes (overload, a reset, a lost connection) or is a bug that a bounded number of repeats
/// does not make worse.
fn storage(message: String) -> Error {
    Error::Service { service: "database", retry: Retry::Backoff, code: None, message }
}

/// An optional text as D1 takes it.
pub(crate) fn optional(value: Option<&str>) -> JsValue {
    value.map_or(JsValue::NULL, JsValue::from_str)
}
