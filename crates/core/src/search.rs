//! The first half of a question's life: embed and look up, hydrate, fuse, rerank.

mod rerank;
mod retrieve;

use crate::chunk::Section;
use crate::conversion::{self, Place, Rows};
use crate::document::{DocumentId, Metadata, ServedChunk};
use crate::filter::Filter;
use crate::fusion::fuse;
use crate::ports::{Clock, Ports};
use crate::settings::{Settings, within};
use crate::tokens::WordPiece;
use crate::{Error, Result, Tenant, language, models, prices};
use retrieve::Found;
use serde::{Deserialize, Serialize};
use serde_json::Value;
use std::collections::HashMap;

/// A query's longest text, in bytes.
pub const MAX_QUERY_BYTES: usize = 8 * 1024;
/// Hits a request may ask for at most.
pub const MAX_TOP_K: usize = 100;

/// Which legs look.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Mode {
    /// Both, fused.
    #[default]
    Hybrid,
    /// Vectorize alone.
    Vector,
    /// Keywords alone.
    Keyword,
}

/// A search, as the API takes it.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct SearchRequest {
    /// What is looked for; at most [`MAX_QUERY_BYTES`].
    pub query: String,
    /// Hits wanted, 1–100.
    #[serde(default = "default_top_k")]
    pub top_k: usize,
    /// Which legs look.
    #[serde(default)]
    pub mode: Mode,
    /// Whether the cross-encoder orders the best.
    #[serde(default = "yes")]
    pub rerank: bool,
    /// Vectorize's filter language over the declared fields.
    #[serde(default)]
    pub filter: Option<Value>,
    /// Hits below are left out, 0–1. Where a calibrated cross-encoder judged the hits, that is their
    /// [`relevance`](Scores::relevance), and what it did not see is left out, too: so "nothing relevant" can be said.
    /// Otherwise it is their [`score`](Hit::score), which orders the hits of one search, the best always near 1, and says
    /// nothing about whether a passage answers.
    #[serde(default)]
    pub min_score: Option<f32>,
}

impl SearchRequest {
    /// A search with the defaults.
    pub fn new(query: impl Into<String>) -> Self {
        Self {
            query: query.into(),
            top_k: default_top_k(),
            mode: Mode::default(),
            rerank: true,
            filter: None,
            min_score: None,
        }
    }
}

fn default_top_k() -> usize {
    10
}

fn yes() -> bool {
    true
}

/// How a hit came to its place.
#[derive(Clone, Copy, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct Scores {
    /// Cosine similarity.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub vector: Option<f32>,
    /// BM25.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub keyword: Option<f32>,
    /// Both legs, 0–1.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub fused: Option<f32>,
    /// The cross-encoder's own scale; of a passage too long for its window, that of the best part.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub rerank: Option<f32>,
    /// The probability that the passage answers the query, by the cross-encoder's calibration
    /// ([`crate::models::reranker`]); absent when it has none or did not see the passage.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub relevance: Option<f32>,
}

/// A passage found.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Hit {
    /// The chunk.
    pub chunk_id: String,
    /// Its document.
    pub document_id: DocumentId,
    /// The document's title.
    pub title: Option<String>,
    /// The chunk's text.
    pub text: String,
    /// First byte in the extracted text.
    pub start: u64,
    /// Byte after the last.
    pub end: u64,
    /// The page it begins on, where the format has pages.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub page: Option<u32>,
    /// The rows in it, where it is of a spreadsheet.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub rows: Option<Rows>,
    /// Heading path.
    pub headings: Vec<String>,
    /// The header of the table that it begins in, as two lines of Markdown.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub table_header: Option<String>,
    /// What begins in it under other headings.
    #[serde(skip)]
    pub sections: Vec<Section>,
    /// Pages and rows in it, counted from its first byte.
    #[serde(skip)]
    pub places: Vec<Place>,
    /// The document's metadata.
    pub metadata: Metadata,
    /// What the hits are ordered by, 0–1.
    pub score: f32,
    /// Where it comes from.
    pub scores: Scores,
}

/// Milliseconds of the stages that ran.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct Timings {
    /// Making one query out of a conversation.
    pub condense: u64,
    /// The query's embedding, and what the tenant's vectors are made with.
    pub embed: u64,
    /// The vector look-up, after `embed`.
    pub vectors: u64,
    /// The keyword look-up, beside both.
    pub keywords: u64,
    /// All of these legs, side by side.
    pub retrieve: u64,
    /// Reading the chunks, and looking again where vectors of documents gone stood in the way.
    pub hydrate: u64,
    /// The cross-encoder.
    pub rerank: u64,
    /// All.
    pub total: u64,
}

/// What a search used.
#[derive(Clone, Copy, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(default)]
pub struct SearchUsage {
    /// Tokens embedded, specials included.
    pub embedding_tokens: u64,
    /// Tokens the cross-encoder read (`WordPiece`): the query with every passage, specials left out.
    pub rerank_tokens: u64,
    /// Tokens read to make one query out of a conversation, as the model counts them.
    pub condense_prompt_tokens: u64,
    /// Tokens written for that.
    pub condense_completion_tokens: u64,
    /// What all of it costs, estimated with [`crate::prices`]; absent when the price of a model that was asked is not known.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub neurons: Option<f64>,
}

impl SearchUsage {
    /// Estimates the neurons of the tokens.
    pub fn priced(self, settings: &Settings) -> Self {
        let parts = [
            (Some(&settings.embedding.model), self.embedding_tokens, 0),
            (Some(&settings.search.rerank_model), self.rerank_tokens, 0),
            (
                settings.search.condense_model.as_ref(),
                self.condense_prompt_tokens,
                self.condense_completion_tokens,
            ),
        ];
        let asked = parts.into_iter().filter(|(_, read, written)| read + written > 0);
        let neurons =
            asked.map(|(model, read, written)| prices::neurons(model?, read, written)).sum::<Option<f64>>();
        Self { neurons, ..self }
    }
}

/// The reply to a search.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct SearchResponse {
    /// Best first.
    pub hits: Vec<Hit>,
    /// What it used.
    pub usage: SearchUsage,
    /// How long it took.
    pub timings_ms: Timings,
    /// Stages that failed and were done without.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub degraded: Vec<String>,
}

/// The search pipeline.
#[derive(Debug)]
pub struct Searcher<'a, P> {
    ports: &'a P,
    settings: &'a Settings,
}

impl<'a, P: Ports> Searcher<'a, P> {
    /// A pipeline over `ports`.
    pub fn new(ports: &'a P, settings: &'a Settings) -> Self {
        Self { ports, settings }
    }

    /// Finds passages.
    ///
    /// # Errors
    /// [`Error::Invalid`], [`Error::FieldNotDeclared`] for the request; [`Error::Fingerprint`]; a service error only
    /// when no leg is left.
    pub async fn search(&self, tenant: &Tenant, request: &SearchRequest) -> Result<SearchResponse> {
        let filter = self.check(request)?;
        let filter = filter.as_ref().filter(|filter| !filter.is_empty());
        let clock = self.ports.clock();
        let started = clock.now();
        let (mut usage, mut timings_ms) = (SearchUsage::default(), Timings::default());
        let mut degraded = Vec::new();

        let found =
            self.retrieve(tenant, request, filter, &mut usage, &mut timings_ms, &mut degraded).await?;
        let mut hits = self.fused(&request.query, &found);
        let retrieved = clock.now();
        if request.rerank {
            self.rerank(tenant, &request.query, &mut hits, &mut usage, &mut degraded).await;
        }
        let finished = clock.now();

        if let Some(least) = request.min_score {
            let judged = hits.iter().any(|hit| hit.scores.relevance.is_some());
            hits.retain(|hit| if judged { hit.scores.relevance.unwrap_or(0.0) } else { hit.score } >= least);
        }
        hits.truncate(request.top_k);
        timings_ms.rerank = finished.saturating_sub(retrieved);
        timings_ms.total = finished.saturating_sub(started);
        Ok(SearchResponse { hits, usage: usage.priced(self.settings), timings_ms, degraded })
    }

    fn check(&self, request: &SearchRequest) -> Result<Option<Filter>> {
        if request.query.trim().is_empty() {
            return Err(Error::invalid("query", "must not be empty"));
        }
        let bytes = request.query.len();
        if bytes > MAX_QUERY_BYTES {
            let message = format!("is {bytes} bytes long; allowed are {MAX_QUERY_BYTES}");
            return Err(Error::invalid("query", message));
        }
        within("top_k", request.top_k, 1..=MAX_TOP_K)?;
        if let Some(least) = request.min_score {
            within("min_score", least, 0.0..=1.0)?;
        }
        match &request.filter {
            None | Some(Value::Null) => Ok(None),
            Some(filter) => Filter::parse(filter, &self.settings.fields).map(Some),
        }
    }

    /// The served chunks with their fused score, best first.
    fn fused(&self, query: &str, found: &Found) -> Vec<Hit> {
        let Found { chunks, vectors, keywords } = found;
        let by_row: HashMap<i64, &ServedChunk> = chunks.iter().map(|chunk| (chunk.row, chunk)).collect();
        let by_vector: HashMap<&str, &ServedChunk> =
            chunks.iter().rev().map(|chunk| (chunk.vector.as_str(), chunk)).collect();
        // A vector shared by identical chunks stands for the row that the keyword leg found, if it found one.
        let keyword_rows: HashMap<&str, i64> = keywords
            .iter()
            .rev()
            .filter_map(|hit| by_row.get(&hit.row).map(|chunk| (chunk.vector.as_str(), hit.row)))
            .collect();
        let vector_leg: Vec<(i64, f32)> = vectors
            .iter()
            .filter_map(|hit| {
                let chunk = by_vector.get(hit.id.as_str())?;
                Some((keyword_rows.get(hit.id.as_str()).copied().unwrap_or(chunk.row), hit.score))
            })
            .collect();
        let keyword_leg: Vec<(i64, f32)> = keywords
            .iter()
            .filter(|hit| by_row.contains_key(&hit.row))
            .map(|hit| (hit.row, hit.score))
            .collect();
        let is_foreign = models::is_english(&self.settings.embedding.model) && language::is_foreign(query);
        let weight = match (vector_leg.is_empty(), keyword_leg.is_empty()) {
            (false, false) if is_foreign => self.settings.search.foreign_vector_weight,
            (false, false) => self.settings.search.vector_weight,
            (vectors_empty, _) => f32::from(!vectors_empty),
        };
        let vector_scores: HashMap<i64, f32> = vector_leg.iter().copied().collect();
        let keyword_scores: HashMap<i64, f32> = keyword_leg.iter().copied().collect();
        fuse(&vector_leg, &keyword_leg, weight, self.settings.search.candidates)
            .into_iter()
            .filter_map(|(row, score)| {
                let chunk = by_row.get(&row)?;
                Some(Hit {
                    chunk_id: chunk.id(),
                    document_id: chunk.document.clone(),
                    title: chunk.title.clone(),
                    text: chunk.text.clone(),
                    start: chunk.start,
                    end: chunk.end,
                    page: conversion::at(&chunk.places, 0).and_then(|place| place.page),
                    rows: Rows::of(&chunk.places),
                    headings: chunk.headings.clone(),
                    table_header: chunk.table_header.clone(),
                    sections: chunk.sections.clone(),
                    places: chunk.places.clone(),
                    metadata: chunk.metadata.clone(),
                    score,
                    scores: Scores {
                        vector: vector_scores.get(&row).copied(),
                        keyword: keyword_scores.get(&row).copied(),
                        fused: Some(score),
                        rerank: None,
                        relevance: None,
                    },
                })
            })
            .collect()
    }
}

/// As many of a text's first words as fit, by their `WordPiece` tokens and their bytes.
fn longest(text: &str, fits: impl Fn(usize, usize) -> bool) -> &str {
    let index = WordPiece::index(text);
    if fits(index.total(), text.len()) {
        return text;
    }
    let fits = |end: usize| fits(index.count(text, 0..end), end);
    let ends: Vec<usize> = text.char_indices().map(|(at, c)| at + c.len_utf8()).collect();
    // A growing piece of a word may also have fewer tokens than before: what the search finds is checked.
    let mut most = ends.partition_point(|end| fits(*end));
    while most > 0 && !fits(ends[most - 1]) {
        most -= 1;
    }
    let cut = most.checked_sub(1).map_or(0, |last| ends[last]);
    // At a word's end, unless words are so long, or not written apart, that it would cost half of the text.
    match text[..cut].rfind(char::is_whitespace) {
        Some(blank) if blank > cut / 2 => &text[..blank],
        _ => &text[..cut],
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn beginning(text: &str, limit: usize) -> &str {
        longest(text, |tokens, _| tokens <= limit)
    }

    #[test]
    fn a_long_query_loses_its_end_at_a_word() {
        let query = "lamp oil ".repeat(400);
        let kept = beginning(&query, 100);
        assert!(query.starts_with(kept) && WordPiece::count(kept) == 100);
        assert_eq!(beginning("short", 100), "short");
        let chinese = format!("请问：\n{}", "检索".repeat(100));
        assert!(beginning(&chinese, 100).chars().count() > 90);
        let word = "ab1".repeat(33);
        assert!(WordPiece::count(beginning(&word, 10)) <= 10);
    }
}
