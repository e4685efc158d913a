//! What the twin was asked, for tests to look at.

use std::collections::BTreeMap;
use std::sync::{Mutex, PoisonError};

use serde::Serialize;

/// Counters since the start or the last reset.
#[derive(Debug, Default)]
pub struct Stats {
    counts: Mutex<Counts>,
}

/// What `GET /control/stats` answers.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize)]
pub struct Counts {
    /// Calls of Workers AI, by operation, model and HTTP status; 499 when the connection was broken before the reply.
    pub ai: BTreeMap<String, BTreeMap<String, BTreeMap<u16, u64>>>,
    /// Calls of Vectorize, by operation and HTTP status.
    pub vectorize: BTreeMap<String, BTreeMap<u16, u64>>,
    /// Texts embedded.
    pub texts_embedded: u64,
    /// Pairs reranked.
    pub pairs_reranked: u64,
    /// Tokens of chat prompts, cached ones included.
    pub prompt_tokens: u64,
    /// Of those, tokens found in the cache.
    pub prompt_tokens_cached: u64,
    /// Tokens generated.
    pub tokens_generated: u64,
    /// Generations that ran to their end.
    pub generations_finished: u64,
    /// Generations stopped because the client had left.
    pub generations_cancelled: u64,
    /// Generations running or waiting now. Not touched by a reset.
    pub generations_active: u64,
}

impl Stats {
    /// Counts a call of Workers AI.
    pub fn ai(&self, op: &str, model: &str, status: u16) {
        self.change(|c| {
            let by_model = c.ai.entry(op.to_owned()).or_default().entry(model.to_owned()).or_default();
            *by_model.entry(status).or_default() += 1;
        });
    }

    /// Counts a call of Vectorize.
    pub fn vectorize(&self, op: &str, status: u16) {
        self.change(|c| *c.vectorize.entry(op.to_owned()).or_default().entry(status).or_default() += 1);
    }

    /// Changes counters.
    pub fn change(&self, change: impl FnOnce(&mut Counts)) {
        change(&mut self.counts.lock().unwrap_or_else(PoisonError::into_inner));
    }

    /// A copy of the counters.
    pub fn get(&self) -> Counts {
        self.counts.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }

    /// Sets all but the active generations to zero.
    pub fn reset(&self) {
        self.change(|c| *c = Counts { generations_active: c.generations_active, ..Counts::default() });
    }
}
