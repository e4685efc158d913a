//! The query worker: the front door. Search and chat are answered here, in every protocol; document and admin routes go to
//! the ingest worker as they are.

mod chat;
mod departure;
mod feedback;
mod mcp;
mod openai;
mod origin;
mod sse;
mod ui;
mod wire;

use ragflare_cloudflare::core::search::SearchRequest;
use ragflare_cloudflare::cors::Cors;
use ragflare_cloudflare::http::{ApiError, json, media_type, method, read_json};
use ragflare_cloudflare::invocation::Invocation;
use ragflare_cloudflare::keys::Scope;
use serde_json::json;
use worker::{Context, Env, Method, Request, Response, ResponseBuilder, event};

/// The contract: `OpenAPI` 3.1, of both workers.
const OPENAPI: &str = include_str!("openapi.json");

#[event(fetch)]
async fn fetch(mut request: Request, env: Env, _context: Context) -> worker::Result<Response> {
    let cors = Cors::new(&env, &request)?;
    if let Some(reply) = cors.preflight()? {
        return Ok(reply);
    }
    let path = request.path();
    if path.starts_with("/v1/documents") || path.starts_with("/v1/admin/") {
        let passed_on = match env.service("INGEST")?.fetch_request(request).await {
            Ok(reply) => reply,
            Err(error) => ApiError::from(error).into_response("none")?,
        };
        return marked(passed_on, &cors);
    }
    if path == "/healthz" && matches!(method(&request), Ok(Method::Get)) {
        return marked(health(&env).await?, &cors);
    }
    let invocation = match Invocation::new(&env, Some(&request)) {
        Ok(invocation) => invocation,
        Err(error) => return marked(error.into_response("none")?, &cors),
    };
    let request_id = invocation.request_id.clone();
    let mut reply = match route(invocation, &env, &mut request, &path, &cors).await {
        Ok(reply) => reply,
        Err(error) if openai::speaks(&path) => openai::failure(error, &request_id)?,
        Err(error) => error.into_response(&request_id)?,
    };
    reply.headers_mut().set("x-request-id", &request_id)?;
    if reply.status_code() == 405
        && let Some(allowed) = allowed(template(&path))
    {
        reply.headers_mut().set("allow", allowed)?;
    }
    marked(reply, &cors)
}

/// For a page that may read it. The headers are copied: those of a reply that was fetched can't be changed.
fn marked(reply: Response, cors: &Cors) -> worker::Result<Response> {
    let headers = reply.headers().clone();
    let mut reply = reply.with_headers(headers);
    cors.mark(reply.headers_mut())?;
    Ok(reply)
}

/// A path with what varies in it replaced by its name.
fn template(path: &str) -> &str {
    if path.strip_prefix("/v1/models/").is_some_and(|model| !model.is_empty()) {
        return "/v1/models/{model}";
    }
    let chat = path.strip_prefix("/api/chat/").and_then(|rest| rest.strip_suffix("/stream"));
    if chat.is_some_and(|id| !id.is_empty() && !id.contains('/')) {
        return "/api/chat/{id}/stream";
    }
    path
}

async fn route(
    invocation: Invocation,
    env: &Env,
    request: &mut Request,
    path: &str,
    cors: &Cors,
) -> Result<Response, ApiError> {
    let what = format!("{} {path}", request.method());
    let template = template(path);
    let unknown = || ApiError::not_found(format!("route `{path}`"));
    let method =
        method(request).map_err(|error| if allowed(template).is_some() { error } else { unknown() })?;
    // Browsers ask before they send what says that it is JSON (`preflight`), but not before they send what says nothing.
    if method == Method::Post
        && template != "/mcp"
        && media_type(request)?.is_none()
        && origin::is_foreign(request, cors)?
    {
        return Err(origin::refused());
    }
    match (method, template) {
        (Method::Post, "/v1/search") => {
            let access = invocation.authorize(request, Scope::Read).await?;
            let search: SearchRequest = read_json(request).await?;
            let found = invocation.rag.search(&access.tenant, &search).await;
            invocation.report(&what);
            json(200, &found?)
        }
        (Method::Post, "/v1/chat") => chat::answer(invocation, request, &what).await,
        (Method::Post, "/v1/feedback") => feedback::give(invocation, request, &what).await,
        (Method::Post, "/v1/chat/completions") => openai::completions(invocation, request, &what).await,
        (Method::Post, "/v1/embeddings") => openai::embeddings(invocation, request, &what).await,
        (Method::Get, "/v1/models") => openai::models(invocation, request, &what).await,
        (Method::Get, "/v1/models/{model}") => {
            openai::model(invocation, request, &what, &path["/v1/models/".len()..]).await
        }
        (Method::Post, "/api/chat") => ui::answer(invocation, request, &what).await,
        (Method::Get, "/api/chat/{id}/stream") => ui::resume(invocation, request).await,
        (Method::Post, "/mcp") => Ok(mcp::post(invocation, env, request, &what, cors).await?),
        (_, "/mcp") => Ok(mcp::not_allowed()?),
        (Method::Get, "/openapi.json") => {
            let reply = ResponseBuilder::new().with_header("content-type", "application/json")?;
            Ok(reply.fixed(OPENAPI.as_bytes().to_vec()))
        }
        (Method::Get, "/") => Ok(Response::ok(WELCOME)?),
        (method, template) if allowed(template).is_some() => {
            Err(ApiError::new(405, "method_not_allowed", format!("{method} is not allowed here")))
        }
        _ => Err(unknown()),
    }
}

/// The methods of a route that is answered here, as the header `allow` has them.
fn allowed(template: &str) -> Option<&'static str> {
    match template {
        "/v1/search"
        | "/v1/chat"
        | "/v1/feedback"
        | "/v1/chat/completions"
        | "/v1/embeddings"
        | "/api/chat"
        | "/mcp" => Some("POST"),
        "/v1/models"
        | "/v1/models/{model}"
        | "/api/chat/{id}/stream"
        | "/openapi.json"
        | "/"
        | "/healthz" => Some("GET"),
        _ => None,
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
