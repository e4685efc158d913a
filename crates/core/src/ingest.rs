//! The life of a document: register, process, flip, clean up, sweep.
//!
//! The write order is what makes at-least-once delivery exact: ledger before upsert, upsert before rows, rows before
//! the flip; a generation is served by one conditional statement, and vectors go only after nothing refers to them.

use crate::chunk::{Chunk, Chunker, Format, embedded_text};
use crate::document::{
    ChunkRow, Counts, Document, DocumentId, Failure, Generation, Metadata, Millis, Pending, Status, Upload,
};
use crate::identity::{Namespace, digest, document_tag, short, text_hash, vector_id};
use crate::keyword;
use crate::ports::{
    Clock, DOCUMENT_FIELD, DocumentStore, Embedder, Embeddings, Job, JobQueue, ObjectStore, Part, Ports,
    VectorEntry, VectorIndex, Work,
};
use crate::settings::Settings;
use crate::{Error, Result, Retry, Tenant};
use serde::Serialize;
use std::collections::HashSet;
use std::ops::Range;

/// Chunks of a part: what one embedding call takes.
pub const PART_CHUNKS: usize = 100;
/// Longest time a consumer may work on a batch (Queues: 15 minutes), with a margin. An intent older than that has no
/// writer any more.
pub const SETTLED_AFTER: Millis = 20 * 60 * 1000;
/// Rows deleted and vectors named per slice of a clean-up.
pub const SLICE: usize = 500;
/// Seconds until the first look whether vectors are visible.
const CONFIRM_DELAY: u32 = 2;
/// An object younger than this may belong to an upload that has not reached its document row yet.
const OBJECT_GRACE: Millis = 60 * 60 * 1000;

/// What [`Ingest::register`] did.
#[derive(Clone, Debug, PartialEq)]
pub enum Registered {
    /// The served generation is the same already; the fresh object was deleted again.
    Unchanged(Document),
    /// A new generation is queued.
    Queued(Document),
}

/// How processing a generation ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Outcome {
    /// It is served.
    Served,
    /// It is no longer wanted: superseded, deleted, or done before.
    Obsolete,
    /// It was given up; the document says why.
    Failed,
}

/// What a sweep found and did.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize)]
pub struct Swept {
    /// Jobs sent again.
    pub resent: usize,
    /// Documents cleaned up.
    pub cleaned: usize,
    /// Vectors deleted.
    pub vectors: usize,
    /// Unreferenced objects deleted.
    pub objects: usize,
    /// Documents whose turn failed; a later sweep tries again.
    pub failed: usize,
}

/// The ingest pipeline.
#[derive(Debug)]
pub struct Ingest<'a, P> {
    ports: &'a P,
    settings: &'a Settings,
}

/// A generation being processed.
struct Open {
    slot: usize,
    id: DocumentId,
    generation: Generation,
    work: Work,
    text: String,
    chunks: Vec<Chunk>,
    metadata: Metadata,
    /// Vectors made for this generation so far, so that identical chunks share one.
    made: HashSet<String>,
}

/// Parts that share one embedding call: `(index into the open documents, part number)`.
type Group = Vec<(usize, u32)>;

impl<'a, P: Ports> Ingest<'a, P> {
    /// A pipeline over `ports`.
    pub fn new(ports: &'a P, settings: &'a Settings) -> Self {
        Self { ports, settings }
    }

    /// The settings hash an upload is stored with: the pipeline's settings, and the metadata that vectors carry.
    pub fn upload_settings(&self, metadata: &Metadata) -> String {
        let declared = serde_json::to_string(&self.declared(metadata)).unwrap_or_default();
        format!("{}.{}", self.settings.ingest_hash(), short(&digest(&[declared.as_bytes()]), 6))
    }

    /// Registers an upload whose bytes are in the object store already. After `Ok` it survives any crash: a job that
    /// could not be sent is sent by the sweeper.
    ///
    /// # Errors
    /// [`Error::Fingerprint`] when the tenant's vectors were made with other settings; storage errors.
    pub async fn register(&self, tenant: &Tenant, id: &DocumentId, upload: &Upload) -> Result<Registered> {
        let registered = self.enter(tenant, id, upload).await?;
        if let Registered::Queued(document) = &registered
            && let Some(generation) = pending_generation(document)
        {
            let (tenant, document) = (tenant.clone(), id.clone());
            let job = Job::Process { tenant, document, generation, bytes: upload.bytes };
            // Lost or refused: the sweeper sends it.
            let _ = self.ports.jobs().send(&job, 0).await;
        }
        Ok(registered)
    }

    async fn enter(&self, tenant: &Tenant, id: &DocumentId, upload: &Upload) -> Result<Registered> {
        let documents = self.ports.documents();
        self.check_fingerprint(tenant).await?;
        let before = documents.get(tenant, id).await?;
        if let Some(document) = &before
            && unchanged(document, upload)
        {
            self.ports.objects().delete(std::slice::from_ref(&upload.object_key)).await?;
            return Ok(Registered::Unchanged(document.clone()));
        }
        let now = self.ports.clock().now();
        let generation = documents.begin(tenant, id, upload, now).await?.generation;
        Ok(Registered::Queued(queued(before, id, upload, generation, now)))
    }

    /// Stores and registers bytes, then processes them at once: for callers that need no queue.
    ///
    /// # Errors
    /// As [`Self::register`] and [`Self::process`].
    pub async fn put(
        &self,
        tenant: &Tenant,
        id: &DocumentId,
        upload: &Upload,
        bytes: &[u8],
    ) -> Result<Document> {
        self.ports.objects().put(tenant, &upload.object_key, bytes, &upload.media_type).await?;
        // No job: another consumer beside this one would only be in its way.
        let document = match self.enter(tenant, id, upload).await? {
            Registered::Unchanged(document) => return Ok(document),
            Registered::Queued(document) => document,
        };
        if let Some(pending) = pending_generation(&document) {
            for outcome in self.process(tenant, &[(id.clone(), pending)]).await {
                outcome?;
            }
        }
        Ok(self.ports.documents().get(tenant, id).await?.unwrap_or(document))
    }

    /// Processes generations of one tenant together, so that their new chunks share embedding calls. One result per
    /// job, in order; a failure of one does not stop the others. An `Err` is worth repeating; what can't succeed is
    /// recorded as [`Outcome::Failed`].
    pub async fn process(&self, tenant: &Tenant, jobs: &[(DocumentId, Generation)]) -> Vec<Result<Outcome>> {
        let mut results: Vec<Result<Outcome>> = jobs.iter().map(|_| Ok(Outcome::Obsolete)).collect();
        let mut open = Vec::new();
        for (slot, (id, generation)) in jobs.iter().enumerate() {
            match self.open(tenant, slot, id, *generation).await {
                Ok(Some(document)) => open.push(document),
                Ok(None) => {}
                Err(error) => results[slot] = self.give_up(tenant, id, *generation, error).await,
            }
        }

        let mut errors: Vec<Option<Error>> = open.iter().map(|_| None).collect();
        for mut group in groups(&open) {
            group.retain(|(document, _)| errors[*document].is_none());
            let Err(error) = self.write(tenant, &mut open, &group).await else { continue };
            if error.retry() != Retry::Never {
                // An outage: what is not done yet comes again, and goes on where it stopped.
                errors.iter_mut().for_each(|slot| *slot = slot.take().or_else(|| Some(error.clone())));
                break;
            }
            let mut members: Vec<usize> = group.iter().map(|(document, _)| *document).collect();
            members.dedup();
            if let [only] = members[..] {
                errors[only] = Some(error);
                continue;
            }
            // Find the culprit: the others must not suffer for it.
            for member in members {
                let own: Group = group.iter().copied().filter(|(document, _)| *document == member).collect();
                errors[member] = self.write(tenant, &mut open, &own).await.err();
            }
        }

        for (document, error) in open.iter().zip(errors) {
            results[document.slot] = match error {
                Some(error) => self.give_up(tenant, &document.id, document.generation, error).await,
                None => self.serve(tenant, document).await,
            };
        }
        results
    }

    /// [`Self::delete`] of all documents whose ids begin so; returns how many.
    ///
    /// # Errors
    /// Storage errors.
    pub async fn delete_prefix(&self, tenant: &Tenant, prefix: &str) -> Result<usize> {
        let now = self.ports.clock().now();
        let deleted = self.ports.documents().delete_prefix(tenant, prefix, now).await?;
        // The first at once, the rest by the sweeper: a job for each would be more than one invocation may send.
        for document in deleted.iter().take(SLICE) {
            let job = Job::Clean { tenant: tenant.clone(), document: document.clone() };
            if self.ports.jobs().send(&job, 0).await.is_err() {
                break;
            }
        }
        Ok(deleted.len())
    }

    /// Looks whether a served generation's vectors are visible and notes it.
    ///
    /// # Errors
    /// Storage and index errors.
    pub async fn confirm(&self, tenant: &Tenant, id: &DocumentId, generation: Generation) -> Result<bool> {
        let documents = self.ports.documents();
        let limit = P::Vectors::LOOKUP_BATCH;
        let vectors = documents.last_vectors(tenant, id, generation, limit).await?;
        if !vectors.is_empty() && self.ports.vectors().visible(tenant, &vectors).await?.len() < vectors.len()
        {
            return Ok(false);
        }
        documents.indexed(tenant, id, generation, self.ports.clock().now()).await?;
        Ok(true)
    }

    /// Deletes a document: gone from every answer when this returns; the rest is cleaned up later.
    ///
    /// # Errors
    /// Storage errors.
    pub async fn delete(&self, tenant: &Tenant, id: &DocumentId) -> Result<bool> {
        let found = self.ports.documents().delete(tenant, id, self.ports.clock().now()).await?;
        if found {
            // Lost or refused: the sweeper cleans up.
            let _ =
                self.ports.jobs().send(&Job::Clean { tenant: tenant.clone(), document: id.clone() }, 0).await;
        }
        Ok(found)
    }

    /// Removes what nothing serves or will serve any more, a slice at a time. Returns the vectors deleted and whether
    /// more is left.
    ///
    /// # Errors
    /// Storage and index errors; what was deleted before stays deleted.
    pub async fn clean(&self, tenant: &Tenant, id: &DocumentId) -> Result<(usize, bool)> {
        let documents = self.ports.documents();
        let settled = self.ports.clock().now().saturating_sub(SETTLED_AFTER);
        let garbage = documents.garbage(tenant, id, SLICE, settled).await?;
        for vectors in garbage.vectors.chunks(P::Vectors::BATCH) {
            self.ports.vectors().delete(tenant, vectors).await?;
            documents.forget_vectors(tenant, id, vectors).await?;
        }
        if !garbage.objects.is_empty() {
            self.ports.objects().delete(&garbage.objects).await?;
            documents.forget_objects(tenant, id, &garbage.objects).await?;
        }
        Ok((garbage.vectors.len(), garbage.more))
    }

    /// Repairs what crashes, lost messages and lag left behind: jobs not moved for `older_than` milliseconds are sent
    /// again, dead generations cleaned up, and, with `objects`, a walk through the whole bucket, objects that no document
    /// names deleted. One document's trouble does not stop the others'.
    ///
    /// # Errors
    /// Storage errors; a later sweep goes on.
    pub async fn sweep(&self, older_than: Millis, objects: bool) -> Result<Swept> {
        let documents = self.ports.documents();
        let now = self.ports.clock().now();
        let mut swept = Swept::default();
        for overdue in documents.overdue(now.saturating_sub(older_than), SLICE).await? {
            let (tenant, document, generation) = (overdue.tenant, overdue.document, overdue.generation);
            let open = overdue.status.is_open();
            let job = if open {
                let (tenant, document) = (tenant.clone(), document.clone());
                Job::Process { tenant, document, generation, bytes: overdue.bytes }
            } else {
                Job::Confirm { tenant: tenant.clone(), document: document.clone(), generation }
            };
            if self.ports.jobs().send(&job, 0).await.is_err() {
                swept.failed += 1;
                continue;
            }
            swept.resent += 1;
            if open {
                documents.sent(&tenant, &document, generation, now).await?;
            }
        }
        for (tenant, document) in documents.unclean(now.saturating_sub(SETTLED_AFTER), SLICE / 10).await? {
            match self.clean(&tenant, &document).await {
                Ok((vectors, _)) => {
                    swept.cleaned += 1;
                    swept.vectors += vectors;
                }
                Err(_) => swept.failed += 1,
            }
        }
        if objects {
            swept.objects = self.sweep_objects(now).await?;
        }
        Ok(swept)
    }

    async fn sweep_objects(&self, now: Millis) -> Result<usize> {
        let (mut cursor, mut deleted) = (None, 0);
        loop {
            let (page, next) = self.ports.objects().list(cursor).await?;
            let old: Vec<String> = page
                .into_iter()
                .filter(|object| object.uploaded + OBJECT_GRACE < now)
                .map(|object| object.key)
                .collect();
            let lost = self.ports.documents().unreferenced(&old).await?;
            if !lost.is_empty() {
                self.ports.objects().delete(&lost).await?;
                deleted += lost.len();
            }
            cursor = next;
            if cursor.is_none() {
                return Ok(deleted);
            }
        }
    }

    async fn check_fingerprint(&self, tenant: &Tenant) -> Result<()> {
        let configured = self.ports.embedder().fingerprint();
        let stored = self.ports.documents().adopt_fingerprint(tenant, &configured).await?;
        if stored == configured.as_str() {
            return Ok(());
        }
        Err(Error::Fingerprint { stored, configured: configured.as_str().into() })
    }

    /// The metadata that vectors carry: declared fields only.
    fn declared(&self, metadata: &Metadata) -> Metadata {
        let declared = |name: &String| self.settings.fields.iter().any(|field| field.name == *name);
        metadata
            .iter()
            .filter(|(name, value)| declared(name) && !value.is_null())
            .map(|(name, value)| (name.clone(), value.clone()))
            .collect()
    }

    async fn open(
        &self,
        tenant: &Tenant,
        slot: usize,
        id: &DocumentId,
        generation: Generation,
    ) -> Result<Option<Open>> {
        let documents = self.ports.documents();
        let now = self.ports.clock().now();
        let Some(mut work) = documents.claim(tenant, id, generation, now).await? else {
            return Ok(None);
        };
        self.check_fingerprint(tenant).await?;
        let settings = self.upload_settings(&work.upload.metadata);
        if settings != work.upload.settings {
            // The worker was deployed anew since the upload: parts cut by other rules do not fit together.
            documents.restart(tenant, id, generation, &settings).await?;
            match documents.claim(tenant, id, generation, now).await? {
                Some(again) => work = again,
                None => return Ok(None),
            }
        }
        let bytes =
            self.ports.objects().get(tenant, &work.upload.object_key).await?.ok_or(Error::Document {
                code: "original_missing".into(),
                message: "the stored original is gone; upload it again".into(),
            })?;
        let (text, format) = extract(bytes, &work.upload.media_type)?;
        let chunks = Chunker::new(self.settings.chunk)?.chunks(&text, format);
        if chunks.is_empty() {
            return Err(Error::Document {
                code: "no_text".into(),
                message: "the document contains no text".into(),
            });
        }
        documents.plan(tenant, id, generation, chunks.len().div_ceil(PART_CHUNKS) as u32).await?;
        let mut metadata = self.declared(&work.upload.metadata);
        metadata.insert(DOCUMENT_FIELD.into(), document_tag(tenant, id).into());
        Ok(Some(Open {
            slot,
            id: id.clone(),
            generation,
            work,
            text,
            chunks,
            metadata,
            made: HashSet::new(),
        }))
    }

    /// Embeds and writes a group of parts, in the order that survives a crash at any point.
    async fn write(&self, tenant: &Tenant, open: &mut [Open], group: &Group) -> Result<()> {
        let documents = self.ports.documents();
        let fingerprint = self.ports.embedder().fingerprint();
        let mut parts = Vec::with_capacity(group.len());
        let (mut texts, mut entries) = (Vec::new(), Vec::new());
        let mut fresh = HashSet::new();
        for (index, number) in group {
            let document = &open[*index];
            let mut part = Part { number: *number, chunks: Vec::new(), embedded: 0, reused: 0 };
            for chunk in &document.chunks[part_range(document, *number)] {
                let body = &document.text[chunk.start..chunk.end];
                let title = document.work.upload.title.as_deref();
                let embedded = embedded_text(title, &chunk.headings, body, &self.settings.chunk);
                let hash = text_hash(&embedded);
                let vector = if let Some(vector) = document.work.reusable.get(&hash) {
                    part.reused += 1;
                    vector.clone()
                } else {
                    let incarnation = document.work.incarnation;
                    let vector = vector_id(
                        tenant,
                        &document.id,
                        incarnation,
                        document.generation,
                        &hash,
                        &fingerprint,
                    );
                    if !document.made.contains(&vector) && fresh.insert(vector.clone()) {
                        part.embedded += 1;
                        texts.push(embedded);
                        let metadata = document.metadata.clone();
                        entries.push((*index, VectorEntry { id: vector.clone(), metadata }));
                    }
                    vector
                };
                part.chunks.push(ChunkRow {
                    ordinal: chunk.ordinal,
                    vector,
                    hash,
                    text: body.to_owned(),
                    start: chunk.start as u64,
                    end: chunk.end as u64,
                    tokens: chunk.tokens as u64,
                    page: None,
                    headings: chunk.headings.clone(),
                    terms: keyword::terms(body),
                });
            }
            parts.push((*index, part));
        }

        if !texts.is_empty() {
            let texts: Vec<&str> = texts.iter().map(String::as_str).collect();
            let values = self.ports.embedder().embed_documents(tenant, &texts).await?;
            check_shape(&values, texts.len(), self.settings.embedding.dimensions)?;
            let ledger = by_document(&entries);
            for (index, vectors) in &ledger {
                let (id, generation) = (&open[*index].id, open[*index].generation);
                documents.intend(tenant, id, generation, vectors, self.ports.clock().now()).await?;
            }
            let entries: Vec<VectorEntry> = entries.iter().map(|(_, entry)| entry.clone()).collect();
            let namespace = Namespace::new(tenant, &fingerprint);
            self.ports.vectors().upsert(tenant, &namespace, &entries, &values).await?;
            for (index, vectors) in ledger {
                let (id, generation) = (&open[index].id, open[index].generation);
                documents.written(tenant, id, generation, &vectors, self.ports.clock().now()).await?;
            }
        }
        for (index, part) in &parts {
            let (id, generation) = (&open[*index].id, open[*index].generation);
            documents.write_part(tenant, id, generation, part, self.ports.clock().now()).await?;
        }
        for (index, entry) in entries {
            open[index].made.insert(entry.id);
        }
        Ok(())
    }

    async fn serve(&self, tenant: &Tenant, document: &Open) -> Result<Outcome> {
        let (id, generation) = (&document.id, document.generation);
        let served = self.ports.documents().flip(tenant, id, generation, self.ports.clock().now()).await?;
        if served {
            let (tenant, document) = (tenant.clone(), id.clone());
            let job = Job::Confirm { tenant, document, generation };
            // Lost or refused: the sweeper looks at it.
            let _ = self.ports.jobs().send(&job, CONFIRM_DELAY).await;
        }
        // Of the generation replaced, or of this one when it came too late. What fails, the sweeper takes.
        if let Ok((_, true)) = self.clean(tenant, id).await {
            let job = Job::Clean { tenant: tenant.clone(), document: id.clone() };
            let _ = self.ports.jobs().send(&job, 0).await;
        }
        Ok(if served { Outcome::Served } else { Outcome::Obsolete })
    }

    /// Records a failure that repeating would not mend; hands any other back.
    async fn give_up(
        &self,
        tenant: &Tenant,
        id: &DocumentId,
        generation: Generation,
        error: Error,
    ) -> Result<Outcome> {
        if error.retry() != Retry::Never {
            return Err(error);
        }
        let code = match &error {
            Error::Document { code, .. } => code.to_string(),
            Error::Fingerprint { .. } => "embedding_settings_changed".to_owned(),
            Error::Service { service, code, .. } => {
                code.map_or_else(|| format!("{service}_failed"), |code| format!("{service}_{code}"))
            }
            _ => "not_processable".to_owned(),
        };
        let message = match error {
            Error::Document { message, .. } => message,
            other => other.to_string(),
        };
        let failure = Failure { code, message };
        self.ports.documents().fail(tenant, id, generation, &failure, self.ports.clock().now()).await?;
        // What earlier parts wrote; the sweeper knows of dead generations only.
        let _ = self.clean(tenant, id).await;
        Ok(Outcome::Failed)
    }
}

/// A document's text as it is chunked, shown and pointed into by offsets: UTF-8 without a byte order mark, NULs as
/// spaces (`SQLite`'s text functions stop at a NUL).
///
/// # Errors
/// [`Error::Document`]: `unsupported_type`, `not_utf8`.
pub fn extract(bytes: Vec<u8>, media_type: &str) -> Result<(String, Format)> {
    let format = format_of(media_type).ok_or_else(|| Error::Document {
        code: "unsupported_type".into(),
        message: format!("`{media_type}` can't be read"),
    })?;
    let mut text = String::from_utf8(bytes).map_err(|error| Error::Document {
        code: "not_utf8".into(),
        message: format!("byte {} is not valid UTF-8", error.utf8_error().valid_up_to()),
    })?;
    if text.starts_with('\u{feff}') {
        text.drain(..'\u{feff}'.len_utf8());
    }
    if text.contains('\0') {
        text = text.replace('\0', " ");
    }
    Ok((text, format))
}

/// How a media type is chunked; `None` when it can't be read.
pub fn format_of(media_type: &str) -> Option<Format> {
    match media_type {
        "text/plain" => Some(Format::Plain),
        "text/markdown" | "text/x-markdown" => Some(Format::Markdown),
        _ => None,
    }
}

/// The generation of a document that waits to be processed.
pub fn pending_generation(document: &Document) -> Option<Generation> {
    document.pending.as_ref().filter(|pending| pending.status.is_open()).map(|pending| pending.generation)
}

/// The document as this upload leaves it. Not read again: another upload may have come in between, and its uploader is
/// told of that one.
fn queued(
    before: Option<Document>,
    id: &DocumentId,
    upload: &Upload,
    generation: Generation,
    now: Millis,
) -> Document {
    let pending =
        Some(Pending { generation, status: Status::Queued, parts_done: 0, parts_total: 0, error: None });
    if let Some(before) = &before
        && before.generation.is_some()
    {
        return Document { pending, updated_at: now / 1000, ..before.clone() };
    }
    Document {
        id: id.clone(),
        status: Status::Queued,
        generation: None,
        pending,
        title: upload.title.clone(),
        media_type: upload.media_type.clone(),
        bytes: upload.bytes,
        content_hash: upload.content_hash.clone(),
        chunk_count: 0,
        tokens: 0,
        metadata: upload.metadata.clone(),
        counts: Counts::default(),
        error: None,
        created_at: before.map_or(now / 1000, |before| before.created_at),
        updated_at: now / 1000,
        object_key: upload.object_key.clone(),
        settings: upload.settings.clone(),
    }
}

fn unchanged(document: &Document, upload: &Upload) -> bool {
    document.generation.is_some()
        && document.pending.is_none()
        && document.content_hash == upload.content_hash
        && document.media_type == upload.media_type
        && document.title == upload.title
        && document.metadata == upload.metadata
        && document.settings == upload.settings
}

fn part_range(document: &Open, number: u32) -> Range<usize> {
    let start = number as usize * PART_CHUNKS;
    start..(start + PART_CHUNKS).min(document.chunks.len())
}

/// Unfinished parts, packed so that each group needs at most [`PART_CHUNKS`] new vectors. Reuse is not known here, so
/// every chunk counts; that costs calls only for documents that are mostly unchanged.
fn groups(open: &[Open]) -> Vec<Group> {
    let mut groups: Vec<Group> = Vec::new();
    let mut room = 0;
    for (index, document) in open.iter().enumerate() {
        for number in 0..document.chunks.len().div_ceil(PART_CHUNKS) as u32 {
            if document.work.parts_done.contains(&number) {
                continue;
            }
            let size = part_range(document, number).len();
            match groups.last_mut() {
                Some(group) if size <= room => group.push((index, number)),
                _ => {
                    groups.push(vec![(index, number)]);
                    room = PART_CHUNKS;
                }
            }
            room -= size;
        }
    }
    groups
}

/// Entries come document by document.
fn by_document(entries: &[(usize, VectorEntry)]) -> Vec<(usize, Vec<String>)> {
    entries
        .chunk_by(|left, right| left.0 == right.0)
        .map(|run| (run[0].0, run.iter().map(|(_, entry)| entry.id.clone()).collect()))
        .collect()
}

fn check_shape(values: &Embeddings, rows: usize, dimensions: usize) -> Result<()> {
    if values.dimensions == dimensions && values.len() == rows {
        return Ok(());
    }
    Err(Error::Service {
        service: "embedder",
        retry: Retry::Never,
        code: None,
        message: format!(
            "asked for {rows} vectors of {dimensions} values, got {} of {}",
            values.len(),
            values.dimensions
        ),
    })
}
