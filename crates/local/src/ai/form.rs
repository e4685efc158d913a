//! The two forms in which a chat is answered: Workers AI's own and `OpenAI`'s.

use axum::body::Bytes;
use serde_json::{Value, json};

use super::sse::{self, Usage};
use crate::faults::ToolCall;
use crate::llama::Finish;
use crate::vectorize::store::{new_uuid, now_ms};

/// How a reply is written.
#[derive(Debug, Clone)]
pub(super) enum Form {
    /// As the binding's models do.
    WorkersAi,
    /// As `OpenAI`'s chat completions.
    OpenAi(Completion),
}

/// What every piece of a completion says.
#[derive(Debug, Clone)]
pub(super) struct Completion {
    id: String,
    created: u64,
    model: String,
    include_usage: bool,
}

/// How an answer ended.
#[derive(Debug, Clone, Copy)]
pub(super) struct End<'e> {
    pub(super) calls: &'e [ToolCall],
    pub(super) finish: Finish,
    pub(super) usage: Usage,
}

impl Completion {
    pub(super) fn new(model: &str, include_usage: bool) -> Self {
        let id = format!("chatcmpl-{}", new_uuid());
        Self { id, created: now_ms() / 1000, model: model.to_owned(), include_usage }
    }

    fn object(&self, kind: &str, choices: &Value) -> Value {
        json!({
            "id": self.id, "object": kind, "created": self.created, "model": self.model, "choices": choices,
        })
    }

    fn chunk(&self, delta: &Value, finish: Option<&str>) -> Bytes {
        let choice = json!({"index": 0, "delta": delta, "finish_reason": finish});
        sse::event(&self.object("chat.completion.chunk", &json!([choice])))
    }
}

fn finish_reason(end: &End<'_>) -> &'static str {
    match end.finish {
        _ if !end.calls.is_empty() => "tool_calls",
        Finish::Length => "length",
        Finish::Stop | Finish::Cancelled => "stop",
    }
}

fn open_ai_calls(calls: &[ToolCall], in_stream: bool) -> Value {
    let calls = calls.iter().enumerate().map(|(index, call)| {
        let function = json!({"name": call.name, "arguments": call.arguments.to_string()});
        let mut call = json!({"id": format!("call_{index}"), "type": "function", "function": function});
        if in_stream {
            call["index"] = index.into();
        }
        call
    });
    calls.collect()
}

impl Form {
    /// What goes before the first piece of a stream.
    pub(super) fn begin(&self) -> Bytes {
        match self {
            Self::WorkersAi => Bytes::new(),
            Self::OpenAi(completion) => completion.chunk(&json!({"role": "assistant", "content": ""}), None),
        }
    }

    /// A piece of text.
    pub(super) fn text(&self, piece: &str) -> Bytes {
        match self {
            Self::WorkersAi => sse::text_event(piece),
            Self::OpenAi(completion) => completion.chunk(&json!({"content": piece}), None),
        }
    }

    /// All that follows the text.
    pub(super) fn end(&self, end: &End<'_>) -> Bytes {
        let mut events = Vec::new();
        match self {
            Self::WorkersAi => {
                if !end.calls.is_empty() {
                    events.push(sse::calls_event(end.calls));
                }
                events.push(sse::usage_event(end.usage));
            }
            Self::OpenAi(completion) => {
                if !end.calls.is_empty() {
                    let calls = open_ai_calls(end.calls, true);
                    events.push(completion.chunk(&json!({"tool_calls": calls}), None));
                }
                events.push(completion.chunk(&json!({}), Some(finish_reason(end))));
                if completion.include_usage {
                    let mut last = completion.object("chat.completion.chunk", &json!([]));
                    last["usage"] = json!(end.usage);
                    events.push(sse::event(&last));
                }
            }
        }
        events.push(sse::done_event());
        events.concat().into()
    }

    /// The whole reply.
    pub(super) fn whole(&self, text: &str, end: &End<'_>, json_mode: bool) -> Value {
        match self {
            Self::WorkersAi => sse::whole(text, end.calls, end.usage, json_mode),
            Self::OpenAi(completion) => {
                let mut message = json!({"role": "assistant", "content": text});
                if !end.calls.is_empty() {
                    message["tool_calls"] = open_ai_calls(end.calls, false);
                    if text.is_empty() {
                        message["content"] = Value::Null;
                    }
                }
                let choice = json!({"index": 0, "message": message, "finish_reason": finish_reason(end)});
                let mut whole = completion.object("chat.completion", &json!([choice]));
                whole["usage"] = json!(end.usage);
                whole
            }
        }
    }
}
