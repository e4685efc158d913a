//! Repair of what crashes, lost messages and lag left behind.

use super::{Ingest, SETTLED_AFTER, SLICE};
use crate::Result;
use crate::conversion;
use crate::document::Millis;
use crate::ports::{DocumentStore, Job, JobQueue, ObjectStore, Ports};
use serde::Serialize;
use std::collections::HashSet;

/// An object younger than this may belong to an upload that has not reached its document row yet.
const OBJECT_GRACE: Millis = 60 * 60 * 1000;
/// Documents cleaned up by the sweeper itself where there is no queue.
const CLEANED: usize = 50;

/// What a sweep found and did.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize)]
pub struct Swept {
    /// Jobs sent again.
    pub resent: usize,
    /// Documents cleaned up, or handed to the queue to be.
    pub cleaned: usize,
    /// Unreferenced objects deleted.
    pub objects: usize,
    /// Documents whose turn failed; a later sweep tries again.
    pub failed: usize,
}

impl<P: Ports> Ingest<'_, P> {
    /// Repairs what crashes, lost messages and lag left behind: jobs not moved for `older_than` milliseconds are sent
    /// again, dead generations cleaned up, re-indexing goes on, and, with `objects`, a walk through the whole bucket, objects
    /// that no document names deleted. One document's trouble does not stop the others'.
    ///
    /// # Errors
    /// Storage errors; a later sweep goes on.
    pub async fn sweep(&self, older_than: Millis, objects: bool) -> Result<Swept> {
        let documents = self.ports.documents();
        let now = self.now();
        let mut swept = Swept::default();
        let overdue = documents.overdue(now.saturating_sub(older_than), now, SLICE).await?;
        let jobs: Vec<Job> = overdue
            .iter()
            .map(|found| {
                let (tenant, document) = (found.tenant.clone(), found.document.clone());
                if found.status.is_open() {
                    Self::process_job(&tenant, &document, found.generation, found.bytes)
                } else {
                    Job::Confirm { tenant, document, generation: found.generation }
                }
            })
            .collect();
        if !jobs.is_empty() {
            if self.ports.jobs().send(&jobs, 0).await.is_ok() {
                swept.resent = jobs.len();
                documents.sent(&overdue, now).await?;
            } else {
                swept.failed += jobs.len();
            }
        }
        self.sweep_garbage(now, &mut swept).await?;
        let reindexing = documents.reindexing(SLICE).await?.into_iter();
        let jobs: Vec<Job> =
            reindexing.map(|tenant| Job::Reindex { tenant, after: None, force: None }).collect();
        if !jobs.is_empty() && self.ports.jobs().send(&jobs, 0).await.is_err() {
            swept.failed += jobs.len();
        }
        if objects {
            swept.objects = self.sweep_objects(now).await?;
        }
        Ok(swept)
    }

    async fn sweep_garbage(&self, now: Millis, swept: &mut Swept) -> Result<()> {
        let unclean = self.ports.documents().unclean(now.saturating_sub(SETTLED_AFTER), SLICE).await?;
        if unclean.is_empty() {
            return Ok(());
        }
        let jobs: Vec<Job> = unclean
            .iter()
            .map(|(tenant, document)| Job::Clean { tenant: tenant.clone(), document: document.clone() })
            .collect();
        if self.ports.jobs().send(&jobs, 0).await.is_ok() {
            swept.cleaned = jobs.len();
            return Ok(());
        }
        for (tenant, document) in unclean.iter().take(CLEANED) {
            match self.clean(tenant, document).await {
                Ok(_) => swept.cleaned += 1,
                Err(_) => swept.failed += 1,
            }
        }
        Ok(())
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
            // What was made of an original goes with it.
            let mut originals: Vec<String> =
                old.iter().map(|key| conversion::original(key).to_owned()).collect();
            originals.dedup();
            let unreferenced = self.ports.documents().unreferenced(&originals).await?;
            let unreferenced: HashSet<&str> = unreferenced.iter().map(String::as_str).collect();
            let lost: Vec<String> =
                old.into_iter().filter(|key| unreferenced.contains(conversion::original(key))).collect();
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
}
