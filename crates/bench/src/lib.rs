//! What the benchmarks of the token engine and the chunker measure, and the texts they measure it on.
//!
//! `cargo xtask bench` runs them all; `docs/benchmarks.md` says how and what came out. Here are:
//!
//! - [`texts`]: the inputs, made from the checkout's own files;
//! - `benches/native.rs`: our code and its peers on this machine, with divan;
//! - `worker/`: the same in wasm; `js/`: what runs it in workerd, and the peers in JavaScript;
//! - `python/`: the peers in Python.

pub mod texts;

/// The target of the chunkers, in the tokens each of them counts in.
pub const TARGET: usize = 256;
