//! What readers say of answers, noted in the logs of AI Gateway.

use crate::ai::{AiError, AiGateway, LogPatch};
use crate::models;
use ragflare_core::{Error, Result, Tenant};
use serde::Deserialize;
use serde_json::{Map, Value};

/// Entries of a log's metadata at most, one of which is the tenant.
const MAX_GATEWAY_METADATA: usize = 4;

/// What a reader says of an answer that went through AI Gateway.
#[derive(Clone, Debug, Default, PartialEq, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Feedback {
    /// The answer's [`Gateway::log_id`](ragflare_core::ports::Gateway).
    pub log_id: String,
    /// 1 for good, -1 for bad.
    #[serde(default)]
    pub feedback: Option<i8>,
    /// 0–100.
    #[serde(default)]
    pub score: Option<f64>,
    /// Up to 4 strings, numbers and booleans.
    #[serde(default)]
    pub metadata: Map<String, Value>,
}

impl Feedback {
    fn check(&self) -> Result<()> {
        let plain = |byte: u8| byte.is_ascii_alphanumeric() || matches!(byte, b'-' | b'_');
        let log = self.log_id.as_str();
        // It becomes a part of a path.
        if log.is_empty() || log.len() > 64 || !log.bytes().all(plain) {
            return Err(Error::invalid("log_id", "must be 1 to 64 characters of A-Z a-z 0-9 - _"));
        }
        if self.feedback.is_some_and(|value| value.abs() != 1) {
            return Err(Error::invalid("feedback", "must be 1 or -1"));
        }
        if self.score.is_some_and(|score| !(0.0..=100.0).contains(&score)) {
            return Err(Error::invalid("score", "must be 0 to 100"));
        }
        if self.feedback.is_none() && self.score.is_none() && self.metadata.is_empty() {
            return Err(Error::invalid("feedback", "or `score` or `metadata` must be there"));
        }
        let simple = |value: &Value| value.is_string() || value.is_number() || value.is_boolean();
        if self.metadata.len() > MAX_GATEWAY_METADATA || !self.metadata.values().all(simple) {
            let message = format!("must be at most {MAX_GATEWAY_METADATA} strings, numbers and booleans");
            return Err(Error::invalid("metadata", message));
        }
        Ok(())
    }

    /// `false` when the tenant has no such log. The calls of [`crate::AiGenerator`] are logged with the tenant, so whose a log
    /// is can be asked of the log.
    pub(crate) async fn note(&self, gateway: &AiGateway, tenant: &Tenant) -> Result<bool> {
        self.check()?;
        let log = self.log_id.as_str();
        let failed = |error: AiError| models::fault("gateway", &error);
        let metadata = gateway.log_metadata(log).await.map_err(failed)?;
        let is_own = |metadata: Map<String, Value>| {
            metadata.get(models::TENANT).and_then(Value::as_str) == Some(tenant.as_str())
        };
        if !metadata.is_some_and(is_own) {
            return Ok(false);
        }
        let mut metadata = self.metadata.clone();
        if !metadata.is_empty() {
            // It replaces that of the call, whose tenant must stay.
            metadata.insert(models::TENANT.to_owned(), tenant.as_str().into());
        }
        let patch = LogPatch { feedback: self.feedback, score: self.score, metadata };
        gateway.patch_log(log, &patch).await.map_err(failed)
    }
}
