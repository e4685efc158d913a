//! `POST /mcp`: the Model Context Protocol over streamable HTTP, without sessions.
//!
//! Two generations of it are spoken: revisions up to 2025-11-25, which begin with `initialize`, and 2026-07-28, where
//! each request brings its version in `_meta` and says method and tool in headers, too. (Read in the official clients:
//! `@modelcontextprotocol/sdk` 1.32.2, and `@modelcontextprotocol/client` 2.4.0 with its table of what a server checks.)
//! The JSON-RPC of it is written here: the `rmcp` crate's servers need tokio.

mod message;
mod tools;

use crate::departure::UntilLeft;
use crate::{origin, sse};
use message::{Incoming, Refusal, Request as Rpc};
use ragflare_cloudflare::cors::Cors;
use ragflare_cloudflare::http::{ApiError, MAX_JSON_BYTES, json, media_type, read_bytes};
use ragflare_cloudflare::invocation::Invocation;
use ragflare_cloudflare::keys::Scope;
use serde_json::{Value, json};
use tools::Outcome;
use worker::{Env, Request, Response, ResponseBuilder};

/// The revision without `initialize`.
const MODERN: &str = "2026-07-28";
/// Those with it, newest first. 2025-03-26 demands that batches are taken, and 2024-11-05 is of another transport.
const LEGACY: [&str; 2] = ["2025-11-25", "2025-06-18"];
/// Milliseconds for which the tools may be remembered.
const TOOLS_TTL_MS: u64 = 300_000;

const INSTRUCTIONS: &str = "Answers from the user's own documents. `search` finds passages, `ask` answers a question \
    with its sources cited, `list_documents` tells what there is.";

/// `POST /mcp`
pub(crate) async fn post(
    invocation: Invocation,
    env: &Env,
    request: &mut Request,
    what: &str,
    cors: &Cors,
) -> worker::Result<Response> {
    let mut id = Value::Null;
    match serve(invocation, env, request, what, cors, &mut id).await {
        Ok(reply) => Ok(reply),
        Err(refusal) => refusal.into_response(&id),
    }
}

/// Any other method: there are no streams to open and no sessions to end.
pub(crate) fn not_allowed() -> worker::Result<Response> {
    let error = ApiError::new(405, "method_not_allowed", "this server only takes POST");
    let mut reply = Refusal::from(error).into_response(&Value::Null)?;
    reply.headers_mut().set("allow", "POST")?;
    Ok(reply)
}

async fn serve(
    invocation: Invocation,
    env: &Env,
    request: &mut Request,
    what: &str,
    cors: &Cors,
    id: &mut Value,
) -> Result<Response, Refusal> {
    if origin::is_foreign(request, cors)? {
        return Err(origin::refused().into());
    }
    let access = invocation.authorize(request, Scope::Read).await?;
    if let Some(other) = media_type(request)?.filter(|media_type| media_type != "application/json") {
        let message = format!("send `application/json`, not `{other}`");
        return Err(ApiError::new(415, "unsupported_media_type", message).into());
    }
    let rpc = match message::read(&read_bytes(request, MAX_JSON_BYTES).await?)? {
        Incoming::Request(rpc) => rpc,
        Incoming::Nothing => {
            invocation.report(what);
            return Ok(ResponseBuilder::new().with_status(202).empty());
        }
    };
    *id = rpc.id.clone();
    let modern = is_modern(request, &rpc)?;
    let result = match (modern, rpc.method.as_str()) {
        (false, "initialize") => initialized(&rpc),
        (false, "ping") => json!({}),
        (true, "server/discover") => json!({
            "supportedVersions": versions(), "capabilities": {"tools": {}}, "instructions": INSTRUCTIONS,
            "ttlMs": TOOLS_TTL_MS, "cacheScope": "public",
        }),
        (_, "tools/list") => listed(&invocation, modern)?,
        (_, "tools/call") => match tools::call(&invocation, env, request, &access.tenant, &rpc).await? {
            Outcome::Ready(result) => result,
            Outcome::Answer(events, mut answer) => {
                let (rpc_id, accepts) = (rpc.id.clone(), accepts_events(request)?);
                if accepts {
                    let encode = move |event| match answer.take(event) {
                        Some(tools::Step::Progress(note)) => sse::plain(note),
                        Some(tools::Step::Result(result)) => {
                            sse::plain(message::response(&rpc_id, finished(result, modern)))
                        }
                        None => String::new(),
                    };
                    return Ok(sse::reply(invocation, request, what, events, encode)?);
                }
                let mut events = UntilLeft::new(request, events);
                let result = answer.whole(&mut events).await;
                if let Err(error) = events.still_there() {
                    invocation.report(what);
                    return Err(error.into());
                }
                result
            }
        },
        (_, other) => {
            let status = if modern { 404 } else { 200 };
            return Err(Refusal::new(status, -32601, format!("there is no method `{other}`")));
        }
    };
    invocation.report(what);
    Ok(json(200, &message::response(&rpc.id, finished(result, modern)))?)
}

fn versions() -> Vec<&'static str> {
    std::iter::once(MODERN).chain(LEGACY).collect()
}

fn server() -> Value {
    json!({"name": "ragflare", "title": "Ragflare", "version": env!("CARGO_PKG_VERSION")})
}

/// The client's version if it is spoken here, else the newest: then it is the client's turn to leave.
fn initialized(rpc: &Rpc) -> Value {
    let wanted = rpc.params["protocolVersion"].as_str();
    let version = LEGACY.into_iter().find(|version| Some(*version) == wanted).unwrap_or(LEGACY[0]);
    json!({
        "protocolVersion": version, "capabilities": {"tools": {}}, "serverInfo": server(),
        "instructions": INSTRUCTIONS,
    })
}

fn listed(invocation: &Invocation, modern: bool) -> Result<Value, ApiError> {
    let mut list = json!({"tools": tools::all(invocation.rag.settings())?});
    if modern {
        list["ttlMs"] = TOOLS_TTL_MS.into();
        list["cacheScope"] = "private".into();
    }
    Ok(list)
}

/// What every result of the newer generation also says.
fn finished(mut result: Value, modern: bool) -> Value {
    if modern {
        result["resultType"] = "complete".into();
        result["_meta"] = json!({"io.modelcontextprotocol/serverInfo": server()});
    }
    result
}

/// Whether the client can read a stream; one that says nothing takes what it asked for.
fn accepts_events(request: &Request) -> Result<bool, ApiError> {
    let accept = request.headers().get("accept")?.unwrap_or_default().to_ascii_lowercase();
    Ok(accept.contains("text/event-stream"))
}

/// Which generation a request is of: what its body claims, confirmed by its headers.
fn is_modern(request: &Request, rpc: &Rpc) -> Result<bool, Refusal> {
    let header = |name| request.headers().get(name).map_err(ApiError::from);
    let version = header("mcp-protocol-version")?;
    let meta = &rpc.params["_meta"];
    let Some(claimed) = meta["io.modelcontextprotocol/protocolVersion"].as_str() else {
        return match version.as_deref() {
            Some(MODERN) => {
                let message = "`_meta` lacks `io.modelcontextprotocol/protocolVersion`";
                Err(Refusal::new(400, -32602, message))
            }
            Some(other) if !LEGACY.contains(&other) => {
                let message =
                    format!("Bad Request: Unsupported protocol version: {other} (supported versions: ");
                Err(Refusal::new(400, -32000, format!("{message}{})", versions().join(", "))))
            }
            _ => Ok(false),
        };
    };
    if claimed != MODERN {
        let data = json!({"supported": versions(), "requested": claimed});
        let message = format!("the protocol version {claimed} is not supported");
        return Err(Refusal { data, ..Refusal::new(400, -32022, message) });
    }
    if !meta["io.modelcontextprotocol/clientCapabilities"].is_object() {
        let message = "`_meta` lacks `io.modelcontextprotocol/clientCapabilities`";
        return Err(Refusal::new(400, -32602, message));
    }
    let name = rpc.params["name"].as_str().filter(|_| rpc.method == "tools/call");
    for (header_name, expected) in [
        ("mcp-protocol-version", Some(claimed)),
        ("mcp-method", Some(rpc.method.as_str())),
        ("mcp-name", name),
    ] {
        if let Some(expected) = expected
            && header(header_name)?.as_deref() != Some(expected)
        {
            let message = format!("the header {header_name} must be `{expected}`, as the body says");
            return Err(Refusal::new(400, -32020, message));
        }
    }
    Ok(true)
}
