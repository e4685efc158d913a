//! Server-sent events out of a stream of answer events, with comments while there is nothing to say.

use crate::departure::Departure;
use futures::{FutureExt, Stream, StreamExt, stream};
use ragflare_cloudflare::core::answer::AnswerEvent;
use ragflare_cloudflare::http::ApiError;
use ragflare_cloudflare::invocation::Invocation;
use serde_json::Value;
use std::cell::RefCell;
use std::rc::Rc;
use std::task::{Context, Poll, Waker, ready};
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
    waker: Option<Waker>,
}

impl<E: Stream<Item = AnswerEvent> + Unpin, F: FnMut(AnswerEvent) -> String> Speaking<E, F> {
    fn poll(&mut self, context: &mut Context<'_>) -> Poll<Option<String>> {
        loop {
            let text = match self.events.poll_next_unpin(context) {
                Poll::Ready(Some(event)) => (self.encode)(event),
                Poll::Ready(None) => return Poll::Ready(None),
                Poll::Pending => {
                    self.waker = Some(context.waker().clone());
                    let silence = self.silence.get_or_insert_with(|| Delay::from(KEEP_ALIVE));
                    ready!(silence.poll_unpin(context));
                    ": keep-alive\n\n".to_owned()
                }
            };
            self.silence = None;
            if !text.is_empty() {
                return Poll::Ready(Some(text));
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
    let what = what.to_owned();
    let speaking = Speaking { events, encode, silence: None, invocation, what, waker: None };
    let speaking = Rc::new(RefCell::new(Some(speaking)));
    let watch = Departure::watch(request, {
        let speaking = speaking.clone();
        move || {
            let left = speaking.try_borrow_mut().ok().and_then(|mut slot| slot.take());
            if let Some(waker) = left.and_then(|mut left| left.waker.take()) {
                waker.wake();
            }
        }
    });
    let texts = stream::poll_fn(move |context| {
        let _lives_as_long = &watch;
        let mut slot = speaking.borrow_mut();
        let text = match slot.as_mut() {
            Some(speaking) => ready!(speaking.poll(context)),
            None => None,
        };
        if text.is_none() {
            *slot = None;
        }
        Poll::Ready(text.map(|text| Ok::<_, worker::Error>(text.into_bytes())))
    });
    let reply = ResponseBuilder::new()
        .with_header("content-type", "text/event-stream; charset=utf-8")?
        .with_header("cache-control", "no-store")?
        .with_header("x-accel-buffering", "no")?;
    Ok(reply.from_stream(texts)?)
}
