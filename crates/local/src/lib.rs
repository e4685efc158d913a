//! The offline twin of Cloudflare Workers AI and Vectorize.
//!
//! One native process that speaks the wire protocols of the two *bindings* (what the runtime's own `Ai` and
//! `VectorizeIndexImpl` classes send), with real models behind them and a durable, exact vector store. It keeps the
//! platform's limits, error codes and delayed visibility of writes, and it can inject faults on demand.
//!
//! The engines are usable without the server: [`Embedder`], [`Reranker`], [`Llama`] and [`VectorStore`].
//!
//! Where the twin differs from the platform:
//! - chat model names are answered by the one GGUF model that is installed, the reranker by a stand-in;
//!   `GET /ai-api/models/search` says which is which;
//! - similarity search is exact, the platform's is approximate;
//! - the chat model is small: it is never shown tools, has no adapters, and JSON mode seldom succeeds;
//! - AI Gateway is a log and a cache in memory, any name of a gateway will do ([`ai::gateway`]);
//! - asynchronous batches are there for embeddings only, and a twin that starts anew knows none ([`ai::batch`]);
//! - vision, speech, images and Markdown conversion are absent and answer with a clear error.

pub mod ai;
pub mod args;
pub mod control;
pub mod embedder;
pub mod error;
pub mod faults;
pub mod llama;
pub mod onnx;
pub mod reranker;
pub mod server;
pub mod stats;
pub mod vectorize;

pub use embedder::{Embedder, Pooling};
pub use error::{Error, Result};
pub use llama::{GenerateOptions, Llama, Message, Outcome};
pub use reranker::Reranker;
pub use vectorize::store::VectorStore;
