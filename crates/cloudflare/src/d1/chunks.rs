//! Chunks in SQL.

use super::Statement;
use super::generations::{OPEN, OWN};
use super::rows::{CHUNK_COLUMNS, CHUNK_SOURCE};
use super::statement::{about, of, slices};
use ragflare_core::Tenant;
use ragflare_core::document::{ChunkRow, DocumentId, Generation, Millis};
use ragflare_core::keyword::stored_term;
use ragflare_core::ports::Part;
use serde_json::json;

/// How the keyword index keeps a chunk's terms: hashes that carry the tenant, between spaces.
pub(super) fn stored_terms(tenant: &Tenant, terms: &[String]) -> String {
    let stored: Vec<String> = terms.iter().map(|term| stored_term(tenant, term)).collect();
    stored.join(" ")
}

fn entry(tenant: &Tenant, chunk: &ChunkRow) -> String {
    json!({
        "ordinal": chunk.ordinal, "vector": chunk.vector, "hash": chunk.hash, "text": chunk.text,
        "start": chunk.start, "end": chunk.end, "tokens": chunk.tokens, "terms": chunk.terms.len(),
        "page": chunk.places.first().and_then(|place| place.page), "sections": chunk.sections, "places": chunk.places,
        "table_header": chunk.table_header, "headings": chunk.headings, "keywords": stored_terms(tenant, &chunk.terms),
    })
    .to_string()
}

/// A part is marked done in the transaction that writes its chunks: one that is not done has none.
pub(super) fn write_part(
    tenant: &Tenant,
    id: &DocumentId,
    generation: Generation,
    settings: &str,
    part: &Part,
    now: Millis,
) -> Vec<Statement> {
    let undone = format!("{OWN} AND part = ?5 AND NOT done");
    let open = format!("{OPEN} AND settings = ?4");
    let statement = |sql: String| of(sql, tenant, id, generation).bind(settings).number(part.number.into());
    let mut statements: Vec<Statement> = slices(part.chunks.iter().map(|chunk| entry(tenant, chunk)))
        .into_iter()
        .map(|slice| {
            statement(format!(
                "INSERT INTO chunk_entries (tenant, document, generation, part, ordinal, vector, hash, text, start, \
                 \"end\", tokens, terms, page, sections, places, table_header, headings, keywords) SELECT ?1, ?2, ?3, ?5, value->>'ordinal', \
                 value->>'vector', value->>'hash', value->>'text', value->>'start', value->>'end', value->>'tokens', \
                 value->>'terms', value->>'page', nullif(value->>'sections', '[]'), nullif(value->>'places', '[]'), value->>'table_header', value->>'headings', value->>'keywords' FROM json_each(?6) \
                 WHERE EXISTS (SELECT 1 FROM generations WHERE {open}) \
                 AND EXISTS (SELECT 1 FROM parts WHERE {undone})"
            ))
            .bind(slice)
        })
        .collect();
    statements.push(
        statement(format!(
            "UPDATE generations SET postponed = 0, updated_at = ?6 WHERE {open} \
             AND EXISTS (SELECT 1 FROM parts WHERE {undone})"
        ))
        .number(now),
    );
    statements.push(
        statement(format!(
            "UPDATE parts SET done = 1, spans = '[]', ticket = NULL, chunks = ?6, tokens = ?7, terms = ?8, \
             embedded = ?9, reused = ?10 WHERE {undone} AND EXISTS (SELECT 1 FROM generations WHERE {open})"
        ))
        .number(part.chunks.len() as u64)
        .number(part.chunks.iter().map(|chunk| chunk.tokens).sum())
        .number(part.chunks.iter().map(|chunk| chunk.terms.len() as u64).sum())
        .number(part.embedded)
        .number(part.reused),
    );
    statements
}

pub(super) fn served(tenant: &Tenant, id: &DocumentId, after: Option<u32>, limit: usize) -> Statement {
    let sql = format!(
        "SELECT {CHUNK_COLUMNS} FROM {CHUNK_SOURCE} WHERE c.tenant = ?1 AND c.document = ?2 \
         AND c.ordinal > ?3 ORDER BY c.ordinal LIMIT ?4"
    );
    about(sql, tenant, id).bind(after.map_or(-1.0, f64::from)).number(limit as u64)
}

pub(super) fn hydrate(tenant: &Tenant, vectors: &[String], rows: &[i64]) -> Statement {
    // Of a vector's rows the first: a bare column beside min() comes from the row that has it.
    Statement::new(format!(
        "WITH wanted(row) AS (SELECT value FROM json_each(?3) UNION \
         SELECT row FROM (SELECT x.row AS row, min(x.ordinal) FROM json_each(?2) v \
           CROSS JOIN chunks x ON x.vector = v.value \
           JOIN documents e ON e.tenant = x.tenant AND e.id = x.document AND e.served = x.generation \
           WHERE x.tenant = ?1 GROUP BY x.vector)) \
         SELECT {CHUNK_COLUMNS} FROM wanted CROSS JOIN {CHUNK_SOURCE} \
         WHERE c.row = wanted.row AND c.tenant = ?1"
    ))
    .bind(tenant.as_str())
    .list(vectors)
    .list(rows)
}
