//! Pure logic of Ragflare: chunking, token counts, keyword terms, fusion, context packing, prompt, citations,
//! the ingest and answer pipelines, and the [`ports`] they need. No I/O; builds natively and for wasm32.
//!
//! The pipelines are generic over [`ports::Ports`]; `ragflare-cloudflare` implements the ports over Cloudflare's
//! bindings, and the `testing` feature has in-memory ones with a contract suite for both.

pub mod answer;
pub mod chunk;
pub mod citations;
pub mod conversion;
pub mod document;
mod error;
pub mod file_name;
pub mod filter;
pub mod fusion;
pub mod identity;
pub mod ingest;
pub mod keyword;
pub mod kind;
pub mod language;
pub mod media;
pub mod models;
pub mod pack;
pub mod ports;
pub mod prices;
pub mod prompt;
pub mod search;
pub mod settings;
pub mod sources;
mod tenant;
#[cfg(feature = "testing")]
pub mod testing;
pub mod tokens;

pub use error::{Error, Retry};
pub use tenant::Tenant;

/// What every fallible function of this crate returns.
pub type Result<T, E = Error> = std::result::Result<T, E>;
