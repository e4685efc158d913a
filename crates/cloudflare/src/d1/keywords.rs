//! BM25 over a tenant's served chunks.
//!
//! FTS5's own `bm25()` counts rows of the whole table, so one tenant's uploads would reorder another's hits. So FTS5
//! keeps the postings, and the score is computed here from the tenant's own statistics.

use super::{Database, Statement, conditions};
use ragflare_core::filter::Filter;
use ragflare_core::keyword::{B, K1, stored_term};
use ragflare_core::ports::{KeywordIndex, KeywordMatch};
use ragflare_core::{Result, Tenant};
use serde::Deserialize;

/// The keyword index in D1.
#[derive(Clone, Debug)]
pub struct D1Keywords {
    database: Database,
}

impl D1Keywords {
    /// Over a database with this crate's schema.
    pub fn new(database: Database) -> Self {
        Self { database }
    }
}

#[derive(Deserialize)]
struct MatchRow {
    row: i64,
    score: f32,
}

impl KeywordIndex for D1Keywords {
    async fn search(
        &self,
        tenant: &Tenant,
        terms: &[String],
        filter: Option<&Filter>,
        limit: usize,
    ) -> Result<Vec<KeywordMatch>> {
        let stored: Vec<String> = terms.iter().map(|term| stored_term(tenant, term)).collect();
        // CROSS JOIN fixes the order: each term's postings are looked up, nothing is scanned.
        let statement = Statement::new(format!(
            "WITH wanted(term) AS (SELECT value FROM json_each(?2)), \
             postings AS (SELECT i.term AS term, i.doc AS row, count(*) AS times \
               FROM wanted CROSS JOIN keyword_terms i ON i.term = wanted.term GROUP BY i.term, i.doc), \
             live AS MATERIALIZED (SELECT p.term, p.row, p.times, c.terms AS length, c.document, c.generation \
               FROM postings p CROSS JOIN chunks c ON c.row = p.row \
               JOIN documents d ON d.tenant = c.tenant AND d.id = c.document AND d.served = c.generation \
               WHERE c.tenant = ?1), \
             frequencies AS (SELECT term, count(*) AS matching FROM live GROUP BY term), \
             statistics AS (SELECT 1.0 * chunks AS n, 1.0 * terms / max(chunks, 1) AS average FROM tenants WHERE tenant = ?1) \
             SELECT l.row AS row, sum(ln(1.0 + (s.n - f.matching + 0.5) / (f.matching + 0.5)) \
               * l.times * ({K1} + 1.0) / (l.times + {K1} * (1.0 - {B} + {B} * l.length / s.average))) AS score \
             FROM live l JOIN frequencies f ON f.term = l.term CROSS JOIN statistics s \
             JOIN generations g ON g.tenant = ?1 AND g.document = l.document AND g.generation = l.generation \
             WHERE 1"
        ))
        .bind(tenant.as_str())
        .list(&stored)
        .number(limit as u64);
        let mut statement = conditions::append(statement, "g.metadata", filter);
        statement.push(" GROUP BY l.row ORDER BY score DESC, l.row LIMIT ?3");
        let rows: Vec<MatchRow> = self.database.all(statement).await?;
        Ok(rows.into_iter().map(|found| KeywordMatch { row: found.row, score: found.score }).collect())
    }
}
