//! Documents, generations, parts, chunks, and the ledger of vectors.

use crate::chunk::Section;
use crate::conversion::Place;
use crate::document::{
    ChunkRow, Document, DocumentId, Failure, Generation, Millis, ServedChunk, Status, Upload, Waiting,
};
use crate::settings::EmbeddingSettings;
use crate::{Result, Tenant};
use serde::{Deserialize, Serialize};

/// What a consumer needs to process a generation.
#[derive(Clone, Debug, PartialEq)]
pub struct Work {
    /// Generation in which this life of the id began.
    pub incarnation: Generation,
    /// The upload.
    pub upload: Upload,
    /// Parts planned so far.
    pub planned: u32,
    /// Where planning goes on, as [`DocumentStore::plan`] was told; `None` before the first part and after the last.
    pub resume: Option<String>,
    /// Whether all parts are planned.
    pub complete: bool,
    /// How often it was [postponed](DocumentStore::postpone) since it last got on.
    pub postponed: u32,
}

/// Where a chunk is in the extracted text.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Span {
    /// Position in the document, from 0.
    pub ordinal: u32,
    /// First byte.
    pub start: u64,
    /// Byte after the last.
    pub end: u64,
    /// `WordPiece` tokens, without specials.
    pub tokens: u64,
    /// Heading path.
    pub headings: Vec<String>,
    /// What begins in it under other headings.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub sections: Vec<Section>,
    /// Pages and rows in it, counted from its first byte.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub places: Vec<Place>,
    /// The header of the table that it begins in.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub table_header: Option<String>,
}

/// A part whose texts were handed in to be embedded later.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Ticket {
    /// What to [collect](super::Embedder::collect) with.
    pub id: String,
    /// The hashes of the texts handed in, in order.
    pub hashes: Vec<String>,
}

/// A part of a generation before it is worked on: which chunks it has.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct PlannedPart {
    /// Its number, from 0.
    pub number: u32,
    /// Its chunks.
    pub spans: Vec<Span>,
    /// Whether its texts were handed in.
    pub ticket: Option<Ticket>,
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
    /// Vectors carried forward or copied.
    pub reused: u64,
}

/// A vector of the document whose text is needed again.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Reusable {
    /// Hash of the embedded text.
    pub hash: String,
    /// The vector's id.
    pub vector: String,
    /// Whether it can be referred to as it is: its own, or one of the generation served, with the same
    /// [`fields`](Upload::fields), a mark that a forced re-index left there aside (`a~1` serves `a`, but not `a~2`). Otherwise
    /// its values can be copied.
    pub as_is: bool,
    /// Whether it was made for the generation asked for (born in it).
    pub own: bool,
}

/// How an attempt to serve a generation ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Flip {
    /// It is served, now or since before.
    Served,
    /// It is complete and waits for its tenant's other documents, to be served together with them.
    Staged,
    /// It is not complete, no longer wanted, or failed.
    No,
}

/// What a tenant's vectors are made with.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct TenantState {
    /// How the vectors that are searched were made; `None` before the first upload.
    pub embedding: Option<EmbeddingSettings>,
    /// How those are made that will replace them.
    pub next: Option<EmbeddingSettings>,
    /// Whether documents are being processed anew.
    pub reindexing: bool,
    /// When it was asked that those that are up to date are, too.
    pub force: Option<Millis>,
}

/// A document that was made with other settings than asked for.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Outdated {
    /// The document.
    pub document: DocumentId,
    /// Its newest generation.
    pub newest: Generation,
    /// The generation whose upload is to be processed anew: the newest, or the one served if that one failed.
    pub base: Generation,
}

/// How far a tenant's re-index is.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Progress {
    /// Living documents.
    pub documents: u64,
    /// Of these, made with the settings asked for: served or staged.
    pub done: u64,
    /// Being processed with them.
    pub open: u64,
    /// Failed with them; what was served before stays.
    pub failed: u64,
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

/// A generation that the sweeper must look at.
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
    /// Objects to delete before [`DocumentStore::forget_generations`]: no living generation names them.
    pub objects: Vec<String>,
    /// Dead generations without any rows left.
    pub generations: Vec<Generation>,
    /// Whether there is more than this slice.
    pub more: bool,
}

/// Documents, generations, parts, chunks, and the ledger of vectors. Each call is atomic.
///
/// A generation is *open* from [`begin`](Self::begin) until it is served, staged or failed; it is *dead* as soon as a newer one
/// begins or is served, or the document is deleted. Only the newest generation of a living document is open or staged.
pub trait DocumentStore {
    /// Numbers a new generation, `queued`, in one transaction; older ones that are not served are dead from then on. A
    /// deleted id comes back to life as a new incarnation. With `expected`, only if that is the newest generation of the
    /// living document (0: there is none); otherwise `None`, and nothing is changed.
    async fn begin(
        &self,
        tenant: &Tenant,
        id: &DocumentId,
        upload: &Upload,
        expected: Option<Generation>,
        now: Millis,
    ) -> Result<Option<Generation>>;
    /// Notes that jobs for these generations, open or `searchable`, were sent: the sweeper leaves them alone for a while from
    /// then on. All tenants.
    async fn sent(&self, generations: &[Overdue], now: Millis) -> Result<()>;
    /// The document, unless deleted.
    async fn get(&self, tenant: &Tenant, id: &DocumentId) -> Result<Option<Document>>;
    /// What a generation was made from, while it is not dead.
    async fn upload(
        &self,
        tenant: &Tenant,
        id: &DocumentId,
        generation: Generation,
    ) -> Result<Option<Upload>>;
    /// Documents by id, deleted ones left out.
    async fn list(&self, tenant: &Tenant, query: &ListQuery) -> Result<Vec<Document>>;
    /// Marks an open generation `processing` and returns what it takes; `None` when it is not open.
    async fn claim(
        &self,
        tenant: &Tenant,
        id: &DocumentId,
        generation: Generation,
        now: Millis,
    ) -> Result<Option<Work>>;
    /// Forgets what an open generation's earlier attempts planned and wrote, and what they were made with: `settings` and
    /// `fields` of [`Upload`] are those from now on. Its vectors become intents.
    async fn restart(
        &self,
        tenant: &Tenant,
        id: &DocumentId,
        generation: Generation,
        settings: &str,
        fields: &str,
    ) -> Result<()>;
    /// Adds parts to an open generation's plan, unfinished, and notes where planning goes on; `resume` = `None`: these were
    /// the last. Changes nothing and returns `false` when the generation is not open, its `settings` are others, or
    /// `planned` is not the number of parts planned so far.
    #[allow(clippy::too_many_arguments, reason = "a row's columns")]
    async fn plan(
        &self,
        tenant: &Tenant,
        id: &DocumentId,
        generation: Generation,
        settings: &str,
        planned: u32,
        parts: &[PlannedPart],
        resume: Option<&str>,
        now: Millis,
    ) -> Result<bool>;
    /// Unfinished parts of a generation by number, those after `after`, at most `limit`.
    async fn open_parts(
        &self,
        tenant: &Tenant,
        id: &DocumentId,
        generation: Generation,
        after: Option<u32>,
        limit: usize,
    ) -> Result<Vec<PlannedPart>>;
    /// Notes that an unfinished part's texts were handed in, or, with `None`, that they have to be handed in again.
    async fn note_ticket(
        &self,
        tenant: &Tenant,
        id: &DocumentId,
        generation: Generation,
        part: u32,
        ticket: Option<&Ticket>,
        now: Millis,
    ) -> Result<()>;
    /// Which of these texts have a vector that is `written` and of the generation's fingerprint: made for this generation,
    /// or referred to by the one served now. At most one per hash, one that can be used as it is if there is one.
    async fn reusable(
        &self,
        tenant: &Tenant,
        id: &DocumentId,
        generation: Generation,
        hashes: &[String],
    ) -> Result<Vec<Reusable>>;
    /// Enters vectors, `(id, hash of the embedded text)`, into the ledger *before* they are upserted: as intents, or, if they are
    /// in it, as they are, with one more writer. A vector with a writer at work is not garbage until it is settled, whatever
    /// its state: copies of a message may be at work on it at once.
    async fn intend(
        &self,
        tenant: &Tenant,
        id: &DocumentId,
        generation: Generation,
        vectors: &[(String, String)],
        now: Millis,
    ) -> Result<()>;
    /// Notes that the vectors were accepted: one writer less. An intent is `written` then, unless its generation is dead, failed or
    /// stale: it stays an intent, for the sweeper, and is entered again if it was forgotten.
    async fn written(
        &self,
        tenant: &Tenant,
        id: &DocumentId,
        generation: Generation,
        vectors: &[(String, String)],
        now: Millis,
    ) -> Result<()>;
    /// Writes a planned part's chunks and keyword terms, invisible so far, and marks it done. Repeating it changes nothing,
    /// nor does a copy that comes when the generation is not open any more or its `settings` are others.
    async fn write_part(
        &self,
        tenant: &Tenant,
        id: &DocumentId,
        generation: Generation,
        settings: &str,
        part: &Part,
        now: Millis,
    ) -> Result<()>;
    /// Serves the generation if it is open, its plan complete and no part unfinished, or stages it if its fingerprint is
    /// the tenant's next one.
    async fn flip(
        &self,
        tenant: &Tenant,
        id: &DocumentId,
        generation: Generation,
        now: Millis,
    ) -> Result<Flip>;
    /// Leaves an open generation alone until [`Waiting::until`]: `status` is [`Status::Queued`] or [`Status::Parked`]. Returns
    /// how often it was postponed since a part was last finished, this time included; 0 when it is not open.
    async fn postpone(
        &self,
        tenant: &Tenant,
        id: &DocumentId,
        generation: Generation,
        status: Status,
        waiting: &Waiting,
        now: Millis,
    ) -> Result<u32>;
    /// Gives an open generation up.
    async fn fail(
        &self,
        tenant: &Tenant,
        id: &DocumentId,
        generation: Generation,
        failure: &Failure,
        now: Millis,
    ) -> Result<()>;
    /// The document's vectors that were written last, at most `limit`; none when the generation is not the one served (any
    /// more).
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
    /// Hides the document at once; a tombstone keeps the counter. Returns whether it was there, and, with `expected`, had
    /// that one as its newest generation.
    async fn delete(
        &self,
        tenant: &Tenant,
        id: &DocumentId,
        expected: Option<Generation>,
        now: Millis,
    ) -> Result<bool>;
    /// [`Self::delete`] of at most `limit` documents whose ids begin so; their ids.
    async fn delete_prefix(
        &self,
        tenant: &Tenant,
        prefix: &str,
        limit: usize,
        now: Millis,
    ) -> Result<Vec<DocumentId>>;
    /// Deletes up to `limit` chunk rows of dead and failed generations and names what else of the document can go. An intent
    /// that is younger than `settled` is left: its writer may still be at work.
    async fn garbage(
        &self,
        tenant: &Tenant,
        id: &DocumentId,
        limit: usize,
        settled: Millis,
    ) -> Result<Garbage>;
    /// Drops ledger rows whose vectors' deletion was acknowledged, and adds to the served generation's
    /// [`Counts::deleted`](crate::document::Counts::deleted) those of texts that are gone: not those that have another vector
    /// now, nor those of generations that were never served.
    async fn forget_vectors(&self, tenant: &Tenant, id: &DocumentId, vectors: &[String]) -> Result<()>;
    /// Drops dead generations and their parts.
    async fn forget_generations(
        &self,
        tenant: &Tenant,
        id: &DocumentId,
        generations: &[Generation],
    ) -> Result<()>;
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
    /// Open or served but not yet `indexed` generations that were not moved since `before` and need not wait beyond `now`,
    /// longest unmoved first. All tenants.
    async fn overdue(&self, before: Millis, now: Millis, limit: usize) -> Result<Vec<Overdue>>;
    /// Documents with something to clean up. All tenants.
    async fn unclean(&self, settled: Millis, limit: usize) -> Result<Vec<(Tenant, DocumentId)>>;
    /// Which of these objects no generation names; none while the store has no document at all, not even a deleted one: it
    /// may have been lost, and the originals are what it can be made from again. All tenants.
    async fn unreferenced(&self, objects: &[String]) -> Result<Vec<String>>;
    /// What the tenant's vectors are made with.
    async fn tenant(&self, tenant: &Tenant) -> Result<TenantState>;
    /// [`Self::tenant`]; `configured` becomes its embedding when it has none yet.
    async fn adopt(&self, tenant: &Tenant, configured: &EmbeddingSettings) -> Result<TenantState>;
    /// Notes that the tenant's documents are processed anew, with `next` as embedding, or as they are; a `force` asked for
    /// before stays. Staged or open
    /// generations of any fingerprint but the tenant's and `next`'s are *stale* from then on: never claimed, served or staged,
    /// and what they wrote is garbage; but the upload stays what it is until a newer generation begins, and is
    /// [`outdated`](Self::outdated). A `next` that is the tenant's embedding already is none.
    async fn start_reindex(
        &self,
        tenant: &Tenant,
        next: Option<&EmbeddingSettings>,
        force: Option<Millis>,
        now: Millis,
    ) -> Result<()>;
    /// Notes that the re-index is over, unless an embedding is still to be replaced or it is not the one of this `force`.
    async fn end_reindex(&self, tenant: &Tenant, force: Option<Millis>) -> Result<()>;
    /// Whether [`Self::flip_tenant`] would flip; then, the vectors written last for staged generations, and after `since`, at
    /// most `limit`.
    async fn ready(
        &self,
        tenant: &Tenant,
        next: &EmbeddingSettings,
        since: Millis,
        limit: usize,
    ) -> Result<Option<Vec<String>>>;
    /// Makes `next` the tenant's embedding and serves all staged generations, in one transaction, if `next` is the tenant's
    /// next embedding and every living document is staged or failed with it. Returns whether it is the tenant's embedding
    /// afterwards.
    async fn flip_tenant(&self, tenant: &Tenant, next: &EmbeddingSettings, now: Millis) -> Result<bool>;
    /// Living documents after `after` whose newest generation was made with other `settings` or another `fingerprint`, by id.
    async fn outdated(
        &self,
        tenant: &Tenant,
        settings: &str,
        fingerprint: &str,
        after: Option<&DocumentId>,
        limit: usize,
    ) -> Result<Vec<Outdated>>;
    /// How far a re-index to these settings is.
    async fn progress(&self, tenant: &Tenant, settings: &str, fingerprint: &str) -> Result<Progress>;
    /// Tenants whose documents are being processed anew.
    async fn reindexing(&self, limit: usize) -> Result<Vec<Tenant>>;
    /// Bytes that the store takes now, and bytes of originals that wait to be processed. `None` where space is no concern.
    async fn size(&self) -> Result<Option<(u64, u64)>>;
}
