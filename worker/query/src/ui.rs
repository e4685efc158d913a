//! `POST /api/chat`: the AI SDK's UI message stream, `v1`, as `DefaultChatTransport` and `useChat` speak it (npm package
//! `ai`, `ui-message-stream/ui-message-chunks.ts` and `ui/http-chat-transport.ts`, read in 7.0.173).

mod request;

use crate::chat::{merged, spent};
use crate::{origin, sse, wire};
use ragflare_cloudflare::core::answer::{AnswerEvent, Source};
use ragflare_cloudflare::core::citations::Citation;
use ragflare_cloudflare::core::ports::{Finish, ToolCall};
use ragflare_cloudflare::http::ApiError;
use ragflare_cloudflare::invocation::Invocation;
use ragflare_cloudflare::keys::Scope;
use request::{Chat, Continued};
use serde_json::{Value, json};
use worker::{Request, Response, ResponseBuilder};

/// The answer is one text part.
const TEXT_ID: &str = "answer";

/// `POST /api/chat`
pub(crate) async fn answer(
    invocation: Invocation,
    request: &mut Request,
    what: &str,
) -> Result<Response, ApiError> {
    let access = invocation.authorize(request, Scope::Read).await?;
    let asked: Chat = wire::read(request, request::OBJECTS).await?;
    let continued = asked.continued();
    let prepared = invocation.rag.prepare(&access.tenant, &asked.into_request()?).await?;
    let mut message = UiStream {
        id: format!("msg-{}", invocation.request_id),
        continued,
        query: prepared.query.clone(),
        usage: spent(&prepared),
        sources: Vec::new(),
        units: 0,
        text_open: false,
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
    continued: Continued,
    query: String,
    usage: Value,
    sources: Vec<Source>,
    /// Length of the text so far in UTF-16 units, which JavaScript counts in.
    units: usize,
    text_open: bool,
    citations: Vec<Value>,
}

impl UiStream {
    fn encode(&mut self, event: AnswerEvent) -> String {
        match event {
            AnswerEvent::Sources(sources) => {
                let id = if self.continued.id.is_empty() { &self.id } else { &self.continued.id };
                let mut out = sse::plain(json!({"type": "start", "messageId": id}));
                // The SDK tells by these which calls of tools are still to be answered.
                out.push_str(&sse::plain(json!({"type": "start-step"})));
                for source in &sources {
                    let told = (source_id(source.number), source.hit.chunk_id.clone());
                    if self.continued.sources.contains(&told) {
                        continue;
                    }
                    let mut chunk = described(source);
                    chunk["type"] =
                        if chunk["url"].is_string() { "source-url" } else { "source-document" }.into();
                    chunk["sourceId"] = told.0.into();
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
            AnswerEvent::ToolCalls(calls) => {
                let mut out = self.close_text();
                out.extend(calls.iter().map(|call| sse::plain(called(call))));
                out
            }
            AnswerEvent::Usage(usage) => {
                self.usage = merged(json!(usage), &self.usage);
                String::new()
            }
            AnswerEvent::Done(ending) => {
                let reason = match ending.finish_reason {
                    Finish::Stop => "stop",
                    Finish::Length => "length",
                    Finish::ToolCalls => "tool-calls",
                    Finish::Truncated => "other",
                };
                let metadata = json!({"query": self.query, "usage": self.usage, "done": ending});
                let mut out = self.close_text();
                out.push_str(&sse::plain(json!({"type": "finish-step"})));
                let finish = json!({"type": "finish", "finishReason": reason, "messageMetadata": metadata});
                out + &end(&finish)
            }
            AnswerEvent::Error(error) => {
                let error = json!({"type": "error", "errorText": ApiError::from(error).message});
                self.close_text() + &end(&error)
            }
        }
    }

    fn close_text(&mut self) -> String {
        if !std::mem::take(&mut self.text_open) {
            return String::new();
        }
        let mut chunk = json!({"type": "text-end", "id": TEXT_ID});
        if !self.citations.is_empty() {
            chunk["citations"] = std::mem::take(&mut self.citations).into();
        }
        sse::plain(chunk)
    }

    /// A reference as the SDK's text parts have them since 7; the marker ends where the text stands now.
    fn citation(&self, citation: &Citation) -> Option<Value> {
        let source = self.sources.get(citation.source.checked_sub(1)?)?;
        let mut reference = described(source);
        reference["type"] = "source".into();
        reference["sourceType"] = if reference["url"].is_string() { "url" } else { "document" }.into();
        reference["id"] = source_id(source.number).into();
        let start = self.units.saturating_sub(citation.marker.encode_utf16().count());
        let mut made = json!({"source": reference, "startIndex": start, "endIndex": self.units});
        if let Some(sentence) = &citation.sentence {
            made["citedText"] = sentence.text.as_str().into();
        }
        Some(made)
    }
}

fn end(last: &Value) -> String {
    sse::plain(last) + &sse::plain("[DONE]")
}

/// A call for the page to make: it alone knows its tools, so they are dynamic ones here.
fn called(call: &ToolCall) -> Value {
    let function = &call.function;
    let mut chunk = json!({"toolCallId": call.id, "toolName": function.name, "dynamic": true});
    match serde_json::from_str::<Value>(&function.arguments) {
        Ok(input) => {
            chunk["type"] = "tool-input-available".into();
            chunk["input"] = input;
        }
        Err(error) => {
            chunk["type"] = "tool-input-error".into();
            chunk["input"] = function.arguments.as_str().into();
            chunk["errorText"] = format!("the model's arguments are no JSON: {error}").into();
        }
    }
    chunk
}

fn source_id(number: usize) -> String {
    format!("S{number}")
}

/// What chunks and references say of a source: a page of the web if its metadata has a `url`, else a document.
fn described(source: &Source) -> Value {
    let hit = &source.hit;
    let title = hit.title.clone().unwrap_or_else(|| hit.document_id.to_string());
    match origin::page(hit) {
        Some(url) => json!({"url": url, "title": title}),
        None => json!({"mediaType": "text/plain", "title": title, "filename": hit.document_id}),
    }
}
