//! What the end-to-end tests share: a client of the HTTP API, server-sent events, and a runner whose stacks end with
//! it.

mod client;
mod runner;

pub use client::{Client, Reply, Sse, form};
pub use runner::{Case, run};
