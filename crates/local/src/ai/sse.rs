//! What a chat is answered with, in Workers AI's own form: whole or as the events of a stream.

use axum::body::Bytes;
use rand::rngs::StdRng;
use rand::{RngExt, SeedableRng};
use serde_json::{Value, json};

use crate::faults::ToolCall;

/// What a generation cost, as Workers AI reports it.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, serde::Serialize)]
pub struct Usage {
    /// Tokens of the prompt.
    pub prompt_tokens: usize,
    /// Tokens generated.
    pub completion_tokens: usize,
    /// The sum.
    pub total_tokens: usize,
    /// Of the prompt, for chats.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub prompt_tokens_details: Option<PromptDetails>,
}

/// Of the tokens of a prompt.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, serde::Serialize)]
pub struct PromptDetails {
    /// Those that did not have to be computed.
    pub cached_tokens: usize,
}

impl Usage {
    /// Adds up.
    pub fn new(prompt_tokens: usize, completion_tokens: usize) -> Self {
        let total_tokens = prompt_tokens + completion_tokens;
        Self { prompt_tokens, completion_tokens, total_tokens, ..Self::default() }
    }

    /// The same with tokens that were in the cache.
    pub fn cached(self, cached_tokens: usize) -> Self {
        Self { prompt_tokens_details: Some(PromptDetails { cached_tokens }), ..self }
    }
}

/// A piece of text. `p` is random padding, as on the platform (it hides the length of tokens from the network).
pub fn text_event(text: &str) -> Bytes {
    const LETTERS: &[u8] = b"abcdefghijklmnopqrstuvwxyz0123456789";
    let mut random = rand::rng();
    let padding: String = (0..random.random_range(4..36))
        .map(|_| char::from(LETTERS[random.random_range(0..LETTERS.len())]))
        .collect();
    event(&json!({"response": text, "p": padding}))
}

/// The calls of tools, complete.
pub fn calls_event(calls: &[ToolCall]) -> Bytes {
    event(&json!({"response": "", "tool_calls": calls}))
}

/// A whole answer. In JSON mode a text that is JSON is given as the value it is, as the platform was seen to do.
pub fn whole(text: &str, calls: &[ToolCall], usage: Usage, json_mode: bool) -> Value {
    let value = json_mode.then(|| serde_json::from_str::<Value>(text).ok()).flatten();
    let response = value.unwrap_or_else(|| text.into());
    json!({"response": response, "tool_calls": calls, "usage": usage})
}

/// The usage, before the end.
pub fn usage_event(usage: Usage) -> Bytes {
    event(&json!({"response": "", "usage": usage}))
}

/// The end.
pub fn done_event() -> Bytes {
    Bytes::from_static(b"data: [DONE]\n\n")
}

/// One event.
pub fn event(data: &Value) -> Bytes {
    Bytes::from(format!("data: {data}\n\n"))
}

/// Cuts text into pieces of 1 to 8 characters, as tokens would.
pub fn random_pieces(text: &str, seed: u64) -> Vec<String> {
    let mut random = StdRng::seed_from_u64(seed);
    let mut pieces = Vec::new();
    let mut chars = text.chars().peekable();
    while chars.peek().is_some() {
        let length = random.random_range(1..9);
        pieces.push(chars.by_ref().take(length).collect());
    }
    pieces
}

/// Cuts bytes into chunks of at least one and less than `limit`, wherever that falls.
pub fn random_chunks(bytes: &[u8], limit: usize, seed: u64) -> Vec<Bytes> {
    let mut random = StdRng::seed_from_u64(seed);
    let mut chunks = Vec::new();
    let mut rest = bytes;
    while !rest.is_empty() {
        let (chunk, after) = rest.split_at(random.random_range(1..limit).min(rest.len()));
        chunks.push(Bytes::copy_from_slice(chunk));
        rest = after;
    }
    chunks
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn events_are_framed() {
        let text = text_event("a\n\"b\"");
        let text = std::str::from_utf8(&text).unwrap();
        let data = text.strip_prefix("data: ").and_then(|t| t.strip_suffix("\n\n")).unwrap();
        assert!(!data.contains('\n'));
        let value: Value = serde_json::from_str(data).unwrap();
        assert_eq!(value["response"], "a\n\"b\"");
        assert!(value["p"].as_str().is_some_and(|p| p.len() >= 4));
        assert_eq!(
            usage_event(Usage::new(3, 4)),
            "data: {\"response\":\"\",\"usage\":{\"completion_tokens\":4,\"prompt_tokens\":3,\"total_tokens\":7}}\n\n"
        );
    }

    #[test]
    fn cuts_lose_nothing() {
        let text = "grüße 😀 data: [DONE]\n\n".repeat(9);
        assert_eq!(random_pieces(&text, 1).concat(), text);
        assert_eq!(random_chunks(text.as_bytes(), 41, 1).concat(), text.as_bytes());
        assert_eq!(random_pieces(&text, 1), random_pieces(&text, 1));
    }
}
