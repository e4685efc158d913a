//! The tools: `search`, `ask`, `list_documents`. What goes wrong in one is said in its result, for the model to read.

use super::message::{Refusal, Request as Rpc};
use crate::chat::{merged, spent};
use futures::stream::{LocalBoxStream, Stream, StreamExt};
use ragflare_cloudflare::core::answer::{AnswerEvent, AnswerRequest, Source};
use ragflare_cloudflare::core::search::{Hit, SearchRequest};
use ragflare_cloudflare::core::settings::Settings;
use ragflare_cloudflare::core::{Tenant, prompt};
use ragflare_cloudflare::http::ApiError;
use ragflare_cloudflare::invocation::Invocation;
use serde::Deserialize;
use serde::de::DeserializeOwned;
use serde_json::{Value, json};
use std::fmt::Write as _;
use worker::{Env, Headers, Request, RequestInit, Url};

/// Names, schemas and descriptions, as `tools/list` gives them.
const TOOLS: &str = include_str!("tools.json");

/// What a call came to.
pub(super) enum Outcome {
    Ready(Value),
    Answer(LocalBoxStream<'static, AnswerEvent>, Box<Answer>),
}

/// A step of an answer.
pub(super) enum Step {
    /// A notification.
    Progress(Value),
    /// The result of the call.
    Result(Value),
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Ask {
    question: String,
    filter: Option<Value>,
    top_k: Option<usize>,
    max_tokens: Option<u32>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct List {
    prefix: Option<String>,
    status: Option<String>,
    limit: Option<u32>,
    cursor: Option<String>,
}

/// The tools, with what filters may name.
pub(super) fn all(settings: &Settings) -> Result<Value, ApiError> {
    let mut tools: Value = serde_json::from_str(TOOLS)
        .map_err(|error| ApiError::new(500, "internal", format!("the list of tools: {error}")))?;
    let fields: Vec<String> =
        settings.fields.iter().map(|field| format!("{} ({})", field.name, json!(field.r#type))).collect();
    for tool in tools.as_array_mut().into_iter().flatten() {
        if let Some(filter) = tool.pointer_mut("/inputSchema/properties/filter/description") {
            let text = filter.as_str().unwrap_or_default();
            *filter = format!("{text} Fields: {}.", fields.join(", ").replace('"', "")).into();
        }
    }
    Ok(tools)
}

/// `tools/call`
pub(super) async fn call(
    invocation: &Invocation,
    env: &Env,
    request: &Request,
    tenant: &Tenant,
    rpc: &Rpc,
) -> Result<Outcome, Refusal> {
    let name = rpc.params["name"].as_str().unwrap_or_default();
    let arguments = match &rpc.params["arguments"] {
        Value::Null => json!({}),
        arguments @ Value::Object(_) => arguments.clone(),
        _ => return Err(Refusal::new(200, -32602, "`arguments` must be an object")),
    };
    let done = match name {
        "search" => search(invocation, tenant, arguments).await,
        "ask" => match ask(invocation, tenant, arguments, rpc).await {
            Ok(outcome) => return Ok(outcome),
            Err(error) => Err(error),
        },
        "list_documents" => list(env, request, arguments).await,
        other => return Err(Refusal::new(200, -32602, format!("there is no tool `{other}`"))),
    };
    Ok(Outcome::Ready(done.unwrap_or_else(failed)))
}

fn result(text: String, structured: Value) -> Value {
    json!({"content": [{"type": "text", "text": text}], "structuredContent": structured, "isError": false})
}

fn failed(error: ApiError) -> Value {
    let mut text = error.message;
    if let Some(param) = error.param {
        text = format!("{param}: {text}");
    }
    if let Some(seconds) = error.retry_after {
        let _ = write!(text, "; try again in {seconds} s");
    }
    json!({"content": [{"type": "text", "text": text}], "isError": true})
}

fn read<T: DeserializeOwned>(arguments: Value) -> Result<T, ApiError> {
    serde_json::from_value(arguments)
        .map_err(|error| ApiError::new(400, "invalid_arguments", format!("the arguments are wrong: {error}")))
}

async fn search(invocation: &Invocation, tenant: &Tenant, arguments: Value) -> Result<Value, ApiError> {
    let wanted: SearchRequest = read(arguments)?;
    let found = invocation.rag.search(tenant, &wanted).await?;
    let mut text = String::new();
    for hit in &found.hits {
        let _ = writeln!(text, "{}\n{}\n", place(hit), hit.text);
    }
    if text.is_empty() {
        text.push_str("Nothing was found.");
    }
    let hits: Vec<Value> = found.hits.iter().map(shown).collect();
    let mut structured = json!({"hits": hits});
    if !found.degraded.is_empty() {
        structured["degraded"] = json!(found.degraded);
    }
    Ok(result(text, structured))
}

/// A hit without the scores of the single stages.
fn shown(hit: &Hit) -> Value {
    let mut shown = json!(hit);
    if let Some(shown) = shown.as_object_mut() {
        shown.remove("scores");
    }
    shown
}

/// A title or heading, on one line and without what is not seen: whoever wrote it can't make it look like another source.
fn line(text: &str) -> String {
    prompt::data(text).split_whitespace().collect::<Vec<_>>().join(" ")
}

/// `title — document, page 3, Heading > Heading`
fn place(hit: &Hit) -> String {
    let mut place = match &hit.title {
        Some(title) => format!("{} — {}", line(title), hit.document_id),
        None => hit.document_id.to_string(),
    };
    if let Some(page) = hit.page {
        let _ = write!(place, ", page {page}");
    }
    if !hit.headings.is_empty() {
        let headings: Vec<String> = hit.headings.iter().map(|heading| line(heading)).collect();
        let _ = write!(place, ", {}", headings.join(" > "));
    }
    place
}

async fn ask(
    invocation: &Invocation,
    tenant: &Tenant,
    arguments: Value,
    rpc: &Rpc,
) -> Result<Outcome, ApiError> {
    let asked: Ask = read(arguments)?;
    let request = AnswerRequest {
        filter: asked.filter,
        top_k: asked.top_k,
        max_tokens: asked.max_tokens,
        ..AnswerRequest::new(asked.question)
    };
    let prepared = invocation.rag.prepare(tenant, &request).await?;
    let answer = Answer {
        progress_token: Some(rpc.params["_meta"]["progressToken"].clone()).filter(|token| !token.is_null()),
        steps: 0,
        text: String::new(),
        sources: Vec::new(),
        citations: Vec::new(),
        usage: spent(&prepared),
    };
    Ok(Outcome::Answer(invocation.rag.stream(tenant, prepared).boxed_local(), Box::new(answer)))
}

/// What has been said so far.
pub(super) struct Answer {
    progress_token: Option<Value>,
    steps: u64,
    text: String,
    sources: Vec<Source>,
    citations: Vec<Value>,
    usage: Value,
}

impl Answer {
    pub(super) fn take(&mut self, event: AnswerEvent) -> Option<Step> {
        match event {
            AnswerEvent::Sources(sources) => {
                let note = format!("{} passages found", sources.len());
                self.sources = sources;
                self.progress(&note)
            }
            AnswerEvent::Delta(text) => {
                self.text.push_str(&text);
                self.progress(&text)
            }
            AnswerEvent::Citation(citation) => {
                self.citations.push(json!(citation));
                None
            }
            AnswerEvent::Usage(usage) => {
                self.usage = merged(json!(usage), &self.usage);
                None
            }
            // None are offered to the model.
            AnswerEvent::ToolCalls(_) => None,
            AnswerEvent::Done(ending) => {
                let mut structured = json!(ending);
                structured["text"] = self.text.as_str().into();
                structured["sources"] = self.sources.iter().map(numbered).collect();
                structured["citations"] = std::mem::take(&mut self.citations).into();
                structured["usage"] = self.usage.take();
                let mut text = std::mem::take(&mut self.text);
                for source in self.sources.iter().filter(|source| ending.cited.contains(&source.number)) {
                    let _ = write!(text, "\n\n[S{}] {}", source.number, place(&source.hit));
                }
                Some(Step::Result(result(text, structured)))
            }
            AnswerEvent::Error(error) => Some(Step::Result(failed(error.into()))),
        }
    }

    /// What happened, for a client that wants to know; it may also hold its time-out off.
    fn progress(&mut self, message: &str) -> Option<Step> {
        let token = self.progress_token.as_ref()?;
        self.steps += 1;
        Some(Step::Progress(json!({
            "jsonrpc": "2.0", "method": "notifications/progress",
            "params": {"progressToken": token, "progress": self.steps, "message": message},
        })))
    }

    /// The result, all at once.
    pub(super) async fn whole(mut self, events: &mut (impl Stream<Item = AnswerEvent> + Unpin)) -> Value {
        while let Some(event) = events.next().await {
            if let Some(Step::Result(result)) = self.take(event) {
                return result;
            }
        }
        failed(ApiError::new(500, "internal", "the answer had no end"))
    }
}

fn numbered(source: &Source) -> Value {
    let mut entry = shown(&source.hit);
    entry["number"] = source.number.into();
    entry
}

/// The ingest worker answers, and checks the key itself.
async fn list(env: &Env, request: &Request, arguments: Value) -> Result<Value, ApiError> {
    let wanted: List = read(arguments)?;
    let mut url = Url::parse("http://ingest/v1/documents").map_err(worker::Error::from)?;
    let limit = wanted.limit.map(|limit| limit.to_string());
    for (name, value) in
        [("prefix", wanted.prefix), ("status", wanted.status), ("limit", limit), ("cursor", wanted.cursor)]
    {
        if let Some(value) = value {
            url.query_pairs_mut().append_pair(name, &value);
        }
    }
    let headers = Headers::new();
    if let Some(key) = request.headers().get("authorization")? {
        headers.set("authorization", &key)?;
    }
    let mut init = RequestInit::new();
    init.with_headers(headers);
    let asked = Request::new_with_init(url.as_str(), &init)?;
    let mut reply = env.service("INGEST")?.fetch_request(asked).await?;
    let mut page: Value = reply.json().await?;
    if reply.status_code() != 200 {
        let error = &page["error"];
        let text = |name: &str| error[name].as_str().unwrap_or_default().to_owned();
        let param = error["param"].as_str().map(str::to_owned);
        return Err(ApiError { param, ..ApiError::new(reply.status_code(), text("code"), text("message")) });
    }
    let mut text = String::new();
    for document in page["documents"].as_array_mut().into_iter().flatten() {
        let wanted =
            ["id", "title", "status", "media_type", "bytes", "chunk_count", "metadata", "updated_at"];
        *document = wanted.into_iter().map(|name| (name.to_owned(), document[name].take())).collect();
        let title = document["title"].as_str().map(|title| format!(" — {}", line(title))).unwrap_or_default();
        let _ = writeln!(
            text,
            "{}{title} ({})",
            document["id"].as_str().unwrap_or_default(),
            document["status"].as_str().unwrap_or_default()
        );
    }
    if text.is_empty() {
        text.push_str("There are no documents.");
    }
    if let Some(next) = page["next_cursor"].as_str() {
        let _ = writeln!(text, "There are more: pass cursor `{next}`.");
    }
    Ok(result(text, page))
}
