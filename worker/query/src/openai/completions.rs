//! `POST /v1/chat/completions`, streamed or whole.

use super::{chat_models, error_body, unknown_model};
use crate::sse;
use futures::StreamExt;
use ragflare_cloudflare::core::answer::{AnswerEvent, AnswerRequest, Ending, Source};
use ragflare_cloudflare::core::citations::Citation;
use ragflare_cloudflare::core::ports::{Finish, Message, Role, Usage};
use ragflare_cloudflare::core::{Error, Result as CoreResult};
use ragflare_cloudflare::http::{ApiError, json, read_json};
use ragflare_cloudflare::invocation::Invocation;
use ragflare_cloudflare::keys::Scope;
use serde::Deserialize;
use serde_json::{Map, Value, json};
use worker::{Request, Response};

/// A request; fields of `OpenAI`'s that have no meaning here are ignored.
#[derive(Deserialize)]
struct Completion {
    #[serde(default)]
    model: String,
    messages: Vec<WireMessage>,
    #[serde(default)]
    stream: bool,
    max_tokens: Option<u32>,
    max_completion_tokens: Option<u32>,
    temperature: Option<f32>,
    stream_options: Option<StreamOptions>,
    n: Option<u32>,
    tools: Option<Vec<Value>>,
    response_format: Option<ResponseFormat>,
    ragflare: Option<Map<String, Value>>,
}

#[derive(Deserialize)]
struct WireMessage {
    role: String,
    content: Option<Content>,
}

#[derive(Deserialize)]
#[serde(untagged)]
enum Content {
    Text(String),
    Parts(Vec<ContentPart>),
}

#[derive(Deserialize)]
struct ContentPart {
    r#type: String,
    #[serde(default)]
    text: String,
}

#[derive(Deserialize)]
struct ResponseFormat {
    r#type: String,
}

#[derive(Deserialize)]
struct StreamOptions {
    #[serde(default)]
    include_usage: bool,
}

/// What `OpenAI` has no field for.
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Extension {
    filter: Option<Value>,
    top_k: Option<usize>,
}

impl WireMessage {
    fn into_message(self) -> CoreResult<Message> {
        let role = match self.role.as_str() {
            "system" | "developer" => Role::System,
            "user" => Role::User,
            "assistant" => Role::Assistant,
            other => return Err(Error::invalid("messages", format!("the role `{other}` is not known here"))),
        };
        let content = match self.content {
            None => String::new(),
            Some(Content::Text(text)) => text,
            Some(Content::Parts(parts)) => parts
                .into_iter()
                .map(|part| match part.r#type.as_str() {
                    "text" => Ok(part.text),
                    other => {
                        Err(Error::invalid("messages", format!("content of type `{other}` can't be read")))
                    }
                })
                .collect::<CoreResult<Vec<String>>>()?
                .join("\n"),
        };
        Ok(Message { role, content })
    }
}

pub(crate) async fn completions(
    invocation: Invocation,
    request: &mut Request,
    what: &str,
) -> Result<Response, ApiError> {
    let access = invocation.authorize(request, Scope::Read).await?;
    let asked: Completion = read_json(request).await?;
    refuse_unsupported(&asked)?;
    let messages: CoreResult<Vec<Message>> =
        asked.messages.into_iter().map(WireMessage::into_message).collect();
    let settings = invocation.rag.settings();
    let model = if asked.model.is_empty() { settings.answer.model.clone() } else { asked.model };
    if !chat_models(settings).contains(&model.as_str()) {
        return Err(unknown_model(&model));
    }
    let extension: Extension = serde_json::from_value(asked.ragflare.unwrap_or_default().into())
        .map_err(|error| Error::invalid("ragflare", error.to_string()))?;
    let answer = AnswerRequest {
        messages: messages?,
        model: Some(model.clone()),
        filter: extension.filter,
        top_k: extension.top_k,
        max_tokens: asked.max_completion_tokens.or(asked.max_tokens),
        temperature: asked.temperature,
        stream: asked.stream,
    };
    let prepared = match invocation.rag.prepare(&access.tenant, &answer).await {
        // By the name that the client used.
        Err(Error::Invalid { field, message })
            if field == "max_tokens" && asked.max_completion_tokens.is_some() =>
        {
            return Err(Error::invalid("max_completion_tokens", message).into());
        }
        prepared => prepared?,
    };
    let mut events = invocation.rag.stream(&access.tenant, prepared);
    let mut reply = Reply {
        id: format!("chatcmpl-{}", invocation.request_id),
        created: worker::Date::now().as_millis() / 1000,
        model,
        include_usage: asked.stream_options.is_some_and(|options| options.include_usage),
        usage: Usage::default(),
        text: String::new(),
        opened: false,
        annotations: Vec::new(),
        sources: Vec::new(),
        ending: None,
        request_id: invocation.request_id.clone(),
    };
    if answer.stream {
        return sse::reply(invocation, request, what, events, move |event| reply.encode(event));
    }
    while let Some(event) = events.next().await {
        match event {
            AnswerEvent::Error(error) => return Err(error.into()),
            event => reply.take(event),
        }
    }
    invocation.report(what);
    json(200, &reply.whole())
}

/// What would change the answer, but can't be had, is refused rather than ignored.
fn refuse_unsupported(asked: &Completion) -> CoreResult<()> {
    if asked.n.is_some_and(|n| n != 1) {
        return Err(Error::invalid("n", "must be 1"));
    }
    if asked.tools.as_ref().is_some_and(|tools| !tools.is_empty()) {
        return Err(Error::invalid("tools", "are not supported"));
    }
    match &asked.response_format {
        Some(format) if format.r#type != "text" => {
            Err(Error::invalid("response_format", format!("`{}` is not supported", format.r#type)))
        }
        _ => Ok(()),
    }
}

/// What has been said so far.
struct Reply {
    id: String,
    created: u64,
    model: String,
    include_usage: bool,
    usage: Usage,
    text: String,
    opened: bool,
    annotations: Vec<Value>,
    sources: Vec<Source>,
    ending: Option<Ending>,
    request_id: String,
}

impl Reply {
    fn take(&mut self, event: AnswerEvent) {
        match event {
            AnswerEvent::Sources(sources) => self.sources = sources,
            AnswerEvent::Delta(text) => self.text.push_str(&text),
            AnswerEvent::Citation(citation) => {
                let annotation = self.annotation(&citation);
                self.annotations.push(annotation);
            }
            AnswerEvent::Usage(usage) => self.usage = usage,
            AnswerEvent::Done(ending) => self.ending = Some(ending),
            AnswerEvent::Error(_) => {}
        }
    }

    /// The marker ends where the text stands now; indices count characters, as `OpenAI`'s do.
    fn annotation(&self, citation: &Citation) -> Value {
        let end = self.text.chars().count();
        let title = self.sources.get(citation.source - 1).and_then(|source| source.hit.title.clone());
        json!({"type": "url_citation", "url_citation": {
            "start_index": end.saturating_sub(citation.marker.len()), "end_index": end,
            "title": title.unwrap_or_else(|| citation.document_id.to_string()),
            "url": format!("/v1/documents/{}/text", citation.document_id),
            "ragflare": citation,
        }})
    }

    fn encode(&mut self, event: AnswerEvent) -> String {
        let opening = !std::mem::replace(&mut self.opened, true);
        let mut out = String::new();
        if opening {
            out.push_str(&self.chunk(&json!({"role": "assistant", "content": ""}), None, None));
        }
        match event {
            AnswerEvent::Sources(sources) => {
                out.push_str(&self.chunk(&json!({}), None, Some(json!({"sources": sources}))));
                self.sources = sources;
            }
            AnswerEvent::Delta(text) => {
                out.push_str(&self.chunk(&json!({"content": text}), None, None));
                self.text.push_str(&text);
            }
            AnswerEvent::Citation(citation) => {
                let annotation = self.annotation(&citation);
                out.push_str(&self.chunk(&json!({"annotations": [annotation]}), None, None));
            }
            AnswerEvent::Usage(usage) => self.usage = usage,
            AnswerEvent::Done(ending) => {
                let finish = finish(ending.finish_reason);
                out.push_str(&self.chunk(&json!({}), Some(finish), Some(json!({"done": ending}))));
                if self.include_usage {
                    let mut last = self.frame("chat.completion.chunk");
                    last["choices"] = json!([]);
                    last["usage"] = json!(self.usage);
                    out.push_str(&sse::plain(last));
                }
                out.push_str(&sse::plain("[DONE]"));
            }
            AnswerEvent::Error(error) => {
                out.push_str(&sse::plain(error_body(&ApiError::from(error), &self.request_id)));
                out.push_str(&sse::plain("[DONE]"));
            }
        }
        out
    }

    fn frame(&self, object: &str) -> Value {
        json!({"id": self.id, "object": object, "created": self.created, "model": self.model})
    }

    fn chunk(&self, delta: &Value, finish: Option<&str>, extension: Option<Value>) -> String {
        let mut chunk = self.frame("chat.completion.chunk");
        chunk["choices"] = json!([{"index": 0, "delta": delta, "logprobs": null, "finish_reason": finish}]);
        if self.include_usage {
            chunk["usage"] = Value::Null;
        }
        if let Some(extension) = extension {
            chunk["ragflare"] = extension;
        }
        sse::plain(chunk)
    }

    fn whole(&self) -> Value {
        let mut whole = self.frame("chat.completion");
        let reason = self.ending.as_ref().map_or("stop", |ending| finish(ending.finish_reason));
        whole["choices"] = json!([{"index": 0, "finish_reason": reason, "logprobs": null, "message": {
            "role": "assistant", "content": self.text, "refusal": null, "annotations": self.annotations,
        }}]);
        whole["usage"] = json!(self.usage);
        whole["ragflare"] = json!({"sources": self.sources, "done": self.ending});
        whole
    }
}

fn finish(reason: Finish) -> &'static str {
    match reason {
        Finish::Stop => "stop",
        Finish::Length | Finish::Truncated => "length",
    }
}
