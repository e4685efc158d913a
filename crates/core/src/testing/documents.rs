//! Documents, ledger and keyword index in memory: the plainest statement of what the store must do.

mod dump;
mod keywords;

pub use dump::{ChunkDump, DocumentDump, Dump, GenerationDump, PartDump, VectorDump};

use crate::document::{
    ChunkRow, Counts, Document, DocumentId, Failure, Generation, Millis, Pending, ServedChunk, Status,
    Upload, Waiting,
};
use crate::ports::{
    DocumentStore, Flip, Garbage, ListQuery, Outdated, Overdue, Part, PlannedPart, Progress, Reusable, Span,
    TenantState, Ticket, Work,
};
use crate::settings::EmbeddingSettings;
use crate::{Result, Tenant};
use std::cell::{Cell, RefCell};
use std::collections::{BTreeMap, HashMap, HashSet};

type Key = (Tenant, DocumentId);

#[derive(Debug)]
struct Row {
    incarnation: Generation,
    newest: Generation,
    served: Option<Generation>,
    deleted: bool,
    created: Millis,
    updated: Millis,
}

/// Where a generation is, whether anybody sees it or not.
#[derive(Clone, Copy, Debug, PartialEq)]
enum Life {
    At(Status),
    /// Made with an embedding that is not wanted any more: what it wrote is garbage, but nobody else knows the upload.
    Stale,
    Dead,
}

#[derive(Debug)]
struct Gen {
    upload: Upload,
    life: Life,
    was_served: bool,
    failure: Option<Failure>,
    waiting: Option<Waiting>,
    postponed: u32,
    parts: BTreeMap<u32, PartRow>,
    resume: Option<String>,
    complete: bool,
    deleted: u64,
    updated: Millis,
}

#[derive(Debug)]
struct PartRow {
    spans: Vec<Span>,
    ticket: Option<Ticket>,
    /// Vectors embedded and reused.
    done: Option<(u64, u64)>,
}

#[derive(Clone, Copy, Debug, PartialEq)]
enum Ledger {
    Intent,
    Written,
}

#[derive(Debug)]
struct VectorRow {
    key: Key,
    born: Generation,
    hash: String,
    state: Ledger,
    writers: u32,
    /// Named to be deleted, and not entered again since.
    named: bool,
    changed: Millis,
    order: u64,
}

impl VectorRow {
    /// Written, and not about to be deleted.
    fn is_written(&self) -> bool {
        self.state == Ledger::Written && !self.named
    }
}

#[derive(Debug)]
struct StoredChunk {
    key: Key,
    generation: Generation,
    part: u32,
    chunk: ChunkRow,
}

#[derive(Debug, Default)]
struct State {
    documents: BTreeMap<Key, Row>,
    generations: BTreeMap<(Key, Generation), Gen>,
    vectors: BTreeMap<String, VectorRow>,
    chunks: BTreeMap<i64, StoredChunk>,
    tenants: BTreeMap<Tenant, TenantState>,
    next: u64,
}

/// Documents in maps.
#[derive(Debug, Default)]
pub struct MemoryDocuments {
    state: RefCell<State>,
    size: Cell<Option<(u64, u64)>>,
}

impl MemoryDocuments {
    /// What [`DocumentStore::size`] answers from now on.
    pub fn set_size(&self, size: Option<(u64, u64)>) {
        self.size.set(size);
    }
}

impl Gen {
    fn is_open(&self) -> bool {
        matches!(self.life, Life::At(status) if status.is_open())
    }

    /// Neither served nor going to be: what it wrote can go.
    fn is_lost(&self) -> bool {
        matches!(self.life, Life::Dead | Life::Stale | Life::At(Status::Failed))
    }

    fn shown(&self) -> Status {
        match self.life {
            Life::At(status) => status,
            // It waits to be made anew.
            Life::Stale | Life::Dead => Status::Queued,
        }
    }

    fn is_filled(&self) -> bool {
        self.complete && !self.parts.is_empty() && self.parts.values().all(|part| part.done.is_some())
    }

    fn done(&self) -> impl Iterator<Item = &(u64, u64)> {
        self.parts.values().filter_map(|part| part.done.as_ref())
    }

    fn kill(&mut self) {
        (self.life, self.waiting) = (Life::Dead, None);
    }
}

impl State {
    fn generation(&self, key: &Key, generation: Generation) -> Option<&Gen> {
        self.generations.get(&(key.clone(), generation))
    }

    fn open(&mut self, key: &Key, generation: Generation) -> Option<&mut Gen> {
        self.generations.get_mut(&(key.clone(), generation)).filter(|found| found.is_open())
    }

    fn is_lost(&self, key: &Key, generation: Generation) -> bool {
        self.generation(key, generation).is_none_or(Gen::is_lost)
    }

    /// The newest generation of a living document; 0 for none.
    fn current(&self, key: &Key) -> Generation {
        self.documents.get(key).filter(|row| !row.deleted).map_or(0, |row| row.newest)
    }

    /// Living documents of a tenant, each with its newest generation.
    fn living<'s>(&'s self, tenant: &'s Tenant) -> impl Iterator<Item = (&'s Key, &'s Row, &'s Gen)> {
        self.documents
            .iter()
            .filter(move |((owner, _), row)| owner == tenant && !row.deleted)
            .filter_map(|(key, row)| Some((key, row, self.generation(key, row.newest)?)))
    }

    fn delete(&mut self, key: &Key, now: Millis) {
        if let Some(row) = self.documents.get_mut(key) {
            (row.deleted, row.served, row.updated) = (true, None, now);
        }
        self.generations
            .iter_mut()
            .filter(|((owner, _), _)| owner == key)
            .for_each(|(_, found)| found.kill());
    }

    fn serve(&mut self, key: &Key, generation: Generation, now: Millis) {
        let Some(row) = self.documents.get_mut(key) else { return };
        let before = row.served.replace(generation);
        row.updated = now;
        if let Some(found) = before.and_then(|before| self.generations.get_mut(&(key.clone(), before))) {
            found.kill();
        }
        if let Some(found) = self.generations.get_mut(&(key.clone(), generation)) {
            (found.life, found.was_served) = (Life::At(Status::Searchable), true);
            (found.waiting, found.updated) = (None, now);
        }
    }

    /// Forgets what a generation planned and wrote.
    fn start_anew(&mut self, key: &Key, generation: Generation) {
        self.chunks.retain(|_, chunk| !(chunk.key == *key && chunk.generation == generation));
        let own = |row: &&mut VectorRow| row.key == *key && row.born == generation;
        self.vectors.values_mut().filter(own).for_each(|row| row.state = Ledger::Intent);
        if let Some(found) = self.generations.get_mut(&(key.clone(), generation)) {
            found.parts.clear();
            (found.resume, found.complete) = (None, false);
        }
    }

    fn enter(
        &mut self,
        key: &Key,
        born: Generation,
        vector: &(String, String),
        state: Ledger,
        written: bool,
        now: Millis,
    ) {
        self.next += 1;
        let (id, hash) = vector.clone();
        let known = self.vectors.get(&id);
        let before = known.map_or(0, |row| row.writers);
        let writers = if written { before.saturating_sub(1) } else { before + 1 };
        let kept = known.is_some_and(|row| row.state == Ledger::Written && !row.named);
        let state = if kept { Ledger::Written } else { state };
        let (key, order) = (key.clone(), self.next);
        let row = VectorRow { key, born, hash, state, writers, named: false, changed: now, order };
        self.vectors.insert(id, row);
    }

    fn referenced(&self) -> HashSet<&str> {
        self.chunks.values().map(|chunk| chunk.chunk.vector.as_str()).collect()
    }

    /// Vectors nothing refers to, whose generation will not any more, and whose writer is surely gone.
    fn garbage(&self, settled: Millis) -> impl Iterator<Item = (&String, &VectorRow)> {
        let referenced = self.referenced();
        self.vectors.iter().filter(move |(vector, row)| {
            !self.generation(&row.key, row.born).is_some_and(Gen::is_open)
                && ((row.state == Ledger::Written && row.writers == 0) || row.changed < settled)
                && !referenced.contains(vector.as_str())
        })
    }

    /// The generations that a tenant's flip to `next` serves, if all is ready for it.
    fn staged(&self, tenant: &Tenant, next: &EmbeddingSettings) -> Option<Vec<(Key, Generation)>> {
        let wanted = next.fingerprint();
        let planned = fingerprint(self.tenants.get(tenant)?.next.as_ref());
        if planned.as_deref() != Some(wanted.as_str()) {
            return None;
        }
        let mut staged = Vec::new();
        for (key, row, newest) in self.living(tenant) {
            match newest.life {
                _ if newest.upload.fingerprint != wanted.as_str() => return None,
                Life::At(Status::Staged) => staged.push((key.clone(), row.newest)),
                Life::At(Status::Failed) => {}
                _ => return None,
            }
        }
        Some(staged)
    }

    fn served_rows<'s>(&'s self, tenant: &'s Tenant) -> impl Iterator<Item = (i64, &'s StoredChunk)> {
        self.chunks.iter().filter_map(move |(row, chunk)| {
            let served = self.documents.get(&chunk.key)?.served;
            (chunk.key.0 == *tenant && served == Some(chunk.generation)).then_some((*row, chunk))
        })
    }

    fn served_chunk(&self, row: i64, stored: &StoredChunk) -> Option<ServedChunk> {
        let upload = &self.generation(&stored.key, stored.generation)?.upload;
        let chunk = &stored.chunk;
        Some(ServedChunk {
            row,
            vector: chunk.vector.clone(),
            document: stored.key.1.clone(),
            ordinal: chunk.ordinal,
            text: chunk.text.clone(),
            start: chunk.start,
            end: chunk.end,
            tokens: chunk.tokens,
            sections: chunk.sections.clone(),
            places: chunk.places.clone(),
            table_header: chunk.table_header.clone(),
            headings: chunk.headings.clone(),
            title: upload.title.clone(),
            metadata: upload.metadata.clone(),
        })
    }

    fn document(&self, key: &Key) -> Option<Document> {
        let row = self.documents.get(key).filter(|row| !row.deleted)?;
        let number = row.served.unwrap_or(row.newest);
        let shown = self.generation(key, number)?;
        let newest = self.generation(key, row.newest)?;
        let status = newest.shown();
        let pending =
            (row.served != Some(row.newest) && (row.served.is_some() || status.is_open())).then(|| Pending {
                generation: row.newest,
                status,
                parts_done: newest.done().count() as u64,
                parts_total: if newest.complete { newest.parts.len() as u64 } else { 0 },
                error: newest.failure.clone(),
                waiting: newest.waiting.clone(),
            });
        let chunks = || {
            self.chunks
                .values()
                .filter(|chunk| chunk.key == *key && chunk.generation == number && row.served == Some(number))
        };
        Some(Document {
            id: key.1.clone(),
            status: shown.shown(),
            generation: row.served,
            pending,
            title: shown.upload.title.clone(),
            media_type: shown.upload.media_type.clone(),
            bytes: shown.upload.bytes,
            content_hash: shown.upload.content_hash.clone(),
            chunk_count: chunks().count() as u64,
            tokens: chunks().map(|chunk| chunk.chunk.tokens).sum(),
            metadata: shown.upload.metadata.clone(),
            counts: Counts {
                embedded: shown.done().map(|(embedded, _)| embedded).sum(),
                reused: shown.done().map(|(_, reused)| reused).sum(),
                deleted: shown.deleted,
            },
            error: shown.failure.clone(),
            created_at: row.created / 1000,
            updated_at: row.updated / 1000,
            newest: row.newest,
            upload: Some(shown.upload.clone()),
        })
    }
}

fn key(tenant: &Tenant, id: &DocumentId) -> Key {
    (tenant.clone(), id.clone())
}

fn fingerprint(embedding: Option<&EmbeddingSettings>) -> Option<String> {
    embedding.map(|embedding| embedding.fingerprint().as_str().to_owned())
}

impl DocumentStore for MemoryDocuments {
    async fn begin(
        &self,
        tenant: &Tenant,
        id: &DocumentId,
        upload: &Upload,
        expected: Option<Generation>,
        now: Millis,
    ) -> Result<Option<Generation>> {
        let mut state = self.state.borrow_mut();
        let key = key(tenant, id);
        if expected.is_some_and(|expected| expected != state.current(&key)) {
            return Ok(None);
        }
        let row = state.documents.entry(key.clone()).or_insert(Row {
            incarnation: 1,
            newest: 0,
            served: None,
            deleted: false,
            created: now,
            updated: now,
        });
        row.newest += 1;
        row.updated = now;
        if row.deleted {
            (row.deleted, row.incarnation, row.created) = (false, row.newest, now);
        }
        let (generation, served) = (row.newest, row.served);
        state
            .generations
            .iter_mut()
            .filter(|((owner, number), _)| *owner == key && Some(*number) != served)
            .for_each(|(_, found)| found.kill());
        let begun = Gen {
            upload: upload.clone(),
            life: Life::At(Status::Queued),
            was_served: false,
            failure: None,
            waiting: None,
            postponed: 0,
            parts: BTreeMap::new(),
            resume: None,
            complete: false,
            deleted: 0,
            updated: now,
        };
        state.generations.insert((key, generation), begun);
        Ok(Some(generation))
    }

    async fn sent(&self, generations: &[Overdue], now: Millis) -> Result<()> {
        let mut state = self.state.borrow_mut();
        for sent in generations {
            let key = key(&sent.tenant, &sent.document);
            if let Some(found) = state.generations.get_mut(&(key, sent.generation))
                && (found.is_open() || found.life == Life::At(Status::Searchable))
            {
                found.updated = now;
            }
        }
        Ok(())
    }

    async fn get(&self, tenant: &Tenant, id: &DocumentId) -> Result<Option<Document>> {
        Ok(self.state.borrow().document(&key(tenant, id)))
    }

    async fn upload(
        &self,
        tenant: &Tenant,
        id: &DocumentId,
        generation: Generation,
    ) -> Result<Option<Upload>> {
        let state = self.state.borrow();
        let found = state.generation(&key(tenant, id), generation).filter(|found| found.life != Life::Dead);
        Ok(found.map(|found| found.upload.clone()))
    }

    async fn list(&self, tenant: &Tenant, query: &ListQuery) -> Result<Vec<Document>> {
        let state = self.state.borrow();
        let documents = state
            .documents
            .keys()
            .filter(|(owner, id)| {
                owner == tenant
                    && query.after.as_deref().is_none_or(|after| id.as_str() > after)
                    && query.prefix.as_deref().is_none_or(|prefix| id.as_str().starts_with(prefix))
            })
            .filter_map(|key| state.document(key))
            .filter(|document| query.status.is_none_or(|status| document.status == status))
            .take(query.limit)
            .collect();
        Ok(documents)
    }

    async fn claim(
        &self,
        tenant: &Tenant,
        id: &DocumentId,
        generation: Generation,
        now: Millis,
    ) -> Result<Option<Work>> {
        let mut state = self.state.borrow_mut();
        let key = key(tenant, id);
        let incarnation = state.documents.get(&key).map_or(0, |row| row.incarnation);
        let Some(found) = state.open(&key, generation) else { return Ok(None) };
        (found.life, found.waiting, found.updated) = (Life::At(Status::Processing), None, now);
        Ok(Some(Work {
            incarnation,
            upload: found.upload.clone(),
            planned: found.parts.len() as u32,
            resume: found.resume.clone(),
            complete: found.complete,
            postponed: found.postponed,
        }))
    }

    async fn restart(
        &self,
        tenant: &Tenant,
        id: &DocumentId,
        generation: Generation,
        settings: &str,
        fields: &str,
    ) -> Result<()> {
        let mut state = self.state.borrow_mut();
        let key = key(tenant, id);
        if let Some(found) = state.open(&key, generation) {
            settings.clone_into(&mut found.upload.settings);
            fields.clone_into(&mut found.upload.fields);
            state.start_anew(&key, generation);
        }
        Ok(())
    }

    async fn plan(
        &self,
        tenant: &Tenant,
        id: &DocumentId,
        generation: Generation,
        settings: &str,
        planned: u32,
        parts: &[PlannedPart],
        resume: Option<&str>,
        now: Millis,
    ) -> Result<bool> {
        let mut state = self.state.borrow_mut();
        let Some(found) = state.open(&key(tenant, id), generation) else { return Ok(false) };
        if found.upload.settings != settings || found.complete || found.parts.len() != planned as usize {
            return Ok(false);
        }
        for part in parts {
            let row = PartRow { spans: part.spans.clone(), ticket: part.ticket.clone(), done: None };
            found.parts.insert(part.number, row);
        }
        (found.resume, found.complete) = (resume.map(String::from), resume.is_none());
        (found.postponed, found.updated) = (0, now);
        Ok(true)
    }

    async fn open_parts(
        &self,
        tenant: &Tenant,
        id: &DocumentId,
        generation: Generation,
        after: Option<u32>,
        limit: usize,
    ) -> Result<Vec<PlannedPart>> {
        let state = self.state.borrow();
        let Some(found) = state.generation(&key(tenant, id), generation) else { return Ok(Vec::new()) };
        let parts = found
            .parts
            .iter()
            .filter(|(number, part)| part.done.is_none() && after.is_none_or(|after| **number > after))
            .take(limit)
            .map(|(number, part)| PlannedPart {
                number: *number,
                spans: part.spans.clone(),
                ticket: part.ticket.clone(),
            })
            .collect();
        Ok(parts)
    }

    async fn note_ticket(
        &self,
        tenant: &Tenant,
        id: &DocumentId,
        generation: Generation,
        part: u32,
        ticket: Option<&Ticket>,
        now: Millis,
    ) -> Result<()> {
        let mut state = self.state.borrow_mut();
        let Some(found) = state.open(&key(tenant, id), generation) else { return Ok(()) };
        if let Some(part) = found.parts.get_mut(&part).filter(|part| part.done.is_none()) {
            part.ticket = ticket.cloned();
            found.updated = now;
        }
        Ok(())
    }

    async fn reusable(
        &self,
        tenant: &Tenant,
        id: &DocumentId,
        generation: Generation,
        hashes: &[String],
    ) -> Result<Vec<Reusable>> {
        let state = self.state.borrow();
        let key = key(tenant, id);
        let Some(upload) = state.generation(&key, generation).map(|found| &found.upload) else {
            return Ok(Vec::new());
        };
        let wanted: HashSet<&String> = hashes.iter().collect();
        let served = state.documents.get(&key).and_then(|row| row.served).and_then(|number| {
            let before = &state.generation(&key, number)?.upload;
            (before.fingerprint == upload.fingerprint).then_some((
                number,
                before.fields == upload.fields || before.fields.split('~').next() == Some(&upload.fields),
            ))
        });
        let candidate = |hash: &String, vector: &String, as_is, own| Reusable {
            hash: hash.clone(),
            vector: vector.clone(),
            as_is,
            own,
        };
        let made = state
            .vectors
            .iter()
            .filter(|(_, row)| row.key == key && row.born == generation && row.is_written())
            .map(|(vector, row)| candidate(&row.hash, vector, true, true));
        let carried = state.chunks.values().filter(|chunk| chunk.key == key).filter_map(|chunk| {
            let (number, as_is) = served?;
            let row = state.vectors.get(&chunk.chunk.vector)?;
            (chunk.generation == number && row.is_written())
                .then(|| candidate(&chunk.chunk.hash, &chunk.chunk.vector, as_is, row.born == generation))
        });
        let mut found: HashMap<String, Reusable> = HashMap::new();
        for candidate in made.chain(carried).filter(|candidate| wanted.contains(&candidate.hash)) {
            found.entry(candidate.hash.clone()).or_insert(candidate);
        }
        Ok(found.into_values().collect())
    }

    async fn intend(
        &self,
        tenant: &Tenant,
        id: &DocumentId,
        generation: Generation,
        vectors: &[(String, String)],
        now: Millis,
    ) -> Result<()> {
        let mut state = self.state.borrow_mut();
        let key = key(tenant, id);
        vectors.iter().for_each(|vector| state.enter(&key, generation, vector, Ledger::Intent, false, now));
        Ok(())
    }

    async fn written(
        &self,
        tenant: &Tenant,
        id: &DocumentId,
        generation: Generation,
        vectors: &[(String, String)],
        now: Millis,
    ) -> Result<()> {
        let mut state = self.state.borrow_mut();
        let key = key(tenant, id);
        let entered = if state.is_lost(&key, generation) { Ledger::Intent } else { Ledger::Written };
        vectors.iter().for_each(|vector| state.enter(&key, generation, vector, entered, true, now));
        Ok(())
    }

    async fn write_part(
        &self,
        tenant: &Tenant,
        id: &DocumentId,
        generation: Generation,
        settings: &str,
        part: &Part,
        now: Millis,
    ) -> Result<()> {
        let mut state = self.state.borrow_mut();
        let state = &mut *state;
        let key = key(tenant, id);
        let Some(found) = state.generations.get_mut(&(key.clone(), generation)) else { return Ok(()) };
        if !found.is_open() || found.upload.settings != settings {
            return Ok(());
        }
        let Some(row) = found.parts.get_mut(&part.number).filter(|row| row.done.is_none()) else {
            return Ok(());
        };
        row.done = Some((part.embedded, part.reused));
        (found.postponed, found.updated) = (0, now);
        for chunk in &part.chunks {
            state.next += 1;
            let stored =
                StoredChunk { key: key.clone(), generation, part: part.number, chunk: chunk.clone() };
            state.chunks.insert(state.next as i64, stored);
        }
        Ok(())
    }

    async fn flip(
        &self,
        tenant: &Tenant,
        id: &DocumentId,
        generation: Generation,
        now: Millis,
    ) -> Result<Flip> {
        let mut state = self.state.borrow_mut();
        let key = key(tenant, id);
        if state.documents.get(&key).is_some_and(|row| row.served == Some(generation)) {
            return Ok(Flip::Served);
        }
        let next = fingerprint(state.tenants.get(tenant).and_then(|tenant| tenant.next.as_ref()));
        let Some(found) = state.generations.get_mut(&(key.clone(), generation)) else { return Ok(Flip::No) };
        if found.life == Life::At(Status::Staged) {
            return Ok(Flip::Staged);
        }
        if !found.is_open() || !found.is_filled() {
            return Ok(Flip::No);
        }
        if next.is_some_and(|next| next == found.upload.fingerprint) {
            (found.life, found.waiting, found.updated) = (Life::At(Status::Staged), None, now);
            return Ok(Flip::Staged);
        }
        state.serve(&key, generation, now);
        Ok(Flip::Served)
    }

    async fn postpone(
        &self,
        tenant: &Tenant,
        id: &DocumentId,
        generation: Generation,
        status: Status,
        waiting: &Waiting,
        now: Millis,
    ) -> Result<u32> {
        let mut state = self.state.borrow_mut();
        let Some(found) = state.open(&key(tenant, id), generation) else { return Ok(0) };
        (found.life, found.waiting, found.updated) = (Life::At(status), Some(waiting.clone()), now);
        found.postponed += 1;
        Ok(found.postponed)
    }

    async fn fail(
        &self,
        tenant: &Tenant,
        id: &DocumentId,
        generation: Generation,
        failure: &Failure,
        now: Millis,
    ) -> Result<()> {
        if let Some(found) = self.state.borrow_mut().open(&key(tenant, id), generation) {
            (found.life, found.failure) = (Life::At(Status::Failed), Some(failure.clone()));
            (found.waiting, found.updated) = (None, now);
        }
        Ok(())
    }

    async fn last_vectors(
        &self,
        tenant: &Tenant,
        id: &DocumentId,
        generation: Generation,
        limit: usize,
    ) -> Result<Vec<String>> {
        let state = self.state.borrow();
        let key = key(tenant, id);
        if state.documents.get(&key).and_then(|row| row.served) != Some(generation) {
            return Ok(Vec::new());
        }
        let mut vectors: Vec<_> = state
            .vectors
            .iter()
            .filter(|(_, row)| row.key == key && row.is_written())
            .map(|(vector, row)| (row.order, vector.clone()))
            .collect();
        vectors.sort_unstable();
        Ok(vectors.into_iter().rev().take(limit).map(|(_, vector)| vector).collect())
    }

    async fn indexed(
        &self,
        tenant: &Tenant,
        id: &DocumentId,
        generation: Generation,
        now: Millis,
    ) -> Result<()> {
        let mut state = self.state.borrow_mut();
        if let Some(found) = state.generations.get_mut(&(key(tenant, id), generation))
            && found.life == Life::At(Status::Searchable)
        {
            (found.life, found.updated) = (Life::At(Status::Indexed), now);
        }
        Ok(())
    }

    async fn delete(
        &self,
        tenant: &Tenant,
        id: &DocumentId,
        expected: Option<Generation>,
        now: Millis,
    ) -> Result<bool> {
        let mut state = self.state.borrow_mut();
        let key = key(tenant, id);
        let newest = state.current(&key);
        if newest == 0 || expected.is_some_and(|expected| expected != newest) {
            return Ok(false);
        }
        state.delete(&key, now);
        Ok(true)
    }

    async fn delete_prefix(
        &self,
        tenant: &Tenant,
        prefix: &str,
        limit: usize,
        now: Millis,
    ) -> Result<Vec<DocumentId>> {
        let mut state = self.state.borrow_mut();
        let found: Vec<Key> = state
            .documents
            .iter()
            .filter(|((owner, id), row)| owner == tenant && id.as_str().starts_with(prefix) && !row.deleted)
            .map(|(key, _)| key.clone())
            .take(limit)
            .collect();
        found.iter().for_each(|key| state.delete(key, now));
        Ok(found.into_iter().map(|(_, id)| id).collect())
    }

    async fn garbage(
        &self,
        tenant: &Tenant,
        id: &DocumentId,
        limit: usize,
        settled: Millis,
    ) -> Result<Garbage> {
        let mut state = self.state.borrow_mut();
        let key = key(tenant, id);
        let lost: Vec<i64> = state
            .chunks
            .iter()
            .filter(|(_, chunk)| chunk.key == key && state.is_lost(&key, chunk.generation))
            .map(|(row, _)| *row)
            .collect();
        for row in lost.iter().take(limit) {
            state.chunks.remove(row);
        }
        let vectors: Vec<String> = state
            .garbage(settled)
            .filter(|(_, row)| row.key == key)
            .map(|(vector, _)| vector.clone())
            .take(limit)
            .collect();
        let rows_of = |generation: Generation| {
            state.chunks.values().any(|chunk| chunk.key == key && chunk.generation == generation)
        };
        let mut generations: Vec<Generation> = state
            .generations
            .iter()
            .filter(|((owner, number), found)| *owner == key && found.life == Life::Dead && !rows_of(*number))
            .map(|((_, number), _)| *number)
            .take(limit)
            .collect();
        let more = lost.len() > limit || vectors.len() == limit || generations.len() == limit;
        if vectors.len() == limit {
            // A generation is what leads the sweeper to its vectors: it goes last.
            generations.clear();
        }
        let living: HashSet<&str> = state
            .generations
            .values()
            .filter(|found| found.life != Life::Dead)
            .map(|found| found.upload.object_key.as_str())
            .collect();
        let mut objects: Vec<String> = generations
            .iter()
            .filter_map(|number| state.generation(&key, *number))
            .map(|found| found.upload.object_key.clone())
            .filter(|object| !living.contains(object.as_str()))
            .collect();
        objects.sort();
        objects.dedup();
        for vector in &vectors {
            if let Some(row) = state.vectors.get_mut(vector) {
                row.named = true;
            }
        }
        Ok(Garbage { vectors, objects, generations, more })
    }

    async fn forget_vectors(&self, tenant: &Tenant, id: &DocumentId, vectors: &[String]) -> Result<()> {
        let mut state = self.state.borrow_mut();
        let state = &mut *state;
        let key = key(tenant, id);
        let served = state.documents.get(&key).and_then(|row| row.served);
        let texts: HashSet<&str> = state
            .chunks
            .values()
            .filter(|chunk| chunk.key == key && Some(chunk.generation) == served)
            .map(|chunk| chunk.chunk.hash.as_str())
            .collect();
        let gone = vectors
            .iter()
            .filter_map(|vector| state.vectors.get(vector).filter(|row| row.key == key))
            .filter(|row| {
                // Of a generation that is forgotten already, only what a later one carried forward is left.
                let was_served = state.generation(&key, row.born).is_none_or(|found| found.was_served);
                row.state == Ledger::Written
                    && was_served
                    && Some(row.born) != served
                    && !texts.contains(row.hash.as_str())
            })
            .count();
        let forgotten: HashSet<&String> = vectors.iter().collect();
        // What was entered again since it was named outlives the deletion: its late writer's vector may have come after it.
        state.vectors.retain(|vector, row| row.key != key || !row.named || !forgotten.contains(vector));
        if let Some(found) = served.and_then(|served| state.generations.get_mut(&(key, served))) {
            found.deleted += gone as u64;
        }
        Ok(())
    }

    async fn forget_generations(
        &self,
        tenant: &Tenant,
        id: &DocumentId,
        generations: &[Generation],
    ) -> Result<()> {
        let key = key(tenant, id);
        self.state.borrow_mut().generations.retain(|(owner, number), found| {
            *owner != key || !generations.contains(number) || found.life != Life::Dead
        });
        Ok(())
    }

    async fn chunks(
        &self,
        tenant: &Tenant,
        id: &DocumentId,
        after: Option<u32>,
        limit: usize,
    ) -> Result<Vec<ServedChunk>> {
        let state = self.state.borrow();
        let mut chunks: Vec<ServedChunk> = state
            .served_rows(tenant)
            .filter(|(_, chunk)| chunk.key.1 == *id && after.is_none_or(|after| chunk.chunk.ordinal > after))
            .filter_map(|(row, chunk)| state.served_chunk(row, chunk))
            .collect();
        chunks.sort_by_key(|chunk| chunk.ordinal);
        chunks.truncate(limit);
        Ok(chunks)
    }

    async fn hydrate(&self, tenant: &Tenant, vectors: &[String], rows: &[i64]) -> Result<Vec<ServedChunk>> {
        let state = self.state.borrow();
        let mut firsts: HashMap<&str, (u32, i64)> = HashMap::new();
        for (row, chunk) in state.served_rows(tenant) {
            let place = (chunk.chunk.ordinal, row);
            let first = firsts.entry(chunk.chunk.vector.as_str()).or_insert(place);
            *first = place.min(*first);
        }
        let chunks = state
            .served_rows(tenant)
            .filter(|(row, chunk)| {
                rows.contains(row)
                    || (vectors.contains(&chunk.chunk.vector)
                        && firsts.get(chunk.chunk.vector.as_str()).is_some_and(|first| first.1 == *row))
            })
            .filter_map(|(row, chunk)| state.served_chunk(row, chunk))
            .collect();
        Ok(chunks)
    }

    async fn overdue(&self, before: Millis, now: Millis, limit: usize) -> Result<Vec<Overdue>> {
        let state = self.state.borrow();
        let mut overdue: Vec<(Millis, Overdue)> = state
            .generations
            .iter()
            .filter(|(_, found)| {
                found.updated <= before
                    && found.waiting.as_ref().is_none_or(|waiting| waiting.until <= now)
                    && (found.is_open() || found.life == Life::At(Status::Searchable))
            })
            .map(|((key, generation), found)| {
                let overdue = Overdue {
                    tenant: key.0.clone(),
                    document: key.1.clone(),
                    generation: *generation,
                    status: found.shown(),
                    bytes: found.upload.bytes,
                };
                (found.updated, overdue)
            })
            .collect();
        overdue.sort_by_key(|(updated, _)| *updated);
        Ok(overdue.into_iter().take(limit).map(|(_, overdue)| overdue).collect())
    }

    async fn unclean(&self, settled: Millis, limit: usize) -> Result<Vec<(Tenant, DocumentId)>> {
        let state = self.state.borrow();
        let dead = state.generations.iter().filter(|(_, found)| found.life == Life::Dead);
        let lost = state.chunks.values().filter(|chunk| state.is_lost(&chunk.key, chunk.generation));
        let mut keys: Vec<&Key> = dead
            .map(|((key, _), _)| key)
            .chain(lost.map(|chunk| &chunk.key))
            .chain(state.garbage(settled).map(|(_, row)| &row.key))
            .collect();
        keys.sort();
        keys.dedup();
        Ok(keys.into_iter().take(limit).cloned().collect())
    }

    async fn unreferenced(&self, objects: &[String]) -> Result<Vec<String>> {
        let state = self.state.borrow();
        if state.documents.is_empty() {
            return Ok(Vec::new());
        }
        let known: HashSet<&str> =
            state.generations.values().map(|found| found.upload.object_key.as_str()).collect();
        Ok(objects.iter().filter(|object| !known.contains(object.as_str())).cloned().collect())
    }

    async fn tenant(&self, tenant: &Tenant) -> Result<TenantState> {
        Ok(self.state.borrow().tenants.get(tenant).cloned().unwrap_or_default())
    }

    async fn adopt(&self, tenant: &Tenant, configured: &EmbeddingSettings) -> Result<TenantState> {
        let mut state = self.state.borrow_mut();
        let found = state.tenants.entry(tenant.clone()).or_default();
        found.embedding.get_or_insert_with(|| configured.clone());
        Ok(found.clone())
    }

    async fn start_reindex(
        &self,
        tenant: &Tenant,
        next: Option<&EmbeddingSettings>,
        force: Option<Millis>,
        now: Millis,
    ) -> Result<()> {
        let mut state = self.state.borrow_mut();
        let found = state.tenants.entry(tenant.clone()).or_default();
        found.force = force.or(found.force);
        let next = next.filter(|next| fingerprint(Some(next)) != fingerprint(found.embedding.as_ref()));
        (found.next, found.reindexing) = (next.cloned(), true);
        let wanted = [fingerprint(found.embedding.as_ref()), fingerprint(next)];
        for ((key, _), found) in &mut state.generations {
            let unfinished = found.is_open() || found.life == Life::At(Status::Staged);
            let known = wanted.iter().flatten().any(|known| *known == found.upload.fingerprint);
            if key.0 == *tenant && unfinished && !known {
                (found.life, found.waiting, found.updated) = (Life::Stale, None, now);
            }
        }
        Ok(())
    }

    async fn end_reindex(&self, tenant: &Tenant, force: Option<Millis>) -> Result<()> {
        if let Some(found) = self.state.borrow_mut().tenants.get_mut(tenant)
            && found.next.is_none()
            && found.force == force
        {
            (found.reindexing, found.force) = (false, None);
        }
        Ok(())
    }

    async fn ready(
        &self,
        tenant: &Tenant,
        next: &EmbeddingSettings,
        since: Millis,
        limit: usize,
    ) -> Result<Option<Vec<String>>> {
        let state = self.state.borrow();
        let Some(staged) = state.staged(tenant, next) else { return Ok(None) };
        let mut vectors: Vec<_> = state
            .vectors
            .iter()
            .filter(|(_, row)| row.is_written() && row.changed > since)
            .filter(|(_, row)| {
                staged.iter().any(|(key, generation)| row.key == *key && row.born == *generation)
            })
            .map(|(vector, row)| (row.order, vector.clone()))
            .collect();
        vectors.sort_unstable();
        Ok(Some(vectors.into_iter().rev().take(limit).map(|(_, vector)| vector).collect()))
    }

    async fn flip_tenant(&self, tenant: &Tenant, next: &EmbeddingSettings, now: Millis) -> Result<bool> {
        let mut state = self.state.borrow_mut();
        if let Some(staged) = state.staged(tenant, next) {
            staged.iter().for_each(|(key, generation)| state.serve(key, *generation, now));
            if let Some(found) = state.tenants.get_mut(tenant) {
                found.embedding = found.next.take();
            }
        }
        let embedding = state.tenants.get(tenant).and_then(|found| fingerprint(found.embedding.as_ref()));
        Ok(embedding.as_deref() == Some(next.fingerprint().as_str()))
    }

    async fn outdated(
        &self,
        tenant: &Tenant,
        settings: &str,
        fingerprint: &str,
        after: Option<&DocumentId>,
        limit: usize,
    ) -> Result<Vec<Outdated>> {
        let state = self.state.borrow();
        let outdated = state
            .living(tenant)
            .filter(|(key, _, newest)| {
                let alike = newest.upload.settings == settings && newest.upload.fingerprint == fingerprint;
                after.is_none_or(|after| key.1 > *after) && (!alike || newest.life == Life::Stale)
            })
            .take(limit)
            .map(|(key, row, newest)| {
                let served = row.served.filter(|_| newest.life == Life::At(Status::Failed));
                Outdated { document: key.1.clone(), newest: row.newest, base: served.unwrap_or(row.newest) }
            })
            .collect();
        Ok(outdated)
    }

    async fn progress(&self, tenant: &Tenant, settings: &str, fingerprint: &str) -> Result<Progress> {
        let state = self.state.borrow();
        let mut progress = Progress::default();
        for (_, _, newest) in state.living(tenant) {
            progress.documents += 1;
            let alike = newest.upload.settings == settings && newest.upload.fingerprint == fingerprint;
            match newest.life {
                Life::At(status) if alike && status.is_open() => progress.open += 1,
                Life::At(Status::Failed) if alike => progress.failed += 1,
                Life::At(_) if alike => progress.done += 1,
                _ => {}
            }
        }
        Ok(progress)
    }

    async fn reindexing(&self, limit: usize) -> Result<Vec<Tenant>> {
        let state = self.state.borrow();
        let found = state.tenants.iter().filter(|(_, found)| found.reindexing);
        Ok(found.map(|(tenant, _)| tenant.clone()).take(limit).collect())
    }

    async fn size(&self) -> Result<Option<(u64, u64)>> {
        Ok(self.size.get())
    }
}
