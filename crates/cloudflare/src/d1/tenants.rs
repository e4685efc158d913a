//! What a tenant's vectors are made with, and how it changes, in SQL.

use super::generations::OPEN_STATUS;
use super::{Statement, optional};
use ragflare_core::Tenant;
use ragflare_core::document::{DocumentId, Millis};
use ragflare_core::identity::Fingerprint;
use ragflare_core::settings::{EmbeddingSettings, Pooling};

/// The columns of [`super::rows::TenantRow`].
const COLUMNS: &str = "fingerprint, embedding, next, reindexing IS NOT NULL AS reindexing, \
    reindex_force";

/// Whether the tenant `?1` has the fingerprint `?2`.
const FLIPPED: &str = "EXISTS (SELECT 1 FROM tenants WHERE tenant = ?1 AND fingerprint = ?2)";

pub(super) fn state(tenant: &Tenant) -> Statement {
    Statement::new(format!("SELECT {COLUMNS} FROM tenants WHERE tenant = ?1")).bind(tenant.as_str())
}

/// Tenants from before have only a fingerprint: the embedding that has it is theirs.
pub(super) fn adopt(tenant: &Tenant, configured: &EmbeddingSettings) -> Statement {
    Statement::new(format!(
        "INSERT INTO tenants (tenant, fingerprint, embedding) VALUES (?1, ?2, ?3) ON CONFLICT (tenant) DO UPDATE SET \
         fingerprint = coalesce(fingerprint, excluded.fingerprint), embedding = coalesce(embedding, \
         iif(coalesce(fingerprint, excluded.fingerprint) = excluded.fingerprint, excluded.embedding, NULL)) \
         RETURNING {COLUMNS}"
    ))
    .bind(tenant.as_str())
    .bind(configured.fingerprint().as_str())
    .bind(json(configured))
}

pub(super) fn start_reindex(
    tenant: &Tenant,
    next: Option<&EmbeddingSettings>,
    force: Option<Millis>,
    now: Millis,
) -> Vec<Statement> {
    let fingerprint = next.map(EmbeddingSettings::fingerprint);
    vec![
        Statement::new(
            "INSERT INTO tenants (tenant, next, next_fingerprint, reindexing, reindex_force) \
             VALUES (?1, ?2, ?3, ?4, nullif(?5, 0)) \
             ON CONFLICT (tenant) DO UPDATE SET \
             next = iif(fingerprint IS excluded.next_fingerprint, NULL, excluded.next), \
             next_fingerprint = nullif(excluded.next_fingerprint, fingerprint), reindexing = excluded.reindexing, \
             reindex_force = coalesce(excluded.reindex_force, reindex_force)",
        )
        .bind(tenant.as_str())
        .bind(optional(next.map(json).as_deref()))
        .bind(optional(fingerprint.as_ref().map(Fingerprint::as_str)))
        .number(now)
        .number(force.unwrap_or_default()),
        Statement::new(format!(
            "UPDATE generations SET status = 'stale', not_before = 0, waiting_code = NULL, \
             waiting_message = NULL WHERE tenant = ?1 AND (status = 'staged' OR status IN {OPEN_STATUS}) \
             AND fingerprint IS NOT (SELECT fingerprint FROM tenants WHERE tenant = ?1) \
             AND fingerprint IS NOT (SELECT next_fingerprint FROM tenants WHERE tenant = ?1)"
        ))
        .bind(tenant.as_str()),
    ]
}

pub(super) fn end_reindex(tenant: &Tenant, force: Option<Millis>) -> Statement {
    Statement::new(
        "UPDATE tenants SET reindexing = NULL, reindex_force = NULL WHERE tenant = ?1 AND next IS NULL \
         AND reindex_force IS nullif(?2, 0)",
    )
    .bind(tenant.as_str())
    .number(force.unwrap_or_default())
}

/// Whether every living document of tenant `?1` is staged or failed with the fingerprint `?2`, its next one. As long as any
/// of its generations is open, that is found (`+`: by status) without looking through its documents.
const READY: &str = "EXISTS (SELECT 1 FROM tenants WHERE tenant = ?1 AND next_fingerprint = ?2) AND NOT EXISTS \
    (SELECT 1 FROM generations o WHERE o.status IN ('queued', 'processing', 'parked') AND +o.tenant = ?1) AND NOT EXISTS \
    (SELECT 1 FROM documents d INDEXED BY documents_living WHERE d.tenant = ?1 AND d.deleted_at IS NULL \
    AND NOT EXISTS (SELECT 1 FROM generations n WHERE n.tenant = ?1 AND n.document = d.id \
    AND n.generation = d.newest AND n.fingerprint = ?2 AND n.status IN ('staged', 'failed')))";

/// The first statement gives whether the tenant is ready, the second ids. Only what was written of late is looked at, of
/// whatever tenant: all that is staged may be millions.
pub(super) fn ready(
    tenant: &Tenant,
    next: &EmbeddingSettings,
    since: Millis,
    limit: usize,
) -> Vec<Statement> {
    let fingerprint = next.fingerprint();
    let about = |sql: String| Statement::new(sql).bind(tenant.as_str()).bind(fingerprint.as_str());
    vec![
        about(format!("SELECT {READY} AS value")),
        about(
            "SELECT v.id AS value FROM vectors v INDEXED BY vectors_by_state CROSS JOIN generations g \
             ON g.tenant = v.tenant AND g.document = v.document AND g.generation = v.born \
             WHERE v.state = 'written' AND v.changed_at > ?3 AND v.tenant = ?1 AND g.status = 'staged' \
             AND g.fingerprint = ?2 ORDER BY v.changed_at DESC LIMIT ?4"
                .into(),
        )
        .number(since)
        .number(limit as u64),
    ]
}

/// What hangs on `documents.served` is done by its trigger. The last statement gives whether `next` is the tenant's
/// embedding.
pub(super) fn flip(tenant: &Tenant, next: &EmbeddingSettings, now: Millis) -> Vec<Statement> {
    let fingerprint = next.fingerprint();
    let about = |sql: String| Statement::new(sql).bind(tenant.as_str()).bind(fingerprint.as_str());
    vec![
        about(format!(
            "UPDATE tenants SET fingerprint = ?2, embedding = ?3, next = NULL, next_fingerprint = NULL, \
             epoch = epoch + 1 WHERE tenant = ?1 AND {READY}"
        ))
        .bind(json(next)),
        about(format!(
            "UPDATE documents SET served = newest, updated_at = ?3 WHERE tenant = ?1 AND deleted_at IS NULL \
             AND {FLIPPED} AND EXISTS (SELECT 1 FROM generations n WHERE n.tenant = ?1 AND n.document = documents.id \
             AND n.generation = documents.newest AND n.fingerprint = ?2 AND n.status = 'staged')"
        ))
        .number(now),
        about(format!(
            "UPDATE generations SET status = 'searchable', served_at = ?3, updated_at = ?3 WHERE tenant = ?1 \
             AND status = 'staged' AND fingerprint = ?2 AND {FLIPPED}"
        ))
        .number(now),
        about(format!("SELECT {FLIPPED} AS value")),
    ]
}

/// One that is stale is to be made anew in any case.
pub(super) fn outdated(
    tenant: &Tenant,
    settings: &str,
    fingerprint: &str,
    after: Option<&DocumentId>,
    limit: usize,
) -> Statement {
    Statement::new(
        "SELECT d.id, d.newest, iif(n.status = 'failed', coalesce(d.served, d.newest), d.newest) AS base \
         FROM documents d INDEXED BY documents_living \
         JOIN generations n ON n.tenant = d.tenant AND n.document = d.id AND n.generation = d.newest \
         WHERE d.tenant = ?1 AND d.deleted_at IS NULL AND d.id > ?2 \
         AND (n.settings <> ?3 OR n.fingerprint <> ?4 OR n.status = 'stale') ORDER BY d.id LIMIT ?5",
    )
    .bind(tenant.as_str())
    .bind(after.map_or("", DocumentId::as_str))
    .bind(settings)
    .bind(fingerprint)
    .number(limit as u64)
}

pub(super) fn progress(tenant: &Tenant, settings: &str, fingerprint: &str) -> Statement {
    let count = |condition: &str| {
        format!("coalesce(sum(n.settings = ?2 AND n.fingerprint = ?3 AND n.status IN {condition}), 0)")
    };
    let (done, open, failed) =
        (count("('staged', 'searchable', 'indexed')"), count(OPEN_STATUS), count("('failed')"));
    Statement::new(format!(
        "SELECT count(*) AS documents, {done} AS done, {open} AS open, {failed} AS failed \
         FROM documents d INDEXED BY documents_living \
         JOIN generations n ON n.tenant = d.tenant AND n.document = d.id AND n.generation = d.newest \
         WHERE d.tenant = ?1 AND d.deleted_at IS NULL"
    ))
    .bind(tenant.as_str())
    .bind(settings)
    .bind(fingerprint)
}

pub(super) fn reindexing(limit: usize) -> Statement {
    Statement::new(
        "SELECT tenant AS value FROM tenants WHERE reindexing IS NOT NULL ORDER BY reindexing LIMIT ?1",
    )
    .number(limit as u64)
}

fn json(embedding: &EmbeddingSettings) -> String {
    serde_json::to_string(embedding).unwrap_or_default()
}

/// What a fingerprint tells of the embedding it is of: all but the prefixes, which are taken to be the default ones.
pub(super) fn from_fingerprint(fingerprint: &str) -> Option<EmbeddingSettings> {
    let mut parts = fingerprint.rsplitn(4, ':').skip(1);
    let dimensions = parts.next()?.parse().ok()?;
    let pooling = parts.next()?;
    let pooling = [Pooling::Cls, Pooling::Mean].into_iter().find(|known| known.as_str() == pooling)?;
    Some(EmbeddingSettings {
        pooling,
        dimensions,
        model: parts.next()?.into(),
        ..EmbeddingSettings::default()
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_fingerprint_tells_of_its_embedding() {
        let embedding = EmbeddingSettings {
            model: "@cf/baai/bge-base-en-v1.5".into(),
            pooling: Pooling::Mean,
            dimensions: 768,
            ..EmbeddingSettings::default()
        };
        assert_eq!(from_fingerprint(embedding.fingerprint().as_str()), Some(embedding));
        assert_eq!(from_fingerprint("other"), None);
    }
}
