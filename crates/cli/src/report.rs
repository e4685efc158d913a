//! What was measured, as JSON and as Markdown.

mod markdown;

use serde::Serialize;

use crate::config::Config;
use crate::engine::Indexed;
use crate::sets::{Kind, Set, Wanted};
use crate::stats::{Interval, Paired};

pub(crate) use markdown::markdown;

/// Everything measured on a set.
#[derive(Debug, Serialize)]
pub(crate) struct SetReport {
    /// The set's name.
    pub set: String,
    /// What answered.
    pub engine: String,
    #[serde(skip)]
    kind: Kind,
    /// The index of the last configuration.
    pub indexed: Indexed,
    /// Questions with something to be found.
    pub answerable: usize,
    /// Questions without.
    pub unanswerable: usize,
    /// What to know about the data.
    pub notes: Vec<String>,
    /// In the order given.
    pub configs: Vec<Measured>,
    /// Paired tests.
    pub comparisons: Vec<Comparison>,
}

/// A configuration's numbers.
#[derive(Debug, Serialize)]
pub(crate) struct Measured {
    /// Its name.
    pub name: String,
    /// All of its settings.
    pub config: Config,
    /// Hits asked for.
    pub top_k: usize,
    /// Means over the answerable questions.
    pub metrics: Vec<(String, Interval)>,
    /// How well scores tell answerable from unanswerable questions; empty without the latter.
    pub answerability: Vec<Answerability>,
    /// Milliseconds of each stage.
    pub stages: Vec<(String, Spread)>,
    /// What it costs on Workers AI.
    pub cost: Cost,
    /// Stages that were done without, with the number of questions.
    pub degraded: Vec<(String, usize)>,
    /// Each question.
    pub questions: Vec<Asked>,
}

/// A question's result.
#[derive(Clone, Debug, Serialize)]
pub(crate) struct Asked {
    /// Its id.
    pub id: String,
    /// Its values, in the order of the metrics; nothing where nothing can be found.
    pub values: Option<Vec<f64>>,
    /// Document, first byte and score of the first hits.
    pub hits: Vec<(String, u64, f32)>,
    /// The first hit's `score`, and the best of all hits of each stage's.
    pub scores: std::collections::BTreeMap<String, f64>,
}

/// How well a score tells answerable from unanswerable questions.
#[derive(Clone, Debug, Serialize)]
pub(crate) struct Answerability {
    /// Which score: the first hit's, or a stage's best.
    pub by: String,
    /// Area under the ROC curve.
    pub auc: f64,
    /// The threshold asked for, the share of answerable questions below it and of unanswerable ones not below it.
    pub at_threshold: Option<(f64, f64, f64)>,
    /// The same at the threshold with the smallest sum of the two.
    pub best: (f64, f64, f64),
}

/// Milliseconds over all questions.
#[derive(Clone, Copy, Debug, Serialize)]
pub(crate) struct Spread {
    /// Half are faster.
    pub median: f64,
    /// 95 % are faster.
    pub p95: f64,
}

/// Tokens and neurons, means per question.
#[derive(Clone, Copy, Debug, Serialize)]
pub(crate) struct Cost {
    /// Tokens embedded.
    pub embedding_tokens: f64,
    /// Tokens the cross-encoder read.
    pub rerank_tokens: f64,
    /// Neurons; nothing when a model's price is not known.
    pub neurons: Option<f64>,
    /// Neurons for embedding the whole corpus once, prefixes not counted.
    pub corpus_neurons: Option<f64>,
}

/// Two configurations on the same questions.
#[derive(Debug, Serialize)]
pub(crate) struct Comparison {
    /// The first's name.
    pub first: String,
    /// The second's.
    pub second: String,
    /// Per metric.
    pub tests: Vec<(String, Paired)>,
}

impl SetReport {
    /// Nothing measured yet.
    pub(crate) fn new(set: &Set, engine: String) -> Self {
        let unanswerable = set.questions.iter().filter(|question| question.wanted == Wanted::Nothing).count();
        Self {
            set: set.name.clone(),
            engine,
            kind: set.kind,
            indexed: Indexed::default(),
            answerable: set.questions.len() - unanswerable,
            unanswerable,
            notes: set.notes.clone(),
            configs: Vec::new(),
            comparisons: Vec::new(),
        }
    }
}
