//! Ragflare over Cloudflare's bindings: typed Workers AI and Vectorize clients (the `worker` crate has no Vectorize, and
//! an AI binding without options), D1, R2 and Queues behind core's ports, and [`Ragflare`], which puts them together.

pub mod ai;
mod budget;
mod cache;
pub mod convert;
pub mod cors;
pub mod d1;
mod feedback;
pub mod http;
pub mod invocation;
pub mod keys;
pub mod ledger;
mod media;
mod models;
mod platform;
mod queue;
pub mod r2;
mod ragflare;
mod sources;
pub mod upload;
pub mod vectorize;
mod vectors;

pub use convert::ServiceConverter;
pub use feedback::Feedback;
pub use media::MediaConverter;
pub use models::{AiEmbedder, AiGenerator, AiReranker, Answers};
pub use platform::{Bindings, Platform};
pub use queue::CloudflareQueue;
pub use r2::R2Objects;
pub use ragflare::{Answer, NewDocument, Ragflare};
pub use ragflare_core as core;
pub use sources::{R2Event, R2EventObject, R2Sources};
pub use vectors::VectorizeVectors;
