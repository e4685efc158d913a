//! A typed client of the Vectorize binding, version 2 of the service. (`worker` 0.8.7 has none.)
//!
//! ```no_run
//! use ragflare_cloudflare::ledger::Ledger;
//! use ragflare_cloudflare::vectorize::{Filter, QueryOptions, Vectorize, VectorizeError, VectorRecord};
//!
//! # async fn example(env: worker::Env, values: Vec<f32>) -> Result<(), VectorizeError> {
//! let index = Vectorize::from_env(&env, "VECTORIZE", Ledger::new())?;
//! index.upsert(&[VectorRecord { id: "a", values: &values, namespace: Some("tenant"), metadata: None }]).await?;
//! let options = QueryOptions {
//!     top_k: 20,
//!     namespace: Some("tenant".into()),
//!     filter: Some(Filter::new().equal("lang", "en")),
//!     ..QueryOptions::default()
//! };
//! for found in index.query(&values, &options).await? {
//!     worker::console_log!("{} {}", found.id, found.score);
//! }
//! # Ok(())
//! # }
//! ```
//!
//! **Writes are seen late**: an accepted write shows in queries after seconds to minutes. There is no way to list
//! what an index holds, so keep the ids elsewhere. **Limits** ([`limits`]) are checked before anything is sent, and
//! the error names the limit, the value and what is allowed. **Retries** follow the client's
//! [`RetryPolicy`] for 40041 (too many requests) and faults on the way.
//!
//! Values cross to JavaScript as one `Float32Array` for a write, with a view for each vector; the rest of a write
//! and all results cross as JSON text. The runtime then writes each value as the decimal of a 64-bit float, about 20
//! bytes, so a write of 1000 vectors of 384 values is a request of 8 MB.

mod error;
pub mod filter;
pub mod limits;
mod record;

use js_sys::{Array, Float32Array, JSON, Reflect};
use serde::Serialize;
use serde::de::DeserializeOwned;
use serde_json::{Map, Value};
use wasm_bindgen::JsValue;

pub use error::VectorizeError;
pub use filter::{Bound, Condition, Filter, FilterError, Scalar};
pub use record::{
    IndexInfo, Match, Matches, Mutation, QueryOptions, ReturnMetadata, StoredVector, VectorRecord,
};

use crate::ai::RetryPolicy;
use crate::ai::binding::{Binding, text_of};
use crate::ai::retry;
use crate::ai::shorten;
use crate::ledger::Ledger;

/// Values one call of [`Vectorize::upsert_many`] carries at most, about 8 MB of request: 1000 vectors of 384 values,
/// 260 of 1536. Several may be in memory at once.
const WRITE_VALUES: usize = 400_000;

/// The Vectorize binding. Cloning is cheap; clones share the ledger.
#[derive(Debug, Clone)]
pub struct Vectorize {
    binding: Binding,
    ledger: Ledger,
    retry: RetryPolicy,
}

impl Vectorize {
    /// The class of the binding object.
    pub const CLASS: &'static str = "VectorizeIndexImpl";

    /// Over a binding object, unchecked.
    pub fn new(binding: JsValue, ledger: Ledger) -> Self {
        Self::over(Binding { object: binding, name: Self::CLASS.to_owned() }, ledger)
    }

    /// The binding of this name.
    ///
    /// # Errors
    /// [`VectorizeError::Binding`] if there is none or it is of another class, naming what was found.
    pub fn from_env(env: &worker::Env, name: &str, ledger: Ledger) -> Result<Self, VectorizeError> {
        match Binding::from_env(env, name, Self::CLASS) {
            Ok(binding) => Ok(Self::over(binding, ledger)),
            Err(detail) => Err(VectorizeError::Binding { name: name.to_owned(), detail }),
        }
    }

    fn over(binding: Binding, ledger: Ledger) -> Self {
        Self { binding, ledger, retry: RetryPolicy::default() }
    }

    /// The same client with other retries.
    pub fn with_retry(mut self, retry: RetryPolicy) -> Self {
        self.retry = retry;
        self
    }

    /// Writes vectors; of an id that exists, the old vector stays. At most 1000. No vector, no call.
    ///
    /// # Errors
    /// A limit, or as for any call.
    pub async fn insert(&self, records: &[VectorRecord<'_>]) -> Result<Option<Mutation>, VectorizeError> {
        self.write("insert", records).await
    }

    /// Writes vectors; of an id that exists, vector, namespace and metadata are replaced as a whole. At most 1000.
    /// No vector, no call.
    ///
    /// # Errors
    /// A limit, or as for any call.
    pub async fn upsert(&self, records: &[VectorRecord<'_>]) -> Result<Option<Mutation>, VectorizeError> {
        self.write("upsert", records).await
    }

    /// [`upsert`](Self::upsert) of any number of vectors, in calls small enough for the memory of a worker.
    ///
    /// # Errors
    /// As [`upsert`](Self::upsert); the calls before the failed one were accepted.
    pub async fn upsert_many(&self, records: &[VectorRecord<'_>]) -> Result<Vec<Mutation>, VectorizeError> {
        let mut mutations = Vec::new();
        for batch in write_batches(records) {
            mutations.extend(self.upsert(batch).await?);
        }
        Ok(mutations)
    }

    /// The vectors nearest to this one, nearest first.
    ///
    /// # Errors
    /// A limit, or as for any call.
    pub async fn query(&self, vector: &[f32], options: &QueryOptions) -> Result<Vec<Match>, VectorizeError> {
        limits::check_values(vector, None)?;
        limits::check_query(options)?;
        let vector: JsValue = Float32Array::from(vector).into();
        self.search("query", &vector, options).await
    }

    /// The vectors nearest to the stored one of this id, nearest first.
    ///
    /// # Errors
    /// A limit, or as for any call.
    pub async fn query_by_id(&self, id: &str, options: &QueryOptions) -> Result<Vec<Match>, VectorizeError> {
        limits::check_id(id)?;
        limits::check_query(options)?;
        self.search("queryById", &JsValue::from_str(id), options).await
    }

    /// The stored vectors of these ids; ids the index does not hold, or not yet, are left out. At most 20.
    ///
    /// # Errors
    /// A limit, or as for any call.
    pub async fn get_by_ids(&self, ids: &[&str]) -> Result<Vec<StoredVector>, VectorizeError> {
        limits::check_ids(ids, "ids in one read", limits::GET_BATCH)?;
        if ids.is_empty() {
            return Ok(Vec::new());
        }
        self.call("getByIds", "list of vectors", || id_arguments(ids)).await
    }

    /// [`get_by_ids`](Self::get_by_ids) for any number of ids, 20 a call.
    ///
    /// # Errors
    /// As [`get_by_ids`](Self::get_by_ids).
    pub async fn get_many(&self, ids: &[&str]) -> Result<Vec<StoredVector>, VectorizeError> {
        let mut vectors = Vec::new();
        for batch in ids.chunks(limits::GET_BATCH) {
            vectors.append(&mut self.get_by_ids(batch).await?);
        }
        Ok(vectors)
    }

    /// Deletes the vectors of these ids; ids the index does not hold are no error. At most 100. No id, no call.
    ///
    /// # Errors
    /// A limit, or as for any call.
    pub async fn delete_by_ids(&self, ids: &[&str]) -> Result<Option<Mutation>, VectorizeError> {
        limits::check_ids(ids, "ids in one delete", limits::DELETE_BATCH)?;
        if ids.is_empty() {
            return Ok(None);
        }
        self.call("deleteByIds", "mutation", || id_arguments(ids)).await.map(Some)
    }

    /// [`delete_by_ids`](Self::delete_by_ids) for any number of ids, 100 a call.
    ///
    /// # Errors
    /// As [`delete_by_ids`](Self::delete_by_ids); the calls before the failed one were accepted.
    pub async fn delete_many(&self, ids: &[&str]) -> Result<Vec<Mutation>, VectorizeError> {
        let mut mutations = Vec::new();
        for batch in ids.chunks(limits::DELETE_BATCH) {
            mutations.extend(self.delete_by_ids(batch).await?);
        }
        Ok(mutations)
    }

    /// The state of the index.
    ///
    /// # Errors
    /// As for any call.
    pub async fn describe(&self) -> Result<IndexInfo, VectorizeError> {
        self.call("describe", "index state", || Ok(Array::new())).await
    }

    async fn write(
        &self,
        method: &str,
        records: &[VectorRecord<'_>],
    ) -> Result<Option<Mutation>, VectorizeError> {
        limits::check_records(records)?;
        if records.is_empty() {
            return Ok(None);
        }
        self.call(method, "mutation", || Ok(Array::of1(&records_to_js(records)?))).await.map(Some)
    }

    async fn search(
        &self,
        method: &str,
        vector: &JsValue,
        options: &QueryOptions,
    ) -> Result<Vec<Match>, VectorizeError> {
        let wire = options.to_wire().to_string();
        let found: Matches =
            self.call(method, "list of matches", || Ok(Array::of2(vector, &JSON::parse(&wire)?))).await?;
        Ok(found.matches)
    }

    /// Calls the method with fresh arguments for every try, since the runtime may change them.
    async fn call<T: DeserializeOwned>(
        &self,
        method: &str,
        what: &'static str,
        arguments: impl Fn() -> Result<Array, JsValue>,
    ) -> Result<T, VectorizeError> {
        retry::run(self.retry, async || {
            let failed = |error: JsValue| VectorizeError::from_message(&text_of(&error));
            let arguments = arguments().map_err(failed)?;
            self.ledger.count_vectorize();
            let reply = self.binding.call(method, &arguments).await.map_err(failed)?;
            let text = JSON::stringify(&reply).map(String::from).map_err(failed)?;
            serde_json::from_str(&text).map_err(|error| {
                let detail = format!("{error} in {}", shorten(&text));
                VectorizeError::Malformed { what, detail }
            })
        })
        .await
    }
}

/// Splits a write at 1000 vectors or [`WRITE_VALUES`] values.
fn write_batches<'r, 'v>(records: &'r [VectorRecord<'v>]) -> std::slice::Chunks<'r, VectorRecord<'v>> {
    let dimensions = records.first().map_or(1, |record| record.values.len().max(1));
    records.chunks((WRITE_VALUES / dimensions).clamp(1, limits::WRITE_BATCH))
}

fn id_arguments(ids: &[&str]) -> Result<Array, JsValue> {
    let wire = Value::from(ids.to_vec()).to_string();
    Ok(Array::of1(&JSON::parse(&wire)?))
}

/// The records as JavaScript objects. All dimensions are equal, as the limits demand.
fn records_to_js(records: &[VectorRecord<'_>]) -> Result<JsValue, JsValue> {
    #[derive(Serialize)]
    struct Wire<'a> {
        id: &'a str,
        #[serde(skip_serializing_if = "Option::is_none")]
        namespace: Option<&'a str>,
        #[serde(skip_serializing_if = "Option::is_none")]
        metadata: Option<&'a Map<String, Value>>,
    }
    let wire: Vec<_> = records
        .iter()
        .map(|&VectorRecord { id, namespace, metadata, .. }| Wire { id, namespace, metadata })
        .collect();
    let text = serde_json::to_string(&wire).map_err(|error| JsValue::from_str(&error.to_string()))?;
    let objects: Array = JSON::parse(&text)?.into();
    let dimensions = records.first().map_or(0, |record| record.values.len()) as u32;
    let values = Float32Array::new_with_length(dimensions * records.len() as u32);
    let name = JsValue::from_str("values");
    for (index, record) in (0..).zip(records) {
        let view = values.subarray(index * dimensions, (index + 1) * dimensions);
        view.copy_from(record.values);
        Reflect::set(&objects.get(index), &name, &view)?;
    }
    Ok(objects.into())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn batches(records: usize, dimensions: usize) -> Vec<usize> {
        let values = vec![0.5; dimensions];
        let record = VectorRecord { id: "a", values: &values, namespace: None, metadata: None };
        write_batches(&vec![record; records]).map(<[_]>::len).collect()
    }

    #[test]
    fn a_write_is_split_by_vectors_and_by_values() {
        assert_eq!(batches(2500, 384), [1000, 1000, 500]);
        assert_eq!(batches(600, 1536), [260, 260, 80]);
        assert_eq!(batches(0, 384), [0; 0]);
        assert_eq!(batches(3, 1), [3]);
    }
}
