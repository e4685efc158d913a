//! What nothing serves or will serve, in SQL.

use super::Statement;
use super::generations::OPEN_STATUS;
use super::statement::about;
use super::vectors;
use ragflare_core::Tenant;
use ragflare_core::document::{DocumentId, Generation, Millis};

/// What these wrote is garbage. What failed and stale ones were made from is not: only dead ones go.
const LOST: &str = "('dead', 'failed', 'stale')";

/// Whether generation `g` has chunks.
const CHUNKS: &str = "EXISTS (SELECT 1 FROM chunks c WHERE c.tenant = g.tenant AND c.document = g.document \
    AND c.generation = g.generation)";

/// The third statement gives vectors, the fourth [`super::rows::LostRow`]s.
pub(super) fn collect(tenant: &Tenant, id: &DocumentId, limit: usize, settled: Millis) -> Vec<Statement> {
    vec![
        about(
            format!(
                "DELETE FROM chunks WHERE row IN (SELECT c.row FROM generations g CROSS JOIN chunks c \
                 ON c.tenant = g.tenant AND c.document = g.document AND c.generation = g.generation \
                 WHERE g.tenant = ?1 AND g.document = ?2 AND g.status IN {LOST} LIMIT ?3)"
            ),
            tenant,
            id,
        )
        .number(limit as u64),
        vectors::settle(tenant, id, settled),
        vectors::garbage(tenant, id, limit, settled),
        about(
            format!(
                "SELECT g.generation, {CHUNKS} AS chunks, g.status = 'dead' AS dead, \
                 iif(EXISTS (SELECT 1 FROM generations o WHERE o.object_key = g.object_key AND o.status <> 'dead'), \
                 NULL, g.object_key) AS object_key FROM generations g \
                 WHERE g.tenant = ?1 AND g.document = ?2 AND g.status IN {LOST} ORDER BY g.generation LIMIT ?3"
            ),
            tenant,
            id,
        )
        .number(limit as u64),
        // Parts lead the sweeper to what a generation wrote whose row stays: they go when the rest is gone, or named.
        about(
            format!(
                "DELETE FROM parts WHERE tenant = ?1 AND document = ?2 AND generation IN (SELECT g.generation \
                 FROM generations g WHERE g.tenant = ?1 AND g.document = ?2 AND g.status IN ('failed', 'stale') \
                 AND NOT {CHUNKS} AND NOT EXISTS (SELECT 1 FROM vectors v WHERE v.tenant = ?1 AND v.document = ?2 \
                 AND v.born = g.generation AND +v.state = 'written'))"
            ),
            tenant,
            id,
        ),
    ]
}

pub(super) fn forget_generations(
    tenant: &Tenant,
    id: &DocumentId,
    generations: &[Generation],
) -> Vec<Statement> {
    let dead = "tenant = ?1 AND document = ?2 AND +status = 'dead' \
        AND generation IN (SELECT value FROM json_each(?3))";
    vec![
        about(
            format!(
                "DELETE FROM parts WHERE tenant = ?1 AND document = ?2 \
                 AND generation IN (SELECT generation FROM generations WHERE {dead})"
            ),
            tenant,
            id,
        )
        .list(generations),
        about(format!("DELETE FROM generations WHERE {dead}"), tenant, id).list(generations),
    ]
}

/// Gives documents. Dead generations lead to what is left of them, parts to what failed and stale ones wrote, and the
/// ledger to vectors of generations that are forgotten.
pub(super) fn unclean(settled: Millis, limit: usize) -> Statement {
    Statement::new(format!(
        "SELECT DISTINCT tenant, document FROM (SELECT g.tenant, g.document FROM generations g \
           WHERE g.status = 'dead' \
         UNION ALL SELECT g.tenant, g.document FROM generations g WHERE g.status IN ('failed', 'stale') \
           AND EXISTS (SELECT 1 FROM parts p WHERE p.tenant = g.tenant AND p.document = g.document \
           AND p.generation = g.generation) \
         UNION ALL SELECT tenant, document FROM vectors WHERE state IN ('deleting', 'discarding') \
         UNION ALL SELECT v.tenant, v.document FROM vectors v WHERE v.state = 'intent' AND v.changed_at < ?1 \
           AND NOT EXISTS (SELECT 1 FROM generations g WHERE g.tenant = v.tenant AND g.document = v.document \
           AND g.generation = v.born AND g.status IN {OPEN_STATUS})) LIMIT ?2"
    ))
    .number(settled)
    .number(limit as u64)
}

pub(super) fn unreferenced(objects: &[String]) -> Statement {
    Statement::new(
        "SELECT value FROM json_each(?1) WHERE NOT EXISTS \
         (SELECT 1 FROM generations WHERE object_key = json_each.value) AND EXISTS (SELECT 1 FROM documents)",
    )
    .list(objects)
}
