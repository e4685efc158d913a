//! What answers the questions: the pipelines in this process, or a deployment.

pub(crate) mod cache;
pub(crate) mod http;
mod keywords;
pub(crate) mod models;
pub(crate) mod native;
mod ports;

use anyhow::Result;
use ragflare_core::search::{SearchRequest, SearchResponse};
use serde::Serialize;

use crate::config::Config;
use crate::sets::Set;
use crate::spans::Span;

/// Stages as [`Timings`](ragflare_core::search::Timings) names them, in the order they come.
pub(crate) const STAGES: [&str; 7] =
    ["embed", "vectors", "keywords", "retrieve", "hydrate", "rerank", "total"];

/// Milliseconds of [`STAGES`].
pub(crate) type Stages = [f64; STAGES.len()];

/// The stages of a reply, to the millisecond; those it does not name are 0.
fn stages(response: &SearchResponse) -> Stages {
    let timings = serde_json::to_value(response.timings_ms).unwrap_or_default();
    STAGES.map(|stage| timings[stage].as_f64().unwrap_or(0.0))
}

/// What an index holds.
#[derive(Clone, Copy, Debug, Default, PartialEq, Serialize)]
pub(crate) struct Indexed {
    /// Documents.
    pub documents: usize,
    /// Chunks of them.
    pub chunks: usize,
    /// Their tokens, in the embedding model's vocabulary.
    pub tokens: u64,
}

/// A search's reply and its times.
#[derive(Debug)]
pub(crate) struct Reply {
    /// As the API gives it.
    pub response: SearchResponse,
    /// Its stages.
    pub stages: Stages,
}

/// Answers questions about a set.
pub(crate) trait Engine {
    /// What it is, for reports.
    fn describe(&self) -> String;
    /// Whether all settings can be chosen, not only those of a request.
    fn takes_settings(&self) -> bool;
    /// Makes a set's documents findable with a configuration's settings. What is already so costs nothing.
    fn index(&mut self, set: &Set, config: &Config) -> Result<Indexed>;
    /// Asks.
    fn search(&mut self, config: &Config, request: &SearchRequest) -> Result<Reply>;
    /// All chunks of the indexed set, as ranges of characters.
    fn chunks(&mut self, set: &Set) -> Result<Vec<Span>>;
}
