//! In-memory implementations of the ports, and the contract that every implementation must keep.

mod chaos;
pub mod contract;
mod documents;
mod models;
mod objects;
mod sources;
mod vectors;

pub use chaos::{Call, Chaos, Effect, Fate, Hand, Service};
pub use documents::{ChunkDump, DocumentDump, Dump, GenerationDump, MemoryDocuments, PartDump, VectorDump};
pub use models::{HashEmbedder, Mood, OverlapReranker, ScriptedGenerator};
pub use objects::{ManualClock, MemoryJobs, MemoryObjects};
pub use sources::{BucketObject, MemorySources, StoredObject};
pub use vectors::{MemoryVectors, StoredVector};

use crate::ports::Ports;

/// All ports in memory, on one thread.
#[derive(Debug, Default)]
pub struct MemoryPorts {
    /// Words hashed into vectors.
    pub embedder: HashEmbedder,
    /// Vectors with delayed visibility.
    pub vectors: MemoryVectors,
    /// Documents, ledger and keyword index.
    pub documents: MemoryDocuments,
    /// Word overlap.
    pub reranker: OverlapReranker,
    /// Replies from a script.
    pub generator: ScriptedGenerator,
    /// Originals.
    pub objects: MemoryObjects,
    /// Jobs not delivered yet.
    pub jobs: MemoryJobs,
    /// A clock that stands still until told otherwise.
    pub clock: ManualClock,
}

impl Ports for MemoryPorts {
    type Embedder = HashEmbedder;
    type Vectors = MemoryVectors;
    type Keywords = MemoryDocuments;
    type Reranker = OverlapReranker;
    type Generator = ScriptedGenerator;
    type Documents = MemoryDocuments;
    type Objects = MemoryObjects;
    type Converter = MemoryObjects;
    type Jobs = MemoryJobs;
    type Clock = ManualClock;

    fn embedder(&self) -> &HashEmbedder {
        &self.embedder
    }
    fn vectors(&self) -> &MemoryVectors {
        &self.vectors
    }
    fn keywords(&self) -> &MemoryDocuments {
        &self.documents
    }
    fn reranker(&self) -> &OverlapReranker {
        &self.reranker
    }
    fn generator(&self) -> &ScriptedGenerator {
        &self.generator
    }
    fn documents(&self) -> &MemoryDocuments {
        &self.documents
    }
    fn objects(&self) -> &MemoryObjects {
        &self.objects
    }
    fn converter(&self) -> &MemoryObjects {
        &self.objects
    }
    fn jobs(&self) -> &MemoryJobs {
        &self.jobs
    }
    fn clock(&self) -> &ManualClock {
        &self.clock
    }
}
