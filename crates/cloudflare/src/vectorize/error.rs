//! The errors of Vectorize and what to do about each.

use std::time::Duration;

use serde::Serialize;

use super::filter::FilterError;
use crate::ai::RetryClass;
use crate::ai::retry::Retryable;

/// Why a Vectorize call failed. The variants are what a caller can act on.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error, Serialize)]
#[serde(tag = "type", rename_all = "snake_case")]
#[non_exhaustive]
pub enum VectorizeError {
    /// The service answered with an error.
    #[error("{operation} failed{}: {message}", code.map(|c| format!(" (code {c})")).unwrap_or_default())]
    Platform {
        /// The runtime's name of the operation, such as `VECTOR_UPSERT`.
        operation: String,
        /// The service's code, such as 40041.
        code: Option<u32>,
        /// The HTTP status, which the runtime only tells when the reply had no readable error.
        status: Option<u16>,
        /// The service's text.
        message: String,
    },
    /// The reply does not have the documented shape.
    #[error("Vectorize sent a malformed {what}: {detail}")]
    Malformed {
        /// What was expected.
        what: &'static str,
        /// What is wrong with it.
        detail: String,
    },
    /// The binding is missing or is something else.
    #[error("the binding `{name}` cannot be used: {detail}")]
    Binding {
        /// Name of the binding.
        name: String,
        /// What was found instead.
        detail: String,
    },
    /// The call did not reach the service, or its reply broke off.
    #[error("the call to Vectorize failed on its way: {message}")]
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
    /// No reply before the deadline of the retry policy.
    #[error("no reply from Vectorize within {after_ms} ms")]
    TimedOut {
        /// The deadline in milliseconds.
        after_ms: u64,
    },
    /// The input is over a limit. Nothing was sent.
    #[error("{limit}: {value} is above the allowed {allowed}{}", subject.as_ref().map(|s| format!(" ({s})")).unwrap_or_default())]
    Limit {
        /// Which limit.
        limit: &'static str,
        /// The value found.
        value: u64,
        /// The largest allowed value.
        allowed: u64,
        /// What is over it, such as a vector's id.
        subject: Option<String>,
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

impl VectorizeError {
    /// Reads the message of an error that the binding threw: `VECTOR_UPSERT_ERROR (code = 40041): text`, or
    /// `VECTOR_UPSERT_ERROR: Status + 503` for a reply without a readable error, or the runtime's own words.
    /// (`VectorizeIndexImpl._send` in `cloudflare-internal:vectorize-api`, workerd 1.20261117.1.)
    pub fn from_message(message: &str) -> Self {
        if crate::ai::binding::is_subrequest_limit(message) {
            return Self::SubrequestLimit { message: message.to_owned() };
        }
        if message.starts_with("Failed to parse body as JSON") {
            return Self::Malformed { what: "reply", detail: crate::ai::shorten(message) };
        }
        let Some((operation, rest)) =
            message.split_once("_ERROR").filter(|(operation, _)| is_operation(operation))
        else {
            return Self::Network { message: crate::ai::shorten(message) };
        };
        let (code, text) = match rest.strip_prefix(" (code = ").and_then(|rest| rest.split_once(')')) {
            Some((code, text)) => (code.trim().parse().ok(), text),
            None => (None, rest),
        };
        let text = text.strip_prefix(':').unwrap_or(text).trim();
        let status = text.strip_prefix("Status + ").and_then(|status| status.trim().parse().ok());
        Self::Platform { operation: operation.to_owned(), code, status, message: crate::ai::shorten(text) }
    }

    /// The service's code, when it gave one.
    pub fn code(&self) -> Option<u32> {
        match self {
            Self::Platform { code, .. } => *code,
            _ => None,
        }
    }

    /// What to do about it: too many requests (40041), a fault on the way and a gateway's 429 or 5xx pass; nothing
    /// else does.
    ///
    /// Writes may be repeated safely: an upsert writes the same again, an insert keeps what is there.
    pub fn retry_class(&self) -> RetryClass {
        match self {
            Self::Platform { code: Some(40041), .. } | Self::Network { .. } | Self::TimedOut { .. } => {
                RetryClass::Backoff
            }
            Self::Platform { code: None, status: Some(429 | 500..=599), .. } => RetryClass::Backoff,
            _ => RetryClass::Never,
        }
    }
}

fn is_operation(text: &str) -> bool {
    matches!(
        text,
        "INDEX_GET" | "VECTOR_QUERY" | "VECTOR_INSERT" | "VECTOR_UPSERT" | "VECTOR_GET" | "VECTOR_DELETE"
    )
}

impl Retryable for VectorizeError {
    fn retry_class(&self) -> RetryClass {
        self.retry_class()
    }

    fn timed_out(after: Duration) -> Self {
        Self::TimedOut { after_ms: u64::try_from(after.as_millis()).unwrap_or(u64::MAX) }
    }
}

impl From<FilterError> for VectorizeError {
    fn from(error: FilterError) -> Self {
        Self::Invalid { field: "filter", detail: error.to_string() }
    }
}

impl From<VectorizeError> for worker::Error {
    fn from(error: VectorizeError) -> Self {
        Self::RustError(error.to_string())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn recorded_messages() {
        let path = concat!(env!("CARGO_MANIFEST_DIR"), "/../../fixtures/wire/vectorize-errors.txt");
        let text = std::fs::read_to_string(path).unwrap();
        let mut lines = 0;
        for line in text.lines().filter(|line| !line.starts_with('#')) {
            let (expected, message) = line.split_once(" | ").unwrap();
            let (code, class) = expected.split_once(' ').unwrap();
            let error = VectorizeError::from_message(message);
            assert_eq!(error.code(), code.parse().ok(), "{message}");
            let found = serde_json::to_value(error.retry_class()).unwrap();
            assert_eq!(found, class, "{message}");
            lines += 1;
        }
        assert!(lines >= 7);
    }

    #[test]
    fn the_operation_and_text_are_kept() {
        let error = VectorizeError::from_message("VECTOR_UPSERT_ERROR (code = 40041): Too Many Requests");
        assert_eq!(error.to_string(), "VECTOR_UPSERT failed (code 40041): Too Many Requests");
        let error = VectorizeError::from_message("INDEX_GET_ERROR: Status + 503");
        assert!(matches!(error, VectorizeError::Platform { code: None, status: Some(503), .. }));
    }
}
