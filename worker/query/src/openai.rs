//! `OpenAI`'s protocol: chat completions, embeddings, models, and its errors.

mod completions;
mod embeddings;
mod reply;

pub(crate) use completions::completions;
pub(crate) use embeddings::embeddings;

use ragflare_cloudflare::core::settings::Settings;
use ragflare_cloudflare::http::{ApiError, json};
use ragflare_cloudflare::invocation::Invocation;
use ragflare_cloudflare::keys::Scope;
use serde_json::{Value, json};
use worker::{Request, Response, ResponseBuilder};

/// Whether a path is one of `OpenAI`'s.
pub(crate) fn speaks(path: &str) -> bool {
    matches!(path, "/v1/chat/completions" | "/v1/embeddings" | "/v1/models")
        || path.starts_with("/v1/models/")
}

/// An error reply as their clients read it: `{error: {message, type, param, code}}`, none of them missing.
pub(crate) fn failure(error: ApiError, request_id: &str) -> worker::Result<Response> {
    let body = error_body(&error, request_id).to_string();
    let reply = error.into_response(request_id)?;
    let (status, headers) = (reply.status_code(), reply.headers().clone());
    Ok(ResponseBuilder::new().with_status(status).with_headers(headers).fixed(body.into_bytes()))
}

fn error_body(error: &ApiError, request_id: &str) -> Value {
    json!({
        "error": {
            "message": error.message, "type": error.kind(), "param": error.param, "code": error.code,
        },
        "request_id": request_id,
    })
}

fn unknown_model(name: &str) -> ApiError {
    let message = format!("there is no model `{name}` for this; GET /v1/models lists those there are");
    ApiError { param: Some("model".into()), ..ApiError::new(404, "model_not_found", message) }
}

fn entries(settings: &Settings) -> Vec<Value> {
    let entry = |name: &str, task: &str| {
        json!({
            "id": name, "object": "model", "created": 0, "owned_by": "cloudflare", "ragflare": {"task": task},
        })
    };
    let mut all: Vec<Value> = settings.answer.allowed().into_iter().map(|name| entry(name, "chat")).collect();
    all.push(entry(&settings.embedding.model, "embedding"));
    all
}

/// `GET /v1/models`
pub(crate) async fn models(
    invocation: Invocation,
    request: &Request,
    what: &str,
) -> Result<Response, ApiError> {
    invocation.authorize(request, Scope::Read).await?;
    invocation.report(what);
    json(200, &json!({"object": "list", "data": entries(invocation.rag.settings())}))
}

/// `GET /v1/models/{model}`; clients send the slashes of a name as `%2F`.
pub(crate) async fn model(
    invocation: Invocation,
    request: &Request,
    what: &str,
    encoded: &str,
) -> Result<Response, ApiError> {
    invocation.authorize(request, Scope::Read).await?;
    invocation.report(what);
    let same = |entry: &Value| {
        let name = entry["id"].as_str().unwrap_or_default();
        let encode = |name: &str| name.replace('@', "%40").replace('/', "%2F");
        encoded == name || encode(encoded).eq_ignore_ascii_case(&encode(name))
    };
    match entries(invocation.rag.settings()).into_iter().find(same) {
        Some(entry) => json(200, &entry),
        None => Err(unknown_model(encoded)),
    }
}
