//! What the AI SDK's transport posts.

use ragflare_cloudflare::core::answer::AnswerRequest;
use ragflare_cloudflare::core::ports::{Format, Message, Role, Tool, ToolCall};
use ragflare_cloudflare::core::{Error, Result};
use serde::Deserialize;
use serde_json::Value;

/// What must be objects in a request.
pub(super) const OBJECTS: &[&str] =
    &["messages/*", "messages/*/parts/*", "tools/*", "tools/*/function", "response_format"];

/// A chat. The transport also sends `id`, `trigger` and `messageId`, and an application may add fields of its own.
#[derive(Deserialize)]
pub(super) struct Chat {
    messages: Vec<UiMessage>,
    filter: Option<Value>,
    top_k: Option<usize>,
    max_tokens: Option<u32>,
    temperature: Option<f32>,
    seed: Option<u64>,
    top_p: Option<f32>,
    frequency_penalty: Option<f32>,
    presence_penalty: Option<f32>,
    model: Option<String>,
    #[serde(default)]
    tools: Vec<Tool>,
    response_format: Option<Format>,
    lora: Option<String>,
    #[serde(default)]
    skip_cache: bool,
}

#[derive(Deserialize)]
struct UiMessage {
    #[serde(default)]
    id: String,
    role: Role,
    parts: Vec<Part>,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct Part {
    r#type: String,
    #[serde(default)]
    text: String,
    #[serde(default)]
    tool_name: String,
    #[serde(default)]
    tool_call_id: String,
    #[serde(default)]
    state: String,
    #[serde(default)]
    input: Value,
    #[serde(default)]
    output: Value,
    #[serde(default)]
    error_text: String,
    #[serde(default)]
    source_id: String,
    #[serde(default)]
    provider_metadata: Value,
}

/// A message of the assistant's that waited for its tools, and goes on now.
#[derive(Default)]
pub(super) struct Continued {
    /// Its id; empty when a new one begins.
    pub(super) id: String,
    /// Its sources, by id and chunk.
    pub(super) sources: Vec<(String, String)>,
}

impl Chat {
    /// The message that goes on, if it is one.
    pub(super) fn continued(&self) -> Continued {
        let last = self.messages.last().filter(|last| last.role == Role::Assistant);
        let Some(last) = last else { return Continued::default() };
        let chunk = |part: &Part| {
            let chunk = part.provider_metadata["ragflare"]["chunk_id"].as_str()?;
            Some((part.source_id.clone(), chunk.to_owned()))
        };
        Continued { id: last.id.clone(), sources: last.parts.iter().filter_map(chunk).collect() }
    }

    /// # Errors
    /// [`Error::Invalid`] for files.
    pub(super) fn into_request(self) -> Result<AnswerRequest> {
        let mut messages = Vec::new();
        for message in self.messages {
            message.tell(&mut messages)?;
        }
        Ok(AnswerRequest {
            messages,
            filter: self.filter,
            top_k: self.top_k,
            max_tokens: self.max_tokens,
            temperature: self.temperature,
            seed: self.seed,
            top_p: self.top_p,
            frequency_penalty: self.frequency_penalty,
            presence_penalty: self.presence_penalty,
            model: self.model,
            tools: self.tools,
            response_format: self.response_format,
            lora: self.lora,
            skip_cache: self.skip_cache,
            stream: true,
        })
    }
}

impl UiMessage {
    /// The texts, and calls of tools with what they gave; what else an answer's message holds (sources, citations, reasoning)
    /// is not said again.
    fn tell(self, messages: &mut Vec<Message>) -> Result<()> {
        if self.role == Role::User && self.parts.iter().any(|part| part.r#type == "file") {
            let message = "a part of type `file` can't be read; upload it with PUT /v1/documents/{id}";
            return Err(Error::invalid("messages", message));
        }
        if self.role != Role::Assistant {
            messages.push(Message::new(self.role, texts(&self.parts)));
            return Ok(());
        }
        for step in self.parts.split(|part| part.r#type == "step-start") {
            let mut said = Message::new(Role::Assistant, texts(step));
            let mut given = Vec::new();
            for (call, gave) in step.iter().filter_map(Part::called) {
                given.push(Message { tool_call_id: Some(call.id.clone()), ..Message::new(Role::Tool, gave) });
                said.tool_calls.push(call);
            }
            if !said.content.is_empty() || !given.is_empty() {
                messages.push(said);
                messages.append(&mut given);
            }
        }
        Ok(())
    }
}

impl Part {
    /// A call that is done, and what it gave.
    fn called(&self) -> Option<(ToolCall, String)> {
        let name = match self.r#type.as_str() {
            "dynamic-tool" => &self.tool_name,
            other => other.strip_prefix("tool-")?,
        };
        let gave = match (self.state.as_str(), &self.output) {
            ("output-available", Value::String(text)) => text.clone(),
            ("output-available", output) => output.to_string(),
            ("output-error", _) => format!("error: {}", self.error_text),
            ("output-denied", _) => "error: the user does not allow this call".to_owned(),
            _ => return None,
        };
        // Arguments that were no JSON come back as the text they were.
        let arguments = self.input.as_str().map_or_else(|| self.input.to_string(), str::to_owned);
        Some((ToolCall::new(self.tool_call_id.as_str(), name, arguments), gave))
    }
}

fn texts(parts: &[Part]) -> String {
    let texts: Vec<&str> =
        parts.iter().filter(|part| part.r#type == "text").map(|part| part.text.as_str()).collect();
    texts.join("\n")
}
