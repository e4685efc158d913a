//! Documents, generations, parts, chunks and the vector ledger in D1. Each call is one transaction.

use super::rows::{
    CHUNK_COLUMNS, CHUNK_SOURCE, DOCUMENT_COLUMNS, DOCUMENT_SOURCE, DocumentRow, ServedRow, UploadRow,
};
use super::{Database, Statement, optional, rows};
use ragflare_core::document::{
    ChunkRow, Document, DocumentId, Failure, Generation, Millis, ServedChunk, Status, Upload,
};
use ragflare_core::identity::Fingerprint;
use ragflare_core::keyword::stored_term;
use ragflare_core::ports::{Begun, DocumentStore, Garbage, ListQuery, Overdue, Part, Work};
use ragflare_core::{Error, Result, Retry, Tenant};
use serde::Deserialize;
use serde_json::json;

/// Documents in D1.
#[derive(Clone, Debug)]
pub struct D1Documents {
    database: Database,
}

/// The generation `?1, ?2, ?3` names, while there is work to do on it. Older ones are dead as soon as a newer one
/// begins, all are when the document is deleted: so an open generation is the newest of a living document.
const OPEN: &str = "tenant = ?1 AND document = ?2 AND generation = ?3 AND status IN ('queued', 'processing')";

/// Well below what one value may hold.
const SLICE_BYTES: usize = 512 * 1024;

#[derive(Deserialize)]
struct Number {
    value: u64,
}

#[derive(Deserialize)]
struct Text {
    value: String,
}

#[derive(Deserialize)]
struct Pair {
    hash: String,
    vector: String,
}

#[derive(Deserialize)]
struct OverdueRow {
    tenant: String,
    document: String,
    generation: Generation,
    status: String,
    bytes: u64,
}

#[derive(Deserialize)]
struct OwnerRow {
    tenant: String,
    document: String,
}

impl D1Documents {
    /// Over a database with this crate's schema.
    pub fn new(database: Database) -> Self {
        Self { database }
    }
}

/// A statement about a document: `?1` tenant, `?2` document.
fn about(sql: impl Into<String>, tenant: &Tenant, id: &DocumentId) -> Statement {
    Statement::new(sql).bind(tenant.as_str()).bind(id.as_str())
}

/// A statement about a generation: `?1` tenant, `?2` document, `?3` generation.
fn of(sql: impl Into<String>, tenant: &Tenant, id: &DocumentId, generation: Generation) -> Statement {
    about(sql, tenant, id).number(generation)
}

fn texts(found: Vec<Text>) -> Vec<String> {
    found.into_iter().map(|text| text.value).collect()
}

fn chunk_json(tenant: &Tenant, chunk: &ChunkRow) -> serde_json::Value {
    let terms: Vec<String> = chunk.terms.iter().map(|term| stored_term(tenant, term)).collect();
    json!({
        "ordinal": chunk.ordinal, "vector": chunk.vector, "hash": chunk.hash, "text": chunk.text,
        "start": chunk.start, "end": chunk.end, "tokens": chunk.tokens, "page": chunk.page,
        "headings": serde_json::to_string(&chunk.headings).unwrap_or_else(|_| "[]".into()),
        "length": chunk.terms.len(), "terms": terms.join(" "),
    })
}

/// Packs JSON values into arrays of at most [`SLICE_BYTES`]: D1 takes values of 1 MB (limits page, 2026-04).
fn slices(values: impl Iterator<Item = String>) -> Vec<String> {
    let mut slices: Vec<String> = Vec::new();
    for value in values {
        match slices.last_mut() {
            Some(slice) if slice.len() + value.len() < SLICE_BYTES => slice.push(','),
            _ => slices.push(String::from("[")),
        }
        if let Some(slice) = slices.last_mut() {
            slice.push_str(&value);
        }
    }
    slices.iter_mut().for_each(|slice| slice.push(']'));
    slices
}

impl DocumentStore for D1Documents {
    async fn begin(&self, tenant: &Tenant, id: &DocumentId, upload: &Upload, now: Millis) -> Result<Begun> {
        let metadata = serde_json::to_string(&upload.metadata).unwrap_or_else(|_| "{}".into());
        let results = self
            .database
            .batch(vec![
                // The statistics that the flip's trigger keeps.
                Statement::new("INSERT OR IGNORE INTO tenants (tenant) VALUES (?1)").bind(tenant.as_str()),
                about(
                    "INSERT INTO documents (tenant, id, incarnation, newest, created_at, updated_at) \
                     VALUES (?1, ?2, 1, 1, ?3, ?3) ON CONFLICT (tenant, id) DO UPDATE SET newest = newest + 1, \
                     incarnation = iif(deleted_at IS NULL, incarnation, newest + 1), \
                     created_at = iif(deleted_at IS NULL, created_at, excluded.created_at), \
                     deleted_at = NULL, updated_at = excluded.updated_at RETURNING newest AS value",
                    tenant,
                    id,
                )
                .number(now),
                about(
                    "UPDATE generations SET status = 'dead' WHERE tenant = ?1 AND document = ?2 AND status <> 'dead' \
                     AND generation IS NOT (SELECT served FROM documents WHERE tenant = ?1 AND id = ?2)",
                    tenant,
                    id,
                ),
                about(
                    "INSERT INTO generations (tenant, document, generation, status, object_key, title, media_type, \
                     bytes, content_hash, metadata, settings, updated_at) \
                     SELECT ?1, ?2, newest, 'queued', ?3, ?4, ?5, ?6, ?7, ?8, ?9, ?10 \
                     FROM documents WHERE tenant = ?1 AND id = ?2",
                    tenant,
                    id,
                )
                .bind(upload.object_key.as_str())
                .bind(optional(upload.title.as_deref()))
                .bind(upload.media_type.as_str())
                .number(upload.bytes)
                .bind(upload.content_hash.as_str())
                .bind(metadata)
                .bind(upload.settings.as_str())
                .number(now),
            ])
            .await?;
        let numbered: Vec<Number> = rows(&results[1])?;
        let generation = numbered.first().map(|number| number.value).ok_or_else(|| Error::Service {
            service: "database",
            retry: Retry::Backoff,
            code: None,
            message: "no generation was numbered".into(),
        })?;
        Ok(Begun { generation })
    }

    async fn sent(
        &self,
        tenant: &Tenant,
        id: &DocumentId,
        generation: Generation,
        now: Millis,
    ) -> Result<()> {
        let sql = format!("UPDATE generations SET updated_at = ?4 WHERE {OPEN}");
        self.database.run(of(sql, tenant, id, generation).number(now)).await
    }

    async fn get(&self, tenant: &Tenant, id: &DocumentId) -> Result<Option<Document>> {
        let sql = format!(
            "SELECT {DOCUMENT_COLUMNS} FROM {DOCUMENT_SOURCE} \
             WHERE d.tenant = ?1 AND d.id = ?2 AND d.deleted_at IS NULL"
        );
        let found: Vec<DocumentRow> = self.database.all(about(sql, tenant, id)).await?;
        found.into_iter().next().map(DocumentRow::into_document).transpose()
    }

    async fn list(&self, tenant: &Tenant, query: &ListQuery) -> Result<Vec<Document>> {
        let sql = format!(
            "SELECT {DOCUMENT_COLUMNS} FROM {DOCUMENT_SOURCE} WHERE d.tenant = ?1 AND d.deleted_at IS NULL \
             AND d.id > ?2 AND d.id >= ?3 AND d.id < ?3 || '~' \
             AND (?4 IS NULL OR g.status = ?4) ORDER BY d.id LIMIT ?5"
        );
        let statement = Statement::new(sql)
            .bind(tenant.as_str())
            .bind(query.after.as_deref().unwrap_or_default())
            .bind(query.prefix.as_deref().unwrap_or_default())
            .bind(optional(query.status.map(Status::as_str)))
            .number(query.limit as u64);
        let found: Vec<DocumentRow> = self.database.all(statement).await?;
        found.into_iter().map(DocumentRow::into_document).collect()
    }

    async fn claim(
        &self,
        tenant: &Tenant,
        id: &DocumentId,
        generation: Generation,
        now: Millis,
    ) -> Result<Option<Work>> {
        let claim = format!(
            "UPDATE generations SET status = 'processing', updated_at = ?4 WHERE {OPEN} \
             RETURNING object_key, title, media_type, bytes, content_hash, metadata, settings"
        );
        let results = self
            .database
            .batch(vec![
                of(claim, tenant, id, generation).number(now),
                about("SELECT incarnation AS value FROM documents WHERE tenant = ?1 AND id = ?2", tenant, id),
                of(
                    "SELECT part AS value FROM parts WHERE tenant = ?1 AND document = ?2 AND generation = ?3 AND done",
                    tenant,
                    id,
                    generation,
                ),
                of(
                    "SELECT c.hash, c.vector FROM documents d \
                     JOIN generations s ON s.tenant = d.tenant AND s.document = d.id AND s.generation = d.served \
                     JOIN generations n ON n.tenant = d.tenant AND n.document = d.id AND n.generation = ?3 \
                     JOIN chunks c ON c.tenant = d.tenant AND c.document = d.id AND c.generation = d.served \
                     WHERE d.tenant = ?1 AND d.id = ?2 AND s.settings = n.settings",
                    tenant,
                    id,
                    generation,
                ),
            ])
            .await?;
        let (Some(upload), Some(incarnation)) =
            (rows::<UploadRow>(&results[0])?.pop(), rows::<Number>(&results[1])?.pop())
        else {
            return Ok(None);
        };
        let parts: Vec<Number> = rows(&results[2])?;
        let reusable: Vec<Pair> = rows(&results[3])?;
        Ok(Some(Work {
            incarnation: incarnation.value,
            upload: upload.into_upload()?,
            parts_done: parts.into_iter().map(|part| part.value as u32).collect(),
            reusable: reusable.into_iter().map(|pair| (pair.hash, pair.vector)).collect(),
        }))
    }

    async fn restart(
        &self,
        tenant: &Tenant,
        id: &DocumentId,
        generation: Generation,
        settings: &str,
    ) -> Result<()> {
        let open = format!("EXISTS (SELECT 1 FROM generations WHERE {OPEN})");
        let own = format!("tenant = ?1 AND document = ?2 AND generation = ?3 AND {open}");
        let statements = vec![
            of(
                format!("DELETE FROM keyword_index WHERE rowid IN (SELECT row FROM chunks WHERE {own})"),
                tenant,
                id,
                generation,
            ),
            of(format!("DELETE FROM chunks WHERE {own}"), tenant, id, generation),
            of(format!("DELETE FROM parts WHERE {own}"), tenant, id, generation),
            of(format!("UPDATE generations SET settings = ?4 WHERE {OPEN}"), tenant, id, generation)
                .bind(settings),
        ];
        self.database.batch(statements).await.map(drop)
    }

    async fn plan(&self, tenant: &Tenant, id: &DocumentId, generation: Generation, parts: u32) -> Result<()> {
        let numbers: Vec<u32> = (0..parts).collect();
        let statements = vec![
            of(
                "INSERT OR IGNORE INTO parts (tenant, document, generation, part) \
                 SELECT ?1, ?2, ?3, value FROM json_each(?4) WHERE EXISTS (SELECT 1 FROM generations \
                 WHERE tenant = ?1 AND document = ?2 AND generation = ?3 AND status IN ('queued', 'processing'))",
                tenant,
                id,
                generation,
            )
            .list(&numbers),
            of(format!("UPDATE generations SET parts_total = ?4 WHERE {OPEN}"), tenant, id, generation)
                .number(u64::from(parts)),
        ];
        self.database.batch(statements).await.map(drop)
    }

    async fn intend(
        &self,
        tenant: &Tenant,
        id: &DocumentId,
        generation: Generation,
        vectors: &[String],
        now: Millis,
    ) -> Result<()> {
        let statement = of(
            // Back to an intent, if an earlier attempt got further: this attempt's writer is at work until it says so.
            "INSERT INTO vectors (id, tenant, document, born, state, changed_at) \
             SELECT value, ?1, ?2, ?3, 'intent', ?5 FROM json_each(?4) WHERE 1 \
             ON CONFLICT (id) DO UPDATE SET state = 'intent', changed_at = excluded.changed_at",
            tenant,
            id,
            generation,
        );
        self.database.run(statement.list(vectors).number(now)).await
    }

    async fn written(
        &self,
        tenant: &Tenant,
        id: &DocumentId,
        generation: Generation,
        vectors: &[String],
        now: Millis,
    ) -> Result<()> {
        // Too late, the generation died and its rows may be gone: entered again, as an intent, so that the sweeper finds
        // the vector that has just come into being.
        let statement = of(
            "INSERT INTO vectors (id, tenant, document, born, state, changed_at) \
             SELECT value, ?1, ?2, ?3, iif(EXISTS (SELECT 1 FROM generations WHERE tenant = ?1 AND document = ?2 \
             AND generation = ?3 AND status <> 'dead'), 'written', 'intent'), ?5 FROM json_each(?4) WHERE 1 \
             ON CONFLICT (id) DO UPDATE SET state = excluded.state, changed_at = excluded.changed_at",
            tenant,
            id,
            generation,
        );
        self.database.run(statement.list(vectors).number(now)).await
    }

    async fn write_part(
        &self,
        tenant: &Tenant,
        id: &DocumentId,
        generation: Generation,
        part: &Part,
        now: Millis,
    ) -> Result<()> {
        // Guarded throughout: a late copy of a message must not touch what is served by now.
        let open = format!("EXISTS (SELECT 1 FROM generations WHERE {OPEN})");
        let own = format!(
            "SELECT row FROM chunks WHERE tenant = ?1 AND document = ?2 AND generation = ?3 \
             AND ordinal BETWEEN ?4 AND ?5 AND {open}"
        );
        // By position, which has an index: looking for the part would read the whole generation for each part.
        let first = part.chunks.first().map_or(0, |chunk| u64::from(chunk.ordinal));
        let last = part.chunks.last().map_or(0, |chunk| u64::from(chunk.ordinal));
        let number = u64::from(part.number);
        let tokens = part.chunks.iter().map(|chunk| chunk.tokens).sum();
        let terms = part.chunks.iter().map(|chunk| chunk.terms.len() as u64).sum();
        let mut statements = vec![
            of(format!("DELETE FROM keyword_index WHERE rowid IN ({own})"), tenant, id, generation)
                .number(first)
                .number(last),
            of(format!("DELETE FROM chunks WHERE row IN ({own})"), tenant, id, generation)
                .number(first)
                .number(last),
        ];
        for slice in slices(part.chunks.iter().map(|chunk| chunk_json(tenant, chunk).to_string())) {
            statements.push(
                of(
                    format!(
                        "INSERT INTO chunks (tenant, document, generation, part, ordinal, vector, hash, text, start, \
                         \"end\", tokens, terms, page, headings) SELECT ?1, ?2, ?3, ?4, value->>'ordinal', \
                         value->>'vector', value->>'hash', value->>'text', value->>'start', value->>'end', \
                         value->>'tokens', value->>'length', value->>'page', value->>'headings' \
                         FROM json_each(?5) WHERE {open}"
                    ),
                    tenant,
                    id,
                    generation,
                )
                .number(number)
                .bind(slice.as_str()),
            );
            // CROSS JOIN: each value looks its row up; the other way round each row of the generation reads all values.
            statements.push(
                of(
                    format!(
                        "INSERT INTO keyword_index (rowid, terms) SELECT c.row, value->>'terms' FROM json_each(?4) \
                         CROSS JOIN chunks c ON c.tenant = ?1 AND c.document = ?2 AND c.generation = ?3 \
                         AND c.ordinal = value->>'ordinal' WHERE {open}"
                    ),
                    tenant,
                    id,
                    generation,
                )
                .bind(slice.as_str()),
            );
        }
        statements.push(
            of(
                format!(
                    "UPDATE parts SET done = 1, chunks = ?5, tokens = ?6, terms = ?7, embedded = ?8, reused = ?9 \
                     WHERE tenant = ?1 AND document = ?2 AND generation = ?3 AND part = ?4 AND {open}"
                ),
                tenant,
                id,
                generation,
            )
            .number(number)
            .number(part.chunks.len() as u64)
            .number(tokens)
            .number(terms)
            .number(part.embedded)
            .number(part.reused),
        );
        statements.push(
            of(format!("UPDATE generations SET updated_at = ?4 WHERE {OPEN}"), tenant, id, generation)
                .number(now),
        );
        self.database.batch(statements).await.map(drop)
    }

    async fn flip(
        &self,
        tenant: &Tenant,
        id: &DocumentId,
        generation: Generation,
        now: Millis,
    ) -> Result<bool> {
        let sum = |column: &str| {
            format!(
                "(SELECT coalesce(sum({column}), 0) FROM parts \
                 WHERE tenant = ?1 AND document = ?2 AND generation = ?3)"
            )
        };
        let served = "EXISTS (SELECT 1 FROM documents WHERE tenant = ?1 AND id = ?2 AND served = ?3)";
        let results = self
            .database
            .batch(vec![
                of(
                    format!(
                        "UPDATE generations SET chunk_count = {}, tokens = {}, terms = {}, embedded = {}, \
                         reused = {} WHERE {OPEN}",
                        sum("chunks"),
                        sum("tokens"),
                        sum("terms"),
                        sum("embedded"),
                        sum("reused")
                    ),
                    tenant,
                    id,
                    generation,
                ),
                of(
                    "UPDATE documents SET served = ?3, updated_at = ?4 WHERE tenant = ?1 AND id = ?2 \
                     AND newest = ?3 AND deleted_at IS NULL AND served IS NOT ?3 \
                     AND EXISTS (SELECT 1 FROM generations WHERE tenant = ?1 AND document = ?2 AND generation = ?3 \
                     AND status IN ('queued', 'processing')) AND EXISTS (SELECT 1 FROM parts WHERE tenant = ?1 AND document = ?2 AND generation = ?3) \
                     AND NOT EXISTS (SELECT 1 FROM parts WHERE tenant = ?1 AND document = ?2 AND generation = ?3 \
                     AND NOT done)",
                    tenant,
                    id,
                    generation,
                )
                .number(now),
                of(
                    format!(
                        "UPDATE generations SET status = 'searchable', updated_at = ?4 WHERE {OPEN} AND {served}"
                    ),
                    tenant,
                    id,
                    generation,
                )
                .number(now),
                of(
                    format!(
                        "UPDATE generations SET status = 'dead' WHERE tenant = ?1 AND document = ?2 \
                         AND generation < ?3 AND status <> 'dead' AND {served}"
                    ),
                    tenant,
                    id,
                    generation,
                ),
                of(format!("SELECT {served} AS value"), tenant, id, generation),
            ])
            .await?;
        let flag: Vec<Number> = rows(&results[4])?;
        Ok(flag.first().is_some_and(|flag| flag.value == 1))
    }

    async fn fail(
        &self,
        tenant: &Tenant,
        id: &DocumentId,
        generation: Generation,
        failure: &Failure,
        now: Millis,
    ) -> Result<()> {
        let sql = format!(
            "UPDATE generations SET status = 'failed', error_code = ?4, error_message = ?5, updated_at = ?6 \
             WHERE {OPEN}"
        );
        let statement = of(sql, tenant, id, generation)
            .bind(failure.code.as_str())
            .bind(failure.message.as_str())
            .number(now);
        self.database.run(statement).await
    }

    async fn last_vectors(
        &self,
        tenant: &Tenant,
        id: &DocumentId,
        generation: Generation,
        limit: usize,
    ) -> Result<Vec<String>> {
        let statement = of(
            "SELECT id AS value FROM vectors WHERE tenant = ?1 AND document = ?2 AND born = ?3 \
             AND +state = 'written' ORDER BY changed_at DESC LIMIT ?4",
            tenant,
            id,
            generation,
        );
        self.database.all(statement.number(limit as u64)).await.map(texts)
    }

    async fn indexed(
        &self,
        tenant: &Tenant,
        id: &DocumentId,
        generation: Generation,
        now: Millis,
    ) -> Result<()> {
        let statement = of(
            "UPDATE generations SET status = 'indexed', updated_at = ?4 \
             WHERE tenant = ?1 AND document = ?2 AND generation = ?3 AND status = 'searchable'",
            tenant,
            id,
            generation,
        );
        self.database.run(statement.number(now)).await
    }

    async fn delete(&self, tenant: &Tenant, id: &DocumentId, now: Millis) -> Result<bool> {
        let results = self
            .database
            .batch(vec![
                about(
                    "UPDATE documents SET deleted_at = ?3, served = NULL, updated_at = ?3 \
                     WHERE tenant = ?1 AND id = ?2 AND deleted_at IS NULL RETURNING 1 AS value",
                    tenant,
                    id,
                )
                .number(now),
                about(
                    "UPDATE generations SET status = 'dead' WHERE tenant = ?1 AND document = ?2 \
                     AND EXISTS (SELECT 1 FROM documents WHERE tenant = ?1 AND id = ?2 AND deleted_at IS NOT NULL)",
                    tenant,
                    id,
                ),
            ])
            .await?;
        Ok(!rows::<Number>(&results[0])?.is_empty())
    }

    async fn delete_prefix(&self, tenant: &Tenant, prefix: &str, now: Millis) -> Result<Vec<DocumentId>> {
        let statement = |sql: &str| Statement::new(sql).bind(tenant.as_str()).bind(prefix).number(now);
        let results = self
            .database
            .batch(vec![
                statement(
                    "UPDATE documents SET deleted_at = ?3, served = NULL, updated_at = ?3 WHERE tenant = ?1 \
                     AND id >= ?2 AND id < ?2 || '~' AND deleted_at IS NULL RETURNING id AS value",
                ),
                statement(
                    "UPDATE generations SET status = 'dead' WHERE tenant = ?1 AND document >= ?2 \
                     AND document < ?2 || '~' AND ?3 > 0 AND EXISTS (SELECT 1 FROM documents d \
                     WHERE d.tenant = ?1 AND d.id = generations.document AND d.deleted_at IS NOT NULL)",
                ),
            ])
            .await?;
        texts(rows(&results[0])?).into_iter().map(DocumentId::new).collect()
    }

    async fn garbage(
        &self,
        tenant: &Tenant,
        id: &DocumentId,
        limit: usize,
        settled: Millis,
    ) -> Result<Garbage> {
        let dead = "FROM chunks c JOIN generations g ON g.tenant = c.tenant AND g.document = c.document \
            AND g.generation = c.generation WHERE c.tenant = ?1 AND c.document = ?2 \
            AND g.status IN ('dead', 'failed')";
        let slice = format!("SELECT c.row {dead} ORDER BY c.row LIMIT ?3");
        let limited = |sql: String| about(sql, tenant, id).number(limit as u64);
        let results = self
            .database
            .batch(vec![
                limited(format!("DELETE FROM keyword_index WHERE rowid IN ({slice})")),
                limited(format!("DELETE FROM chunks WHERE row IN ({slice})")),
                limited(
                    "SELECT v.id AS value FROM vectors v WHERE v.tenant = ?1 AND v.document = ?2 \
                     AND (v.state = 'written' OR v.changed_at < ?4) \
                     AND NOT EXISTS (SELECT 1 FROM chunks c WHERE c.vector = v.id) \
                     AND NOT EXISTS (SELECT 1 FROM generations g WHERE g.tenant = v.tenant \
                     AND g.document = v.document AND g.generation = v.born AND g.status IN ('queued', 'processing')) \
                     LIMIT ?3"
                        .into(),
                )
                .number(settled),
                limited(
                    "SELECT g.object_key AS value FROM generations g WHERE g.tenant = ?1 AND g.document = ?2 \
                     AND g.status = 'dead' AND NOT EXISTS (SELECT 1 FROM chunks c WHERE c.tenant = g.tenant \
                     AND c.document = g.document AND c.generation = g.generation) LIMIT ?3"
                        .into(),
                ),
                about(format!("SELECT EXISTS (SELECT 1 {dead}) AS value"), tenant, id),
            ])
            .await?;
        let vectors = texts(rows(&results[2])?);
        let mut objects = texts(rows(&results[3])?);
        let rows_left = rows::<Number>(&results[4])?.first().is_some_and(|flag| flag.value == 1);
        let full = vectors.len() == limit || objects.len() == limit;
        if vectors.len() == limit {
            // A generation is what leads the sweeper to its vectors: it goes last.
            objects.clear();
        }
        Ok(Garbage { vectors, objects, more: rows_left || full })
    }

    async fn forget_vectors(&self, tenant: &Tenant, id: &DocumentId, vectors: &[String]) -> Result<()> {
        let gone = about(
            "DELETE FROM vectors WHERE tenant = ?1 AND document = ?2 \
             AND id IN (SELECT value FROM json_each(?3))",
            tenant,
            id,
        );
        let counted = about(
            "UPDATE generations SET deleted = deleted + ?3 WHERE tenant = ?1 AND document = ?2 \
             AND generation = (SELECT served FROM documents WHERE tenant = ?1 AND id = ?2)",
            tenant,
            id,
        );
        self.database.batch(vec![gone.list(vectors), counted.number(vectors.len() as u64)]).await.map(drop)
    }

    async fn forget_objects(&self, tenant: &Tenant, id: &DocumentId, objects: &[String]) -> Result<()> {
        let dead = "tenant = ?1 AND document = ?2 AND status = 'dead' \
            AND object_key IN (SELECT value FROM json_each(?3))";
        let statements = vec![
            about(
                format!(
                    "DELETE FROM parts WHERE tenant = ?1 AND document = ?2 \
                     AND generation IN (SELECT generation FROM generations WHERE {dead})"
                ),
                tenant,
                id,
            )
            .list(objects),
            about(format!("DELETE FROM generations WHERE {dead}"), tenant, id).list(objects),
        ];
        self.database.batch(statements).await.map(drop)
    }

    async fn chunks(
        &self,
        tenant: &Tenant,
        id: &DocumentId,
        after: Option<u32>,
        limit: usize,
    ) -> Result<Vec<ServedChunk>> {
        let sql = format!(
            "SELECT {CHUNK_COLUMNS} FROM {CHUNK_SOURCE} WHERE c.tenant = ?1 AND c.document = ?2 \
             AND c.ordinal > ?3 ORDER BY c.ordinal LIMIT ?4"
        );
        let statement = about(sql, tenant, id).bind(after.map_or(-1.0, f64::from)).number(limit as u64);
        let found: Vec<ServedRow> = self.database.all(statement).await?;
        found.into_iter().map(ServedRow::into_chunk).collect()
    }

    async fn hydrate(&self, tenant: &Tenant, vectors: &[String], rows: &[i64]) -> Result<Vec<ServedChunk>> {
        // Of a vector's rows the first: a bare column beside min() comes from the row that has it.
        let sql = format!(
            "WITH wanted(row) AS (SELECT value FROM json_each(?3) UNION \
             SELECT row FROM (SELECT x.row AS row, min(x.ordinal) FROM json_each(?2) v \
               CROSS JOIN chunks x ON x.vector = v.value \
               JOIN documents e ON e.tenant = x.tenant AND e.id = x.document AND e.served = x.generation \
               WHERE x.tenant = ?1 GROUP BY x.vector)) \
             SELECT {CHUNK_COLUMNS} FROM wanted CROSS JOIN {CHUNK_SOURCE} \
             WHERE c.row = wanted.row AND c.tenant = ?1"
        );
        let statement = Statement::new(sql).bind(tenant.as_str()).list(vectors).list(rows);
        let found: Vec<ServedRow> = self.database.all(statement).await?;
        found.into_iter().map(ServedRow::into_chunk).collect()
    }

    async fn overdue(&self, before: Millis, limit: usize) -> Result<Vec<Overdue>> {
        let statement = Statement::new(
            "SELECT tenant, document, generation, status, bytes FROM generations \
             WHERE status IN ('queued', 'processing', 'searchable') AND updated_at <= ?1 LIMIT ?2",
        );
        let found: Vec<OverdueRow> = self.database.all(statement.number(before).number(limit as u64)).await?;
        found
            .into_iter()
            .map(|row| {
                Ok(Overdue {
                    tenant: Tenant::new(row.tenant)?,
                    document: DocumentId::new(row.document)?,
                    generation: row.generation,
                    status: Status::parse(&row.status)?,
                    bytes: row.bytes,
                })
            })
            .collect()
    }

    async fn unclean(&self, settled: Millis, limit: usize) -> Result<Vec<(Tenant, DocumentId)>> {
        let statement = Statement::new(
            "SELECT tenant, document FROM generations WHERE status = 'dead' UNION \
             SELECT v.tenant, v.document FROM vectors v WHERE v.state = 'intent' AND v.changed_at < ?1 \
             AND NOT EXISTS (SELECT 1 FROM chunks c WHERE c.vector = v.id) \
             AND NOT EXISTS (SELECT 1 FROM generations g WHERE g.tenant = v.tenant AND g.document = v.document \
             AND g.generation = v.born AND g.status IN ('queued', 'processing')) LIMIT ?2",
        );
        let found: Vec<OwnerRow> = self.database.all(statement.number(settled).number(limit as u64)).await?;
        found.into_iter().map(|row| Ok((Tenant::new(row.tenant)?, DocumentId::new(row.document)?))).collect()
    }

    async fn fingerprint(&self, tenant: &Tenant) -> Result<Option<String>> {
        let statement = Statement::new(
            "SELECT fingerprint AS value FROM tenants WHERE tenant = ?1 AND fingerprint IS NOT NULL",
        );
        let found: Vec<Text> = self.database.all(statement.bind(tenant.as_str())).await?;
        Ok(found.into_iter().next().map(|text| text.value))
    }

    async fn adopt_fingerprint(&self, tenant: &Tenant, configured: &Fingerprint) -> Result<String> {
        let results = self
            .database
            .batch(vec![
                Statement::new(
                    "INSERT INTO tenants (tenant, fingerprint) VALUES (?1, ?2) ON CONFLICT (tenant) \
                     DO UPDATE SET fingerprint = excluded.fingerprint WHERE fingerprint IS NULL",
                )
                .bind(tenant.as_str())
                .bind(configured.as_str()),
                Statement::new("SELECT fingerprint AS value FROM tenants WHERE tenant = ?1")
                    .bind(tenant.as_str()),
            ])
            .await?;
        let found: Vec<Text> = rows(&results[1])?;
        Ok(found.into_iter().next().map_or_else(|| configured.as_str().to_owned(), |text| text.value))
    }

    async fn unreferenced(&self, objects: &[String]) -> Result<Vec<String>> {
        if objects.is_empty() {
            return Ok(Vec::new());
        }
        let statement = Statement::new(
            "SELECT value FROM json_each(?1) WHERE NOT EXISTS \
             (SELECT 1 FROM generations WHERE object_key = json_each.value)",
        );
        self.database.all(statement.list(objects)).await.map(texts)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn values_are_packed_below_the_limit() {
        let value = |length: usize| format!("\"{}\"", "x".repeat(length));
        let packed = slices([value(300_000), value(100_000), value(200_000), value(900_000)].into_iter());
        assert_eq!(packed.len(), 3);
        let all: Vec<Vec<String>> = packed.iter().map(|slice| serde_json::from_str(slice).unwrap()).collect();
        assert_eq!(all.iter().map(Vec::len).collect::<Vec<_>>(), [2, 1, 1]);
        assert!(slices(std::iter::empty()).is_empty());
    }
}
