//! The query worker: the front door. Search and chat are answered here; document and admin routes go to the ingest
//! worker as they are.

mod chat;
mod openai;
mod sse;

use ragflare_cloudflare::core::search::SearchRequest;
use ragflare_cloudflare::http::{ApiError, json, method, read_json};
use ragflare_cloudflare::invocation::Invocation;
use ragflare_cloudflare::keys::Scope;
use serde_json::json;
use worker::{Context, Env, Method, Request, Response, event};

#[event(fetch)]
async fn fetch(mut request: Request, env: Env, _context: Context) -> worker::Result<Response> {
    let path = request.path();
    if path.starts_with("/v1/documents") || path.starts_with("/v1/admin/") {
        return match env.service("INGEST")?.fetch_request(request).await {
            Ok(reply) => Ok(reply),
            Err(error) => ApiError::from(error).into_response("none"),
        };
    }
    if path == "/healthz" {
        return health(&env).await;
    }
    let invocation = match Invocation::new(&env, Some(&request)) {
        Ok(invocation) => invocation,
        Err(error) => return error.into_response("none"),
    };
    let request_id = invocation.request_id.clone();
    let what = format!("{} {path}", request.method());
    match route(invocation, &mut request, &path, &what).await {
        Ok(mut reply) => {
            reply.headers_mut().set("x-request-id", &request_id)?;
            Ok(reply)
        }
        Err(error) => error.into_response(&request_id),
    }
}

async fn route(
    invocation: Invocation,
    request: &mut Request,
    path: &str,
    what: &str,
) -> Result<Response, ApiError> {
    match (method(request)?, path) {
        (Method::Post, "/v1/search") => {
            let access = invocation.authorize(request, Scope::Read).await?;
            let search: SearchRequest = read_json(request).await?;
            let found = invocation.rag.search(&access.tenant, &search).await;
            invocation.report(what);
            json(200, &found?)
        }
        (Method::Post, "/v1/chat") => chat::answer(invocation, request, what).await,
        (Method::Post, "/v1/chat/completions") => openai::completions(invocation, request, what).await,
        (Method::Get, "/v1/models") => {
            invocation.authorize(request, Scope::Read).await?;
            openai::models(&invocation)
        }
        (method, "/v1/search" | "/v1/chat" | "/v1/chat/completions" | "/v1/models") => {
            Err(ApiError::new(405, "method_not_allowed", format!("{method} is not allowed here")))
        }
        (Method::Get, "/") => Ok(Response::ok(WELCOME)?),
        _ => Err(ApiError::not_found(format!("route `{path}`"))),
    }
}

/// Until the web page comes.
const WELCOME: &str =
    "Ragflare. Upload: PUT /v1/documents/{id}. Search: POST /v1/search. Ask: POST /v1/chat.\n";

/// Both workers answer.
async fn health(env: &Env) -> worker::Result<Response> {
    let ingest = env.service("INGEST")?.fetch("http://ingest/healthz", None).await;
    let up = ingest.is_ok_and(|reply| reply.status_code() == 200);
    let status = if up { 200 } else { 503 };
    json(status, &json!({"status": if up { "ok" } else { "ingest_unreachable" }}))
        .map_err(|error| worker::Error::RustError(error.message))
}
