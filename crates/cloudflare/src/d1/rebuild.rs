//! The keyword index made anew from the chunks. Full-text tables can't be exported: after a restore they are empty, or
//! not there.

use super::chunks::stored_terms;
use super::statement::slices;
use super::{Database, Statement};
use ragflare_core::keyword::{Passage, after, before, passage_terms};
use ragflare_core::{Result, Tenant};
use serde::Deserialize;

/// As in `migrations/`.
const TABLES: [&str; 2] = [
    "CREATE VIRTUAL TABLE IF NOT EXISTS keyword_index \
     USING fts5(terms, content='', contentless_delete=1, tokenize='ascii')",
    "CREATE VIRTUAL TABLE IF NOT EXISTS keyword_terms USING fts5vocab(keyword_index, 'instance')",
];

/// Rebuilds the keyword index a slice at a time. Nothing else of the database changes; repeating a slice, or all of
/// them, changes nothing more, and uploads may go on meanwhile.
#[derive(Clone, Debug)]
pub struct Rebuild {
    database: Database,
}

/// What a slice did.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Rebuilt {
    /// Chunks whose keyword rows were made anew.
    pub done_rows: usize,
    /// Where the next slice begins; `None` after the last.
    pub next: Option<i64>,
}

#[derive(Deserialize)]
struct Stored {
    row: i64,
    tenant: String,
    title: Option<String>,
    /// JSON.
    headings: String,
    table_header: Option<String>,
    text: String,
    start: u64,
    end: u64,
    /// Start and text of the chunks before and after in the same part, as JSON: `[start, text]`.
    previous: Option<String>,
    next: Option<String>,
}

impl Stored {
    fn terms(&self) -> Vec<String> {
        let chunk =
            |json: &Option<String>| -> Option<(u64, String)> { serde_json::from_str(json.as_deref()?).ok() };
        let headings: Vec<String> = serde_json::from_str(&self.headings).unwrap_or_default();
        let (previous, next) = (chunk(&self.previous), chunk(&self.next));
        passage_terms(&Passage {
            title: self.title.as_deref(),
            headings: &headings,
            table_header: self.table_header.as_deref(),
            before: previous.as_ref().map_or("", |(from, text)| before((*from, text), self.start)),
            text: &self.text,
            after: next.as_ref().map_or("", |(from, text)| after((*from, text), self.end)),
        })
    }
}

impl Rebuild {
    /// Over a database with this crate's schema, save for the full-text tables.
    pub fn new(database: Database) -> Self {
        Self { database }
    }

    /// Makes the keyword rows of at most `limit` chunks after row `after` anew (0: from the first), and drops those in
    /// between that no chunk has. 3 statements, or a few more where texts are long.
    ///
    /// # Errors
    /// Storage errors.
    pub async fn step(&self, after: i64, limit: usize) -> Result<Rebuilt> {
        if after <= 0 {
            self.database.batch(TABLES.map(Statement::new).into()).await?;
        }
        let statement = Statement::new(
            "SELECT c.row, c.tenant, c.headings, c.table_header, c.text, c.start, c.\"end\", g.embedded_title AS title, \
             (SELECT json_array(start, text) FROM chunks o WHERE (o.tenant, o.document, o.generation, o.ordinal, o.part) \
               = (c.tenant, c.document, c.generation, c.ordinal - 1, c.part)) AS previous, \
             (SELECT json_array(start, text) FROM chunks o WHERE (o.tenant, o.document, o.generation, o.ordinal, o.part) \
               = (c.tenant, c.document, c.generation, c.ordinal + 1, c.part)) AS next \
             FROM chunks c LEFT JOIN generations g USING (tenant, document, generation) \
             WHERE c.row > ?1 ORDER BY c.row LIMIT ?2",
        );
        let rows: Vec<Stored> = self.database.all(statement.bind(after as f64).number(limit as u64)).await?;
        let next = if rows.len() < limit { None } else { rows.last().map(|row| row.row) };
        let mut entries = Vec::with_capacity(rows.len());
        for row in &rows {
            let tenant = Tenant::new(row.tenant.as_str())?;
            let entry = (row.row, stored_terms(&tenant, &row.terms()));
            entries.push(serde_json::to_string(&entry).unwrap_or_default());
        }
        // Rows written meanwhile are after the last one read, if that was the last slice; they have their terms.
        let last = rows.last().map_or(after, |row| row.row);
        let mut statements = vec![match next {
            Some(_) => Statement::new("DELETE FROM keyword_index WHERE rowid > ?1 AND rowid <= ?2")
                .bind(after as f64)
                .bind(last as f64),
            None => Statement::new(
                "DELETE FROM keyword_index WHERE rowid > ?1 AND (rowid <= ?2 \
                 OR NOT EXISTS (SELECT 1 FROM chunks WHERE row = keyword_index.rowid))",
            )
            .bind(after as f64)
            .bind(last as f64),
        }];
        // Only of chunks that are still there.
        statements.extend(slices(entries.into_iter()).into_iter().map(|slice| {
            Statement::new(
                "INSERT INTO keyword_index (rowid, terms) SELECT c.row, j.value->>1 FROM json_each(?1) j \
                 CROSS JOIN chunks c ON c.row = j.value->>0",
            )
            .bind(slice)
        }));
        self.database.batch(statements).await?;
        Ok(Rebuilt { done_rows: rows.len(), next })
    }
}
