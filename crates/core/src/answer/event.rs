//! An answer, step by step.

use crate::chunk::Section;
use crate::citations::Citation;
use crate::conversion::{self, Place};
use crate::ports::{Finish, Gateway, ToolCall, Usage};
use crate::search::{Hit, SearchUsage};
use crate::{Error, prices};
use serde::{Deserialize, Serialize};

/// A source as the reader sees it.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Source {
    /// Its number in the answer's markers, from 1.
    pub number: usize,
    /// The chunks in it, as they follow each other in the document; the first is its `chunk_id`.
    #[serde(default)]
    pub chunk_ids: Vec<String>,
    /// The passage: a hit, or neighbouring hits in one.
    #[serde(flatten)]
    pub hit: Hit,
    /// Where the passage jumps in the document: from each of these bytes of its text on it runs as the document does from the
    /// byte beside it. Before the first, it runs as from the hit's start.
    #[serde(skip)]
    pub jumps: Vec<(usize, u64)>,
    /// The chunks in it, each with its own place, as they follow each other in the document.
    #[serde(skip)]
    pub parts: Vec<ChunkPlace>,
}

/// Where a chunk is.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ChunkPlace {
    /// The chunk.
    pub chunk_id: String,
    /// Its first byte in the document's extracted text.
    pub start: u64,
    /// Pages and rows in it, counted from its first byte.
    pub places: Vec<Place>,
    /// Heading path.
    pub headings: Vec<String>,
    /// What begins in it under other headings.
    pub sections: Vec<Section>,
}

impl ChunkPlace {
    /// Of a hit.
    pub fn of(hit: &Hit) -> Self {
        Self {
            chunk_id: hit.chunk_id.clone(),
            start: hit.start,
            places: hit.places.clone(),
            headings: hit.headings.clone(),
            sections: hit.sections.clone(),
        }
    }
}

impl ChunkPlace {
    /// The headings in force at a byte of the document's text.
    pub fn headings_at(&self, at: u64) -> &[String] {
        let inside = at.saturating_sub(self.start) as usize;
        let section = self.sections.iter().rfind(|section| section.at <= inside);
        section.map_or(&self.headings, |section| &section.headings)
    }

    /// Page and row of a byte of the document's text.
    pub fn place_at(&self, at: u64) -> Option<&Place> {
        conversion::at(&self.places, at.saturating_sub(self.start))
    }
}

impl Source {
    /// A hit as the only chunk of a source.
    pub fn new(number: usize, hit: Hit) -> Self {
        let parts = vec![ChunkPlace::of(&hit)];
        Self { number, chunk_ids: vec![hit.chunk_id.clone()], hit, jumps: Vec::new(), parts }
    }

    /// The chunk that a byte of the document's extracted text is in.
    pub fn chunk_at(&self, at: u64) -> Option<&ChunkPlace> {
        self.parts.iter().rfind(|part| part.start <= at).or(self.parts.first())
    }

    /// The parts of the text that the document has without a jump, by their bytes.
    pub fn exact_runs(&self) -> Vec<(usize, usize)> {
        let starts = std::iter::once(0).chain(self.jumps.iter().map(|(at, _)| *at));
        let ends = self.jumps.iter().map(|(at, _)| *at).chain([self.hit.text.len()]);
        starts.zip(ends).collect()
    }

    /// Where a byte of the text is in the document's extracted text.
    pub fn place(&self, at: usize) -> u64 {
        let jump = self.jumps.iter().rfind(|(jump, _)| *jump <= at);
        let (from, start) = jump.copied().unwrap_or((0, self.hit.start));
        start + (at - from) as u64
    }
}

/// What became of a question.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Outcome {
    /// A model read sources and answered; what it says may still be that they do not tell.
    #[default]
    Answered,
    /// The documents have nothing, or nothing as relevant as `answer.min_relevance` asks. No model was asked; the text says so
    /// in the question's language.
    NotFound,
    /// No model could be reached; the text is passages of the sources, word by word.
    Quoted,
}

/// One step of an answer. Every HTTP protocol is an encoder of these.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum AnswerEvent {
    /// The sources, before the first word.
    Sources(Vec<Source>),
    /// More text, citations checked.
    Delta(String),
    /// The marker at the end of the text so far.
    Citation(Citation),
    /// Tools that the model wants called, after the text. What is in them is the model's own word, unchecked.
    ToolCalls(Vec<ToolCall>),
    /// What the answer cost.
    Usage(AnswerUsage),
    /// The end.
    Done(Ending),
    /// The end, by failure. Text sent before stays.
    #[serde(skip)]
    Error(Error),
}

/// What an answer cost.
#[derive(Clone, Copy, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct AnswerUsage {
    /// Tokens of the model that answered.
    #[serde(flatten)]
    pub tokens: Usage,
    /// Whether the model did not say, and the tokens are our own count.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub estimated: bool,
    /// All of it, the search included, by [`crate::prices`]; absent when the price of a model that was asked is not known.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub neurons: Option<f64>,
    /// The same in dollars, as if no neurons were free.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub usd: Option<f64>,
}

impl AnswerUsage {
    /// Tokens of a model, after a search.
    pub(super) fn new(tokens: Usage, model: Option<&str>, search: &SearchUsage) -> Self {
        let answering = match model {
            Some(model) => prices::neurons(model, tokens.prompt_tokens, tokens.completion_tokens),
            None => Some(0.0),
        };
        let neurons = search.neurons.and_then(|searching| Some(searching + answering?));
        Self { tokens, estimated: false, neurons, usd: neurons.map(prices::dollars) }
    }
}

/// How an answer ended.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Ending {
    /// Why.
    pub finish_reason: Finish,
    /// The model that answered; absent when nothing was found and none was asked.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub model: Option<String>,
    /// What became of the question.
    #[serde(default)]
    pub outcome: Outcome,
    /// Sources that were cited, by number.
    pub cited: Vec<usize>,
    /// Whether the model was given any source; whether it made use of them is told by `cited` and `uncited`.
    pub grounded: bool,
    /// Whether an answer was given from sources and cites none: nothing in it can be checked.
    #[serde(default)]
    pub uncited: bool,
    /// Stages that failed and were done without.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub degraded: Vec<String>,
    /// What AI Gateway says of it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub gateway: Option<Gateway>,
    /// Whether it was given before, and is given again.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub cached: bool,
}

impl Ending {
    /// The model that is paid for the answer: none, when AI Gateway had it.
    pub(super) fn paid<'a>(&self, model: &'a str) -> Option<&'a str> {
        let kept = self.gateway.as_ref().and_then(|gateway| gateway.cache.as_deref()) == Some("HIT");
        (!kept).then_some(model)
    }

    pub(super) fn new(outcome: Outcome, finish_reason: Finish, degraded: Vec<String>) -> Self {
        Self {
            finish_reason,
            model: None,
            outcome,
            cited: Vec::new(),
            grounded: outcome != Outcome::NotFound,
            uncited: false,
            degraded,
            gateway: None,
            cached: false,
        }
    }
}
