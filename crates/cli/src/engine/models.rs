//! The twin's models behind the core's ports, with a cache. A text runs through a model alone, never in a batch: int8
//! quantisation would make its output depend on its neighbours, and no run could be repeated.

use std::cell::{Cell, OnceCell, RefCell};
use std::collections::HashMap;
use std::fs;
use std::path::{Path, PathBuf};
use std::rc::Rc;
use std::time::Instant;

use anyhow::{Context, Result, ensure};
use ragflare_core::ports::{self, Collected, Embeddings};
use ragflare_core::settings::{EmbeddingSettings, Pooling};
use ragflare_core::{Error, Retry, Tenant};
use ragflare_local::ai::{EMBEDDER_FOLDER, RERANKER_FOLDER, catalog};
use ragflare_local::{Embedder, Reranker, onnx};

use super::cache::{Cache, Output, key};

/// Where models and cache are.
#[derive(Clone, Debug)]
pub(crate) struct Places {
    /// A folder per model.
    pub models: PathBuf,
    /// The ONNX Runtime library.
    pub onnxruntime: PathBuf,
    /// The file of the cache, if outputs are to be kept.
    pub cache: Option<PathBuf>,
}

/// Both models, loaded when first asked something that the cache does not know.
#[derive(Debug)]
pub(crate) struct Models {
    places: Places,
    cache: Cache,
    embedder: OnceCell<Embedder>,
    reranker: OnceCell<Reranker>,
    /// Size of a model's file stands for its version.
    versions: [String; 2],
    spent: Cell<Spent>,
    /// Texts that were not in the cache.
    computed: Cell<u64>,
    /// Texts handed in, embedded at once.
    tickets: RefCell<HashMap<String, Embeddings>>,
}

/// Milliseconds spent on what was asked.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct Spent {
    /// What the embedder took, for what was cached when it was made.
    pub embed: f64,
    /// The same of the reranker.
    pub rerank: f64,
    /// What was waited for embeddings now.
    pub waited_embed: f64,
    /// What was waited for scores now.
    pub waited_rerank: f64,
}

impl Spent {
    /// All that was waited now.
    pub(super) fn waited(self) -> f64 {
        self.waited_embed + self.waited_rerank
    }
}

/// Which of the two.
const EMBED: usize = 0;
const RERANK: usize = 1;

impl Models {
    /// Finds the models.
    pub(crate) fn open(places: Places) -> Result<Rc<Self>> {
        let version = |folder: &str| {
            let path = places.models.join(folder).join("model.onnx");
            let size = fs::metadata(&path).with_context(|| {
                format!("the model {} is not there\n  what to do: cargo xtask setup", path.display())
            })?;
            Ok::<_, anyhow::Error>(format!("{folder}:{}", size.len()))
        };
        let versions = [version(EMBEDDER_FOLDER)?, version(RERANKER_FOLDER)?];
        ensure!(
            places.onnxruntime.is_file(),
            "the ONNX Runtime library {} is not there\n  what to do: cargo xtask setup",
            places.onnxruntime.display()
        );
        let cache = Cache::open(places.cache.clone())?;
        let (embedder, reranker) = (OnceCell::new(), OnceCell::new());
        let (spent, computed, tickets) = (Cell::default(), Cell::new(0), RefCell::default());
        Ok(Rc::new(Self { places, cache, embedder, reranker, versions, spent, computed, tickets }))
    }

    /// What was spent since the last call.
    pub(super) fn take_spent(&self) -> Spent {
        self.spent.take()
    }

    /// Texts and pairs that were not in the cache so far.
    pub(crate) fn computed(&self) -> u64 {
        self.computed.get()
    }

    /// Writes what the cache kept back.
    pub(crate) fn flush(&self) -> Result<()> {
        self.cache.flush()
    }

    fn vectors(&self, pooling: Pooling, texts: &[String]) -> Result<Vec<Vec<f32>>> {
        let keys: Vec<_> =
            texts.iter().map(|text| key(&[&self.versions[EMBED], pooling.as_str(), text])).collect();
        let outputs = self.outputs(EMBED, &keys, |missing| {
            let embedder = loaded(&self.embedder, &self.places, EMBEDDER_FOLDER, Embedder::load)?;
            let texts: Vec<&str> = missing.iter().map(|index| texts[*index].as_str()).collect();
            let pooling = match pooling {
                Pooling::Cls => ragflare_local::Pooling::Cls,
                Pooling::Mean => ragflare_local::Pooling::Mean,
            };
            Ok(embedder.embed(&texts, pooling)?)
        })?;
        Ok(outputs)
    }

    fn scores(&self, query: &str, passages: &[&str]) -> Result<Vec<f32>> {
        let keys: Vec<_> =
            passages.iter().map(|passage| key(&[&self.versions[RERANK], query, passage])).collect();
        let outputs = self.outputs(RERANK, &keys, |missing| {
            let reranker = loaded(&self.reranker, &self.places, RERANKER_FOLDER, Reranker::load)?;
            let passages: Vec<&str> = missing.iter().map(|index| passages[*index]).collect();
            Ok(reranker.score(query, &passages)?.into_iter().map(|score| vec![score]).collect())
        })?;
        outputs
            .into_iter()
            .map(|values| values.first().copied().context("an empty score is cached"))
            .collect()
    }

    /// From the cache, else from the model; `run` gets the indexes of what is missing.
    fn outputs(
        &self,
        model: usize,
        keys: &[super::cache::Key],
        run: impl FnOnce(&[usize]) -> Result<Vec<Vec<f32>>>,
    ) -> Result<Vec<Vec<f32>>> {
        let asked = Instant::now();
        let mut outputs = self.cache.get(keys)?;
        let missing: Vec<usize> = (0..keys.len()).filter(|index| outputs[*index].is_none()).collect();
        if !missing.is_empty() {
            let started = Instant::now();
            let made = run(&missing)?;
            ensure!(
                made.len() == missing.len(),
                "the model gave {} outputs for {}",
                made.len(),
                missing.len()
            );
            let micros = (started.elapsed().as_micros() / missing.len() as u128) as u32;
            self.computed.set(self.computed.get() + missing.len() as u64);
            for (index, values) in missing.into_iter().zip(made) {
                let output = Output { micros, values };
                self.cache.put(keys[index], output.clone())?;
                outputs[index] = Some(output);
            }
        }
        let outputs: Vec<Output> = outputs.into_iter().flatten().collect();
        let micros: u64 = outputs.iter().map(|output| u64::from(output.micros)).sum();
        let (took, waited) = (micros as f64 / 1000.0, asked.elapsed().as_secs_f64() * 1000.0);
        let mut spent = self.spent.get();
        let (total, now) = match model {
            EMBED => (&mut spent.embed, &mut spent.waited_embed),
            _ => (&mut spent.rerank, &mut spent.waited_rerank),
        };
        *total += took;
        *now += waited;
        self.spent.set(spent);
        Ok(outputs.into_iter().map(|output| output.values).collect())
    }
}

/// Loads a model on first use.
fn loaded<'c, M>(
    cell: &'c OnceCell<M>,
    places: &Places,
    folder: &str,
    load: impl FnOnce(&Path, usize) -> ragflare_local::Result<M>,
) -> Result<&'c M> {
    if let Some(model) = cell.get() {
        return Ok(model);
    }
    onnx::init_runtime(&places.onnxruntime)?;
    let threads = std::thread::available_parallelism().map_or(1, usize::from);
    let model = load(&places.models.join(folder), threads)?;
    Ok(cell.get_or_init(|| model))
}

fn failed(service: &'static str, error: &anyhow::Error) -> Error {
    Error::Service { service, retry: Retry::Never, code: None, message: format!("{error:#}") }
}

impl Models {
    fn embed(
        &self,
        settings: &EmbeddingSettings,
        prefix: &str,
        texts: &[&str],
    ) -> ragflare_core::Result<Embeddings> {
        if settings.model != catalog::EMBEDDER {
            let message = format!("this machine has {} only, not `{}`", catalog::EMBEDDER, settings.model);
            return Err(Error::Service { service: "embedder", retry: Retry::Never, code: None, message });
        }
        let texts: Vec<String> = texts.iter().map(|text| format!("{prefix}{text}")).collect();
        let rows = self.vectors(settings.pooling, &texts).map_err(|error| failed("embedder", &error))?;
        let dimensions = rows.first().map_or(settings.dimensions, Vec::len);
        Ok(Embeddings { dimensions, values: rows.concat() })
    }
}

impl ports::Embedder for Models {
    async fn embed_documents(
        &self,
        _: &Tenant,
        settings: &EmbeddingSettings,
        texts: &[&str],
    ) -> ragflare_core::Result<Embeddings> {
        self.embed(settings, &settings.document_prefix, texts)
    }

    async fn embed_query(
        &self,
        _: &Tenant,
        settings: &EmbeddingSettings,
        query: &str,
    ) -> ragflare_core::Result<Vec<f32>> {
        Ok(self.embed(settings, &settings.query_prefix, &[query])?.values)
    }

    async fn submit(
        &self,
        tenant: &Tenant,
        settings: &EmbeddingSettings,
        texts: &[&str],
    ) -> ragflare_core::Result<String> {
        let rows = self.embed_documents(tenant, settings, texts).await?;
        let mut tickets = self.tickets.borrow_mut();
        let ticket = format!("ticket-{}", tickets.len());
        tickets.insert(ticket.clone(), rows);
        Ok(ticket)
    }

    async fn collect(
        &self,
        _: &Tenant,
        _: &EmbeddingSettings,
        ticket: &str,
    ) -> ragflare_core::Result<Collected> {
        Ok(self.tickets.borrow().get(ticket).map_or(Collected::Lost, |rows| Collected::Done(rows.clone())))
    }
}

impl ports::Reranker for Models {
    async fn rerank(&self, _: &Tenant, query: &str, passages: &[&str]) -> ragflare_core::Result<Vec<f32>> {
        self.scores(query, passages).map_err(|error| failed("reranker", &error))
    }
}
