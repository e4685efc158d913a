//! Text generation: the request, and the reply read from either of its two shapes.
//!
//! Native models answer `{response, tool_calls?, usage?}`, newer ones `OpenAI`'s `{choices: [...]}` (workers-types
//! 5.20261117.1). `response` is documented as a string, and has been seen as null, a number, and an object in
//! JSON mode.

use serde::{Deserialize, Serialize, Serializer};
use serde_json::{Map, Value, json};

use super::error::{AiError, error_in_json, shorten};

/// A request for text.
///
/// Fields that are `None` are not sent, and the service's own defaults apply (temperature 0.6). Only
/// `max_tokens` is always sent: the default of 256 cuts answers short without saying so.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct GenerationRequest {
    /// The conversation, oldest first.
    pub messages: Vec<Message>,
    /// Most tokens to generate, at least 1.
    pub max_tokens: u32,
    /// 0 to 5.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub temperature: Option<f32>,
    /// Nucleus sampling, 0 to 1.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub top_p: Option<f32>,
    /// Sampling among the k likeliest tokens.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub top_k: Option<u32>,
    /// Makes sampling repeatable.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub seed: Option<u64>,
    /// Penalty on repeated tokens, 0 to 2.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub repetition_penalty: Option<f32>,
    /// Penalty on frequent tokens, -2 to 2.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub frequency_penalty: Option<f32>,
    /// Penalty on tokens already present, -2 to 2.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub presence_penalty: Option<f32>,
    /// JSON mode.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub response_format: Option<ResponseFormat>,
    /// Functions the model may call.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub tools: Vec<Tool>,
    /// Anything else the model takes, such as `lora`. It must not repeat a field above.
    #[serde(flatten)]
    pub extra: Map<String, Value>,
}

impl GenerationRequest {
    /// A request with the service's defaults.
    pub fn new(messages: Vec<Message>, max_tokens: u32) -> Self {
        Self {
            messages,
            max_tokens,
            temperature: None,
            top_p: None,
            top_k: None,
            seed: None,
            repetition_penalty: None,
            frequency_penalty: None,
            presence_penalty: None,
            response_format: None,
            tools: Vec::new(),
            extra: Map::new(),
        }
    }

    /// The JSON to send.
    pub(super) fn to_wire(&self, stream: bool) -> Result<String, AiError> {
        #[derive(Serialize)]
        struct Wire<'a> {
            #[serde(flatten)]
            request: &'a GenerationRequest,
            #[serde(skip_serializing_if = "std::ops::Not::not")]
            stream: bool,
        }
        if self.messages.is_empty() {
            return Err(AiError::Invalid { field: "messages", detail: "must not be empty".into() });
        }
        if self.max_tokens == 0 {
            return Err(AiError::Invalid { field: "max_tokens", detail: "must be at least 1".into() });
        }
        serde_json::to_string(&Wire { request: self, stream })
            .map_err(|error| AiError::Invalid { field: "request", detail: error.to_string() })
    }
}

/// Who speaks.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Role {
    /// Instructions.
    System,
    /// The person asking.
    User,
    /// The model.
    Assistant,
    /// The result of a tool call.
    Tool,
}

/// One message of the conversation.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Message {
    /// Who speaks.
    pub role: Role,
    /// The text.
    pub content: String,
    /// Calls the assistant made.
    #[serde(default, skip_serializing_if = "Vec::is_empty", serialize_with = "calls_to_wire")]
    pub tool_calls: Vec<ToolCall>,
    /// In a [`Role::Tool`] message, the call it answers.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub tool_call_id: Option<String>,
}

impl Message {
    /// A message of text.
    pub fn new(role: Role, content: impl Into<String>) -> Self {
        Self { role, content: content.into(), tool_calls: Vec::new(), tool_call_id: None }
    }

    /// Instructions.
    pub fn system(content: impl Into<String>) -> Self {
        Self::new(Role::System, content)
    }

    /// What the person says.
    pub fn user(content: impl Into<String>) -> Self {
        Self::new(Role::User, content)
    }

    /// What the model said.
    pub fn assistant(content: impl Into<String>) -> Self {
        Self::new(Role::Assistant, content)
    }
}

/// The form the answer must have.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(tag = "type", content = "json_schema", rename_all = "snake_case")]
pub enum ResponseFormat {
    /// Any JSON object.
    JsonObject,
    /// JSON of this schema. A model that cannot meet it answers with error 5024.
    JsonSchema(Value),
}

/// A function the model may call.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(tag = "type", content = "function", rename_all = "lowercase")]
pub enum Tool {
    /// The only kind there is.
    Function {
        /// Its name.
        name: String,
        /// What it does, for the model.
        description: String,
        /// JSON schema of its arguments.
        parameters: Value,
    },
}

/// A call the model wants made.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct ToolCall {
    /// Identifies the call. Native models give none.
    #[serde(default)]
    pub id: Option<String>,
    /// The function.
    pub name: String,
    /// Its arguments: an object, or the model's own text when that is no JSON.
    #[serde(default)]
    pub arguments: Value,
}

impl ToolCall {
    /// Reads `{name, arguments}` or `{id, function: {name, arguments: "…"}}`.
    pub(super) fn from_wire(value: &Value) -> Option<Self> {
        let function = value.get("function").unwrap_or(value);
        Some(Self {
            id: value.get("id").and_then(Value::as_str).map(str::to_owned),
            name: function.get("name")?.as_str()?.to_owned(),
            arguments: arguments_from_wire(function.get("arguments")),
        })
    }
}

/// `OpenAI` shapes send the arguments as JSON inside a string.
pub(super) fn arguments_from_wire(value: Option<&Value>) -> Value {
    match value {
        None => Value::Null,
        Some(Value::String(text)) => {
            serde_json::from_str(text).unwrap_or_else(|_| Value::String(text.clone()))
        }
        Some(other) => other.clone(),
    }
}

fn calls_to_wire<S: Serializer>(calls: &[ToolCall], serializer: S) -> Result<S::Ok, S::Error> {
    serializer.collect_seq(calls.iter().map(|call| {
        let arguments = match &call.arguments {
            Value::String(text) => text.clone(),
            other => other.to_string(),
        };
        let function = json!({ "name": call.name, "arguments": arguments });
        json!({ "id": call.id, "type": "function", "function": function })
    }))
}

/// Why the model stopped.
#[derive(Debug, Clone, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum FinishReason {
    /// It was done.
    Stop,
    /// `max_tokens` was reached: the text is incomplete.
    Length,
    /// It wants tools called.
    ToolCalls,
    /// A filter stopped it.
    ContentFilter,
    /// Another reason, in the model's own word.
    #[serde(untagged)]
    Other(String),
}

impl FinishReason {
    pub(super) fn from_wire(value: &Value) -> Option<Self> {
        Some(match value.as_str()? {
            "" => return None,
            "stop" | "eos" | "end_turn" => Self::Stop,
            "length" | "max_tokens" => Self::Length,
            "tool_calls" | "function_call" => Self::ToolCalls,
            "content_filter" => Self::ContentFilter,
            other => Self::Other(other.to_owned()),
        })
    }
}

/// Tokens used.
#[derive(Debug, Clone, Copy, Default, PartialEq, Serialize, Deserialize)]
pub struct Usage {
    /// Tokens read.
    pub prompt_tokens: u32,
    /// Tokens written.
    pub completion_tokens: u32,
    /// Both.
    pub total_tokens: u32,
    /// Of the tokens read, those found in the prompt cache.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub cached_tokens: Option<u32>,
    /// What the call cost in neurons, when the reply says so.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub neurons: Option<f64>,
}

impl Usage {
    pub(super) fn from_wire(value: &Value) -> Option<Self> {
        let count = |value: Option<&Value>| value.and_then(Value::as_f64).map(|count| count as u32);
        let usage = value.as_object()?;
        let prompt_tokens = count(usage.get("prompt_tokens"));
        let completion_tokens = count(usage.get("completion_tokens"));
        let total_tokens = count(usage.get("total_tokens"));
        prompt_tokens.or(completion_tokens).or(total_tokens)?;
        let (prompt_tokens, completion_tokens) =
            (prompt_tokens.unwrap_or_default(), completion_tokens.unwrap_or_default());
        Some(Self {
            prompt_tokens,
            completion_tokens,
            total_tokens: total_tokens.unwrap_or_else(|| prompt_tokens.saturating_add(completion_tokens)),
            cached_tokens: count(value.pointer("/prompt_tokens_details/cached_tokens")),
            neurons: usage.get("neurons").and_then(Value::as_f64),
        })
    }
}

/// A whole reply.
#[derive(Debug, Clone, Default, PartialEq, Serialize)]
pub struct Generation {
    /// The text. In JSON mode, the JSON as text. Empty if the model only calls tools.
    pub text: String,
    /// The calls the model wants made.
    pub tool_calls: Vec<ToolCall>,
    /// Tokens used, if the reply says so.
    pub usage: Option<Usage>,
    /// Why it stopped, if the reply says so.
    pub finish_reason: Option<FinishReason>,
    /// The header `cf-ai-req-id`.
    pub request_id: Option<String>,
    /// The header `cf-aig-log-id`, when the call went through AI Gateway.
    pub gateway_log_id: Option<String>,
}

impl Generation {
    /// Reads the body of a reply with status 200.
    pub(super) fn from_wire(body: &str, request_id: Option<String>) -> Result<Self, AiError> {
        let malformed = |detail: String| AiError::Malformed {
            what: "generation",
            detail,
            request_id: request_id.clone(),
        };
        let value: Value =
            serde_json::from_str(body).map_err(|error| malformed(format!("{error} in {}", shorten(body))))?;
        if let Some((code, message)) = error_in_json(&value) {
            return Err(AiError::Platform { code, status: 200, message, request_id });
        }
        let choice = value.pointer("/choices/0");
        let message = choice.and_then(|choice| choice.get("message"));
        let calls = message.and_then(|message| message.get("tool_calls")).or_else(|| value.get("tool_calls"));
        let text = message
            .and_then(|message| message.get("content"))
            .or_else(|| choice.and_then(|choice| choice.get("text")))
            .or_else(|| value.get("response"));
        if text.is_none() && choice.is_none() && calls.is_none() {
            return Err(malformed(format!("neither `response` nor `choices` in {}", shorten(body))));
        }
        let finish_reason =
            choice.and_then(|choice| choice.get("finish_reason")).or_else(|| value.get("finish_reason"));
        Ok(Self {
            text: text.map(text_from_wire).unwrap_or_default(),
            tool_calls: calls
                .and_then(Value::as_array)
                .map(|calls| calls.iter().filter_map(ToolCall::from_wire).collect())
                .unwrap_or_default(),
            usage: value.get("usage").and_then(Usage::from_wire),
            finish_reason: finish_reason.and_then(FinishReason::from_wire),
            request_id,
            gateway_log_id: None,
        })
    }
}

/// The text of a `response` or `content`, whatever its type: null is none, an object is its JSON, a list of parts
/// is their texts.
pub(super) fn text_from_wire(value: &Value) -> String {
    match value {
        Value::Null => String::new(),
        Value::String(text) => text.clone(),
        Value::Array(parts) if parts.iter().any(|part| part.get("text").is_some()) => {
            parts.iter().filter_map(|part| part.get("text").and_then(Value::as_str)).collect()
        }
        other => other.to_string(),
    }
}

#[cfg(test)]
#[path = "generation_tests.rs"]
mod tests;
