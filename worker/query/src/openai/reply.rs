//! `POST /v1/chat/completions`: what is answered, in chunks or whole.

use super::error_body;
use crate::chat::merged;
use crate::origin::Links;
use crate::sse;
use ragflare_cloudflare::core::answer::{AnswerEvent, Ending, Outcome, Prepared, Source};
use ragflare_cloudflare::core::citations::Citation;
use ragflare_cloudflare::core::ports::{Finish, ToolCall, Usage};
use ragflare_cloudflare::http::ApiError;
use serde_json::{Value, json};

/// What a reply begins with.
pub(super) struct Opening {
    pub(super) request_id: String,
    pub(super) links: Links,
    /// As the request named it.
    pub(super) model: String,
    pub(super) include_usage: bool,
    /// Whether the text is to be of a form: JSON.
    pub(super) is_formed: bool,
}

/// What has been said so far.
pub(super) struct Reply {
    id: String,
    created: u64,
    opening: Opening,
    /// Whether a form was asked for and there will be a mere sentence: then it is said as a refusal, which the official
    /// clients do not parse.
    refuses: bool,
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
    /// To a request that was prepared.
    pub(super) fn new(opening: Opening, prepared: &Prepared) -> Self {
        Self {
            id: format!("chatcmpl-{}", opening.request_id),
            created: worker::Date::now().as_millis() / 1000,
            refuses: opening.is_formed && finds_nothing(prepared),
            opening,
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
            let content = if self.refuses { Value::Null } else { "".into() };
            out.push_str(&self.chunk(&json!({"role": "assistant", "content": content}), None, None));
        }
        match event {
            AnswerEvent::Sources(sources) => {
                let extension = json!({"query": self.query, "sources": sources});
                out.push_str(&self.chunk(&json!({}), None, Some(extension)));
                self.sources = sources;
            }
            AnswerEvent::Delta(text) => {
                let delta = if self.refuses { json!({"refusal": text}) } else { json!({"content": text}) };
                out.push_str(&self.chunk(&delta, None, None));
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
                if self.opening.include_usage {
                    let mut last = self.frame("chat.completion.chunk");
                    last["choices"] = json!([]);
                    last["usage"] = self.usage();
                    out.push_str(&sse::plain(last));
                }
                out.push_str(&sse::plain("[DONE]"));
            }
            AnswerEvent::Error(error) => {
                out.push_str(&sse::plain(error_body(&ApiError::from(error), &self.opening.request_id)));
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
        if self.refuses {
            message["refusal"] = message["content"].take();
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
        let source = citation.source.checked_sub(1).and_then(|at| self.sources.get(at));
        let title = source.and_then(|source| source.hit.title.clone());
        json!({"type": "url_citation", "url_citation": {
            "start_index": end.saturating_sub(citation.marker.chars().count()), "end_index": end,
            "title": title.unwrap_or_else(|| citation.document_id.to_string()),
            "url": self.opening.links.to(citation, source),
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
        json!({"id": self.id, "object": object, "created": self.created, "model": self.opening.model})
    }

    fn chunk(&self, delta: &Value, finish: Option<&str>, extension: Option<Value>) -> String {
        let mut chunk = self.frame("chat.completion.chunk");
        chunk["choices"] = json!([{"index": 0, "delta": delta, "logprobs": null, "finish_reason": finish}]);
        if self.opening.include_usage {
            chunk["usage"] = Value::Null;
        }
        if let Some(extension) = extension {
            chunk["ragflare"] = extension;
        }
        sse::plain(chunk)
    }
}

/// Whether the answer will be that the documents have nothing; known before its first word.
fn finds_nothing(prepared: &Prepared) -> bool {
    match &prepared.recorded {
        None => prepared.prompt.is_none(),
        Some(events) => events
            .iter()
            .any(|event| matches!(event, AnswerEvent::Done(ending) if ending.outcome == Outcome::NotFound)),
    }
}

fn finish(reason: Finish) -> &'static str {
    match reason {
        Finish::Stop => "stop",
        Finish::ToolCalls => "tool_calls",
        Finish::Length | Finish::Truncated => "length",
    }
}
