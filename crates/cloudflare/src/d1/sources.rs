//! What is known of sources and their objects, in D1.

use super::generations::OPEN_STATUS;
use super::{Database, Statement, optional, rows};
use ragflare_core::document::{DocumentId, Millis};
use ragflare_core::ports::{Holder, Known, Noted, ObjectState, Page, Row, SourceTable, Sync, SyncState};
use ragflare_core::settings::Source;
use ragflare_core::{Error, Result, Retry, Tenant};
use serde::{Deserialize, Serialize};

/// The columns of a [`SyncRow`].
const SYNC: &str =
    "run, state, confirm_empty, started_at, moved_at, listed, left_out, changed, code, message, again";

/// Whether the newest sync runs and has moved since `?5`.
const RUNS: &str = "(state IN ('listing', 'sweeping') AND moved_at > ?5)";

/// From generations `g` that are the newest of a document of the source `?1`, tenant `?2`, made of an object of it.
const NEWEST: &str = "generations g CROSS JOIN source_objects s ON s.tenant = g.tenant AND s.document = g.document \
    AND s.source = ?1 AND s.original = g.object_key \
    CROSS JOIN documents d ON d.tenant = g.tenant AND d.id = g.document AND d.newest = g.generation \
    AND d.deleted_at IS NULL";

/// Sources in D1.
#[derive(Clone, Debug)]
pub struct D1Sources {
    database: Database,
}

/// How many objects a source has, and what became of them.
#[derive(Clone, Debug, Default, Serialize, Deserialize)]
pub struct ObjectCounts {
    /// All that are known.
    pub objects: u64,
    /// Of these, documents.
    pub documents: u64,
    /// To be looked at.
    pub pending: u64,
    /// Left out, with a reason.
    pub skipped: u64,
    /// Could not be taken, or failed when they were processed.
    pub failed: u64,
    /// Documents on their way.
    pub processing: u64,
}

/// Why an object is no document.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct Problem {
    /// The object's key.
    pub key: String,
    /// The document's id.
    pub document_id: String,
    /// `taken`, `skipped` or `failed`.
    pub state: String,
    /// A stable code.
    pub code: String,
    /// A sentence.
    pub message: String,
    /// When, in Unix seconds.
    pub at: u64,
}

#[derive(Deserialize)]
struct SyncRow {
    run: u64,
    state: SyncState,
    confirm_empty: u64,
    started_at: Millis,
    moved_at: Millis,
    listed: u64,
    left_out: u64,
    changed: u64,
    code: Option<String>,
    message: Option<String>,
    again: Option<u64>,
}

#[derive(Deserialize)]
struct KnownRow {
    key: String,
    tenant: Option<String>,
    document: Option<String>,
    state: Option<ObjectState>,
    version: Option<String>,
    stamp: Option<String>,
    original: Option<String>,
    pending: Option<u64>,
    edition: Option<u64>,
    current: Option<u64>,
    object_key: Option<String>,
    failure: Option<String>,
    rival: Option<String>,
    shared: Option<u64>,
}

#[derive(Deserialize)]
struct Text {
    value: String,
}

#[derive(Deserialize)]
struct Number {
    value: Option<u64>,
}

#[derive(Deserialize)]
struct Name {
    source: String,
    tenant: Tenant,
}

impl SyncRow {
    fn into_sync(self) -> Sync {
        Sync {
            run: self.run,
            state: self.state,
            confirm_empty: self.confirm_empty != 0,
            started_at: self.started_at,
            moved_at: self.moved_at,
            listed: self.listed,
            excluded: self.left_out,
            changed: self.changed,
            code: self.code,
            message: self.message,
        }
    }
}

impl KnownRow {
    fn into_known(self) -> Result<Known> {
        let row = match (self.tenant, self.document, self.state) {
            (Some(tenant), Some(document), Some(state)) => Some(Row {
                tenant: Tenant::new(tenant)?,
                document: DocumentId::new(document)?,
                state,
                version: self.version,
                stamp: self.stamp.unwrap_or_default(),
                original: self.original,
                pending: self.pending.unwrap_or_default() != 0,
                edition: self.edition.unwrap_or_default(),
            }),
            _ => None,
        };
        let failure = self.failure;
        let holder = self.current.zip(self.object_key).map(|(current, original)| Holder {
            current,
            original,
            failure,
        });
        let shared = self.shared.unwrap_or_default() != 0;
        Ok(Known { key: self.key, row, holder, rival: self.rival, shared })
    }
}

impl D1Sources {
    /// Over a database with this crate's schema.
    pub fn new(database: Database) -> Self {
        Self { database }
    }

    /// How many objects a source has, and, the newest first, at most `limit` that are no documents or have something left
    /// out. 4 statements, which read all rows of the source.
    ///
    /// # Errors
    /// Storage errors.
    pub async fn report(
        &self,
        source: &str,
        tenant: &Tenant,
        limit: usize,
    ) -> Result<(ObjectCounts, Vec<Problem>)> {
        let about = |sql: String| Statement::new(sql).bind(source).bind(tenant.as_str());
        let replies = self
            .database
            .batch(vec![
                Statement::new(
                    "SELECT count(*) AS objects, coalesce(sum(state = 'taken'), 0) AS documents, \
                     coalesce(sum(pending OR missing = (SELECT run FROM sources WHERE source = ?1 \
                     AND state <> 'refused')), 0) AS pending, coalesce(sum(state = 'skipped'), 0) AS skipped, \
                     coalesce(sum(state = 'failed'), 0) AS failed, 0 AS processing \
                     FROM source_objects WHERE source = ?1",
                )
                .bind(source),
                about(format!(
                    "SELECT count(*) AS value FROM {NEWEST} WHERE g.status = 'failed' AND g.tenant = ?2"
                )),
                about(format!(
                    "SELECT count(*) AS value FROM {NEWEST} WHERE g.status IN {OPEN_STATUS} AND g.tenant = ?2"
                )),
                about(format!(
                    "SELECT * FROM (SELECT * FROM (SELECT key, document AS document_id, state, code, message, \
                     changed_at / 1000 AS at FROM source_objects WHERE source = ?1 AND code IS NOT NULL \
                     ORDER BY changed_at DESC LIMIT ?3) \
                     UNION ALL SELECT * FROM (SELECT s.key, s.document AS document_id, 'failed' AS state, \
                     coalesce(g.error_code, 'failed') AS code, coalesce(g.error_message, '') AS message, \
                     g.updated_at / 1000 AS at FROM {NEWEST} WHERE g.status = 'failed' AND g.tenant = ?2 \
                     ORDER BY g.updated_at DESC LIMIT ?3)) ORDER BY at DESC, key LIMIT ?3"
                ))
                .number(limit as u64),
            ])
            .await?;
        let number = |at: usize| -> Result<u64> {
            let found: Vec<Number> = rows(&replies[at])?;
            Ok(found.first().and_then(|number| number.value).unwrap_or_default())
        };
        let mut counts: ObjectCounts = rows(&replies[0])?.into_iter().next().unwrap_or_default();
        counts.failed += number(1)?;
        counts.processing = number(2)?;
        Ok((counts, rows(&replies[3])?))
    }

    /// Sources that were synced once and are not of these, `tenant`'s or all, those synced last first, at most `limit`; and
    /// whose they were.
    ///
    /// # Errors
    /// Storage errors.
    pub async fn others(
        &self,
        configured: &[String],
        tenant: Option<&Tenant>,
        limit: usize,
    ) -> Result<Vec<(String, Tenant)>> {
        let statement = Statement::new(
            "SELECT source, tenant FROM sources WHERE source NOT IN (SELECT value FROM json_each(?1)) \
             AND tenant = coalesce(?2, tenant) ORDER BY moved_at DESC, source LIMIT ?3",
        )
        .list(configured)
        .bind(optional(tenant.map(Tenant::as_str)))
        .number(limit as u64);
        let found: Vec<Name> = self.database.all(statement).await?;
        Ok(found.into_iter().map(|name| (name.source, name.tenant)).collect())
    }

    async fn number(&self, statement: Statement) -> Result<u64> {
        let found: Vec<Number> = self.database.all(statement).await?;
        Ok(found.first().and_then(|number| number.value).unwrap_or_default())
    }
}

/// The name, as serde has it.
fn name_of(state: impl Serialize) -> String {
    serde_json::to_value(state)
        .ok()
        .and_then(|value| value.as_str().map(ToOwned::to_owned))
        .unwrap_or_default()
}

impl SourceTable for D1Sources {
    async fn known(
        &self,
        source: &str,
        tenant: &Tenant,
        keys: &[(String, DocumentId)],
    ) -> Result<Vec<Known>> {
        let statement = Statement::new(
            "SELECT w.value->>0 AS key, s.tenant, s.document, s.state, s.version, s.stamp, s.original, \
             s.pending OR s.missing IS NOT NULL AS pending, s.edition, \
             iif(g.status = 'failed', coalesce(d.served, d.newest), d.newest) AS current, g.object_key, \
             iif(g.status = 'failed', coalesce(g.error_code, 'failed'), NULL) AS failure, r.key AS rival, \
             r.state = 'taken' AND r.original = g.object_key AS shared \
             FROM json_each(?3) w LEFT JOIN source_objects s ON s.source = ?1 AND s.key = w.value->>0 \
             LEFT JOIN documents d ON d.tenant = ?2 AND d.id = w.value->>1 AND d.deleted_at IS NULL \
             LEFT JOIN generations g ON g.tenant = d.tenant AND g.document = d.id AND g.generation = d.newest \
             LEFT JOIN source_objects r ON r.source = ?1 AND r.key = (SELECT min(o.key) FROM source_objects o \
             WHERE o.source = ?1 AND o.tenant = ?2 AND o.document = w.value->>1 AND o.key <> w.value->>0)",
        )
        .bind(source)
        .bind(tenant.as_str())
        .list(keys);
        let found: Vec<KnownRow> = self.database.all(statement).await?;
        found.into_iter().map(KnownRow::into_known).collect()
    }

    async fn pend(
        &self,
        source: &str,
        tenant: &Tenant,
        keys: &[(String, DocumentId)],
        now: Millis,
    ) -> Result<()> {
        let statement = Statement::new(
            "INSERT INTO source_objects (source, tenant, key, document, pending, edition, changed_at) \
             SELECT ?1, ?2, value->>0, value->>1, 1, ?4, ?4 FROM json_each(?3) WHERE 1 \
             ON CONFLICT (source, key) DO UPDATE SET pending = 1, edition = max(edition + 1, excluded.edition)",
        )
        .bind(source)
        .bind(tenant.as_str())
        .list(keys)
        .number(now);
        self.database.run(statement).await
    }

    async fn note(&self, source: &str, tenant: &Tenant, key: &str, noted: &Noted, now: Millis) -> Result<()> {
        let (code, message) = noted.remark.as_ref().map(|(code, message)| (code, message)).unzip();
        let statement = Statement::new(
            "INSERT INTO source_objects (source, key, tenant, document, state, version, stamp, original, bytes, code, \
             message, edition, changed_at) VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7, ?8, ?9, ?10, ?11, ?12, ?12) \
             ON CONFLICT (source, key) DO UPDATE SET tenant = excluded.tenant, document = excluded.document, \
             state = excluded.state, version = excluded.version, stamp = excluded.stamp, original = excluded.original, \
             bytes = excluded.bytes, code = excluded.code, message = excluded.message, pending = 0, missing = NULL, \
             edition = max(edition + 1, excluded.edition), changed_at = excluded.changed_at",
        )
        .bind(source)
        .bind(key)
        .bind(tenant.as_str())
        .bind(noted.document.as_str())
        .bind(name_of(noted.state))
        .bind(optional(noted.version.as_deref()))
        .bind(noted.stamp.as_str())
        .bind(optional(noted.original.as_deref()))
        .number(noted.bytes)
        .bind(optional(code.map(String::as_str)))
        .bind(optional(message.map(String::as_str)))
        .number(now);
        self.database.run(statement).await
    }

    async fn settle(&self, source: &str, key: &str) -> Result<()> {
        let statement = Statement::new(
            "UPDATE source_objects SET pending = 0, missing = NULL, edition = edition + 1 \
             WHERE source = ?1 AND key = ?2",
        );
        self.database.run(statement.bind(source).bind(key)).await
    }

    async fn forget(&self, source: &str, key: &str, edition: u64) -> Result<()> {
        let statement =
            Statement::new("DELETE FROM source_objects WHERE source = ?1 AND key = ?2 AND edition = ?3");
        self.database.run(statement.bind(source).bind(key).number(edition)).await
    }

    async fn begin(
        &self,
        source: &Source,
        confirm_empty: bool,
        stale: Millis,
        now: Millis,
    ) -> Result<(Sync, bool)> {
        let statement = Statement::new(format!(
            "INSERT INTO sources (source, tenant, run, state, confirm_empty, started_at, moved_at) \
             VALUES (?1, ?2, 1, 'listing', ?3, ?4, ?4) ON CONFLICT (source) DO UPDATE SET tenant = excluded.tenant, \
             again = iif({RUNS}, max(coalesce(again, 0), excluded.confirm_empty), NULL), \
             confirm_empty = iif({RUNS}, confirm_empty, excluded.confirm_empty), \
             started_at = iif({RUNS}, started_at, excluded.started_at), position = iif({RUNS}, position, NULL), \
             listed = iif({RUNS}, listed, 0), left_out = iif({RUNS}, left_out, 0), \
             changed = iif({RUNS}, changed, 0), code = NULL, message = NULL, run = run + iif({RUNS}, 0, 1), \
             state = iif({RUNS}, state, 'listing'), moved_at = iif({RUNS}, moved_at, excluded.moved_at) \
             RETURNING {SYNC}"
        ))
        .bind(source.name())
        .bind(source.tenant.as_str())
        .number(confirm_empty.into())
        .number(now)
        .number(stale);
        let found: Vec<SyncRow> = self.database.all(statement).await?;
        let row = found.into_iter().next().ok_or_else(|| Error::Service {
            service: "database",
            retry: Retry::Backoff,
            code: None,
            message: "a sync was begun, but there is no row of it".into(),
        })?;
        let fresh = row.again.is_none();
        Ok((row.into_sync(), fresh))
    }

    async fn sync(&self, source: &str) -> Result<Option<Sync>> {
        let statement = Statement::new(format!("SELECT {SYNC} FROM sources WHERE source = ?1")).bind(source);
        let found: Vec<SyncRow> = self.database.all(statement).await?;
        Ok(found.into_iter().next().map(SyncRow::into_sync))
    }

    async fn turn(&self, source: &str, run: u64, page: &Page, now: Millis) -> Result<()> {
        const COUNT: &str = "iif(position IS ?3, 1, 0)";
        let count = Statement::new(format!(
            "UPDATE sources SET listed = listed + {COUNT} * ?5, left_out = left_out + {COUNT} * ?6, \
             changed = changed + {COUNT} * ?7, position = iif(position IS ?3, ?4, position), moved_at = ?8 \
             WHERE source = ?1 AND run = ?2 AND state = 'listing'"
        ))
        .bind(source)
        .number(run)
        .bind(optional(page.after.as_deref()))
        .bind(optional(page.until.as_deref()))
        .number(page.listed)
        .number(page.excluded)
        .number(page.changed)
        .number(now);
        // An `OR` would hide the end of the range from the index.
        let end = if page.until.is_some() { "AND key <= ?4" } else { "AND ?4 IS NULL" };
        let mark = Statement::new(format!(
            "UPDATE source_objects SET missing = ?2 WHERE source = ?1 AND key > coalesce(?3, '') {end} \
             AND missing IS NOT ?2 AND key NOT IN (SELECT value FROM json_each(?5)) AND EXISTS (SELECT 1 \
             FROM sources WHERE source = ?1 AND run = ?2 AND state = 'listing')"
        ))
        .bind(source)
        .number(run)
        .bind(optional(page.after.as_deref()))
        .bind(optional(page.until.as_deref()))
        .list(&page.present);
        self.database.batch(vec![mark, count]).await.map(drop)
    }

    async fn taken(&self, source: &str) -> Result<u64> {
        let sql = "SELECT count(*) AS value FROM source_objects WHERE source = ?1 AND state IN ('taken', 'failed') \
                   AND (state = 'taken' OR original <> '')";
        self.number(Statement::new(sql).bind(source)).await
    }

    async fn sweep(&self, source: &str, run: u64, now: Millis) -> Result<()> {
        let statement = Statement::new(
            "UPDATE sources SET state = 'sweeping', moved_at = ?3 WHERE source = ?1 AND run = ?2 \
             AND state IN ('listing', 'sweeping')",
        );
        self.database.run(statement.bind(source).number(run).number(now)).await
    }

    async fn missing(
        &self,
        source: &str,
        run: u64,
        after: Option<&str>,
        limit: usize,
    ) -> Result<Vec<String>> {
        let statement = Statement::new(
            "SELECT key AS value FROM source_objects WHERE source = ?1 AND missing = ?2 AND key > ?3 \
             ORDER BY key LIMIT ?4",
        )
        .bind(source)
        .number(run)
        .bind(after.unwrap_or_default())
        .number(limit as u64);
        let found: Vec<Text> = self.database.all(statement).await?;
        Ok(found.into_iter().map(|text| text.value).collect())
    }

    async fn end(
        &self,
        source: &str,
        run: u64,
        state: SyncState,
        remark: Option<(&str, &str)>,
        now: Millis,
    ) -> Result<Option<bool>> {
        let running = "source = ?1 AND run = ?2 AND state IN ('listing', 'sweeping')";
        let (code, message) = remark.unzip();
        let ask = Statement::new(format!("SELECT again AS value FROM sources WHERE {running}"));
        let end = Statement::new(format!(
            "UPDATE sources SET state = ?3, code = ?4, message = ?5, moved_at = ?6, again = NULL WHERE {running}"
        ))
        .bind(source)
        .number(run)
        .bind(name_of(state))
        .bind(optional(code))
        .bind(optional(message))
        .number(now);
        let replies = self.database.batch(vec![ask.bind(source).number(run), end]).await?;
        let found: Vec<Number> = rows(&replies[0])?;
        Ok(found.first().and_then(|number| number.value).map(|again| again != 0))
    }
}
