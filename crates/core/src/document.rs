//! Documents, their generations and their chunks, as the ports store them and the API shows them.

use crate::chunk::Section;
use crate::conversion::Place;
use crate::{Error, Result};
use serde::{Deserialize, Serialize};
use serde_json::{Map, Value};
use std::fmt;

/// Number of a document's generation: counts up over the whole life of an id, deletions included.
pub type Generation = u64;

/// Milliseconds since 1970-01-01 UTC.
pub type Millis = u64;

/// A document's metadata: a JSON object.
pub type Metadata = Map<String, Value>;

/// A document's id within its tenant: 1–128 characters of `A-Z a-z 0-9 . _ - /`, no empty, `.` or `..` segment.
#[derive(Clone, Debug, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub struct DocumentId(String);

impl DocumentId {
    /// The longest id, in bytes.
    pub const MAX_BYTES: usize = 128;

    /// # Errors
    /// [`Error::Invalid`] naming the rule that is broken.
    pub fn new(id: impl Into<String>) -> Result<Self> {
        let id = id.into();
        if id.is_empty() || id.len() > Self::MAX_BYTES {
            return Err(Error::invalid("id", format!("is {} bytes long; allowed are 1 to 128", id.len())));
        }
        if !id.bytes().all(|byte| byte.is_ascii_alphanumeric() || b"._-/".contains(&byte)) {
            return Err(Error::invalid("id", "has characters other than A-Z a-z 0-9 . _ - /"));
        }
        if id.split('/').any(|segment| matches!(segment, "" | "." | "..")) {
            return Err(Error::invalid("id", "has an empty, `.` or `..` segment"));
        }
        Ok(Self(id))
    }

    /// The id.
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl fmt::Display for DocumentId {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str(&self.0)
    }
}

impl TryFrom<String> for DocumentId {
    type Error = Error;
    fn try_from(id: String) -> Result<Self> {
        Self::new(id)
    }
}

impl From<DocumentId> for String {
    fn from(id: DocumentId) -> Self {
        id.0
    }
}

/// Where a generation is on its way.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Status {
    /// Stored; a message is on its way to the consumer.
    Queued,
    /// A consumer works on it.
    Processing,
    /// The day's model allowance is used up: goes on after 00:00 UTC.
    Parked,
    /// Complete; served together with the tenant's other documents when its re-index is.
    Staged,
    /// Served: the keyword leg finds it, the vector index may still lag.
    Searchable,
    /// Served, and its last vectors answer to a look-up by id.
    Indexed,
    /// Given up; `error` says why. The generation served before stays.
    Failed,
}

impl Status {
    /// The name, as stored and shown.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Queued => "queued",
            Self::Processing => "processing",
            Self::Parked => "parked",
            Self::Staged => "staged",
            Self::Searchable => "searchable",
            Self::Indexed => "indexed",
            Self::Failed => "failed",
        }
    }

    /// # Errors
    /// [`Error::Invalid`] when there is no such status.
    pub fn parse(name: &str) -> Result<Self> {
        [
            Self::Queued,
            Self::Processing,
            Self::Parked,
            Self::Staged,
            Self::Searchable,
            Self::Indexed,
            Self::Failed,
        ]
        .into_iter()
        .find(|status| status.as_str() == name)
        .ok_or_else(|| {
            Error::invalid(
                "status",
                "must be one of queued, processing, parked, staged, searchable, indexed, failed",
            )
        })
    }

    /// Whether work is still to be done before the generation is served, staged or given up.
    pub fn is_open(self) -> bool {
        matches!(self, Self::Queued | Self::Processing | Self::Parked)
    }
}

/// What an upload brings; the bytes are in the object store already.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Upload {
    /// Key of the original in the object store; fresh for every upload.
    pub object_key: String,
    /// Title as given by the uploader, or changed since.
    pub title: Option<String>,
    /// The title that stands before the embedded texts: the one uploaded with the bytes, so that changing it later embeds
    /// nothing.
    pub embedded_title: Option<String>,
    /// Media type without parameters, e.g. `text/markdown`.
    pub media_type: String,
    /// Size of the original.
    pub bytes: u64,
    /// SHA-256 of the original, hexadecimal.
    pub content_hash: String,
    /// The uploader's metadata.
    pub metadata: Metadata,
    /// Hash of the settings that shape chunks ([`crate::settings::Settings::ingest_hash`]).
    pub settings: String,
    /// What its vectors are made with ([`crate::identity::Fingerprint`]).
    pub fingerprint: String,
    /// Hash of the metadata that its vectors carry.
    pub fields: String,
}

/// A generation's failure, as shown in `error`.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Failure {
    /// A stable code.
    pub code: String,
    /// A sentence.
    pub message: String,
}

/// Why a generation is left alone for a while.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Waiting {
    /// A stable code: `out_of_capacity`, `daily_allowance_used_up`, `embedding_queued`, `vectors_not_visible`.
    pub code: String,
    /// A sentence.
    pub message: String,
    /// Until when; in replies, Unix seconds.
    #[serde(with = "seconds")]
    pub until: Millis,
}

/// Milliseconds, shown as seconds.
mod seconds {
    use serde::{Deserialize, Deserializer, Serializer};

    #[allow(clippy::trivially_copy_pass_by_ref, reason = "serde's signature")]
    pub(super) fn serialize<S: Serializer>(millis: &u64, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.serialize_u64(millis.div_ceil(1000))
    }

    pub(super) fn deserialize<'de, D: Deserializer<'de>>(deserializer: D) -> Result<u64, D::Error> {
        Ok(u64::deserialize(deserializer)?.saturating_mul(1000))
    }
}

/// What a generation cost, and what it replaced.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Counts {
    /// Vectors made anew.
    pub embedded: u64,
    /// Vectors carried forward or copied from the generation served before.
    pub reused: u64,
    /// Vectors of the generation served before whose texts are gone.
    pub deleted: u64,
}

/// The newest generation, while it is not the one served.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Pending {
    /// Its number.
    pub generation: Generation,
    /// Where it is.
    pub status: Status,
    /// Parts finished.
    pub parts_done: u64,
    /// Parts in all; 0 until the text has been split.
    pub parts_total: u64,
    /// Why it failed.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub error: Option<Failure>,
    /// Why it does not move.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub waiting: Option<Waiting>,
}

/// A document as the API shows it. Fields are those of the generation served, or of the newest while none is.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Document {
    /// The id.
    pub id: DocumentId,
    /// Status of the generation described.
    pub status: Status,
    /// The generation served.
    pub generation: Option<Generation>,
    /// The newest generation, when it is not the one served.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub pending: Option<Pending>,
    /// Title as given.
    pub title: Option<String>,
    /// Media type.
    pub media_type: String,
    /// Size of the original.
    pub bytes: u64,
    /// SHA-256 of the original, hexadecimal.
    pub content_hash: String,
    /// Chunks served.
    pub chunk_count: u64,
    /// Their tokens, in the embedding model's vocabulary.
    pub tokens: u64,
    /// The uploader's metadata.
    pub metadata: Metadata,
    /// What the generation cost.
    pub counts: Counts,
    /// Why it failed.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub error: Option<Failure>,
    /// Unix seconds of the first upload of this id since its last deletion.
    pub created_at: u64,
    /// Unix seconds of the last change.
    pub updated_at: u64,
    /// The newest generation, whatever became of it; not shown.
    #[serde(skip)]
    pub newest: Generation,
    /// Where the original is, what the generation was made with and from; not shown.
    #[serde(skip)]
    pub upload: Option<Upload>,
}

impl Document {
    /// Whether some generation is `queued` or `processing`.
    pub fn is_moving(&self) -> bool {
        let moving = |status: Status| matches!(status, Status::Queued | Status::Processing);
        moving(self.status) || self.pending.as_ref().is_some_and(|pending| moving(pending.status))
    }

    /// The generation that `If-Match` is compared with: the newest, or the one served when the newest failed.
    pub fn current(&self) -> Generation {
        match (&self.pending, self.generation) {
            (Some(pending), Some(served)) if pending.status == Status::Failed => served,
            _ => self.newest,
        }
    }
}

/// A chunk's row as written by the ingest pipeline.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct ChunkRow {
    /// Position in the document, from 0.
    pub ordinal: u32,
    /// Its vector.
    pub vector: String,
    /// Hash of the embedded text.
    pub hash: String,
    /// The text.
    pub text: String,
    /// First byte in the extracted text.
    pub start: u64,
    /// Byte after the last.
    pub end: u64,
    /// `WordPiece` tokens of the text, without specials.
    pub tokens: u64,
    /// What begins in it under other headings.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub sections: Vec<Section>,
    /// Pages and rows in it, counted from its first byte.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub places: Vec<Place>,
    /// The header of the table that it begins in.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub table_header: Option<String>,
    /// Heading path.
    pub headings: Vec<String>,
    /// Keyword terms, in order, as [`crate::keyword::passage_terms`] makes them.
    pub terms: Vec<String>,
}

/// A served chunk, complete for a reader.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct ServedChunk {
    /// Storage key, unique over all tenants.
    pub row: i64,
    /// Its vector.
    pub vector: String,
    /// The document.
    pub document: DocumentId,
    /// Position in the document, from 0.
    pub ordinal: u32,
    /// The text.
    pub text: String,
    /// First byte in the extracted text.
    pub start: u64,
    /// Byte after the last.
    pub end: u64,
    /// `WordPiece` tokens of the text, without specials.
    pub tokens: u64,
    /// What begins in it under other headings.
    pub sections: Vec<Section>,
    /// Pages and rows in it, counted from its first byte.
    pub places: Vec<Place>,
    /// The header of the table that it begins in.
    pub table_header: Option<String>,
    /// Heading path.
    pub headings: Vec<String>,
    /// The document's title.
    pub title: Option<String>,
    /// The document's metadata.
    pub metadata: Metadata,
}

impl ServedChunk {
    /// The id shown to users: the vector's, which identical chunks of a document share, and the position.
    pub fn id(&self) -> String {
        format!("{}.{}", self.vector, self.ordinal)
    }
}
