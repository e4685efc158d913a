//! The ingest worker: document API, queue consumer, sweeper. Reachable through the query worker only, but it checks
//! every key itself.

mod admin;
mod consumer;
mod documents;
mod files;
mod letters;
mod sources;
mod views;

use ragflare_cloudflare::core::ingest::SETTLED_AFTER;
use ragflare_cloudflare::http::ApiError;
use ragflare_cloudflare::invocation::Invocation;
use worker::{Context, Env, MessageBatch, Method, Request, Response, ScheduleContext, ScheduledEvent, event};

#[event(fetch)]
async fn fetch(mut request: Request, env: Env, _context: Context) -> worker::Result<Response> {
    let invocation = match Invocation::new(&env, Some(&request)) {
        Ok(invocation) => invocation,
        Err(error) => return error.into_response("none"),
    };
    let what = format!("{} {}", request.method(), request.path());
    let reply = route(&invocation, &mut request).await;
    invocation.report(&what);
    let mut reply = match reply {
        Ok(reply) => reply,
        Err(error) => error.into_response(&invocation.request_id)?,
    };
    reply.headers_mut().set("x-request-id", &invocation.request_id)?;
    if reply.status_code() == 405 {
        reply.headers_mut().set("allow", allowed(&request.path()))?;
    }
    Ok(reply)
}

async fn route(invocation: &Invocation, request: &mut Request) -> Result<Response, ApiError> {
    let path = request.path();
    if path == "/healthz" {
        return Ok(Response::ok("ok")?);
    }
    if let Some(rest) = path.strip_prefix("/v1/admin/") {
        return admin::route(invocation, request, rest).await;
    }
    match path.strip_prefix("/v1/documents") {
        Some("" | "/") => documents::collection(invocation, request).await,
        Some(rest) if rest.starts_with('/') => documents::single(invocation, request, &rest[1..]).await,
        _ => Err(ApiError::not_found(format!("route `{path}`"))),
    }
}

/// 405; what is allowed is said in a header.
fn not_allowed(method: &Method) -> ApiError {
    ApiError::new(405, "method_not_allowed", format!("{method} is not allowed here"))
}

/// The methods of a path, as the header `allow` has them.
fn allowed(path: &str) -> &'static str {
    let is_view = ["/chunks", "/text", "/content"].iter().any(|view| path.ends_with(view));
    match path {
        "/v1/documents" | "/v1/documents/" => "GET, POST, DELETE",
        path if path.starts_with("/v1/documents/") => {
            if is_view {
                "GET"
            } else {
                "GET, PUT, PATCH, DELETE"
            }
        }
        "/v1/admin/keys" | "/v1/admin/reindex" => "GET, POST",
        "/v1/admin/sweep" | "/v1/admin/rebuild-keywords" | "/v1/admin/sources/sync" => "POST",
        path if path.ends_with("/replay") => "POST",
        path if path.starts_with("/v1/admin/keys/") || path.starts_with("/v1/admin/dead-letters/") => {
            "DELETE"
        }
        _ => "GET",
    }
}

#[event(queue)]
async fn queue(batch: MessageBatch<String>, env: Env, _context: Context) -> worker::Result<()> {
    let invocation = match Invocation::new(&env, None) {
        Ok(invocation) => invocation,
        Err(error) => return Err(worker::Error::RustError(error.message)),
    };
    consumer::consume(&invocation, &batch).await;
    invocation.report(&format!("queue {}", batch.queue()));
    Ok(())
}

#[event(scheduled)]
async fn scheduled(event: ScheduledEvent, env: Env, _context: ScheduleContext) {
    let Ok(invocation) = Invocation::new(&env, None) else { return };
    // The walk through the whole bucket once an hour.
    let objects = event.schedule() as u64 / 60_000 % 60 < 5;
    match invocation.rag.pipeline().sweep(SETTLED_AFTER, objects).await {
        Ok(swept) => worker::console_log!("swept {swept:?}"),
        Err(error) => worker::console_error!("sweep: {error}"),
    }
    sources::start_due(&invocation).await;
    invocation.report("scheduled");
}
