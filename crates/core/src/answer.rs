//! A question's life around the search: condense the conversation before it, then pack, ask the model, check citations while
//! they stream.

mod condense;
mod event;
mod ladder;
pub mod output;
mod quote;
mod run;
mod structured;

pub use event::{AnswerEvent, AnswerUsage, ChunkPlace, Ending, Outcome, Source};
pub use run::stream;
pub use structured::REPAIR_TOKENS;

use crate::identity::{digest, short};
use crate::pack::{Budget, Talk, pack};
use crate::ports::{Clock, Format, Message, Ports, Prompt, Role, Sampling, Tool};
use crate::search::{Hit, MAX_QUERY_BYTES, SearchRequest, SearchUsage, Searcher, Timings};
use crate::settings::{Settings, within};
use crate::tokens::cl100k;
use crate::{Error, Result, Tenant, prompt};
use serde::{Deserialize, Serialize};
use serde_json::Value;

/// Messages a conversation may have at most.
pub const MAX_MESSAGES: usize = 1000;
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
    /// Makes sampling repeatable.
    #[serde(default)]
    pub seed: Option<u64>,
    /// Nucleus sampling, 0–1.
    #[serde(default)]
    pub top_p: Option<f32>,
    /// Penalty on frequent tokens, -2 to 2.
    #[serde(default)]
    pub frequency_penalty: Option<f32>,
    /// Penalty on tokens already there, -2 to 2.
    #[serde(default)]
    pub presence_penalty: Option<f32>,
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
    /// Whether an answer given before will not do: neither one kept here nor one that AI Gateway keeps.
    #[serde(default)]
    pub skip_cache: bool,
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
            skip_cache: false,
            filter: None,
            top_k: None,
            max_tokens: None,
            temperature: None,
            seed: None,
            top_p: None,
            frequency_penalty: None,
            presence_penalty: None,
            stream: true,
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
    short(&digest(&parts.each_ref().map(String::as_bytes)), 32)
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
    within("top_p", request.top_p.unwrap_or(1.0), 0.0..=1.0)?;
    within("frequency_penalty", request.frequency_penalty.unwrap_or(0.0), -2.0..=2.0)?;
    within("presence_penalty", request.presence_penalty.unwrap_or(0.0), -2.0..=2.0)?;
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
        needs_no_source: !request.tools.is_empty() || !after.is_empty(),
    };
    let packed = pack(budget, &talk, &hits)?;
    talk.history.drain(..packed.history_dropped);
    if packed.history_dropped > 0 {
        degraded.push("history_trimmed".to_owned());
    }
    if let (Some(hit), true, false) = (hits.first(), packed.sources.is_empty(), talk.needs_no_source) {
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
            chunk_ids: source.parts.iter().map(|part| part.chunk_id.clone()).collect(),
            hit: source.hit,
            jumps: source.jumps,
            parts: source.parts,
        })
        .collect();
    let first = request.messages.first().map_or("", |message| message.content.as_str());
    let session = short(&digest(&[tenant.as_str().as_bytes(), first.as_bytes()]), 32);
    let prompt = (!sources.is_empty() || talk.needs_no_source).then(|| Prompt {
        model: model.to_owned(),
        messages: packed.messages,
        max_tokens,
        temperature,
        sampling: Sampling {
            seed: request.seed,
            top_p: request.top_p,
            frequency_penalty: request.frequency_penalty,
            presence_penalty: request.presence_penalty,
        },
        tools: request.tools.clone(),
        format,
        lora: request.lora.clone(),
        skip_cache: request.skip_cache,
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
