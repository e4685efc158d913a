//! The life of a generation in SQL: begun, claimed, planned, served or given up.
//!
//! Invariant: all but the newest generation of a living document are served or dead, since a newer one, the flip and
//! the deletion make them so in the same transaction. So one that is open is the newest of a living document.
//!
//! A generation whose embedding is not wanted any more is `stale`: what it wrote is garbage, but if nobody else knows the
//! upload, it must not be lost. It is shown as queued, and goes when it is made anew.

use super::statement::{about, of, slices};
use super::{Statement, optional};
use ragflare_core::Tenant;
use ragflare_core::document::{DocumentId, Failure, Generation, Millis, Status, Upload, Waiting};
use ragflare_core::ports::{Overdue, PlannedPart, Ticket};
use serde_json::json;

/// Work is to be done on it.
pub(super) const OPEN_STATUS: &str = "('queued', 'processing', 'parked')";

/// The generation that `?1, ?2, ?3` name.
pub(super) const OWN: &str = "tenant = ?1 AND document = ?2 AND generation = ?3";

/// [`OWN`], while it is open.
pub(super) const OPEN: &str =
    "tenant = ?1 AND document = ?2 AND generation = ?3 AND status IN ('queued', 'processing', 'parked')";

/// The second statement gives the number, if there is one. That its row is there is what the others go by.
pub(super) fn begin(
    tenant: &Tenant,
    id: &DocumentId,
    upload: &Upload,
    expected: Option<Generation>,
    now: Millis,
) -> Vec<Statement> {
    let metadata = serde_json::to_string(&upload.metadata).unwrap_or_else(|_| "{}".into());
    vec![
        // The statistics that the flip's trigger keeps.
        Statement::new("INSERT OR IGNORE INTO tenants (tenant) VALUES (?1)").bind(tenant.as_str()),
        about(
            "INSERT INTO generations (tenant, document, generation, status, object_key, title, embedded_title, \
             media_type, bytes, content_hash, metadata, settings, fingerprint, fields, updated_at) \
             SELECT ?1, ?2, coalesce(d.newest, 0) + 1, 'queued', ?3, ?4, ?5, ?6, ?7, ?8, ?9, ?10, ?11, ?12, ?13 \
             FROM (SELECT 1) LEFT JOIN documents d ON d.tenant = ?1 AND d.id = ?2 \
             WHERE ?14 IS NULL OR ?14 = iif(d.deleted_at IS NULL, coalesce(d.newest, 0), 0) \
             RETURNING generation AS value",
            tenant,
            id,
        )
        .bind(upload.object_key.as_str())
        .bind(optional(upload.title.as_deref()))
        .bind(optional(upload.embedded_title.as_deref()))
        .bind(upload.media_type.as_str())
        .number(upload.bytes)
        .bind(upload.content_hash.as_str())
        .bind(metadata)
        .bind(upload.settings.as_str())
        .bind(upload.fingerprint.as_str())
        .bind(upload.fields.as_str())
        .number(now)
        .optional_number(expected),
        about(
            "INSERT INTO documents (tenant, id, incarnation, newest, created_at, updated_at) \
             SELECT tenant, document, generation, generation, ?3, ?3 FROM generations \
             WHERE tenant = ?1 AND document = ?2 AND generation = 1 + coalesce( \
               (SELECT newest FROM documents WHERE tenant = ?1 AND id = ?2), 0) \
             ON CONFLICT (tenant, id) DO UPDATE SET newest = excluded.newest, \
             incarnation = iif(deleted_at IS NULL, incarnation, excluded.newest), \
             created_at = iif(deleted_at IS NULL, created_at, excluded.created_at), \
             deleted_at = NULL, updated_at = excluded.updated_at",
            tenant,
            id,
        )
        .number(now),
        about(
            "UPDATE generations SET status = 'dead' WHERE tenant = ?1 AND document = ?2 AND status <> 'dead' \
             AND generation < (SELECT newest FROM documents WHERE tenant = ?1 AND id = ?2) \
             AND generation IS NOT (SELECT served FROM documents WHERE tenant = ?1 AND id = ?2)",
            tenant,
            id,
        ),
    ]
}

pub(super) fn sent(generations: &[Overdue], now: Millis) -> Statement {
    let keys: Vec<_> = generations
        .iter()
        .map(|found| (found.tenant.as_str(), found.document.as_str(), found.generation))
        .collect();
    // `+`: by key, not by status.
    Statement::new(
        "UPDATE generations SET updated_at = ?2 WHERE (tenant, document, generation) IN \
         (SELECT value->>0, value->>1, value->>2 FROM json_each(?1)) \
         AND +status IN ('queued', 'processing', 'parked', 'searchable')",
    )
    .list(&keys)
    .number(now)
}

/// Gives the columns of [`super::rows::WorkRow`].
pub(super) fn claim(tenant: &Tenant, id: &DocumentId, generation: Generation, now: Millis) -> Statement {
    let sql = format!(
        "UPDATE generations SET status = 'processing', not_before = 0, waiting_code = NULL, waiting_message = NULL, \
         updated_at = ?4 WHERE {OPEN} RETURNING {}, parts_total, plan_complete, resume, postponed, \
         (SELECT incarnation FROM documents WHERE tenant = ?1 AND id = ?2) AS incarnation",
        super::rows::UPLOAD_COLUMNS
    );
    of(sql, tenant, id, generation).number(now)
}

pub(super) fn restart(
    tenant: &Tenant,
    id: &DocumentId,
    generation: Generation,
    settings: &str,
    fields: &str,
) -> Vec<Statement> {
    let open = format!("EXISTS (SELECT 1 FROM generations WHERE {OPEN})");
    let statement = |sql: String| of(sql, tenant, id, generation);
    vec![
        statement(format!("DELETE FROM chunks WHERE {OWN} AND {open}")),
        statement(format!("DELETE FROM parts WHERE {OWN} AND {open}")),
        statement(format!(
            "UPDATE vectors SET state = 'intent' WHERE tenant = ?1 AND document = ?2 AND born = ?3 \
             AND +state = 'written' AND {open}"
        )),
        statement(format!(
            "UPDATE generations SET settings = ?4, fields = ?5, parts_total = 0, plan_complete = 0, resume = NULL \
             WHERE {OPEN}"
        ))
        .bind(settings)
        .bind(fields),
    ]
}

/// The last statement gives a row if the plan was extended.
#[allow(clippy::too_many_arguments, reason = "a row's columns")]
pub(super) fn plan(
    tenant: &Tenant,
    id: &DocumentId,
    generation: Generation,
    settings: &str,
    planned: u32,
    parts: &[PlannedPart],
    resume: Option<&str>,
    now: Millis,
) -> Vec<Statement> {
    let expected = format!("{OPEN} AND settings = ?4 AND parts_total = ?5 AND NOT plan_complete");
    let part = |part: &PlannedPart| {
        json!({"part": part.number, "spans": part.spans, "ticket": part.ticket}).to_string()
    };
    let mut statements: Vec<Statement> = slices(parts.iter().map(part))
        .into_iter()
        .map(|slice| {
            of(
                format!(
                    "INSERT INTO parts (tenant, document, generation, part, spans, ticket) \
                     SELECT ?1, ?2, ?3, value->>'part', value->>'spans', value->>'ticket' FROM json_each(?6) \
                     WHERE EXISTS (SELECT 1 FROM generations WHERE {expected})"
                ),
                tenant,
                id,
                generation,
            )
            .bind(settings)
            .number(planned.into())
            .bind(slice)
        })
        .collect();
    statements.push(
        of(
            format!(
                "UPDATE generations SET parts_total = ?5 + ?6, plan_complete = ?7 IS NULL, resume = ?7, \
                 postponed = 0, updated_at = ?8 WHERE {expected} RETURNING 1 AS value"
            ),
            tenant,
            id,
            generation,
        )
        .bind(settings)
        .number(planned.into())
        .number(parts.len() as u64)
        .bind(optional(resume))
        .number(now),
    );
    statements
}

pub(super) fn open_parts(
    tenant: &Tenant,
    id: &DocumentId,
    generation: Generation,
    after: Option<u32>,
    limit: usize,
) -> Statement {
    let sql = format!(
        "SELECT part, spans, ticket FROM parts WHERE {OWN} AND part > ?4 AND NOT done ORDER BY part LIMIT ?5"
    );
    of(sql, tenant, id, generation).bind(after.map_or(-1.0, f64::from)).number(limit as u64)
}

pub(super) fn note_ticket(
    tenant: &Tenant,
    id: &DocumentId,
    generation: Generation,
    part: u32,
    ticket: Option<&Ticket>,
    now: Millis,
) -> Vec<Statement> {
    let ticket = ticket.and_then(|ticket| serde_json::to_string(ticket).ok());
    let undone = format!("{OWN} AND part = ?4 AND NOT done");
    let statement = |sql: String| of(sql, tenant, id, generation).number(part.into());
    vec![
        statement(format!(
            "UPDATE parts SET ticket = ?5 WHERE {undone} AND EXISTS (SELECT 1 FROM generations WHERE {OPEN})"
        ))
        .bind(optional(ticket.as_deref())),
        statement(format!(
            "UPDATE generations SET updated_at = ?5 WHERE {OPEN} AND EXISTS (SELECT 1 FROM parts WHERE {undone})"
        ))
        .number(now),
    ]
}

/// What hangs on `documents.served` is done by its trigger. The last statement gives the generation's status.
pub(super) fn flip(tenant: &Tenant, id: &DocumentId, generation: Generation, now: Millis) -> Vec<Statement> {
    let staged = "fingerprint = (SELECT next_fingerprint FROM tenants WHERE tenant = ?1)";
    vec![
        of(
            format!(
                "UPDATE generations SET (chunk_count, tokens, terms, embedded, reused) = (SELECT sum(chunks), \
                 sum(tokens), sum(terms), sum(embedded), sum(reused) FROM parts WHERE {OWN}), \
                 status = iif({staged}, 'staged', 'searchable'), served_at = iif({staged}, NULL, ?4), \
                 not_before = 0, waiting_code = NULL, waiting_message = NULL, \
                 updated_at = ?4 WHERE {OPEN} AND plan_complete AND parts_total > 0 \
                 AND parts_total = (SELECT count(*) FROM parts WHERE {OWN} AND done)"
            ),
            tenant,
            id,
            generation,
        )
        .number(now),
        of(
            format!(
                "UPDATE documents SET served = ?3, updated_at = ?4 WHERE tenant = ?1 AND id = ?2 AND newest = ?3 \
                 AND deleted_at IS NULL AND served IS NOT ?3 \
                 AND EXISTS (SELECT 1 FROM generations WHERE {OWN} AND status = 'searchable')"
            ),
            tenant,
            id,
            generation,
        )
        .number(now),
        status(tenant, id, generation),
    ]
}

/// Gives how often, if it is open.
pub(super) fn postpone(
    tenant: &Tenant,
    id: &DocumentId,
    generation: Generation,
    status: Status,
    waiting: &Waiting,
    now: Millis,
) -> Statement {
    let sql = format!(
        "UPDATE generations SET status = ?4, not_before = ?5, waiting_code = ?6, waiting_message = ?7, \
         postponed = postponed + 1, updated_at = ?8 WHERE {OPEN} RETURNING postponed AS value"
    );
    of(sql, tenant, id, generation)
        .bind(status.as_str())
        .number(waiting.until)
        .bind(waiting.code.as_str())
        .bind(waiting.message.as_str())
        .number(now)
}

pub(super) fn fail(
    tenant: &Tenant,
    id: &DocumentId,
    generation: Generation,
    failure: &Failure,
    now: Millis,
) -> Statement {
    let sql = format!(
        "UPDATE generations SET status = 'failed', error_code = ?4, error_message = ?5, not_before = 0, \
         waiting_code = NULL, waiting_message = NULL, updated_at = ?6 WHERE {OPEN}"
    );
    of(sql, tenant, id, generation).bind(failure.code.as_str()).bind(failure.message.as_str()).number(now)
}

fn status(tenant: &Tenant, id: &DocumentId, generation: Generation) -> Statement {
    of(format!("SELECT status AS value FROM generations WHERE {OWN}"), tenant, id, generation)
}

pub(super) fn indexed(tenant: &Tenant, id: &DocumentId, generation: Generation, now: Millis) -> Statement {
    let sql = format!(
        "UPDATE generations SET status = 'indexed', updated_at = ?4 WHERE {OWN} AND status = 'searchable'"
    );
    of(sql, tenant, id, generation).number(now)
}

/// Gives a row if it was there. The document's generations die by a trigger.
pub(super) fn delete(
    tenant: &Tenant,
    id: &DocumentId,
    expected: Option<Generation>,
    now: Millis,
) -> Statement {
    about(
        "UPDATE documents SET deleted_at = ?3, served = NULL, updated_at = ?3 WHERE tenant = ?1 AND id = ?2 \
         AND deleted_at IS NULL AND (?4 IS NULL OR newest = ?4) RETURNING 1 AS value",
        tenant,
        id,
    )
    .number(now)
    .optional_number(expected)
}

/// Gives the ids. The documents' generations die by a trigger.
pub(super) fn delete_prefix(tenant: &Tenant, prefix: &str, limit: usize, now: Millis) -> Statement {
    Statement::new(
        "UPDATE documents SET deleted_at = ?3, served = NULL, updated_at = ?3 WHERE tenant = ?1 AND id IN \
         (SELECT id FROM documents INDEXED BY documents_living WHERE tenant = ?1 AND id >= ?2 AND id < ?2 || '~' \
         AND deleted_at IS NULL ORDER BY id LIMIT ?4) RETURNING id AS value",
    )
    .bind(tenant.as_str())
    .bind(prefix)
    .number(now)
    .number(limit as u64)
}

pub(super) fn overdue(before: Millis, now: Millis, limit: usize) -> Statement {
    Statement::new(
        "SELECT tenant, document, generation, status, bytes FROM generations \
         WHERE status IN ('queued', 'processing', 'parked', 'searchable') AND updated_at <= ?1 AND not_before <= ?2 \
         ORDER BY updated_at LIMIT ?3",
    )
    .number(before)
    .number(now)
    .number(limit as u64)
}

/// Bytes of originals that wait to be processed.
pub(super) fn backlog() -> Statement {
    Statement::new(format!(
        "SELECT coalesce(sum(bytes), 0) AS value FROM generations WHERE status IN {OPEN_STATUS}"
    ))
}
