//! Workers AI behind core's model ports.

use crate::ai::{Ai, AiError, FinishReason, GenerationRequest, GenerationStream, RetryClass, StreamEvent};
use crate::ai::{Message as WireMessage, Pooling as WirePooling, Role as WireRole};
use futures::{Stream, StreamExt};
use ragflare_core::identity::Fingerprint;
use ragflare_core::ports::{
    Embedder, Embeddings, Finish, Generated, Prompt, Reranker, Role, TextGenerator, Usage,
};
use ragflare_core::settings::{EmbeddingSettings, Pooling};
use ragflare_core::{Error, Result, Retry, Tenant};
use std::pin::Pin;
use std::rc::Rc;
use std::task::{Context, Poll};

fn fault(service: &'static str, error: &AiError) -> Error {
    let retry = match error.retry_class() {
        // Another invocation has subrequests of its own; a reply that made no sense may make some next time.
        _ if matches!(error, AiError::SubrequestLimit { .. } | AiError::Malformed { .. }) => Retry::Backoff,
        RetryClass::Never => Retry::Never,
        RetryClass::Backoff | RetryClass::Once => Retry::Backoff,
        RetryClass::AfterMidnightUtc => Retry::AfterMidnightUtc,
    };
    Error::Service { service, retry, code: error.code(), message: error.to_string() }
}

/// The embedding model.
#[derive(Clone, Debug)]
pub struct AiEmbedder {
    ai: Ai,
    settings: Rc<EmbeddingSettings>,
}

impl AiEmbedder {
    /// Over a client.
    pub fn new(ai: Ai, settings: EmbeddingSettings) -> Self {
        Self { ai, settings: Rc::new(settings) }
    }

    async fn embed(&self, prefix: &str, texts: &[&str]) -> Result<Embeddings> {
        let pooling = match self.settings.pooling {
            Pooling::Cls => WirePooling::Cls,
            Pooling::Mean => WirePooling::Mean,
        };
        let prefixed: Vec<String>;
        let texts: Vec<&str> = if prefix.is_empty() {
            texts.to_vec()
        } else {
            prefixed = texts.iter().map(|text| format!("{prefix}{text}")).collect();
            prefixed.iter().map(String::as_str).collect()
        };
        let rows = self
            .ai
            .embed(&self.settings.model, &texts, pooling)
            .await
            .map_err(|error| fault("embedder", &error))?;
        Ok(Embeddings { dimensions: rows.dimensions(), values: rows.into_values() })
    }
}

impl Embedder for AiEmbedder {
    fn fingerprint(&self) -> Fingerprint {
        self.settings.fingerprint()
    }

    async fn embed_documents(&self, _: &Tenant, texts: &[&str]) -> Result<Embeddings> {
        self.embed(&self.settings.document_prefix, texts).await
    }

    async fn embed_query(&self, _: &Tenant, query: &str) -> Result<Vec<f32>> {
        Ok(self.embed(&self.settings.query_prefix, &[query]).await?.values)
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

/// The chat model.
#[derive(Clone, Debug)]
pub struct AiGenerator {
    ai: Ai,
}

impl AiGenerator {
    /// Over a client.
    pub fn new(ai: Ai) -> Self {
        Self { ai }
    }
}

/// A generation under way. Dropping it stops the model.
#[derive(Debug)]
pub struct Answers(GenerationStream);

impl Stream for Answers {
    type Item = Result<Generated>;

    fn poll_next(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<Option<Self::Item>> {
        loop {
            let event = match futures::ready!(self.0.poll_next_unpin(context)) {
                None => return Poll::Ready(None),
                Some(Err(error)) => return Poll::Ready(Some(Err(fault("generator", &error)))),
                Some(Ok(event)) => event,
            };
            return Poll::Ready(Some(Ok(match event {
                StreamEvent::Delta(text) => Generated::Delta(text),
                // No tools were offered.
                StreamEvent::ToolCalls(_) => continue,
                StreamEvent::Usage(usage) => Generated::Usage(Usage {
                    prompt_tokens: usage.prompt_tokens.into(),
                    completion_tokens: usage.completion_tokens.into(),
                    total_tokens: usage.total_tokens.into(),
                }),
                StreamEvent::Done { truncated: true, .. } => Generated::Done(Finish::Truncated),
                StreamEvent::Done { finish_reason: Some(FinishReason::Length), .. } => {
                    Generated::Done(Finish::Length)
                }
                StreamEvent::Done { .. } => Generated::Done(Finish::Stop),
            })));
        }
    }
}

impl TextGenerator for AiGenerator {
    type Stream = Answers;

    async fn generate(&self, _: &Tenant, prompt: &Prompt) -> Result<Answers> {
        let messages = prompt
            .messages
            .iter()
            .map(|message| {
                let role = match message.role {
                    Role::System => WireRole::System,
                    Role::User => WireRole::User,
                    Role::Assistant => WireRole::Assistant,
                };
                WireMessage::new(role, message.content.as_str())
            })
            .collect();
        let mut request = GenerationRequest::new(messages, prompt.max_tokens);
        request.temperature = Some(prompt.temperature);
        let stream =
            self.ai.stream(&prompt.model, &request).await.map_err(|error| fault("generator", &error))?;
        Ok(Answers(stream))
    }
}
