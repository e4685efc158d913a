//! What the twin was asked, for tests to look at.

use std::collections::{BTreeMap, VecDeque};
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use serde::Serialize;
use serde_json::Value;

use crate::ai::inputs::Prompt;
use crate::faults::Call;

/// Chat prompts that are kept, the newest.
const PROMPTS: usize = 64;

/// Counters since the start or the last reset.
#[derive(Debug, Default)]
pub struct Stats {
    counts: Mutex<Counts>,
    embedding: Mutex<Embedding>,
    prompts: Mutex<VecDeque<Asked>>,
}

/// What a chat model was asked.
#[derive(Debug, Clone, PartialEq)]
pub struct Asked {
    /// The conversation.
    pub prompt: Prompt,
    /// The rest of the request: `service`, `model`, `inputs` without the conversation, `options`, and the header
    /// `x-session-affinity` as `session`.
    pub request: Value,
}

/// The time during which at least one embedding runs.
#[derive(Debug, Default)]
struct Embedding {
    running: usize,
    since: Option<Instant>,
    spent: Duration,
}

impl Embedding {
    fn spent(&self) -> Duration {
        self.spent + self.since.map_or(Duration::ZERO, |since| since.elapsed())
    }
}

/// An embedding that runs as long as this exists.
#[derive(Debug)]
pub struct EmbeddingRuns<'s>(&'s Stats);

impl Drop for EmbeddingRuns<'_> {
    fn drop(&mut self) {
        let mut embedding = self.0.embedding();
        embedding.running -= 1;
        if embedding.running == 0 {
            embedding.spent = embedding.spent();
            embedding.since = None;
        }
    }
}

/// What `GET /control/stats` answers.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize)]
pub struct Counts {
    /// Calls of Workers AI, by operation, model and HTTP status; 499 when the connection was broken before
    /// the end of the reply.
    pub ai: BTreeMap<String, BTreeMap<String, BTreeMap<u16, u64>>>,
    /// Calls of the chat service with `OpenAI`'s interface, by model and HTTP status; 499 as above.
    pub external: BTreeMap<String, BTreeMap<u16, u64>>,
    /// Calls that AI Gateway answered out of its cache; they are in no other count.
    pub gateway_hits: u64,
    /// Calls of Vectorize, by operation and HTTP status; 499 as above.
    pub vectorize: BTreeMap<String, BTreeMap<u16, u64>>,
    /// Injected faults, by service, operation and action (`error 3040`, `cut_reply`, …).
    pub faults: BTreeMap<String, BTreeMap<String, BTreeMap<String, u64>>>,
    /// Texts embedded, by plain calls and in batches, whatever became of the reply.
    pub texts_embedded: u64,
    /// Texts handed in to be embedded in asynchronous batches.
    pub texts_queued: u64,
    /// Time during which the twin was embedding, in milliseconds.
    pub embedding_ms: u64,
    /// Vectors of the inserts and upserts that were carried out, whatever became of the reply.
    pub vectors_upserted: u64,
    /// Ids of the deletes that were carried out, known ones or not.
    pub ids_deleted: u64,
    /// Ids that `getByIds` was asked for.
    pub ids_fetched: u64,
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

    /// Counts a call of the service with `OpenAI`'s interface.
    pub fn external(&self, model: &str, status: u16) {
        self.change(|c| *c.external.entry(model.to_owned()).or_default().entry(status).or_default() += 1);
    }

    /// Counts a call of Vectorize.
    pub fn vectorize(&self, op: &str, status: u16) {
        self.change(|c| *c.vectorize.entry(op.to_owned()).or_default().entry(status).or_default() += 1);
    }

    /// Counts what is done to a call.
    pub fn faults(&self, call: &Call<'_>, actions: &[String]) {
        if actions.is_empty() {
            return;
        }
        self.change(|c| {
            let by_op = c.faults.entry(call.service.name().to_owned()).or_default();
            let by_action = by_op.entry(call.op.to_owned()).or_default();
            for action in actions {
                *by_action.entry(action.clone()).or_default() += 1;
            }
        });
    }

    /// An embedding begins; it ends when the result is dropped.
    pub fn embedding_runs(&self) -> EmbeddingRuns<'_> {
        let mut embedding = self.embedding();
        embedding.running += 1;
        embedding.since.get_or_insert_with(Instant::now);
        drop(embedding);
        EmbeddingRuns(self)
    }

    /// Keeps what a chat model was asked.
    pub fn asked(&self, asked: Asked) {
        let mut prompts = self.prompts.lock().unwrap_or_else(PoisonError::into_inner);
        prompts.push_back(asked);
        let surplus = prompts.len().saturating_sub(PROMPTS);
        prompts.drain(..surplus);
    }

    /// What chat models were asked, oldest first; at most the last 64.
    pub fn prompts(&self) -> Vec<Asked> {
        self.prompts.lock().unwrap_or_else(PoisonError::into_inner).iter().cloned().collect()
    }

    /// Changes counters.
    pub fn change(&self, change: impl FnOnce(&mut Counts)) {
        change(&mut self.counts.lock().unwrap_or_else(PoisonError::into_inner));
    }

    /// A copy of the counters.
    pub fn get(&self) -> Counts {
        let counts = self.counts.lock().unwrap_or_else(PoisonError::into_inner).clone();
        Counts { embedding_ms: self.embedding().spent().as_millis() as u64, ..counts }
    }

    /// Sets all but the active generations to zero.
    pub fn reset(&self) {
        self.change(|c| *c = Counts { generations_active: c.generations_active, ..Counts::default() });
        self.prompts.lock().unwrap_or_else(PoisonError::into_inner).clear();
        let mut embedding = self.embedding();
        embedding.spent = Duration::ZERO;
        embedding.since = embedding.since.map(|_| Instant::now());
    }

    fn embedding(&self) -> MutexGuard<'_, Embedding> {
        self.embedding.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::faults::Service;

    #[test]
    fn embeddings_side_by_side_count_their_time_once() {
        let stats = Stats::default();
        let started = Instant::now();
        let (first, second) = (stats.embedding_runs(), stats.embedding_runs());
        std::thread::sleep(Duration::from_millis(20));
        drop(first);
        let halfway = stats.get().embedding_ms;
        drop(second);
        let spent = stats.get().embedding_ms;
        assert!((20..=started.elapsed().as_millis() as u64).contains(&spent), "{spent}");
        assert!((20..=spent).contains(&halfway), "{halfway}");
        std::thread::sleep(Duration::from_millis(5));
        assert_eq!(stats.get().embedding_ms, spent);
        stats.reset();
        assert_eq!(stats.get(), Counts::default());
    }

    #[test]
    fn faults_are_counted_by_what_they_do() {
        let stats = Stats::default();
        let call = Call { service: Service::Vectorize, op: "upsert", model: None, body: b"" };
        stats.faults(&call, &[]);
        assert!(stats.get().faults.is_empty());
        stats.faults(&call, &["delay_ms".to_owned(), "error 40041".to_owned()]);
        stats.faults(&call, &["delay_ms".to_owned()]);
        let upserts = &stats.get().faults["vectorize"]["upsert"];
        assert_eq!((upserts["delay_ms"], upserts["error 40041"]), (2, 1));
    }
}
