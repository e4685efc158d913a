//! Buckets that documents come from, and what is known of their objects.
//!
//! Apart from [`Ports`]: only a worker that takes documents in has sources.

use super::Ports;
use crate::document::{DocumentId, Generation, Millis};
use crate::identity::is_copy;
use crate::settings::Source;
use crate::{Result, Tenant};
use serde::{Deserialize, Serialize};
use std::collections::BTreeMap;

/// The ports of a deployment that has sources.
pub trait SourcePorts: Ports {
    /// Objects.
    type Buckets: SourceBuckets;
    /// What is known of them.
    type Table: SourceTable;

    /// Objects.
    fn buckets(&self) -> &Self::Buckets;
    /// What is known of them.
    fn table(&self) -> &Self::Table;
}

/// An object as a listing shows it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Listed {
    /// The key, at most 1,024 bytes.
    pub key: String,
    /// Another one for every write of the key, be it of the same bytes. R2's `etag` would not tell of new metadata.
    pub version: String,
}

/// An object without its bytes.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Head {
    /// As [`Listed::version`].
    pub version: String,
    /// Its size.
    pub bytes: u64,
    /// `Content-Type`, as written.
    pub content_type: Option<String>,
    /// `Content-Encoding`, as written.
    pub content_encoding: Option<String>,
    /// R2's `customMetadata`, S3's `x-amz-meta-*`.
    pub metadata: BTreeMap<String, String>,
}

/// A copy among the originals.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Copied {
    /// Its key, as [`crate::identity::copy_key`] makes them.
    pub object_key: String,
    /// Its size.
    pub bytes: u64,
    /// SHA-256, hexadecimal.
    pub content_hash: String,
}

/// Buckets by the names of their bindings. A binding that is missing is [`crate::Error::Invalid`].
pub trait SourceBuckets {
    /// Objects whose keys begin with `prefix` and come after `after`, in the order of their bytes, at most `limit` (1,000);
    /// and whether there are more.
    async fn list(
        &self,
        binding: &str,
        prefix: &str,
        after: Option<&str>,
        limit: usize,
    ) -> Result<(Vec<Listed>, bool)>;
    /// An object as it is now.
    async fn head(&self, binding: &str, key: &str) -> Result<Option<Head>>;
    /// Copies an object's bytes to a fresh key among the tenant's originals, without ever having all of them in memory.
    /// `None`, and nothing copied, when it is not of that version any more.
    async fn copy(
        &self,
        binding: &str,
        key: &str,
        head: &Head,
        tenant: &Tenant,
        media_type: &str,
    ) -> Result<Option<Copied>>;
}

/// What became of an object.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum ObjectState {
    /// Not looked at yet.
    #[default]
    New,
    /// A document was made of it.
    Taken,
    /// It can't be one; the row says why.
    Skipped,
    /// It could not be made one; the next sync tries again.
    Failed,
}

/// What is known of an object.
#[derive(Clone, Debug, PartialEq)]
pub struct Row {
    /// Whose document it is.
    pub tenant: Tenant,
    /// The document.
    pub document: DocumentId,
    /// What became of it.
    pub state: ObjectState,
    /// The version looked at last; `None` when it is to be looked at again in any case.
    pub version: Option<String>,
    /// [`Source::stamp`] of then.
    pub stamp: String,
    /// [`Holder::original`] of then; `None` when there was no document, [`ANOTHERS`] when it was another key's.
    pub original: Option<String>,
    /// Whether a look was asked for, or the object was missing in a listing, and no look has come to its end since.
    pub pending: bool,
    /// Raised by every write of the row.
    pub edition: u64,
}

/// A living document, as far as it matters who may replace it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Holder {
    /// What [`crate::ingest::Precondition::Current`] is compared with.
    pub current: Generation,
    /// The original of its newest generation. Changes of metadata and re-indexing go on from the same one.
    pub original: String,
    /// The code of what its newest generation failed for.
    pub failure: Option<String>,
}

impl Holder {
    /// Whether it was made of an object of a source; otherwise it was uploaded.
    pub fn is_from_source(&self) -> bool {
        is_copy(&self.original)
    }
}

/// A key, its row, and the document that it would be.
#[derive(Clone, Debug, PartialEq)]
pub struct Known {
    /// The key.
    pub key: String,
    /// What is known of it.
    pub row: Option<Row>,
    /// The document of this tenant that has its id.
    pub holder: Option<Holder>,
    /// The first of the source's other keys whose rows have the same document.
    pub rival: Option<String>,
    /// Whether its row says that this document was made of its object.
    pub shared: bool,
}

impl Known {
    /// Whether another key has the id: of keys that give the same, the first one does, whichever came first.
    pub fn yields(&self) -> bool {
        self.rival.as_deref().is_some_and(|rival| rival < self.key.as_str())
    }
}

/// In place of an original: the document is another key's. No document has it, so the key is looked at when the other one goes.
pub const ANOTHERS: &str = "";

/// What a look at an object came to.
#[derive(Clone, Debug, PartialEq)]
pub struct Noted {
    /// The document.
    pub document: DocumentId,
    /// What became of it.
    pub state: ObjectState,
    /// The version looked at; `None` to look again next time.
    pub version: Option<String>,
    /// [`Source::stamp`].
    pub stamp: String,
    /// Its size.
    pub bytes: u64,
    /// As [`Row::original`].
    pub original: Option<String>,
    /// A stable code and a sentence, when there is something to be said.
    pub remark: Option<(String, String)>,
}

/// Where a sync is.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum SyncState {
    /// The bucket is being listed.
    Listing,
    /// What the listing did not have is being looked at.
    Sweeping,
    /// All of it was gone through; documents may still be on their way.
    Done,
    /// The listing was empty: nothing was deleted.
    Refused,
    /// It could not be done.
    Failed,
}

impl SyncState {
    /// Whether jobs are under way.
    pub fn is_running(self) -> bool {
        matches!(self, Self::Listing | Self::Sweeping)
    }
}

/// A source's newest sync.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Sync {
    /// Its number, from 1.
    pub run: u64,
    /// Where it is.
    pub state: SyncState,
    /// Whether an empty listing is meant.
    #[serde(skip)]
    pub confirm_empty: bool,
    /// When it was asked for.
    pub started_at: Millis,
    /// When a job of it last got on.
    pub moved_at: Millis,
    /// Objects listed.
    pub listed: u64,
    /// Of these, left out by the patterns.
    pub excluded: u64,
    /// Of these, new or changed.
    pub changed: u64,
    /// Why it ended otherwise than well.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub code: Option<String>,
    /// The same as a sentence.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub message: Option<String>,
}

/// A page of a listing, gone through.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Page {
    /// It began after this key.
    pub after: Option<String>,
    /// Its last key; `None` for the last page.
    pub until: Option<String>,
    /// The keys in it that can be documents.
    pub present: Vec<String>,
    /// Objects listed.
    pub listed: u64,
    /// Of these, left out by the patterns.
    pub excluded: u64,
    /// Of these, new or changed.
    pub changed: u64,
}

/// What is known of sources and their objects. Each call is atomic.
pub trait SourceTable {
    /// What is known of these keys, `(key, document)`, and of documents of this tenant with these ids; in any order.
    async fn known(&self, source: &str, tenant: &Tenant, keys: &[(String, DocumentId)])
    -> Result<Vec<Known>>;
    /// Notes that looks at these objects are asked for, before anything is made of them: an object that has a document has a
    /// row.
    async fn pend(
        &self,
        source: &str,
        tenant: &Tenant,
        keys: &[(String, DocumentId)],
        now: Millis,
    ) -> Result<()>;
    /// Writes a row. What a late look writes is put right by the next one: the versions, or the originals, will differ.
    async fn note(&self, source: &str, tenant: &Tenant, key: &str, noted: &Noted, now: Millis) -> Result<()>;
    /// Notes that a look found nothing to do: the row is neither pending nor missing.
    async fn settle(&self, source: &str, key: &str) -> Result<()>;
    /// Drops a row that is still of this edition.
    async fn forget(&self, source: &str, key: &str, edition: u64) -> Result<()>;
    /// Begins a sync, or, when one runs that has moved since `stale`, asks for another after it. Returns the sync that runs,
    /// and whether it is a new one.
    async fn begin(
        &self,
        source: &Source,
        confirm_empty: bool,
        stale: Millis,
        now: Millis,
    ) -> Result<(Sync, bool)>;
    /// The newest sync.
    async fn sync(&self, source: &str) -> Result<Option<Sync>>;
    /// Notes a page of a run: its counts, unless it was noted before, and that rows between `after` and `until` whose keys are
    /// not `present` are missing. Nothing when the run is over.
    async fn turn(&self, source: &str, run: u64, page: &Page, now: Millis) -> Result<()>;
    /// How many documents of a source there are, those included whose objects could not be taken anew.
    async fn taken(&self, source: &str) -> Result<u64>;
    /// Lists no more: looks at what is missing. Said again, that it gets on.
    async fn sweep(&self, source: &str, run: u64, now: Millis) -> Result<()>;
    /// Keys that were missing in this run, by key, those after `after`, at most `limit`.
    async fn missing(&self, source: &str, run: u64, after: Option<&str>, limit: usize)
    -> Result<Vec<String>>;
    /// Ends a run that is not over. When another one was asked for meanwhile, returns so, once: whether an empty listing was
    /// meant then.
    async fn end(
        &self,
        source: &str,
        run: u64,
        state: SyncState,
        remark: Option<(&str, &str)>,
        now: Millis,
    ) -> Result<Option<bool>>;
}
