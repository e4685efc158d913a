//! Server-sent events out of a stream of answer events, with comments while there is nothing to say.

use crate::departure::UntilLeft;
use futures::{FutureExt, Stream, StreamExt};
use ragflare_cloudflare::core::answer::AnswerEvent;
use ragflare_cloudflare::http::ApiError;
use ragflare_cloudflare::invocation::Invocation;
use serde_json::Value;
use std::pin::Pin;
use std::task::{Context, Poll, ready};
use std::time::Duration;
use worker::{Delay, Request, Response, ResponseBuilder};

/// Proxies close connections that are silent for longer.
const KEEP_ALIVE: Duration = Duration::from_secs(10);

/// An event with a name and JSON data.
pub(crate) fn named(name: &str, data: &Value) -> String {
    format!("event: {name}\ndata: {data}\n\n")
}

/// An event with data only.
pub(crate) fn plain(data: impl std::fmt::Display) -> String {
    format!("data: {data}\n\n")
}

/// A reply under way. Dropping it stops the generation and reports the ledger.
struct Speaking<E, F> {
    events: E,
    encode: F,
    silence: Option<Delay>,
    invocation: Invocation,
    what: String,
}

impl<E, F> Unpin for Speaking<E, F> {}

impl<E: Stream<Item = AnswerEvent> + Unpin, F: FnMut(AnswerEvent) -> String> Stream for Speaking<E, F> {
    type Item = worker::Result<Vec<u8>>;

    fn poll_next(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<Option<Self::Item>> {
        loop {
            let text = match self.events.poll_next_unpin(context) {
                Poll::Ready(Some(event)) => (self.encode)(event),
                Poll::Ready(None) => return Poll::Ready(None),
                Poll::Pending => {
                    let silence = self.silence.get_or_insert_with(|| Delay::from(KEEP_ALIVE));
                    ready!(silence.poll_unpin(context));
                    ": keep-alive\n\n".to_owned()
                }
            };
            self.silence = None;
            if !text.is_empty() {
                return Poll::Ready(Some(Ok(text.into_bytes())));
            }
        }
    }
}

impl<E, F> Drop for Speaking<E, F> {
    fn drop(&mut self) {
        self.invocation.report(&self.what);
    }
}

/// A reply that streams `events` through `encode`, until they end or the client leaves.
pub(crate) fn reply(
    invocation: Invocation,
    request: &Request,
    what: &str,
    events: impl Stream<Item = AnswerEvent> + Unpin + 'static,
    encode: impl FnMut(AnswerEvent) -> String + 'static,
) -> Result<Response, ApiError> {
    let speaking = Speaking { events, encode, silence: None, invocation, what: what.to_owned() };
    let reply = ResponseBuilder::new()
        .with_header("content-type", "text/event-stream; charset=utf-8")?
        .with_header("cache-control", "no-store")?
        .with_header("x-accel-buffering", "no")?;
    Ok(reply.from_stream(UntilLeft::new(request, speaking))?)
}
