//! The pieces of a streamed reply, decoded from its server-sent events.
//!
//! Two shapes are read: native chunks `{"response": "…", "p": "padding"}` and `OpenAI` chunks
//! `{"choices": [{"delta": {"content": "…"}, "finish_reason": …}]}`. Either may carry `usage`, and either ends
//! with `data: [DONE]`. A stream that ends without it was cut.

use serde::Serialize;
use serde_json::Value;

use super::error::{AiError, code_in_text, error_in_json, shorten};
use super::generation::{FinishReason, Generation, ToolCall, Usage, arguments_from_wire, text_from_wire};
use super::sse::{SseEvent, SseParser};

/// One step of a streamed reply.
///
/// The order is: deltas, then the tool calls and the usage if there are any, then `Done`, always last unless an
/// error ends the stream.
#[derive(Debug, Clone, PartialEq, Serialize)]
#[serde(tag = "type", content = "value", rename_all = "snake_case")]
pub enum StreamEvent {
    /// More text, never empty.
    Delta(String),
    /// The calls the model wants made, complete.
    ToolCalls(Vec<ToolCall>),
    /// Tokens used.
    Usage(Usage),
    /// The end.
    Done {
        /// Why the model stopped, if the stream says so.
        finish_reason: Option<FinishReason>,
        /// The stream ended without its `[DONE]` mark: the text may be incomplete.
        truncated: bool,
    },
}

/// Turns the bytes of a stream into events.
#[derive(Debug, Default)]
pub struct StreamDecoder {
    parser: SseParser,
    calls: Vec<PartialCall>,
    usage: Option<Usage>,
    finish_reason: Option<FinishReason>,
    request_id: Option<String>,
    ended: bool,
}

/// A tool call that arrives in pieces.
#[derive(Debug, Default)]
struct PartialCall {
    id: Option<String>,
    name: String,
    text: String,
    whole: Option<Value>,
}

/// More calls than any model makes: an index above is ignored, so that a hostile one cannot fill the memory.
const MAX_TOOL_CALLS: usize = 128;

impl StreamDecoder {
    /// At the start of a stream. The request id goes into its errors.
    pub fn new(request_id: Option<String>) -> Self {
        Self { request_id, ..Self::default() }
    }

    /// Whether `Done` or an error was given out: what follows is ignored.
    pub fn ended(&self) -> bool {
        self.ended
    }

    /// Takes the next bytes.
    ///
    /// # Errors
    /// An error reported inside the stream, or data of no known shape. `events` holds what came before it.
    pub fn feed(&mut self, bytes: &[u8], events: &mut Vec<StreamEvent>) -> Result<(), AiError> {
        if self.ended {
            return Ok(());
        }
        let mut raw = Vec::new();
        let pushed = self.parser.push(bytes, &mut raw);
        for event in raw {
            self.event(&event, events)?;
            if self.ended {
                return Ok(());
            }
        }
        pushed.map_err(|error| self.fail(error.to_string()))
    }

    /// The stream is over. Gives out what was held back, `Done` included, unless that has happened already.
    ///
    /// # Errors
    /// As [`feed`](Self::feed), for a last event without an end mark.
    pub fn finish(&mut self, events: &mut Vec<StreamEvent>) -> Result<(), AiError> {
        if self.ended {
            return Ok(());
        }
        if let Some(last) = self.parser.finish()
            && (last.data.trim() == "[DONE]" || serde_json::from_str::<Value>(&last.data).is_ok())
        {
            self.event(&last, events)?;
        }
        if !self.ended {
            self.done(true, events);
        }
        Ok(())
    }

    fn event(&mut self, event: &SseEvent, events: &mut Vec<StreamEvent>) -> Result<(), AiError> {
        let data = event.data.trim();
        if data.is_empty() {
            return Ok(());
        }
        if data == "[DONE]" {
            self.done(false, events);
            return Ok(());
        }
        let Ok(value) = serde_json::from_str::<Value>(data) else {
            self.ended = true;
            let request_id = self.request_id.clone();
            return Err(match code_in_text(data) {
                Some(code) => {
                    AiError::Platform { code: Some(code), status: 200, message: shorten(data), request_id }
                }
                None => AiError::Malformed {
                    what: "stream",
                    detail: format!("no JSON: {}", shorten(data)),
                    request_id,
                },
            });
        };
        if let Some((code, message)) = error_in_json(&value) {
            self.ended = true;
            let request_id = self.request_id.clone();
            return Err(AiError::Platform { code, status: 200, message, request_id });
        }
        self.chunk(&value, events);
        Ok(())
    }

    fn chunk(&mut self, value: &Value, events: &mut Vec<StreamEvent>) {
        let choice = value.pointer("/choices/0");
        let delta = choice.and_then(|choice| choice.get("delta"));
        // A chunk may carry its text in both shapes: one of them is enough.
        let text = [
            delta.and_then(|delta| delta.get("content")),
            choice.and_then(|choice| choice.get("text")),
            value.get("response"),
        ]
        .into_iter()
        .flatten()
        .map(text_from_wire)
        .find(|text| !text.is_empty());
        if let Some(text) = text {
            events.push(StreamEvent::Delta(text));
        }
        let calls = delta
            .and_then(|delta| delta.get("tool_calls"))
            .or_else(|| value.get("tool_calls"))
            .and_then(Value::as_array);
        for call in calls.into_iter().flatten() {
            self.tool_call(call);
        }
        if let Some(usage) = value.get("usage").and_then(Usage::from_wire) {
            self.usage = Some(usage);
        }
        let reason = choice
            .and_then(|choice| choice.get("finish_reason"))
            .or_else(|| value.get("finish_reason"))
            .and_then(FinishReason::from_wire);
        self.finish_reason = reason.or_else(|| self.finish_reason.take());
    }

    /// A piece with an index continues that call; one without is a call of its own.
    fn tool_call(&mut self, piece: &Value) {
        let index =
            piece.get("index").and_then(Value::as_u64).map_or(self.calls.len(), |index| index as usize);
        if index >= MAX_TOOL_CALLS {
            return;
        }
        if self.calls.len() <= index {
            self.calls.resize_with(index + 1, PartialCall::default);
        }
        let call = &mut self.calls[index];
        let function = piece.get("function").unwrap_or(piece);
        if let Some(id) = piece.get("id").and_then(Value::as_str).filter(|id| !id.is_empty()) {
            call.id = Some(id.to_owned());
        }
        if let Some(name) = function.get("name").and_then(Value::as_str).filter(|name| !name.is_empty()) {
            name.clone_into(&mut call.name);
        }
        match function.get("arguments") {
            Some(Value::String(text)) => call.text.push_str(text),
            Some(Value::Null) | None => {}
            Some(whole) => call.whole = Some(whole.clone()),
        }
    }

    fn done(&mut self, truncated: bool, events: &mut Vec<StreamEvent>) {
        self.ended = true;
        let calls: Vec<ToolCall> = std::mem::take(&mut self.calls)
            .into_iter()
            .filter(|call| !call.name.is_empty())
            .map(PartialCall::complete)
            .collect();
        if !calls.is_empty() {
            events.push(StreamEvent::ToolCalls(calls));
        }
        events.extend(self.usage.take().map(StreamEvent::Usage));
        let finish_reason = self.finish_reason.take();
        events.push(StreamEvent::Done { finish_reason, truncated });
    }

    fn fail(&mut self, detail: String) -> AiError {
        self.ended = true;
        AiError::Malformed { what: "stream", detail, request_id: self.request_id.clone() }
    }
}

impl PartialCall {
    fn complete(self) -> ToolCall {
        let arguments = self.whole.unwrap_or_else(|| {
            if self.text.is_empty() {
                Value::Null
            } else {
                arguments_from_wire(Some(&Value::String(self.text)))
            }
        });
        ToolCall { id: self.id, name: self.name, arguments }
    }
}

/// The events of a reply that came whole although a stream was asked for.
pub(super) fn events_of(generation: Generation) -> Vec<StreamEvent> {
    let Generation { text, tool_calls, usage, finish_reason, .. } = generation;
    let mut events = Vec::new();
    if !text.is_empty() {
        events.push(StreamEvent::Delta(text));
    }
    if !tool_calls.is_empty() {
        events.push(StreamEvent::ToolCalls(tool_calls));
    }
    events.extend(usage.map(StreamEvent::Usage));
    events.push(StreamEvent::Done { finish_reason, truncated: false });
    events
}

#[cfg(test)]
#[path = "delta_tests.rs"]
mod tests;
