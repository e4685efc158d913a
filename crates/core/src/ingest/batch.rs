//! Parts of many documents, embedded together.

use super::process::{Open, wait};
use crate::chunk::embedded_text;
use crate::document::{ChunkRow, Generation, Status};
use crate::identity::{Namespace, text_hash, vector_id};
use crate::keyword;
use crate::ports::{
    Clock, Collected, DocumentStore, Embedder, Embeddings, Part, PlannedPart, Ports, Ticket, VectorEntry,
    VectorIndex,
};
use crate::settings::{EmbeddingSettings, Settings};
use crate::{Error, Result, Retry, Tenant};
use std::collections::{HashMap, HashSet, VecDeque};

/// Parts held back before what is ready is written.
const PARTS: usize = 8;
/// Chunks of parts held back at most. Where texts repeat themselves it takes many parts until a call is full; an invocation
/// that is told to stop must still be able to write all that it holds, in 200 statements.
const HELD: usize = 24 * super::PART_CHUNKS;
/// How often vectors to be copied are looked for in vain before their texts are embedded: some ten minutes.
const COPY_PATIENCE: u32 = 6;
/// How often texts that were handed in are asked for in vain before they are embedded at once: some two hours.
const PATIENCE: u32 = 16;
/// Refusals of an input: Workers AI's codes, or, without one, the status. Any other is of a model, an account or a plan, and
/// no other text would change it.
const OF_THE_INPUT: [u32; 8] = [3003, 3006, 3030, 5004, 5006, 400, 413, 422];

/// A text to be embedded.
struct Fresh {
    document: usize,
    ordinal: u32,
    hash: String,
    vector: String,
    text: String,
}

/// A vector that has its values, and is not written yet.
struct Made {
    document: usize,
    hash: String,
    entry: VectorEntry,
}

/// A part, and how many texts must have been embedded before it can be written.
struct Filling {
    document: usize,
    part: Part,
    needs: usize,
}

/// Parts on their way, of documents of one tenant that are embedded alike. Texts are embedded in the order they come in,
/// as many at a time as a call takes, so that n new chunks cost ⌈n / 100⌉ calls however they lie in parts and documents,
/// unless they are fewer than 100 among [`HELD`].
pub(super) struct Batch<'p, P: Ports> {
    ports: &'p P,
    settings: &'p Settings,
    tenant: &'p Tenant,
    embedding: EmbeddingSettings,
    texts: VecDeque<Fresh>,
    /// Texts that left `texts`.
    embedded: usize,
    /// Which of the texts that came in is whose vector, by document and hash.
    known: HashMap<(usize, String), (String, usize)>,
    made: Vec<Made>,
    values: Embeddings,
    parts: VecDeque<Filling>,
    /// Why nothing goes on.
    pub(super) halted: Option<Error>,
}

impl<'p, P: Ports> Batch<'p, P> {
    pub(super) fn new(
        ports: &'p P,
        settings: &'p Settings,
        tenant: &'p Tenant,
        embedding: EmbeddingSettings,
    ) -> Self {
        let values = Embeddings { dimensions: embedding.dimensions, values: Vec::new() };
        Self {
            ports,
            settings,
            tenant,
            embedding,
            texts: VecDeque::new(),
            embedded: 0,
            known: HashMap::new(),
            made: Vec::new(),
            values,
            parts: VecDeque::new(),
            halted: None,
        }
    }

    /// Takes a part in, and works off what has become enough for a call.
    ///
    /// # Errors
    /// What concerns the part's document alone.
    pub(super) async fn take<O: crate::ports::ObjectStore>(
        &mut self,
        open: &mut [Open<'_, O>],
        index: usize,
        planned: PlannedPart,
    ) -> Result<()> {
        let document = &mut open[index];
        let (mut chunks, texts) = self.read(document, &planned).await?;
        let (tenant, generation) = (self.tenant, document.generation);
        let asked: Vec<String> = chunks
            .iter()
            .map(|chunk| chunk.hash.clone())
            .filter(|hash| !self.known.contains_key(&(index, hash.clone())))
            .collect::<HashSet<_>>()
            .into_iter()
            .collect();
        let found = if asked.is_empty() {
            Vec::new()
        } else {
            self.ports.documents().reusable(tenant, &document.id, generation, &asked).await?
        };
        let upload = &document.work.upload;
        let own = |hash: &str| {
            let (born, life) = (generation, document.work.incarnation);
            vector_id(tenant, &document.id, life, born, hash, &upload.fingerprint, &upload.fields)
        };
        let (mut carried, mut copies) = (HashMap::new(), HashMap::new());
        for vector in found {
            if vector.as_is && (!vector.own || vector.vector == own(&vector.hash)) {
                carried.insert(vector.hash, vector.vector);
            } else if !vector.own {
                copies.insert(vector.hash, vector.vector);
            }
        }

        let mut part = Part { number: planned.number, chunks: Vec::new(), embedded: 0, reused: 0 };
        let (mut needs, mut fresh, mut copied) = (0, Vec::new(), Vec::new());
        let mut own_texts: HashMap<String, String> = HashMap::new();
        for (chunk, text) in chunks.iter_mut().zip(texts) {
            if let Some((vector, nth)) = self.known.get(&(index, chunk.hash.clone())) {
                needs = needs.max(*nth);
                chunk.vector.clone_from(vector);
            } else if let Some(vector) = own_texts.get(&chunk.hash) {
                chunk.vector.clone_from(vector);
            } else if let Some(vector) = carried.get(&chunk.hash) {
                part.reused += 1;
                chunk.vector.clone_from(vector);
            } else {
                chunk.vector = own(&chunk.hash);
                own_texts.insert(chunk.hash.clone(), chunk.vector.clone());
                let new = Fresh {
                    document: index,
                    ordinal: chunk.ordinal,
                    hash: chunk.hash.clone(),
                    vector: chunk.vector.clone(),
                    text,
                };
                match copies.remove(&chunk.hash) {
                    Some(old) => copied.push((old, new)),
                    None => fresh.push(new),
                }
            }
        }
        part.chunks = chunks;

        // All that can fail for this document alone comes before anything of the part is taken over.
        let Some((values, missing)) = self.copy(document, copied).await? else { return Ok(()) };
        fresh.extend(missing);
        let collected = if self.settings.ingest.batch_api && !fresh.is_empty() {
            match self.queued(document, &planned, &fresh).await? {
                Some(collected) => collected,
                None => return Ok(()),
            }
        } else {
            HashMap::new()
        };
        for (new, row) in values {
            part.reused += 1;
            self.known.insert((index, new.hash.clone()), (new.vector.clone(), 0));
            self.make(open, new, &row);
        }
        for new in fresh {
            part.embedded += 1;
            if let Some(row) = collected.get(&new.hash) {
                self.known.insert((index, new.hash.clone()), (new.vector.clone(), 0));
                self.make(open, new, row);
            } else {
                let nth = self.embedded + self.texts.len() + 1;
                self.known.insert((index, new.hash.clone()), (new.vector.clone(), nth));
                needs = needs.max(nth);
                self.texts.push_back(new);
            }
        }
        open[index].unwritten += 1;
        self.parts.push_back(Filling { document: index, part, needs });
        self.work(open, false).await;
        Ok(())
    }

    /// Embeds and writes all that is left.
    pub(super) async fn finish<O>(&mut self, open: &mut [Open<'_, O>]) {
        self.work(open, true).await;
    }

    async fn work<O>(&mut self, open: &mut [Open<'_, O>], all: bool) {
        let held: usize = self.parts.iter().map(|filling| filling.part.chunks.len()).sum();
        let at_once = all || held >= HELD;
        while self.halted.is_none()
            && (self.texts.len() >= P::Embedder::BATCH || (at_once && !self.texts.is_empty()))
        {
            self.embed(open).await;
            if self.made.len() + P::Embedder::BATCH > P::Vectors::BATCH {
                self.write(open).await;
            }
        }
        // What is embedded is written even when embedding can't go on.
        if all || self.halted.is_some() || self.parts.len() >= PARTS {
            self.write(open).await;
        }
    }

    /// The part's chunks, without vectors, and their texts as they are embedded.
    async fn read<O: crate::ports::ObjectStore>(
        &self,
        document: &mut Open<'_, O>,
        planned: &PlannedPart,
    ) -> Result<(Vec<ChunkRow>, Vec<String>)> {
        let start = planned.spans.iter().map(|span| span.start).min().unwrap_or_default();
        let end = planned.spans.iter().map(|span| span.end).max().unwrap_or_default();
        let title = document.work.upload.embedded_title.clone();
        let text = document.text.read(start..end).await?;
        let mut texts = Vec::with_capacity(planned.spans.len());
        let mut chunks = Vec::with_capacity(planned.spans.len());
        for span in &planned.spans {
            let body =
                text.get((span.start - start) as usize..(span.end - start) as usize).ok_or_else(|| {
                    Error::Document {
                        code: "original_changed".into(),
                        message: "the stored original is not the one that was planned; upload it again"
                            .into(),
                    }
                })?;
            let header = span.table_header.as_deref();
            let embedded =
                embedded_text(title.as_deref(), &span.headings, header, body, &self.settings.chunk);
            chunks.push(ChunkRow {
                ordinal: span.ordinal,
                vector: String::new(),
                hash: text_hash(&embedded),
                text: body.to_owned(),
                start: span.start,
                end: span.end,
                tokens: span.tokens,
                sections: span.sections.clone(),
                places: span.places.clone(),
                table_header: span.table_header.clone(),
                headings: span.headings.clone(),
                // Made when it is written: they take several times the room of the text.
                terms: Vec::new(),
            });
            texts.push(embedded);
        }
        Ok((chunks, texts))
    }

    /// Values of vectors that only need other metadata; and what has to be embedded because its vector is gone. `None`: to
    /// be looked at later.
    async fn copy<O>(
        &self,
        document: &mut Open<'_, O>,
        copied: Vec<(String, Fresh)>,
    ) -> Result<Option<(Vec<(Fresh, Vec<f32>)>, Vec<Fresh>)>> {
        let mut values: HashMap<String, Vec<f32>> = HashMap::new();
        let ids: Vec<String> = copied.iter().map(|(old, _)| old.clone()).collect();
        for ids in ids.chunks(P::Vectors::LOOKUP_BATCH) {
            values.extend(self.ports.vectors().fetch(self.tenant, ids).await?);
        }
        let (mut found, mut missing) = (Vec::new(), Vec::new());
        for (old, new) in copied {
            match values.remove(&old) {
                Some(row) if row.len() == self.embedding.dimensions => found.push((new, row)),
                _ => missing.push(new),
            }
        }
        if !missing.is_empty() {
            let served = self.ports.documents().get(self.tenant, &document.id).await?;
            let patient = document.work.postponed < COPY_PATIENCE;
            if patient && served.is_some_and(|served| served.status == Status::Searchable) {
                let message = "the vectors to be copied are not visible yet".into();
                let now = self.ports.clock().now();
                document.waiting = Some(wait(document.work.postponed, "vectors_not_visible", message, now));
                return Ok(None);
            }
        }
        Ok(Some((found, missing)))
    }

    /// Values of texts handed in before, by hash; hands them in if they were not. `None`: to be looked at later.
    async fn queued<O>(
        &self,
        document: &mut Open<'_, O>,
        planned: &PlannedPart,
        fresh: &[Fresh],
    ) -> Result<Option<HashMap<String, Vec<f32>>>> {
        let (tenant, id, generation): (_, _, Generation) = (self.tenant, &document.id, document.generation);
        let (documents, embedder) = (self.ports.documents(), self.ports.embedder());
        let now = self.ports.clock().now();
        if document.work.postponed >= PATIENCE {
            return Ok(Some(HashMap::new()));
        }
        let mut handed_in = false;
        if let Some(ticket) = &planned.ticket {
            match embedder.collect(tenant, &self.embedding, &ticket.id).await {
                Ok(Collected::Done(values)) if self.check_shape(&values, ticket.hashes.len()).is_ok() => {
                    let rows = ticket.hashes.iter().enumerate();
                    return Ok(Some(
                        rows.map(|(nth, hash)| (hash.clone(), values.row(nth).to_vec())).collect(),
                    ));
                }
                Ok(Collected::Running) => handed_in = true,
                Ok(Collected::Done(_) | Collected::Lost) => {}
                // Something in it is refused: asked for at once, that is found.
                Err(error) if error.retry() == Retry::Never => return Ok(Some(HashMap::new())),
                Err(error) => return Err(error),
            }
        }
        if !handed_in {
            let texts: Vec<&str> = fresh.iter().map(|new| new.text.as_str()).collect();
            let ticket = match embedder.submit(tenant, &self.embedding, &texts).await {
                Ok(ticket) => ticket,
                Err(error) if error.retry() == Retry::Never => return Ok(Some(HashMap::new())),
                Err(error) => return Err(error),
            };
            let hashes = fresh.iter().map(|new| new.hash.clone()).collect();
            let ticket = Ticket { id: ticket, hashes };
            documents.note_ticket(tenant, id, generation, planned.number, Some(&ticket), now).await?;
        }
        let message = "texts were handed in to be embedded when there is room".into();
        document.waiting = Some(wait(document.work.postponed, "embedding_queued", message, now));
        Ok(None)
    }

    fn make<O>(&mut self, open: &[Open<'_, O>], new: Fresh, row: &[f32]) {
        self.values.values.extend_from_slice(row);
        let metadata = open[new.document].metadata.clone();
        let entry = VectorEntry { id: new.vector, metadata };
        self.made.push(Made { document: new.document, hash: new.hash, entry });
    }

    /// Embeds one call's worth of texts. If a call is refused for its input, halves are tried until the texts at fault are
    /// found; their documents fail, and nobody else's.
    async fn embed<O>(&mut self, open: &mut [Open<'_, O>]) {
        let count = self.texts.len().min(P::Embedder::BATCH);
        let first: Vec<Fresh> = self.texts.drain(..count).collect();
        let mut groups = vec![first];
        while let Some(mut group) = groups.pop() {
            // The others of a document that failed are not needed.
            group.retain(|new| open[new.document].error.is_none());
            if group.is_empty() {
                continue;
            }
            let texts: Vec<&str> = group.iter().map(|new| new.text.as_str()).collect();
            match self.ports.embedder().embed_documents(self.tenant, &self.embedding, &texts).await {
                Ok(values) => {
                    if let Err(error) = self.check_shape(&values, group.len()) {
                        self.halted = Some(error);
                        return;
                    }
                    for (nth, new) in group.into_iter().enumerate() {
                        self.make(open, new, values.row(nth));
                    }
                }
                Err(error) if !blames_input(&error) => {
                    self.halted = Some(error);
                    return;
                }
                Err(error) if group.len() == 1 => {
                    let new = &group[0];
                    let message = format!("chunk {} could not be embedded: {error}", new.ordinal);
                    open[new.document].error =
                        Some(Error::Document { code: "embedding_refused".into(), message });
                }
                Err(_) => {
                    let second = group.split_off(group.len() / 2);
                    groups.push(second);
                    groups.push(group);
                }
            }
        }
        self.embedded += count;
    }

    /// Writes what has its values, in the order that survives a crash at any point: ledger, index, ledger, rows.
    async fn write<O>(&mut self, open: &mut [Open<'_, O>]) {
        let made = std::mem::take(&mut self.made);
        let values = std::mem::take(&mut self.values.values);
        let dimensions = self.embedding.dimensions;
        let (mut kept, mut rows) = (Vec::new(), Vec::new());
        for (made, row) in made.into_iter().zip(values.chunks_exact(dimensions.max(1))) {
            if open[made.document].error.is_none() {
                kept.push(made);
                rows.push(row);
            }
        }
        for (made, rows) in kept.chunks(P::Vectors::BATCH).zip(rows.chunks(P::Vectors::BATCH)) {
            if let Err(error) = self.write_vectors(open, made, rows).await {
                self.halted = Some(error);
                // Some of them need these vectors: all come again.
                self.parts.clear();
                return;
            }
        }
        let mut waiting = VecDeque::new();
        while let Some(mut filling) = self.parts.pop_front() {
            let document = &mut open[filling.document];
            if document.error.is_some() {
                continue;
            }
            if filling.needs > self.embedded {
                waiting.push_back(filling);
                continue;
            }
            let (id, generation) = (&document.id, document.generation);
            let upload = &document.work.upload;
            let (settings, now) = (&upload.settings, self.ports.clock().now());
            keyword::add_terms(&mut filling.part.chunks, upload.embedded_title.as_deref());
            let documents = self.ports.documents();
            match documents.write_part(self.tenant, id, generation, settings, &filling.part, now).await {
                Ok(()) => document.unwritten -= 1,
                Err(error) => {
                    self.halted = Some(error);
                    return;
                }
            }
        }
        self.parts = waiting;
    }

    async fn write_vectors<O>(&self, open: &mut [Open<'_, O>], made: &[Made], rows: &[&[f32]]) -> Result<()> {
        let documents = self.ports.documents();
        let mut ledger: Vec<(usize, Vec<(String, String)>)> = Vec::new();
        for made in made {
            let row = (made.entry.id.clone(), made.hash.clone());
            match ledger.iter_mut().find(|(document, _)| *document == made.document) {
                Some((_, rows)) => rows.push(row),
                None => ledger.push((made.document, vec![row])),
            }
        }
        for (index, vectors) in &ledger {
            let (id, generation) = (&open[*index].id, open[*index].generation);
            documents.intend(self.tenant, id, generation, vectors, self.ports.clock().now()).await?;
        }
        match self.upsert(made, rows, None).await {
            Err(error) if error.retry() == Retry::Never && ledger.len() > 1 => {
                // Find the culprit: the others must not suffer for it.
                for (index, _) in &ledger {
                    match self.upsert(made, rows, Some(*index)).await {
                        Err(error) if error.retry() == Retry::Never => open[*index].error = Some(error),
                        other => other?,
                    }
                }
            }
            Err(error) if error.retry() == Retry::Never => open[ledger[0].0].error = Some(error),
            other => other?,
        }
        for (index, vectors) in &ledger {
            let document = &open[*index];
            if document.error.is_none() {
                let (id, generation) = (&document.id, document.generation);
                documents.written(self.tenant, id, generation, vectors, self.ports.clock().now()).await?;
            }
        }
        Ok(())
    }

    /// Upserts all, or one document's.
    async fn upsert(&self, made: &[Made], rows: &[&[f32]], only: Option<usize>) -> Result<()> {
        let namespace = Namespace::new(self.tenant, &self.embedding.fingerprint());
        let mut entries = Vec::with_capacity(made.len());
        let mut values = Embeddings { dimensions: self.embedding.dimensions, values: Vec::new() };
        for (made, row) in made.iter().zip(rows) {
            if only.is_none_or(|only| only == made.document) {
                entries.push(made.entry.clone());
                values.values.extend_from_slice(row);
            }
        }
        self.ports.vectors().upsert(self.tenant, &namespace, &entries, &values).await
    }

    fn check_shape(&self, values: &Embeddings, rows: usize) -> Result<()> {
        let dimensions = self.embedding.dimensions;
        if values.dimensions == dimensions && values.len() == rows {
            return Ok(());
        }
        let message = format!(
            "asked for {rows} vectors of {dimensions} values, got {} of {}",
            values.len(),
            values.dimensions
        );
        Err(Error::Service { service: "embedder", retry: Retry::Never, code: None, message })
    }
}

/// Whether other texts might be taken.
fn blames_input(error: &Error) -> bool {
    error.retry() == Retry::Never
        && matches!(error, Error::Service { code, .. } if code.is_none_or(|code| OF_THE_INPUT.contains(&code)))
}

/// Whether no document could be embedded now, whatever is in it.
pub(super) fn is_of_the_account(error: &Error) -> bool {
    error.retry() == Retry::Never
        && !blames_input(error)
        && matches!(error, Error::Service { service: "embedder", .. })
}
