//! JSON-RPC 2.0 as MCP uses it: one message a request.

use ragflare_cloudflare::http::ApiError;
use serde_json::{Map, Value, json};
use worker::{Response, ResponseBuilder};

/// What was posted.
pub(super) enum Incoming {
    Request(Request),
    /// A notification, or a response: neither is answered.
    Nothing,
}

/// A call.
pub(super) struct Request {
    /// A text or a whole number.
    pub(super) id: Value,
    pub(super) method: String,
    /// An object.
    pub(super) params: Value,
}

/// An error reply.
pub(super) struct Refusal {
    /// HTTP status; 200 where only the call failed.
    pub(super) status: u16,
    /// JSON-RPC's code.
    pub(super) code: i32,
    pub(super) message: String,
    pub(super) data: Value,
    pub(super) retry_after: Option<u32>,
}

impl Refusal {
    pub(super) fn new(status: u16, code: i32, message: impl Into<String>) -> Self {
        Self { status, code, message: message.into(), data: Value::Null, retry_after: None }
    }

    /// The reply to the call with this id; null when it is not known.
    pub(super) fn into_response(self, id: &Value) -> worker::Result<Response> {
        let mut error = json!({"code": self.code, "message": self.message});
        if !self.data.is_null() {
            error["data"] = self.data;
        }
        let body = json!({"jsonrpc": "2.0", "id": id, "error": error});
        let mut reply = ResponseBuilder::new()
            .with_status(self.status)
            .with_header("content-type", "application/json")?;
        if self.status == 401 {
            reply = reply.with_header("www-authenticate", "Bearer")?;
        }
        if let Some(seconds) = self.retry_after {
            reply = reply.with_header("retry-after", &seconds.to_string())?;
        }
        Ok(reply.fixed(body.to_string().into_bytes()))
    }
}

impl From<ApiError> for Refusal {
    /// Codes from -32000 down are the server's own.
    fn from(error: ApiError) -> Self {
        let code = if error.status >= 500 { -32603 } else { -32000 };
        Self {
            status: error.status,
            code,
            message: error.message,
            data: json!({"code": error.code}),
            retry_after: error.retry_after,
        }
    }
}

/// A result.
pub(super) fn response(id: &Value, result: Value) -> Value {
    json!({"jsonrpc": "2.0", "id": id, "result": result})
}

/// Reads a body.
pub(super) fn read(bytes: &[u8]) -> Result<Incoming, Refusal> {
    let wrong = |message: &str| Refusal::new(400, -32600, message);
    let message: Value = serde_json::from_slice(bytes)
        .map_err(|error| Refusal::new(400, -32700, format!("the body is no JSON: {error}")))?;
    let Value::Object(mut message) = message else {
        return Err(wrong("send one message, an object; batches are not taken"));
    };
    if message.get("jsonrpc").and_then(Value::as_str) != Some("2.0") {
        return Err(wrong("`jsonrpc` must be \"2.0\""));
    }
    let Some(method) = message.remove("method") else {
        let is_response = message.contains_key("result") || message.contains_key("error");
        return if is_response { Ok(Incoming::Nothing) } else { Err(wrong("`method` is missing")) };
    };
    let Value::String(method) = method else { return Err(wrong("`method` must be a text")) };
    let params = match message.remove("params") {
        None => Value::Object(Map::new()),
        Some(params @ Value::Object(_)) => params,
        Some(_) => return Err(wrong("`params` must be an object")),
    };
    match message.remove("id") {
        None => Ok(Incoming::Nothing),
        Some(id) if id.is_string() || id.is_i64() || id.is_u64() => {
            Ok(Incoming::Request(Request { id, method, params }))
        }
        Some(_) => Err(wrong("`id` must be a text or a whole number")),
    }
}
