//! Windows of chat models on Workers AI, in one dated place.

/// As of 2026-11-21, tokens of prompt and answer together. `llama-3.3-70b-instruct-fp8-fast` is documented with 24,000;
/// for `llama-3.1-8b-instruct-fp8-fast` no figure was confirmed, so it is taken to be the same.
const WINDOWS: [(&str, usize); 2] = [
    ("@cf/meta/llama-3.3-70b-instruct-fp8-fast", 24_000),
    ("@cf/meta/llama-3.1-8b-instruct-fp8-fast", 24_000),
];

/// For a model that is not listed.
const UNKNOWN: usize = 7_000;

/// Tokens of prompt and answer together that a model takes.
pub fn window(model: &str) -> usize {
    WINDOWS.iter().find(|(name, _)| *name == model).map_or(UNKNOWN, |(_, window)| *window)
}
