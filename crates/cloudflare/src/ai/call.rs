//! One call of the binding's `run`, and its reply.

use js_sys::{Array, JSON, Reflect};
use wasm_bindgen::{JsCast, JsValue};
use wasm_bindgen_futures::JsFuture;
use web_sys::{AbortController, AbortSignal, Response};

use super::binding::{Binding, is_subrequest_limit, name_of, text_of};
use super::error::AiError;
use crate::ledger::Ledger;

/// What a call sends. The JSON is made once and serves every retry.
#[derive(Debug)]
pub(super) struct Call<'a> {
    pub(super) model: &'a str,
    /// JSON of the inputs.
    ///
    /// It becomes a JavaScript object by `JSON.parse`: one crossing of the boundary, and always plain objects. (A
    /// `Map`, which `serde_wasm_bindgen` makes of a map by default, would arrive at the service as `{}`.)
    pub(super) inputs: &'a str,
    /// JSON of the options.
    pub(super) options: &'a str,
    pub(super) signal: Option<&'a AbortSignal>,
}

/// A reply with a success status whose body is still to be read. Dropping it aborts the request.
#[derive(Debug)]
pub(super) struct Reply {
    response: Response,
    abort: AbortOnDrop,
    /// The caller's own signal, which may still end the body.
    pub(super) signal: Option<AbortSignal>,
    pub(super) request_id: Option<String>,
    pub(super) gateway_log_id: Option<String>,
    pub(super) gateway_cache: Option<String>,
}

impl Call<'_> {
    /// Sends the call. An error status is read into its error. Dropping the future aborts the request.
    pub(super) async fn send(&self, binding: &Binding, ledger: &Ledger) -> Result<Reply, AiError> {
        ledger.count_ai();
        let broken = |error: JsValue| self.failure(binding, &error);
        let controller = AbortController::new().map_err(broken)?;
        let signal = match self.signal {
            Some(signal) => AbortSignal::any(&Array::of2(signal, &controller.signal())),
            None => controller.signal(),
        };
        let abort = AbortOnDrop(Some(controller));
        let inputs = JSON::parse(self.inputs).map_err(broken)?;
        let options = JSON::parse(self.options).map_err(broken)?;
        Reflect::set(&options, &JsValue::from_str("signal"), &signal).map_err(broken)?;
        let arguments = Array::of3(&JsValue::from_str(self.model), &inputs, &options);
        let reply = binding.call("run", &arguments).await.map_err(broken)?;
        let response: Response = reply.dyn_into().map_err(|_| AiError::Binding {
            name: binding.name.clone(),
            detail:
                "`run` gave no Response although one was asked for. Other code that calls the same binding \
                     object at the same time can cause this, since its options are shared"
                    .into(),
        })?;
        Reply { abort, signal: self.signal.cloned(), ..Reply::new(response) }.checked().await
    }

    fn failure(&self, binding: &Binding, error: &JsValue) -> AiError {
        if name_of(error) == "AiInternalError" {
            return AiError::Binding { name: binding.name.clone(), detail: text_of(error) };
        }
        broke_off(error, self.signal)
    }
}

impl Reply {
    /// Not yet guarded against being dropped.
    pub(super) fn new(response: Response) -> Self {
        let header = |name| response.headers().get(name).ok().flatten().filter(|value| !value.is_empty());
        let (request_id, gateway_log_id) = (header("cf-ai-req-id"), header("cf-aig-log-id"));
        let gateway_cache = header("cf-aig-cache-status");
        Self { response, abort: AbortOnDrop(None), signal: None, request_id, gateway_log_id, gateway_cache }
    }

    /// An error status is read into its error.
    pub(super) async fn checked(self) -> Result<Self, AiError> {
        if self.response.ok() {
            return Ok(self);
        }
        let (status, request_id) = (self.response.status(), self.request_id.clone());
        let body = self.text().await?;
        Err(AiError::from_reply(status, &body, request_id))
    }

    /// Whether the body is JSON rather than a stream.
    pub(super) fn is_json(&self) -> bool {
        let kind = self.response.headers().get("content-type").ok().flatten();
        kind.is_some_and(|kind| kind.trim_start().to_ascii_lowercase().starts_with("application/json"))
    }

    /// The body as text.
    pub(super) async fn text(self) -> Result<String, AiError> {
        let failed = |error: JsValue| broke_off(&error, self.signal.as_ref());
        let promise = self.response.text().map_err(failed)?;
        let text = JsFuture::from(promise).await.map_err(failed)?;
        self.abort.disarm();
        Ok(text.as_string().unwrap_or_default())
    }

    /// The body as a JavaScript value, for replies whose bulk should not pass through JSON on this side.
    pub(super) async fn json(self, what: &'static str) -> Result<JsValue, AiError> {
        let failed = |error: &JsValue| match name_of(error).as_str() {
            "SyntaxError" => {
                AiError::Malformed { what, detail: text_of(error), request_id: self.request_id.clone() }
            }
            _ => broke_off(error, self.signal.as_ref()),
        };
        let promise = self.response.json().map_err(|error| failed(&error))?;
        let value = JsFuture::from(promise).await.map_err(|error| failed(&error))?;
        self.abort.disarm();
        Ok(value)
    }

    /// The body as a stream, if there is one. It is the caller's to cancel.
    pub(super) fn body(self) -> Option<web_sys::ReadableStream> {
        self.abort.disarm();
        self.response.body()
    }
}

/// The error for a call or body that broke off, perhaps by the caller's own signal.
pub(super) fn broke_off(error: &JsValue, signal: Option<&AbortSignal>) -> AiError {
    if signal.is_some_and(AbortSignal::aborted) {
        return AiError::Aborted;
    }
    let message = text_of(error);
    if is_subrequest_limit(&message) {
        AiError::SubrequestLimit { message }
    } else {
        AiError::Network { message }
    }
}

/// Aborts a request that nobody waits for any more, so that it does not run, and cost, to its end.
#[derive(Debug)]
struct AbortOnDrop(Option<AbortController>);

impl AbortOnDrop {
    fn disarm(mut self) {
        self.0 = None;
    }
}

impl Drop for AbortOnDrop {
    fn drop(&mut self) {
        if let Some(controller) = &self.0 {
            controller.abort();
        }
    }
}
