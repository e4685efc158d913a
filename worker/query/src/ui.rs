//! `POST /api/chat`: the AI SDK's UI message stream, `v1`, as `DefaultChatTransport` and `useChat` speak it (npm package
//! `ai`, `ui-message-stream/ui-message-chunks.ts` and `ui/http-chat-transport.ts`, read in 7.0.173).

use crate::sse;
use ragflare_cloudflare::core::answer::{AnswerEvent, AnswerRequest, Source};
use ragflare_cloudflare::core::citations::Citation;
use ragflare_cloudflare::core::ports::{Finish, Message, Role, Usage};
use ragflare_cloudflare::core::{Error, Result as CoreResult};
use ragflare_cloudflare::http::{ApiError, read_json};
use ragflare_cloudflare::invocation::Invocation;
use ragflare_cloudflare::keys::Scope;
use serde::Deserialize;
use serde_json::{Value, json};
use worker::{Request, Response, ResponseBuilder};

/// The answer is one text part.
const TEXT_ID: &str = "answer";

/// What the transport posts. It also sends `id`, `trigger` and `messageId`, and an application may add fields of its own.
#[derive(Deserialize)]
struct Chat {
    messages: Vec<UiMessage>,
    filter: Option<Value>,
    top_k: Option<usize>,
    max_tokens: Option<u32>,
    temperature: Option<f32>,
    model: Option<String>,
}

#[derive(Deserialize)]
struct UiMessage {
    role: Role,
    parts: Vec<Part>,
}

#[derive(Deserialize)]
struct Part {
    r#type: String,
    #[serde(default)]
    text: String,
}

impl UiMessage {
    /// The texts; what else an answer's message holds (sources, citations, reasoning) is not said again.
    fn into_message(self) -> CoreResult<Message> {
        if self.role == Role::User && self.parts.iter().any(|part| part.r#type == "file") {
            let message = "a part of type `file` can't be read; upload it with PUT /v1/documents/{id}";
            return Err(Error::invalid("messages", message));
        }
        let texts = self.parts.into_iter().filter(|part| part.r#type == "text").map(|part| part.text);
        Ok(Message { role: self.role, content: texts.collect::<Vec<_>>().join("\n") })
    }
}

/// `POST /api/chat`
pub(crate) async fn answer(
    invocation: Invocation,
    request: &mut Request,
    what: &str,
) -> Result<Response, ApiError> {
    let access = invocation.authorize(request, Scope::Read).await?;
    let asked: Chat = read_json(request).await?;
    let messages: CoreResult<Vec<Message>> =
        asked.messages.into_iter().map(UiMessage::into_message).collect();
    let asked = AnswerRequest {
        messages: messages?,
        filter: asked.filter,
        top_k: asked.top_k,
        max_tokens: asked.max_tokens,
        temperature: asked.temperature,
        model: asked.model,
        stream: true,
    };
    let prepared = invocation.rag.prepare(&access.tenant, &asked).await?;
    let mut message = UiStream {
        id: format!("msg-{}", invocation.request_id),
        metadata: json!({"query": prepared.query, "search": prepared.usage, "timings_ms": prepared.timings_ms}),
        sources: Vec::new(),
        units: 0,
        text_open: false,
        usage: None,
        citations: Vec::new(),
    };
    let events = invocation.rag.stream(&access.tenant, prepared);
    let mut reply = sse::reply(invocation, request, what, events, move |event| message.encode(event))?;
    reply.headers_mut().set("x-vercel-ai-ui-message-stream", "v1")?;
    Ok(reply)
}

/// `GET /api/chat/{id}/stream`, by which `useChat` asks for a stream to resume: there never is one.
pub(crate) async fn resume(invocation: Invocation, request: &Request) -> Result<Response, ApiError> {
    invocation.authorize(request, Scope::Read).await?;
    Ok(ResponseBuilder::new().with_status(204).empty())
}

/// A message under way.
struct UiStream {
    id: String,
    /// What the `finish` chunk says of the message.
    metadata: Value,
    sources: Vec<Source>,
    /// Length of the text so far in UTF-16 units, which JavaScript counts in.
    units: usize,
    text_open: bool,
    usage: Option<Usage>,
    citations: Vec<Value>,
}

impl UiStream {
    fn encode(&mut self, event: AnswerEvent) -> String {
        match event {
            AnswerEvent::Sources(sources) => {
                let mut out = sse::plain(json!({"type": "start", "messageId": self.id}));
                for source in &sources {
                    let mut chunk = described(source);
                    chunk["type"] =
                        if chunk["url"].is_string() { "source-url" } else { "source-document" }.into();
                    chunk["sourceId"] = source_id(source.number).into();
                    chunk["providerMetadata"] = json!({"ragflare": source});
                    out.push_str(&sse::plain(chunk));
                }
                self.sources = sources;
                out
            }
            AnswerEvent::Delta(text) => {
                let mut out = String::new();
                if !std::mem::replace(&mut self.text_open, true) {
                    out = sse::plain(json!({"type": "text-start", "id": TEXT_ID}));
                }
                self.units += text.encode_utf16().count();
                out.push_str(&sse::plain(json!({"type": "text-delta", "id": TEXT_ID, "delta": text})));
                out
            }
            AnswerEvent::Citation(citation) => {
                self.citations.extend(self.citation(&citation));
                sse::plain(json!({"type": "data-citation", "data": citation}))
            }
            AnswerEvent::Usage(usage) => {
                self.usage = Some(usage);
                String::new()
            }
            AnswerEvent::Done(ending) => {
                let reason = match ending.finish_reason {
                    Finish::Stop => "stop",
                    Finish::Length => "length",
                    Finish::Truncated => "other",
                };
                self.metadata["usage"] = json!(self.usage);
                self.metadata["done"] = json!(ending);
                let finish =
                    json!({"type": "finish", "finishReason": reason, "messageMetadata": self.metadata});
                self.end(&finish)
            }
            AnswerEvent::Error(error) => {
                let error = json!({"type": "error", "errorText": ApiError::from(error).message});
                self.end(&error)
            }
        }
    }

    fn end(&mut self, last: &Value) -> String {
        let mut out = String::new();
        if std::mem::take(&mut self.text_open) {
            let mut chunk = json!({"type": "text-end", "id": TEXT_ID});
            if !self.citations.is_empty() {
                chunk["citations"] = std::mem::take(&mut self.citations).into();
            }
            out = sse::plain(chunk);
        }
        out.push_str(&sse::plain(last));
        out.push_str(&sse::plain("[DONE]"));
        out
    }

    /// A reference as the SDK's text parts have them since 7; the marker ends where the text stands now.
    fn citation(&self, citation: &Citation) -> Option<Value> {
        let source = self.sources.get(citation.source.checked_sub(1)?)?;
        let mut reference = described(source);
        reference["type"] = "source".into();
        reference["sourceType"] = if reference["url"].is_string() { "url" } else { "document" }.into();
        reference["id"] = source_id(source.number).into();
        let mut made = json!({
            "source": reference,
            "startIndex": self.units.saturating_sub(citation.marker.len()), "endIndex": self.units,
        });
        if let Some(sentence) = json!(citation)["sentence"]["text"].as_str() {
            made["citedText"] = sentence.into();
        }
        Some(made)
    }
}

fn source_id(number: usize) -> String {
    format!("S{number}")
}

/// What chunks and references say of a source: a page of the web if its metadata has a `url`, else a document.
fn described(source: &Source) -> Value {
    let hit = &source.hit;
    let title = hit.title.clone().unwrap_or_else(|| hit.document_id.to_string());
    let url = hit.metadata.get("url").and_then(Value::as_str);
    match url.filter(|url| url.starts_with("https://") || url.starts_with("http://")) {
        Some(url) => json!({"url": url, "title": title}),
        None => json!({"mediaType": "text/plain", "title": title, "filename": hit.document_id}),
    }
}
