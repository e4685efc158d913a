//! `POST /v1/chat/completions`: what is answered, in chunks or whole.

use super::error_body;
use crate::chat::merged;
use crate::sse;
use ragflare_cloudflare::core::answer::{AnswerEvent, Ending, Prepared, Source};
use ragflare_cloudflare::core::citations::Citation;
use ragflare_cloudflare::core::ports::{Finish, ToolCall, Usage};
use ragflare_cloudflare::http::ApiError;
use serde_json::{Value, json};

/// What has been said so far.
pub(super) struct Reply {
    id: String,
    created: u64,
    model: String,
    include_usage: bool,
    request_id: String,
    query: String,
    /// What the search used and what became of it: the field `ragflare.usage` begins with it.
    spent: Value,
    text: String,
    opened: bool,
    tool_calls: Vec<ToolCall>,
    annotations: Vec<Value>,
    sources: Vec<Source>,
    tokens: Usage,
    ending: Option<Ending>,
}

impl Reply {
    /// To a request that named `model`.
    pub(super) fn new(request_id: &str, model: String, include_usage: bool, prepared: &Prepared) -> Self {
        Self {
            id: format!("chatcmpl-{request_id}"),
            created: worker::Date::now().as_millis() / 1000,
            model,
            include_usage,
            request_id: request_id.to_owned(),
            query: prepared.query.clone(),
            spent: crate::chat::spent(prepared),
            text: String::new(),
            opened: false,
            tool_calls: Vec::new(),
            annotations: Vec::new(),
            sources: Vec::new(),
            tokens: Usage::default(),
            ending: None,
        }
    }

    /// Notes an event.
    pub(super) fn take(&mut self, event: AnswerEvent) {
        match event {
            AnswerEvent::Sources(sources) => self.sources = sources,
            AnswerEvent::Delta(text) => self.text.push_str(&text),
            AnswerEvent::Citation(citation) => {
                let annotation = self.annotation(&citation);
                self.annotations.push(annotation);
            }
            AnswerEvent::ToolCalls(calls) => self.tool_calls = calls,
            AnswerEvent::Usage(usage) => {
                self.tokens = usage.tokens;
                self.spent = merged(json!(usage), &self.spent);
            }
            AnswerEvent::Done(ending) => self.ending = Some(ending),
            AnswerEvent::Error(_) => {}
        }
    }

    /// The chunks that say an event.
    pub(super) fn encode(&mut self, event: AnswerEvent) -> String {
        let opening = !std::mem::replace(&mut self.opened, true);
        let mut out = String::new();
        if opening {
            out.push_str(&self.chunk(&json!({"role": "assistant", "content": ""}), None, None));
        }
        match event {
            AnswerEvent::Sources(sources) => {
                let extension = json!({"query": self.query, "sources": sources});
                out.push_str(&self.chunk(&json!({}), None, Some(extension)));
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
            AnswerEvent::ToolCalls(calls) => {
                let numbered: Vec<Value> = calls
                    .iter()
                    .enumerate()
                    .map(|(index, call)| {
                        let mut call = json!(call);
                        call["index"] = index.into();
                        call
                    })
                    .collect();
                out.push_str(&self.chunk(&json!({"tool_calls": numbered}), None, None));
            }
            usage @ AnswerEvent::Usage(_) => self.take(usage),
            AnswerEvent::Done(ending) => {
                let extension = json!({"usage": self.spent, "done": ending});
                out.push_str(&self.chunk(&json!({}), Some(finish(ending.finish_reason)), Some(extension)));
                if self.include_usage {
                    let mut last = self.frame("chat.completion.chunk");
                    last["choices"] = json!([]);
                    last["usage"] = self.usage();
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

    /// All of it as one.
    pub(super) fn whole(&self) -> Value {
        let mut whole = self.frame("chat.completion");
        let mut message = json!({
            "role": "assistant", "content": self.text, "refusal": null, "annotations": self.annotations,
        });
        if !self.tool_calls.is_empty() {
            message["tool_calls"] = json!(self.tool_calls);
            if self.text.is_empty() {
                message["content"] = Value::Null;
            }
        }
        let reason = self.ending.as_ref().map_or("stop", |ending| finish(ending.finish_reason));
        whole["choices"] =
            json!([{"index": 0, "finish_reason": reason, "logprobs": null, "message": message}]);
        whole["usage"] = self.usage();
        whole["ragflare"] = json!({
            "query": self.query, "sources": self.sources, "usage": self.spent, "done": self.ending,
        });
        whole
    }

    /// The marker ends where the text stands now; indices count characters, as `OpenAI`'s do.
    fn annotation(&self, citation: &Citation) -> Value {
        let end = self.text.chars().count();
        let title = self.sources.get(citation.source - 1).and_then(|source| source.hit.title.clone());
        json!({"type": "url_citation", "url_citation": {
            "start_index": end.saturating_sub(citation.marker.chars().count()), "end_index": end,
            "title": title.unwrap_or_else(|| citation.document_id.to_string()),
            "url": format!("/v1/documents/{}/text", citation.document_id),
            "ragflare": citation,
        }})
    }

    fn usage(&self) -> Value {
        let tokens = self.tokens;
        json!({
            "prompt_tokens": tokens.prompt_tokens, "completion_tokens": tokens.completion_tokens,
            "total_tokens": tokens.total_tokens,
            "prompt_tokens_details": {"cached_tokens": tokens.cached_tokens},
        })
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
}

fn finish(reason: Finish) -> &'static str {
    match reason {
        Finish::Stop => "stop",
        Finish::ToolCalls => "tool_calls",
        Finish::Length | Finish::Truncated => "length",
    }
}
