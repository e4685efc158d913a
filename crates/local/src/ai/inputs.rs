//! The inputs of the three tasks, checked as the platform's schemas do.

use serde_json::{Map, Value};

use super::wire::AiError;
use crate::embedder::Pooling;
use crate::llama::{GenerateOptions, Message};

/// Texts per embedding call.
pub const MAX_TEXTS: usize = 100;

/// `{text, pooling?}`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct EmbedInput {
    /// 1 to 100 texts, none of them empty.
    pub texts: Vec<String>,
    /// Mean unless asked otherwise.
    pub pooling: Pooling,
}

/// `{query, contexts: [{text}], top_k?}`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct RerankInput {
    /// Not empty.
    pub query: String,
    /// At least one.
    pub texts: Vec<String>,
    /// The most results; all when absent.
    pub top_k: Option<usize>,
}

/// What a chat is asked.
#[derive(Debug, Clone, PartialEq)]
pub struct ChatInput {
    /// The conversation or the prompt.
    pub prompt: Prompt,
    /// Answer with a stream of events.
    pub stream: bool,
    /// How to generate.
    pub options: GenerateOptions,
    /// The answer is to be JSON.
    pub json: bool,
    /// An adapter of the model.
    pub lora: Option<String>,
}

/// The two forms of a prompt.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Prompt {
    /// For the model's chat template.
    Chat(Vec<Message>),
    /// Already in the model's format (`raw: true`).
    Raw(String),
}

fn object<'v>(value: &'v Value, required: &str) -> Result<&'v Map<String, Value>, AiError> {
    let object =
        value.as_object().ok_or_else(|| AiError::input("Type mismatch of '/', 'object' not in the input"))?;
    if object.contains_key("requests") {
        return Err(AiError::input("'/requests' is supported by the twin for embeddings only"));
    }
    if object.is_empty() {
        return Err(AiError::input(format!("required properties at '/' are '{required}'")));
    }
    Ok(object)
}

fn text_of(value: &Value, place: &str) -> Result<String, AiError> {
    match value {
        Value::String(text) if text.is_empty() => {
            Err(AiError::input(format!("Length of '{place}' must be >= 1 but got 0")))
        }
        Value::String(text) => Ok(text.clone()),
        _ => Err(AiError::input(format!("Type mismatch of '{place}', 'string' not in the input"))),
    }
}

impl EmbedInput {
    /// Reads and checks the input.
    ///
    /// # Errors
    /// 5006.
    pub fn parse(inputs: &Value) -> Result<Self, AiError> {
        let inputs = object(inputs, "text")?;
        let text =
            inputs.get("text").ok_or_else(|| AiError::input("required properties at '/' are 'text'"))?;
        let texts = match text {
            Value::Array(items) if items.is_empty() => {
                return Err(AiError::input("Number of items of '/text' must be >= 1 but got 0"));
            }
            Value::Array(items) if items.len() > MAX_TEXTS => {
                return Err(AiError::input(format!(
                    "Number of items of '/text' must be <= {MAX_TEXTS} but got {}",
                    items.len()
                )));
            }
            Value::Array(items) => items
                .iter()
                .enumerate()
                .map(|(i, item)| text_of(item, &format!("/text/{i}")))
                .collect::<Result<_, _>>()?,
            one => vec![text_of(one, "/text")?],
        };
        let pooling = match inputs.get("pooling") {
            None | Some(Value::Null) => Pooling::default(),
            Some(Value::String(s)) if s == "mean" => Pooling::Mean,
            Some(Value::String(s)) if s == "cls" => Pooling::Cls,
            Some(other) => {
                return Err(AiError::input(format!(
                    "'/pooling' must be one of 'mean', 'cls' but got {other}"
                )));
            }
        };
        Ok(Self { texts, pooling })
    }
}

impl RerankInput {
    /// Reads and checks the input.
    ///
    /// # Errors
    /// 5006.
    pub fn parse(inputs: &Value) -> Result<Self, AiError> {
        let inputs = object(inputs, "query,contexts")?;
        let missing = || AiError::input("required properties at '/' are 'query,contexts'");
        let query = text_of(inputs.get("query").ok_or_else(missing)?, "/query")?;
        let Value::Array(contexts) = inputs.get("contexts").ok_or_else(missing)? else {
            return Err(AiError::input("Type mismatch of '/contexts', 'array' not in the input"));
        };
        if contexts.is_empty() {
            return Err(AiError::input("Number of items of '/contexts' must be >= 1 but got 0"));
        }
        let texts = contexts
            .iter()
            .enumerate()
            .map(|(i, context)| match context.get("text") {
                Some(text) => text_of(text, &format!("/contexts/{i}/text")),
                None => Err(AiError::input(format!("required properties at '/contexts/{i}' are 'text'"))),
            })
            .collect::<Result<_, _>>()?;
        let top_k = match number(inputs, "top_k", 1.0, 1e9)? {
            Some(k) if k.fract() != 0.0 => return Err(not_integer("top_k")),
            k => k.map(|k| k as usize),
        };
        Ok(Self { query, texts, top_k })
    }
}

fn not_integer(name: &str) -> AiError {
    AiError::input(format!("Type mismatch of '/{name}', 'integer' not in the input"))
}

/// A number in a range, both ends included.
fn number(inputs: &Map<String, Value>, name: &str, least: f64, most: f64) -> Result<Option<f64>, AiError> {
    match inputs.get(name) {
        None | Some(Value::Null) => Ok(None),
        Some(value) => match value.as_f64() {
            None => Err(AiError::input(format!("Type mismatch of '/{name}', 'number' not in the input"))),
            Some(n) if n < least => Err(AiError::input(format!("'/{name}' must be >= {least} but got {n}"))),
            Some(n) if n > most => Err(AiError::input(format!("'/{name}' must be <= {most} but got {n}"))),
            Some(n) => Ok(Some(n)),
        },
    }
}

fn integer(inputs: &Map<String, Value>, name: &str, least: f64, most: f64) -> Result<Option<u64>, AiError> {
    match number(inputs, name, least, most)? {
        Some(n) if n.fract() != 0.0 => Err(not_integer(name)),
        n => Ok(n.map(|n| n as u64)),
    }
}

fn boolean(inputs: &Map<String, Value>, name: &str) -> Result<bool, AiError> {
    match inputs.get(name) {
        None | Some(Value::Null) => Ok(false),
        Some(Value::Bool(flag)) => Ok(*flag),
        Some(_) => Err(AiError::input(format!("Type mismatch of '/{name}', 'boolean' not in the input"))),
    }
}

impl ChatInput {
    /// Reads and checks the input. Tools and functions are checked and then not shown to the model, which is too small to
    /// call them: it answers as one that chose not to.
    ///
    /// # Errors
    /// 5006.
    pub fn parse(inputs: &Value) -> Result<Self, AiError> {
        let inputs = object(inputs, "prompt' or 'messages")?;
        tools(inputs)?;
        let json = json_mode(inputs)?;
        let lora = match inputs.get("lora") {
            None | Some(Value::Null) => None,
            Some(name) => Some(text_of(name, "/lora")?),
        };
        let prompt = match (inputs.get("messages"), inputs.get("prompt")) {
            (Some(Value::Array(messages)), _) if !messages.is_empty() => Prompt::Chat(
                messages.iter().enumerate().map(|(i, m)| message(i, m)).collect::<Result<_, _>>()?,
            ),
            (Some(Value::Array(_)), _) => {
                return Err(AiError::input("Number of items of '/messages' must be >= 1 but got 0"));
            }
            (Some(_), _) => {
                return Err(AiError::input("Type mismatch of '/messages', 'array' not in the input"));
            }
            (None, Some(prompt)) => {
                let prompt = text_of(prompt, "/prompt")?;
                if boolean(inputs, "raw")? {
                    Prompt::Raw(prompt)
                } else {
                    Prompt::Chat(vec![Message::new("user", prompt)])
                }
            }
            (None, None) => {
                return Err(AiError::input(
                    "oneOf at '/' not met, 0 matches: required properties at '/' are 'prompt', required properties at '/' are 'messages'",
                ));
            }
        };
        let defaults = GenerateOptions::default();
        let float = |name: &str, least: f64, most: f64, default: f32| {
            Ok::<f32, AiError>(number(inputs, name, least, most)?.map_or(default, |n| n as f32))
        };
        let options = GenerateOptions {
            max_tokens: integer(inputs, "max_tokens", 1.0, 1e9)?.map_or(defaults.max_tokens, |n| n as usize),
            temperature: float("temperature", 0.0, 5.0, defaults.temperature)?,
            top_p: float("top_p", 0.0, 2.0, defaults.top_p)?,
            top_k: integer(inputs, "top_k", 1.0, 50.0)?.map_or(defaults.top_k, |n| n as usize),
            seed: integer(inputs, "seed", 0.0, 9_999_999_999.0)?,
            repetition_penalty: float("repetition_penalty", 0.0, 2.0, defaults.repetition_penalty)?,
            frequency_penalty: float("frequency_penalty", -2.0, 2.0, defaults.frequency_penalty)?,
            presence_penalty: float("presence_penalty", -2.0, 2.0, defaults.presence_penalty)?,
        };
        Ok(Self { prompt, stream: boolean(inputs, "stream")?, options, json, lora })
    }
}

/// Checks `tools` (each `{name, …}` or `{type: "function", function: {name, …}}`) and `functions` (each `{name, code}`).
fn tools(inputs: &Map<String, Value>) -> Result<(), AiError> {
    for list in ["tools", "functions"] {
        let items = match inputs.get(list) {
            None | Some(Value::Null) => continue,
            Some(Value::Array(items)) => items,
            Some(_) => {
                return Err(AiError::input(format!("Type mismatch of '/{list}', 'array' not in the input")));
            }
        };
        for (i, item) in items.iter().enumerate() {
            let place = format!("/{list}/{i}");
            if item.get("type").is_some_and(|kind| kind != "function") {
                return Err(AiError::input(format!("'{place}/type' must be 'function'")));
            }
            let function = item.get("function").unwrap_or(item);
            text_of(function.get("name").unwrap_or(&Value::Null), &format!("{place}/name"))?;
            if function.get("parameters").is_some_and(|schema| !schema.is_object()) {
                return Err(AiError::input(format!(
                    "Type mismatch of '{place}/parameters', 'object' not in the input"
                )));
            }
        }
    }
    Ok(())
}

/// Whether `response_format` asks for JSON. Its schema is not applied: the platform does not promise to keep it either.
fn json_mode(inputs: &Map<String, Value>) -> Result<bool, AiError> {
    let format = match inputs.get("response_format") {
        None | Some(Value::Null) => return Ok(false),
        Some(format) => format,
    };
    match format.get("type").and_then(Value::as_str) {
        Some("text") => Ok(false),
        Some("json_object") => Ok(true),
        Some("json_schema") if format.get("json_schema").is_some_and(Value::is_object) => Ok(true),
        Some("json_schema") => {
            Err(AiError::input("Type mismatch of '/response_format/json_schema', 'object' not in the input"))
        }
        _ => {
            Err(AiError::input("'/response_format/type' must be one of 'text', 'json_object', 'json_schema'"))
        }
    }
}

fn message(index: usize, value: &Value) -> Result<Message, AiError> {
    let place = format!("/messages/{index}");
    let role = text_of(value.get("role").unwrap_or(&Value::Null), &format!("{place}/role"))?;
    if !["system", "user", "assistant", "tool"].contains(&role.as_str()) {
        return Err(AiError::input(format!(
            "'{place}/role' must be one of 'system', 'user', 'assistant', 'tool' but got {role:?}"
        )));
    }
    let content = match value.get("content") {
        Some(Value::String(text)) => text.clone(),
        Some(Value::Array(parts)) => parts
            .iter()
            .map(|part| {
                match (part.get("type").and_then(Value::as_str), part.get("text").and_then(Value::as_str)) {
                    (Some("text"), Some(text)) => Ok(text),
                    _ => Err(AiError::input(format!("'{place}/content' may hold parts of type 'text' only"))),
                }
            })
            .collect::<Result<Vec<_>, _>>()?
            .concat(),
        None | Some(Value::Null) if value.get("tool_calls").is_some_and(Value::is_array) => String::new(),
        _ => {
            return Err(AiError::input(format!(
                "Type mismatch of '{place}/content', 'string' not in the input"
            )));
        }
    };
    // The model's template knows no calls: it reads its own as the text they are.
    let calls = value.get("tool_calls").and_then(Value::as_array).filter(|calls| !calls.is_empty());
    let content = match calls {
        None => content,
        Some(calls) => format!("{content}{}", Value::from(calls.clone())),
    };
    Ok(Message { role, content })
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    #[test]
    fn embedding_inputs() {
        let one = EmbedInput::parse(&json!({"text": "a"})).unwrap();
        assert_eq!((one.texts.len(), one.pooling), (1, Pooling::Mean));
        let two = EmbedInput::parse(&json!({"text": ["a", "b"], "pooling": "cls"})).unwrap();
        assert_eq!((two.texts.len(), two.pooling), (2, Pooling::Cls));
        assert_eq!(EmbedInput::parse(&json!({"text": vec!["a"; 100]})).unwrap().texts.len(), 100);
        for bad in [
            json!({}),
            json!([]),
            json!({"texts": "a"}),
            json!({"text": ""}),
            json!({"text": []}),
            json!({"text": ["a", ""]}),
            json!({"text": [1]}),
            json!({"text": vec!["a"; 101]}),
            json!({"text": "a", "pooling": "max"}),
            json!({"requests": [{"text": "a"}]}),
        ] {
            let error = EmbedInput::parse(&bad).unwrap_err();
            assert_eq!((error.code, error.status), (5006, 400), "{bad}");
        }
    }

    #[test]
    fn rerank_inputs() {
        let good =
            RerankInput::parse(&json!({"query": "q", "contexts": [{"text": "a"}], "top_k": 3})).unwrap();
        assert_eq!(good.top_k, Some(3));
        for bad in [
            json!({"contexts": [{"text": "a"}]}),
            json!({"query": "q"}),
            json!({"query": "q", "contexts": []}),
            json!({"query": "q", "contexts": ["a"]}),
            json!({"query": "q", "contexts": [{"text": ""}]}),
            json!({"query": "q", "contexts": [{"text": "a"}], "top_k": 0}),
            json!({"query": "q", "contexts": [{"text": "a"}], "top_k": 1.5}),
        ] {
            assert_eq!(RerankInput::parse(&bad).unwrap_err().code, 5006, "{bad}");
        }
    }

    #[test]
    fn chat_inputs() {
        let parts = json!({"messages": [{"role": "user", "content": [{"type": "text", "text": "a"}, {"type": "text", "text": "b"}]}]});
        let input = ChatInput::parse(&parts).unwrap();
        assert_eq!(input.prompt, Prompt::Chat(vec![Message::new("user", "ab")]));
        assert_eq!((input.stream, input.options), (false, GenerateOptions::default()));
        let prompt = json!({"prompt": "p", "stream": true, "max_tokens": 5, "temperature": 0, "seed": 1});
        let input = ChatInput::parse(&prompt).unwrap();
        assert_eq!(input.prompt, Prompt::Chat(vec![Message::new("user", "p")]));
        assert_eq!((input.stream, input.options.max_tokens, input.options.seed), (true, 5, Some(1)));
        let raw = ChatInput::parse(&json!({"prompt": "p", "raw": true})).unwrap();
        assert_eq!(raw.prompt, Prompt::Raw("p".into()));
        for bad in [
            json!({}),
            json!({"stream": true}),
            json!({"messages": []}),
            json!({"messages": "hello"}),
            json!({"messages": [{"role": "user"}]}),
            json!({"messages": [{"role": "robot", "content": "a"}]}),
            json!({"messages": [{"role": "user", "content": [{"type": "image_url"}]}]}),
            json!({"prompt": "p", "max_tokens": 0}),
            json!({"prompt": "p", "max_tokens": "5"}),
            json!({"prompt": "p", "temperature": 6}),
            json!({"prompt": "p", "stream": "yes"}),
        ] {
            assert_eq!(ChatInput::parse(&bad).unwrap_err().code, 5006, "{bad}");
        }
    }

    #[test]
    fn tools_and_formats_are_checked() {
        let with = |more: Value| {
            let mut inputs = json!({"messages": [{"role": "user", "content": "a"}]});
            inputs.as_object_mut().unwrap().extend(more.as_object().unwrap().clone());
            ChatInput::parse(&inputs)
        };
        let schema = json!({"type": "json_schema", "json_schema": {"type": "object"}});
        assert!(with(json!({"response_format": schema})).unwrap().json);
        assert!(with(json!({"response_format": {"type": "json_object"}})).unwrap().json);
        assert!(!with(json!({"response_format": {"type": "text"}})).unwrap().json);
        assert_eq!(with(json!({"lora": "mine"})).unwrap().lora.as_deref(), Some("mine"));
        let flat = json!({"name": "t", "description": "d", "parameters": {"type": "object"}});
        with(json!({"tools": [flat, {"type": "function", "function": flat}]})).unwrap();
        for bad in [
            json!({"tools": {}}),
            json!({"tools": [{"type": "function", "function": {}}]}),
            json!({"tools": [{"type": "other", "function": flat}]}),
            json!({"tools": [{"name": "t", "parameters": []}]}),
            json!({"response_format": {"type": "xml"}}),
            json!({"response_format": {"type": "json_schema"}}),
            json!({"response_format": "json"}),
            json!({"lora": 1}),
        ] {
            assert_eq!(with(bad.clone()).unwrap_err().code, 5006, "{bad}");
        }
        let calls =
            json!([{"role": "assistant", "content": null, "tool_calls": [{"name": "t", "arguments": {}}]}]);
        let input = ChatInput::parse(&json!({"messages": calls})).unwrap();
        assert_eq!(
            input.prompt,
            Prompt::Chat(vec![Message::new("assistant", r#"[{"arguments":{},"name":"t"}]"#)])
        );
    }
}
