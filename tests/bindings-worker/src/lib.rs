//! A worker whose routes are the methods of the `ai` and `vectorize` clients, so that tests can drive the clients
//! over HTTP in the real runtime.
//!
//! Every route answers 200 with `{"ok": RESULT, "ledger": {…}}` or
//! `{"error": {"type": …, …}, "text": "…", "retry": "never" | "backoff" | "after_midnight_utc" | "once",
//! "ledger": {…}}`. A body that does not fit answers 400 with `{"bad_request": "…"}`. All routes are `POST` with a
//! JSON body; a question mark marks a field that may be missing. Every body may hold
//! `retry?: {attempts?, base_ms?, cap_ms?, deadline_ms?}` (default: one try, 120 s).
//!
//! | route | body | `ok` |
//! |---|---|---|
//! | `/ai/embed` | `model, texts, pooling: "cls"\|"mean"` | `{dimensions, rows}` |
//! | `/ai/embed-all` | the same | the same |
//! | `/ai/rerank` | `model, query, contexts, top_k` | `[{index, score}]` |
//! | `/ai/generate` | `model, request: {messages, max_tokens, …}` | `{text, tool_calls, usage, finish_reason, request_id, gateway_log_id}` |
//! | `/ai/stream` | the same, `take?` | `{events, error, request_id, gateway_log_id}`; the stream is dropped after `take` events |
//! | `/ai/abort` | the same, `after_ms` | as `/ai/stream`; the caller's own signal aborts after this time |
//! | `/ai/drop` | the same, `after_ms` | `null`; the call's future is dropped after this time |
//! | `/ai/side-by-side` | `model, requests: [{messages, max_tokens, …}]` | one `{ok}` or `{error}` for each, run at once |
//! | `/vectorize/insert`, `/upsert`, `/upsert-many` | `records: [{id, values, namespace?, metadata?}]` | the mutation, `null`, or a list |
//! | `/vectorize/query` | `vector, options?: {top_k?, namespace?, return_values?, return_metadata?, filter?}` | `[{id, score, …}]` |
//! | `/vectorize/query-by-id` | `id, options?` | the same |
//! | `/vectorize/get-by-ids`, `/get-many` | `ids` | `[{id, values, namespace?, metadata?}]` |
//! | `/vectorize/delete-by-ids`, `/delete-many` | `ids` | the mutation, `null`, or a list |
//! | `/vectorize/describe` | – | `{vectorCount, dimensions, …}` |
//! | `/contract` | – | not wrapped: `[{name, fault}]`, core's contract suite over this worker's bindings |
//! | `/binding` | `name, class: "ai"\|"vectorize"` | `null` if the environment has such a binding |
//!
//! The `/ai/` routes also take `options?: {gateway?, extraHeaders?, tags?, …}`, in the names of the wire. Values
//! that JSON cannot hold may be given in `values` and `vector` as `null`, which stands for NaN.

mod ai;
mod contract;
mod vectorize;

use std::time::Duration;

use ragflare_cloudflare::ai::{AiError, RetryClass, RetryPolicy};
use ragflare_cloudflare::ledger::Ledger;
use ragflare_cloudflare::vectorize::VectorizeError;
use serde::de::DeserializeOwned;
use serde::{Deserialize, Serialize};
use serde_json::{Value, json};
use worker::{Context, Env, Request, Response, event};

/// What a route gives: the client's result or error as JSON, or why the body does not fit.
type Outcome = Result<Value, Failure>;

/// Why a route has no result.
enum Failure {
    /// The client's error.
    Client(Value),
    /// The body does not fit the route.
    Body(String),
}

#[event(fetch)]
async fn fetch(mut request: Request, env: Env, _context: Context) -> worker::Result<Response> {
    let body = match request.text().await? {
        empty if empty.is_empty() => json!({}),
        text => serde_json::from_str(&text)?,
    };
    let path = request.path();
    if path == "/contract" {
        return Response::from_json(&contract::run(&env).await?);
    }
    let ledger = Ledger::new();
    let outcome = match path.split_at(path.rfind('/').unwrap_or_default()) {
        ("/ai", route) => ai::route(route, &body, &env, &ledger).await,
        ("/vectorize", route) => vectorize::route(route, &body, &env, &ledger).await,
        ("", "/binding") => binding(&body, &env, &ledger),
        _ => Err(Failure::Body(format!("no route {path}"))),
    };
    let spent = serde_json::to_value(ledger.snapshot())?;
    match outcome {
        Ok(value) => Response::from_json(&json!({ "ok": value, "ledger": spent })),
        Err(Failure::Client(mut error)) => {
            error["ledger"] = spent;
            Response::from_json(&error)
        }
        Err(Failure::Body(text)) => {
            Ok(Response::from_json(&json!({ "bad_request": text }))?.with_status(400))
        }
    }
}

fn binding(body: &Value, env: &Env, ledger: &Ledger) -> Outcome {
    #[derive(Deserialize)]
    struct Input {
        name: String,
        class: String,
    }
    let Input { name, class } = input(body)?;
    match class.as_str() {
        "ai" => ragflare_cloudflare::ai::Ai::from_env(env, &name, ledger.clone()).map(drop)?,
        _ => ragflare_cloudflare::vectorize::Vectorize::from_env(env, &name, ledger.clone()).map(drop)?,
    }
    Ok(Value::Null)
}

/// The body as the route's own type.
fn input<T: DeserializeOwned>(body: &Value) -> Result<T, Failure> {
    serde_json::from_value(body.clone()).map_err(|error| Failure::Body(error.to_string()))
}

/// A result as JSON.
fn output(value: &impl Serialize) -> Outcome {
    serde_json::to_value(value).map_err(|error| Failure::Body(error.to_string()))
}

/// The retries the body asks for.
fn retry(body: &Value) -> RetryPolicy {
    let field = |name| body["retry"][name].as_u64();
    let default = RetryPolicy::none();
    let time = |name, default| field(name).map_or(default, Duration::from_millis);
    RetryPolicy {
        attempts: field("attempts").map_or(default.attempts, |n| n as u32),
        base: time("base_ms", default.base),
        cap: time("cap_ms", default.cap),
        deadline: time("deadline_ms", default.deadline),
    }
}

fn failure(error: &(impl Serialize + ToString), retry: RetryClass) -> Value {
    json!({ "error": error, "text": error.to_string(), "retry": retry })
}

impl From<AiError> for Failure {
    fn from(error: AiError) -> Self {
        Self::Client(failure(&error, error.retry_class()))
    }
}

impl From<VectorizeError> for Failure {
    fn from(error: VectorizeError) -> Self {
        Self::Client(failure(&error, error.retry_class()))
    }
}
