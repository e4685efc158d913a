//! `POST /v1/chat/completions`: what is asked.

use super::reply::{Opening, Reply};
use super::unknown_model;
use crate::departure::UntilLeft;
use crate::origin::Links;
use crate::{sse, wire};
use futures::StreamExt;
use ragflare_cloudflare::core::answer::{AnswerEvent, AnswerRequest};
use ragflare_cloudflare::core::ports::{Format, Message, Role, Tool, ToolCall};
use ragflare_cloudflare::core::{Error, Result as CoreResult};
use ragflare_cloudflare::http::{ApiError, json};
use ragflare_cloudflare::invocation::Invocation;
use ragflare_cloudflare::keys::Scope;
use serde::Deserialize;
use serde::de::DeserializeOwned;
use serde_json::{Map, Value};
use worker::{Request, Response};

/// What must be objects in a request.
const OBJECTS: &[&str] = &[
    "messages/*",
    "messages/*/content/*",
    "messages/*/tool_calls/*",
    "messages/*/tool_calls/*/function",
    "stream_options",
    "tools/*",
    "tools/*/function",
    "response_format",
    "ragflare",
];

/// A request. Fields of `OpenAI`'s that do not change the answer, or have no meaning here, are ignored.
#[derive(Deserialize)]
struct Completion {
    #[serde(default)]
    model: String,
    messages: Vec<WireMessage>,
    stream: Option<bool>,
    max_tokens: Option<u32>,
    max_completion_tokens: Option<u32>,
    temperature: Option<f32>,
    seed: Option<u64>,
    top_p: Option<f32>,
    frequency_penalty: Option<f32>,
    presence_penalty: Option<f32>,
    stop: Option<Value>,
    logprobs: Option<bool>,
    logit_bias: Option<Value>,
    stream_options: Option<StreamOptions>,
    n: Option<u32>,
    tools: Option<Vec<Value>>,
    tool_choice: Option<Value>,
    parallel_tool_calls: Option<bool>,
    functions: Option<Vec<Value>>,
    response_format: Option<Value>,
    ragflare: Option<Map<String, Value>>,
}

#[derive(Deserialize)]
struct WireMessage {
    role: String,
    content: Option<Content>,
    refusal: Option<String>,
    tool_calls: Option<Vec<Value>>,
    tool_call_id: Option<String>,
}

#[derive(Deserialize)]
#[serde(untagged)]
enum Content {
    Text(String),
    Parts(Vec<ContentPart>),
}

#[derive(Deserialize)]
struct ContentPart {
    r#type: String,
    #[serde(default)]
    text: String,
    #[serde(default)]
    refusal: String,
}

#[derive(Deserialize)]
struct StreamOptions {
    include_usage: Option<bool>,
}

/// What `OpenAI` has no field for.
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Extension {
    filter: Option<Value>,
    top_k: Option<usize>,
    lora: Option<String>,
    skip_cache: Option<bool>,
}

impl WireMessage {
    fn into_message(self) -> CoreResult<Message> {
        let wrong = |message: String| Error::invalid("messages", message);
        let role = match self.role.as_str() {
            "system" | "developer" => Role::System,
            "user" => Role::User,
            "assistant" => Role::Assistant,
            "tool" if self.tool_call_id.is_none() => {
                return Err(wrong("a message of the role `tool` needs `tool_call_id`".into()));
            }
            "tool" => Role::Tool,
            other => return Err(wrong(format!("the role `{other}` is not known here"))),
        };
        let content = match self.content {
            None => self.refusal.unwrap_or_default(),
            Some(Content::Text(text)) => text,
            Some(Content::Parts(parts)) => parts
                .into_iter()
                .map(|part| match part.r#type.as_str() {
                    "text" => Ok(part.text),
                    "refusal" => Ok(part.refusal),
                    other => Err(wrong(format!("content of type `{other}` can't be read"))),
                })
                .collect::<CoreResult<Vec<String>>>()?
                .join("\n"),
        };
        let calls = self.tool_calls.into_iter().flatten();
        let tool_calls = calls.map(|call| read::<ToolCall>("messages", call)).collect::<CoreResult<_>>()?;
        Ok(Message { role, content, tool_calls, tool_call_id: self.tool_call_id })
    }
}

impl Completion {
    /// What would change the answer, but can't be had, is refused rather than ignored.
    fn refuse_unsupported(&self) -> CoreResult<()> {
        if self.n.is_some_and(|n| n != 1) {
            return Err(Error::invalid("n", "must be 1"));
        }
        if self.functions.as_ref().is_some_and(|functions| !functions.is_empty()) {
            return Err(Error::invalid("functions", "are not supported; `tools` are"));
        }
        if self.parallel_tool_calls == Some(false)
            && self.tools.as_ref().is_some_and(|tools| !tools.is_empty())
        {
            let message = "can't be false: the models have no such option";
            return Err(Error::invalid("parallel_tool_calls", message));
        }
        if self.stop.as_ref().is_some_and(is_filled) {
            return Err(Error::invalid("stop", "is not supported: the models have no such option"));
        }
        if self.logprobs == Some(true) {
            return Err(Error::invalid("logprobs", "can't be true: the models tell none"));
        }
        if self.logit_bias.as_ref().is_some_and(is_filled) {
            return Err(Error::invalid("logit_bias", "is not supported: the models have no such option"));
        }
        Ok(())
    }

    /// The tools that the model may call.
    fn tools(&mut self) -> CoreResult<Vec<Tool>> {
        let tools = self.tools.take().into_iter().flatten();
        let tools = tools.map(|tool| read("tools", tool)).collect::<CoreResult<_>>()?;
        match self.tool_choice.as_ref().map(Value::as_str) {
            None | Some(Some("auto")) => Ok(tools),
            Some(Some("none")) => Ok(Vec::new()),
            Some(_) => {
                let message = "must be \"auto\" or \"none\": the models can't be made to call a tool";
                Err(Error::invalid("tool_choice", message))
            }
        }
    }
}

/// Whether a value asks for anything.
fn is_filled(value: &Value) -> bool {
    match value {
        Value::Null => false,
        Value::String(text) => !text.is_empty(),
        Value::Array(members) => !members.is_empty(),
        Value::Object(members) => !members.is_empty(),
        Value::Bool(_) | Value::Number(_) => true,
    }
}

fn read<T: DeserializeOwned>(field: &str, value: Value) -> CoreResult<T> {
    serde_json::from_value(value).map_err(|error| Error::invalid(field, error.to_string()))
}

/// `POST /v1/chat/completions`, streamed or whole.
pub(crate) async fn completions(
    invocation: Invocation,
    request: &mut Request,
    what: &str,
) -> Result<Response, ApiError> {
    let access = invocation.authorize(request, Scope::Read).await?;
    let mut asked: Completion = wire::read(request, OBJECTS).await?;
    asked.refuse_unsupported()?;
    let tools = asked.tools()?;
    let messages: CoreResult<Vec<Message>> =
        asked.messages.into_iter().map(WireMessage::into_message).collect();
    let answering = &invocation.rag.settings().answer;
    let model = if asked.model.is_empty() { answering.model.clone() } else { asked.model };
    if !answering.allowed().contains(&model.as_str()) {
        return Err(unknown_model(&model));
    }
    let extension: Extension = read("ragflare", asked.ragflare.unwrap_or_default().into())?;
    let format = asked.response_format.map(|format| read::<Format>("response_format", format));
    let answer = AnswerRequest {
        messages: messages?,
        model: Some(model.clone()),
        tools,
        response_format: format.transpose()?,
        lora: extension.lora,
        skip_cache: extension.skip_cache.unwrap_or_default(),
        filter: extension.filter,
        top_k: extension.top_k,
        max_tokens: asked.max_completion_tokens.or(asked.max_tokens),
        temperature: asked.temperature,
        seed: asked.seed,
        top_p: asked.top_p,
        frequency_penalty: asked.frequency_penalty,
        presence_penalty: asked.presence_penalty,
        stream: asked.stream.unwrap_or_default(),
    };
    let prepared = match invocation.rag.prepare(&access.tenant, &answer).await {
        // By the name that the client used.
        Err(Error::Invalid { field, message })
            if field == "max_tokens" && asked.max_completion_tokens.is_some() =>
        {
            return Err(Error::invalid("max_completion_tokens", message).into());
        }
        Err(Error::Invalid { field, message }) if field == "lora" => {
            return Err(Error::invalid("ragflare.lora", message).into());
        }
        prepared => prepared?,
    };
    let include_usage = asked.stream_options.and_then(|options| options.include_usage).unwrap_or_default();
    let opening = Opening {
        request_id: invocation.request_id.clone(),
        links: Links::new(request)?,
        model,
        include_usage,
        is_formed: answer.response_format.is_some_and(|format| format != Format::Text),
    };
    let mut reply = Reply::new(opening, &prepared);
    let events = invocation.rag.stream(&access.tenant, prepared);
    if answer.stream {
        return sse::reply(invocation, request, what, events, move |event| reply.encode(event));
    }
    let mut events = UntilLeft::new(request, events);
    while let Some(event) = events.next().await {
        match event {
            AnswerEvent::Error(error) => return Err(error.into()),
            event => reply.take(event),
        }
    }
    invocation.report(what);
    events.still_there()?;
    json(200, &reply.whole())
}
