//! The ports of this process: the twin's models, everything else in memory.

use std::rc::Rc;
use std::thread;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use futures::channel::oneshot;
use ragflare_core::document::Millis;
use ragflare_core::ports::{Clock, Ports};
use ragflare_core::testing::{MemoryDocuments, MemoryJobs, MemoryObjects, MemoryVectors, ScriptedGenerator};

use super::keywords::Keywords;
use super::models::Models;

/// All ports of one index.
#[derive(Debug)]
pub(super) struct NativePorts {
    models: Rc<Models>,
    vectors: MemoryVectors,
    documents: Rc<MemoryDocuments>,
    keywords: Keywords,
    objects: MemoryObjects,
    jobs: MemoryJobs,
    /// Nothing is generated here: it has no script.
    generator: ScriptedGenerator,
    clock: SystemClock,
}

impl NativePorts {
    /// Empty, for vectors of this length.
    pub(super) fn new(models: Rc<Models>, dimensions: usize) -> Self {
        let vectors = MemoryVectors::default();
        vectors.dimensions.replace(vec![dimensions]);
        let documents = Rc::new(MemoryDocuments::default());
        Self {
            models,
            vectors,
            keywords: Keywords::new(Rc::clone(&documents)),
            documents,
            objects: MemoryObjects::default(),
            jobs: MemoryJobs::default(),
            generator: ScriptedGenerator::default(),
            clock: SystemClock,
        }
    }
}

/// The machine's time.
#[derive(Debug)]
pub(super) struct SystemClock;

impl Clock for SystemClock {
    fn now(&self) -> Millis {
        SystemTime::now().duration_since(UNIX_EPOCH).map_or(0, |since| since.as_millis() as Millis)
    }

    async fn sleep(&self, milliseconds: u64) {
        let (sender, slept) = oneshot::channel();
        thread::spawn(move || {
            thread::sleep(Duration::from_millis(milliseconds));
            // Nobody may be waiting any more.
            let _ = sender.send(());
        });
        let _ = slept.await;
    }
}

impl Ports for NativePorts {
    type Embedder = Models;
    type Vectors = MemoryVectors;
    type Keywords = Keywords;
    type Reranker = Models;
    type Generator = ScriptedGenerator;
    type Documents = MemoryDocuments;
    type Objects = MemoryObjects;
    type Converter = MemoryObjects;
    type Jobs = MemoryJobs;
    type Clock = SystemClock;

    fn embedder(&self) -> &Models {
        &self.models
    }
    fn vectors(&self) -> &MemoryVectors {
        &self.vectors
    }
    fn keywords(&self) -> &Keywords {
        &self.keywords
    }
    fn reranker(&self) -> &Models {
        &self.models
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
    fn clock(&self) -> &SystemClock {
        &self.clock
    }
}
