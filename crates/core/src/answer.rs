//! A question's life around the search: condense the conversation before it, then pack, ask the model, check citations while
//! they stream.

mod condense;
pub mod output;

use crate::citations::{Checked, Citation};
use crate::pack::{Budget, pack};
use crate::ports::{Clock, Finish, Generated, Message, Ports, Prompt, Role, TextGenerator, Usage};
use crate::search::{Hit, MAX_QUERY_BYTES, SearchRequest, SearchUsage, Searcher, Timings};
use crate::settings::{Settings, within};
use crate::{Error, Result, Tenant, prompt};
use futures::stream::{self, Stream, StreamExt};
use output::Output;
use serde::{Deserialize, Serialize};
use serde_json::Value;
use std::collections::VecDeque;
use std::rc::Rc;

/// Messages a conversation may have at most.
pub const MAX_MESSAGES: usize = 200;

/// A question, as the API takes it.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct AnswerRequest {
    /// The conversation; the last message is the user's question.
    pub messages: Vec<Message>,
    /// Vectorize's filter language over the declared fields.
    #[serde(default)]
    pub filter: Option<Value>,
    /// Sources at most, 1–50.
    #[serde(default)]
    pub top_k: Option<usize>,
    /// Answer room in tokens.
    #[serde(default)]
    pub max_tokens: Option<u32>,
    /// Sampling temperature, 0–5.
    #[serde(default)]
    pub temperature: Option<f32>,
    /// One of the configured models; the first when absent.
    #[serde(default)]
    pub model: Option<String>,
    /// Whether the reply is streamed; the pipeline does not look at it.
    #[serde(default = "yes")]
    pub stream: bool,
}

fn yes() -> bool {
    true
}

impl AnswerRequest {
    /// A question without history.
    pub fn new(question: impl Into<String>) -> Self {
        let message = Message { role: Role::User, content: question.into() };
        Self {
            messages: vec![message],
            model: None,
            filter: None,
            top_k: None,
            max_tokens: None,
            temperature: None,
            stream: true,
        }
    }
}

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
}

impl Source {
    /// A hit as the only chunk of a source.
    pub fn new(number: usize, hit: Hit) -> Self {
        Self { number, chunk_ids: vec![hit.chunk_id.clone()], hit, jumps: Vec::new() }
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
}

/// One step of an answer. Every HTTP protocol is an encoder of these.
#[derive(Clone, Debug, PartialEq)]
pub enum AnswerEvent {
    /// The sources, before the first word.
    Sources(Vec<Source>),
    /// More text, citations checked.
    Delta(String),
    /// The marker at the end of the text so far.
    Citation(Citation),
    /// Tokens used.
    Usage(Usage),
    /// The end.
    Done(Ending),
    /// The end, by failure. Text sent before stays.
    Error(Error),
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
}

/// An answer about to be generated: sources are known, the prompt fits.
#[derive(Clone, Debug, PartialEq)]
pub struct Prepared {
    /// What was searched for: the question, or what was made of it and the conversation. The model that answers reads the
    /// question itself.
    pub query: String,
    /// The question.
    pub question: String,
    /// The sources, numbered.
    pub sources: Vec<Source>,
    /// What the model is asked; `None` when nothing was found, or nothing as relevant as `answer.min_relevance` asks.
    pub prompt: Option<Prompt>,
    /// Tokens of the prompt, as counted before sending.
    pub prompt_tokens: usize,
    /// What the search used.
    pub usage: SearchUsage,
    /// How long the search took, with the condensing before it.
    pub timings_ms: Timings,
    /// Stages that failed and were done without.
    pub degraded: Vec<String>,
}

/// Condenses, searches and packs.
///
/// # Errors
/// [`Error::Invalid`] and [`Error::TooLong`] for the request; those of [`Searcher::search`].
pub async fn prepare<P: Ports>(
    ports: &P,
    settings: &Settings,
    tenant: &Tenant,
    request: &AnswerRequest,
) -> Result<Prepared> {
    let answer = &settings.answer;
    let top_k = request.top_k.unwrap_or(answer.top_k);
    let max_tokens = request.max_tokens.unwrap_or(answer.max_tokens);
    let temperature = request.temperature.unwrap_or(answer.temperature);
    let count = request.messages.len();
    if count == 0 || count > MAX_MESSAGES {
        return Err(Error::invalid("messages", format!("are {count}; allowed are 1 to {MAX_MESSAGES}")));
    }
    let model = request.model.as_deref().unwrap_or(&answer.model);
    if model != answer.model && model != answer.fallback_model {
        return Err(Error::invalid("model", format!("`{model}` is none of those that /v1/models lists")));
    }
    within("top_k", top_k, 1..=50)?;
    within("max_tokens", max_tokens, 1..=answer.max_tokens_limit)?;
    within("temperature", temperature, 0.0..=5.0)?;
    let (question, history) = match request.messages.split_last() {
        Some((last, history)) if last.role == Role::User => (&last.content, history),
        _ => return Err(Error::invalid("messages", "the last message must be the user's")),
    };
    if question.trim().is_empty() {
        return Err(Error::invalid("messages", "the question must not be empty"));
    }
    if question.len() > MAX_QUERY_BYTES {
        let message = format!("the question is {} bytes long; allowed are {MAX_QUERY_BYTES}", question.len());
        return Err(Error::invalid("messages", message));
    }

    // The client's instructions follow ours; they are not history that may be dropped.
    let (instructions, history): (Vec<&Message>, Vec<&Message>) =
        history.iter().partition(|message| message.role == Role::System);
    let history: Vec<Message> = history.into_iter().cloned().collect();

    let started = ports.clock().now();
    let condensed = condense::condense(ports, settings, tenant, &history, question).await;
    let condensing = ports.clock().now().saturating_sub(started);
    let query = condensed.query.unwrap_or_else(|| question.clone());
    let mut search = SearchRequest::new(query.clone());
    search.top_k = top_k;
    search.filter.clone_from(&request.filter);
    let found = Searcher::new(ports, settings).search(tenant, &search).await?;
    let (mut usage, mut timings_ms, mut degraded) = (found.usage, found.timings_ms, found.degraded);
    usage.condense_prompt_tokens = condensed.usage.prompt_tokens;
    usage.condense_completion_tokens = condensed.usage.completion_tokens;
    let usage = usage.priced(settings);
    timings_ms.condense = condensing;
    timings_ms.total += condensing;
    if condensed.failed {
        degraded.push("condense".to_owned());
    }
    let hits = if irrelevant(&found.hits, answer.min_relevance) { Vec::new() } else { found.hits };

    let budget = Budget {
        window: answer.window.unwrap_or_else(|| crate::models::window(model)),
        answer: max_tokens as usize,
        context: answer.context_tokens,
    };
    let mut system = answer.system_prompt.clone();
    for message in instructions {
        system.push_str("\n\n");
        system.push_str(&prompt::data(&message.content));
    }
    let packed = pack(budget, &system, &history, question, &hits)?;
    if packed.history_dropped > 0 {
        degraded.push("history_trimmed".to_owned());
    }
    if let (Some(hit), true) = (hits.first(), packed.sources.is_empty()) {
        // Something was found, but nothing of it fits: that is not "not found".
        let needed = packed.tokens + crate::tokens::cl100k::count(&hit.text);
        return Err(Error::TooLong { needed, available: packed.tokens + budget.context });
    }
    let sources: Vec<Source> = packed
        .sources
        .into_iter()
        .enumerate()
        .map(|(at, source)| Source {
            number: at + 1,
            chunk_ids: source.chunk_ids,
            hit: source.hit,
            jumps: source.jumps,
        })
        .collect();
    let prompt = (!sources.is_empty()).then(|| Prompt {
        model: model.to_owned(),
        messages: packed.messages,
        max_tokens,
        temperature,
    });
    Ok(Prepared {
        query,
        question: question.clone(),
        sources,
        prompt,
        prompt_tokens: packed.tokens,
        usage,
        timings_ms,
        degraded,
    })
}

/// Whether no hit is as relevant as asked. Of hits that nobody judged, nobody knows.
fn irrelevant(hits: &[Hit], least: f32) -> bool {
    let best = hits.iter().filter_map(|hit| hit.scores.relevance).reduce(f32::max);
    best.is_some_and(|best| best < least)
}

/// Streams an answer. The stream owns what it needs and can outlive the request's handler; dropping it stops the
/// generation. It ends with [`AnswerEvent::Done`] or [`AnswerEvent::Error`].
pub fn stream<P: Ports + 'static>(
    ports: Rc<P>,
    settings: Rc<Settings>,
    tenant: Tenant,
    prepared: Prepared,
) -> impl Stream<Item = AnswerEvent> + Unpin + 'static {
    let sources = AnswerEvent::Sources(prepared.sources.clone());
    let rest = stream::once(async move { open(ports, settings, tenant, prepared).await }).flatten();
    stream::once(std::future::ready(sources)).chain(rest).boxed_local()
}

type Events = stream::LocalBoxStream<'static, AnswerEvent>;

async fn open<P: Ports + 'static>(
    ports: Rc<P>,
    settings: Rc<Settings>,
    tenant: Tenant,
    prepared: Prepared,
) -> Events {
    let Some(mut prompt) = prepared.prompt else {
        let ending = Ending {
            finish_reason: Finish::Stop,
            model: None,
            outcome: Outcome::NotFound,
            cited: Vec::new(),
            grounded: false,
            uncited: false,
            degraded: prepared.degraded,
        };
        let text = prompt::nothing_found(&prepared.question);
        let events = [AnswerEvent::Delta(text.into()), AnswerEvent::Done(ending)];
        return stream::iter(events).boxed_local();
    };
    let mut degraded = prepared.degraded;
    let generated = match ports.generator().generate(&tenant, &prompt).await {
        Ok(generated) => Ok(generated),
        Err(error)
            if prompt.model != settings.answer.fallback_model
                && fits_fallback(&settings, prepared.prompt_tokens, &prompt) =>
        {
            degraded.push("model".to_owned());
            prompt.model.clone_from(&settings.answer.fallback_model);
            ports.generator().generate(&tenant, &prompt).await.map_err(|_| error)
        }
        Err(error) => Err(error),
    };
    match generated {
        Err(error) => stream::iter([AnswerEvent::Error(error)]).boxed_local(),
        Ok(generated) => {
            let instructions = prompt.messages.first().map_or("", |message| &message.content);
            let run = Run {
                generated,
                output: Output::new(&prepared.sources, &prepared.question, instructions),
                ready: VecDeque::new(),
                ending: Ending {
                    finish_reason: Finish::Truncated,
                    model: Some(prompt.model),
                    outcome: Outcome::Answered,
                    cited: Vec::new(),
                    grounded: true,
                    uncited: false,
                    degraded,
                },
                max_tokens: prompt.max_tokens,
                room_used_up: false,
                ended: false,
            };
            stream::unfold(run, Run::next).boxed_local()
        }
    }
}

fn fits_fallback(settings: &Settings, prompt_tokens: usize, prompt: &Prompt) -> bool {
    prompt_tokens + prompt.max_tokens as usize
        <= settings.answer.window.unwrap_or_else(|| crate::models::window(&settings.answer.fallback_model))
}

/// A generation on its way to the reader.
struct Run<S> {
    generated: S,
    output: Output,
    ready: VecDeque<AnswerEvent>,
    ending: Ending,
    max_tokens: u32,
    room_used_up: bool,
    ended: bool,
}

impl<S: Stream<Item = Result<Generated>> + Unpin> Run<S> {
    async fn next(mut self) -> Option<(AnswerEvent, Self)> {
        loop {
            if let Some(event) = self.ready.pop_front() {
                return Some((event, self));
            }
            if self.ended {
                return None;
            }
            match self.generated.next().await {
                Some(Ok(Generated::Delta(delta))) => {
                    let steps = self.output.push(&delta);
                    self.take(steps);
                }
                Some(Ok(Generated::Usage(usage))) => {
                    self.room_used_up = usage.completion_tokens >= u64::from(self.max_tokens);
                    self.ready.push_back(AnswerEvent::Usage(usage));
                }
                Some(Ok(Generated::Done(finish))) => {
                    // Native Workers AI streams do not say why they ended.
                    let full = finish == Finish::Stop && self.room_used_up;
                    self.ending.finish_reason = if full { Finish::Length } else { finish };
                    self.end(None);
                }
                Some(Err(error)) => self.end(Some(error)),
                None => self.end(None),
            }
        }
    }

    fn take(&mut self, steps: Vec<Checked>) {
        for step in steps {
            self.ready.push_back(match step {
                Checked::Text(text) => AnswerEvent::Delta(text),
                Checked::Citation(citation) => {
                    if !self.ending.cited.contains(&citation.source) {
                        self.ending.cited.push(citation.source);
                    }
                    AnswerEvent::Citation(citation)
                }
            });
        }
    }

    fn end(&mut self, error: Option<Error>) {
        self.ended = true;
        let steps = self.output.finish();
        self.take(steps);
        self.ending.uncited = self.ending.cited.is_empty();
        self.ready.push_back(match error {
            Some(error) => AnswerEvent::Error(error),
            None => AnswerEvent::Done(self.ending.clone()),
        });
    }
}
