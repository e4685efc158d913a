//! Workers AI's errors and headers as the binding reads them.

use axum::http::{HeaderValue, StatusCode};
use axum::response::Response;
use serde_json::json;

use crate::error::Error;
use crate::server::json_reply;

/// The header with the model's name, perhaps with a prefix before a colon.
pub const MODEL_HEADER: &str = "cf-consn-model-id";
/// The reply header with the id of the request.
pub const REQUEST_ID_HEADER: &str = "cf-ai-req-id";
/// The reply header with the id of the gateway's log entry.
pub const LOG_ID_HEADER: &str = "cf-aig-log-id";
/// The reply header that says whether AI Gateway had the reply in its cache: `HIT` or `MISS`.
pub const CACHE_HEADER: &str = "cf-aig-cache-status";
/// The request header that keeps a conversation on the instance that has its prompt cached.
pub const SESSION_HEADER: &str = "x-session-affinity";
/// The largest request, in bytes.
pub const MAX_BODY_BYTES: usize = 10_000_000;

/// Missing headers or body, or a body that is not JSON.
pub const CODE_MISSING: u32 = 3003;
/// The request is too large.
pub const CODE_TOO_LARGE: u32 = 3006;
/// Out of capacity.
pub const CODE_CAPACITY: u32 = 3040;
/// The model takes no adapters.
pub const CODE_NO_LORA: u32 = 5005;
/// The input does not satisfy the model's schema.
pub const CODE_INPUT: u32 = 5006;
/// No such model.
pub const CODE_NO_MODEL: u32 = 5007;
/// The prompt exceeds the context window.
pub const CODE_CONTEXT: u32 = 5021;
/// JSON mode could not be met.
pub const CODE_JSON_MODE: u32 = 5024;
/// No such asynchronous request, or none any more.
pub const CODE_NOT_FOUND: u32 = 5504;
/// The model takes no asynchronous requests.
pub const CODE_NO_QUEUE: u32 = 8007;

/// An error of Workers AI. The binding throws it as `<code>: <description>`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct AiError {
    /// HTTP status.
    pub status: u16,
    /// The internal code.
    pub code: u32,
    /// The text.
    pub description: String,
}

impl AiError {
    /// An error with the usual status of its code.
    pub fn new(code: u32, description: impl Into<String>) -> Self {
        Self { status: usual(code).0, code, description: description.into() }
    }

    /// An error with the usual status and text of its code.
    pub fn of_code(code: u32) -> Self {
        let (status, text) = usual(code);
        Self { status, code, description: text.to_owned() }
    }

    /// An input that does not satisfy the schema.
    pub fn input(detail: impl std::fmt::Display) -> Self {
        Self::new(CODE_INPUT, format!("AiError: Bad input: Error: {detail}"))
    }

    /// A model that does not exist, or is not installed.
    pub fn no_model(model: &str) -> Self {
        let own_words = match super::catalog::lacking(model) {
            Some(what) => format!(": the twin has no {what}, only the platform does"),
            None => String::new(),
        };
        Self::new(CODE_NO_MODEL, format!("No such model {model} or task{own_words}"))
    }

    /// What the binding throws.
    pub fn message(&self) -> String {
        format!("{}: {}", self.code, self.description)
    }

    /// The reply.
    pub fn reply(&self) -> Response {
        let status = StatusCode::from_u16(self.status).unwrap_or(StatusCode::INTERNAL_SERVER_ERROR);
        json_reply(
            status,
            &json!({
                "internalCode": self.code,
                "description": self.description,
                "name": "InferenceUpstreamError",
                "message": self.message(),
            }),
        )
    }
}

impl From<Error> for AiError {
    fn from(error: Error) -> Self {
        match error {
            Error::Input(text) => Self::input(text),
            Error::ContextWindow { prompt, max_tokens, window } => Self::new(
                CODE_CONTEXT,
                format!(
                    "AiError: The estimated number of input and maximum output tokens ({}) exceeded this model context window limit ({window})",
                    prompt + max_tokens
                ),
            ),
            // 3043 is the code of an internal server error.
            other => Self { status: 500, code: 3043, description: format!("AiError: {other}") },
        }
    }
}

/// HTTP status and text of a code, from Cloudflare's "Errors" page (2026-07-29); 3030, 3046, 5006, 5021 and
/// 5024 as seen. Of 5504 and 8007 the text was seen, the status is assumed.
fn usual(code: u32) -> (u16, &'static str) {
    match code {
        3003 => (400, "Missing headers or body"),
        3006 => (413, "Request is too large"),
        3007 => (408, "Request timed out"),
        3008 => (408, "Request was aborted"),
        3023 => (403, "Account is blocked"),
        3030 => (400, "AiError: 1 validation error"),
        3036 => (
            429,
            "You have used up your daily free allocation of 10,000 neurons, please upgrade to Cloudflare's Workers Paid plan if you would like to continue usage.",
        ),
        3039 => (400, "Finetune is missing required files"),
        3040 => (429, "Capacity temporarily exceeded, please try again."),
        3041 | 5018 => (403, "This account is not allowed to access this model"),
        3042 => (404, "Invalid model id"),
        3046 => (408, "Request timeout"),
        5004 => (400, "Invalid data"),
        5005 => (405, "The model does not support LoRAs"),
        5006 => (400, "AiError: Bad input"),
        5007 => (400, "No such model or task"),
        5016 => (403, "The model's licence must be agreed to first"),
        5019 => (405, "The SDK version is deprecated"),
        5021 => (413, "AiError: The prompt exceeded this model context window limit"),
        5024 => (400, "JSON Mode couldn't be met"),
        5504 => (404, "Request not found in queue"),
        8007 => (400, "This model does not support request queuing"),
        5035 => (403, "The model needs the Workers Paid plan"),
        _ => (500, "Internal server error"),
    }
}

/// The model a header value names, without its prefix (`prefix:@cf/…`).
pub fn model_name(header: &str) -> &str {
    match header.find('@') {
        Some(at) if at > 0 && header.as_bytes()[at - 1] == b':' => &header[at..],
        _ => header,
    }
}

/// Adds the id that every reply carries.
pub fn add_request_id(response: &mut Response, request_id: &str) {
    if let Ok(value) = HeaderValue::from_str(request_id) {
        response.headers_mut().insert(REQUEST_ID_HEADER, value);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn prefixes_are_dropped() {
        assert_eq!(model_name("@cf/baai/bge-small-en-v1.5"), "@cf/baai/bge-small-en-v1.5");
        assert_eq!(model_name("proxy:@cf/baai/bge-small-en-v1.5"), "@cf/baai/bge-small-en-v1.5");
        assert_eq!(model_name("something"), "something");
    }
}
