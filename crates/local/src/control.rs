//! Routes for tests and tools, under `/control`. No part of any Cloudflare surface.
//!
//! | route | |
//! |---|---|
//! | `GET /health` | models, indexes, delays |
//! | `GET /stats`, `POST /stats/reset` | [`crate::stats::Counts`] |
//! | `GET /prompts` | what chat models were asked since the last reset: the last 64, oldest first, as messages or as text, and beside them the rest of each request ([`crate::stats::Asked`]) |
//! | `GET /gateway-logs` | AI Gateway's log, oldest first ([`crate::ai::gateway::Log`]); `DELETE` empties it and the cache |
//! | `GET`, `PUT`, `DELETE /faults` | a list of [`crate::faults::Rule`] |
//! | `PUT /mutation-delay` `{ms}` | how long writes stay invisible; `POST /flush` applies them at once |
//! | `PUT /batch-delay` `{ms}` | how long asynchronous batches are not done, at least |
//! | `GET`, `DELETE /batches` | the asynchronous batches; deleting makes all of them expire |
//! | `PUT /indexes/NAME` | creates an index ([`IndexConfig`]) or adds metadata indexes; `GET /indexes/NAME/ids` lists its vectors |

use std::sync::Arc;
use std::time::Duration;

use axum::Router;
use axum::body::Bytes;
use axum::extract::{Path, State};
use axum::http::StatusCode;
use axum::response::Response;
use axum::routing::{get, post, put};
use serde::Deserialize;
use serde::de::DeserializeOwned;
use serde_json::{Value, json};

use crate::ai::inputs::Prompt;
use crate::error::Error;
use crate::faults::Rule;
use crate::server::{Twin, json_reply};
use crate::vectorize::store::IndexConfig;
use crate::vectorize::wire::list_ids;

/// The control routes.
pub fn routes() -> Router<Arc<Twin>> {
    Router::new()
        .route("/control/health", get(health))
        .route("/control/stats", get(stats))
        .route("/control/stats/reset", post(reset_stats))
        .route("/control/prompts", get(prompts))
        .route("/control/gateway-logs", get(gateway_logs).delete(forget_gateway))
        .route("/control/faults", get(get_faults).put(put_faults).delete(delete_faults))
        .route("/control/mutation-delay", put(put_delay))
        .route("/control/batch-delay", put(put_batch_delay))
        .route("/control/batches", get(list_batches).delete(forget_batches))
        .route("/control/indexes/{name}", put(put_index))
        .route("/control/indexes/{name}/ids", get(list_ids))
        .route("/control/flush", post(flush))
}

fn ok(value: &Value) -> Response {
    json_reply(StatusCode::OK, value)
}

fn fail(status: StatusCode, error: impl std::fmt::Display) -> Response {
    json_reply(status, &json!({"error": error.to_string()}))
}

fn parse<T: DeserializeOwned>(body: &[u8]) -> Result<T, Box<Response>> {
    serde_json::from_slice(body).map_err(|e| Box::new(fail(StatusCode::BAD_REQUEST, e)))
}

async fn health(State(twin): State<Arc<Twin>>) -> Response {
    ok(&json!({
        "status": "ok",
        "version": env!("CARGO_PKG_VERSION"),
        "models": twin.ai.installed(),
        "indexes": twin.store.index_names(),
        "mutation_delay_ms": twin.store.delay().as_millis() as u64,
        "pending_mutations": twin.store.pending(),
        "batch_delay_ms": twin.batches.delay().as_millis() as u64,
    }))
}

async fn stats(State(twin): State<Arc<Twin>>) -> Response {
    ok(&json!(twin.stats.get()))
}

async fn prompts(State(twin): State<Arc<Twin>>) -> Response {
    let shown = |prompt: &Prompt| match prompt {
        Prompt::Chat(messages) => json!(messages),
        Prompt::Raw(text) => json!(text),
    };
    let asked = twin.stats.prompts();
    let prompts: Vec<Value> = asked.iter().map(|asked| shown(&asked.prompt)).collect();
    let requests: Vec<&Value> = asked.iter().map(|asked| &asked.request).collect();
    ok(&json!({"prompts": prompts, "requests": requests}))
}

async fn gateway_logs(State(twin): State<Arc<Twin>>) -> Response {
    ok(&json!({"logs": twin.gateway.logs()}))
}

async fn forget_gateway(State(twin): State<Arc<Twin>>) -> Response {
    twin.gateway.forget();
    ok(&json!({}))
}

async fn reset_stats(State(twin): State<Arc<Twin>>) -> Response {
    twin.stats.reset();
    ok(&json!({}))
}

async fn get_faults(State(twin): State<Arc<Twin>>) -> Response {
    ok(&json!(twin.faults.get()))
}

async fn put_faults(State(twin): State<Arc<Twin>>, body: Bytes) -> Response {
    match parse::<Vec<Rule>>(&body) {
        Ok(rules) => {
            twin.faults.set(rules);
            ok(&json!(twin.faults.get()))
        }
        Err(reply) => *reply,
    }
}

async fn delete_faults(State(twin): State<Arc<Twin>>) -> Response {
    twin.faults.set(Vec::new());
    ok(&json!([]))
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Delay {
    ms: u64,
}

async fn put_delay(State(twin): State<Arc<Twin>>, body: Bytes) -> Response {
    match parse::<Delay>(&body) {
        Ok(Delay { ms }) => {
            twin.store.set_delay(Duration::from_millis(ms));
            twin.mutated.notify_one();
            ok(&json!({"ms": ms}))
        }
        Err(reply) => *reply,
    }
}

async fn put_batch_delay(State(twin): State<Arc<Twin>>, body: Bytes) -> Response {
    match parse::<Delay>(&body) {
        Ok(Delay { ms }) => {
            twin.batches.set_delay(Duration::from_millis(ms));
            ok(&json!({"ms": ms}))
        }
        Err(reply) => *reply,
    }
}

async fn list_batches(State(twin): State<Arc<Twin>>) -> Response {
    let batches = twin.batches.list().into_iter();
    let batches: Vec<Value> =
        batches.map(|(id, status)| json!({"request_id": id, "status": status})).collect();
    ok(&json!({"batches": batches}))
}

async fn forget_batches(State(twin): State<Arc<Twin>>) -> Response {
    ok(&json!({"forgotten": twin.batches.forget()}))
}

async fn put_index(State(twin): State<Arc<Twin>>, Path(name): Path<String>, body: Bytes) -> Response {
    let config: IndexConfig = match parse(&body) {
        Ok(config) => config,
        Err(reply) => return *reply,
    };
    let task = tokio::task::spawn_blocking(move || {
        twin.store.create_index(&name, &config).map(|()| json!(twin.store.config(&name)))
    });
    match task.await {
        Ok(Ok(config)) => ok(&config),
        Ok(Err(error @ Error::Config(_))) => fail(StatusCode::CONFLICT, error),
        Ok(Err(error)) => fail(StatusCode::INTERNAL_SERVER_ERROR, error),
        Err(error) => fail(StatusCode::INTERNAL_SERVER_ERROR, error),
    }
}

async fn flush(State(twin): State<Arc<Twin>>) -> Response {
    match tokio::task::spawn_blocking(move || twin.store.flush()).await {
        Ok(Ok(applied)) => ok(&json!({"applied": applied})),
        Ok(Err(error)) => fail(StatusCode::INTERNAL_SERVER_ERROR, error),
        Err(error) => fail(StatusCode::INTERNAL_SERVER_ERROR, error),
    }
}
