//! What the pipelines need of the world. One trait per service, static dispatch, no `Send` bound so that wasm futures
//! fit. Every call names its tenant. `ragflare-cloudflare` implements them over bindings, `testing` in memory;
//! `testing::contract` checks both.

use crate::document::{
    ChunkRow, Document, DocumentId, Failure, Generation, Millis, ServedChunk, Status, Upload,
};
use crate::filter::Filter;
use crate::identity::{Fingerprint, Namespace};
use crate::{Result, Tenant};
use futures::Stream;
use serde::{Deserialize, Serialize};
use serde_json::Value;
use std::collections::HashMap;

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

/// Texts to vectors. Documents and queries are different calls: prefixes and pooling are decided here.
pub trait Embedder {
    /// Texts a call takes at most (Workers AI: 100).
    const BATCH: usize = 100;
    /// What makes its vectors comparable.
    fn fingerprint(&self) -> Fingerprint;
    /// One row per text, in order; at most [`Self::BATCH`] texts of at most 512 tokens.
    async fn embed_documents(&self, tenant: &Tenant, texts: &[&str]) -> Result<Embeddings>;
    /// The vector of a query.
    async fn embed_query(&self, tenant: &Tenant, query: &str) -> Result<Vec<f32>>;
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
}

/// Nearest vectors. Writes become visible later, in order; there is no listing.
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
    /// Which of `ids` are visible now; at most [`Self::LOOKUP_BATCH`].
    async fn visible(&self, tenant: &Tenant, ids: &[String]) -> Result<Vec<String>>;
    /// Deletes; unknown ids are no error. At most [`Self::BATCH`].
    async fn delete(&self, tenant: &Tenant, ids: &[String]) -> Result<()>;
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
    /// A score per passage, in order. Its scale is the model's own: it ranks, nothing more.
    async fn rerank(&self, tenant: &Tenant, query: &str, passages: &[&str]) -> Result<Vec<f32>>;
}

/// Who speaks.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Role {
    /// Instructions.
    System,
    /// The person asking.
    User,
    /// The model.
    Assistant,
}

/// A message of a conversation.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Message {
    /// Who speaks.
    pub role: Role,
    /// What is said.
    pub content: String,
}

/// What the chat model is asked.
#[derive(Clone, Debug, PartialEq)]
pub struct Prompt {
    /// Model name.
    pub model: String,
    /// The conversation, instructions first.
    pub messages: Vec<Message>,
    /// Answer room; always sent, since the platform's default is 256.
    pub max_tokens: u32,
    /// Sampling temperature.
    pub temperature: f32,
}

/// Tokens of one generation, as the model counts them.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Usage {
    /// Tokens read.
    pub prompt_tokens: u64,
    /// Tokens written.
    pub completion_tokens: u64,
    /// Their sum.
    pub total_tokens: u64,
}

/// Why a generation ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Finish {
    /// The model was done.
    Stop,
    /// The answer room was used up.
    Length,
    /// The stream ended without saying so.
    Truncated,
}

/// A step of a generation.
#[derive(Clone, Debug, PartialEq)]
pub enum Generated {
    /// More text.
    Delta(String),
    /// Tokens used.
    Usage(Usage),
    /// The end.
    Done(Finish),
}

/// The chat model.
pub trait TextGenerator {
    /// Deltas, then usage, then the end. Owns what it needs, so that a reply can outlive the request's handler.
    type Stream: Stream<Item = Result<Generated>> + Unpin + 'static;
    /// Starts a generation. Dropping the stream stops it.
    async fn generate(&self, tenant: &Tenant, prompt: &Prompt) -> Result<Self::Stream>;
}

/// A generation that has just been numbered.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Begun {
    /// Its number.
    pub generation: Generation,
}

/// What a consumer needs to process a generation.
#[derive(Clone, Debug, PartialEq)]
pub struct Work {
    /// Generation in which this life of the id began.
    pub incarnation: Generation,
    /// The upload.
    pub upload: Upload,
    /// Parts that are finished already, from an attempt that was cut off.
    pub parts_done: Vec<u32>,
    /// Vectors of the generation served now, by hash of the embedded text; empty when its settings differ.
    pub reusable: HashMap<String, String>,
}

/// A part of a generation, complete.
#[derive(Clone, Debug, PartialEq)]
pub struct Part {
    /// Its number, from 0.
    pub number: u32,
    /// Its chunks.
    pub chunks: Vec<ChunkRow>,
    /// Vectors made anew for it.
    pub embedded: u64,
    /// Vectors carried forward.
    pub reused: u64,
}

/// Which documents a listing shows.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct ListQuery {
    /// Only ids after this one.
    pub after: Option<String>,
    /// Rows at most.
    pub limit: usize,
    /// Only documents of this status.
    pub status: Option<Status>,
    /// Only ids that begin so.
    pub prefix: Option<String>,
}

/// A document or generation that the sweeper must look at.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Overdue {
    /// Whose.
    pub tenant: Tenant,
    /// The document.
    pub document: DocumentId,
    /// The generation.
    pub generation: Generation,
    /// Its status.
    pub status: Status,
    /// Size of its original.
    pub bytes: u64,
}

/// Rows of a document that nothing serves or will serve.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Garbage {
    /// Vectors to delete, then to [`DocumentStore::forget_vectors`].
    pub vectors: Vec<String>,
    /// Objects to delete, then to [`DocumentStore::forget_objects`].
    pub objects: Vec<String>,
    /// Whether there is more than this slice.
    pub more: bool,
}

/// Documents, generations, parts, chunks, and the ledger of vectors. Each call is atomic.
pub trait DocumentStore {
    /// Numbers a new generation, `queued`, in one transaction. A deleted id comes back to life as a new incarnation.
    async fn begin(&self, tenant: &Tenant, id: &DocumentId, upload: &Upload, now: Millis) -> Result<Begun>;
    /// Notes when the generation was last moved: the sweeper leaves it alone for a while from then on.
    async fn sent(&self, tenant: &Tenant, id: &DocumentId, generation: Generation, now: Millis)
    -> Result<()>;
    /// The document, unless deleted.
    async fn get(&self, tenant: &Tenant, id: &DocumentId) -> Result<Option<Document>>;
    /// Documents by id, deleted ones left out.
    async fn list(&self, tenant: &Tenant, query: &ListQuery) -> Result<Vec<Document>>;
    /// Marks a generation `processing` and returns what it takes; `None` when it is no longer wanted or done.
    async fn claim(
        &self,
        tenant: &Tenant,
        id: &DocumentId,
        generation: Generation,
        now: Millis,
    ) -> Result<Option<Work>>;
    /// Forgets what an open generation's earlier attempts wrote, and what they were made with.
    async fn restart(
        &self,
        tenant: &Tenant,
        id: &DocumentId,
        generation: Generation,
        settings: &str,
    ) -> Result<()>;
    /// Creates the rows of a generation's parts, unfinished, if they are not there.
    async fn plan(&self, tenant: &Tenant, id: &DocumentId, generation: Generation, parts: u32) -> Result<()>;
    /// Enters vectors into the ledger *before* they are upserted; those that are in it become intents again.
    async fn intend(
        &self,
        tenant: &Tenant,
        id: &DocumentId,
        generation: Generation,
        vectors: &[String],
        now: Millis,
    ) -> Result<()>;
    /// Notes that the vectors were accepted. If their generation is dead by then, they stay intents, for the sweeper.
    async fn written(
        &self,
        tenant: &Tenant,
        id: &DocumentId,
        generation: Generation,
        vectors: &[String],
        now: Millis,
    ) -> Result<()>;
    /// Writes a part's chunks and keyword terms, invisible so far, and marks it done. Repeating it changes nothing, nor
    /// does a copy that comes when the generation is served, failed or dead.
    async fn write_part(
        &self,
        tenant: &Tenant,
        id: &DocumentId,
        generation: Generation,
        part: &Part,
        now: Millis,
    ) -> Result<()>;
    /// Serves the generation if it is still the newest, the document is not deleted and no part is unfinished.
    /// Returns whether it is served afterwards.
    async fn flip(
        &self,
        tenant: &Tenant,
        id: &DocumentId,
        generation: Generation,
        now: Millis,
    ) -> Result<bool>;
    /// Gives a generation up.
    async fn fail(
        &self,
        tenant: &Tenant,
        id: &DocumentId,
        generation: Generation,
        failure: &Failure,
        now: Millis,
    ) -> Result<()>;
    /// The last vectors that a served generation wrote itself, at most `limit`.
    async fn last_vectors(
        &self,
        tenant: &Tenant,
        id: &DocumentId,
        generation: Generation,
        limit: usize,
    ) -> Result<Vec<String>>;
    /// Notes that a served generation's vectors are visible.
    async fn indexed(
        &self,
        tenant: &Tenant,
        id: &DocumentId,
        generation: Generation,
        now: Millis,
    ) -> Result<()>;
    /// Hides the document at once; a tombstone keeps the counter. Returns whether it was there.
    async fn delete(&self, tenant: &Tenant, id: &DocumentId, now: Millis) -> Result<bool>;
    /// [`Self::delete`] of all documents whose ids begin so; their ids.
    async fn delete_prefix(&self, tenant: &Tenant, prefix: &str, now: Millis) -> Result<Vec<DocumentId>>;
    /// Deletes up to `limit` chunk rows of dead and failed generations and names what else of the document can go. An intent that
    /// is younger than `settled` is left: its writer may still be at work.
    async fn garbage(
        &self,
        tenant: &Tenant,
        id: &DocumentId,
        limit: usize,
        settled: Millis,
    ) -> Result<Garbage>;
    /// Drops ledger rows whose vectors' deletion was acknowledged.
    async fn forget_vectors(&self, tenant: &Tenant, id: &DocumentId, vectors: &[String]) -> Result<()>;
    /// Drops generations whose objects are deleted.
    async fn forget_objects(&self, tenant: &Tenant, id: &DocumentId, objects: &[String]) -> Result<()>;
    /// Chunks of the served generation from `after` on, by position.
    async fn chunks(
        &self,
        tenant: &Tenant,
        id: &DocumentId,
        after: Option<u32>,
        limit: usize,
    ) -> Result<Vec<ServedChunk>>;
    /// The served chunks among these vectors and rows. Of identical chunks that share a vector, the first.
    async fn hydrate(&self, tenant: &Tenant, vectors: &[String], rows: &[i64]) -> Result<Vec<ServedChunk>>;
    /// Generations that were not moved since `before`: no message, stuck, or served but not yet `indexed`. All tenants.
    async fn overdue(&self, before: Millis, limit: usize) -> Result<Vec<Overdue>>;
    /// Documents with something to clean up. All tenants.
    async fn unclean(&self, settled: Millis, limit: usize) -> Result<Vec<(Tenant, DocumentId)>>;
    /// The fingerprint of the tenant's vectors, if it has any.
    async fn fingerprint(&self, tenant: &Tenant) -> Result<Option<String>>;
    /// The fingerprint of the tenant's vectors; `configured` becomes it when the tenant has none yet.
    async fn adopt_fingerprint(&self, tenant: &Tenant, configured: &Fingerprint) -> Result<String>;
    /// Which of these objects no generation names. All tenants.
    async fn unreferenced(&self, objects: &[String]) -> Result<Vec<String>>;
}

/// An object's key and age.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ObjectEntry {
    /// The key.
    pub key: String,
    /// When it was written.
    pub uploaded: Millis,
}

/// Originals.
pub trait ObjectStore {
    /// Stores bytes under a fresh key.
    async fn put(&self, tenant: &Tenant, key: &str, bytes: &[u8], media_type: &str) -> Result<()>;
    /// The bytes.
    async fn get(&self, tenant: &Tenant, key: &str) -> Result<Option<Vec<u8>>>;
    /// Deletes; unknown keys are no error.
    async fn delete(&self, keys: &[String]) -> Result<()>;
    /// A page of all objects and the cursor of the next.
    async fn list(&self, cursor: Option<String>) -> Result<(Vec<ObjectEntry>, Option<String>)>;
}

/// Work to be done later; delivered at least once, in any order.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "job", rename_all = "snake_case")]
pub enum Job {
    /// Process a generation.
    Process {
        /// Whose.
        tenant: Tenant,
        /// The document.
        document: DocumentId,
        /// The generation.
        generation: Generation,
        /// Size of the original, so that a consumer can bound the memory of a batch before reading.
        bytes: u64,
    },
    /// See whether a served generation's vectors are visible.
    Confirm {
        /// Whose.
        tenant: Tenant,
        /// The document.
        document: DocumentId,
        /// The generation.
        generation: Generation,
    },
    /// Clean up after a document.
    Clean {
        /// Whose.
        tenant: Tenant,
        /// The document.
        document: DocumentId,
    },
}

/// The queue.
pub trait JobQueue {
    /// Sends a job, to be delivered after `delay_seconds`.
    async fn send(&self, job: &Job, delay_seconds: u32) -> Result<()>;
}

/// The time.
pub trait Clock {
    /// Milliseconds since 1970-01-01 UTC.
    fn now(&self) -> Millis;
}
