//! A chat service with `OpenAI`'s interface, read by the same decoder as Workers AI.

use wasm_bindgen::JsValue;
use worker::{Fetch, Headers, Method, Request, RequestInit};

use super::call::Reply;
use super::error::AiError;
use super::generation::GenerationRequest;
use super::retry::{self, RetryPolicy};
use super::stream::GenerationStream;
use crate::ledger::Ledger;

/// Where to ask, and as whom.
#[derive(Debug, Clone)]
pub struct ExternalChat {
    url: String,
    key: Option<String>,
    ledger: Ledger,
    retry: RetryPolicy,
}

impl ExternalChat {
    /// Asks `{base}/chat/completions`; `base` is what `OpenAI`'s clients call the base URL.
    pub fn new(base: &str, key: Option<String>, ledger: Ledger) -> Self {
        let url = format!("{}/chat/completions", base.trim_end_matches('/'));
        Self { url, key, ledger, retry: RetryPolicy::default() }
    }

    /// Generates a text as a stream, as [`Ai::stream`](super::Ai::stream) does.
    ///
    /// # Errors
    /// As for any call; later errors come as items of the stream.
    pub async fn stream(
        &self,
        model: &str,
        request: &GenerationRequest,
    ) -> Result<GenerationStream, AiError> {
        let body = body(model, &request.to_wire(request.response_format.is_none())?)?;
        retry::run(self.retry, async || GenerationStream::open(self.send(&body).await?).await).await
    }

    async fn send(&self, body: &str) -> Result<Reply, AiError> {
        let broken = |error: worker::Error| AiError::Network { message: error.to_string() };
        self.ledger.count_ai();
        let headers = Headers::new();
        headers.set("content-type", "application/json").map_err(broken)?;
        if let Some(key) = &self.key {
            headers.set("authorization", &format!("Bearer {key}")).map_err(broken)?;
        }
        let mut init = RequestInit::new();
        init.with_method(Method::Post).with_headers(headers).with_body(Some(JsValue::from_str(body)));
        let request = Request::new_with_init(&self.url, &init).map_err(broken)?;
        let response = Fetch::Request(request).send().await.map_err(broken)?;
        Reply::new(response.into()).checked().await
    }
}

/// The wire form of Workers AI, with the model in it and the usage asked for, which these services leave out of streams
/// otherwise.
fn body(model: &str, wire: &str) -> Result<String, AiError> {
    let wrong = |error: serde_json::Error| AiError::Invalid { field: "request", detail: error.to_string() };
    let mut wire: serde_json::Map<String, serde_json::Value> = serde_json::from_str(wire).map_err(wrong)?;
    wire.insert("model".into(), model.into());
    if wire.contains_key("stream") {
        wire.insert("stream_options".into(), serde_json::json!({"include_usage": true}));
    }
    if let Some(schema) = wire.get_mut("response_format").and_then(|format| format.get_mut("json_schema")) {
        *schema = serde_json::json!({"name": "answer", "schema": schema.take()});
    }
    serde_json::to_string(&wire).map_err(wrong)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::ai::Message;
    use serde_json::{Value, json};

    #[test]
    fn the_request_is_open_ai_s() {
        let request = GenerationRequest::new(vec![Message::user("hello")], 20);
        let sent: Value = serde_json::from_str(&body("m", &request.to_wire(true).unwrap()).unwrap()).unwrap();
        let expected = json!({
            "model": "m", "messages": [{"role": "user", "content": "hello"}], "max_tokens": 20, "stream": true,
            "stream_options": {"include_usage": true},
        });
        assert_eq!(sent, expected);
    }
}
