//! Documents made with other settings are made anew, beside what is served.

use super::Ingest;
use super::register::{alike, latest};
use crate::document::{DocumentId, Generation, Millis, Upload};
use crate::ports::{DocumentStore, Job, JobQueue, ListQuery, Ports, Progress, TenantState, VectorIndex};
use crate::settings::EmbeddingSettings;
use crate::{Error, Result, Tenant};

/// Documents of a slice.
const DOCUMENTS: usize = 50;

/// Seconds before the next look whether vectors are visible.
const LOOK_AGAIN: u32 = 5;
/// Seconds before a re-index looks whether there is room again.
const NO_ROOM: u32 = 600;
/// Vectors that do not show after that long are not waited for (Vectorize: p99 below 2 minutes).
const VISIBLE_AFTER: Millis = 10 * 60 * 1000;

/// What is to be made anew.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Reindex {
    /// One document; all of the tenant's without.
    pub document: Option<DocumentId>,
    /// Also what is up to date: each vector is looked up, and embedded anew if it is gone.
    pub force: bool,
}

impl<P: Ports> Ingest<'_, P> {
    /// Starts making documents anew from their stored originals, with the settings there are now. What is served stays until
    /// a document's new generation is complete, or, if the embedding changes, until all of the tenant's are.
    ///
    /// # Errors
    /// [`Error::Invalid`] when there is no such document, no index takes vectors of the new length, or one document alone
    /// is to get another embedding; storage errors.
    pub async fn reindex(&self, tenant: &Tenant, request: &Reindex) -> Result<Progress> {
        let documents = self.ports.documents();
        let configured = &self.settings.embedding;
        let state = documents.adopt(tenant, configured).await?;
        let now = self.now();
        let changes =
            state.embedding.as_ref().is_some_and(|stored| stored.fingerprint() != configured.fingerprint());
        let force = request.force.then_some(now);
        let jobs = if let Some(id) = &request.document {
            if changes && state.next.is_none() {
                let message = "the embedding settings changed: re-index the whole tenant, without `document`";
                return Err(Error::invalid("document", message));
            }
            let Some(found) = documents.get(tenant, id).await? else {
                return Err(Error::invalid("document", format!("there is no `{id}`")));
            };
            let embedding = state.embedding.as_ref().unwrap_or(configured);
            let job = self.renew(tenant, id, found.newest, latest(&found), embedding, force, false).await?;
            job.into_iter().collect()
        } else {
            if changes {
                self.check_dimensions(configured).await?;
            }
            documents.start_reindex(tenant, changes.then_some(configured), force, now).await?;
            vec![Job::Reindex { tenant: tenant.clone(), after: None, force }]
        };
        // Lost or refused: the sweeper goes on.
        let _ = self.ports.jobs().send(&jobs, 0).await;
        documents.progress(tenant, &self.settings.ingest_hash(), configured.fingerprint().as_str()).await
    }

    /// What a tenant's vectors are made with, and how far the documents are.
    ///
    /// # Errors
    /// Storage errors.
    pub async fn reindex_progress(&self, tenant: &Tenant) -> Result<(TenantState, Progress)> {
        let documents = self.ports.documents();
        let state = documents.tenant(tenant).await?;
        let target = state.next.as_ref().unwrap_or(&self.settings.embedding).fingerprint();
        let progress = documents.progress(tenant, &self.settings.ingest_hash(), target.as_str()).await?;
        Ok((state, progress))
    }

    /// A job's share of a re-index: slices of documents until `go_on` says no, then the next job.
    ///
    /// # Errors
    /// Storage errors; repeating the job goes on.
    pub async fn reindex_step(
        &self,
        tenant: &Tenant,
        after: Option<&DocumentId>,
        force: Option<Millis>,
        go_on: &dyn Fn() -> bool,
    ) -> Result<()> {
        let documents = self.ports.documents();
        let state = documents.tenant(tenant).await?;
        let Some(target) = state.next.as_ref().or(state.embedding.as_ref()) else { return Ok(()) };
        if !state.reindexing || (force.is_some() && force != state.force) {
            return Ok(());
        }
        // A job without one, such as the sweeper's, goes on with the run there is.
        let force = state.force;
        let hash = self.settings.ingest_hash();
        let mut after = after.cloned();
        loop {
            let slice: Vec<(DocumentId, Generation, Generation)> = if force.is_some() {
                let query = ListQuery {
                    after: after.as_ref().map(ToString::to_string),
                    limit: DOCUMENTS,
                    ..ListQuery::default()
                };
                let found = documents.list(tenant, &query).await?.into_iter();
                found.map(|found| (found.id.clone(), found.newest, latest(&found))).collect()
            } else {
                let fingerprint = target.fingerprint();
                let found = documents
                    .outdated(tenant, &hash, fingerprint.as_str(), after.as_ref(), DOCUMENTS)
                    .await?;
                let mut slice = Vec::with_capacity(found.len());
                for outdated in found {
                    if let Some(found) = documents.get(tenant, &outdated.document).await? {
                        slice.push((outdated.document, outdated.newest, latest(&found)));
                    } else {
                        slice.push((outdated.document, outdated.newest, outdated.base));
                    }
                }
                slice
            };
            let (mut jobs, mut full) = (Vec::new(), false);
            for (id, newest, base) in &slice {
                match self.renew(tenant, id, *newest, *base, target, force, true).await {
                    Ok(job) => jobs.extend(job),
                    Err(Error::Full { .. }) => {
                        full = true;
                        break;
                    }
                    Err(error) => return Err(error),
                }
            }
            // Lost or refused: the sweeper sends them.
            let _ = self.ports.jobs().send(&jobs, 0).await;
            if full {
                // What is replaced makes room when it is cleaned up; or somebody has to.
                let next = Job::Reindex { tenant: tenant.clone(), after, force };
                return self.ports.jobs().send(&[next], NO_ROOM).await;
            }
            if slice.len() < DOCUMENTS {
                return self.finish_reindex(tenant, &state).await;
            }
            after = slice.into_iter().last().map(|(id, ..)| id);
            if !go_on() {
                let next = Job::Reindex { tenant: tenant.clone(), after, force };
                return self.ports.jobs().send(&[next], 0).await;
            }
        }
    }

    /// Begins a generation from what `base` was made from, unless that is up to date and not known to be `outdated`.
    #[allow(clippy::too_many_arguments, reason = "which document, from what, and into what")]
    pub(super) async fn renew(
        &self,
        tenant: &Tenant,
        id: &DocumentId,
        newest: Generation,
        base: Generation,
        embedding: &EmbeddingSettings,
        force: Option<Millis>,
        outdated: bool,
    ) -> Result<Option<Job>> {
        let documents = self.ports.documents();
        let Some(old) = documents.upload(tenant, id, base).await? else { return Ok(None) };
        let fields = self.fields(&old.metadata);
        let upload = Upload {
            fields: force.map_or_else(|| fields.clone(), |at| format!("{fields}~{at}")),
            settings: self.settings.ingest_hash(),
            fingerprint: embedding.fingerprint().as_str().to_owned(),
            embedded_title: old.title.clone(),
            ..old.clone()
        };
        let up_to_date = if force.is_some() { old == upload } else { !outdated && alike(&old, &upload) };
        if up_to_date {
            return Ok(None);
        }
        self.check_room(upload.bytes).await?;
        // Another upload came in between: that one is made with the settings there are.
        let begun = documents.begin(tenant, id, &upload, Some(newest), self.now()).await?;
        Ok(begun.map(|generation| Self::process_job(tenant, id, generation, upload.bytes)))
    }

    /// Ends a re-index whose walk is over, or, when the embedding changes, lets all documents flip if they are ready. They wait
    /// for their vectors to show: until then the old ones answer.
    pub(super) async fn finish_reindex(&self, tenant: &Tenant, state: &TenantState) -> Result<()> {
        let documents = self.ports.documents();
        let Some(next) = &state.next else { return documents.end_reindex(tenant, state.force).await };
        let limit = P::Vectors::LOOKUP_BATCH;
        let now = self.now();
        let since = now.saturating_sub(VISIBLE_AFTER);
        let Some(vectors) = documents.ready(tenant, next, since, limit).await? else { return Ok(()) };
        if !vectors.is_empty() && self.ports.vectors().fetch(tenant, &vectors).await?.len() < vectors.len() {
            let job = Job::Reindex { tenant: tenant.clone(), after: None, force: None };
            return self.ports.jobs().send(&[job], LOOK_AGAIN).await;
        }
        if documents.flip_tenant(tenant, next, now).await? {
            // Once more over all: what became outdated meanwhile, and then the end. Lost: the sweeper sends it.
            let job = Job::Reindex { tenant: tenant.clone(), after: None, force: None };
            let _ = self.ports.jobs().send(&[job], 0).await;
        }
        Ok(())
    }

    async fn check_dimensions(&self, embedding: &EmbeddingSettings) -> Result<()> {
        let possible = self.ports.vectors().dimensions().await?;
        if possible.contains(&embedding.dimensions) {
            return Ok(());
        }
        let message = format!(
            "is {}, but the vector index takes {possible:?}: create a second index of {} dimensions, bind it beside the \
             first, and re-index again",
            embedding.dimensions, embedding.dimensions
        );
        Err(Error::invalid("embedding.dimensions", message))
    }
}
