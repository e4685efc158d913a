//! Token counts, in the units of the models that will read the text.
//!
//! - [`wordpiece`]: the embedding models' tokens (BGE v1.5), exact. Chunks are sized in these, because the embedder
//!   drops everything beyond [`wordpiece::MAX_TOKENS`] without a word.
//! - [`cl100k`]: the tokens that context budgets of chat models are counted in.

pub mod cl100k;
pub mod wordpiece;

pub use wordpiece::{TokenIndex, WordPiece};
