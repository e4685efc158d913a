//! Workers AI behind core's model ports.

use crate::ai::{
    Ai, AiError, BatchState, ExternalChat, FinishReason, GatewayOptions, GenerationRequest, GenerationStream,
    ResponseFormat, RetryClass, RunOptions, StreamEvent,
};
use crate::ai::{
    Embeddings as WireEmbeddings, Message as WireMessage, Pooling as WirePooling, Role as WireRole,
    Tool as WireTool, ToolCall as WireCall,
};
use base64::Engine;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use futures::{Stream, StreamExt};
use ragflare_core::ports::{
    Collected, Embedder, Embeddings, Finish, Format, Gateway, Generated, Message, Prompt, Reranker, Role,
    TextGenerator, Tool, ToolCall, Usage,
};
use ragflare_core::settings::{EmbeddingSettings, GatewaySettings, Pooling};
use ragflare_core::{Error, Result, Retry, Tenant};
use serde_json::{Map, Value};
use sha2::{Digest, Sha256};
use std::borrow::Cow;
use std::pin::Pin;
use std::rc::Rc;
use std::task::{Context, Poll};

/// Codes of a service that is out of capacity for now.
const BUSY: [u32; 3] = [3007, 3008, 3040];
/// JSON mode could not meet the schema.
const NOT_THE_FORMAT: u32 = 5024;
/// The key of AI Gateway's metadata that tells whose a call was.
pub(crate) const TENANT: &str = "tenant";

pub(crate) fn fault(service: &'static str, error: &AiError) -> Error {
    let busy = match error {
        AiError::Platform { code: Some(code), .. } if BUSY.contains(code) => true,
        AiError::Platform { status: 429, .. } => error.retry_class() == RetryClass::Backoff,
        _ => false,
    };
    let retry = match error.retry_class() {
        _ if busy => Retry::Busy,
        // Another invocation has subrequests of its own; a reply that made no sense may make some next time.
        _ if matches!(error, AiError::SubrequestLimit { .. } | AiError::Malformed { .. }) => Retry::Backoff,
        RetryClass::Never => Retry::Never,
        RetryClass::Backoff | RetryClass::Once => Retry::Backoff,
        RetryClass::AfterMidnightUtc => Retry::AfterMidnightUtc,
    };
    // Without a code, the status tells a refusal of the input from one of the account.
    let status = match error {
        AiError::Platform { code: None, status, .. } => Some(u32::from(*status)),
        _ => None,
    };
    Error::Service { service, retry, code: error.code().or(status), message: error.to_string() }
}

/// The embedding model.
#[derive(Clone, Debug)]
pub struct AiEmbedder {
    ai: Ai,
}

impl AiEmbedder {
    /// Over a client.
    pub fn new(ai: Ai) -> Self {
        Self { ai }
    }

    async fn embed(&self, settings: &EmbeddingSettings, prefix: &str, texts: &[&str]) -> Result<Embeddings> {
        let prefixed = prefixed(prefix, texts);
        let texts: Vec<&str> = prefixed.iter().map(Cow::as_ref).collect();
        let rows = self
            .ai
            .embed(&settings.model, &texts, pooling(settings))
            .await
            .map_err(|error| embedder(&error))?;
        Ok(embeddings(rows))
    }
}

fn generator(error: &AiError) -> Error {
    match error.code() {
        Some(NOT_THE_FORMAT) => Error::Format { message: "no JSON of this schema came of it".into() },
        _ => fault("generator", error),
    }
}

/// Under which AI Gateway keeps an answer: the tenant, and all that the model is asked.
fn cache_key(tenant: &Tenant, prompt: &Prompt) -> Option<String> {
    let mut hasher = Sha256::new();
    // The session only says where it is asked.
    let asked = Prompt { session: None, skip_cache: false, ..prompt.clone() };
    hasher.update(serde_json::to_vec(&asked).ok()?);
    Some(format!("{}:{}", tenant.as_str(), URL_SAFE_NO_PAD.encode(hasher.finalize())))
}

fn embedder(error: &AiError) -> Error {
    fault("embedder", error)
}

fn embeddings(rows: WireEmbeddings) -> Embeddings {
    Embeddings { dimensions: rows.dimensions(), values: rows.into_values() }
}

fn pooling(settings: &EmbeddingSettings) -> WirePooling {
    match settings.pooling {
        Pooling::Cls => WirePooling::Cls,
        Pooling::Mean => WirePooling::Mean,
    }
}

fn prefixed<'a>(prefix: &str, texts: &[&'a str]) -> Vec<Cow<'a, str>> {
    let one = |text: &&'a str| match prefix {
        "" => Cow::Borrowed(*text),
        prefix => Cow::Owned(format!("{prefix}{text}")),
    };
    texts.iter().map(one).collect()
}

impl Embedder for AiEmbedder {
    async fn embed_documents(
        &self,
        _: &Tenant,
        settings: &EmbeddingSettings,
        texts: &[&str],
    ) -> Result<Embeddings> {
        self.embed(settings, &settings.document_prefix, texts).await
    }

    async fn embed_query(&self, _: &Tenant, settings: &EmbeddingSettings, query: &str) -> Result<Vec<f32>> {
        Ok(self.embed(settings, &settings.query_prefix, &[query]).await?.values)
    }

    async fn submit(&self, _: &Tenant, settings: &EmbeddingSettings, texts: &[&str]) -> Result<String> {
        let prefixed = prefixed(&settings.document_prefix, texts);
        let texts: Vec<&str> = prefixed.iter().map(Cow::as_ref).collect();
        let (model, pooling) = (&settings.model, pooling(settings));
        self.ai.submit_embeddings(model, &texts, pooling).await.map_err(|error| embedder(&error))
    }

    async fn collect(&self, _: &Tenant, settings: &EmbeddingSettings, ticket: &str) -> Result<Collected> {
        let state = self.ai.collect_embeddings(&settings.model, ticket).await;
        Ok(match state.map_err(|error| embedder(&error))? {
            BatchState::Running => Collected::Running,
            BatchState::Done(rows) => Collected::Done(embeddings(rows)),
            BatchState::Lost => Collected::Lost,
        })
    }
}

/// The cross-encoder.
#[derive(Clone, Debug)]
pub struct AiReranker {
    ai: Ai,
    model: Rc<str>,
}

impl AiReranker {
    /// Over a client.
    pub fn new(ai: Ai, model: &str) -> Self {
        Self { ai, model: model.into() }
    }
}

impl Reranker for AiReranker {
    async fn rerank(&self, _: &Tenant, query: &str, passages: &[&str]) -> Result<Vec<f32>> {
        let ranked = self
            .ai
            .rerank(&self.model, query, passages, passages.len())
            .await
            .map_err(|error| fault("reranker", &error))?;
        let mut scores = vec![f32::NEG_INFINITY; passages.len()];
        for found in &ranked {
            scores[found.index] = found.score;
        }
        if scores.iter().all(|score| score.is_finite()) {
            return Ok(scores);
        }
        Err(Error::Service {
            service: "reranker",
            retry: Retry::Backoff,
            code: None,
            message: "not every passage was scored".into(),
        })
    }
}

/// The chat models: those of Workers AI, and one of another service.
#[derive(Clone, Debug)]
pub struct AiGenerator {
    ai: Ai,
    external: Option<(Rc<str>, ExternalChat)>,
    gateway: Option<Rc<GatewaySettings>>,
}

impl AiGenerator {
    /// Over a client.
    pub fn new(ai: Ai) -> Self {
        Self { ai, external: None, gateway: None }
    }

    /// With AI Gateway before the models of Workers AI.
    pub fn with_gateway(self, gateway: &GatewaySettings) -> Self {
        Self { gateway: Some(Rc::new(gateway.clone())), ..self }
    }

    fn options(&self, tenant: &Tenant, prompt: &Prompt) -> RunOptions {
        let affinity =
            prompt.session.iter().map(|session| ("x-session-affinity".to_owned(), session.clone()));
        let gateway = self.gateway.as_ref().map(|gateway| {
            let cache_key = gateway.cache_ttl.and_then(|_| cache_key(tenant, prompt));
            GatewayOptions {
                id: gateway.id.clone(),
                cache_ttl: gateway.cache_ttl,
                // The gateway's own key would be all tenants'.
                skip_cache: (prompt.skip_cache || cache_key.is_none()).then_some(true),
                cache_key,
                metadata: Map::from_iter([(TENANT.to_owned(), tenant.as_str().into())]),
                collect_log: gateway.collect_log,
                ..GatewayOptions::default()
            }
        });
        RunOptions { extra_headers: affinity.collect(), gateway, ..RunOptions::default() }
    }

    /// With a model of another service, asked when a prompt names it.
    pub fn with_external(self, model: &str, chat: ExternalChat) -> Self {
        Self { external: Some((model.into(), chat)), ..self }
    }
}

fn wire_message(message: &Message) -> WireMessage {
    let role = match message.role {
        Role::System => WireRole::System,
        Role::User => WireRole::User,
        Role::Assistant => WireRole::Assistant,
        Role::Tool => WireRole::Tool,
    };
    let call = |call: &ToolCall| WireCall {
        id: Some(call.id.clone()),
        name: call.function.name.clone(),
        arguments: call.function.arguments.clone().into(),
    };
    WireMessage {
        tool_calls: message.tool_calls.iter().map(call).collect(),
        tool_call_id: message.tool_call_id.clone(),
        ..WireMessage::new(role, message.content.as_str())
    }
}

fn wire_tool(tool: &Tool) -> WireTool {
    let function = &tool.function;
    WireTool::Function {
        name: function.name.clone(),
        description: function.description.clone(),
        parameters: function.parameters.clone(),
    }
}

fn called(call: WireCall) -> ToolCall {
    let arguments = match call.arguments {
        Value::String(text) => text,
        Value::Null => "{}".into(),
        other => other.to_string(),
    };
    ToolCall::new(call.id.unwrap_or_default(), call.name, arguments)
}

/// A generation under way. Dropping it stops the model.
#[derive(Debug)]
pub struct Answers {
    stream: GenerationStream,
    gateway: Option<Gateway>,
}

impl Answers {
    fn new(stream: GenerationStream) -> Self {
        let (log_id, cache) = (stream.gateway_log_id(), stream.gateway_cache());
        let gateway = (log_id.is_some() || cache.is_some())
            .then(|| Gateway { log_id: log_id.map(str::to_owned), cache: cache.map(str::to_owned) });
        Self { stream, gateway }
    }
}

impl Stream for Answers {
    type Item = Result<Generated>;

    fn poll_next(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<Option<Self::Item>> {
        if let Some(gateway) = self.gateway.take() {
            return Poll::Ready(Some(Ok(Generated::Gateway(gateway))));
        }
        let event = match futures::ready!(self.stream.poll_next_unpin(context)) {
            None => return Poll::Ready(None),
            Some(Err(error)) => return Poll::Ready(Some(Err(generator(&error)))),
            Some(Ok(event)) => event,
        };
        Poll::Ready(Some(Ok(match event {
            StreamEvent::Delta(text) => Generated::Delta(text),
            StreamEvent::ToolCalls(calls) => Generated::ToolCalls(calls.into_iter().map(called).collect()),
            StreamEvent::Usage(usage) => Generated::Usage(Usage {
                prompt_tokens: usage.prompt_tokens.into(),
                completion_tokens: usage.completion_tokens.into(),
                total_tokens: usage.total_tokens.into(),
                cached_tokens: usage.cached_tokens.unwrap_or_default().into(),
            }),
            StreamEvent::Done { truncated: true, .. } => Generated::Done(Finish::Truncated),
            StreamEvent::Done { finish_reason: Some(FinishReason::Length), .. } => {
                Generated::Done(Finish::Length)
            }
            StreamEvent::Done { finish_reason: Some(FinishReason::ToolCalls), .. } => {
                Generated::Done(Finish::ToolCalls)
            }
            StreamEvent::Done { .. } => Generated::Done(Finish::Stop),
        })))
    }
}

impl TextGenerator for AiGenerator {
    type Stream = Answers;

    async fn generate(&self, tenant: &Tenant, prompt: &Prompt) -> Result<Answers> {
        let messages = prompt.messages.iter().map(wire_message).collect();
        let mut request = GenerationRequest::new(messages, prompt.max_tokens);
        request.temperature = Some(prompt.temperature);
        let sampling = prompt.sampling;
        (request.seed, request.top_p) = (sampling.seed, sampling.top_p);
        (request.frequency_penalty, request.presence_penalty) =
            (sampling.frequency_penalty, sampling.presence_penalty);
        request.tools = prompt.tools.iter().map(wire_tool).collect();
        request.response_format = match &prompt.format {
            None | Some(Format::Text) => None,
            Some(Format::JsonObject) => Some(ResponseFormat::JsonObject),
            Some(Format::JsonSchema(schema)) => Some(ResponseFormat::JsonSchema(schema.clone())),
        };
        let stream = match &self.external {
            Some((model, chat)) if **model == prompt.model => chat.stream(model, &request).await,
            _ => {
                if let Some(lora) = &prompt.lora {
                    request.extra.insert("lora".into(), lora.as_str().into());
                }
                let ai = self.ai.clone().with_options(self.options(tenant, prompt));
                ai.stream(&prompt.model, &request).await
            }
        };
        stream.map(Answers::new).map_err(|error| generator(&error))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn out_of_capacity_is_busy() {
        let retry = |status, body: &str| embedder(&AiError::from_reply(status, body, None)).retry();
        assert_eq!(retry(429, "AiError: 3040: Capacity temporarily exceeded"), Retry::Busy);
        assert_eq!(retry(408, "AiError: 3007: Timeout"), Retry::Busy);
        assert_eq!(retry(429, "too many requests"), Retry::Busy);
        assert_eq!(
            retry(429, "AiError: 3036: you have used up your daily allocation"),
            Retry::AfterMidnightUtc
        );
        assert_eq!(retry(502, "<html>bad gateway</html>"), Retry::Backoff);
        assert_eq!(retry(400, "AiError: 5007: No such model"), Retry::Never);
    }

    #[test]
    fn a_prefix_stands_before_each_text() {
        assert_eq!(prefixed("", &["a"]), ["a"]);
        assert_eq!(prefixed("query: ", &["a", "b"]), ["query: a", "query: b"]);
    }
}
