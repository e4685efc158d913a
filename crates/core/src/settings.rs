//! Configuration: plain structs with defaults, validated once at the edge.

use crate::chunk::ChunkSettings;
use crate::conversion;
use crate::document::Metadata;
use crate::identity::{Fingerprint, digest, short};
use crate::media::{AudioReader, ImageReader, Readers};
use crate::models::Calibration;
use crate::sources::validate_sources;
use crate::{Error, Result, Tenant};
use serde::{Deserialize, Serialize};
use std::ops::RangeInclusive;

/// Raised when chunker or keyword terms change, so that documents cut by the old rules are told from new ones.
const VERSION: &str = "4";

/// All settings of the pipelines.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Settings {
    /// How texts become vectors.
    pub embedding: EmbeddingSettings,
    /// How documents become chunks.
    pub chunk: ChunkSettings,
    /// How documents are taken in.
    pub ingest: IngestSettings,
    /// How passages are found.
    pub search: SearchSettings,
    /// How answers are made.
    pub answer: AnswerSettings,
    /// What a tenant may spend.
    pub limits: Limits,
    /// Metadata fields that filters may use.
    pub fields: Vec<Field>,
}

/// The embedding model and how it is called.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct EmbeddingSettings {
    /// Workers AI model name.
    pub model: String,
    /// `cls` or `mean`; the two are not compatible. BGE models are trained for `cls`.
    pub pooling: Pooling,
    /// Length of a vector.
    pub dimensions: usize,
    /// Put before a query, as the BGE v1.5 model card advises.
    pub query_prefix: String,
    /// Put before a document's text; none for BGE.
    pub document_prefix: String,
}

impl Default for EmbeddingSettings {
    fn default() -> Self {
        Self {
            model: "@cf/baai/bge-small-en-v1.5".into(),
            pooling: Pooling::Cls,
            dimensions: 384,
            query_prefix: "Represent this sentence for searching relevant passages: ".into(),
            document_prefix: String::new(),
        }
    }
}

impl EmbeddingSettings {
    /// What makes vectors of these settings comparable.
    pub fn fingerprint(&self) -> Fingerprint {
        Fingerprint::new(
            &self.model,
            self.pooling.as_str(),
            self.dimensions,
            &self.query_prefix,
            &self.document_prefix,
        )
    }
}

/// How token vectors become one.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Pooling {
    /// The first token's vector.
    Cls,
    /// Their mean; the platform's default.
    Mean,
}

impl Pooling {
    /// The name on the wire.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Cls => "cls",
            Self::Mean => "mean",
        }
    }
}

/// How documents are taken in.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct IngestSettings {
    /// Hand texts in to be embedded when there is room (Workers AI's asynchronous batches) instead of asking for vectors at
    /// once: for bulk loads that may take minutes to hours.
    pub batch_api: bool,
    /// What the database may take, in bytes (D1: 10 GB on the paid plan, 500 MB on the free one). Uploads are refused once a
    /// tenth of that is all that would be left.
    pub database_bytes: u64,
    /// Who reads images; nobody when absent.
    pub image: Option<ImageReader>,
    /// Who reads recordings; nobody when absent.
    pub audio: Option<AudioReader>,
    /// Formats that the AI binding's `toMarkdown` reads instead of the converter, of [`crate::media::MARKDOWN_FORMATS`]. It costs nothing.
    pub to_markdown: Vec<String>,
    /// Buckets whose objects are documents.
    pub sources: Vec<Source>,
    /// Minutes from the beginning of a source's sync to the next that begins by itself, at most 10,080 (a week); 0 for none.
    pub sync_minutes: u32,
}

impl IngestSettings {
    /// Who reads what the converter does not.
    pub fn readers(&self) -> Readers {
        Readers {
            image: self.image.clone(),
            audio: self.audio.clone(),
            to_markdown: self.to_markdown.clone(),
        }
    }
}

impl Default for IngestSettings {
    fn default() -> Self {
        Self {
            batch_api: false,
            database_bytes: 10_000_000_000,
            image: None,
            audio: None,
            to_markdown: Vec::new(),
            sources: Vec::new(),
            sync_minutes: 60,
        }
    }
}

/// A bucket, or a part of one, whose objects are a tenant's documents.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Source {
    /// What it is called in the API; its binding and prefix when absent.
    #[serde(default)]
    pub name: Option<String>,
    /// The ingest worker's R2 binding.
    #[serde(default = "source_binding")]
    pub binding: String,
    /// Only keys that begin so.
    #[serde(default)]
    pub prefix: String,
    /// Whose documents they are.
    pub tenant: Tenant,
    /// Patterns over whole keys, of which one must match; none for all. `*` stops at `/`, `**` does not; also `?`, `[a-z]`,
    /// `{a,b}`; upper and lower case differ.
    #[serde(default)]
    pub include: Vec<String>,
    /// Patterns of which none may match.
    #[serde(default)]
    pub exclude: Vec<String>,
    /// Put before the key to make a document's id.
    #[serde(default)]
    pub id_prefix: String,
    /// Metadata of every document; where its object says otherwise, this holds.
    #[serde(default)]
    pub metadata: Metadata,
}

fn source_binding() -> String {
    "SOURCE".into()
}

/// How passages are found.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct SearchSettings {
    /// Candidates asked of each leg, 1–100 (Vectorize's `topK`).
    pub candidates: usize,
    /// Weight of the vector leg in the fusion, 0–1; the keyword leg has the rest.
    pub vector_weight: f32,
    /// The same for a question in a language that the embedder has not learnt.
    pub foreign_vector_weight: f32,
    /// How long the vector leg may take, the query's embedding included, 1–60,000 ms. After that a hybrid search goes by
    /// keywords alone, and one by vectors fails.
    pub vector_timeout_ms: u32,
    /// Cross-encoder model.
    pub rerank_model: String,
    /// How many of the fused hits the cross-encoder sees, 0–100; 0 turns it off.
    pub rerank_candidates: usize,
    /// Weight of the cross-encoder's probability against the fused score, 0–1; half of it for a model without a calibration.
    /// With 0 it tells relevance only and orders nothing.
    pub rerank_weight: f32,
    /// Whether the cross-encoder reads title and headings before the passage.
    pub rerank_headings: bool,
    /// From its logits to the probability that a passage answers; by [`crate::models`] when absent. A model that has none
    /// ranks with half the weight and tells no relevance.
    pub rerank_calibration: Option<Calibration>,
    /// How long the cross-encoder may take, 1–60,000 ms; after that the fused order stands.
    pub rerank_timeout_ms: u32,
    /// Chat model that makes one query out of a follow-up question and the conversation before it; `null` turns that off.
    pub condense_model: Option<String>,
    /// How long that may take, 1–60,000 ms; after that the question itself is the query.
    pub condense_timeout_ms: u32,
}

impl Default for SearchSettings {
    fn default() -> Self {
        Self {
            candidates: 100,
            vector_weight: 0.45,
            foreign_vector_weight: 0.2,
            vector_timeout_ms: 10_000,
            rerank_model: "@cf/baai/bge-reranker-base".into(),
            rerank_candidates: 20,
            rerank_weight: 0.2,
            rerank_headings: false,
            rerank_calibration: None,
            rerank_timeout_ms: 2000,
            // Costs per token what the 3B model costs (prices of 2026-08-28), and needs no second licence.
            condense_model: Some("@cf/meta/llama-3.1-8b-instruct-fp8-fast".into()),
            condense_timeout_ms: 2000,
        }
    }
}

/// A chat service with `OpenAI`'s interface: another provider, or a model server of one's own. Its key is a secret of the
/// worker, not a setting.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct External {
    /// What `/chat/completions` is put behind, `https://api.example/v1`; `http` for a server on this machine.
    pub url: String,
    /// The model's name there. In requests and replies of ours it is the name that stands here.
    pub model: String,
    /// Tokens of prompt and answer together that it takes.
    pub window: usize,
}

/// A question and how it is to be answered.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Example {
    /// The question.
    pub question: String,
    /// The answer.
    pub answer: String,
}

/// AI Gateway in front of the chat models of Workers AI.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct GatewaySettings {
    /// Its name.
    pub id: String,
    /// How long it keeps an answer, in seconds; not at all when absent. The key of a kept answer is the tenant and all of the
    /// prompt, sources included, so that it is neither another tenant's nor of a document's former text.
    #[serde(default)]
    pub cache_ttl: Option<u32>,
    /// Whether it logs calls; by its own settings when absent.
    #[serde(default)]
    pub collect_log: Option<bool>,
}

/// How answers are made.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct AnswerSettings {
    /// Chat model.
    pub model: String,
    /// Chat model to use when the first is out of service.
    pub fallback_model: String,
    /// Further models that a request may name.
    pub models: Vec<String>,
    /// Fine-tunes (`LoRA`) that a request may name.
    pub loras: Vec<String>,
    /// A service of another kind that answers when neither of the first two does.
    pub external: Option<External>,
    /// How long a model may say nothing, 100–300,000 ms: before its first word, with all tries, and between words. The next one
    /// is asked then, or the answer ends.
    pub timeout_ms: u32,
    /// Whether passages are quoted when no model answers.
    pub quote: bool,
    /// AI Gateway.
    pub gateway: Option<GatewaySettings>,
    /// How long the answer to a question is given again to the same question of the same tenant, in seconds, as long as none
    /// of its documents changes; 0 for never.
    pub cache_seconds: u32,
    /// Tokens of prompt and answer together that the model takes; by [`crate::models`] when absent.
    pub window: Option<usize>,
    /// Tokens of sources put into the prompt at most (`cl100k_base`).
    pub context_tokens: usize,
    /// Answer room when the request does not say.
    pub max_tokens: u32,
    /// The largest answer room a request may ask for.
    pub max_tokens_limit: u32,
    /// Sampling temperature when the request does not say.
    pub temperature: f32,
    /// Sources searched for when the request does not say.
    pub top_k: usize,
    /// When no hit's calibrated relevance ([`Scores::relevance`](crate::search::Scores::relevance)) is as high, 0–1, the
    /// answer is "not found", without a model. 0 turns that off; so does a reranker without a calibration, and one that
    /// failed. docs/evaluation.md has how many questions the default refuses rightly and wrongly.
    pub min_relevance: f32,
    /// Instructions put before everything else.
    pub system_prompt: String,
    /// Put before every conversation, to show how it is done.
    pub examples: Vec<Example>,
}

impl AnswerSettings {
    /// The chat models that a request may name, the default first.
    pub fn allowed(&self) -> Vec<&str> {
        let mut names: Vec<&str> = Vec::new();
        let further = self.models.iter().chain(self.external.as_ref().map(|external| &external.model));
        for name in [&self.model, &self.fallback_model].into_iter().chain(further) {
            if !names.contains(&name.as_str()) {
                names.push(name);
            }
        }
        names
    }

    /// Tokens of prompt and answer together that a model takes.
    pub fn window_of(&self, model: &str) -> usize {
        match &self.external {
            Some(external) if external.model == model => external.window,
            _ => self.window.unwrap_or_else(|| crate::models::window(model)),
        }
    }
}

impl Default for AnswerSettings {
    fn default() -> Self {
        Self {
            model: "@cf/meta/llama-3.3-70b-instruct-fp8-fast".into(),
            fallback_model: "@cf/meta/llama-3.1-8b-instruct-fp8-fast".into(),
            models: Vec::new(),
            loras: Vec::new(),
            external: None,
            timeout_ms: 30_000,
            quote: true,
            gateway: None,
            cache_seconds: 0,
            window: None,
            context_tokens: 3000,
            max_tokens: 512,
            max_tokens_limit: 4096,
            temperature: 0.2,
            top_k: 10,
            min_relevance: 0.02,
            system_prompt: crate::prompt::SYSTEM.into(),
            examples: Vec::new(),
        }
    }
}

/// What searches and answers may cost, in neurons by [`crate::prices`] and in tokens of chat models; a model without a known
/// price costs no neurons here. Of uploads, what models see in images and hear in recordings is counted.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Limits {
    /// The most that one answer may cost, its whole answer room counted.
    pub neurons_per_request: Option<f64>,
    /// The most that a tenant may spend in a day (UTC).
    pub neurons_per_day: Option<f64>,
    /// The most tokens that one answer's prompt and answer room may have together.
    pub tokens_per_request: Option<u64>,
    /// The most tokens that a tenant's answers may read and write in a day (UTC).
    pub tokens_per_day: Option<u64>,
}

/// The type of a declared metadata field.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum FieldType {
    /// Text; Vectorize compares its first 64 bytes, D1 all of it.
    String,
    /// A number.
    Number,
    /// True or false.
    Boolean,
}

/// A metadata field that filters may use. Needs a metadata index in Vectorize *before* the first vector is written.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Field {
    /// Key in the metadata object.
    pub name: String,
    /// Its values' type.
    pub r#type: FieldType,
}

impl Settings {
    /// The most metadata fields one can declare: Vectorize has 10 metadata indexes, Ragflare uses one itself.
    pub const MAX_FIELDS: usize = 8;

    /// # Errors
    /// [`Error::Invalid`] naming the field, the value and the allowed range.
    pub fn validate(&self) -> Result<()> {
        self.chunk.validate()?;
        self.ingest.readers().validate()?;
        within("embedding.dimensions", self.embedding.dimensions, 1..=1536)?;
        within("search.candidates", self.search.candidates, 1..=100)?;
        within("search.rerank_candidates", self.search.rerank_candidates, 0..=100)?;
        within("search.vector_weight", self.search.vector_weight, 0.0..=1.0)?;
        within("search.foreign_vector_weight", self.search.foreign_vector_weight, 0.0..=1.0)?;
        within("search.rerank_weight", self.search.rerank_weight, 0.0..=1.0)?;
        within("search.vector_timeout_ms", self.search.vector_timeout_ms, 1..=60_000)?;
        within("search.rerank_timeout_ms", self.search.rerank_timeout_ms, 1..=60_000)?;
        within("search.condense_timeout_ms", self.search.condense_timeout_ms, 1..=60_000)?;
        if let Some(external) = &self.answer.external {
            let is_url = ["https://", "http://"].iter().any(|scheme| external.url.starts_with(scheme));
            if !is_url || external.model.is_empty() {
                return Err(Error::invalid("answer.external", "needs a `url` with https:// and a `model`"));
            }
        }
        for (name, limit) in [
            ("limits.neurons_per_request", self.limits.neurons_per_request),
            ("limits.neurons_per_day", self.limits.neurons_per_day),
        ] {
            if limit.is_some_and(|limit| !(limit > 0.0 && limit.is_finite())) {
                return Err(Error::invalid(name, "must be more than 0"));
            }
        }
        for (name, limit) in [
            ("limits.tokens_per_request", self.limits.tokens_per_request),
            ("limits.tokens_per_day", self.limits.tokens_per_day),
        ] {
            if limit == Some(0) {
                return Err(Error::invalid(name, "must be more than 0"));
            }
        }
        if self.answer.gateway.as_ref().is_some_and(|gateway| gateway.id.is_empty()) {
            return Err(Error::invalid("answer.gateway", "needs an `id`"));
        }
        within("answer.timeout_ms", self.answer.timeout_ms, 100..=300_000)?;
        within("answer.cache_seconds", self.answer.cache_seconds, 0..=30 * 86_400)?;
        within("answer.min_relevance", self.answer.min_relevance, 0.0..=1.0)?;
        within("answer.max_tokens_limit", self.answer.max_tokens_limit, 1..=16_384)?;
        within("answer.max_tokens", self.answer.max_tokens, 1..=self.answer.max_tokens_limit)?;
        within("answer.context_tokens", self.answer.context_tokens, 100..=100_000)?;
        within("answer.top_k", self.answer.top_k, 1..=50)?;
        within("answer.temperature", self.answer.temperature, 0.0..=5.0)?;
        within("fields (their number)", self.fields.len(), 0..=Self::MAX_FIELDS)?;
        for (position, field) in self.fields.iter().enumerate() {
            let name = &field.name;
            let plain = |byte: u8| byte.is_ascii_alphanumeric() || byte == b'_';
            if name.is_empty() || name.len() > 64 || !name.bytes().all(plain) {
                return Err(Error::invalid(
                    "fields",
                    format!("`{name}` must be 1 to 64 characters of A-Z a-z 0-9 _"),
                ));
            }
            if name == crate::ports::DOCUMENT_FIELD
                || self.fields[..position].iter().any(|other| other.name == *name)
            {
                return Err(Error::invalid("fields", format!("`{name}` is taken")));
            }
        }
        within("ingest.sync_minutes", self.ingest.sync_minutes, 0..=10_080)?;
        validate_sources(&self.ingest.sources, &self.fields)
    }

    /// Hash of everything but the embedding that shapes chunks and what vectors carry: when it changes, the same bytes are
    /// processed again.
    pub fn ingest_hash(&self) -> String {
        let chunk = serde_json::to_string(&self.chunk).unwrap_or_default();
        let fields = serde_json::to_string(&self.fields).unwrap_or_default();
        let converter = conversion::VERSION.to_string();
        short(&digest(&[VERSION.as_bytes(), converter.as_bytes(), chunk.as_bytes(), fields.as_bytes()]), 12)
    }
}

/// # Errors
/// [`Error::Invalid`] naming the field, the value and the allowed range.
pub(crate) fn within<N: PartialOrd + std::fmt::Display>(
    field: &str,
    value: N,
    range: RangeInclusive<N>,
) -> Result<()> {
    if range.contains(&value) {
        return Ok(());
    }
    Err(Error::invalid(field, format!("is {value}; allowed are {} to {}", range.start(), range.end())))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_defaults_are_valid() {
        Settings::default().validate().unwrap();
    }

    #[test]
    fn an_error_names_field_value_and_range() {
        let mut settings = Settings::default();
        settings.search.candidates = 101;
        let message = settings.validate().unwrap_err().to_string();
        assert_eq!(message, "search.candidates: is 101; allowed are 1 to 100");
    }

    #[test]
    fn the_ingest_hash_ignores_what_does_not_shape_chunks() {
        let base = Settings::default();
        let mut other = base.clone();
        other.answer.max_tokens = 99;
        assert_eq!(base.ingest_hash(), other.ingest_hash());
        other.chunk.target = 128;
        assert_ne!(base.ingest_hash(), other.ingest_hash());
    }
}
