//! Rows as D1 gives them back, and what core makes of them.

use ragflare_core::document::{
    Counts, Document, DocumentId, Failure, Generation, Metadata, Millis, Pending, ServedChunk, Status, Upload,
};
use ragflare_core::{Error, Result, Retry};
use serde::Deserialize;

/// The columns of [`DocumentRow`], from `documents d`, the generation shown `g` and the newest one `n`.
pub(super) const DOCUMENT_COLUMNS: &str = "d.id, d.served, d.newest, d.created_at, d.updated_at, g.status, g.title, \
    g.media_type, g.bytes, g.content_hash, g.metadata, g.settings, g.object_key, g.chunk_count, g.tokens, g.embedded, \
    g.reused, g.deleted, g.error_code, g.error_message, n.status AS newest_status, n.error_code AS newest_error_code, \
    n.error_message AS newest_error_message, n.parts_total, \
    (SELECT count(*) FROM parts p WHERE p.tenant = d.tenant AND p.document = d.id AND p.generation = d.newest AND p.done) \
    AS parts_done";

/// Where those columns come from.
pub(super) const DOCUMENT_SOURCE: &str = "documents d \
    JOIN generations g ON g.tenant = d.tenant AND g.document = d.id AND g.generation = coalesce(d.served, d.newest) \
    JOIN generations n ON n.tenant = d.tenant AND n.document = d.id AND n.generation = d.newest";

#[derive(Debug, Deserialize)]
pub(super) struct DocumentRow {
    id: String,
    served: Option<Generation>,
    newest: Generation,
    created_at: Millis,
    updated_at: Millis,
    status: String,
    title: Option<String>,
    media_type: String,
    bytes: u64,
    content_hash: String,
    metadata: String,
    settings: String,
    object_key: String,
    chunk_count: u64,
    tokens: u64,
    embedded: u64,
    reused: u64,
    deleted: u64,
    error_code: Option<String>,
    error_message: Option<String>,
    newest_status: String,
    newest_error_code: Option<String>,
    newest_error_message: Option<String>,
    parts_total: u64,
    parts_done: u64,
}

impl DocumentRow {
    pub(super) fn into_document(self) -> Result<Document> {
        let newest_status = Status::parse(&self.newest_status)?;
        let pending = (self.served != Some(self.newest)
            && (self.served.is_some() || newest_status.is_open()))
        .then(|| Pending {
            generation: self.newest,
            status: newest_status,
            parts_done: self.parts_done,
            parts_total: self.parts_total,
            error: failure(self.newest_error_code, self.newest_error_message),
        });
        Ok(Document {
            id: DocumentId::new(self.id)?,
            status: Status::parse(&self.status)?,
            generation: self.served,
            pending,
            title: self.title,
            media_type: self.media_type,
            bytes: self.bytes,
            content_hash: self.content_hash,
            chunk_count: self.chunk_count,
            tokens: self.tokens,
            metadata: metadata(&self.metadata)?,
            counts: Counts { embedded: self.embedded, reused: self.reused, deleted: self.deleted },
            error: failure(self.error_code, self.error_message),
            created_at: self.created_at / 1000,
            updated_at: self.updated_at / 1000,
            object_key: self.object_key,
            settings: self.settings,
        })
    }
}

#[derive(Debug, Deserialize)]
pub(super) struct UploadRow {
    object_key: String,
    title: Option<String>,
    media_type: String,
    bytes: u64,
    content_hash: String,
    metadata: String,
    settings: String,
}

impl UploadRow {
    pub(super) fn into_upload(self) -> Result<Upload> {
        Ok(Upload {
            object_key: self.object_key,
            title: self.title,
            media_type: self.media_type,
            bytes: self.bytes,
            content_hash: self.content_hash,
            metadata: metadata(&self.metadata)?,
            settings: self.settings,
        })
    }
}

/// The columns of [`ServedRow`], from `chunks c` and its generation `g`.
pub(super) const CHUNK_COLUMNS: &str = "c.row, c.vector, c.document, c.ordinal, c.text, c.start, c.\"end\" AS \"end\", \
    c.tokens, c.page, c.headings, g.title, g.metadata";

/// Where those columns come from: chunks of served generations only.
pub(super) const CHUNK_SOURCE: &str = "chunks c \
    JOIN documents d ON d.tenant = c.tenant AND d.id = c.document AND d.served = c.generation \
    JOIN generations g ON g.tenant = c.tenant AND g.document = c.document AND g.generation = c.generation";

#[derive(Debug, Deserialize)]
pub(super) struct ServedRow {
    row: i64,
    vector: String,
    document: String,
    ordinal: u32,
    text: String,
    start: u64,
    end: u64,
    tokens: u64,
    page: Option<u32>,
    headings: String,
    title: Option<String>,
    metadata: String,
}

impl ServedRow {
    pub(super) fn into_chunk(self) -> Result<ServedChunk> {
        Ok(ServedChunk {
            row: self.row,
            vector: self.vector,
            document: DocumentId::new(self.document)?,
            ordinal: self.ordinal,
            text: self.text,
            start: self.start,
            end: self.end,
            tokens: self.tokens,
            page: self.page,
            headings: serde_json::from_str(&self.headings).map_err(|error| corrupt(&error))?,
            title: self.title,
            metadata: metadata(&self.metadata)?,
        })
    }
}

fn metadata(json: &str) -> Result<Metadata> {
    serde_json::from_str(json).map_err(|error| corrupt(&error))
}

fn failure(code: Option<String>, message: Option<String>) -> Option<Failure> {
    code.map(|code| Failure { code, message: message.unwrap_or_default() })
}

fn corrupt(error: &serde_json::Error) -> Error {
    Error::Service {
        service: "database",
        retry: Retry::Never,
        code: None,
        message: format!("a stored value can't be read: {error}"),
    }
}
