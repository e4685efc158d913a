//! D1 behind core's `DocumentStore` and `KeywordIndex`. The schema is in `migrations/`.

mod audit;
mod chunks;
mod conditions;
mod documents;
mod garbage;
mod generations;
mod keywords;
mod letters;
mod rebuild;
mod rows;
mod sources;
mod statement;
mod tenants;
mod vectors;

pub use audit::Audit;
pub use documents::D1Documents;
pub use keywords::D1Keywords;
pub use letters::Letters;
pub use rebuild::{Rebuild, Rebuilt};
pub use sources::{D1Sources, ObjectCounts, Problem};
pub use statement::{Statement, Value};

use crate::ai::binding::{Binding, text_of};
use crate::ledger::Ledger;
use js_sys::{Array, Reflect};
use ragflare_core::{Error, Result, Retry};
use serde::de::DeserializeOwned;
use std::cell::Cell;
use std::rc::Rc;
use worker::D1Database;
use worker::wasm_bindgen::JsValue;

/// A database and the ledger its statements are counted in.
#[derive(Clone, Debug)]
pub struct Database {
    inner: Rc<D1Database>,
    /// The same object. `worker` reads the size of a database into 32 bits.
    binding: Binding,
    /// Bytes, as the last reply said.
    size: Rc<Cell<Option<u64>>>,
    ledger: Ledger,
}

/// What D1 replied to a statement.
#[derive(Debug)]
pub(crate) struct Reply(JsValue);

impl Database {
    /// # Errors
    /// When `binding` is no D1 database.
    pub fn from_env(env: &worker::Env, binding: &str, ledger: Ledger) -> worker::Result<Self> {
        let inner = env.d1(binding)?;
        let object: &JsValue = inner.as_ref();
        let binding = Binding { object: object.clone(), name: binding.to_owned() };
        Ok(Self { inner: Rc::new(inner), binding, size: Rc::default(), ledger })
    }

    /// Runs statements in one transaction; replies in order.
    pub(crate) async fn batch(&self, statements: Vec<Statement>) -> Result<Vec<Reply>> {
        self.ledger.count_d1(statements.len() as u32);
        let prepared = Array::new();
        for statement in statements {
            let (sql, values) = statement.into_js();
            let bound = self.inner.prepare(sql).bind(&values).map_err(|error| storage(error.to_string()))?;
            prepared.push(bound.inner().as_ref());
        }
        let replies = self.binding.call("batch", &Array::of1(&prepared)).await;
        let replies = Array::from(&replies.map_err(|error| storage(text_of(&error)))?);
        let replies: Vec<Reply> = replies.iter().map(Reply).collect();
        for reply in &replies {
            if let Some(message) = reply.field("error").as_string() {
                return Err(storage(message));
            }
            if let Some(bytes) = reply.size() {
                self.size.set(Some(bytes));
            }
        }
        Ok(replies)
    }

    /// Runs one statement.
    pub(crate) async fn run(&self, statement: Statement) -> Result<()> {
        self.batch(vec![statement]).await.map(drop)
    }

    /// The rows of one statement.
    pub(crate) async fn all<T: DeserializeOwned>(&self, statement: Statement) -> Result<Vec<T>> {
        rows(&self.batch(vec![statement]).await?[0])
    }

    /// Bytes that the database takes, as of the last statement.
    pub fn size(&self) -> Option<u64> {
        self.size.get()
    }
}

impl Reply {
    fn field(&self, name: &str) -> JsValue {
        Reflect::get(&self.0, &JsValue::from_str(name)).unwrap_or(JsValue::UNDEFINED)
    }

    fn size(&self) -> Option<u64> {
        let size = Reflect::get(&self.field("meta"), &JsValue::from_str("size_after")).ok()?;
        size.as_f64().map(|bytes| bytes as u64)
    }
}

/// The rows of a reply.
pub(crate) fn rows<T: DeserializeOwned>(reply: &Reply) -> Result<Vec<T>> {
    let rows = reply.field("results");
    if rows.is_null_or_undefined() {
        return Ok(Vec::new());
    }
    Array::from(&rows)
        .iter()
        .map(|row| serde_wasm_bindgen::from_value(row).map_err(|error| storage(error.to_string())))
        .collect()
}

/// Whatever D1 complains of passes (overload, a reset, a lost connection) or is a bug that a bounded number of repeats
/// does not make worse.
fn storage(message: String) -> Error {
    Error::Service { service: "database", retry: Retry::Backoff, code: None, message }
}

/// An optional text as D1 takes it.
pub(crate) fn optional(value: Option<&str>) -> Value {
    value.map_or(Value::Null, Value::from)
}
