//! What the binding asks of AI Gateway's log: `gateway(id).getLog` and `patchLog`.
//!
//! Source of paths, statuses and fields: `cloudflare-internal:aig-api` of workerd 1.20261117.1. The numbers of the errors are
//! assumed; the binding looks at their texts only.

use std::sync::Arc;

use axum::Router;
use axum::body::Bytes;
use axum::extract::{Path, State};
use axum::http::StatusCode;
use axum::response::Response;
use axum::routing::get;
use serde_json::{Value, json};

use super::gateway::{Log, metadata};
use crate::server::{Twin, json_reply};

/// The routes of `gateway(id).getLog` and `patchLog`.
pub(super) fn routes() -> Router<Arc<Twin>> {
    Router::new().route("/ai-gateway/gateways/{gateway}/logs/{id}", get(get_log).patch(patch_log))
}

fn not_found() -> Response {
    failed(StatusCode::NOT_FOUND, 7002, "Log Not Found")
}

fn failed(status: StatusCode, code: u32, message: &str) -> Response {
    json_reply(
        status,
        &json!({"success": false, "result": null, "errors": [{"code": code, "message": message}], "messages": []}),
    )
}

async fn get_log(State(twin): State<Arc<Twin>>, Path((gateway, id)): Path<(String, String)>) -> Response {
    match twin.gateway.change(&gateway, &id, |log: &mut Log| log.clone()) {
        Some(log) => json_reply(StatusCode::OK, &json!({"success": true, "result": log})),
        None => not_found(),
    }
}

async fn patch_log(
    State(twin): State<Arc<Twin>>,
    Path((gateway, id)): Path<(String, String)>,
    body: Bytes,
) -> Response {
    let Ok(Value::Object(patch)) = serde_json::from_slice::<Value>(&body) else {
        return failed(StatusCode::BAD_REQUEST, 7001, "the body is no JSON object");
    };
    let wrong = |what: &str| failed(StatusCode::BAD_REQUEST, 7001, what);
    let given = |name: &str| patch.get(name).map(|value| Some(value).filter(|value| !value.is_null()));
    let feedback = match given("feedback") {
        Some(Some(value)) => match value.as_i64() {
            Some(vote @ (-1 | 1)) => Some(Some(vote)),
            _ => return wrong("feedback must be -1, 1 or null"),
        },
        other => other.map(|_| None),
    };
    let score = match given("score") {
        Some(Some(value)) => match value.as_f64() {
            Some(score) if (0.0..=100.0).contains(&score) => Some(Some(score)),
            _ => return wrong("score must be a number from 0 to 100, or null"),
        },
        other => other.map(|_| None),
    };
    let noted = match given("metadata").map(metadata) {
        Some(None) => return wrong("metadata must be an object of strings, numbers and booleans, or null"),
        Some(noted) => noted,
        None => None,
    };
    let changed = twin.gateway.change(&gateway, &id, |log| {
        log.feedback = feedback.unwrap_or(log.feedback);
        log.score = score.unwrap_or(log.score);
        if let Some(noted) = noted {
            log.metadata = noted;
        }
    });
    match changed {
        Some(()) => json_reply(StatusCode::OK, &json!({"success": true, "result": {}})),
        None => not_found(),
    }
}
