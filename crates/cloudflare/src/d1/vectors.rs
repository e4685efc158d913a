//! The ledger of vectors in SQL. Vectorize cannot list, so a row comes before the upsert, and goes after the delete was
//! acknowledged.
//!
//! States: `intent`, its upsert may be under way; `written`, with or without further writers at work; and, once named to
//! be deleted, `deleting` if it was written and `discarding` if it was an intent. A vector that is being deleted is not
//! reused; if a late writer makes it an intent again, its row outlives the deletion.

use super::Statement;
use super::generations::{OPEN_STATUS, OWN};
use super::statement::{about, of};
use ragflare_core::Tenant;
use ragflare_core::document::{DocumentId, Generation, Millis};

pub(super) fn reusable(
    tenant: &Tenant,
    id: &DocumentId,
    generation: Generation,
    hashes: &[String],
) -> Statement {
    // The bare columns come from the row that max() is from: one made for this generation, or else one that has its
    // metadata. `+`: a vector's chunks are few, a generation's many.
    let alike = "(s.fields = n.fields OR substr(s.fields, 1, length(n.fields) + 1) = n.fields || '~')";
    of(
        format!(
            "SELECT v.hash, v.id AS vector, v.born = ?3 AS own, v.born = ?3 OR {alike} AS as_is, \
             max(2 * (v.born = ?3) + ifnull({alike}, 0)) AS rank FROM json_each(?4) h \
             CROSS JOIN vectors v ON v.tenant = ?1 AND v.document = ?2 AND v.hash = h.value \
             JOIN generations n ON n.tenant = ?1 AND n.document = ?2 AND n.generation = ?3 \
             LEFT JOIN documents d ON d.tenant = ?1 AND d.id = ?2 \
             LEFT JOIN generations s ON s.tenant = ?1 AND s.document = ?2 AND s.generation = d.served \
             WHERE v.state = 'written' AND (v.born = ?3 OR (s.fingerprint = n.fingerprint AND EXISTS \
             (SELECT 1 FROM chunks c WHERE c.vector = v.id AND +c.generation = d.served))) GROUP BY v.hash"
        ),
        tenant,
        id,
        generation,
    )
    .list(hashes)
}

pub(super) fn intend(
    tenant: &Tenant,
    id: &DocumentId,
    generation: Generation,
    vectors: &[(String, String)],
    now: Millis,
) -> Statement {
    // One that is being deleted is an intent again: its row must outlive the deletion.
    of(
        "INSERT INTO vectors (id, tenant, document, born, hash, state, writers, changed_at) \
         SELECT value->>0, ?1, ?2, ?3, value->>1, 'intent', 1, ?5 FROM json_each(?4) WHERE 1 \
         ON CONFLICT (id) DO UPDATE SET state = iif(state = 'written', state, 'intent'), writers = writers + 1, \
         hash = excluded.hash, changed_at = excluded.changed_at",
        tenant,
        id,
        generation,
    )
    .list(vectors)
    .number(now)
}

pub(super) fn written(
    tenant: &Tenant,
    id: &DocumentId,
    generation: Generation,
    vectors: &[(String, String)],
    now: Millis,
) -> Statement {
    // Too late, the generation is lost and its rows may be gone: entered again, as an intent, so that the sweeper finds the
    // vector that has just come into being.
    of(
        format!(
            "INSERT INTO vectors (id, tenant, document, born, hash, state, changed_at) \
             SELECT value->>0, ?1, ?2, ?3, value->>1, iif(EXISTS (SELECT 1 FROM generations WHERE {OWN} \
             AND status NOT IN ('dead', 'failed', 'stale')), 'written', 'intent'), ?5 FROM json_each(?4) WHERE 1 \
             ON CONFLICT (id) DO UPDATE SET state = iif(state = 'written', state, excluded.state), \
             writers = max(writers - 1, 0), hash = excluded.hash, changed_at = excluded.changed_at"
        ),
        tenant,
        id,
        generation,
    )
    .list(vectors)
    .number(now)
}

pub(super) fn last(tenant: &Tenant, id: &DocumentId, generation: Generation, limit: usize) -> Statement {
    // Of those written at once, the last by position.
    of(
        "SELECT v.id AS value FROM documents d CROSS JOIN vectors v ON v.tenant = d.tenant AND v.document = d.id \
         WHERE d.tenant = ?1 AND d.id = ?2 AND d.served = ?3 AND +v.state = 'written' \
         ORDER BY v.changed_at DESC, (SELECT max(c.ordinal) FROM chunks c WHERE c.vector = v.id) DESC LIMIT ?4",
        tenant,
        id,
        generation,
    )
    .number(limit as u64)
}

/// Intents that a chunk refers to were written: chunks come after. Their later writers are gone by now.
pub(super) fn settle(tenant: &Tenant, id: &DocumentId, settled: Millis) -> Statement {
    // `+`: settled intents are few, a document's vectors may be many.
    about(
        "UPDATE vectors SET state = 'written' WHERE +tenant = ?1 AND +document = ?2 AND state = 'intent' \
         AND changed_at < ?3 AND EXISTS (SELECT 1 FROM chunks c WHERE c.vector = vectors.id)",
        tenant,
        id,
    )
    .number(settled)
}

/// Gives the ids of vectors that nothing refers to or will refer to, and NULL for each that a writer may be at work on
/// still: an intent from now on, whatever it was, by which it is found later.
pub(super) fn garbage(tenant: &Tenant, id: &DocumentId, limit: usize, settled: Millis) -> Statement {
    about(
        format!(
            "UPDATE vectors SET state = CASE WHEN state = 'written' AND writers > 0 AND changed_at >= ?4 THEN 'intent' \
             WHEN state = 'written' THEN 'deleting' WHEN state = 'intent' THEN 'discarding' ELSE state END \
             WHERE id IN (SELECT v.id FROM vectors v WHERE v.tenant = ?1 AND v.document = ?2 \
             AND (v.state <> 'intent' OR v.changed_at < ?4) \
             AND NOT EXISTS (SELECT 1 FROM chunks c WHERE c.vector = v.id) \
             AND NOT EXISTS (SELECT 1 FROM generations g WHERE g.tenant = ?1 AND g.document = ?2 \
             AND g.generation = v.born AND g.status IN {OPEN_STATUS}) LIMIT ?3) \
             RETURNING iif(state = 'intent', NULL, id) AS value"
        ),
        tenant,
        id,
    )
    .number(limit as u64)
    .number(settled)
}

/// Of a generation without a row, `deleting` ones were carried forward since, so it was served.
pub(super) fn forget(tenant: &Tenant, id: &DocumentId, vectors: &[String]) -> Vec<Statement> {
    vec![
        about(
            "UPDATE generations SET deleted = deleted + (SELECT count(*) FROM json_each(?3) j \
             CROSS JOIN vectors v ON v.id = j.value WHERE v.tenant = ?1 AND v.document = ?2 AND v.state = 'deleting' \
             AND v.born <> generations.generation \
             AND NOT EXISTS (SELECT 1 FROM generations b WHERE b.tenant = ?1 AND b.document = ?2 \
             AND b.generation = v.born AND b.served_at IS NULL) \
             AND NOT EXISTS (SELECT 1 FROM vectors o CROSS JOIN chunks c ON c.vector = o.id \
             AND +c.generation = generations.generation \
             WHERE o.tenant = ?1 AND o.document = ?2 AND o.hash = v.hash)) WHERE tenant = ?1 AND document = ?2 \
             AND generation = (SELECT served FROM documents WHERE tenant = ?1 AND id = ?2)",
            tenant,
            id,
        )
        .list(vectors),
        about(
            // `+`: by id.
            "DELETE FROM vectors WHERE +tenant = ?1 AND +document = ?2 AND +state IN ('deleting', 'discarding') \
             AND id IN (SELECT value FROM json_each(?3))",
            tenant,
            id,
        )
        .list(vectors),
    ]
}
