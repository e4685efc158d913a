//! Vectors in memory, visible only after a delay, as Vectorize's are.

use crate::filter::Filter;
use crate::identity::Namespace;
use crate::ports::{Embeddings, VectorEntry, VectorIndex, VectorMatch};
use crate::{Result, Tenant};
use serde_json::{Map, Value};
use std::cell::RefCell;
use std::collections::BTreeMap;

#[derive(Clone, Debug)]
struct Stored {
    namespace: String,
    values: Vec<f32>,
    metadata: Map<String, Value>,
}

#[derive(Clone, Debug)]
enum Mutation {
    Upsert(String, Stored),
    Delete(String),
}

#[derive(Debug, Default)]
struct State {
    visible: BTreeMap<String, Stored>,
    waiting: Vec<Mutation>,
    lag: bool,
}

/// Vectors in a map.
#[derive(Debug, Default)]
pub struct MemoryVectors {
    state: RefCell<State>,
}

impl MemoryVectors {
    /// From now on writes wait for [`Self::settle`].
    pub fn lag(&self) {
        self.state.borrow_mut().lag = true;
    }

    /// Makes all writes visible, and later ones at once.
    pub fn settle(&self) {
        let mut state = self.state.borrow_mut();
        state.lag = false;
        state.apply();
    }

    /// Ids of all visible vectors.
    pub fn ids(&self) -> Vec<String> {
        self.state.borrow().visible.keys().cloned().collect()
    }
}

impl State {
    fn write(&mut self, mutation: Mutation) {
        self.waiting.push(mutation);
        if !self.lag {
            self.apply();
        }
    }

    fn apply(&mut self) {
        for mutation in std::mem::take(&mut self.waiting) {
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
}

impl VectorIndex for MemoryVectors {
    async fn upsert(
        &self,
        _: &Tenant,
        namespace: &Namespace,
        entries: &[VectorEntry],
        values: &Embeddings,
    ) -> Result<()> {
        let mut state = self.state.borrow_mut();
        for (position, entry) in entries.iter().enumerate() {
            let stored = Stored {
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
        let state = self.state.borrow();
        let mut matches: Vec<VectorMatch> = state
            .visible
            .iter()
            .filter(|(_, stored)| stored.namespace == namespace.as_str())
            .filter(|(_, stored)| filter.is_none_or(|filter| filter.matches(&stored.metadata)))
            .map(|(id, stored)| VectorMatch {
                id: id.clone(),
                score: stored.values.iter().zip(vector).map(|(left, right)| left * right).sum(),
            })
            .collect();
        matches.sort_by(|left, right| right.score.total_cmp(&left.score));
        matches.truncate(top_k);
        Ok(matches)
    }

    async fn visible(&self, _: &Tenant, ids: &[String]) -> Result<Vec<String>> {
        let state = self.state.borrow();
        Ok(ids.iter().filter(|id| state.visible.contains_key(*id)).cloned().collect())
    }

    async fn delete(&self, _: &Tenant, ids: &[String]) -> Result<()> {
        let mut state = self.state.borrow_mut();
        ids.iter().for_each(|id| state.write(Mutation::Delete(id.clone())));
        Ok(())
    }
}
