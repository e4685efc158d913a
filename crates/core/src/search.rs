//! The first half of a question's life: embed and look up, fuse, hydrate, rerank.

use crate::document::{DocumentId, Metadata, ServedChunk};
use crate::filter::Filter;
use crate::fusion::{fuse, normalised};
use crate::identity::Namespace;
use crate::keyword;
use crate::ports::{
    Clock, DocumentStore, Embedder, KeywordIndex, KeywordMatch, Ports, Reranker, VectorIndex, VectorMatch,
};
use crate::settings::{Settings, within};
use crate::tokens::WordPiece;
use crate::tokens::wordpiece::{MAX_TOKENS, SPECIALS};
use crate::{Error, Result, Tenant};
use serde::{Deserialize, Serialize};
use serde_json::Value;
use std::collections::HashMap;

/// A query's longest text, in bytes.
pub const MAX_QUERY_BYTES: usize = 8 * 1024;
/// Hits a request may ask for at most.
pub const MAX_TOP_K: usize = 100;

/// Tokens of a query that the cross-encoder sees, so that a passage of the default size fits beside it into its window
/// of 512. Its own vocabulary differs from the one counted in; what does not fit, it cuts from the passage's end.
const RERANK_QUERY_TOKENS: usize = 128;

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
    /// Hits scored lower are left out; scores are 0–1.
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
    /// The cross-encoder's own scale.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub rerank: Option<f32>,
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
    /// Page, where the format has pages.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub page: Option<u32>,
    /// Heading path.
    pub headings: Vec<String>,
    /// The document's metadata.
    pub metadata: Metadata,
    /// What the hits are ordered by, 0–1.
    pub score: f32,
    /// Where it comes from.
    pub scores: Scores,
}

/// Milliseconds of the stages that ran.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Timings {
    /// Embedding, vector and keyword look-up, side by side.
    pub retrieve: u64,
    /// Reading the chunks.
    pub hydrate: u64,
    /// The cross-encoder.
    pub rerank: u64,
    /// All.
    pub total: u64,
}

/// What a search used.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct SearchUsage {
    /// Tokens embedded, specials included.
    pub embedding_tokens: u64,
    /// Tokens the cross-encoder read, specials left out.
    pub rerank_tokens: u64,
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
        let mut usage = SearchUsage::default();
        let mut degraded = Vec::new();

        let terms = keyword::query_terms(&request.query);
        let prefix = WordPiece::count(&self.settings.embedding.query_prefix);
        let embedded = beginning(&request.query, MAX_TOKENS - SPECIALS - prefix.min(MAX_TOKENS / 2));
        if embedded.len() < request.query.len() && request.mode != Mode::Keyword {
            degraded.push("query_truncated".to_owned());
        }
        let (vectors, keywords) = futures::join!(
            self.vector_leg(tenant, request, embedded, filter, &mut usage),
            self.keyword_leg(tenant, request, &terms, filter)
        );
        let (vectors, keywords) = match (vectors, keywords) {
            (Ok(vectors), Ok(keywords)) => (vectors, keywords),
            (Err(error @ (Error::Fingerprint { .. } | Error::Invalid { .. })), _) => return Err(error),
            (Err(_), Ok(keywords)) if request.mode == Mode::Hybrid => {
                degraded.push("vector".to_owned());
                (Vec::new(), keywords)
            }
            (Ok(vectors), Err(_)) if request.mode == Mode::Hybrid => {
                degraded.push("keyword".to_owned());
                (vectors, Vec::new())
            }
            (Err(error), _) | (_, Err(error)) => return Err(error),
        };
        let retrieved = clock.now();

        let ids: Vec<String> = vectors.iter().map(|hit| hit.id.clone()).collect();
        let rows: Vec<i64> = keywords.iter().map(|hit| hit.row).collect();
        let mut chunks = if ids.is_empty() && rows.is_empty() {
            Vec::new()
        } else {
            self.ports.documents().hydrate(tenant, &ids, &rows).await?
        };
        // Vectorize matches strings by 64 bytes and lags behind: the row decides.
        chunks.retain(|chunk| filter.is_none_or(|filter| filter.matches(&chunk.metadata)));
        let mut hits = self.fused(&chunks, &vectors, &keywords);
        let hydrated = clock.now();

        let judged = beginning(&request.query, RERANK_QUERY_TOKENS);
        if request.rerank && judged.len() < request.query.len() {
            degraded.push("rerank_query_truncated".to_owned());
        }
        if request.rerank && self.rerank(tenant, judged, &mut hits, &mut usage).await.is_err() {
            degraded.push("rerank".to_owned());
        }
        let finished = clock.now();

        hits.retain(|hit| request.min_score.is_none_or(|least| hit.score >= least));
        hits.truncate(request.top_k);
        let timings_ms = Timings {
            retrieve: retrieved.saturating_sub(started),
            hydrate: hydrated.saturating_sub(retrieved),
            rerank: finished.saturating_sub(hydrated),
            total: finished.saturating_sub(started),
        };
        Ok(SearchResponse { hits, usage, timings_ms, degraded })
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

    async fn vector_leg(
        &self,
        tenant: &Tenant,
        request: &SearchRequest,
        query: &str,
        filter: Option<&Filter>,
        usage: &mut SearchUsage,
    ) -> Result<Vec<VectorMatch>> {
        if request.mode == Mode::Keyword {
            return Ok(Vec::new());
        }
        let (configured, embedder) = (&self.settings.embedding, self.ports.embedder());
        let (state, vector) = futures::join!(
            self.ports.documents().tenant(tenant),
            embedder.embed_query(tenant, configured, query)
        );
        // Until a re-index to the configured embedding is complete, the stored vectors are of another one.
        let other = state?.embedding.filter(|stored| stored.fingerprint() != configured.fingerprint());
        let (embedding, vector) = match &other {
            Some(stored) => (stored, embedder.embed_query(tenant, stored, query).await?),
            None => (configured, vector?),
        };
        usage.embedding_tokens = embedding_tokens(query);
        let namespace = Namespace::new(tenant, &embedding.fingerprint());
        let candidates = self.settings.search.candidates.max(request.top_k).min(100);
        self.ports.vectors().query(tenant, &namespace, &vector, candidates, filter).await
    }

    async fn keyword_leg(
        &self,
        tenant: &Tenant,
        request: &SearchRequest,
        terms: &[String],
        filter: Option<&Filter>,
    ) -> Result<Vec<KeywordMatch>> {
        if request.mode == Mode::Vector || terms.is_empty() {
            return Ok(Vec::new());
        }
        let candidates = self.settings.search.candidates.max(request.top_k);
        self.ports.keywords().search(tenant, terms, filter, candidates).await
    }

    /// The served chunks with their fused score, best first.
    fn fused(&self, chunks: &[ServedChunk], vectors: &[VectorMatch], keywords: &[KeywordMatch]) -> Vec<Hit> {
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
        let weight = match (vector_leg.is_empty(), keyword_leg.is_empty()) {
            (false, false) => self.settings.search.vector_weight,
            (vectors_empty, _) => f32::from(!vectors_empty),
        };
        let vector_scores: HashMap<i64, f32> = vector_leg.iter().copied().collect();
        let keyword_scores: HashMap<i64, f32> = keyword_leg.iter().copied().collect();
        fuse(&vector_leg, &keyword_leg, weight)
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
                    page: chunk.page,
                    headings: chunk.headings.clone(),
                    metadata: chunk.metadata.clone(),
                    score,
                    scores: Scores {
                        vector: vector_scores.get(&row).copied(),
                        keyword: keyword_scores.get(&row).copied(),
                        fused: Some(score),
                        rerank: None,
                    },
                })
            })
            .collect()
    }

    /// Blends the cross-encoder's opinion of the best hits into their order; obeyed alone it makes rankings worse.
    async fn rerank(
        &self,
        tenant: &Tenant,
        query: &str,
        hits: &mut [Hit],
        usage: &mut SearchUsage,
    ) -> Result<()> {
        let weight = self.settings.search.rerank_weight;
        let seen = hits.len().min(self.settings.search.rerank_candidates);
        if seen < 2 || weight == 0.0 {
            return Ok(());
        }
        let passages: Vec<&str> = hits[..seen].iter().map(|hit| hit.text.as_str()).collect();
        let scores = self.ports.reranker().rerank(tenant, query, &passages).await?;
        usage.rerank_tokens = passages.iter().map(|passage| embedding_tokens(passage)).sum();
        // The window keeps its place above the rest: its scores move between its own best and worst only.
        let high = hits[0].score;
        let low = hits[seen - 1].score;
        let fused = normalised(&hits[..seen].iter().map(|hit| hit.score).collect::<Vec<_>>());
        for (((hit, raw), own), judged) in hits.iter_mut().zip(&scores).zip(fused).zip(normalised(&scores)) {
            hit.scores.rerank = Some(*raw);
            hit.score = low + (high - low) * ((1.0 - weight) * own + weight * judged);
        }
        hits[..seen].sort_by(|left, right| right.score.total_cmp(&left.score));
        Ok(())
    }
}

/// As many of a text's first words as have at most `limit` tokens.
fn beginning(text: &str, limit: usize) -> &str {
    let index = WordPiece::index(text);
    if index.total() <= limit {
        return text;
    }
    let fits = |end: usize| index.count(text, 0..end) <= limit;
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

fn embedding_tokens(text: &str) -> u64 {
    (WordPiece::count(text) + SPECIALS) as u64
}

#[cfg(test)]
mod tests {
    use super::*;

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
