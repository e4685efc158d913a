//! Messages that failed too often, or could not be read.

use super::{Database, Statement};
use ragflare_core::Result;
use ragflare_core::document::Millis;
use serde::Deserialize;
use serde_json::{Value, json};

/// Dead letters in D1.
#[derive(Clone, Debug)]
pub struct Letters {
    database: Database,
}

#[derive(Deserialize)]
struct Row {
    id: u64,
    body: String,
    created_at: Millis,
}

impl Letters {
    /// Over a database with this crate's schema.
    pub fn new(database: Database) -> Self {
        Self { database }
    }

    /// Keeps a message.
    ///
    /// # Errors
    /// Storage errors.
    pub async fn keep(&self, body: &str, now: Millis) -> Result<()> {
        let statement = Statement::new("INSERT INTO dead_letters (body, created_at) VALUES (?1, ?2)");
        self.database.run(statement.bind(body).number(now)).await
    }

    /// How often this message was kept already.
    ///
    /// # Errors
    /// Storage errors.
    pub async fn times(&self, body: &str) -> Result<u64> {
        #[derive(Deserialize)]
        struct Count {
            value: u64,
        }
        let statement = Statement::new("SELECT count(*) AS value FROM dead_letters WHERE body = ?1");
        let counted: Vec<Count> = self.database.all(statement.bind(body)).await?;
        Ok(counted.first().map_or(0, |count| count.value))
    }

    /// The newest first: `{id, body, created_at}` in Unix seconds.
    ///
    /// # Errors
    /// Storage errors.
    pub async fn list(&self, limit: u32) -> Result<Vec<Value>> {
        let statement =
            Statement::new("SELECT id, body, created_at FROM dead_letters ORDER BY id DESC LIMIT ?1");
        let rows: Vec<Row> = self.database.all(statement.number(u64::from(limit))).await?;
        let shown = |row: Row| json!({"id": row.id, "body": row.body, "created_at": row.created_at / 1000});
        Ok(rows.into_iter().map(shown).collect())
    }

    /// The message of one of them.
    ///
    /// # Errors
    /// Storage errors.
    pub async fn get(&self, id: u64) -> Result<Option<String>> {
        let statement = Statement::new("SELECT id, body, created_at FROM dead_letters WHERE id = ?1");
        let found: Vec<Row> = self.database.all(statement.number(id)).await?;
        Ok(found.into_iter().next().map(|row| row.body))
    }

    /// Drops one. Returns whether it was there.
    ///
    /// # Errors
    /// Storage errors.
    pub async fn delete(&self, id: u64) -> Result<bool> {
        let statement =
            Statement::new("DELETE FROM dead_letters WHERE id = ?1 RETURNING id, body, created_at");
        let gone: Vec<Row> = self.database.all(statement.number(id)).await?;
        Ok(!gone.is_empty())
    }
}
