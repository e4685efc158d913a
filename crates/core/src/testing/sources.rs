//! Buckets and what is known of their objects, in memory.

use super::MemoryPorts;
use crate::document::{DocumentId, Millis};
use crate::identity::{content_hash, copy_key};
use crate::ports::{
    Copied, DocumentStore, Head, Holder, Known, Listed, Noted, ObjectState, ObjectStore, Page, Ports, Row,
    SourceBuckets, SourcePorts, SourceTable, Sync, SyncState,
};
use crate::settings::Source;
use crate::{Error, Result, Retry, Tenant};
use std::cell::{Cell, RefCell};
use std::collections::BTreeMap;
use std::future::poll_fn;
use std::task::Poll;

/// An object of a bucket in memory.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct BucketObject {
    /// What a look at it gives.
    pub head: Head,
    /// Its bytes.
    pub bytes: Vec<u8>,
}

/// What is noted of an object.
#[derive(Clone, Debug, PartialEq)]
pub struct StoredObject {
    /// What the port shows.
    pub row: Row,
    /// Why it is as it is.
    pub remark: Option<(String, String)>,
    /// The run in which it was missing last.
    pub missing: Option<u64>,
}

/// A source's newest sync, and whether another was asked for.
#[derive(Clone, Debug)]
struct Course {
    sync: Sync,
    position: Option<String>,
    again: Option<bool>,
}

/// [`MemoryPorts`] with buckets. Every call of bucket and table is a point at which others may go on; it fails when
/// [`failing`](Self::failing) says so.
#[derive(Debug, Default)]
pub struct MemorySources {
    /// All other ports.
    pub ports: MemoryPorts,
    /// Objects by binding and key.
    pub objects: RefCell<BTreeMap<(String, String), BucketObject>>,
    /// What is known of them, by source and key.
    pub rows: RefCell<BTreeMap<(String, String), StoredObject>>,
    /// Calls until one fails; `None` for never.
    pub failing: Cell<Option<u32>>,
    /// Rows written.
    pub written: Cell<usize>,
    /// Objects copied.
    pub copied: Cell<usize>,
    /// A binding that is missing.
    pub unbound: RefCell<Option<String>>,
    courses: RefCell<BTreeMap<String, Course>>,
    numbers: Cell<u64>,
}

impl MemorySources {
    /// Writes an object, as a new version.
    pub fn put(&self, binding: &str, key: &str, head: Head, bytes: &[u8]) {
        let head = Head { version: self.number().to_string(), bytes: bytes.len() as u64, ..head };
        let object = BucketObject { head, bytes: bytes.to_vec() };
        self.objects.borrow_mut().insert((binding.to_owned(), key.to_owned()), object);
    }

    fn check_binding(&self, binding: &str) -> Result<()> {
        if self.unbound.borrow().as_deref() == Some(binding) {
            return Err(Error::invalid("ingest.sources.binding", format!("there is no `{binding}`")));
        }
        Ok(())
    }

    fn number(&self) -> u64 {
        self.numbers.set(self.numbers.get() + 1);
        self.numbers.get()
    }

    /// Lets others go on, and fails when it is time.
    async fn turn_to_others(&self) -> Result<()> {
        let mut waited = false;
        poll_fn(|context| {
            if std::mem::replace(&mut waited, true) {
                return Poll::Ready(());
            }
            context.waker().wake_by_ref();
            Poll::Pending
        })
        .await;
        match self.failing.get() {
            Some(0) => {
                self.failing.set(None);
                let message = "as the test says".into();
                Err(Error::Service { service: "source", retry: Retry::Backoff, code: None, message })
            }
            left => {
                self.failing.set(left.map(|left| left - 1));
                Ok(())
            }
        }
    }

    async fn holder(&self, tenant: &Tenant, id: &DocumentId) -> Result<Option<Holder>> {
        let Some(found) = self.ports.documents.get(tenant, id).await? else { return Ok(None) };
        let upload = self.ports.documents.upload(tenant, id, found.newest).await?;
        let error = found.pending.as_ref().map_or(&found.error, |pending| &pending.error);
        let failure = error.as_ref().map(|failure| failure.code.clone());
        Ok(upload.map(|upload| Holder { current: found.current(), original: upload.object_key, failure }))
    }

    /// The first of the other keys of a source whose rows have this document.
    fn rival(&self, source: &str, tenant: &Tenant, key: &str, id: &DocumentId) -> Option<(String, Row)> {
        let rows = self.rows.borrow();
        let mut others = rows.iter().filter(|((owner, other), stored)| {
            owner == source && other != key && stored.row.tenant == *tenant && stored.row.document == *id
        });
        others.next().map(|((_, other), stored)| (other.clone(), stored.row.clone()))
    }

    fn stored(&self, source: &str, key: &str) -> Option<StoredObject> {
        self.rows.borrow().get(&(source.to_owned(), key.to_owned())).cloned()
    }

    fn store(&self, source: &str, key: &str, stored: StoredObject) {
        self.written.set(self.written.get() + 1);
        let row = Row { edition: self.number(), ..stored.row };
        let stored = StoredObject { row, ..stored };
        self.rows.borrow_mut().insert((source.to_owned(), key.to_owned()), stored);
    }

    /// The course of this run, unless it is over.
    fn on_course(&self, source: &str, run: u64, act: impl FnOnce(&mut Course)) {
        let mut courses = self.courses.borrow_mut();
        let running = |course: &&mut Course| course.sync.run == run && course.sync.state.is_running();
        if let Some(course) = courses.get_mut(source).filter(running) {
            act(course);
        }
    }
}

impl SourceBuckets for MemorySources {
    async fn list(
        &self,
        binding: &str,
        prefix: &str,
        after: Option<&str>,
        limit: usize,
    ) -> Result<(Vec<Listed>, bool)> {
        self.turn_to_others().await?;
        self.check_binding(binding)?;
        let objects = self.objects.borrow();
        let mut found: Vec<Listed> = objects
            .iter()
            .filter(|((owner, key), _)| {
                owner == binding && key.starts_with(prefix) && after.is_none_or(|after| key.as_str() > after)
            })
            .take(limit + 1)
            .map(|((_, key), object)| Listed { key: key.clone(), version: object.head.version.clone() })
            .collect();
        let more = found.len() > limit;
        found.truncate(limit);
        Ok((found, more))
    }

    async fn head(&self, binding: &str, key: &str) -> Result<Option<Head>> {
        self.turn_to_others().await?;
        self.check_binding(binding)?;
        let objects = self.objects.borrow();
        Ok(objects.get(&(binding.to_owned(), key.to_owned())).map(|object| object.head.clone()))
    }

    async fn copy(
        &self,
        binding: &str,
        key: &str,
        head: &Head,
        tenant: &Tenant,
        media_type: &str,
    ) -> Result<Option<Copied>> {
        self.turn_to_others().await?;
        let found = self.objects.borrow().get(&(binding.to_owned(), key.to_owned())).cloned();
        let Some(found) = found.filter(|found| found.head.version == head.version) else { return Ok(None) };
        self.copied.set(self.copied.get() + 1);
        let object_key = copy_key(tenant, &self.number().to_string())?;
        self.ports.objects.put(tenant, &object_key, &found.bytes, media_type).await?;
        let (bytes, content_hash) = (found.bytes.len() as u64, content_hash(&found.bytes));
        self.turn_to_others().await?;
        Ok(Some(Copied { object_key, bytes, content_hash }))
    }
}

impl SourceTable for MemorySources {
    async fn known(
        &self,
        source: &str,
        tenant: &Tenant,
        keys: &[(String, DocumentId)],
    ) -> Result<Vec<Known>> {
        self.turn_to_others().await?;
        let mut all = Vec::new();
        for (key, id) in keys {
            let row = self
                .stored(source, key)
                .map(|stored| Row { pending: stored.row.pending || stored.missing.is_some(), ..stored.row });
            let holder = self.holder(tenant, id).await?;
            let rival = self.rival(source, tenant, key, id);
            let shared = rival.as_ref().zip(holder.as_ref()).is_some_and(|((_, row), holder)| {
                row.state == ObjectState::Taken && row.original.as_ref() == Some(&holder.original)
            });
            let rival = rival.map(|(rival, _)| rival);
            all.push(Known { key: key.clone(), row, holder, rival, shared });
        }
        Ok(all)
    }

    async fn pend(
        &self,
        source: &str,
        tenant: &Tenant,
        keys: &[(String, DocumentId)],
        _: Millis,
    ) -> Result<()> {
        self.turn_to_others().await?;
        for (key, id) in keys {
            let stored = self.stored(source, key).unwrap_or_else(|| StoredObject {
                row: Row {
                    tenant: tenant.clone(),
                    document: id.clone(),
                    state: ObjectState::New,
                    version: None,
                    stamp: String::new(),
                    original: None,
                    pending: true,
                    edition: 0,
                },
                remark: None,
                missing: None,
            });
            let row = Row { pending: true, ..stored.row };
            self.store(source, key, StoredObject { row, ..stored });
        }
        Ok(())
    }

    async fn note(&self, source: &str, tenant: &Tenant, key: &str, noted: &Noted, _: Millis) -> Result<()> {
        self.turn_to_others().await?;
        let row = Row {
            tenant: tenant.clone(),
            document: noted.document.clone(),
            state: noted.state,
            version: noted.version.clone(),
            stamp: noted.stamp.clone(),
            original: noted.original.clone(),
            pending: false,
            edition: 0,
        };
        self.store(source, key, StoredObject { row, remark: noted.remark.clone(), missing: None });
        Ok(())
    }

    async fn settle(&self, source: &str, key: &str) -> Result<()> {
        self.turn_to_others().await?;
        if let Some(stored) = self.stored(source, key) {
            let row = Row { pending: false, ..stored.row };
            self.store(source, key, StoredObject { row, missing: None, ..stored });
        }
        Ok(())
    }

    async fn forget(&self, source: &str, key: &str, edition: u64) -> Result<()> {
        self.turn_to_others().await?;
        if self.stored(source, key).is_some_and(|stored| stored.row.edition == edition) {
            self.rows.borrow_mut().remove(&(source.to_owned(), key.to_owned()));
        }
        Ok(())
    }

    async fn begin(
        &self,
        source: &Source,
        confirm_empty: bool,
        stale: Millis,
        now: Millis,
    ) -> Result<(Sync, bool)> {
        self.turn_to_others().await?;
        let mut courses = self.courses.borrow_mut();
        let last = courses.get_mut(&source.name());
        let run = last.as_ref().map_or(1, |course| course.sync.run + 1);
        if let Some(course) = last
            && course.sync.state.is_running()
            && course.sync.moved_at > stale
        {
            course.again = Some(course.again.unwrap_or(false) || confirm_empty);
            return Ok((course.sync.clone(), false));
        }
        let sync = Sync {
            run,
            state: SyncState::Listing,
            confirm_empty,
            started_at: now,
            moved_at: now,
            listed: 0,
            excluded: 0,
            changed: 0,
            code: None,
            message: None,
        };
        courses.insert(source.name(), Course { sync: sync.clone(), position: None, again: None });
        Ok((sync, true))
    }

    async fn sync(&self, source: &str) -> Result<Option<Sync>> {
        self.turn_to_others().await?;
        Ok(self.courses.borrow().get(source).map(|course| course.sync.clone()))
    }

    async fn turn(&self, source: &str, run: u64, page: &Page, now: Millis) -> Result<()> {
        self.turn_to_others().await?;
        let mut running = false;
        self.on_course(source, run, |course| {
            running = course.sync.state == SyncState::Listing;
            if !running {
                return;
            }
            course.sync.moved_at = now;
            if course.position == page.after {
                course.sync.listed += page.listed;
                course.sync.excluded += page.excluded;
                course.sync.changed += page.changed;
                course.position.clone_from(&page.until);
            }
        });
        for ((_, key), stored) in
            self.rows.borrow_mut().iter_mut().filter(|((owner, _), _)| running && owner == source)
        {
            let within = page.after.as_ref().is_none_or(|after| key > after)
                && page.until.as_ref().is_none_or(|until| key <= until);
            if within && !page.present.contains(key) {
                stored.missing = Some(run);
            }
        }
        Ok(())
    }

    async fn taken(&self, source: &str) -> Result<u64> {
        self.turn_to_others().await?;
        let rows = self.rows.borrow();
        let taken = rows.iter().filter(|((owner, _), stored)| {
            let has_document = stored.row.original.as_ref().is_some_and(|original| !original.is_empty());
            owner == source
                && match stored.row.state {
                    ObjectState::Taken => true,
                    ObjectState::Failed => has_document,
                    ObjectState::New | ObjectState::Skipped => false,
                }
        });
        Ok(taken.count() as u64)
    }

    async fn sweep(&self, source: &str, run: u64, now: Millis) -> Result<()> {
        self.turn_to_others().await?;
        self.on_course(source, run, |course| {
            (course.sync.state, course.sync.moved_at) = (SyncState::Sweeping, now);
        });
        Ok(())
    }

    async fn missing(
        &self,
        source: &str,
        run: u64,
        after: Option<&str>,
        limit: usize,
    ) -> Result<Vec<String>> {
        self.turn_to_others().await?;
        let rows = self.rows.borrow();
        let missing = rows
            .iter()
            .filter(|((owner, key), stored)| {
                owner == source
                    && stored.missing == Some(run)
                    && after.is_none_or(|after| key.as_str() > after)
            })
            .map(|((_, key), _)| key.clone());
        Ok(missing.take(limit).collect())
    }

    async fn end(
        &self,
        source: &str,
        run: u64,
        state: SyncState,
        remark: Option<(&str, &str)>,
        now: Millis,
    ) -> Result<Option<bool>> {
        self.turn_to_others().await?;
        let mut again = None;
        self.on_course(source, run, |course| {
            (course.sync.state, course.sync.moved_at) = (state, now);
            course.sync.code = remark.map(|(code, _)| code.to_owned());
            course.sync.message = remark.map(|(_, message)| message.to_owned());
            again = course.again.take();
        });
        Ok(again)
    }
}

impl Ports for MemorySources {
    type Embedder = <MemoryPorts as Ports>::Embedder;
    type Vectors = <MemoryPorts as Ports>::Vectors;
    type Keywords = <MemoryPorts as Ports>::Keywords;
    type Reranker = <MemoryPorts as Ports>::Reranker;
    type Generator = <MemoryPorts as Ports>::Generator;
    type Documents = <MemoryPorts as Ports>::Documents;
    type Objects = <MemoryPorts as Ports>::Objects;
    type Converter = <MemoryPorts as Ports>::Converter;
    type Jobs = <MemoryPorts as Ports>::Jobs;
    type Clock = <MemoryPorts as Ports>::Clock;

    fn embedder(&self) -> &Self::Embedder {
        &self.ports.embedder
    }
    fn vectors(&self) -> &Self::Vectors {
        &self.ports.vectors
    }
    fn keywords(&self) -> &Self::Keywords {
        &self.ports.documents
    }
    fn reranker(&self) -> &Self::Reranker {
        &self.ports.reranker
    }
    fn generator(&self) -> &Self::Generator {
        &self.ports.generator
    }
    fn documents(&self) -> &Self::Documents {
        &self.ports.documents
    }
    fn objects(&self) -> &Self::Objects {
        &self.ports.objects
    }
    fn converter(&self) -> &Self::Converter {
        self.ports.converter()
    }
    fn jobs(&self) -> &Self::Jobs {
        &self.ports.jobs
    }
    fn clock(&self) -> &Self::Clock {
        &self.ports.clock
    }
}

impl SourcePorts for MemorySources {
    type Buckets = Self;
    type Table = Self;

    fn buckets(&self) -> &Self {
        self
    }
    fn table(&self) -> &Self {
        self
    }
}
