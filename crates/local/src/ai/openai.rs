//! A chat service with `OpenAI`'s interface over the same chat model: what a product falls back to when Workers AI fails.
//! It has faults of its own ([`Service::External`]). Any model name and any key will do.

use std::sync::Arc;

use axum::Router;
use axum::body::Body;
use axum::extract::State;
use axum::http::{HeaderMap, StatusCode, header};
use axum::response::Response;
use axum::routing::post;
use serde_json::{Value, json};

use super::chat::{self, Chat};
use super::form::{Completion, Form};
use super::inputs::ChatInput;
use super::wire::{self, AiError};
use crate::faults::{Call, Plan, Service};
use crate::server::{CLIENT_LEFT, Twin, broken_reply, cut_reply, json_reply, read_body};

/// The route.
pub(super) fn routes() -> Router<Arc<Twin>> {
    Router::new().route("/v1/chat/completions", post(completions))
}

/// Counts a call when it is over, also when its future is dropped because the client has left.
struct Counted {
    twin: Arc<Twin>,
    model: String,
    status: u16,
}

impl Drop for Counted {
    fn drop(&mut self) {
        self.twin.stats.external(&self.model, self.status);
    }
}

async fn completions(State(twin): State<Arc<Twin>>, headers: HeaderMap, body: Body) -> Response {
    let body = read_body(body, wire::MAX_BODY_BYTES).await.unwrap_or_default();
    let request: Option<Value> = serde_json::from_slice(&body).ok();
    let model = request.as_ref().and_then(|request| request["model"].as_str()).unwrap_or_default();
    let mut counted = Counted { twin: Arc::clone(&twin), model: model.to_owned(), status: CLIENT_LEFT };
    let plan = twin.plan(&Call { service: Service::External, op: "chat", model: Some(model), body: &body });
    plan.wait().await;
    if plan.disconnect {
        return broken_reply();
    }
    let mut result = match (&plan.error, &request) {
        (Some(error), _) => Err(error.ai()),
        (None, Some(request)) => answer(&twin, &headers, request, &plan).await,
        (None, None) => Err(AiError::input("the body is no JSON, or too large")),
    };
    if let (Ok(_), Some(error)) = (&result, &plan.error_after) {
        result = Err(error.ai());
    }
    let response = result.unwrap_or_else(|error| failure(&error));
    if plan.cut_reply {
        return cut_reply(response).await;
    }
    counted.status = response.status().as_u16();
    response
}

async fn answer(
    twin: &Arc<Twin>,
    headers: &HeaderMap,
    request: &Value,
    plan: &Plan,
) -> Result<Response, AiError> {
    let model = request["model"].as_str().filter(|model| !model.is_empty());
    let model = model.ok_or_else(|| AiError::input("required properties at '/' are 'model'"))?;
    let mut inputs = request.clone();
    if let Some(fields) = inputs.as_object_mut() {
        fields.remove("prompt");
        if let Some(most) = fields.remove("max_completion_tokens") {
            fields.insert("max_tokens".to_owned(), most);
        }
    }
    let input = ChatInput::parse(&inputs)?;
    let include_usage = request.pointer("/stream_options/include_usage") == Some(&Value::Bool(true));
    let engine = Arc::clone(twin.ai.chat.as_ref().ok_or_else(|| AiError::no_model(model))?);
    let options = json!({"authorized": headers.contains_key(header::AUTHORIZATION)});
    let asked = chat::asked(Service::External, model, &inputs, &options, headers);
    let form = Form::OpenAi(Completion::new(model, include_usage));
    chat::answer(twin, &engine, Chat { input, form, asked, plan, reject_if_busy: false }).await
}

/// An error in `OpenAI`'s shape.
fn failure(error: &AiError) -> Response {
    let status = StatusCode::from_u16(error.status).unwrap_or(StatusCode::INTERNAL_SERVER_ERROR);
    let kind = match error.status {
        401 | 403 => "authentication_error",
        429 => "rate_limit_error",
        400..500 => "invalid_request_error",
        _ => "server_error",
    };
    let error =
        json!({"message": error.description, "type": kind, "param": null, "code": error.code.to_string()});
    json_reply(status, &json!({"error": error}))
}
