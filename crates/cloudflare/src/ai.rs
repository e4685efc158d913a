//! A typed client of the Workers AI binding.
//!
//! `worker::Ai` (0.8.7) takes no options, loses error codes and turns maps into empty inputs. This client calls
//! the same binding, always asks for the raw `Response`, and so has status, error code and request id of every
//! call, also when several run at once.
//!
//! ```no_run
//! use futures::StreamExt;
//! use ragflare_cloudflare::ai::{Ai, AiError, GenerationRequest, Message, Pooling, StreamEvent};
//! use ragflare_cloudflare::ledger::Ledger;
//!
//! # async fn example(env: worker::Env) -> Result<(), AiError> {
//! let ai = Ai::from_env(&env, "AI", Ledger::new())?;
//! let vectors = ai.embed("@cf/baai/bge-small-en-v1.5", &["one", "two"], Pooling::Cls).await?;
//! assert_eq!(vectors.dimensions(), 384);
//!
//! let request = GenerationRequest::new(vec![Message::user("Say hello")], 256);
//! let mut stream = ai.stream("@cf/meta/llama-3.1-8b-instruct-fp8-fast", &request).await?;
//! while let Some(event) = stream.next().await {
//!     if let StreamEvent::Delta(text) = event? {
//!         worker::console_log!("{text}");
//!     }
//! }
//! # Ok(())
//! # }
//! ```
//!
//! **Errors** are [`AiError`]; [`AiError::retry_class`] says what to do about one. **Retries** follow the client's
//! [`RetryPolicy`], for every call and for opening a stream; once a stream has given its first event, nothing is
//! sent again. **Cancelling**: dropping a call's future aborts its request, dropping a stream cancels its reader.
//!
//! The binding object keeps the options of its latest call. Calls of this client always set the one that matters
//! (`returnRawResponse`), so they may run side by side; mixing them with other users of the *same binding object*
//! at the same time can give either side the other's kind of reply. (Read in `cloudflare-internal:ai-api`, workerd
//! 1.20261117.1.)

mod batch;
pub(crate) mod binding;
mod call;
mod delta;
mod embeddings;
mod error;
mod external;
mod gateway;
mod generation;
mod markdown;
mod options;
mod rerank;
pub(crate) mod retry;
mod speech;
pub mod sse;
mod stream;
mod vision;

use std::rc::Rc;

use futures::{StreamExt, TryStreamExt};
use wasm_bindgen::JsValue;

pub use batch::{BATCH_BYTES, BatchState};
pub use delta::{StreamDecoder, StreamEvent};
pub use embeddings::{EMBED_BATCH, Embeddings, Pooling};
pub use error::AiError;
pub(crate) use error::shorten;
pub use external::ExternalChat;
pub use gateway::{AiGateway, LogPatch};
pub use generation::{
    FinishReason, Generation, GenerationRequest, Message, ResponseFormat, Role, Tool, ToolCall, Usage,
};
pub use markdown::Markdown;
pub use options::{GatewayBackoff, GatewayOptions, GatewayRetries, RunOptions};
pub use rerank::Ranked;
pub use retry::{Backoff, RetryClass, RetryPolicy};
pub use speech::{AudioSize, Heard, audio_size};
pub use stream::GenerationStream;
pub use vision::VisionRequest;
pub(crate) use vision::is_cut_off;

use binding::Binding;
use call::{Call, Reply};

use crate::ledger::Ledger;

/// Calls of [`Ai::embed_all`] under way at once. A worker may have 6 connections that wait for a reply; this leaves
/// two for others.
const EMBED_CONCURRENCY: usize = 4;

/// The Workers AI binding. Cloning is cheap; clones share the ledger.
#[derive(Debug, Clone)]
pub struct Ai {
    binding: Binding,
    ledger: Ledger,
    retry: RetryPolicy,
    options: Rc<RunOptions>,
}

impl Ai {
    /// The class of the binding object.
    pub const CLASS: &'static str = "Ai";

    /// Over a binding object, unchecked: anything with a `run(model, inputs, options)` that gives a `Response`.
    pub fn new(binding: JsValue, ledger: Ledger) -> Self {
        Self::over(Binding { object: binding, name: Self::CLASS.to_owned() }, ledger)
    }

    /// The binding of this name.
    ///
    /// # Errors
    /// [`AiError::Binding`] if there is none or it is of another class, naming what was found.
    pub fn from_env(env: &worker::Env, name: &str, ledger: Ledger) -> Result<Self, AiError> {
        match Binding::from_env(env, name, Self::CLASS) {
            Ok(binding) => Ok(Self::over(binding, ledger)),
            Err(detail) => Err(AiError::Binding { name: name.to_owned(), detail }),
        }
    }

    fn over(binding: Binding, ledger: Ledger) -> Self {
        Self { binding, ledger, retry: RetryPolicy::default(), options: Rc::default() }
    }

    /// The same client with other retries.
    pub fn with_retry(mut self, retry: RetryPolicy) -> Self {
        self.retry = retry;
        self
    }

    /// The same client with these options for each of its calls.
    pub fn with_options(mut self, options: RunOptions) -> Self {
        self.options = Rc::new(options);
        self
    }

    /// Embeds at most [`EMBED_BATCH`] texts in one call. No text, no call.
    ///
    /// The model's window is the caller's concern: whether longer texts are cut or refused is not documented.
    ///
    /// # Errors
    /// As for any call; [`AiError::Malformed`] if the reply has not one vector for each text, all of one dimension,
    /// or says that it was pooled otherwise.
    pub async fn embed(&self, model: &str, texts: &[&str], pooling: Pooling) -> Result<Embeddings, AiError> {
        if texts.is_empty() {
            return Ok(Embeddings::default());
        }
        let inputs = embeddings::to_wire(texts, pooling)?;
        self.call(model, &inputs, async |reply: Reply| {
            let request_id = reply.request_id.clone();
            let expected = Some((texts.len(), pooling));
            Embeddings::from_wire(&reply.json("embedding").await?, expected, request_id)
        })
        .await
    }

    /// Embeds any number of texts in as many calls as needed, four at a time.
    ///
    /// # Errors
    /// As [`embed`](Self::embed). The first error drops the calls still under way.
    pub async fn embed_all(
        &self,
        model: &str,
        texts: &[&str],
        pooling: Pooling,
    ) -> Result<Embeddings, AiError> {
        futures::stream::iter(texts.chunks(EMBED_BATCH).map(|batch| self.embed(model, batch, pooling)))
            .buffered(EMBED_CONCURRENCY)
            .try_fold(Embeddings::default(), async |mut all, batch| {
                all.append(batch)?;
                Ok(all)
            })
            .await
    }

    /// Ranks texts by how well they answer the query, best first, at most `top_k`. No text, no call.
    ///
    /// # Errors
    /// As for any call; [`AiError::Malformed`] if the reply ranks a text twice or one that was not sent.
    pub async fn rerank(
        &self,
        model: &str,
        query: &str,
        contexts: &[&str],
        top_k: usize,
    ) -> Result<Vec<Ranked>, AiError> {
        if contexts.is_empty() {
            return Ok(Vec::new());
        }
        let inputs = rerank::to_wire(query, contexts, top_k)?;
        self.call(model, &inputs, async |reply: Reply| {
            let request_id = reply.request_id.clone();
            rerank::from_wire(&reply.text().await?, contexts.len(), top_k, request_id)
        })
        .await
    }

    /// Generates a whole text.
    ///
    /// # Errors
    /// As for any call.
    pub async fn generate(&self, model: &str, request: &GenerationRequest) -> Result<Generation, AiError> {
        let inputs = request.to_wire(false)?;
        self.call(model, &inputs, async |reply: Reply| {
            let (request_id, gateway_log_id) = (reply.request_id.clone(), reply.gateway_log_id.clone());
            let generation = Generation::from_wire(&reply.text().await?, request_id)?;
            Ok(Generation { gateway_log_id, ..generation })
        })
        .await
    }

    /// Writes down what a vision model sees in an image.
    ///
    /// # Errors
    /// As for any call.
    pub async fn describe(&self, model: &str, request: &VisionRequest<'_>) -> Result<Generation, AiError> {
        let inputs = request.to_wire(model)?;
        self.call(model, &inputs, async |reply: Reply| {
            let request_id = reply.request_id.clone();
            Generation::from_wire(&reply.text().await?, request_id)
        })
        .await
    }

    /// Writes down what a speech model hears in a recording of at most [`audio_size`]; `language` as an ISO 639-1 code.
    ///
    /// # Errors
    /// As for any call.
    pub async fn transcribe(
        &self,
        model: &str,
        audio: &[u8],
        language: Option<&str>,
    ) -> Result<Heard, AiError> {
        let inputs = speech::to_wire(model, audio, language)?;
        self.call(model, &inputs, async |reply: Reply| {
            let request_id = reply.request_id.clone();
            speech::from_wire(&reply.text().await?, request_id)
        })
        .await
    }

    /// Has the binding's `toMarkdown` convert a file.
    ///
    /// # Errors
    /// As for any call; what the service can't convert is [`Markdown::Refused`].
    pub async fn to_markdown(&self, name: &str, media_type: &str, bytes: &[u8]) -> Result<Markdown, AiError> {
        let call = async || markdown::convert(&self.binding, &self.ledger, name, media_type, bytes).await;
        retry::run(self.retry, call).await
    }

    /// Generates a text as a stream. Returns when the first event is there; a stream that fails or ends before
    /// that is tried again under the [`RetryPolicy`], whose deadline ends there too.
    ///
    /// A service that answers with a whole reply instead gives the same events, with all text in one delta. So does JSON mode,
    /// which does not stream (documentation of 2026-09).
    ///
    /// # Errors
    /// As for any call; later errors come as items of the stream.
    pub async fn stream(
        &self,
        model: &str,
        request: &GenerationRequest,
    ) -> Result<GenerationStream, AiError> {
        let inputs = request.to_wire(request.response_format.is_none())?;
        self.call(model, &inputs, GenerationStream::open).await
    }

    /// Sends, reads the reply by `read`, and does both again as the policy allows.
    async fn call<T>(
        &self,
        model: &str,
        inputs: &str,
        read: impl AsyncFn(Reply) -> Result<T, AiError>,
    ) -> Result<T, AiError> {
        self.call_with(&self.options, model, inputs, read).await
    }

    /// The same under other options than the client's.
    async fn call_with<T>(
        &self,
        options: &RunOptions,
        model: &str,
        inputs: &str,
        read: impl AsyncFn(Reply) -> Result<T, AiError>,
    ) -> Result<T, AiError> {
        let wire = options.to_wire()?;
        let call = Call { model, inputs, options: &wire, signal: options.signal.as_ref() };
        retry::run(self.retry, async || read(call.send(&self.binding, &self.ledger).await?).await).await
    }
}
