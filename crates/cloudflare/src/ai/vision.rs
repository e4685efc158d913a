//! Vision: what a model reads and sees in an image.
//!
//! The image goes as a data URL into the message's parts, which is the one form that all models of
//! [`VISION_MODELS`](ragflare_core::media::VISION_MODELS) take (workers-types, `…_Vision_Instruct_Messages`: "HTTP URL will not
//! be accepted"). Replies are those of any chat, in either of their shapes.

use super::error::AiError;
use super::{FinishReason, Generation};
use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use serde_json::json;
use std::fmt::Write as _;

/// What a vision model is asked.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct VisionRequest<'a> {
    /// What it is to write.
    pub prompt: &'a str,
    /// Most tokens to write, at least 1.
    pub max_tokens: u32,
    /// The image's media type.
    pub media_type: &'a str,
    /// The image.
    pub image: &'a [u8],
}

impl VisionRequest<'_> {
    /// The JSON to send. The image is encoded into it in place: it is megabytes.
    pub(super) fn to_wire(self, model: &str) -> Result<String, AiError> {
        if self.image.is_empty() {
            return Err(AiError::Invalid { field: "image", detail: "must not be empty".into() });
        }
        if self.max_tokens == 0 {
            return Err(AiError::Invalid { field: "max_tokens", detail: "must be at least 1".into() });
        }
        let mut wire = String::with_capacity(self.image.len() / 3 * 4 + self.prompt.len() + 400);
        wire.push_str(r#"{"messages":[{"role":"user","content":[{"type":"text","text":"#);
        wire.push_str(&json!(self.prompt).to_string());
        wire.push_str(r#"},{"type":"image_url","image_url":{"url":"data:"#);
        wire.push_str(self.media_type);
        wire.push_str(";base64,");
        STANDARD.encode_string(self.image, &mut wire);
        let _ = write!(wire, r#""}}}}]}}],"max_tokens":{},"temperature":0"#, self.max_tokens);
        if model.contains("/gemma-4-") {
            // It would think aloud, at the cost of the answer's room.
            wire.push_str(r#","chat_template_kwargs":{"enable_thinking":false}"#);
        }
        wire.push('}');
        Ok(wire)
    }
}

/// Whether the model had more to write than it might. Models in the older form of reply don't say so: their tokens do.
pub(crate) fn is_cut_off(seen: &Generation, max_tokens: u32) -> bool {
    match &seen.finish_reason {
        Some(reason) => *reason == FinishReason::Length,
        None => seen.usage.is_some_and(|usage| usage.completion_tokens >= max_tokens),
    }
}

#[cfg(test)]
pub(super) mod tests {
    use super::*;
    use serde_json::Value;

    /// Request and reply of a file of fixtures/wire.
    pub(crate) fn recorded(name: &str) -> (Value, String) {
        let path = format!("{}/../../fixtures/wire/{name}", env!("CARGO_MANIFEST_DIR"));
        let text = std::fs::read_to_string(path).unwrap();
        let (_, rest) = text.split_once('\n').unwrap();
        let (request, reply) = rest.split_once("\n\n").unwrap();
        (serde_json::from_str(request).unwrap(), reply.trim().to_owned())
    }

    fn asked() -> VisionRequest<'static> {
        let image = b"\x89PNG\r\n\x1a\n";
        VisionRequest { prompt: "What \"stands\" here?", max_tokens: 64, media_type: "image/png", image }
    }

    #[test]
    fn an_image_is_a_data_url_in_the_message() {
        for (file, model) in [
            ("ai-vision-native.txt", "@cf/meta/llama-3.2-11b-vision-instruct"),
            ("ai-vision-openai.txt", "@cf/google/gemma-4-26b-a4b-it"),
        ] {
            let (request, _) = recorded(file);
            let sent: Value = serde_json::from_str(&asked().to_wire(model).unwrap()).unwrap();
            assert_eq!(sent, request, "{file}");
        }
        assert!(VisionRequest { image: b"", ..asked() }.to_wire("m").is_err());
        assert!(VisionRequest { max_tokens: 0, ..asked() }.to_wire("m").is_err());
    }

    #[test]
    fn a_reply_that_was_cut_off_is_told_by_its_reason_or_its_tokens() {
        let (_, native) = recorded("ai-vision-native.txt");
        let native = Generation::from_wire(&native, None).unwrap();
        assert!(is_cut_off(&native, 21) && !is_cut_off(&native, 22));
        let (_, openai) = recorded("ai-vision-openai.txt");
        assert!(!is_cut_off(&Generation::from_wire(&openai, None).unwrap(), 19));
        let cut = openai.replace(r#""finish_reason":"stop""#, r#""finish_reason":"length""#);
        assert!(is_cut_off(&Generation::from_wire(&cut, None).unwrap(), 64));
    }

    #[test]
    fn both_shapes_of_reply_have_text_and_tokens() {
        for (file, read, written) in [("ai-vision-native.txt", 1632, 21), ("ai-vision-openai.txt", 289, 19)] {
            let (_, reply) = recorded(file);
            let generation = Generation::from_wire(&reply, None).unwrap();
            assert!(generation.text.starts_with("# Storm signals"), "{file}: {}", generation.text);
            let usage = generation.usage.unwrap();
            assert_eq!((usage.prompt_tokens, usage.completion_tokens), (read, written), "{file}");
        }
    }
}
