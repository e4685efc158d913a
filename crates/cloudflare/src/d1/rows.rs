//! Rows as D1 gives them back, and what core makes of them.

use super::tenants;
use ragflare_core::document::{
    Counts, Document, DocumentId, Failure, Generation, Millis, Pending, ServedChunk, Status, Upload, Waiting,
};
use ragflare_core::ports::{Outdated, Overdue, PlannedPart, Reusable, Span, TenantState, Ticket, Work};
use ragflare_core::{Error, Result, Retry, Tenant};
use serde::Deserialize;
use serde::de::DeserializeOwned;

/// One number, `value`.
#[derive(Debug, Deserialize)]
pub(super) struct Number {
    pub(super) value: u64,
}

/// One text, `value`.
#[derive(Debug, Deserialize)]
pub(super) struct Text {
    pub(super) value: String,
}

/// One text, `value`, or none.
#[derive(Debug, Deserialize)]
pub(super) struct MaybeText {
    pub(super) value: Option<String>,
}

/// The columns of an [`UploadRow`], of a generation.
pub(super) const UPLOAD_COLUMNS: &str = "object_key, title, embedded_title, media_type, bytes, content_hash, metadata, \
    settings, fingerprint, fields";

/// The columns of a [`DocumentRow`], from `documents d`, the generation shown `g` and the newest one `n`.
pub(super) const DOCUMENT_COLUMNS: &str = "d.id, d.served, d.newest, d.created_at, d.updated_at, \
    iif(g.status = 'stale', 'queued', g.status) AS status, g.object_key, g.title, g.embedded_title, g.media_type, \
    g.bytes, g.content_hash, g.metadata, g.settings, g.fingerprint, g.fields, \
    iif(d.served IS NULL, 0, g.chunk_count) AS chunk_count, iif(d.served IS NULL, 0, g.tokens) AS tokens, g.embedded, \
    g.reused, g.deleted, g.error_code, g.error_message, iif(n.status = 'stale', 'queued', n.status) AS newest_status, \
    n.error_code AS newest_error_code, n.error_message AS newest_error_message, n.waiting_code, n.waiting_message, \
    n.not_before, iif(n.plan_complete, n.parts_total, 0) AS parts_total, iif(d.served = d.newest, 0, \
    (SELECT count(*) FROM parts p WHERE p.tenant = d.tenant AND p.document = d.id AND p.generation = d.newest AND p.done)) \
    AS parts_done";

/// What `documents d` is joined with for them.
pub(super) const DOCUMENT_JOINS: &str = "\
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
    object_key: String,
    title: Option<String>,
    embedded_title: Option<String>,
    media_type: String,
    bytes: u64,
    content_hash: String,
    metadata: String,
    settings: String,
    fingerprint: String,
    fields: String,
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
    waiting_code: Option<String>,
    waiting_message: Option<String>,
    not_before: Millis,
    parts_total: u64,
    parts_done: u64,
}

impl DocumentRow {
    pub(super) fn into_document(self) -> Result<Document> {
        let newest_status = Status::parse(&self.newest_status)?;
        let until = self.not_before;
        let waiting = self.waiting_code.map(|code| {
            let message = self.waiting_message.unwrap_or_default();
            Waiting { code, message, until }
        });
        let pending = (self.served != Some(self.newest)
            && (self.served.is_some() || newest_status.is_open()))
        .then(|| Pending {
            generation: self.newest,
            status: newest_status,
            parts_done: self.parts_done,
            parts_total: self.parts_total,
            error: failure(self.newest_error_code, self.newest_error_message),
            waiting,
        });
        let upload = Upload {
            object_key: self.object_key,
            title: self.title,
            embedded_title: self.embedded_title,
            media_type: self.media_type,
            bytes: self.bytes,
            content_hash: self.content_hash,
            metadata: parsed(&self.metadata)?,
            settings: self.settings,
            fingerprint: self.fingerprint,
            fields: self.fields,
        };
        Ok(Document {
            id: DocumentId::new(self.id)?,
            status: Status::parse(&self.status)?,
            generation: self.served,
            pending,
            title: upload.title.clone(),
            media_type: upload.media_type.clone(),
            bytes: upload.bytes,
            content_hash: upload.content_hash.clone(),
            chunk_count: self.chunk_count,
            tokens: self.tokens,
            metadata: upload.metadata.clone(),
            counts: Counts { embedded: self.embedded, reused: self.reused, deleted: self.deleted },
            error: failure(self.error_code, self.error_message),
            created_at: self.created_at / 1000,
            updated_at: self.updated_at / 1000,
            newest: self.newest,
            upload: Some(upload),
        })
    }
}

#[derive(Debug, Deserialize)]
pub(super) struct UploadRow {
    object_key: String,
    title: Option<String>,
    embedded_title: Option<String>,
    media_type: String,
    bytes: u64,
    content_hash: String,
    metadata: String,
    settings: String,
    fingerprint: String,
    fields: String,
}

impl UploadRow {
    pub(super) fn into_upload(self) -> Result<Upload> {
        Ok(Upload {
            object_key: self.object_key,
            title: self.title,
            embedded_title: self.embedded_title,
            media_type: self.media_type,
            bytes: self.bytes,
            content_hash: self.content_hash,
            metadata: parsed(&self.metadata)?,
            settings: self.settings,
            fingerprint: self.fingerprint,
            fields: self.fields,
        })
    }
}

#[derive(Debug, Deserialize)]
pub(super) struct WorkRow {
    #[serde(flatten)]
    upload: UploadRow,
    incarnation: Generation,
    parts_total: u32,
    plan_complete: u8,
    resume: Option<String>,
    postponed: u32,
}

impl WorkRow {
    pub(super) fn into_work(self) -> Result<Work> {
        Ok(Work {
            incarnation: self.incarnation,
            upload: self.upload.into_upload()?,
            planned: self.parts_total,
            resume: self.resume,
            complete: self.plan_complete != 0,
            postponed: self.postponed,
        })
    }
}

#[derive(Debug, Deserialize)]
pub(super) struct PartRow {
    part: u32,
    spans: String,
    ticket: Option<String>,
}

impl PartRow {
    pub(super) fn into_part(self) -> Result<PlannedPart> {
        let spans: Vec<Span> = parsed(&self.spans)?;
        let ticket: Option<Ticket> = self.ticket.as_deref().map(parsed).transpose()?;
        Ok(PlannedPart { number: self.part, spans, ticket })
    }
}

#[derive(Debug, Deserialize)]
pub(super) struct ReusableRow {
    hash: String,
    vector: String,
    as_is: u8,
    own: u8,
}

impl From<ReusableRow> for Reusable {
    fn from(row: ReusableRow) -> Self {
        Self { hash: row.hash, vector: row.vector, as_is: row.as_is != 0, own: row.own != 0 }
    }
}

#[derive(Debug, Deserialize)]
pub(super) struct OverdueRow {
    tenant: String,
    document: String,
    generation: Generation,
    status: String,
    bytes: u64,
}

impl OverdueRow {
    pub(super) fn into_overdue(self) -> Result<Overdue> {
        Ok(Overdue {
            tenant: Tenant::new(self.tenant)?,
            document: DocumentId::new(self.document)?,
            generation: self.generation,
            status: Status::parse(&self.status)?,
            bytes: self.bytes,
        })
    }
}

/// A generation that nothing serves or will serve.
#[derive(Debug, Deserialize)]
pub(super) struct LostRow {
    pub(super) generation: Generation,
    /// Whether chunks are left.
    pub(super) chunks: u8,
    /// Whether its row can go.
    pub(super) dead: u8,
    /// Its object, if no living generation names it.
    pub(super) object_key: Option<String>,
}

#[derive(Debug, Deserialize)]
pub(super) struct OwnerRow {
    tenant: String,
    document: String,
}

impl OwnerRow {
    pub(super) fn into_owner(self) -> Result<(Tenant, DocumentId)> {
        Ok((Tenant::new(self.tenant)?, DocumentId::new(self.document)?))
    }
}

#[derive(Debug, Deserialize)]
pub(super) struct TenantRow {
    fingerprint: Option<String>,
    embedding: Option<String>,
    next: Option<String>,
    reindexing: u8,
    reindex_force: Option<Millis>,
}

impl TenantRow {
    /// Whether the embedding is known in full.
    pub(super) fn is_known(&self) -> bool {
        self.embedding.is_some()
    }

    pub(super) fn into_state(self) -> Result<TenantState> {
        let embedding = match (&self.embedding, &self.fingerprint) {
            (Some(json), _) => Some(parsed(json)?),
            (None, Some(fingerprint)) => tenants::from_fingerprint(fingerprint),
            (None, None) => None,
        };
        let next = self.next.as_deref().map(parsed).transpose()?;
        Ok(TenantState { embedding, next, reindexing: self.reindexing != 0, force: self.reindex_force })
    }
}

#[derive(Debug, Deserialize)]
pub(super) struct OutdatedRow {
    id: String,
    newest: Generation,
    base: Generation,
}

impl OutdatedRow {
    pub(super) fn into_outdated(self) -> Result<Outdated> {
        Ok(Outdated { document: DocumentId::new(self.id)?, newest: self.newest, base: self.base })
    }
}

/// The columns of [`ServedRow`], from `chunks c` and its generation `g`.
pub(super) const CHUNK_COLUMNS: &str = "c.row, c.vector, c.document, c.ordinal, c.text, c.start, c.\"end\" AS \"end\", \
    c.tokens, c.sections, c.places, c.table_header, c.headings, g.title, g.metadata";

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
    sections: Option<String>,
    places: Option<String>,
    table_header: Option<String>,
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
            sections: self.sections.as_deref().map(parsed).transpose()?.unwrap_or_default(),
            places: self.places.as_deref().map(parsed).transpose()?.unwrap_or_default(),
            table_header: self.table_header,
            headings: parsed(&self.headings)?,
            title: self.title,
            metadata: parsed(&self.metadata)?,
        })
    }
}

fn parsed<T: DeserializeOwned>(json: &str) -> Result<T> {
    serde_json::from_str(json).map_err(|error| Error::Service {
        service: "database",
        retry: Retry::Never,
        code: None,
        message: format!("a stored value can't be read: {error}"),
    })
}

fn failure(code: Option<String>, message: Option<String>) -> Option<Failure> {
    code.map(|code| Failure { code, message: message.unwrap_or_default() })
}
