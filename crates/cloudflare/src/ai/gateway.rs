//! The logs of AI Gateway, through the same binding. Methods and errors: `AiGateway` in workerd 1.20261117.1.

use js_sys::{Array, Function, JSON, Reflect};
use serde::Serialize;
use serde_json::{Map, Value};
use wasm_bindgen::{JsCast, JsValue};

use super::Ai;
use super::binding::{Binding, is_subrequest_limit, name_of, text_of};
use super::error::AiError;

/// What a reader says of an answer.
#[derive(Debug, Clone, Default, PartialEq, Serialize)]
pub struct LogPatch {
    /// 1 for good, -1 for bad.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub feedback: Option<i8>,
    /// 0–100.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub score: Option<f64>,
    /// Replaces that of the call.
    #[serde(skip_serializing_if = "Map::is_empty")]
    pub metadata: Map<String, Value>,
}

/// One gateway.
#[derive(Debug, Clone)]
pub struct AiGateway {
    ai: Ai,
    id: String,
}

impl AiGateway {
    /// Of a client, by its name.
    pub fn new(ai: Ai, id: &str) -> Self {
        Self { ai, id: id.to_owned() }
    }

    /// The metadata that a call was logged with; `None` when there is no such log.
    ///
    /// # Errors
    /// When the gateway can't be asked.
    pub async fn log_metadata(&self, log: &str) -> Result<Option<Map<String, Value>>, AiError> {
        let Some(found) = self.call("getLog", &Array::of1(&log.into())).await? else { return Ok(None) };
        let metadata =
            Reflect::get(&found, &"metadata".into()).ok().and_then(|found| JSON::stringify(&found).ok());
        let metadata = metadata.and_then(|text| serde_json::from_str(&String::from(text)).ok());
        Ok(Some(metadata.unwrap_or_default()))
    }

    /// Adds to a log; `false` when there is no such log.
    ///
    /// # Errors
    /// When the gateway can't be asked.
    pub async fn patch_log(&self, log: &str, patch: &LogPatch) -> Result<bool, AiError> {
        let wire = serde_json::to_string(patch)
            .map_err(|error| AiError::Invalid { field: "patch", detail: error.to_string() })?;
        let patch = JSON::parse(&wire).map_err(|error| failed(&error))?;
        Ok(self.call("patchLog", &Array::of2(&log.into(), &patch)).await?.is_some())
    }

    async fn call(&self, method: &str, arguments: &Array) -> Result<Option<JsValue>, AiError> {
        self.ai.ledger.count_ai();
        let name = self.ai.binding.name.clone();
        let wrong = |error: JsValue| AiError::Binding { name: name.clone(), detail: text_of(&error) };
        let binding = &self.ai.binding.object;
        let open: Function =
            Reflect::get(binding, &"gateway".into()).and_then(JsCast::dyn_into).map_err(wrong)?;
        let object = Reflect::apply(&open, binding, &Array::of1(&self.id.as_str().into())).map_err(wrong)?;
        match (Binding { object, name: name.clone() }).call(method, arguments).await {
            Ok(reply) => Ok(Some(reply)),
            Err(error) if name_of(&error) == "AiGatewayLogNotFound" => Ok(None),
            Err(error) => Err(failed(&error)),
        }
    }
}

fn failed(error: &JsValue) -> AiError {
    let message = text_of(error);
    if is_subrequest_limit(&message) {
        AiError::SubrequestLimit { message }
    } else {
        AiError::Network { message }
    }
}
