//! All that the store holds, to be looked at and compared.

use super::{Ledger, Life, MemoryDocuments};
use crate::Tenant;
use crate::document::{ChunkRow, Counts, DocumentId, Failure, Generation, Upload, Waiting};
use crate::ports::{Span, TenantState, Ticket};
use std::collections::BTreeMap;

/// Everything in a [`MemoryDocuments`] but times and row numbers.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Dump {
    /// Documents, tombstones included.
    pub documents: BTreeMap<(Tenant, DocumentId), DocumentDump>,
    /// Generations, dead ones included.
    pub generations: BTreeMap<(Tenant, DocumentId, Generation), GenerationDump>,
    /// Chunks of all generations, by document, generation and position.
    pub chunks: Vec<ChunkDump>,
    /// The ledger, by vector.
    pub vectors: BTreeMap<String, VectorDump>,
    /// What tenants' vectors are made with.
    pub tenants: BTreeMap<Tenant, TenantState>,
}

/// A document's row.
#[derive(Clone, Debug, PartialEq)]
pub struct DocumentDump {
    /// Generation in which this life of the id began.
    pub incarnation: Generation,
    /// The counter.
    pub newest: Generation,
    /// The generation served.
    pub served: Option<Generation>,
    /// Whether it is a tombstone.
    pub deleted: bool,
}

/// A generation's row.
#[derive(Clone, Debug, PartialEq)]
pub struct GenerationDump {
    /// A [`Status`](crate::document::Status), `stale` or `dead`.
    pub status: &'static str,
    /// The upload.
    pub upload: Upload,
    /// Whether it is or was served.
    pub was_served: bool,
    /// Why it failed.
    pub failure: Option<Failure>,
    /// Why it is left alone.
    pub waiting: Option<Waiting>,
    /// How often it was postponed since it last got on.
    pub postponed: u32,
    /// Whether all parts are planned.
    pub complete: bool,
    /// Where planning goes on.
    pub resume: Option<String>,
    /// What it cost.
    pub counts: Counts,
    /// Its parts.
    pub parts: BTreeMap<u32, PartDump>,
}

/// A part's row.
#[derive(Clone, Debug, PartialEq)]
pub struct PartDump {
    /// Its chunks.
    pub spans: Vec<Span>,
    /// Whether its texts were handed in.
    pub ticket: Option<Ticket>,
    /// Whether it is finished.
    pub done: bool,
}

/// A chunk's row.
#[derive(Clone, Debug, PartialEq)]
pub struct ChunkDump {
    /// Whose.
    pub tenant: Tenant,
    /// The document.
    pub document: DocumentId,
    /// The generation.
    pub generation: Generation,
    /// The part.
    pub part: u32,
    /// The chunk.
    pub chunk: ChunkRow,
}

/// A ledger row.
#[derive(Clone, Debug, PartialEq)]
pub struct VectorDump {
    /// Whose.
    pub tenant: Tenant,
    /// The document.
    pub document: DocumentId,
    /// The generation that made it.
    pub born: Generation,
    /// Hash of the embedded text.
    pub hash: String,
    /// `intent` or `written`.
    pub state: &'static str,
}

impl MemoryDocuments {
    /// All there is.
    pub fn dump(&self) -> Dump {
        let state = self.state.borrow();
        let documents = state.documents.iter().map(|(key, row)| {
            let (incarnation, newest, served, deleted) =
                (row.incarnation, row.newest, row.served, row.deleted);
            (key.clone(), DocumentDump { incarnation, newest, served, deleted })
        });
        let generations = state.generations.iter().map(|(((tenant, document), number), found)| {
            let parts = found.parts.iter().map(|(number, part)| {
                let (spans, ticket) = (part.spans.clone(), part.ticket.clone());
                (*number, PartDump { spans, ticket, done: part.done.is_some() })
            });
            let dump = GenerationDump {
                status: match found.life {
                    Life::At(status) => status.as_str(),
                    Life::Stale => "stale",
                    Life::Dead => "dead",
                },
                upload: found.upload.clone(),
                was_served: found.was_served,
                failure: found.failure.clone(),
                waiting: found.waiting.clone(),
                postponed: found.postponed,
                complete: found.complete,
                resume: found.resume.clone(),
                counts: Counts {
                    embedded: found.done().map(|(embedded, _)| embedded).sum(),
                    reused: found.done().map(|(_, reused)| reused).sum(),
                    deleted: found.deleted,
                },
                parts: parts.collect(),
            };
            ((tenant.clone(), document.clone(), *number), dump)
        });
        let mut chunks: Vec<ChunkDump> = state
            .chunks
            .values()
            .map(|stored| ChunkDump {
                tenant: stored.key.0.clone(),
                document: stored.key.1.clone(),
                generation: stored.generation,
                part: stored.part,
                chunk: stored.chunk.clone(),
            })
            .collect();
        chunks.sort_by(|left, right| {
            let place = |chunk: &ChunkDump| {
                let (tenant, document) = (chunk.tenant.clone(), chunk.document.clone());
                (tenant, document, chunk.generation, chunk.chunk.ordinal)
            };
            place(left).cmp(&place(right))
        });
        let vectors = state.vectors.iter().map(|(vector, row)| {
            let dump = VectorDump {
                tenant: row.key.0.clone(),
                document: row.key.1.clone(),
                born: row.born,
                hash: row.hash.clone(),
                state: match row.state {
                    Ledger::Intent => "intent",
                    Ledger::Written => "written",
                },
            };
            (vector.clone(), dump)
        });
        Dump {
            documents: documents.collect(),
            generations: generations.collect(),
            chunks,
            vectors: vectors.collect(),
            tenants: state.tenants.clone(),
        }
    }
}
