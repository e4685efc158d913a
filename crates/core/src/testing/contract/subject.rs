//! A document to try things on.

use super::Checked;
use crate::chunk::Section;
use crate::conversion::Place;
use crate::document::{ChunkRow, Document, DocumentId, Failure, Generation, Metadata, Millis, Upload};
use crate::identity::{text_hash, vector_id};
use crate::ports::{DocumentStore, Flip, Garbage, Part, PlannedPart, Reusable, Span, Work};
use crate::settings::EmbeddingSettings;
use crate::{Result, Tenant};

/// What uploads are made with unless a case says otherwise.
pub(super) const SETTINGS: &str = "s";
/// The metadata that their vectors carry.
pub(super) const FIELDS: &str = "f";

/// A document of a tenant, and a time.
pub(super) struct Subject<'a, D> {
    pub(super) documents: &'a D,
    pub(super) tenant: Tenant,
    pub(super) id: DocumentId,
    pub(super) now: Millis,
}

/// The ledger's view of chunks: vectors and hashes.
pub(super) fn pairs(chunks: &[ChunkRow]) -> Vec<(String, String)> {
    chunks.iter().map(|chunk| (chunk.vector.clone(), chunk.hash.clone())).collect()
}

/// The vectors of chunks, in order of their ids.
pub(super) fn vectors(chunks: &[ChunkRow]) -> Vec<String> {
    sorted(chunks.iter().map(|chunk| chunk.vector.clone()).collect())
}

pub(super) fn sorted<T: Ord>(mut values: Vec<T>) -> Vec<T> {
    values.sort();
    values
}

/// Another embedding model.
pub(super) fn embedding(model: &str) -> EmbeddingSettings {
    EmbeddingSettings { model: model.into(), ..EmbeddingSettings::default() }
}

pub(super) fn fingerprint(embedding: &EmbeddingSettings) -> String {
    embedding.fingerprint().as_str().into()
}

/// A part of one chunk.
pub(super) fn planned(number: u32) -> PlannedPart {
    let start = u64::from(number) * 10;
    let headings = vec!["Heading".into()];
    let span = Span { ordinal: number, start, end: start + 9, tokens: 2, headings, ..Span::default() };
    PlannedPart { number, spans: vec![span], ticket: None }
}

impl<'a, D: DocumentStore> Subject<'a, D> {
    pub(super) fn new(documents: &'a D, tenant: Tenant, id: DocumentId, now: Millis) -> Self {
        Self { documents, tenant, id, now }
    }

    /// Another document of the tenant.
    pub(super) fn other(&self, id: &str) -> Checked<Self> {
        Ok(Self::new(self.documents, self.tenant.clone(), DocumentId::new(id)?, self.now))
    }

    /// An upload with an object of its own by `name`.
    pub(super) fn upload(&self, name: &str) -> Upload {
        Upload {
            object_key: format!("originals/{}/{}/{name}", self.tenant, self.id),
            title: Some(name.to_owned()),
            embedded_title: None,
            media_type: "text/plain".into(),
            bytes: 3,
            content_hash: text_hash(name),
            metadata: Metadata::new(),
            settings: SETTINGS.into(),
            fingerprint: fingerprint(&EmbeddingSettings::default()),
            fields: FIELDS.into(),
        }
    }

    /// A chunk whose vector `born` makes.
    pub(super) fn chunk(&self, born: Generation, ordinal: u32, text: &str) -> ChunkRow {
        let hash = text_hash(text);
        let fingerprint = fingerprint(&EmbeddingSettings::default());
        ChunkRow {
            ordinal,
            vector: vector_id(&self.tenant, &self.id, 1, born, &hash, &fingerprint, FIELDS),
            hash,
            text: text.to_owned(),
            start: 0,
            end: text.len() as u64,
            tokens: 2,
            sections: vec![Section { at: 3, headings: vec![text.to_owned()] }],
            places: vec![Place { at: 0, page: Some(ordinal + 1), row: None }],
            table_header: (ordinal == 1).then(|| "| a |\n| --- |".into()),
            headings: vec!["Heading".into()],
            terms: crate::keyword::terms(text),
        }
    }

    pub(super) fn chunks(&self, born: Generation, texts: &[&str]) -> Vec<ChunkRow> {
        texts.iter().zip(0..).map(|(text, ordinal)| self.chunk(born, ordinal, text)).collect()
    }

    pub(super) async fn begin(&self, name: &str) -> Checked<Generation> {
        self.begin_with(&self.upload(name)).await
    }

    pub(super) async fn begin_with(&self, upload: &Upload) -> Checked<Generation> {
        let begun = self.documents.begin(&self.tenant, &self.id, upload, None, self.now).await?;
        Ok(begun.ok_or("nothing was begun")?)
    }

    /// Begins, if `expected` is the newest.
    pub(super) async fn begin_after(&self, expected: Generation, name: &str) -> Result<Option<Generation>> {
        let upload = self.upload(name);
        self.documents.begin(&self.tenant, &self.id, &upload, Some(expected), self.now).await
    }

    pub(super) async fn claim(&self, generation: Generation) -> Result<Option<Work>> {
        self.documents.claim(&self.tenant, &self.id, generation, self.now).await
    }

    pub(super) async fn work(&self, generation: Generation) -> Checked<Work> {
        Ok(self.claim(generation).await?.ok_or_else(|| format!("generation {generation} is not open"))?)
    }

    /// Plans as many parts, all there are.
    pub(super) async fn plan(&self, generation: Generation, parts: u32) -> Result<bool> {
        let parts: Vec<PlannedPart> = (0..parts).map(planned).collect();
        let (tenant, id) = (&self.tenant, &self.id);
        self.documents.plan(tenant, id, generation, SETTINGS, 0, &parts, None, self.now).await
    }

    /// The chunks' vectors are made.
    pub(super) async fn make(&self, generation: Generation, chunks: &[ChunkRow]) -> Result<()> {
        self.intend(generation, chunks).await?;
        self.written(generation, chunks).await
    }

    pub(super) async fn intend(&self, generation: Generation, chunks: &[ChunkRow]) -> Result<()> {
        self.documents.intend(&self.tenant, &self.id, generation, &pairs(chunks), self.now).await
    }

    pub(super) async fn written(&self, generation: Generation, chunks: &[ChunkRow]) -> Result<()> {
        self.documents.written(&self.tenant, &self.id, generation, &pairs(chunks), self.now).await
    }

    pub(super) async fn write(
        &self,
        generation: Generation,
        settings: &str,
        number: u32,
        chunks: &[ChunkRow],
    ) -> Result<()> {
        let part = Part { number, chunks: chunks.to_vec(), embedded: chunks.len() as u64, reused: 0 };
        self.documents.write_part(&self.tenant, &self.id, generation, settings, &part, self.now).await
    }

    /// Everything up to the flip, in one part.
    pub(super) async fn fill(&self, generation: Generation, texts: &[&str]) -> Result<Vec<ChunkRow>> {
        let chunks = self.chunks(generation, texts);
        self.make(generation, &chunks).await?;
        self.plan(generation, 1).await?;
        self.write(generation, SETTINGS, 0, &chunks).await?;
        Ok(chunks)
    }

    pub(super) async fn flip(&self, generation: Generation) -> Result<Flip> {
        self.documents.flip(&self.tenant, &self.id, generation, self.now).await
    }

    pub(super) async fn serve(&self, texts: &[&str]) -> Checked<Generation> {
        self.serve_with(&self.upload(texts.first().unwrap_or(&"empty")), texts).await
    }

    pub(super) async fn serve_with(&self, upload: &Upload, texts: &[&str]) -> Checked<Generation> {
        let generation = self.begin_with(upload).await?;
        self.fill(generation, texts).await?;
        let flip = self.flip(generation).await?;
        ensure!(flip == Flip::Served, "{flip:?}");
        Ok(generation)
    }

    /// Serves chunks whose vectors are there already.
    pub(super) async fn carry(&self, upload: &Upload, chunks: &[ChunkRow]) -> Checked<Generation> {
        let generation = self.begin_with(upload).await?;
        self.plan(generation, 1).await?;
        self.write(generation, SETTINGS, 0, chunks).await?;
        let flip = self.flip(generation).await?;
        ensure!(flip == Flip::Served, "{flip:?}");
        Ok(generation)
    }

    pub(super) async fn fail(&self, generation: Generation) -> Result<Failure> {
        let failure = Failure { code: "not_utf8".into(), message: "no".into() };
        self.documents.fail(&self.tenant, &self.id, generation, &failure, self.now).await?;
        Ok(failure)
    }

    pub(super) async fn get(&self) -> Result<Option<Document>> {
        self.documents.get(&self.tenant, &self.id).await
    }

    pub(super) async fn document(&self) -> Checked<Document> {
        Ok(self.get().await?.ok_or("no document")?)
    }

    pub(super) async fn delete(&self, expected: Option<Generation>) -> Result<bool> {
        self.documents.delete(&self.tenant, &self.id, expected, self.now).await
    }

    /// The texts' vectors that can be used again, by hash.
    pub(super) async fn reusable(&self, generation: Generation, texts: &[&str]) -> Result<Vec<Reusable>> {
        let hashes: Vec<String> = texts.iter().map(|text| text_hash(text)).collect();
        let mut found = self.documents.reusable(&self.tenant, &self.id, generation, &hashes).await?;
        found.sort_by(|left, right| left.hash.cmp(&right.hash));
        Ok(found)
    }

    /// A slice of garbage, each list in order.
    pub(super) async fn garbage(&self, settled: Millis) -> Result<Garbage> {
        self.garbage_within(settled, 100).await
    }

    pub(super) async fn garbage_within(&self, settled: Millis, limit: usize) -> Result<Garbage> {
        let found = self.documents.garbage(&self.tenant, &self.id, limit, settled).await?;
        Ok(Garbage {
            vectors: sorted(found.vectors),
            objects: sorted(found.objects),
            generations: sorted(found.generations),
            more: found.more,
        })
    }

    pub(super) async fn forget(&self, garbage: &Garbage) -> Result<()> {
        self.documents.forget_vectors(&self.tenant, &self.id, &garbage.vectors).await?;
        self.documents.forget_generations(&self.tenant, &self.id, &garbage.generations).await
    }

    /// Names garbage and forgets it.
    pub(super) async fn clean(&self, settled: Millis) -> Result<Garbage> {
        let garbage = self.garbage(settled).await?;
        self.forget(&garbage).await?;
        Ok(garbage)
    }

    /// Whether the sweeper finds something to clean up.
    pub(super) async fn is_unclean(&self, settled: Millis) -> Result<bool> {
        let unclean = self.documents.unclean(settled, 10_000).await?;
        Ok(unclean.contains(&(self.tenant.clone(), self.id.clone())))
    }
}
