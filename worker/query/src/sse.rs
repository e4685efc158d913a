//! Server-sent events out of a stream of answer events, with comments while there is nothing to say.

use futures::future::{Either, select};
use futures::{Stream, StreamExt, stream};
use ragflare_cloudflare::core::answer::AnswerEvent;
use ragflare_cloudflare::http::ApiError;
use ragflare_cloudflare::invocation::Invocation;
use std::time::Duration;
use worker::{Delay, Response, ResponseBuilder};

/// Proxies close connections that are silent for longer.
const KEEP_ALIVE: Duration = Duration::from_secs(10);

/// An event with a name and JSON data.
pub(crate) fn named(name: &str, data: &serde_json::Value) -> String {
    format!("event: {name}\ndata: {data}\n\n")
}

/// An event with data only, as `OpenAI` sends it.
pub(crate) fn plain(data: &str) -> String {
    format!("data: {data}\n\n")
}

/// A reply that streams `events` through `encode`; the ledger is reported when the stream ends.
pub(crate) fn reply(
    invocation: Invocation,
    what: String,
    events: impl Stream<Item = AnswerEvent> + Unpin + 'static,
    encode: impl FnMut(AnswerEvent) -> String + 'static,
) -> Result<Response, ApiError> {
    let state = (events, encode, Some((invocation, what)));
    let texts = stream::unfold(state, |(mut events, mut encode, mut report)| async move {
        report.as_ref()?;
        let text = match select(events.next(), Delay::from(KEEP_ALIVE)).await {
            Either::Right(((), _)) => ": keep-alive\n\n".to_owned(),
            Either::Left((Some(event), _)) => encode(event),
            Either::Left((None, _)) => {
                if let Some((invocation, what)) = report.take() {
                    invocation.report(&what);
                }
                return None;
            }
        };
        Some((Ok::<_, worker::Error>(text.into_bytes()), (events, encode, report)))
    });
    let reply = ResponseBuilder::new()
        .with_header("content-type", "text/event-stream; charset=utf-8")?
        .with_header("cache-control", "no-store")?
        .with_header("x-accel-buffering", "no")?;
    Ok(reply.from_stream(texts)?)
}
