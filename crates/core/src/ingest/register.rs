//! Uploads and changes of metadata become generations.

use super::{GROWTH, Ingest, pending_generation, plain_fields};
use crate::document::{Counts, Document, DocumentId, Generation, Metadata, Millis, Pending, Status, Upload};
use crate::ports::{DocumentStore, JobQueue, ObjectStore, Ports};
use crate::{Error, Result, Retry, Tenant};

/// Failures that the same bytes will have again.
pub(crate) const OF_THE_BYTES: [&str; 11] = [
    "not_utf8",
    "no_text",
    "unsupported_type",
    "unsupported_charset",
    "unreadable",
    "encrypted",
    "too_large_expanded",
    "conversion_failed",
    "embedding_refused",
    "original_missing",
    "original_changed",
];
/// How often a conditional write is tried again when another one came in between.
pub(super) const TRIES: usize = 5;

/// An upload whose bytes are in the object store already.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct NewUpload {
    /// Key of the original in the object store; fresh for every upload.
    pub object_key: String,
    /// Title as given by the uploader.
    pub title: Option<String>,
    /// Media type without parameters, e.g. `text/markdown`.
    pub media_type: String,
    /// Size of the original.
    pub bytes: u64,
    /// SHA-256 of the original, hexadecimal.
    pub content_hash: String,
    /// The uploader's metadata.
    pub metadata: Metadata,
}

/// What a write requires of the document as it is.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub enum Precondition {
    /// Nothing.
    #[default]
    None,
    /// That it is there (`If-Match: *`).
    Exists,
    /// That it is not (`If-None-Match: *`).
    Absent,
    /// That its [current generation](Document::current) is one of these (`If-Match: "3"`).
    Current(Vec<Generation>),
}

impl Precondition {
    /// # Errors
    /// [`Error::Precondition`] with the current generation.
    pub(super) fn check(&self, document: Option<&Document>) -> Result<()> {
        let current = document.map_or(0, Document::current);
        let holds = match self {
            Self::None => true,
            Self::Exists => document.is_some(),
            Self::Absent => document.is_none(),
            Self::Current(generations) => document.is_some() && generations.contains(&current),
        };
        if holds { Ok(()) } else { Err(Error::Precondition { current }) }
    }
}

/// What is to be changed of a document without touching its text.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Change {
    /// Its title; `Some(None)` removes it. What was embedded keeps the title it was uploaded with.
    pub title: Option<Option<String>>,
    /// All of its metadata.
    pub metadata: Option<Metadata>,
}

/// What [`Ingest::register`] and [`Ingest::patch`] did.
#[derive(Clone, Debug, PartialEq)]
pub enum Registered {
    /// It is so already; a fresh object was deleted again.
    Unchanged(Document),
    /// A new generation is queued, or one just like it was before.
    Queued(Document),
}

impl<P: Ports> Ingest<'_, P> {
    /// Registers an upload whose bytes are in the object store already. After `Ok` it survives any crash: a job that
    /// could not be sent is sent by the sweeper.
    ///
    /// # Errors
    /// [`Error::Fingerprint`] when the tenant's vectors were made with other settings; [`Error::Precondition`],
    /// [`Error::Full`]; storage errors.
    pub async fn register(
        &self,
        tenant: &Tenant,
        id: &DocumentId,
        upload: &NewUpload,
        condition: &Precondition,
    ) -> Result<Registered> {
        let (registered, generation) = self.enter(tenant, id, upload, condition).await?;
        if let Some(generation) = generation {
            let job = Self::process_job(tenant, id, generation, upload.bytes);
            // Lost or refused: the sweeper sends it.
            let _ = self.ports.jobs().send(&[job], 0).await;
        }
        Ok(registered)
    }

    /// Stores and registers bytes, then processes them at once: for callers that need no queue. What has to wait, for
    /// example because the model is out of capacity, is left to the queue or the sweeper.
    ///
    /// # Errors
    /// As [`Self::register`] and [`Self::process`].
    pub async fn put(
        &self,
        tenant: &Tenant,
        id: &DocumentId,
        upload: &NewUpload,
        bytes: &[u8],
    ) -> Result<Document> {
        self.ports.objects().put(tenant, &upload.object_key, bytes, &upload.media_type).await?;
        // No job: another consumer beside this one would only be in its way.
        let document = match self.enter(tenant, id, upload, &Precondition::None).await?.0 {
            Registered::Unchanged(document) => return Ok(document),
            Registered::Queued(document) => document,
        };
        if let Some(pending) = pending_generation(&document) {
            for outcome in self.process(tenant, &[(id.clone(), pending)], &|| true).await {
                outcome?;
            }
        }
        Ok(self.ports.documents().get(tenant, id).await?.unwrap_or(document))
    }

    /// Changes title or metadata. The text is not embedded again: vectors are carried forward, or, where filters see the
    /// change, copied. `None` when there is no such document.
    ///
    /// # Errors
    /// As [`Self::register`].
    pub async fn patch(
        &self,
        tenant: &Tenant,
        id: &DocumentId,
        change: &Change,
        condition: &Precondition,
    ) -> Result<Option<Registered>> {
        let documents = self.ports.documents();
        let state = documents.adopt(tenant, &self.settings.embedding).await?;
        let fingerprint = self.embedding(&state)?.fingerprint();
        for _ in 0..TRIES {
            let Some(before) = documents.get(tenant, id).await? else {
                condition.check(None)?;
                return Ok(None);
            };
            condition.check(Some(&before))?;
            let Some(mut upload) = documents.upload(tenant, id, latest(&before)).await? else { continue };
            let title = change.title.clone().unwrap_or_else(|| upload.title.clone());
            let metadata = change.metadata.clone().unwrap_or_else(|| upload.metadata.clone());
            if title == upload.title && metadata == upload.metadata {
                return Ok(Some(Registered::Unchanged(before)));
            }
            upload.fields = self.fields(&metadata);
            (upload.title, upload.metadata) = (title, metadata);
            upload.settings = self.settings.ingest_hash();
            fingerprint.as_str().clone_into(&mut upload.fingerprint);
            self.check_room(upload.bytes).await?;
            let now = self.now();
            let begun = documents.begin(tenant, id, &upload, Some(before.newest), now).await?;
            let Some(generation) = begun else { continue };
            let job = Self::process_job(tenant, id, generation, upload.bytes);
            // Lost or refused: the sweeper sends it.
            let _ = self.ports.jobs().send(&[job], 0).await;
            return Ok(Some(Registered::Queued(queued(Some(before), id, upload, generation, now))));
        }
        Err(contended(condition, documents.get(tenant, id).await?.as_ref()))
    }

    /// Tries a generation that failed once more, as a new one: ids of vectors that were deleted must not return. One that is
    /// still open gets a job again. Returns `false` when it is neither any more.
    ///
    /// # Errors
    /// Storage errors; a queue that does not take the job.
    pub async fn retry(&self, tenant: &Tenant, id: &DocumentId, generation: Generation) -> Result<bool> {
        let documents = self.ports.documents();
        let Some(found) = documents.get(tenant, id).await? else { return Ok(false) };
        let Some(upload) = documents.upload(tenant, id, generation).await? else { return Ok(false) };
        let newest = match (&found.pending, found.generation) {
            (Some(pending), _) => pending.status,
            (None, None) => found.status,
            (None, Some(_)) => return Ok(false),
        };
        let again = match newest {
            _ if found.newest != generation => return Ok(false),
            Status::Failed => {
                let begun = documents.begin(tenant, id, &upload, Some(generation), self.now()).await?;
                let Some(again) = begun else { return Ok(false) };
                again
            }
            status if status.is_open() => generation,
            _ => return Ok(false),
        };
        self.ports.jobs().send(&[Self::process_job(tenant, id, again, upload.bytes)], 0).await?;
        Ok(true)
    }

    /// Begins a generation for an upload, if it is not like what there is. Returns its number when it is a new one.
    async fn enter(
        &self,
        tenant: &Tenant,
        id: &DocumentId,
        upload: &NewUpload,
        condition: &Precondition,
    ) -> Result<(Registered, Option<Generation>)> {
        let entered = self.try_to_enter(tenant, id, upload, condition).await;
        let needless = match &entered {
            Ok((_, generation)) => generation.is_none(),
            // Nothing was written. After a storage error that is not sure: the sweeper sees to the object.
            Err(error) => {
                matches!(error, Error::Precondition { .. } | Error::Full { .. } | Error::Fingerprint { .. })
            }
        };
        if needless {
            let _ = self.ports.objects().delete(std::slice::from_ref(&upload.object_key)).await;
        }
        entered
    }

    async fn try_to_enter(
        &self,
        tenant: &Tenant,
        id: &DocumentId,
        upload: &NewUpload,
        condition: &Precondition,
    ) -> Result<(Registered, Option<Generation>)> {
        let documents = self.ports.documents();
        let state = documents.adopt(tenant, &self.settings.embedding).await?;
        let upload = Upload {
            object_key: upload.object_key.clone(),
            title: upload.title.clone(),
            embedded_title: upload.title.clone(),
            media_type: upload.media_type.clone(),
            bytes: upload.bytes,
            content_hash: upload.content_hash.clone(),
            metadata: upload.metadata.clone(),
            settings: self.settings.ingest_hash(),
            fingerprint: self.embedding(&state)?.fingerprint().as_str().to_owned(),
            fields: self.fields(&upload.metadata),
        };
        for _ in 0..TRIES {
            let before = documents.get(tenant, id).await?;
            condition.check(before.as_ref())?;
            if let Some(document) = &before {
                if document.pending.is_none()
                    && document.upload.as_ref().is_some_and(|old| alike(old, &upload))
                {
                    if document.generation.is_some() {
                        return Ok((Registered::Unchanged(document.clone()), None));
                    }
                } else if let Some(generation) = pending_generation(document)
                    && documents.upload(tenant, id, generation).await?.is_some_and(|old| alike(&old, &upload))
                {
                    // On its way already, for example because the uploader did not wait for our reply.
                    return Ok((Registered::Queued(document.clone()), None));
                }
            }
            self.check_room(upload.bytes).await?;
            let expected = (*condition != Precondition::None)
                .then(|| before.as_ref().map_or(0, |document| document.newest));
            let now = self.now();
            if let Some(generation) = documents.begin(tenant, id, &upload, expected, now).await? {
                let document = queued(before, id, upload, generation, now);
                return Ok((Registered::Queued(document), Some(generation)));
            }
        }
        Err(contended(condition, documents.get(tenant, id).await?.as_ref()))
    }

    /// What an upload of so many bytes would be refused for, before its bytes are anywhere.
    pub(crate) async fn check_entry(&self, tenant: &Tenant, bytes: u64) -> Result<()> {
        let state = self.ports.documents().adopt(tenant, &self.settings.embedding).await?;
        self.embedding(&state)?;
        self.check_room(bytes).await
    }

    /// # Errors
    /// [`Error::Full`] while there is still room to delete and to finish what was accepted.
    pub(super) async fn check_room(&self, bytes: u64) -> Result<()> {
        let Some((size, waiting)) = self.ports.documents().size().await? else { return Ok(()) };
        let allowed = self.settings.ingest.database_bytes / 10 * 9;
        let used = size.saturating_add(waiting.saturating_mul(GROWTH));
        let needed = bytes.saturating_mul(GROWTH);
        if used.saturating_add(needed) <= allowed {
            return Ok(());
        }
        Err(Error::Full { used, allowed, needed })
    }
}

/// The generation whose upload a change or a re-index starts from: the newest, whatever was served before it; but if its
/// bytes are at fault, which would only fail again, the one served.
pub(super) fn latest(document: &Document) -> Generation {
    let failure = document.pending.as_ref().and_then(|pending| pending.error.as_ref());
    match (failure, document.generation) {
        (Some(failure), Some(served)) if OF_THE_BYTES.contains(&failure.code.as_str()) => served,
        _ => document.newest,
    }
}

/// A conditional write that others kept coming before.
pub(super) fn contended(condition: &Precondition, document: Option<&Document>) -> Error {
    if *condition != Precondition::None {
        return Error::Precondition { current: document.map_or(0, Document::current) };
    }
    let message = "the document changes faster than it can be changed".into();
    Error::Service { service: "database", retry: Retry::Busy, code: None, message }
}

/// Whether both give the same generation, wherever their originals are.
pub(super) fn alike(old: &Upload, new: &Upload) -> bool {
    old.content_hash == new.content_hash
        && old.media_type == new.media_type
        && old.title == new.title
        && old.embedded_title == new.embedded_title
        && old.metadata == new.metadata
        && old.settings == new.settings
        && old.fingerprint == new.fingerprint
        && plain_fields(old) == new.fields
}

/// The document as this upload leaves it. Not read again: another upload may have come in between, and its uploader is
/// told of that one.
fn queued(
    before: Option<Document>,
    id: &DocumentId,
    upload: Upload,
    generation: Generation,
    now: Millis,
) -> Document {
    let pending = Some(Pending {
        generation,
        status: Status::Queued,
        parts_done: 0,
        parts_total: 0,
        error: None,
        waiting: None,
    });
    if let Some(before) = &before
        && before.generation.is_some()
    {
        return Document { pending, newest: generation, updated_at: now / 1000, ..before.clone() };
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
        newest: generation,
        upload: Some(upload),
    }
}
