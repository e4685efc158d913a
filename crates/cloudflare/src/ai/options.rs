//! The options of a call: the third argument of the binding's `run`.
//!
//! Names and meaning: `AiOptions` and `GatewayOptions` in workers-types 5.20261117.1; `rejectIfBusy` from the
//! documentation (2026-09).

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};
use serde_json::{Map, Value};

use super::error::AiError;

/// Options of a call. Nothing that is unset is sent.
#[derive(Debug, Clone, Default, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub struct RunOptions {
    /// Sends the call through AI Gateway.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub gateway: Option<GatewayOptions>,
    /// Put before the model name in the request header, with a colon.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub prefix: Option<String>,
    /// Further request headers, such as `x-session-affinity`.
    #[serde(skip_serializing_if = "BTreeMap::is_empty")]
    pub extra_headers: BTreeMap<String, String>,
    /// At most 5 tags of at most 50 characters.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub tags: Vec<String>,
    /// Queues the request for a later answer instead of running it.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub queue_request: Option<bool>,
    /// Fails with 3040 at once instead of waiting for capacity.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub reject_if_busy: Option<bool>,
    /// Aborts the call; the error is then [`AiError::Aborted`].
    #[serde(skip)]
    pub signal: Option<web_sys::AbortSignal>,
}

/// Options of AI Gateway.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub struct GatewayOptions {
    /// Name of the gateway.
    pub id: String,
    /// Key of the cached answer, instead of the request itself.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub cache_key: Option<String>,
    /// How long an answer may be cached, in seconds.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub cache_ttl: Option<u32>,
    /// Bypasses the cache.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub skip_cache: Option<bool>,
    /// Noted in the gateway's log. Values are strings, numbers and booleans.
    #[serde(skip_serializing_if = "Map::is_empty")]
    pub metadata: Map<String, Value>,
    /// Whether the gateway logs the call.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub collect_log: Option<bool>,
    /// An id of your own for the log entry.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub event_id: Option<String>,
    /// How long the gateway waits for the model, in milliseconds.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub request_timeout_ms: Option<u32>,
    /// Retries made by the gateway. They multiply with those of [`RetryPolicy`](super::RetryPolicy).
    #[serde(skip_serializing_if = "Option::is_none")]
    pub retries: Option<GatewayRetries>,
}

/// Retries made by AI Gateway.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct GatewayRetries {
    /// 1 to 5.
    pub max_attempts: u8,
    /// Pause in milliseconds.
    pub retry_delay_ms: u32,
    /// How the pause grows.
    pub backoff: GatewayBackoff,
}

/// How AI Gateway's pause between retries grows.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum GatewayBackoff {
    /// Not at all.
    Constant,
    /// By its own length each time.
    Linear,
    /// Doubling.
    Exponential,
}

const MAX_TAGS: usize = 5;
const MAX_TAG_CHARS: usize = 50;

impl RunOptions {
    /// The JSON to send, without the signal, which is no JSON.
    pub(super) fn to_wire(&self) -> Result<String, AiError> {
        #[derive(Serialize)]
        #[serde(rename_all = "camelCase")]
        struct Wire<'a> {
            #[serde(flatten)]
            options: &'a RunOptions,
            return_raw_response: bool,
        }
        let limit = |limit, value: usize, allowed: usize| {
            Err(AiError::Limit { limit, value: value as u64, allowed: allowed as u64 })
        };
        if self.tags.len() > MAX_TAGS {
            return limit("tags of a call", self.tags.len(), MAX_TAGS);
        }
        if let Some(longest) =
            self.tags.iter().map(|tag| tag.chars().count()).max().filter(|n| *n > MAX_TAG_CHARS)
        {
            return limit("characters of a tag", longest, MAX_TAG_CHARS);
        }
        serde_json::to_string(&Wire { options: self, return_raw_response: true })
            .map_err(|error| AiError::Invalid { field: "options", detail: error.to_string() })
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    fn wire(options: &RunOptions) -> Value {
        serde_json::from_str(&options.to_wire().unwrap()).unwrap()
    }

    #[test]
    fn the_raw_response_is_always_asked_for_and_nothing_unset_is_sent() {
        assert_eq!(wire(&RunOptions::default()), json!({ "returnRawResponse": true }));
    }

    #[test]
    fn names_are_camel_case_on_the_wire() {
        let retries =
            GatewayRetries { max_attempts: 2, retry_delay_ms: 100, backoff: GatewayBackoff::Exponential };
        let gateway = GatewayOptions {
            id: "g".into(),
            cache_key: Some("k".into()),
            cache_ttl: Some(60),
            skip_cache: Some(false),
            metadata: Map::from_iter([("tenant".into(), json!("a"))]),
            collect_log: Some(true),
            event_id: Some("e".into()),
            request_timeout_ms: Some(5000),
            retries: Some(retries),
        };
        let options = RunOptions {
            gateway: Some(gateway),
            prefix: Some("p".into()),
            extra_headers: BTreeMap::from([("x-session-affinity".into(), "s".into())]),
            tags: vec!["t".into()],
            queue_request: Some(false),
            reject_if_busy: Some(true),
            signal: None,
        };
        let expected = json!({
            "gateway": {
                "id": "g", "cacheKey": "k", "cacheTtl": 60, "skipCache": false, "metadata": { "tenant": "a" },
                "collectLog": true, "eventId": "e", "requestTimeoutMs": 5000,
                "retries": { "maxAttempts": 2, "retryDelayMs": 100, "backoff": "exponential" }
            },
            "prefix": "p", "extraHeaders": { "x-session-affinity": "s" }, "tags": ["t"],
            "queueRequest": false, "rejectIfBusy": true, "returnRawResponse": true
        });
        assert_eq!(wire(&options), expected);
    }

    #[test]
    fn tags_over_the_limits_are_refused() {
        let tags = |tags: Vec<String>| RunOptions { tags, ..RunOptions::default() }.to_wire();
        assert!(matches!(tags(vec![String::new(); 6]), Err(AiError::Limit { value: 6, allowed: 5, .. })));
        assert!(matches!(tags(vec!["é".repeat(51)]), Err(AiError::Limit { value: 51, allowed: 50, .. })));
        assert!(tags(vec!["é".repeat(50)]).is_ok());
    }
}
