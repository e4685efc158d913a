//! What a chat model is asked, and what it answers.

use crate::{Result, Tenant};
use futures::Stream;
use serde::{Deserialize, Deserializer, Serialize};
use serde_json::{Value, json};

/// Who speaks.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Role {
    /// Instructions.
    System,
    /// The person asking.
    User,
    /// The model.
    Assistant,
    /// What a tool that the model called gave.
    Tool,
}

/// A message of a conversation, in `OpenAI`'s shape.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Message {
    /// Who speaks.
    pub role: Role,
    /// What is said.
    #[serde(default)]
    pub content: String,
    /// Tools that the assistant called.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub tool_calls: Vec<ToolCall>,
    /// Of [`Role::Tool`]: the call that this answers.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub tool_call_id: Option<String>,
}

impl Message {
    /// A message of text.
    pub fn new(role: Role, content: impl Into<String>) -> Self {
        Self { role, content: content.into(), tool_calls: Vec::new(), tool_call_id: None }
    }
}

/// The only type of tools and of calls.
fn function() -> String {
    "function".into()
}

/// A call that the model wants made, in `OpenAI`'s shape.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct ToolCall {
    /// Names the call in the message that answers it.
    #[serde(default)]
    pub id: String,
    /// `function`.
    #[serde(default = "function")]
    pub r#type: String,
    /// What is called.
    pub function: Called,
}

/// A function that is called.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Called {
    /// Its name.
    pub name: String,
    /// Its arguments as JSON text; the model's own text, which may be no JSON.
    #[serde(default)]
    pub arguments: String,
}

impl ToolCall {
    /// A call of a function.
    pub fn new(id: impl Into<String>, name: impl Into<String>, arguments: impl Into<String>) -> Self {
        let function = Called { name: name.into(), arguments: arguments.into() };
        Self { id: id.into(), r#type: self::function(), function }
    }
}

/// A tool that the model may call, in `OpenAI`'s shape.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Tool {
    /// `function`.
    pub r#type: String,
    /// What can be called.
    pub function: Function,
}

/// A function that can be called.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Function {
    /// Its name.
    pub name: String,
    /// What it does, for the model.
    #[serde(default, deserialize_with = "or_default")]
    pub description: String,
    /// JSON schema of its arguments.
    #[serde(default = "no_parameters", deserialize_with = "or_no_parameters")]
    pub parameters: Value,
}

/// Clients write `null` for what they do not have.
fn or_default<'de, D: Deserializer<'de>>(deserializer: D) -> std::result::Result<String, D::Error> {
    Option::deserialize(deserializer).map(Option::unwrap_or_default)
}

fn or_no_parameters<'de, D: Deserializer<'de>>(deserializer: D) -> std::result::Result<Value, D::Error> {
    Option::deserialize(deserializer).map(|found| found.unwrap_or_else(no_parameters))
}

fn no_parameters() -> Value {
    json!({"type": "object", "properties": {}})
}

/// The form that an answer must have. Read from `OpenAI`'s `response_format`, and from Workers AI's, whose `json_schema` is
/// the schema itself.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(try_from = "WireFormat", into = "WireFormat")]
pub enum Format {
    /// Any text; what is meant when none is named.
    Text,
    /// A JSON object.
    JsonObject,
    /// JSON of this schema.
    JsonSchema(Value),
}

#[derive(Serialize, Deserialize)]
struct WireFormat {
    r#type: String,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    json_schema: Option<Value>,
}

impl TryFrom<WireFormat> for Format {
    type Error = String;

    fn try_from(wire: WireFormat) -> std::result::Result<Self, String> {
        match (wire.r#type.as_str(), wire.json_schema) {
            ("text", _) => Ok(Self::Text),
            ("json_object", _) => Ok(Self::JsonObject),
            ("json_schema", Some(Value::Object(mut named))) => {
                let is_named = named.contains_key("name") && named.contains_key("schema");
                let schema = if is_named { named.remove("schema") } else { None };
                Ok(Self::JsonSchema(schema.unwrap_or(Value::Object(named))))
            }
            ("json_schema", _) => Err("`json_schema` must be an object".into()),
            (other, _) => Err(format!("`{other}` is none of text, json_object, json_schema")),
        }
    }
}

impl From<Format> for WireFormat {
    fn from(format: Format) -> Self {
        let wire = |r#type: &str, json_schema| Self { r#type: r#type.into(), json_schema };
        match format {
            Format::Text => wire("text", None),
            Format::JsonObject => wire("json_object", None),
            Format::JsonSchema(schema) => {
                wire("json_schema", Some(json!({"name": "answer", "schema": schema})))
            }
        }
    }
}

/// How tokens are chosen, beside the temperature; by the model's own defaults where absent.
#[derive(Clone, Copy, Debug, Default, PartialEq, Serialize)]
pub struct Sampling {
    /// Makes sampling repeatable.
    pub seed: Option<u64>,
    /// Nucleus sampling, 0–1.
    pub top_p: Option<f32>,
    /// Penalty on frequent tokens, -2 to 2.
    pub frequency_penalty: Option<f32>,
    /// Penalty on tokens already there, -2 to 2.
    pub presence_penalty: Option<f32>,
}

/// What the chat model is asked.
#[derive(Clone, Debug, Default, PartialEq, Serialize)]
pub struct Prompt {
    /// Model name.
    pub model: String,
    /// The conversation, instructions first.
    pub messages: Vec<Message>,
    /// Answer room; always sent, since the platform's default is 256.
    pub max_tokens: u32,
    /// Sampling temperature.
    pub temperature: f32,
    /// How else tokens are chosen.
    pub sampling: Sampling,
    /// Tools that it may call.
    pub tools: Vec<Tool>,
    /// The form that the answer must have; `None` for text.
    pub format: Option<Format>,
    /// Name of a fine-tune.
    pub lora: Option<String>,
    /// Whether an answer that was given before will not do.
    pub skip_cache: bool,
    /// Prompts with the same word begin alike: the platform sends them to where that beginning is remembered.
    pub session: Option<String>,
}

/// Tokens of one generation, as the model counts them.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Usage {
    /// Tokens read.
    pub prompt_tokens: u64,
    /// Tokens written.
    pub completion_tokens: u64,
    /// Their sum.
    pub total_tokens: u64,
    /// Of those read, the ones that the model remembered from an earlier prompt.
    #[serde(default)]
    pub cached_tokens: u64,
}

impl std::ops::AddAssign for Usage {
    fn add_assign(&mut self, more: Self) {
        self.prompt_tokens += more.prompt_tokens;
        self.completion_tokens += more.completion_tokens;
        self.total_tokens += more.total_tokens;
        self.cached_tokens += more.cached_tokens;
    }
}

/// Why a generation ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Finish {
    /// The model was done.
    Stop,
    /// The answer room was used up.
    Length,
    /// It wants tools called.
    ToolCalls,
    /// The stream ended without saying so.
    Truncated,
}

/// What AI Gateway says of a call that went through it.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Gateway {
    /// Its log entry, if one is kept.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub log_id: Option<String>,
    /// `HIT` or `MISS`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub cache: Option<String>,
}

/// A step of a generation.
#[derive(Clone, Debug, PartialEq)]
pub enum Generated {
    /// What a gateway on the way says, before all else.
    Gateway(Gateway),
    /// More text.
    Delta(String),
    /// Tools that the model wants called, after the text.
    ToolCalls(Vec<ToolCall>),
    /// Tokens used.
    Usage(Usage),
    /// The end.
    Done(Finish),
}

/// The chat model.
pub trait TextGenerator {
    /// Deltas, then usage, then the end. Owns what it needs, so that a reply can outlive the request's handler.
    type Stream: Stream<Item = Result<Generated>> + Unpin + 'static;
    /// Starts a generation. Dropping the stream stops it.
    async fn generate(&self, tenant: &Tenant, prompt: &Prompt) -> Result<Self::Stream>;
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn both_shapes_of_a_format_are_read() {
        let schema = json!({"type": "object", "required": ["name"]});
        let named =
            json!({"type": "json_schema", "json_schema": {"name": "n", "strict": true, "schema": schema}});
        for wire in [named, json!({"type": "json_schema", "json_schema": schema})] {
            let format: Format = serde_json::from_value(wire).unwrap();
            assert_eq!(format, Format::JsonSchema(schema.clone()));
            let again: Format = serde_json::from_value(json!(format)).unwrap();
            assert_eq!(again, format);
        }
        let wrong = serde_json::from_value::<Format>(json!({"type": "xml"})).unwrap_err();
        assert_eq!(wrong.to_string(), "`xml` is none of text, json_object, json_schema");
    }
}
