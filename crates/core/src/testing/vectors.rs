//! Vectors in memory, visible only after a delay, as Vectorize's are.

use crate::filter::{Filter, INDEXED_BYTES};
use crate::identity::Namespace;
use crate::ports::{DOCUMENT_FIELD, Embeddings, VectorEntry, VectorIndex, VectorMatch};
use crate::settings::EmbeddingSettings;
use crate::{Error, Result, Retry, Tenant};
use serde_json::{Map, Value};
use std::cell::RefCell;
use std::collections::BTreeMap;

/// A vector as it is kept.
#[derive(Clone, Debug, PartialEq)]
pub struct StoredVector {
    /// Its namespace.
    pub namespace: String,
    /// Its values.
    pub values: Vec<f32>,
    /// What filters see.
    pub metadata: Map<String, Value>,
}

#[derive(Clone, Debug)]
enum Mutation {
    Upsert(String, StoredVector),
    Delete(String),
}

/// Which writes are seen later.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
enum Lag {
    #[default]
    None,
    Deletes,
    All,
}

#[derive(Debug, Default)]
struct State {
    visible: BTreeMap<String, StoredVector>,
    waiting: Vec<Mutation>,
    lag: Lag,
}

/// Vectors in a map.
#[derive(Debug)]
pub struct MemoryVectors {
    /// Lengths of vectors that can be kept; those of the default settings.
    pub dimensions: RefCell<Vec<usize>>,
    state: RefCell<State>,
}

impl Default for MemoryVectors {
    fn default() -> Self {
        let dimensions = RefCell::new(vec![EmbeddingSettings::default().dimensions]);
        Self { dimensions, state: RefCell::default() }
    }
}

impl MemoryVectors {
    /// From now on writes wait for [`Self::settle`].
    pub fn lag(&self) {
        self.state.borrow_mut().lag = Lag::All;
    }

    /// From now on deletes wait for [`Self::settle`], as those of a replaced document do longer than what replaces it.
    pub fn lag_deletes(&self) {
        self.state.borrow_mut().lag = Lag::Deletes;
    }

    /// Makes all writes visible, and later ones at once.
    pub fn settle(&self) {
        let mut state = self.state.borrow_mut();
        state.lag = Lag::None;
        state.apply();
    }

    /// Ids of all visible vectors.
    pub fn ids(&self) -> Vec<String> {
        self.state.borrow().visible.keys().cloned().collect()
    }

    /// All visible vectors by id.
    pub fn dump(&self) -> BTreeMap<String, StoredVector> {
        self.state.borrow().visible.clone()
    }
}

/// What Vectorize's metadata indexes hold: of a string only the beginning.
fn indexed(metadata: &Map<String, Value>) -> Map<String, Value> {
    let cut = |value: &Value| match value {
        Value::String(text) => text[..text.floor_char_boundary(INDEXED_BYTES)].into(),
        other => other.clone(),
    };
    metadata.iter().map(|(name, value)| (name.clone(), cut(value))).collect()
}

fn refused(message: String) -> Error {
    Error::Service { service: "vectors", retry: Retry::Never, code: None, message }
}

fn at_most(limit: usize, asked: usize) -> Result<()> {
    if asked <= limit { Ok(()) } else { Err(refused(format!("{asked} vectors; at most {limit}"))) }
}

impl State {
    fn write(&mut self, mutation: Mutation) {
        match (self.lag, &mutation) {
            (Lag::None, _) | (Lag::Deletes, Mutation::Upsert(..)) => self.make(mutation),
            _ => self.waiting.push(mutation),
        }
    }

    fn apply(&mut self) {
        std::mem::take(&mut self.waiting).into_iter().for_each(|mutation| self.make(mutation));
    }

    fn make(&mut self, mutation: Mutation) {
        match mutation {
            Mutation::Upsert(id, stored) => {
                self.visible.insert(id, stored);
            }
            Mutation::Delete(id) => {
                self.visible.remove(&id);
            }
        }
    }
}

impl VectorIndex for MemoryVectors {
    async fn upsert(
        &self,
        _: &Tenant,
        namespace: &Namespace,
        entries: &[VectorEntry],
        values: &Embeddings,
    ) -> Result<()> {
        at_most(Self::BATCH, entries.len())?;
        let possible = self.dimensions.borrow();
        if !entries.is_empty() && !possible.contains(&values.dimensions) {
            return Err(refused(format!("{} values; there are indexes for {possible:?}", values.dimensions)));
        }
        let mut state = self.state.borrow_mut();
        for (position, entry) in entries.iter().enumerate() {
            let stored = StoredVector {
                namespace: namespace.as_str().into(),
                values: values.row(position).to_vec(),
                metadata: entry.metadata.clone(),
            };
            state.write(Mutation::Upsert(entry.id.clone(), stored));
        }
        Ok(())
    }

    async fn query(
        &self,
        _: &Tenant,
        namespace: &Namespace,
        vector: &[f32],
        top_k: usize,
        filter: Option<&Filter>,
    ) -> Result<Vec<VectorMatch>> {
        if !(1..=100).contains(&top_k) {
            return Err(refused(format!("{top_k} matches; 1 to 100")));
        }
        let state = self.state.borrow();
        let mut matches: Vec<VectorMatch> = state
            .visible
            .iter()
            .filter(|(_, stored)| stored.namespace == namespace.as_str())
            .filter(|(_, stored)| filter.is_none_or(|filter| filter.matches(&indexed(&stored.metadata))))
            .map(|(id, stored)| VectorMatch {
                id: id.clone(),
                score: stored.values.iter().zip(vector).map(|(left, right)| left * right).sum(),
                document: stored.metadata.get(DOCUMENT_FIELD).and_then(Value::as_str).map(str::to_owned),
            })
            .collect();
        matches.sort_by(|left, right| right.score.total_cmp(&left.score));
        matches.truncate(top_k);
        Ok(matches)
    }

    async fn fetch(&self, _: &Tenant, ids: &[String]) -> Result<Vec<(String, Vec<f32>)>> {
        at_most(Self::LOOKUP_BATCH, ids.len())?;
        let state = self.state.borrow();
        let found = |id: &String| Some((id.clone(), state.visible.get(id)?.values.clone()));
        Ok(ids.iter().filter_map(found).collect())
    }

    async fn delete(&self, _: &Tenant, ids: &[String]) -> Result<()> {
        at_most(Self::BATCH, ids.len())?;
        let mut state = self.state.borrow_mut();
        ids.iter().for_each(|id| state.write(Mutation::Delete(id.clone())));
        Ok(())
    }

    async fn dimensions(&self) -> Result<Vec<usize>> {
        Ok(self.dimensions.borrow().clone())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use futures::executor::block_on;

    #[test]
    fn another_length_is_refused_until_there_is_an_index_for_it() {
        let vectors = MemoryVectors::default();
        let tenant = Tenant::new("t").unwrap();
        let namespace = Namespace::new(&tenant, &EmbeddingSettings::default().fingerprint());
        let entry = VectorEntry { id: "v".into(), metadata: Map::new() };
        let values = Embeddings { dimensions: 2, values: vec![1.0, 0.0] };
        let upsert = || block_on(vectors.upsert(&tenant, &namespace, std::slice::from_ref(&entry), &values));
        assert_eq!(upsert().unwrap_err().retry(), Retry::Never);
        assert!(vectors.dump().is_empty());
        vectors.dimensions.borrow_mut().push(2);
        upsert().unwrap();
        let fetched = block_on(vectors.fetch(&tenant, &["v".into(), "w".into()])).unwrap();
        assert_eq!(fetched, [("v".to_owned(), vec![1.0, 0.0])]);
    }
}
