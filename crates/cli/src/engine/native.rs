//! The core's pipelines in this process.

use std::rc::Rc;
use std::time::Instant;

use anyhow::{Context, Result, bail};
use futures::executor::block_on;
use ragflare_core::Tenant;
use ragflare_core::document::Document as Stored;
use ragflare_core::identity::content_hash;
use ragflare_core::ingest::{Ingest, NewUpload, Outcome, Precondition, Registered, pending_generation};
use ragflare_core::ports::{DocumentStore, ObjectStore, Ports};
use ragflare_core::search::{SearchRequest, Searcher};

use super::models::Models;
use super::ports::NativePorts;
use super::{Engine, Indexed, Reply, STAGES, stages};
use crate::config::Config;
use crate::progress::Progress;
use crate::sets::{Document, Set};
use crate::spans::{CharIndex, Span};

/// Documents processed together, so that their chunks share calls of the model and both cores have work.
const GROUP: usize = 64;

/// The pipelines over the ports in memory, with one index at a time.
pub(crate) struct Native {
    models: Rc<Models>,
    tenant: Tenant,
    index: Option<Index>,
}

struct Index {
    /// Set and settings that it was made with.
    made_of: String,
    ports: NativePorts,
    size: Indexed,
}

impl Native {
    /// Without an index.
    pub(crate) fn new(models: Rc<Models>) -> Result<Self> {
        Ok(Self { models, tenant: Tenant::new("eval")?, index: None })
    }

    fn ports(&self) -> Result<&NativePorts> {
        Ok(&self.index.as_ref().context("nothing is indexed yet")?.ports)
    }

    fn build(&self, name: &str, documents: &[Document], config: &Config, made_of: String) -> Result<Index> {
        let ports = NativePorts::new(Rc::clone(&self.models), config.settings.embedding.dimensions);
        let ingest = Ingest::new(&ports, &config.settings);
        let progress = Progress::new(&format!("{name}: indexing"), documents.len());
        let mut size = Indexed::default();
        for (nth, group) in documents.chunks(GROUP).enumerate() {
            let stored = block_on(self.take_in(&ingest, &ports, group, nth * GROUP))?;
            for document in stored {
                size.documents += 1;
                size.chunks += document.chunk_count as usize;
                size.tokens += document.tokens;
            }
            progress.advance(group.len());
        }
        progress.finish();
        self.models.flush()?;
        block_on(ports.keywords().build(&self.tenant))?;
        Ok(Index { made_of, ports, size })
    }

    async fn take_in(
        &self,
        ingest: &Ingest<'_, NativePorts>,
        ports: &NativePorts,
        documents: &[Document],
        first: usize,
    ) -> Result<Vec<Stored>> {
        let mut jobs = Vec::new();
        for (number, document) in (first..).zip(documents) {
            let upload = NewUpload {
                object_key: format!("originals/{}/{number}", self.tenant),
                title: document.title.clone(),
                media_type: document.media_type.into(),
                bytes: document.text.len() as u64,
                content_hash: content_hash(document.text.as_bytes()),
                ..NewUpload::default()
            };
            let bytes = document.text.as_bytes();
            ports.objects().put(&self.tenant, &upload.object_key, bytes, &upload.media_type).await?;
            let registered =
                ingest.register(&self.tenant, &document.id, &upload, &Precondition::None).await?;
            let Registered::Queued(queued) = registered else { continue };
            let generation = pending_generation(&queued).context("a registered document is not pending")?;
            jobs.push((document.id.clone(), generation));
        }
        let outcomes = ingest.process(&self.tenant, &jobs, &|| true).await;
        let mut stored = Vec::new();
        for ((id, _), outcome) in jobs.iter().zip(outcomes) {
            let outcome = outcome.with_context(|| format!("cannot index the document `{id}`"))?;
            let found = ports.documents().get(&self.tenant, id).await?;
            let document = found.with_context(|| format!("the document `{id}` is lost"))?;
            if outcome != Outcome::Served {
                let why =
                    document.error.as_ref().map_or_else(String::new, |error| format!(": {}", error.message));
                bail!("the document `{id}` cannot be indexed{why}");
            }
            stored.push(document);
        }
        Ok(stored)
    }
}

impl Engine for Native {
    fn describe(&self) -> String {
        "the pipelines in this process, with the twin's models".into()
    }

    fn takes_settings(&self) -> bool {
        true
    }

    fn index(&mut self, set: &Set, config: &Config) -> Result<Indexed> {
        let settings = &config.settings;
        let made_of = format!(
            "{}\0{}\0{}",
            set.path,
            settings.ingest_hash(),
            settings.embedding.fingerprint().as_str()
        );
        if let Some(index) = self.index.as_ref().filter(|index| index.made_of == made_of) {
            return Ok(index.size);
        }
        // The old one's memory first.
        self.index = None;
        let index = self.build(&set.name, &set.documents, config, made_of)?;
        let size = index.size;
        self.index = Some(index);
        Ok(size)
    }

    fn search(&mut self, config: &Config, request: &SearchRequest) -> Result<Reply> {
        let ports = self.ports()?;
        self.models.take_spent();
        ports.keywords().take_millis();
        let started = Instant::now();
        let response = block_on(Searcher::new(ports, &config.settings).search(&self.tenant, request))?;
        let elapsed = started.elapsed().as_secs_f64() * 1000.0;
        let (spent, keywords) = (self.models.take_spent(), ports.keywords().take_millis());
        // What came from the cache is shown as if it had not.
        let mut stages = stages(&response);
        for (stage, value) in STAGES.iter().zip(&mut stages) {
            match *stage {
                "embed" => *value = spent.embed,
                "rerank" => *value = spent.rerank,
                // Both legs share this thread: the pipeline's own figure holds the wait for the embedder.
                "keywords" => *value = keywords,
                "retrieve" => *value = spent.embed + (*value - spent.waited_embed).max(0.0),
                "total" => *value = elapsed - spent.waited() + spent.embed + spent.rerank,
                _ => {}
            }
        }
        Ok(Reply { response, stages })
    }

    fn chunks(&mut self, set: &Set) -> Result<Vec<Span>> {
        let ports = self.ports()?;
        let mut spans = Vec::new();
        for (document, source) in set.documents.iter().enumerate() {
            let characters = CharIndex::new(&source.text);
            let chunks = block_on(ports.documents().chunks(&self.tenant, &source.id, None, usize::MAX))?;
            spans.extend(chunks.iter().map(|chunk| Span {
                document,
                start: characters.character(chunk.start),
                end: characters.character(chunk.end),
            }));
        }
        Ok(spans)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::args::Target;
    use crate::places;
    use crate::sets::{self, Format, Reading};
    use ragflare_core::keyword;
    use ragflare_core::ports::{Clock, KeywordIndex};
    use ragflare_core::settings::{Field, FieldType};
    use ragflare_core::testing::contract::Contract;
    use std::path::Path;

    fn models() -> Rc<Models> {
        let (models, onnxruntime) =
            (std::env::var_os("RAGFLARE_MODELS"), std::env::var_os("RAGFLARE_ONNXRUNTIME"));
        let target = Target {
            models: models.map(Into::into),
            onnxruntime: onnxruntime.map(Into::into),
            no_cache: true,
            ..Target::default()
        };
        Models::open(places::find(&target).unwrap()).unwrap()
    }

    #[test]
    fn these_ports_keep_the_contract() {
        let ports = NativePorts::new(models(), 384);
        let fields = vec![Field { name: "lang".into(), r#type: FieldType::String }];
        let cases = block_on(Contract::new(&ports, "run", fields).run(async || {}));
        let faults: Vec<_> = cases.iter().filter(|case| case.fault.is_some()).collect();
        assert!(faults.is_empty(), "{faults:#?}");
        assert!(cases.len() >= 35, "{}", cases.len());
    }

    #[test]
    fn the_fast_keyword_index_says_what_the_plain_one_says() {
        let fixture = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../fixtures/eval/chroma");
        let mut set = sets::read(&fixture, Format::Auto, Reading::default()).unwrap().remove(0);
        // Chunks of the same text share a vector.
        set.documents[0].text = "Wolves hunt at night, foxes too.\n\n".repeat(40);
        let mut config = Config::default();
        (config.settings.chunk.target, config.settings.chunk.prefix) = (32, 0);
        let mut native = Native::new(models()).unwrap();
        let size = native.index(&set, &config).unwrap();
        assert!(size.chunks > 10, "{size:?}");
        let (ports, tenant) = (native.ports().unwrap(), &native.tenant);
        for query in ["when does the auction begin", "foxes at night", "the green lights", "nowhere"] {
            let terms = keyword::query_terms(query);
            let plain = block_on(KeywordIndex::search(ports.documents(), tenant, &terms, None, 20)).unwrap();
            let fast = block_on(ports.keywords().search(tenant, &terms, None, 20)).unwrap();
            assert_eq!(fast, plain, "{query}");
        }
    }

    #[test]
    fn a_sleep_ends() {
        block_on(NativePorts::new(models(), 384).clock().sleep(5));
    }
}
