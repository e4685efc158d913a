//! All ports over the bindings of one worker.

use crate::ai::{Ai, ExternalChat};
use crate::budget::Budget;
use crate::convert::ServiceConverter;
use crate::d1::{D1Documents, D1Keywords, D1Sources, Database};
use crate::ledger::Ledger;
use crate::media::{Done, MediaConverter};
use crate::models::{AiEmbedder, AiGenerator, AiReranker};
use crate::queue::CloudflareQueue;
use crate::r2::R2Objects;
use crate::sources::R2Sources;
use crate::vectorize::Vectorize;
use crate::vectors::VectorizeVectors;
use ragflare_core::document::Millis;
use ragflare_core::ports::{Clock, Ports, SourcePorts};
use ragflare_core::settings::Settings;
use std::rc::Rc;
use std::time::Duration;
use worker::{Date, Delay, Env};

/// The secret with the key of [`settings.answer.external`](ragflare_core::settings::External).
const EXTERNAL_KEY: &str = "EXTERNAL_API_KEY";

/// Names of the bindings, as in `wrangler.jsonc`.
#[derive(Clone, Copy, Debug)]
pub struct Bindings<'a> {
    /// Workers AI.
    pub ai: &'a str,
    /// The Vectorize index.
    pub vectorize: &'a str,
    /// Further indexes, for vectors of other lengths; those that are not bound are left out.
    pub more_vectorize: &'a [&'a str],
    /// The D1 database with this crate's migrations.
    pub database: &'a str,
    /// The R2 bucket for originals.
    pub bucket: &'a str,
    /// The worker that reads PDF, Office and the like; without it only UTF-8 text, Markdown and code are read.
    pub converter: &'a str,
    /// The queue for jobs; a worker that processes documents at once needs none.
    pub queue: &'a str,
}

impl Default for Bindings<'_> {
    fn default() -> Self {
        Self {
            ai: "AI",
            vectorize: "VECTORIZE",
            more_vectorize: &["VECTORIZE_2"],
            database: "DB",
            bucket: "BUCKET",
            converter: "CONVERT",
            queue: "QUEUE",
        }
    }
}

/// The platform's clock.
#[derive(Clone, Copy, Debug)]
pub struct PlatformClock;

impl Clock for PlatformClock {
    fn now(&self) -> Millis {
        Date::now().as_millis()
    }

    async fn sleep(&self, milliseconds: u64) {
        Delay::from(Duration::from_millis(milliseconds)).await;
    }
}

/// Core's ports over Cloudflare's bindings, for one invocation.
#[derive(Clone, Debug)]
pub struct Platform {
    embedder: AiEmbedder,
    vectors: VectorizeVectors,
    keywords: D1Keywords,
    reranker: AiReranker,
    generator: AiGenerator,
    documents: D1Documents,
    objects: R2Objects,
    sources: R2Sources,
    source_objects: D1Sources,
    converter: MediaConverter,
    jobs: CloudflareQueue,
    clock: PlatformClock,
    ai: Ai,
    database: Database,
    ledger: Ledger,
}

impl Platform {
    /// # Errors
    /// When a binding is missing or of another kind.
    pub fn from_env(
        env: &Env,
        bindings: Bindings<'_>,
        settings: &Settings,
        ledger: &Ledger,
    ) -> worker::Result<Self> {
        let problem = |error: String| worker::Error::RustError(error);
        let ai =
            Ai::from_env(env, bindings.ai, ledger.clone()).map_err(|error| problem(error.to_string()))?;
        let further = bindings.more_vectorize.iter().copied().filter(|name| is_bound(env, name));
        let indexes = std::iter::once(bindings.vectorize)
            .chain(further)
            .map(|name| Vectorize::from_env(env, name, ledger.clone()))
            .collect::<Result<Vec<_>, _>>()
            .map_err(|error| problem(error.to_string()))?;
        let database = Database::from_env(env, bindings.database, ledger.clone())?;
        let mut generator = AiGenerator::new(ai.clone());
        if let Some(external) = &settings.answer.external {
            let key = env.secret(EXTERNAL_KEY).ok().map(|key| key.to_string());
            let chat = ExternalChat::new(&external.url, key, ledger.clone());
            generator = generator.with_external(&external.model, chat);
        }
        if let Some(gateway) = &settings.answer.gateway {
            generator = generator.with_gateway(gateway);
        }
        let objects = R2Objects::from_env(env, bindings.bucket, ledger.clone())?;
        let converter = MediaConverter {
            service: ServiceConverter::from_env(env, bindings.converter, ledger.clone()),
            ai: ai.clone(),
            objects: objects.clone(),
            readers: Rc::new(settings.ingest.readers()),
            budget: Budget::new(database.clone(), settings.limits.clone()),
            ledger: ledger.clone(),
            done: Done::default(),
        };
        Ok(Self {
            embedder: AiEmbedder::new(ai.clone()),
            vectors: VectorizeVectors::over(indexes),
            keywords: D1Keywords::new(database.clone()),
            reranker: AiReranker::new(ai.clone(), &settings.search.rerank_model),
            generator,
            documents: D1Documents::new(database.clone()),
            sources: R2Sources::new(env, objects.clone(), ledger.clone()),
            source_objects: D1Sources::new(database.clone()),
            objects,
            converter,
            jobs: CloudflareQueue::from_env(env, bindings.queue, ledger.clone()),
            clock: PlatformClock,
            ai,
            database,
            ledger: ledger.clone(),
        })
    }

    /// Workers AI.
    pub fn ai(&self) -> &Ai {
        &self.ai
    }

    /// The database.
    pub fn database(&self) -> &Database {
        &self.database
    }

    /// What this invocation has spent.
    pub fn ledger(&self) -> &Ledger {
        &self.ledger
    }
}

fn is_bound(env: &Env, name: &str) -> bool {
    js_sys::Reflect::get(env.as_ref(), &name.into()).is_ok_and(|found| !found.is_null_or_undefined())
}

impl Ports for Platform {
    type Embedder = AiEmbedder;
    type Vectors = VectorizeVectors;
    type Keywords = D1Keywords;
    type Reranker = AiReranker;
    type Generator = AiGenerator;
    type Documents = D1Documents;
    type Objects = R2Objects;
    type Converter = MediaConverter;
    type Jobs = CloudflareQueue;
    type Clock = PlatformClock;

    fn embedder(&self) -> &AiEmbedder {
        &self.embedder
    }
    fn vectors(&self) -> &VectorizeVectors {
        &self.vectors
    }
    fn keywords(&self) -> &D1Keywords {
        &self.keywords
    }
    fn reranker(&self) -> &AiReranker {
        &self.reranker
    }
    fn generator(&self) -> &AiGenerator {
        &self.generator
    }
    fn documents(&self) -> &D1Documents {
        &self.documents
    }
    fn objects(&self) -> &R2Objects {
        &self.objects
    }
    fn converter(&self) -> &MediaConverter {
        &self.converter
    }
    fn jobs(&self) -> &CloudflareQueue {
        &self.jobs
    }
    fn clock(&self) -> &PlatformClock {
        &self.clock
    }
}

impl SourcePorts for Platform {
    type Buckets = R2Sources;
    type Table = D1Sources;

    fn buckets(&self) -> &R2Sources {
        &self.sources
    }
    fn table(&self) -> &D1Sources {
        &self.source_objects
    }
}
