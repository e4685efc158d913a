//! `POST /v1/chat`: the native protocol.

use crate::departure::UntilLeft;
use crate::{sse, wire};
use futures::StreamExt;
use ragflare_cloudflare::core::answer::{AnswerEvent, AnswerRequest, Prepared};
use ragflare_cloudflare::http::{ApiError, json};
use ragflare_cloudflare::invocation::Invocation;
use ragflare_cloudflare::keys::Scope;
use serde_json::{Value, json};
use worker::{Request, Response};

/// What must be objects in a request.
const OBJECTS: &[&str] = &[
    "messages/*",
    "messages/*/tool_calls/*",
    "messages/*/tool_calls/*/function",
    "tools/*",
    "tools/*/function",
    "response_format",
];

pub(crate) async fn answer(
    invocation: Invocation,
    request: &mut Request,
    what: &str,
) -> Result<Response, ApiError> {
    let access = invocation.authorize(request, Scope::Read).await?;
    let asked: AnswerRequest = wire::read(request, OBJECTS).await?;
    let prepared = invocation.rag.prepare(&access.tenant, &asked).await?;
    let spent = spent(&prepared);
    let query = prepared.query.clone();
    let events = invocation.rag.stream(&access.tenant, prepared);
    if asked.stream {
        let request_id = invocation.request_id.clone();
        let encode = move |event| encode(event, &query, &spent, &request_id);
        return sse::reply(invocation, request, what, events, encode);
    }
    let mut whole =
        json!({"query": query, "sources": [], "text": "", "citations": [], "usage": null, "done": null});
    let mut events = UntilLeft::new(request, events);
    let mut text = String::new();
    let mut citations = Vec::new();
    while let Some(event) = events.next().await {
        match event {
            AnswerEvent::Sources(sources) => whole["sources"] = json!(sources),
            AnswerEvent::Delta(delta) => text.push_str(&delta),
            AnswerEvent::Citation(citation) => citations.push(json!(citation)),
            AnswerEvent::ToolCalls(calls) => whole["tool_calls"] = json!(calls),
            AnswerEvent::Usage(usage) => whole["usage"] = merged(json!(usage), &spent),
            AnswerEvent::Done(ending) => whole["done"] = json!(ending),
            AnswerEvent::Error(error) => return Err(error.into()),
        }
    }
    invocation.report(what);
    events.still_there()?;
    whole["text"] = text.into();
    whole["citations"] = citations.into();
    json(200, &whole)
}

fn encode(event: AnswerEvent, query: &str, spent: &Value, request_id: &str) -> String {
    match event {
        AnswerEvent::Sources(sources) => sse::named("sources", &json!({"query": query, "sources": sources})),
        AnswerEvent::Delta(text) => sse::named("delta", &json!({"text": text})),
        AnswerEvent::Citation(citation) => sse::named("citation", &json!(citation)),
        AnswerEvent::ToolCalls(calls) => sse::named("tool_calls", &json!({"tool_calls": calls})),
        AnswerEvent::Usage(usage) => sse::named("usage", &merged(json!(usage), spent)),
        AnswerEvent::Done(ending) => sse::named("done", &json!(ending)),
        AnswerEvent::Error(error) => {
            let body = ApiError::from(error).to_json(request_id);
            format!("event: error\ndata: {body}\n\n")
        }
    }
}

/// What is known of the cost before the model is asked.
pub(crate) fn spent(prepared: &Prepared) -> Value {
    json!({
        "counted_prompt_tokens": prepared.prompt_tokens, "search": prepared.usage,
        "timings_ms": prepared.timings_ms,
    })
}

/// The answer's tokens and all that it cost, beside what the search's share of that was.
pub(crate) fn merged(mut usage: Value, spent: &Value) -> Value {
    if let (Some(usage), Some(spent)) = (usage.as_object_mut(), spent.as_object()) {
        usage.extend(spent.clone());
    }
    usage
}
