//! Documents, ledger and keyword index in memory: the plainest statement of what the store must do.

use crate::document::{
    ChunkRow, Counts, Document, DocumentId, Failure, Generation, Millis, Pending, ServedChunk, Status, Upload,
};
use crate::filter::Filter;
use crate::identity::Fingerprint;
use crate::keyword;
use crate::ports::{
    Begun, DocumentStore, Garbage, KeywordIndex, KeywordMatch, ListQuery, Overdue, Part, Work,
};
use crate::{Error, Result, Retry, Tenant};
use std::cell::RefCell;
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

#[derive(Debug)]
struct Gen {
    upload: Upload,
    status: Status,
    failure: Option<Failure>,
    parts: BTreeMap<u32, Option<(u64, u64)>>,
    deleted: u64,
    updated: Millis,
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
    state: Ledger,
    changed: Millis,
    order: u64,
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
    fingerprints: HashMap<Tenant, String>,
    next: u64,
}

/// Documents in maps.
#[derive(Debug, Default)]
pub struct MemoryDocuments {
    state: RefCell<State>,
}

impl State {
    fn is_dead(&self, key: &Key, generation: Generation) -> bool {
        self.documents
            .get(key)
            .is_none_or(|row| row.served != Some(generation) && (row.deleted || row.newest != generation))
    }

    fn is_open(&self, key: &Key, generation: Generation) -> bool {
        !self.is_dead(key, generation)
            && self.generations.get(&(key.clone(), generation)).is_some_and(|found| found.status.is_open())
    }

    /// Neither served nor going to be.
    fn is_lost(&self, key: &Key, generation: Generation) -> bool {
        let failed = self
            .generations
            .get(&(key.clone(), generation))
            .is_some_and(|found| found.status == Status::Failed);
        failed || self.is_dead(key, generation)
    }

    /// Nothing refers to it, its generation will not any more, and its writer is surely gone.
    fn is_garbage(&self, vector: &str, row: &VectorRow, settled: Millis) -> bool {
        !self.is_open(&row.key, row.born)
            && (row.state == Ledger::Written || row.changed < settled)
            && !self.chunks.values().any(|chunk| chunk.chunk.vector == vector)
    }

    fn served_rows<'s>(&'s self, tenant: &'s Tenant) -> impl Iterator<Item = (i64, &'s StoredChunk)> {
        self.chunks.iter().filter_map(move |(row, chunk)| {
            let served = self.documents.get(&chunk.key)?.served;
            (chunk.key.0 == *tenant && served == Some(chunk.generation)).then_some((*row, chunk))
        })
    }

    fn served_chunk(&self, row: i64, stored: &StoredChunk) -> Option<ServedChunk> {
        let upload = &self.generations.get(&(stored.key.clone(), stored.generation))?.upload;
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
            page: chunk.page,
            headings: chunk.headings.clone(),
            title: upload.title.clone(),
            metadata: upload.metadata.clone(),
        })
    }

    fn document(&self, key: &Key) -> Option<Document> {
        let row = self.documents.get(key).filter(|row| !row.deleted)?;
        let number = row.served.unwrap_or(row.newest);
        let shown = self.generations.get(&(key.clone(), number))?;
        let newest = self.generations.get(&(key.clone(), row.newest))?;
        let pending = (row.served != Some(row.newest) && (row.served.is_some() || newest.status.is_open()))
            .then(|| Pending {
                generation: row.newest,
                status: newest.status,
                parts_done: newest.parts.values().flatten().count() as u64,
                parts_total: newest.parts.len() as u64,
                error: newest.failure.clone(),
            });
        let chunks = || {
            self.chunks
                .values()
                .filter(|chunk| chunk.key == *key && chunk.generation == number && row.served == Some(number))
        };
        let done = || shown.parts.values().flatten();
        Some(Document {
            id: key.1.clone(),
            status: shown.status,
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
                embedded: done().map(|(embedded, _)| embedded).sum(),
                reused: done().map(|(_, reused)| reused).sum(),
                deleted: shown.deleted,
            },
            error: if row.served.is_none() { shown.failure.clone() } else { None },
            created_at: row.created / 1000,
            updated_at: row.updated / 1000,
            object_key: shown.upload.object_key.clone(),
            settings: shown.upload.settings.clone(),
        })
    }
}

fn key(tenant: &Tenant, id: &DocumentId) -> Key {
    (tenant.clone(), id.clone())
}

impl DocumentStore for MemoryDocuments {
    async fn begin(&self, tenant: &Tenant, id: &DocumentId, upload: &Upload, now: Millis) -> Result<Begun> {
        let mut state = self.state.borrow_mut();
        let row = state.documents.entry(key(tenant, id)).or_insert(Row {
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
        let generation = row.newest;
        let begun = Gen {
            upload: upload.clone(),
            status: Status::Queued,
            failure: None,
            parts: BTreeMap::new(),
            deleted: 0,
            updated: now,
        };
        state.generations.insert((key(tenant, id), generation), begun);
        Ok(Begun { generation })
    }

    async fn sent(
        &self,
        tenant: &Tenant,
        id: &DocumentId,
        generation: Generation,
        now: Millis,
    ) -> Result<()> {
        if let Some(found) = self.state.borrow_mut().generations.get_mut(&(key(tenant, id), generation)) {
            found.updated = now;
        }
        Ok(())
    }

    async fn get(&self, tenant: &Tenant, id: &DocumentId) -> Result<Option<Document>> {
        Ok(self.state.borrow().document(&key(tenant, id)))
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
        let state = &mut *state;
        let key = key(tenant, id);
        let Some(row) = state.documents.get(&key).filter(|row| !row.deleted && row.newest == generation)
        else {
            return Ok(None);
        };
        let served = row.served.and_then(|served| {
            Some((served, state.generations.get(&(key.clone(), served))?.upload.settings.clone()))
        });
        let incarnation = row.incarnation;
        let Some(found) = state.generations.get_mut(&(key.clone(), generation)) else { return Ok(None) };
        if !found.status.is_open() {
            return Ok(None);
        }
        found.status = Status::Processing;
        found.updated = now;
        let reusable = match served {
            Some((served, settings)) if settings == found.upload.settings => state
                .chunks
                .values()
                .filter(|chunk| chunk.key == key && chunk.generation == served)
                .map(|chunk| (chunk.chunk.hash.clone(), chunk.chunk.vector.clone()))
                .collect(),
            _ => HashMap::new(),
        };
        let parts_done =
            found.parts.iter().filter(|(_, done)| done.is_some()).map(|(number, _)| *number).collect();
        Ok(Some(Work { incarnation, upload: found.upload.clone(), parts_done, reusable }))
    }

    async fn restart(
        &self,
        tenant: &Tenant,
        id: &DocumentId,
        generation: Generation,
        settings: &str,
    ) -> Result<()> {
        let mut state = self.state.borrow_mut();
        let key = key(tenant, id);
        if state.is_open(&key, generation) {
            state.chunks.retain(|_, chunk| !(chunk.key == key && chunk.generation == generation));
            if let Some(found) = state.generations.get_mut(&(key, generation)) {
                found.parts.clear();
                settings.clone_into(&mut found.upload.settings);
            }
        }
        Ok(())
    }

    async fn plan(&self, tenant: &Tenant, id: &DocumentId, generation: Generation, parts: u32) -> Result<()> {
        if let Some(found) = self.state.borrow_mut().generations.get_mut(&(key(tenant, id), generation)) {
            for number in 0..parts {
                found.parts.entry(number).or_insert(None);
            }
        }
        Ok(())
    }

    async fn intend(
        &self,
        tenant: &Tenant,
        id: &DocumentId,
        generation: Generation,
        vectors: &[String],
        now: Millis,
    ) -> Result<()> {
        let mut state = self.state.borrow_mut();
        for vector in vectors {
            state.next += 1;
            let order = state.next;
            let intent = VectorRow {
                key: key(tenant, id),
                born: generation,
                state: Ledger::Intent,
                changed: now,
                order,
            };
            state.vectors.insert(vector.clone(), intent);
        }
        Ok(())
    }

    async fn written(
        &self,
        tenant: &Tenant,
        id: &DocumentId,
        generation: Generation,
        vectors: &[String],
        now: Millis,
    ) -> Result<()> {
        let mut state = self.state.borrow_mut();
        let key = key(tenant, id);
        let late = state.is_dead(&key, generation);
        for vector in vectors {
            state.next += 1;
            let row = VectorRow {
                key: key.clone(),
                born: generation,
                state: if late { Ledger::Intent } else { Ledger::Written },
                changed: now,
                order: state.next,
            };
            state.vectors.insert(vector.clone(), row);
        }
        Ok(())
    }

    async fn write_part(
        &self,
        tenant: &Tenant,
        id: &DocumentId,
        generation: Generation,
        part: &Part,
        now: Millis,
    ) -> Result<()> {
        let mut state = self.state.borrow_mut();
        let key = key(tenant, id);
        if !state.is_open(&key, generation) {
            return Ok(());
        }
        state.chunks.retain(|_, chunk| {
            !(chunk.key == key && chunk.generation == generation && chunk.part == part.number)
        });
        for chunk in &part.chunks {
            state.next += 1;
            let row = state.next as i64;
            let stored =
                StoredChunk { key: key.clone(), generation, part: part.number, chunk: chunk.clone() };
            state.chunks.insert(row, stored);
        }
        if let Some(found) = state.generations.get_mut(&(key, generation)) {
            found.parts.insert(part.number, Some((part.embedded, part.reused)));
            found.updated = now;
        }
        Ok(())
    }

    async fn flip(
        &self,
        tenant: &Tenant,
        id: &DocumentId,
        generation: Generation,
        now: Millis,
    ) -> Result<bool> {
        let mut state = self.state.borrow_mut();
        let key = key(tenant, id);
        let Some(row) = state.documents.get(&key) else { return Ok(false) };
        if row.served == Some(generation) {
            return Ok(true);
        }
        let complete = state
            .generations
            .get(&(key.clone(), generation))
            .is_some_and(|found| !found.parts.is_empty() && found.parts.values().all(Option::is_some));
        if !state.is_open(&key, generation) || !complete {
            return Ok(false);
        }
        if let Some(row) = state.documents.get_mut(&key) {
            row.served = Some(generation);
            row.updated = now;
        }
        if let Some(found) = state.generations.get_mut(&(key, generation)) {
            (found.status, found.updated) = (Status::Searchable, now);
        }
        Ok(true)
    }

    async fn fail(
        &self,
        tenant: &Tenant,
        id: &DocumentId,
        generation: Generation,
        failure: &Failure,
        now: Millis,
    ) -> Result<()> {
        let mut state = self.state.borrow_mut();
        if let Some(found) = state.generations.get_mut(&(key(tenant, id), generation))
            && found.status.is_open()
        {
            (found.status, found.failure, found.updated) = (Status::Failed, Some(failure.clone()), now);
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
        let mut vectors: Vec<_> = state
            .vectors
            .iter()
            .filter(|(_, row)| row.key == key && row.born == generation && row.state == Ledger::Written)
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
            && found.status == Status::Searchable
        {
            (found.status, found.updated) = (Status::Indexed, now);
        }
        Ok(())
    }

    async fn delete(&self, tenant: &Tenant, id: &DocumentId, now: Millis) -> Result<bool> {
        let mut state = self.state.borrow_mut();
        let Some(row) = state.documents.get_mut(&key(tenant, id)).filter(|row| !row.deleted) else {
            return Ok(false);
        };
        (row.deleted, row.served, row.updated) = (true, None, now);
        Ok(true)
    }

    async fn delete_prefix(&self, tenant: &Tenant, prefix: &str, now: Millis) -> Result<Vec<DocumentId>> {
        let mut state = self.state.borrow_mut();
        let mut deleted = Vec::new();
        for ((owner, id), row) in &mut state.documents {
            if owner == tenant && id.as_str().starts_with(prefix) && !row.deleted {
                (row.deleted, row.served, row.updated) = (true, None, now);
                deleted.push(id.clone());
            }
        }
        Ok(deleted)
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
        let dead: Vec<i64> = state
            .chunks
            .iter()
            .filter(|(_, chunk)| chunk.key == key && state.is_lost(&key, chunk.generation))
            .map(|(row, _)| *row)
            .take(limit)
            .collect();
        state.chunks.retain(|row, _| !dead.contains(row));
        let vectors: Vec<String> = state
            .vectors
            .iter()
            .filter(|(vector, row)| row.key == key && state.is_garbage(vector, row, settled))
            .map(|(vector, _)| vector.clone())
            .take(limit)
            .collect();
        let rows_left =
            state.chunks.values().any(|chunk| chunk.key == key && state.is_lost(&key, chunk.generation));
        let mut objects: Vec<String> = state
            .generations
            .iter()
            .filter(|((owner, generation), _)| *owner == key && state.is_dead(&key, *generation))
            .filter(|((_, generation), _)| {
                !state.chunks.values().any(|chunk| chunk.key == key && chunk.generation == *generation)
            })
            .map(|(_, found)| found.upload.object_key.clone())
            .take(limit)
            .collect();
        let more = rows_left || vectors.len() == limit || objects.len() == limit;
        if vectors.len() == limit {
            // A generation is what leads the sweeper to its vectors: it goes last.
            objects.clear();
        }
        Ok(Garbage { vectors, objects, more })
    }

    async fn forget_vectors(&self, tenant: &Tenant, id: &DocumentId, vectors: &[String]) -> Result<()> {
        let key = key(tenant, id);
        let mut state = self.state.borrow_mut();
        state.vectors.retain(|vector, row| row.key != key || !vectors.contains(vector));
        let served = state.documents.get(&key).and_then(|row| row.served);
        if let Some(found) = served.and_then(|served| state.generations.get_mut(&(key, served))) {
            found.deleted += vectors.len() as u64;
        }
        Ok(())
    }

    async fn forget_objects(&self, tenant: &Tenant, id: &DocumentId, objects: &[String]) -> Result<()> {
        let key = key(tenant, id);
        self.state
            .borrow_mut()
            .generations
            .retain(|(owner, _), found| *owner != key || !objects.contains(&found.upload.object_key));
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

    async fn overdue(&self, before: Millis, limit: usize) -> Result<Vec<Overdue>> {
        let state = self.state.borrow();
        let overdue = state
            .generations
            .iter()
            .filter(|((key, generation), found)| {
                found.updated <= before
                    && !state.is_dead(key, *generation)
                    && (found.status.is_open() || found.status == Status::Searchable)
            })
            .take(limit)
            .map(|((key, generation), found)| Overdue {
                tenant: key.0.clone(),
                document: key.1.clone(),
                generation: *generation,
                status: found.status,
                bytes: found.upload.bytes,
            })
            .collect();
        Ok(overdue)
    }

    async fn unclean(&self, settled: Millis, limit: usize) -> Result<Vec<(Tenant, DocumentId)>> {
        let state = self.state.borrow();
        let mut keys: Vec<&Key> = state
            .generations
            .keys()
            .filter(|(key, generation)| state.is_dead(key, *generation))
            .map(|(key, _)| key)
            .chain(
                state
                    .vectors
                    .iter()
                    .filter(|(vector, row)| state.is_garbage(vector, row, settled))
                    .map(|(_, row)| &row.key),
            )
            .collect();
        keys.sort();
        keys.dedup();
        Ok(keys.into_iter().take(limit).cloned().collect())
    }

    async fn fingerprint(&self, tenant: &Tenant) -> Result<Option<String>> {
        Ok(self.state.borrow().fingerprints.get(tenant).cloned())
    }

    async fn adopt_fingerprint(&self, tenant: &Tenant, configured: &Fingerprint) -> Result<String> {
        let mut state = self.state.borrow_mut();
        let stored = state.fingerprints.entry(tenant.clone()).or_insert_with(|| configured.as_str().into());
        Ok(stored.clone())
    }

    async fn unreferenced(&self, objects: &[String]) -> Result<Vec<String>> {
        let state = self.state.borrow();
        let known: HashSet<&str> =
            state.generations.values().map(|found| found.upload.object_key.as_str()).collect();
        Ok(objects.iter().filter(|object| !known.contains(object.as_str())).cloned().collect())
    }
}

impl KeywordIndex for MemoryDocuments {
    async fn search(
        &self,
        tenant: &Tenant,
        terms: &[String],
        filter: Option<&Filter>,
        limit: usize,
    ) -> Result<Vec<KeywordMatch>> {
        if terms.is_empty() {
            return Err(Error::Service {
                service: "keywords",
                retry: Retry::Never,
                code: None,
                message: "no terms".into(),
            });
        }
        let state = self.state.borrow();
        let rows: Vec<(i64, &StoredChunk)> = state.served_rows(tenant).collect();
        let count = rows.len() as f64;
        let average = rows.iter().map(|(_, chunk)| chunk.chunk.terms.len()).sum::<usize>() as f64 / count;
        let mut scores: BTreeMap<i64, f64> = BTreeMap::new();
        for term in terms {
            let found: Vec<(i64, f64, f64)> = rows
                .iter()
                .map(|(row, chunk)| {
                    let times = chunk.chunk.terms.iter().filter(|own| *own == term).count();
                    (*row, times as f64, chunk.chunk.terms.len() as f64)
                })
                .filter(|(_, times, _)| *times > 0.0)
                .collect();
            let matching = found.len() as f64;
            let idf = (1.0 + (count - matching + 0.5) / (matching + 0.5)).ln();
            for (row, times, length) in found {
                let norm = keyword::K1 * (1.0 - keyword::B + keyword::B * length / average);
                *scores.entry(row).or_default() += idf * times * (keyword::K1 + 1.0) / (times + norm);
            }
        }
        let matches_filter = |row: &i64| {
            filter.is_none_or(|filter| {
                state.chunks.get(row).is_some_and(|chunk| {
                    let generation = state.generations.get(&(chunk.key.clone(), chunk.generation));
                    generation.is_some_and(|found| filter.matches(&found.upload.metadata))
                })
            })
        };
        let mut matches: Vec<KeywordMatch> = scores
            .into_iter()
            .filter(|(row, _)| matches_filter(row))
            .map(|(row, score)| KeywordMatch { row, score: score as f32 })
            .collect();
        matches.sort_by(|left, right| right.score.total_cmp(&left.score).then(left.row.cmp(&right.row)));
        matches.truncate(limit);
        Ok(matches)
    }
}
