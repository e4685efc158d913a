//! What the pipelines need of the world. One trait per service, static dispatch, no `Send` bound so that wasm futures
//! fit. Every call names its tenant. `ragflare-cloudflare` implements them over bindings, `testing` in memory;
//! `testing::contract` checks both.

mod converter;
mod documents;
mod generation;
mod jobs;
mod objects;
mod sources;

pub use converter::{Converter, Original};
pub use documents::{
    DocumentStore, Flip, Garbage, ListQuery, Outdated, Overdue, Part, PlannedPart, Progress, Reusable, Span,
    TenantState, Ticket, Work,
};
pub use generation::{
    Called, Finish, Format, Function, Gateway, Generated, Message, Prompt, Role, Sampling, TextGenerator,
    Tool, ToolCall, Usage,
};
pub use jobs::{Job, JobQueue};
pub use objects::{ObjectEntry, ObjectStore};
pub use sources::{
    ANOTHERS, Copied, Head, Holder, Known, Listed, Noted, ObjectState, Page, Row, SourceBuckets, SourcePorts,
    SourceTable, Sync, SyncState,
};

use crate::document::Millis;
use crate::filter::Filter;
use crate::identity::Namespace;
use crate::settings::EmbeddingSettings;
use crate::{Result, Tenant};
use futures::future::{Either, select};
use serde_json::Value;
use std::pin::pin;

/// Vector metadata key with [`crate::identity::document_tag`], so that a query can leave documents out.
pub const DOCUMENT_FIELD: &str = "document";

/// All ports of one deployment.
pub trait Ports {
    /// Texts to vectors.
    type Embedder: Embedder;
    /// Nearest vectors.
    type Vectors: VectorIndex;
    /// Best keyword matches.
    type Keywords: KeywordIndex;
    /// Passages scored against a query.
    type Reranker: Reranker;
    /// The chat model.
    type Generator: TextGenerator;
    /// Documents, generations, parts, chunks and the vector ledger.
    type Documents: DocumentStore;
    /// Originals.
    type Objects: ObjectStore;
    /// Originals that are no text, as text.
    type Converter: Converter;
    /// Work to be done later.
    type Jobs: JobQueue;
    /// The time.
    type Clock: Clock;

    /// Texts to vectors.
    fn embedder(&self) -> &Self::Embedder;
    /// Nearest vectors.
    fn vectors(&self) -> &Self::Vectors;
    /// Best keyword matches.
    fn keywords(&self) -> &Self::Keywords;
    /// Passages scored against a query.
    fn reranker(&self) -> &Self::Reranker;
    /// The chat model.
    fn generator(&self) -> &Self::Generator;
    /// Documents and the vector ledger.
    fn documents(&self) -> &Self::Documents;
    /// Originals.
    fn objects(&self) -> &Self::Objects;
    /// Originals that are no text, as text.
    fn converter(&self) -> &Self::Converter;
    /// Work to be done later.
    fn jobs(&self) -> &Self::Jobs;
    /// The time.
    fn clock(&self) -> &Self::Clock;
}

/// Vectors of equal length in one allocation, row after row.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Embeddings {
    /// Length of a row.
    pub dimensions: usize,
    /// All rows.
    pub values: Vec<f32>,
}

impl Embeddings {
    /// Number of rows.
    pub fn len(&self) -> usize {
        self.values.len().checked_div(self.dimensions).unwrap_or(0)
    }

    /// Whether there is no row.
    pub fn is_empty(&self) -> bool {
        self.values.is_empty()
    }

    /// A row.
    pub fn row(&self, position: usize) -> &[f32] {
        &self.values[position * self.dimensions..(position + 1) * self.dimensions]
    }
}

/// What became of texts handed in with [`Embedder::submit`].
#[derive(Clone, Debug, PartialEq)]
pub enum Collected {
    /// Not ready yet.
    Running,
    /// One row per text, in order.
    Done(Embeddings),
    /// Unknown, expired or failed: to be handed in again.
    Lost,
}

/// Texts to vectors. Documents and queries are different calls: prefixes and pooling are decided here. The settings come
/// with each call, since a tenant that is being re-indexed is asked with its old ones until the new are complete.
pub trait Embedder {
    /// Texts a call takes at most (Workers AI: 100).
    const BATCH: usize = 100;
    /// One row per text, in order; at most [`Self::BATCH`] texts of at most 512 tokens.
    async fn embed_documents(
        &self,
        tenant: &Tenant,
        settings: &EmbeddingSettings,
        texts: &[&str],
    ) -> Result<Embeddings>;
    /// The vector of a query.
    async fn embed_query(
        &self,
        tenant: &Tenant,
        settings: &EmbeddingSettings,
        query: &str,
    ) -> Result<Vec<f32>>;
    /// Hands texts in to be embedded when there is room (Workers AI's asynchronous batches); at most [`Self::BATCH`].
    /// Returns what to [`collect`](Self::collect) them with.
    async fn submit(&self, tenant: &Tenant, settings: &EmbeddingSettings, texts: &[&str]) -> Result<String>;
    /// The vectors of texts handed in, if they are ready.
    async fn collect(&self, tenant: &Tenant, settings: &EmbeddingSettings, ticket: &str)
    -> Result<Collected>;
}

/// A vector's id and the metadata that filters see.
#[derive(Clone, Debug, PartialEq)]
pub struct VectorEntry {
    /// The id, at most 64 bytes.
    pub id: String,
    /// Declared fields and [`DOCUMENT_FIELD`].
    pub metadata: serde_json::Map<String, Value>,
}

/// A vector near the query.
#[derive(Clone, Debug, PartialEq)]
pub struct VectorMatch {
    /// The id.
    pub id: String,
    /// Cosine similarity.
    pub score: f32,
    /// The vector's [`DOCUMENT_FIELD`]. That of a document that is not served any more is known from here only.
    pub document: Option<String>,
}

/// Nearest vectors. Writes become visible later, in order; there is no listing. Vectors of different lengths are kept in
/// different indexes; ids are unique over all of them.
pub trait VectorIndex {
    /// Vectors a write takes at most (Vectorize from a Worker: 1000).
    const BATCH: usize = 1000;
    /// Ids a look-up takes at most.
    const LOOKUP_BATCH: usize = 20;
    /// Inserts or replaces `entries`, whose values are the rows of `values`.
    async fn upsert(
        &self,
        tenant: &Tenant,
        namespace: &Namespace,
        entries: &[VectorEntry],
        values: &Embeddings,
    ) -> Result<()>;
    /// The nearest vectors of a namespace, best first, at most 100.
    async fn query(
        &self,
        tenant: &Tenant,
        namespace: &Namespace,
        vector: &[f32],
        top_k: usize,
        filter: Option<&Filter>,
    ) -> Result<Vec<VectorMatch>>;
    /// Those of `ids` that are visible now, with their values, in any order; at most [`Self::LOOKUP_BATCH`].
    async fn fetch(&self, tenant: &Tenant, ids: &[String]) -> Result<Vec<(String, Vec<f32>)>>;
    /// Deletes; unknown ids are no error. At most [`Self::BATCH`].
    async fn delete(&self, tenant: &Tenant, ids: &[String]) -> Result<()>;
    /// The lengths of vectors that can be kept.
    async fn dimensions(&self) -> Result<Vec<usize>>;
}

/// A served chunk that matches by keywords.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct KeywordMatch {
    /// [`ServedChunk::row`].
    pub row: i64,
    /// BM25 over the tenant's served chunks.
    pub score: f32,
}

/// Best keyword matches among the tenant's served chunks. Terms are written by [`DocumentStore::write_part`].
pub trait KeywordIndex {
    /// Best first. Statistics are the tenant's alone: nothing another tenant does changes a score.
    async fn search(
        &self,
        tenant: &Tenant,
        terms: &[String],
        filter: Option<&Filter>,
        limit: usize,
    ) -> Result<Vec<KeywordMatch>>;
}

/// Passages scored against a query.
pub trait Reranker {
    /// Passages a call takes at most. Workers AI documents no limit; 32 full windows are 16,000 tokens.
    const BATCH: usize = 32;
    /// A score per passage, in order; at most [`Self::BATCH`]. Its scale is the model's own: see
    /// [`crate::models::reranker`].
    async fn rerank(&self, tenant: &Tenant, query: &str, passages: &[&str]) -> Result<Vec<f32>>;
}

/// The time.
pub trait Clock {
    /// Milliseconds since 1970-01-01 UTC.
    fn now(&self) -> Millis;
    /// Returns when so many milliseconds have passed.
    async fn sleep(&self, milliseconds: u64);
}

/// What `work` comes to within so many milliseconds; `None` when it takes longer, and then it is dropped, which ends
/// calls under way.
pub(crate) async fn in_time<T>(
    clock: &impl Clock,
    milliseconds: u32,
    work: impl Future<Output = T>,
) -> Option<T> {
    match select(pin!(work), pin!(clock.sleep(milliseconds.into()))).await {
        Either::Left((made, _)) => Some(made),
        Either::Right(((), _)) => None,
    }
}
