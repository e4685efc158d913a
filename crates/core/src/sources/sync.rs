//! A sync: a source's whole bucket is listed and compared with what is known of it. What differs is looked at, by jobs.
//!
//! A page of the listing and the rows between its first and last key are compared, so an object that is as it was costs no
//! write. Rows whose keys a page does not have are marked with the run; only when the listing is complete are they looked
//! at, and only what such a look does not find is deleted.

use super::{Sources, differs};
use crate::document::{DocumentId, Millis};
use crate::ingest::SETTLED_AFTER;
use crate::ports::{Job, JobQueue, Listed, Page, SourceBuckets, SourcePorts, SourceTable, Sync, SyncState};
use crate::settings::Source;
use crate::{Error, Result};
use std::collections::HashMap;

/// A sync that has not moved for so long has lost its job: another one may begin.
pub const STALE_AFTER: Millis = SETTLED_AFTER;
/// Objects of a page: a listing has 1,000, but 1,000 of the longest keys are more than one value of D1 takes.
const PAGE: usize = 500;
/// Looks that a job asks for before it leaves the rest to another one, which stands behind them: so a sync keeps moving, and
/// there are never many times more looks in the queue than are done before it counts as lost.
const LOOKS: usize = 5000;
/// Bytes of keys and ids of a page, as JSON.
const PAGE_BYTES: usize = 600_000;

impl<P: SourcePorts> Sources<'_, P> {
    /// Starts a sync. When one runs, another one is done after it. `confirm_empty`: when the bucket lists nothing, all
    /// documents are to be deleted. Returns the sync that runs.
    ///
    /// # Errors
    /// Errors of the table.
    pub async fn start(&self, source: &Source, confirm_empty: bool) -> Result<Sync> {
        let now = self.now();
        let (sync, fresh) =
            self.ports.table().begin(source, confirm_empty, now.saturating_sub(STALE_AFTER), now).await?;
        if fresh {
            // Lost or refused: it goes stale, and another one begins.
            let _ = self.send(source, sync.run, None, false).await;
        }
        Ok(sync)
    }

    /// Starts the syncs that are due. Returns how many.
    ///
    /// # Errors
    /// Errors of the table.
    pub async fn start_due(&self) -> Result<usize> {
        let period = Millis::from(self.settings.ingest.sync_minutes) * 60_000;
        let (now, mut started) = (self.now(), 0);
        if period == 0 {
            return Ok(0);
        }
        for source in &self.settings.ingest.sources {
            let last = self.ports.table().sync(&source.name()).await?;
            let due = last.is_none_or(|last| {
                let lost = last.moved_at + STALE_AFTER <= now;
                if last.state.is_running() { lost } else { last.started_at + period <= now }
            });
            if due {
                self.start(source, false).await?;
                started += 1;
            }
        }
        Ok(started)
    }

    /// A job's share of a sync: pages until `go_on` says no, or many looks were asked for; then the next job.
    ///
    /// # Errors
    /// Errors of bucket, table and queue; repeating the job goes on.
    pub async fn step(
        &self,
        source: &Source,
        run: u64,
        after: Option<&str>,
        sweep: bool,
        go_on: &dyn Fn() -> bool,
    ) -> Result<()> {
        let name = source.name();
        let mut after = after.map(ToOwned::to_owned);
        let mut sweep = sweep;
        let mut looks = 0;
        loop {
            let wanted = if sweep { SyncState::Sweeping } else { SyncState::Listing };
            let sync = self.ports.table().sync(&name).await?;
            if sync.is_none_or(|sync| sync.run != run || sync.state != wanted) {
                return Ok(());
            }
            let (next, asked) = if sweep {
                self.sweep_page(&name, run, after.as_deref()).await?
            } else {
                match self.list_page(source, run, after.as_deref()).await {
                    Err(Error::Invalid { message, .. }) => {
                        let remark = Some(("misconfigured", message.as_str()));
                        return self.end(source, run, SyncState::Failed, remark).await;
                    }
                    other => other?,
                }
            };
            match (next, sweep) {
                (Some(last), _) => after = Some(last),
                (None, true) => return self.end(source, run, SyncState::Done, None).await,
                (None, false) => {
                    if !self.listed(source, run).await? {
                        return Ok(());
                    }
                    (after, sweep) = (None, true);
                }
            }
            looks += asked;
            if looks >= LOOKS || !go_on() {
                return self.send(source, run, after, sweep).await;
            }
        }
    }

    /// Goes through a page; its last key, if it is not the last page, and how many looks it asked for.
    async fn list_page(
        &self,
        source: &Source,
        run: u64,
        after: Option<&str>,
    ) -> Result<(Option<String>, usize)> {
        let (table, name) = (self.ports.table(), source.name());
        let (mut objects, mut more) =
            self.ports.buckets().list(&source.binding, &source.prefix, after, PAGE).await?;
        let fits = fitting(&objects);
        more |= fits < objects.len();
        objects.truncate(fits);
        let mut keys: Vec<(String, DocumentId)> = Vec::with_capacity(objects.len());
        let mut versions = HashMap::new();
        for object in &objects {
            if source.takes(&object.key) {
                keys.push((object.key.clone(), source.document_id(&object.key)?));
                versions.insert(object.key.as_str(), object.version.as_str());
            }
        }
        let stamp = source.stamp(self.settings);
        let known =
            if keys.is_empty() { Vec::new() } else { table.known(&name, &source.tenant, &keys).await? };
        let known: HashMap<&str, _> = known.iter().map(|known| (known.key.as_str(), known)).collect();
        let changed: Vec<(String, DocumentId)> = keys
            .iter()
            .filter(|(key, id)| {
                let Some(known) = known.get(key.as_str()) else { return true };
                let row = known.row.as_ref();
                let at_its_place = row.is_none_or(|row| row.tenant == source.tenant && row.document == *id);
                differs(versions[key.as_str()], known, at_its_place, &stamp)
            })
            .cloned()
            .collect();
        if !changed.is_empty() {
            table.pend(&name, &source.tenant, &changed, self.now()).await?;
            self.send_looks(&name, changed.iter().map(|(key, _)| key.clone())).await?;
        }
        let until = objects.last().filter(|_| more).map(|object| object.key.clone());
        let page = Page {
            after: after.map(ToOwned::to_owned),
            until: until.clone(),
            listed: objects.len() as u64,
            excluded: (objects.len() - keys.len()) as u64,
            changed: changed.len() as u64,
            present: keys.into_iter().map(|(key, _)| key).collect(),
        };
        table.turn(&name, run, &page, self.now()).await?;
        Ok((until, changed.len()))
    }

    /// The listing is complete. Whether what it did not have may be looked at: a bucket that suddenly lists nothing is more
    /// likely the wrong one.
    async fn listed(&self, source: &Source, run: u64) -> Result<bool> {
        let (table, name) = (self.ports.table(), source.name());
        let Some(sync) = table.sync(&name).await?.filter(|sync| sync.run == run) else { return Ok(false) };
        if sync.listed == 0 && !sync.confirm_empty {
            let taken = table.taken(&name).await?;
            if taken > 0 {
                let message = format!(
                    "the bucket listed no object with the prefix `{}`, but {taken} documents came from it: none was \
                     deleted. If it is meant to be empty, sync with `confirm_empty`; if not, see to the binding `{}`",
                    source.prefix, source.binding
                );
                let remark = Some(("empty_listing", message.as_str()));
                self.end(source, run, SyncState::Refused, remark).await?;
                return Ok(false);
            }
        }
        table.sweep(&name, run, self.now()).await?;
        Ok(true)
    }

    async fn sweep_page(&self, name: &str, run: u64, after: Option<&str>) -> Result<(Option<String>, usize)> {
        let table = self.ports.table();
        let keys = table.missing(name, run, after, PAGE).await?;
        let last = keys.last().filter(|_| keys.len() == PAGE).cloned();
        let asked = keys.len();
        self.send_looks(name, keys.into_iter()).await?;
        table.sweep(name, run, self.now()).await?;
        Ok((last, asked))
    }

    async fn end(
        &self,
        source: &Source,
        run: u64,
        state: SyncState,
        remark: Option<(&str, &str)>,
    ) -> Result<()> {
        let again = self.ports.table().end(&source.name(), run, state, remark, self.now()).await?;
        if let Some(confirm_empty) = again {
            self.start(source, confirm_empty).await?;
        }
        Ok(())
    }

    async fn send(&self, source: &Source, run: u64, after: Option<String>, sweep: bool) -> Result<()> {
        let job = Job::Sync { source: source.name(), run, after, sweep };
        self.ports.jobs().send(&[job], 0).await
    }

    pub(super) async fn send_looks(&self, name: &str, keys: impl Iterator<Item = String>) -> Result<()> {
        let jobs: Vec<Job> = keys.map(|key| Job::Look { source: name.to_owned(), key }).collect();
        if jobs.is_empty() { Ok(()) } else { self.ports.jobs().send(&jobs, 0).await }
    }
}

/// How many of these objects a page can have; at least one.
fn fitting(objects: &[Listed]) -> usize {
    // An id has at most 128 bytes, and a control character is six in JSON.
    let size = |object: &Listed| {
        let controls = object.key.bytes().filter(|byte| *byte < 0x20 || *byte == 0x7f).count();
        object.key.len() + 5 * controls + DocumentId::MAX_BYTES + 16
    };
    let mut room = PAGE_BYTES;
    let fits = objects.iter().take_while(|object| {
        let size = size(object);
        let has_room = size <= room;
        room = room.saturating_sub(size);
        has_room
    });
    fits.count().max(1).min(objects.len())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_page_of_the_longest_keys_fits_into_a_value() {
        let objects = |key: &str, count| vec![Listed { key: key.into(), version: String::new() }; count];
        assert_eq!(fitting(&objects("docs/a.md", PAGE)), PAGE);
        assert_eq!(fitting(&objects(&"x".repeat(1024), PAGE)), 500);
        let worst = fitting(&objects(&"\u{1}".repeat(1024), PAGE));
        assert!((90..100).contains(&worst), "{worst}");
        assert_eq!(fitting(&[]), 0);
    }
}
