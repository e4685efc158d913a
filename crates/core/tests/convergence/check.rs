//! What everything must look like once nothing moves any more: what the texts say, and what a fresh build would give.

use crate::model::{Life, Model, Version, must};
use crate::script::Doc;
use crate::texts::{self, id, tenant};
use crate::world::{Verdict, World, memory, now};
use ragflare_core::chunk::{Chunk, Chunker, embedded_text};
use ragflare_core::conversion::{conversion_key, map_key, text_key, within};
use ragflare_core::document::{ChunkRow, Document, Generation, Metadata, Status};
use ragflare_core::identity::{Namespace, document_tag, text_hash};
use ragflare_core::ingest::{Change, Ingest, NewUpload, Precondition, Registered, pending_generation};
use ragflare_core::keyword;
use ragflare_core::ports::{DOCUMENT_FIELD, DocumentStore, Embedder, KeywordIndex};
use ragflare_core::settings::{EmbeddingSettings, Settings};
use ragflare_core::testing::{Dump, GenerationDump, MemoryPorts, StoredVector};
use std::collections::{BTreeMap, BTreeSet};

/// What a reader can tell of a document.
#[derive(Debug, PartialEq)]
struct Facts {
    status: Status,
    pending: Option<(Status, Option<String>)>,
    error: Option<String>,
    title: Option<String>,
    metadata: Metadata,
    media_type: String,
    bytes: u64,
    content_hash: String,
    chunks: u64,
    tokens: u64,
}

impl Facts {
    fn of(document: Document) -> Self {
        Self {
            status: document.status,
            pending: document.pending.map(|pending| (pending.status, pending.error.map(|error| error.code))),
            error: document.error.map(|error| error.code),
            title: document.title,
            metadata: document.metadata,
            media_type: document.media_type,
            bytes: document.bytes,
            content_hash: document.content_hash,
            chunks: document.chunk_count,
            tokens: document.tokens,
        }
    }
}

/// Documents whose served generation was made with settings of before: a newer upload of theirs can't be read.
type Left = BTreeSet<Doc>;

pub(crate) fn check(world: &World, model: &Model) -> Verdict {
    let (dump, index) = (world.ports.documents.dump(), world.ports.vectors.dump());
    let mut left = Left::new();
    let (mut vectors, mut objects) = (BTreeMap::new(), BTreeSet::new());
    for (doc, life) in &model.lives {
        check_generations(*doc, life, &dump, &mut objects)?;
        let served = life.shown.as_ref().and_then(|shown| shown.generation).filter(|_| life.exists);
        let key = |generation| (tenant(doc.0), id(doc.1), generation);
        if let Some(generation) = served {
            let row = &dump.generations[&key(generation)];
            if row.upload.settings != world.settings.ingest_hash()
                || row.upload.fingerprint != world.settings.embedding.fingerprint().as_str()
            {
                must!(generation != life.newest, "{doc}@{generation} was made with settings of before");
                left.insert(*doc);
            }
            check_chunks(*doc, generation, &life.versions[&generation], row, world, &dump, &mut vectors)?;
        }
        let chunks = dump.chunks.iter().filter(|chunk| {
            (&chunk.tenant, &chunk.document) == (&tenant(doc.0), &id(doc.1))
                && Some(chunk.generation) != served
        });
        must!(chunks.count() == 0, "{doc} has chunks that nothing serves");
    }
    check_vectors(model, &dump, &index, &vectors)?;
    let stored: BTreeSet<String> = world.ports.objects.objects.borrow().keys().cloned().collect();
    // A store that never had a document might be a lost one: nothing is deleted then.
    must!(stored == objects || dump.documents.is_empty(), "objects are {stored:?}, not {objects:?}");
    for (tenant, state) in &dump.tenants {
        let embedding = state.embedding.as_ref();
        must!(
            embedding.is_none_or(|embedding| *embedding == world.settings.embedding)
                && state.next.is_none()
                && !state.reindexing,
            "tenant {tenant} is left as {state:?}"
        );
    }
    check_fresh(world, model, &left)
}

fn check_generations(doc: Doc, life: &Life, dump: &Dump, objects: &mut BTreeSet<String>) -> Verdict {
    let there = dump.documents.get(&(tenant(doc.0), id(doc.1)));
    must!(there.is_some_and(|row| !row.deleted) == life.exists, "{doc} is not as it should be: {there:?}");
    let generations: BTreeMap<Generation, &GenerationDump> = dump
        .generations
        .iter()
        .filter(|((owner, document, _), _)| (owner, document) == (&tenant(doc.0), &id(doc.1)))
        .map(|((_, _, number), row)| (*number, row))
        .collect();
    let mut wanted = BTreeSet::new();
    if life.exists {
        let served = life.shown.as_ref().and_then(|shown| shown.generation);
        let newest = &life.versions[&life.newest];
        let row = generations.get(&life.newest);
        let state = row.map(|row| (row.status, row.failure.as_ref().map(|failure| failure.code.as_str())));
        let should = match newest.original.body.fault() {
            None => ("indexed", None),
            Some(fault) => ("failed", Some(fault)),
        };
        must!(state == Some(should), "{doc}@{} is {state:?}, not {should:?}", life.newest);
        must!(
            newest.original.body.fault().is_some() || served == Some(life.newest),
            "{doc}: {served:?} is served, not {}",
            life.newest
        );
        wanted.insert(life.newest);
        wanted.extend(served);
    }
    let numbers: BTreeSet<Generation> = generations.keys().copied().collect();
    must!(numbers == wanted, "{doc} has generations {numbers:?}, not {wanted:?}");
    for number in wanted {
        let (row, version) = (generations[&number], &life.versions[&number]);
        must!(row.upload.object_key == version.key, "{doc}@{number} names {}", row.upload.object_key);
        objects.insert(version.key.clone());
        if version.original.body.is_converted() {
            objects.extend([text_key(&version.key), map_key(&version.key), conversion_key(&version.key)]);
        }
    }
    Ok(())
}

/// The settings that a generation was made with.
fn made_with(row: &GenerationDump) -> Option<(Settings, EmbeddingSettings)> {
    let all = || (0..5).map(|variant| texts::settings(variant, false));
    let settings = all().find(|settings| settings.ingest_hash() == row.upload.settings)?;
    let embedding = all().map(|settings| settings.embedding);
    let embedding =
        embedding.into_iter().find(|embedding| embedding.fingerprint().as_str() == row.upload.fingerprint)?;
    Some((settings, embedding))
}

/// A served generation's chunks are those of its text, and the index has their vectors.
fn check_chunks(
    doc: Doc,
    generation: Generation,
    version: &Version,
    row: &GenerationDump,
    world: &World,
    dump: &Dump,
    vectors: &mut BTreeMap<String, (Doc, String, StoredVector)>,
) -> Verdict {
    let Some((settings, embedding)) = made_with(row) else {
        return Err(format!("{doc}@{generation} was made with unknown settings"));
    };
    let (tenant, document, text) = (tenant(doc.0), id(doc.1), &version.original.text);
    let rows: Vec<&ChunkRow> = dump
        .chunks
        .iter()
        .filter(|chunk| {
            (&chunk.tenant, &chunk.document, chunk.generation) == (&tenant, &document, generation)
        })
        .map(|chunk| &chunk.chunk)
        .collect();
    let chunks = Chunker::new(settings.chunk).unwrap().chunks(text, version.original.body.format());
    must!(rows.len() == chunks.len(), "{doc}@{generation} has {} chunks, not {}", rows.len(), chunks.len());
    let places = version.original.body.places();
    let mut metadata: Metadata = version
        .metadata
        .iter()
        .filter(|(name, value)| !value.is_null() && settings.fields.iter().any(|field| field.name == **name))
        .map(|(name, value)| (name.clone(), value.clone()))
        .collect();
    metadata.insert(DOCUMENT_FIELD.into(), document_tag(&tenant, &document).into());
    let namespace = Namespace::new(&tenant, &embedding.fingerprint());
    let title = version.embedded_title.as_deref();
    let embedded = |chunk: &Chunk| {
        embedded_text(
            title,
            &chunk.headings,
            chunk.table_header.as_deref(),
            &text[chunk.start..chunk.end],
            &settings.chunk,
        )
    };
    let mut expected: Vec<ChunkRow> = rows
        .iter()
        .zip(&chunks)
        .map(|(row, chunk)| ChunkRow {
            ordinal: chunk.ordinal,
            vector: row.vector.clone(),
            hash: text_hash(&embedded(chunk)),
            text: text[chunk.start..chunk.end].to_owned(),
            start: chunk.start as u64,
            end: chunk.end as u64,
            tokens: chunk.tokens as u64,
            sections: chunk.sections.clone(),
            places: within(&places, chunk.start as u64..chunk.end as u64),
            table_header: chunk.table_header.clone(),
            headings: chunk.headings.clone(),
            terms: Vec::new(),
        })
        .collect();
    // A part has 100 chunks.
    expected.chunks_mut(100).for_each(|part| keyword::add_terms(part, title));
    for ((row, should), chunk) in rows.iter().zip(&expected).zip(&chunks) {
        must!(*row == should, "{doc}@{generation} has {row:?}, not {should:?}");
        if let Some((owner, hash, _)) = vectors.get(&row.vector) {
            let shared = (*owner, hash) == (doc, &row.hash);
            must!(shared, "{doc}@{generation} shares {} with {owner}: {hash}, {}", row.vector, row.hash);
            continue;
        }
        let values = now(world.ports.embedder.embed_query(&tenant, &embedding, &embedded(chunk))).unwrap();
        let stored =
            StoredVector { namespace: namespace.as_str().into(), values, metadata: metadata.clone() };
        vectors.insert(row.vector.clone(), (doc, row.hash.clone(), stored));
    }
    Ok(())
}

/// Ledger and index hold what the served chunks name, and nothing else.
fn check_vectors(
    model: &Model,
    dump: &Dump,
    index: &BTreeMap<String, StoredVector>,
    vectors: &BTreeMap<String, (Doc, String, StoredVector)>,
) -> Verdict {
    for (vector, (doc, hash, stored)) in vectors {
        must!(!model.forgotten.contains(vector), "{doc} is served with {vector}, which was forgotten");
        let found = index.get(vector);
        must!(found == Some(stored), "{doc}: {vector} is {found:?} in the index, not {stored:?}");
        let row = dump.vectors.get(vector);
        let right = row.is_some_and(|row| {
            row.state == "written"
                && row.hash == *hash
                && (&row.tenant, &row.document) == (&tenant(doc.0), &id(doc.1))
        });
        must!(right, "{doc}: {vector} is {row:?} in the ledger");
    }
    let orphan = index.keys().find(|vector| !vectors.contains_key(*vector));
    must!(
        orphan.is_none(),
        "vector {orphan:?} is an orphan; ledger: {:?}",
        dump.vectors.get(orphan.unwrap())
    );
    let needless = dump.vectors.iter().find(|(vector, _)| !vectors.contains_key(*vector));
    must!(needless.is_none(), "the ledger still has {needless:?}");
    Ok(())
}

/// What is there is what a build from nothing gives.
fn check_fresh(world: &World, model: &Model, left: &Left) -> Verdict {
    let fresh = memory();
    let batch_api = false;
    let mut settings = (*world.settings).clone();
    settings.ingest.batch_api = batch_api;
    let mut uploads = 0;
    for (doc, life) in model.lives.iter().filter(|(doc, life)| life.exists && !left.contains(doc)) {
        let served = life.shown.as_ref().and_then(|shown| shown.generation);
        let wanted: BTreeSet<Generation> = served.into_iter().chain([life.newest]).collect();
        for generation in wanted {
            uploads += 1;
            build(&fresh, &settings, *doc, &life.versions[&generation], uploads)
                .map_err(|what| format!("{doc}@{generation}, fresh: {what}"))?;
        }
        let facts = |ports: &MemoryPorts| {
            now(ports.documents.get(&tenant(doc.0), &id(doc.1))).unwrap().map(Facts::of)
        };
        let (is, should) = (facts(&world.ports), facts(&fresh));
        must!(is == should, "{doc} is {is:?}, fresh {should:?}");
    }
    let rows = |ports: &MemoryPorts| {
        let dump = ports.documents.dump();
        let index = ports.vectors.dump();
        let mut rows = Vec::new();
        for chunk in dump.chunks {
            let doc = model.doc(&chunk.tenant, &chunk.document);
            if !left.contains(&doc) {
                let vector = index.get(&chunk.chunk.vector).cloned();
                rows.push((doc, ChunkRow { vector: String::new(), ..chunk.chunk }, vector));
            }
        }
        rows
    };
    let (is, should) = (rows(&world.ports), rows(&fresh));
    must!(is.len() == should.len(), "{} chunks, fresh {}", is.len(), should.len());
    let other = is.iter().zip(&should).find(|(is, should)| is != should);
    must!(other.is_none(), "a chunk is not that of a fresh build: {other:?}");
    for number in 0..crate::model::TENANTS {
        if left.iter().any(|doc| doc.0 == number) {
            continue;
        }
        for query in ["harbour lantern 检索系统", "größer granite p3 p5 compass"] {
            let (is, should) = (ranked(&world.ports, number, query), ranked(&fresh, number, query));
            must!(is == should, "`{query}` finds {is:?}, fresh {should:?}");
        }
    }
    Ok(())
}

/// Uploads a version, with a change of title if it had one.
fn build(ports: &MemoryPorts, settings: &Settings, doc: Doc, version: &Version, number: usize) -> Verdict {
    let ingest = Ingest::new(ports, settings);
    let (tenant, document) = (tenant(doc.0), id(doc.1));
    let original = &version.original;
    // What fails is never embedded, and can't be changed any more.
    let failing = original.body.fault().is_some();
    let title = if failing { &version.title } else { &version.embedded_title };
    let upload = NewUpload {
        object_key: format!("originals/t{}/{number}", doc.0),
        title: title.clone(),
        media_type: original.body.media_type().into(),
        bytes: original.bytes.len() as u64,
        content_hash: original.hash.clone(),
        metadata: version.metadata.clone(),
    };
    now(ingest.put(&tenant, &document, &upload, &original.bytes)).map_err(|error| error.to_string())?;
    if version.title != *title {
        let change = Change { title: Some(version.title.clone()), metadata: None };
        let patched = now(ingest.patch(&tenant, &document, &change, &Precondition::None));
        if let Ok(Some(Registered::Queued(patched))) = patched {
            let generation = pending_generation(&patched).unwrap();
            now(ingest.process(&tenant, &[(document.clone(), generation)], &|| true));
        }
    }
    while now(ingest.clean(&tenant, &document)).map_err(|error| error.to_string())?.1 {}
    let served = now(ports.documents.get(&tenant, &document)).unwrap().and_then(|shown| shown.generation);
    if let Some(served) = served {
        now(ingest.confirm(&tenant, &document, served)).map_err(|error| error.to_string())?;
    }
    Ok(())
}

/// What a query finds, by document and position, best first.
fn ranked(ports: &MemoryPorts, number: u8, query: &str) -> Vec<(u32, String, u32)> {
    let (tenant, terms) = (tenant(number), keyword::query_terms(query));
    let hits = now(KeywordIndex::search(&ports.documents, &tenant, &terms, None, 10_000)).unwrap();
    let rows: Vec<i64> = hits.iter().map(|hit| hit.row).collect();
    let chunks = now(ports.documents.hydrate(&tenant, &[], &rows)).unwrap();
    let chunks: BTreeMap<i64, _> = chunks.into_iter().map(|chunk| (chunk.row, chunk)).collect();
    let mut ranked: Vec<(u32, String, u32)> = hits
        .iter()
        .map(|hit| {
            let chunk = &chunks[&hit.row];
            ((hit.score * 1e4).round() as u32, chunk.document.to_string(), chunk.ordinal)
        })
        .collect();
    ranked.sort();
    ranked
}
