//! The errors of Workers AI and what to do about each.
//!
//! Codes and their meaning: the "Errors" page of the Workers AI documentation (2026-07-29). Codes marked
//! "observed" are not on it, and were reported by users of the service.

use std::time::Duration;

use serde::Serialize;
use serde_json::Value;

use super::retry::{RetryClass, Retryable};

/// Why a Workers AI call failed. The variants are what a caller can act on.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error, Serialize)]
#[serde(tag = "type", rename_all = "snake_case")]
#[non_exhaustive]
pub enum AiError {
    /// The service answered with an error, in the HTTP status or inside the reply.
    #[error("Workers AI answered {status}{}: {message}{}", code.map(|c| format!(" (code {c})")).unwrap_or_default(),
        request_id.as_ref().map(|id| format!(" (request {id})")).unwrap_or_default())]
    Platform {
        /// The service's own code, such as 3040.
        code: Option<u32>,
        /// HTTP status of the reply. 200 for an error inside a stream or a body.
        status: u16,
        /// The service's text.
        message: String,
        /// The header `cf-ai-req-id`, for a report to the provider.
        request_id: Option<String>,
    },
    /// The reply does not have the documented shape.
    #[error("Workers AI sent a malformed {what}: {detail}")]
    Malformed {
        /// What was expected.
        what: &'static str,
        /// What is wrong with it.
        detail: String,
        /// The header `cf-ai-req-id`.
        request_id: Option<String>,
    },
    /// The binding is missing or is something else.
    #[error("the binding `{name}` cannot be used: {detail}")]
    Binding {
        /// Name of the binding.
        name: String,
        /// What was found instead, or what it said.
        detail: String,
    },
    /// The call did not reach the service, or its reply broke off.
    #[error("the call to Workers AI failed on its way: {message}")]
    Network {
        /// The runtime's text.
        message: String,
    },
    /// The invocation may not make further subrequests. Continue in another invocation.
    #[error("no further subrequests in this invocation: {message}")]
    SubrequestLimit {
        /// The runtime's text.
        message: String,
    },
    /// The caller's own signal aborted the call.
    #[error("the call was aborted by its caller")]
    Aborted,
    /// No reply before the deadline of the [`RetryPolicy`](super::RetryPolicy).
    #[error("no reply from Workers AI within {after_ms} ms")]
    TimedOut {
        /// The deadline in milliseconds.
        after_ms: u64,
    },
    /// The input is over a limit. Nothing was sent.
    #[error("{limit}: {value} is above the allowed {allowed}")]
    Limit {
        /// Which limit.
        limit: &'static str,
        /// The value found.
        value: u64,
        /// The largest allowed value.
        allowed: u64,
    },
    /// The input cannot be right. Nothing was sent.
    #[error("`{field}` {detail}")]
    Invalid {
        /// Which input.
        field: &'static str,
        /// What is wrong with it.
        detail: String,
    },
}

impl AiError {
    /// Reads an error reply: `{internalCode, description}`, `{errors: [{code, message}]}`, `{error}` or text.
    pub fn from_reply(status: u16, body: &str, request_id: Option<String>) -> Self {
        let (code, message) = serde_json::from_str::<Value>(body)
            .ok()
            .and_then(|value| error_in_json(&value))
            .unwrap_or_else(|| (code_in_text(body), shorten(body)));
        Self::Platform { code, status, message, request_id }
    }

    /// The service's code, when it gave one.
    pub fn code(&self) -> Option<u32> {
        match self {
            Self::Platform { code, .. } => *code,
            _ => None,
        }
    }

    /// What to do about it. A known code decides; without one the HTTP status does.
    pub fn retry_class(&self) -> RetryClass {
        match self {
            Self::Platform { code, status, .. } => {
                code.and_then(class_of_code).unwrap_or_else(|| class_of_status(*status))
            }
            Self::Network { .. } | Self::TimedOut { .. } => RetryClass::Backoff,
            _ => RetryClass::Never,
        }
    }
}

impl Retryable for AiError {
    fn retry_class(&self) -> RetryClass {
        self.retry_class()
    }

    fn timed_out(after: Duration) -> Self {
        Self::TimedOut { after_ms: u64::try_from(after.as_millis()).unwrap_or(u64::MAX) }
    }
}

impl From<AiError> for worker::Error {
    fn from(error: AiError) -> Self {
        Self::RustError(error.to_string())
    }
}

/// The class of a known code.
///
/// 3036 and the observed 4006 ("you have used up your daily free allocation") come with status 429 like 3040,
/// but only midnight helps. 3046 (observed, after two to four minutes) and 5024 (observed, JSON mode could
/// not be met) may succeed a second time. 3030 (observed) is a request of a batch that was found invalid,
/// 5504 (observed) a batch that the service does not know any more.
fn class_of_code(code: u32) -> Option<RetryClass> {
    Some(match code {
        3007 | 3008 | 3040 => RetryClass::Backoff,
        3036 | 4006 => RetryClass::AfterMidnightUtc,
        3046 | 5024 => RetryClass::Once,
        3003 | 3006 | 3023 | 3030 | 3039 | 3041 | 3042 | 5004 | 5005 | 5006 | 5007 | 5016 | 5018 | 5019
        | 5035 | 5504 => RetryClass::Never,
        _ => return None,
    })
}

/// The class of a status without a known code. An error inside a 200 is a fault of the moment.
fn class_of_status(status: u16) -> RetryClass {
    match status {
        200..=299 | 408 | 425 | 429 | 500..=599 => RetryClass::Backoff,
        _ => RetryClass::Never,
    }
}

/// The error in a JSON reply, if it carries one, as its code and text.
pub(super) fn error_in_json(value: &Value) -> Option<(Option<u32>, String)> {
    let (code, message) = if let Some(code) = value.get("internalCode").filter(|code| !code.is_null()) {
        (code, value.get("description"))
    } else if let Some(first) = value.get("errors").and_then(Value::as_array).and_then(|list| list.first()) {
        (&first["code"], first.get("message").or(Some(first)))
    } else {
        let error = value
            .get("error")
            .filter(|error| !matches!(error, Value::Null | Value::Bool(false)) && *error != "")?;
        (&error["code"], error.get("message").or(Some(error)))
    };
    let message = match message {
        Some(Value::String(text)) => shorten(text),
        Some(Value::Null) | None => String::new(),
        Some(other) => shorten(&other.to_string()),
    };
    let given = code
        .as_u64()
        .and_then(|code| u32::try_from(code).ok())
        .or_else(|| code.as_str().and_then(|text| text.parse().ok()));
    let code = match (given, code_in_text(&message)) {
        // A gateway may wrap the service's own error: `8007: 4006: …`.
        (Some(outer), Some(inner)) if class_of_code(outer).is_none() && class_of_code(inner).is_some() => {
            Some(inner)
        }
        (given, in_text) => given.or(in_text),
    };
    Some((code, message))
}

/// The code in a text such as `AiError: 3040: Capacity temporarily exceeded`: three to five digits before a
/// colon. Of several, the first known one.
pub(super) fn code_in_text(text: &str) -> Option<u32> {
    let bytes = text.as_bytes();
    let mut first = None;
    let mut at = 0;
    while at < bytes.len() {
        if !bytes[at].is_ascii_digit() {
            at += 1;
            continue;
        }
        let start = at;
        while at < bytes.len() && bytes[at].is_ascii_digit() {
            at += 1;
        }
        let begins_a_word =
            start == 0 || !(bytes[start - 1].is_ascii_alphanumeric() || bytes[start - 1] == b'_');
        if !begins_a_word || !(3..=5).contains(&(at - start)) || !text[at..].trim_start().starts_with(':') {
            continue;
        }
        if let Ok(code) = text[start..at].parse::<u32>() {
            if class_of_code(code).is_some() {
                return Some(code);
            }
            first = first.or(Some(code));
        }
    }
    first
}

/// At most 500 characters, so that an HTML error page does not fill a log.
pub(crate) fn shorten(text: &str) -> String {
    match text.char_indices().nth(500) {
        None => text.to_owned(),
        Some((end, _)) => format!("{}…", &text[..end]),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn fixture(name: &str) -> AiError {
        let path = format!("{}/../../fixtures/wire/{name}", env!("CARGO_MANIFEST_DIR"));
        let text = std::fs::read_to_string(path).unwrap();
        let (head, body) = text.split_once("\n\n").unwrap();
        let status = head.lines().last().unwrap().parse().unwrap();
        AiError::from_reply(status, body.trim_end(), Some("req".into()))
    }

    #[test]
    fn recorded_error_bodies() {
        for (name, code, class) in [
            ("ai-error-3040.txt", Some(3040), RetryClass::Backoff),
            ("ai-error-3036.txt", Some(3036), RetryClass::AfterMidnightUtc),
            ("ai-error-5007.txt", Some(5007), RetryClass::Never),
            ("ai-error-4006-text.txt", Some(4006), RetryClass::AfterMidnightUtc),
            ("ai-error-html-502.txt", None, RetryClass::Backoff),
        ] {
            let error = fixture(name);
            assert_eq!((error.code(), error.retry_class()), (code, class), "{name}: {error}");
        }
    }

    #[test]
    fn the_code_table() {
        let class = |code, status| {
            AiError::Platform { code, status, message: String::new(), request_id: None }.retry_class()
        };
        assert_eq!(class(Some(3036), 429), RetryClass::AfterMidnightUtc);
        assert_eq!(class(Some(3040), 429), RetryClass::Backoff);
        assert_eq!(class(Some(3046), 408), RetryClass::Once);
        assert_eq!(class(Some(5004), 500), RetryClass::Never, "a known code beats the status");
        assert_eq!(class(Some(9999), 503), RetryClass::Backoff);
        assert_eq!(class(None, 429), RetryClass::Backoff);
        assert_eq!(class(None, 404), RetryClass::Never);
    }

    #[test]
    fn codes_in_texts() {
        for (text, code) in [
            ("3040: Capacity temporarily exceeded, please try again.", Some(3040)),
            ("AiError: 3040: Capacity", Some(3040)),
            ("AiError: 5007 : No such model", Some(5007)),
            ("8007: 4006: you have used up your daily free allocation", Some(4006)),
            ("8007: unknown", Some(8007)),
            ("v3040: no", None),
            ("12: too short", None),
            ("123456: too long", None),
            ("3040 without a colon", None),
            ("überall 3040", None),
            ("", None),
        ] {
            assert_eq!(code_in_text(text), code, "{text}");
        }
    }

    #[test]
    fn errors_inside_json() {
        for (body, expected) in [
            (
                r#"{"internalCode":3040,"description":"full","name":"InferenceUpstreamError"}"#,
                Some((Some(3040), "full")),
            ),
            (r#"{"errors":[{"code":"7000","message":"no route"}]}"#, Some((Some(7000), "no route"))),
            (r#"{"errors":[{"code":8007,"message":"4006: used up"}]}"#, Some((Some(4006), "4006: used up"))),
            (r#"{"error":"AiError: 3040: full"}"#, Some((Some(3040), "AiError: 3040: full"))),
            (r#"{"error":{"message":"bad","code":null}}"#, Some((None, "bad"))),
            (r#"{"errors":[]}"#, None),
            (r#"{"error":null,"response":"fine"}"#, None),
            (r#"{"response":"3040: a text about codes"}"#, None),
            ("[]", None),
        ] {
            let found = error_in_json(&serde_json::from_str(body).unwrap());
            assert_eq!(found, expected.map(|(code, text)| (code, text.to_owned())), "{body}");
        }
    }

    #[test]
    fn long_texts_are_cut_at_a_character() {
        let error = AiError::from_reply(500, &"é".repeat(600), None);
        assert!(matches!(error, AiError::Platform { message, .. } if message.chars().count() == 501));
    }

    #[test]
    fn the_text_names_code_status_and_request() {
        let error = AiError::from_reply(429, "3040: full", Some("abc".into()));
        assert_eq!(error.to_string(), "Workers AI answered 429 (code 3040): 3040: full (request abc)");
    }
}
