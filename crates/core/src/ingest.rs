//! The life of a document: register, plan, process, flip, clean up, sweep, re-index.
//!
//! The write order is what makes at-least-once delivery exact: ledger before upsert, upsert before rows, rows before
//! the flip; a generation is served by one conditional statement, and vectors go only after nothing refers to them.

mod batch;
mod process;
mod register;
mod reindex;
mod source;
mod sweep;

pub use process::Outcome;
pub(crate) use register::OF_THE_BYTES;
pub use register::{Change, NewUpload, Precondition, Registered};
pub use reindex::Reindex;
pub use source::{Readable, Text, file_name};
pub use sweep::Swept;

use crate::conversion;
use crate::document::{Document, DocumentId, Generation, Metadata, Millis, Upload};
use crate::identity::{digest, short};
use crate::ports::{Clock, DocumentStore, Job, JobQueue, ObjectStore, Ports, TenantState, VectorIndex};
use crate::settings::{EmbeddingSettings, Settings};
use crate::{Error, Result, Tenant};

/// Chunks of a part: what one embedding call takes.
pub const PART_CHUNKS: usize = 100;
/// Longest time a consumer may work on a batch (Queues: 15 minutes), with a margin. An intent older than that has no
/// writer any more.
pub const SETTLED_AFTER: Millis = 20 * 60 * 1000;
/// Rows deleted and vectors named per slice of a clean-up.
pub const SLICE: usize = 500;
/// Bytes of database per byte of an original: chunks, keyword terms, rows and their indexes. Measured on Markdown.
pub const GROWTH: u64 = 4;

/// The ingest pipeline.
#[derive(Debug)]
pub struct Ingest<'a, P> {
    ports: &'a P,
    settings: &'a Settings,
}

impl<'a, P: Ports> Ingest<'a, P> {
    /// A pipeline over `ports`.
    pub fn new(ports: &'a P, settings: &'a Settings) -> Self {
        Self { ports, settings }
    }

    fn now(&self) -> Millis {
        self.ports.clock().now()
    }

    /// Looks whether a served generation's vectors are visible and notes it.
    ///
    /// # Errors
    /// Storage and index errors.
    pub async fn confirm(&self, tenant: &Tenant, id: &DocumentId, generation: Generation) -> Result<bool> {
        let documents = self.ports.documents();
        let limit = P::Vectors::LOOKUP_BATCH;
        let vectors = documents.last_vectors(tenant, id, generation, limit).await?;
        if !vectors.is_empty() && self.ports.vectors().fetch(tenant, &vectors).await?.len() < vectors.len() {
            return Ok(false);
        }
        documents.indexed(tenant, id, generation, self.now()).await?;
        Ok(true)
    }

    /// Deletes a document: gone from every answer when this returns; the rest is cleaned up later.
    ///
    /// # Errors
    /// [`Error::Precondition`]; storage errors.
    pub async fn delete(&self, tenant: &Tenant, id: &DocumentId, condition: &Precondition) -> Result<bool> {
        let documents = self.ports.documents();
        for _ in 0..register::TRIES {
            let expected = if *condition == Precondition::None {
                None
            } else {
                let found = documents.get(tenant, id).await?;
                condition.check(found.as_ref())?;
                let Some(found) = found else { return Ok(false) };
                Some(found.newest)
            };
            let deleted = documents.delete(tenant, id, expected, self.now()).await?;
            if deleted {
                // Lost or refused: the sweeper cleans up.
                let job = Job::Clean { tenant: tenant.clone(), document: id.clone() };
                let _ = self.ports.jobs().send(&[job], 0).await;
            }
            if deleted || expected.is_none() {
                return Ok(deleted);
            }
        }
        Err(register::contended(condition, documents.get(tenant, id).await?.as_ref()))
    }

    /// [`Self::delete`] of all documents whose ids begin so; returns how many.
    ///
    /// # Errors
    /// Storage errors; those deleted before stay deleted.
    pub async fn delete_prefix(&self, tenant: &Tenant, prefix: &str) -> Result<usize> {
        let mut deleted = 0;
        loop {
            let slice = self.ports.documents().delete_prefix(tenant, prefix, SLICE, self.now()).await?;
            let job =
                |document: &DocumentId| Job::Clean { tenant: tenant.clone(), document: document.clone() };
            let jobs: Vec<Job> = slice.iter().map(job).collect();
            // Lost or refused: the sweeper cleans up.
            let _ = self.ports.jobs().send(&jobs, 0).await;
            deleted += slice.len();
            if slice.len() < SLICE {
                return Ok(deleted);
            }
        }
    }

    /// Removes what nothing serves or will serve any more, a slice at a time. Returns the vectors deleted and whether
    /// more is left.
    ///
    /// # Errors
    /// Storage and index errors; what was deleted before stays deleted.
    pub async fn clean(&self, tenant: &Tenant, id: &DocumentId) -> Result<(usize, bool)> {
        let documents = self.ports.documents();
        let settled = self.now().saturating_sub(SETTLED_AFTER);
        let garbage = documents.garbage(tenant, id, SLICE, settled).await?;
        for vectors in garbage.vectors.chunks(P::Vectors::BATCH) {
            self.ports.vectors().delete(tenant, vectors).await?;
            documents.forget_vectors(tenant, id, vectors).await?;
        }
        if !garbage.objects.is_empty() {
            let objects: Vec<String> =
                garbage.objects.iter().flat_map(|key| conversion::objects(key)).collect();
            self.ports.objects().delete(&objects).await?;
        }
        if !garbage.generations.is_empty() {
            documents.forget_generations(tenant, id, &garbage.generations).await?;
        }
        Ok((garbage.vectors.len(), garbage.more))
    }

    /// What a tenant's uploads are embedded with. While a re-index runs, that is the embedding that is searched still.
    fn embedding<'s>(&'s self, state: &'s TenantState) -> Result<&'s EmbeddingSettings> {
        let configured = &self.settings.embedding;
        match &state.embedding {
            None => Ok(configured),
            Some(stored) if state.next.is_some() || stored.fingerprint() == configured.fingerprint() => {
                Ok(stored)
            }
            Some(stored) => Err(Error::Fingerprint {
                stored: stored.fingerprint().as_str().into(),
                configured: configured.fingerprint().as_str().into(),
            }),
        }
    }

    /// Hash of the metadata that a document's vectors carry: declared fields only.
    fn fields(&self, metadata: &Metadata) -> String {
        let declared = serde_json::to_string(&self.declared(metadata)).unwrap_or_default();
        short(&digest(&[declared.as_bytes()]), 6)
    }

    /// The metadata that vectors carry.
    fn declared(&self, metadata: &Metadata) -> Metadata {
        let declared = |name: &String| self.settings.fields.iter().any(|field| field.name == *name);
        metadata
            .iter()
            .filter(|(name, value)| declared(name) && !value.is_null())
            .map(|(name, value)| (name.clone(), value.clone()))
            .collect()
    }

    fn process_job(tenant: &Tenant, document: &DocumentId, generation: Generation, bytes: u64) -> Job {
        Job::Process { tenant: tenant.clone(), document: document.clone(), generation, bytes }
    }
}

/// The generation of a document that waits to be processed.
pub fn pending_generation(document: &Document) -> Option<Generation> {
    document.pending.as_ref().filter(|pending| pending.status.is_open()).map(|pending| pending.generation)
}

/// [`Upload::fields`] without the mark that a forced re-index leaves.
fn plain_fields(upload: &Upload) -> &str {
    upload.fields.split('~').next().unwrap_or_default()
}
