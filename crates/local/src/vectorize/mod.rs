//! The twin of Vectorize (V2): the binding's wire protocol over a durable, exact vector store.

pub mod filter;
pub mod limits;
pub mod store;
pub mod wire;
