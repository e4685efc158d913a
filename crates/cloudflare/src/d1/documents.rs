//! Core's `DocumentStore` over D1. Each call is one transaction; the SQL is in the modules beside.

use super::rows::{
    DOCUMENT_COLUMNS, DOCUMENT_JOINS, DocumentRow, LostRow, MaybeText, Number, OutdatedRow, OverdueRow,
    OwnerRow, PartRow, ReusableRow, ServedRow, TenantRow, Text, UPLOAD_COLUMNS, UploadRow, WorkRow,
};
use super::statement::{about, of};
use super::{Database, Reply, Statement, chunks, garbage, generations, optional, rows, tenants, vectors};
use ragflare_core::document::{
    Document, DocumentId, Failure, Generation, Millis, ServedChunk, Status, Upload, Waiting,
};
use ragflare_core::ports::{
    DocumentStore, Flip, Garbage, ListQuery, Outdated, Overdue, Part, PlannedPart, Progress, Reusable,
    TenantState, Ticket, Work,
};
use ragflare_core::settings::EmbeddingSettings;
use ragflare_core::{Error, Result, Retry, Tenant};
use serde::de::DeserializeOwned;

/// Documents in D1.
#[derive(Clone, Debug)]
pub struct D1Documents {
    database: Database,
}

impl D1Documents {
    /// Over a database with this crate's schema.
    pub fn new(database: Database) -> Self {
        Self { database }
    }

    /// The first row of a statement.
    async fn one<T: DeserializeOwned>(&self, statement: Statement) -> Result<Option<T>> {
        Ok(self.database.all(statement).await?.into_iter().next())
    }

    /// The first row of the last of these statements.
    async fn last<T: DeserializeOwned>(&self, statements: Vec<Statement>) -> Result<Option<T>> {
        let replies = self.database.batch(statements).await?;
        replies.last().map_or(Ok(None), first)
    }

    async fn texts(&self, statement: Statement) -> Result<Vec<String>> {
        let found: Vec<Text> = self.database.all(statement).await?;
        Ok(found.into_iter().map(|text| text.value).collect())
    }

    async fn chunks_of(&self, statement: Statement) -> Result<Vec<ServedChunk>> {
        let found: Vec<ServedRow> = self.database.all(statement).await?;
        found.into_iter().map(ServedRow::into_chunk).collect()
    }
}

fn first<T: DeserializeOwned>(reply: &Reply) -> Result<Option<T>> {
    Ok(rows(reply)?.into_iter().next())
}

fn is_true(number: Option<Number>) -> bool {
    number.is_some_and(|number| number.value != 0)
}

impl DocumentStore for D1Documents {
    async fn begin(
        &self,
        tenant: &Tenant,
        id: &DocumentId,
        upload: &Upload,
        expected: Option<Generation>,
        now: Millis,
    ) -> Result<Option<Generation>> {
        let replies = self.database.batch(generations::begin(tenant, id, upload, expected, now)).await?;
        let number: Option<Number> = first(&replies[1])?;
        Ok(number.map(|number| number.value))
    }

    async fn sent(&self, generations: &[Overdue], now: Millis) -> Result<()> {
        self.database.run(generations::sent(generations, now)).await
    }

    async fn get(&self, tenant: &Tenant, id: &DocumentId) -> Result<Option<Document>> {
        let sql = format!(
            "SELECT {DOCUMENT_COLUMNS} FROM documents d {DOCUMENT_JOINS} \
             WHERE d.tenant = ?1 AND d.id = ?2 AND d.deleted_at IS NULL"
        );
        let found: Option<DocumentRow> = self.one(about(sql, tenant, id)).await?;
        found.map(DocumentRow::into_document).transpose()
    }

    async fn upload(
        &self,
        tenant: &Tenant,
        id: &DocumentId,
        generation: Generation,
    ) -> Result<Option<Upload>> {
        let sql = format!(
            "SELECT {UPLOAD_COLUMNS} FROM generations WHERE {} AND status <> 'dead'",
            generations::OWN
        );
        let found: Option<UploadRow> = self.one(of(sql, tenant, id, generation)).await?;
        found.map(UploadRow::into_upload).transpose()
    }

    async fn list(&self, tenant: &Tenant, query: &ListQuery) -> Result<Vec<Document>> {
        let sql = format!(
            "SELECT {DOCUMENT_COLUMNS} FROM documents d INDEXED BY documents_living {DOCUMENT_JOINS} \
             WHERE d.tenant = ?1 AND d.deleted_at IS NULL AND d.id >= max(?2, ?3) AND d.id <> ?2 AND d.id < ?3 || '~' \
             AND (?4 IS NULL OR iif(g.status = 'stale', 'queued', g.status) = ?4) ORDER BY d.id LIMIT ?5"
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
        let found: Option<WorkRow> = self.one(generations::claim(tenant, id, generation, now)).await?;
        found.map(WorkRow::into_work).transpose()
    }

    async fn restart(
        &self,
        tenant: &Tenant,
        id: &DocumentId,
        generation: Generation,
        settings: &str,
        fields: &str,
    ) -> Result<()> {
        let statements = generations::restart(tenant, id, generation, settings, fields);
        self.database.batch(statements).await.map(drop)
    }

    async fn plan(
        &self,
        tenant: &Tenant,
        id: &DocumentId,
        generation: Generation,
        settings: &str,
        planned: u32,
        parts: &[PlannedPart],
        resume: Option<&str>,
        now: Millis,
    ) -> Result<bool> {
        let statements = generations::plan(tenant, id, generation, settings, planned, parts, resume, now);
        self.last(statements).await.map(is_true)
    }

    async fn open_parts(
        &self,
        tenant: &Tenant,
        id: &DocumentId,
        generation: Generation,
        after: Option<u32>,
        limit: usize,
    ) -> Result<Vec<PlannedPart>> {
        let statement = generations::open_parts(tenant, id, generation, after, limit);
        let found: Vec<PartRow> = self.database.all(statement).await?;
        found.into_iter().map(PartRow::into_part).collect()
    }

    async fn note_ticket(
        &self,
        tenant: &Tenant,
        id: &DocumentId,
        generation: Generation,
        part: u32,
        ticket: Option<&Ticket>,
        now: Millis,
    ) -> Result<()> {
        let statements = generations::note_ticket(tenant, id, generation, part, ticket, now);
        self.database.batch(statements).await.map(drop)
    }

    async fn reusable(
        &self,
        tenant: &Tenant,
        id: &DocumentId,
        generation: Generation,
        hashes: &[String],
    ) -> Result<Vec<Reusable>> {
        let statement = vectors::reusable(tenant, id, generation, hashes);
        let found: Vec<ReusableRow> = self.database.all(statement).await?;
        Ok(found.into_iter().map(Reusable::from).collect())
    }

    async fn intend(
        &self,
        tenant: &Tenant,
        id: &DocumentId,
        generation: Generation,
        vectors: &[(String, String)],
        now: Millis,
    ) -> Result<()> {
        self.database.run(vectors::intend(tenant, id, generation, vectors, now)).await
    }

    async fn written(
        &self,
        tenant: &Tenant,
        id: &DocumentId,
        generation: Generation,
        vectors: &[(String, String)],
        now: Millis,
    ) -> Result<()> {
        self.database.run(vectors::written(tenant, id, generation, vectors, now)).await
    }

    async fn write_part(
        &self,
        tenant: &Tenant,
        id: &DocumentId,
        generation: Generation,
        settings: &str,
        part: &Part,
        now: Millis,
    ) -> Result<()> {
        let statements = chunks::write_part(tenant, id, generation, settings, part, now);
        self.database.batch(statements).await.map(drop)
    }

    async fn flip(
        &self,
        tenant: &Tenant,
        id: &DocumentId,
        generation: Generation,
        now: Millis,
    ) -> Result<Flip> {
        let status: Option<Text> = self.last(generations::flip(tenant, id, generation, now)).await?;
        Ok(match status.as_ref().map(|status| status.value.as_str()) {
            Some("searchable" | "indexed") => Flip::Served,
            Some("staged") => Flip::Staged,
            _ => Flip::No,
        })
    }

    async fn postpone(
        &self,
        tenant: &Tenant,
        id: &DocumentId,
        generation: Generation,
        status: Status,
        waiting: &Waiting,
        now: Millis,
    ) -> Result<u32> {
        let statement = generations::postpone(tenant, id, generation, status, waiting, now);
        let times: Option<Number> = self.one(statement).await?;
        Ok(times.map_or(0, |times| times.value as u32))
    }

    async fn fail(
        &self,
        tenant: &Tenant,
        id: &DocumentId,
        generation: Generation,
        failure: &Failure,
        now: Millis,
    ) -> Result<()> {
        self.database.run(generations::fail(tenant, id, generation, failure, now)).await
    }

    async fn last_vectors(
        &self,
        tenant: &Tenant,
        id: &DocumentId,
        generation: Generation,
        limit: usize,
    ) -> Result<Vec<String>> {
        self.texts(vectors::last(tenant, id, generation, limit)).await
    }

    async fn indexed(
        &self,
        tenant: &Tenant,
        id: &DocumentId,
        generation: Generation,
        now: Millis,
    ) -> Result<()> {
        self.database.run(generations::indexed(tenant, id, generation, now)).await
    }

    async fn delete(
        &self,
        tenant: &Tenant,
        id: &DocumentId,
        expected: Option<Generation>,
        now: Millis,
    ) -> Result<bool> {
        self.one(generations::delete(tenant, id, expected, now)).await.map(is_true)
    }

    async fn delete_prefix(
        &self,
        tenant: &Tenant,
        prefix: &str,
        limit: usize,
        now: Millis,
    ) -> Result<Vec<DocumentId>> {
        let ids = self.texts(generations::delete_prefix(tenant, prefix, limit, now)).await?;
        ids.into_iter().map(DocumentId::new).collect()
    }

    async fn garbage(
        &self,
        tenant: &Tenant,
        id: &DocumentId,
        limit: usize,
        settled: Millis,
    ) -> Result<Garbage> {
        let replies = self.database.batch(garbage::collect(tenant, id, limit, settled)).await?;
        let named: Vec<MaybeText> = rows(&replies[2])?;
        let lost: Vec<LostRow> = rows(&replies[3])?;
        let full = named.len() == limit;
        let mut found = Garbage {
            vectors: named.into_iter().filter_map(|vector| vector.value).collect(),
            more: lost.len() == limit || lost.iter().any(|row| row.chunks != 0),
            ..Garbage::default()
        };
        if full {
            // A generation is what leads the sweeper to its vectors: it goes last.
            found.more = true;
            return Ok(found);
        }
        for row in lost.into_iter().filter(|row| row.dead != 0 && row.chunks == 0) {
            found.generations.push(row.generation);
            found.objects.extend(row.object_key);
        }
        found.objects.sort();
        found.objects.dedup();
        Ok(found)
    }

    async fn forget_vectors(&self, tenant: &Tenant, id: &DocumentId, vectors: &[String]) -> Result<()> {
        self.database.batch(vectors::forget(tenant, id, vectors)).await.map(drop)
    }

    async fn forget_generations(
        &self,
        tenant: &Tenant,
        id: &DocumentId,
        generations: &[Generation],
    ) -> Result<()> {
        self.database.batch(garbage::forget_generations(tenant, id, generations)).await.map(drop)
    }

    async fn chunks(
        &self,
        tenant: &Tenant,
        id: &DocumentId,
        after: Option<u32>,
        limit: usize,
    ) -> Result<Vec<ServedChunk>> {
        self.chunks_of(chunks::served(tenant, id, after, limit)).await
    }

    async fn hydrate(&self, tenant: &Tenant, vectors: &[String], rows: &[i64]) -> Result<Vec<ServedChunk>> {
        self.chunks_of(chunks::hydrate(tenant, vectors, rows)).await
    }

    async fn overdue(&self, before: Millis, now: Millis, limit: usize) -> Result<Vec<Overdue>> {
        let found: Vec<OverdueRow> = self.database.all(generations::overdue(before, now, limit)).await?;
        found.into_iter().map(OverdueRow::into_overdue).collect()
    }

    async fn unclean(&self, settled: Millis, limit: usize) -> Result<Vec<(Tenant, DocumentId)>> {
        let found: Vec<OwnerRow> = self.database.all(garbage::unclean(settled, limit)).await?;
        found.into_iter().map(OwnerRow::into_owner).collect()
    }

    async fn unreferenced(&self, objects: &[String]) -> Result<Vec<String>> {
        if objects.is_empty() {
            return Ok(Vec::new());
        }
        self.texts(garbage::unreferenced(objects)).await
    }

    async fn tenant(&self, tenant: &Tenant) -> Result<TenantState> {
        let found: Option<TenantRow> = self.one(tenants::state(tenant)).await?;
        found.map_or_else(|| Ok(TenantState::default()), TenantRow::into_state)
    }

    async fn adopt(&self, tenant: &Tenant, configured: &EmbeddingSettings) -> Result<TenantState> {
        // Reading is enough for all uploads but the first.
        let found: Option<TenantRow> = self.one(tenants::state(tenant)).await?;
        if let Some(row) = found.filter(TenantRow::is_known) {
            return row.into_state();
        }
        let adopted: Option<TenantRow> = self.one(tenants::adopt(tenant, configured)).await?;
        adopted.map_or_else(|| Err(unavailable("the tenant's row did not come back")), TenantRow::into_state)
    }

    async fn start_reindex(
        &self,
        tenant: &Tenant,
        next: Option<&EmbeddingSettings>,
        force: Option<Millis>,
        now: Millis,
    ) -> Result<()> {
        self.database.batch(tenants::start_reindex(tenant, next, force, now)).await.map(drop)
    }

    async fn end_reindex(&self, tenant: &Tenant, force: Option<Millis>) -> Result<()> {
        self.database.run(tenants::end_reindex(tenant, force)).await
    }

    async fn ready(
        &self,
        tenant: &Tenant,
        next: &EmbeddingSettings,
        since: Millis,
        limit: usize,
    ) -> Result<Option<Vec<String>>> {
        let replies = self.database.batch(tenants::ready(tenant, next, since, limit)).await?;
        if rows::<Number>(&replies[0])?.first().is_none_or(|flag| flag.value != 1) {
            return Ok(None);
        }
        let written: Vec<Text> = rows(&replies[1])?;
        Ok(Some(written.into_iter().map(|row| row.value).collect()))
    }

    async fn flip_tenant(&self, tenant: &Tenant, next: &EmbeddingSettings, now: Millis) -> Result<bool> {
        self.last(tenants::flip(tenant, next, now)).await.map(is_true)
    }

    async fn outdated(
        &self,
        tenant: &Tenant,
        settings: &str,
        fingerprint: &str,
        after: Option<&DocumentId>,
        limit: usize,
    ) -> Result<Vec<Outdated>> {
        let statement = tenants::outdated(tenant, settings, fingerprint, after, limit);
        let found: Vec<OutdatedRow> = self.database.all(statement).await?;
        found.into_iter().map(OutdatedRow::into_outdated).collect()
    }

    async fn progress(&self, tenant: &Tenant, settings: &str, fingerprint: &str) -> Result<Progress> {
        let found = self.one(tenants::progress(tenant, settings, fingerprint)).await?;
        Ok(found.unwrap_or_default())
    }

    async fn reindexing(&self, limit: usize) -> Result<Vec<Tenant>> {
        let found = self.texts(tenants::reindexing(limit)).await?;
        found.into_iter().map(Tenant::new).collect()
    }

    async fn size(&self) -> Result<Option<(u64, u64)>> {
        // The size comes with the reply.
        let waiting: Option<Number> = self.one(generations::backlog()).await?;
        let waiting = waiting.map_or(0, |waiting| waiting.value);
        Ok(self.database.size().map(|size| (size, waiting)))
    }
}

fn unavailable(message: &str) -> Error {
    Error::Service { service: "database", retry: Retry::Backoff, code: None, message: message.into() }
}
