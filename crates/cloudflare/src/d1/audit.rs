//! Whether the tables agree with each other: for operators, and for tests that break things.

use super::{Database, Statement, rows};
use ragflare_core::Result;
use serde::Deserialize;
use serde_json::{Map, Value, json};

/// What must not be, and how much of it there is, in SQL. When nothing is being processed, cleaned up or waited for, all
/// are 0; intents and deletions take the sweeper, and up to 20 minutes, to be settled.
const INCONSISTENCIES: [(&str, &str); 14] = [
    (
        "documents_without_generation",
        "SELECT count(*) FROM documents d WHERE d.deleted_at IS NULL AND NOT EXISTS (SELECT 1 FROM generations g \
         WHERE g.tenant = d.tenant AND g.document = d.id AND g.generation = d.newest)",
    ),
    (
        "generations_without_document",
        "SELECT count(*) FROM generations g WHERE NOT EXISTS (SELECT 1 FROM documents d \
         WHERE d.tenant = g.tenant AND d.id = g.document)",
    ),
    ("generations_dead", "SELECT count(*) FROM generations WHERE status = 'dead'"),
    (
        "generations_served_miscounted",
        "SELECT count(*) FROM documents d JOIN generations g ON g.tenant = d.tenant AND g.document = d.id \
         AND g.generation = d.served WHERE g.chunk_count = 0 \
         OR g.chunk_count <> (SELECT coalesce(sum(p.chunks), 0) FROM parts p WHERE p.tenant = g.tenant \
         AND p.document = g.document AND p.generation = g.generation AND p.done) \
         OR g.chunk_count <> (SELECT count(*) FROM chunks c WHERE c.tenant = g.tenant \
         AND c.document = g.document AND c.generation = g.generation)",
    ),
    (
        "parts_without_generation",
        "SELECT count(*) FROM parts p WHERE NOT EXISTS (SELECT 1 FROM generations g WHERE g.tenant = p.tenant \
         AND g.document = p.document AND g.generation = p.generation)",
    ),
    (
        "chunks_without_generation",
        "SELECT count(*) FROM chunks c WHERE NOT EXISTS (SELECT 1 FROM generations g WHERE g.tenant = c.tenant \
         AND g.document = c.document AND g.generation = c.generation)",
    ),
    (
        "chunks_of_lost_generations",
        "SELECT count(*) FROM generations g CROSS JOIN chunks c ON c.tenant = g.tenant \
         AND c.document = g.document AND c.generation = g.generation WHERE g.status IN ('dead', 'failed', 'stale')",
    ),
    (
        "chunks_without_keywords",
        "SELECT count(*) FROM chunks c WHERE NOT EXISTS (SELECT 1 FROM keyword_index k WHERE k.rowid = c.row)",
    ),
    (
        "chunks_without_vector",
        "SELECT count(*) FROM chunks c WHERE NOT EXISTS (SELECT 1 FROM vectors v WHERE v.id = c.vector \
         AND v.state IN ('intent', 'written'))",
    ),
    (
        "keywords_without_chunk",
        "SELECT count(*) FROM keyword_index k WHERE NOT EXISTS (SELECT 1 FROM chunks c WHERE c.row = k.rowid)",
    ),
    ("vectors_intended", "SELECT count(*) FROM vectors WHERE state = 'intent'"),
    ("vectors_being_deleted", "SELECT count(*) FROM vectors WHERE state IN ('deleting', 'discarding')"),
    (
        "vectors_without_chunk",
        "SELECT count(*) FROM vectors v WHERE NOT EXISTS (SELECT 1 FROM chunks c WHERE c.vector = v.id)",
    ),
    (
        "tenants_miscounted",
        "SELECT count(*) FROM tenants t LEFT JOIN (SELECT d.tenant AS tenant, count(*) AS chunks, \
         sum(c.terms) AS terms FROM documents d CROSS JOIN chunks c ON c.tenant = d.tenant AND c.document = d.id \
         AND c.generation = d.served GROUP BY d.tenant) s ON s.tenant = t.tenant \
         WHERE t.chunks <> coalesce(s.chunks, 0) OR t.terms <> coalesce(s.terms, 0)",
    ),
];

const TOTALS: [(&str, &str); 7] = [
    ("documents", "SELECT count(*) FROM documents WHERE deleted_at IS NULL"),
    ("tombstones", "SELECT count(*) FROM documents WHERE deleted_at IS NOT NULL"),
    ("parts", "SELECT count(*) FROM parts"),
    ("chunks", "SELECT count(*) FROM chunks"),
    ("keywords", "SELECT count(*) FROM keyword_index"),
    ("vectors", "SELECT count(*) FROM vectors"),
    ("dead_letters", "SELECT count(*) FROM dead_letters"),
];

/// Counts over all tenants. Reads every row: minutes for a large database.
#[derive(Clone, Debug)]
pub struct Audit {
    database: Database,
}

#[derive(Deserialize)]
struct Count {
    name: String,
    value: u64,
}

impl Audit {
    /// Over a database with this crate's schema.
    pub fn new(database: Database) -> Self {
        Self { database }
    }

    /// `{inconsistencies: {…: n}, totals: {…: n, bytes, generations: {status: n}}}`; 22 statements.
    ///
    /// # Errors
    /// Storage errors.
    pub async fn run(&self) -> Result<Value> {
        let count = |(name, sql): &(&str, &str)| {
            Statement::new(format!("SELECT ?1 AS name, ({sql}) AS value")).bind(*name)
        };
        let mut statements: Vec<Statement> = INCONSISTENCIES.iter().chain(&TOTALS).map(count).collect();
        statements.push(Statement::new(
            "SELECT status AS name, count(*) AS value FROM generations GROUP BY status",
        ));
        let replies = self.database.batch(statements).await?;
        let counts = |range: std::ops::Range<usize>| -> Result<Map<String, Value>> {
            let mut counts = Map::new();
            for reply in &replies[range] {
                for found in rows::<Count>(reply)? {
                    counts.insert(found.name, found.value.into());
                }
            }
            Ok(counts)
        };
        let (middle, end) = (INCONSISTENCIES.len(), INCONSISTENCIES.len() + TOTALS.len());
        let inconsistencies = counts(0..middle)?;
        let mut totals = counts(middle..end)?;
        totals.insert("bytes".into(), json!(self.database.size()));
        totals.insert("generations".into(), counts(end..replies.len())?.into());
        Ok(json!({"inconsistencies": inconsistencies, "totals": totals}))
    }
}
