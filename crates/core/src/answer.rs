//! A question's life around the search: condense the conversation before it, then pack, ask the model, check citations while
//! they stream.

mod condense;
mod ladder;
pub mod output;
mod quote;
mod run;
mod structured;

pub use run::stream;

use crate::citations::Citation;
use crate::identity::{digest, short};
use crate::pack::{Budget, Talk, pack};
use crate::ports::{Clock, Finish, Format, Gateway, Message, Ports, Prompt, Role, Tool, ToolCall, Usage};
use crate::search::{Hit, MAX_QUERY_BYTES, SearchRequest, SearchUsage, Searcher, Timings};
use crate::settings::{Settings, within};
use crate::tokens::cl100k;
use crate::{Error, Result, Tenant, prices, prompt};
use serde::{Deserialize, Serialize};
use serde_json::Value;

/// Messages a conversation may have at most.
pub const MAX_MESSAGES: usize = 200;
/// Tools a request may bring at most, as at `OpenAI`.
pub const MAX_TOOLS: usize = 128;

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
    /// Tools that the model may call; the client runs them and asks again with what they gave.
    #[serde(default)]
    pub tools: Vec<Tool>,
    /// The form that the answer must have.
    #[serde(default)]
    pub response_format: Option<Format>,
    /// One of the configured fine-tunes.
    #[serde(default)]
    pub lora: Option<String>,
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
        Self {
            messages: vec![Message::new(Role::User, question)],
            model: None,
            tools: Vec::new(),
            response_format: None,
            lora: None,
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
    fn new(tokens: Usage, model: Option<&str>, search: &SearchUsage) -> Self {
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
    fn new(outcome: Outcome, finish_reason: Finish, degraded: Vec<String>) -> Self {
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

/// Where an answer may be kept, to be given again.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Place {
    /// [`cache_key`] of its question.
    pub key: String,
    /// The tenant's epoch before the search: when its documents have changed since, the answer is not kept.
    pub epoch: u64,
}

/// What makes two questions of a tenant the same: every field of the request but whether it is streamed, and every setting.
pub fn cache_key(settings: &Settings, request: &AnswerRequest) -> String {
    let request = AnswerRequest { stream: false, ..request.clone() };
    let version = concat!(env!("CARGO_PKG_VERSION"), " 1");
    let parts = [version.to_owned(), json(settings), json(&request)];
    short(&digest(&parts.each_ref().map(|part| part.as_bytes())), 32)
}

/// An answer about to be generated: sources are known, the prompt fits.
#[derive(Clone, Debug, Default, PartialEq)]
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
    /// What the prompt is made of besides the sources, to be made again for another model's window.
    pub talk: Talk,
    /// Tokens of the prompt, as counted before sending.
    pub prompt_tokens: usize,
    /// What the search used.
    pub usage: SearchUsage,
    /// How long the search took, with the condensing before it.
    pub timings_ms: Timings,
    /// Stages that failed and were done without.
    pub degraded: Vec<String>,
    /// The events of an answer given before, which are given again.
    pub recorded: Option<Vec<AnswerEvent>>,
    /// Where the answer may be kept; for whoever keeps answers.
    pub place: Option<Place>,
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
    if !answer.allowed().contains(&model) {
        return Err(Error::invalid("model", format!("`{model}` is none of those that /v1/models lists")));
    }
    if let Some(lora) = request.lora.as_ref().filter(|lora| !answer.loras.contains(lora)) {
        return Err(Error::invalid("lora", format!("`{lora}` is none of the configured ones")));
    }
    check_tools(&request.tools)?;
    let format = request.response_format.clone().filter(|format| *format != Format::Text);
    if let Some(format) = &format {
        structured::check_format(format)?;
        if !request.tools.is_empty() {
            return Err(Error::invalid("response_format", "can't be asked for together with `tools`"));
        }
    }
    within("top_k", top_k, 1..=50)?;
    within("max_tokens", max_tokens, 1..=answer.max_tokens_limit)?;
    within("temperature", temperature, 0.0..=5.0)?;
    let (history, question, after) = parts(&request.messages)?;
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
        window: answer.window_of(model),
        answer: max_tokens as usize,
        context: answer.context_tokens,
    };
    let mut system = answer.system_prompt.clone();
    if let Some(format) = &format {
        system.push_str(&structured::instructions(format));
    }
    for message in instructions {
        system.push_str("\n\n");
        system.push_str(&prompt::data(&message.content));
    }
    let examples = answer.examples.iter().flat_map(|example| {
        [
            Message::new(Role::User, example.question.as_str()),
            Message::new(Role::Assistant, example.answer.as_str()),
        ]
    });
    let tools: usize = request.tools.iter().map(|tool| cl100k::count(&json(tool))).sum();
    let mut talk = Talk {
        system,
        examples: examples.collect(),
        history,
        question: question.clone(),
        after: after.to_vec(),
        beside: tools,
    };
    let packed = pack(budget, &talk, &hits)?;
    talk.history.drain(..packed.history_dropped);
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
    let first = request.messages.first().map_or("", |message| message.content.as_str());
    let session = short(&digest(&[tenant.as_str().as_bytes(), first.as_bytes()]), 32);
    let prompt = (!sources.is_empty()).then(|| Prompt {
        model: model.to_owned(),
        messages: packed.messages,
        max_tokens,
        temperature,
        tools: request.tools.clone(),
        format,
        lora: request.lora.clone(),
        session: Some(session),
    });
    Ok(Prepared {
        query,
        question: question.clone(),
        sources,
        prompt,
        talk,
        prompt_tokens: packed.tokens,
        usage,
        timings_ms,
        degraded,
        recorded: None,
        place: None,
    })
}

/// What was said before the question, the question, and what came of tools after it.
fn parts(messages: &[Message]) -> Result<(&[Message], &String, &[Message])> {
    let wrong = |message: &str| Err(Error::invalid("messages", message));
    let Some(at) = messages.iter().rposition(|message| message.role == Role::User) else {
        return wrong("there must be a question of the user's");
    };
    let (history, rest) = messages.split_at(at);
    let (question, after) = (&rest[0].content, &rest[1..]);
    let answers_tools = after.first().is_some_and(|message| !message.tool_calls.is_empty())
        && after.last().is_some_and(|message| message.role == Role::Tool)
        && after.iter().all(|message| matches!(message.role, Role::Assistant | Role::Tool));
    if !after.is_empty() && !answers_tools {
        return wrong("the last message must be the user's, or what a tool gave that was called after it");
    }
    Ok((history, question, after))
}

fn check_tools(tools: &[Tool]) -> Result<()> {
    let wrong = |message: String| Err(Error::invalid("tools", message));
    if tools.len() > MAX_TOOLS {
        return wrong(format!("are {}; allowed are 0 to {MAX_TOOLS}", tools.len()));
    }
    for tool in tools {
        let name = &tool.function.name;
        let plain = |byte: u8| byte.is_ascii_alphanumeric() || matches!(byte, b'_' | b'-');
        if tool.r#type != "function" {
            return wrong(format!("the type `{}` is not known; `function` is", tool.r#type));
        }
        if name.is_empty() || name.len() > 64 || !name.bytes().all(plain) {
            return wrong(format!("the name `{name}` must be 1 to 64 characters of A-Z a-z 0-9 _ -"));
        }
        if !tool.function.parameters.is_object() {
            return wrong(format!("the parameters of `{name}` must be a JSON schema"));
        }
    }
    Ok(())
}

fn json(value: &impl Serialize) -> String {
    serde_json::to_string(value).unwrap_or_default()
}

/// Whether no hit is as relevant as asked. Of hits that nobody judged, nobody knows.
fn irrelevant(hits: &[Hit], least: f32) -> bool {
    let best = hits.iter().filter_map(|hit| hit.scores.relevance).reduce(f32::max);
    best.is_some_and(|best| best < least)
}
