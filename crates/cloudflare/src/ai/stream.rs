//! A streamed reply.

use std::collections::VecDeque;
use std::pin::Pin;
use std::task::{Context, Poll, ready};

use futures::{Stream, StreamExt};
use wasm_bindgen::{JsCast, JsValue};
use wasm_streams::ReadableStream;
use wasm_streams::readable::IntoStream;

use super::call::{Reply, broke_off};
use super::delta::{StreamDecoder, StreamEvent, events_of};
use super::error::AiError;
use super::generation::Generation;

/// The events of one streamed reply, ending with [`StreamEvent::Done`] or an error.
///
/// Dropping it cancels the reply's reader, so that the model stops generating for nobody.
#[derive(Debug)]
pub struct GenerationStream {
    body: Option<IntoStream<'static>>,
    decoder: StreamDecoder,
    ready: VecDeque<Result<StreamEvent, AiError>>,
    signal: Option<web_sys::AbortSignal>,
    request_id: Option<String>,
    gateway_log_id: Option<String>,
    gateway_cache: Option<String>,
}

impl GenerationStream {
    /// Opens the reply and waits for its first event, so that a refusal that comes inside the stream can still
    /// be met by another try.
    pub(super) async fn open(reply: Reply) -> Result<Self, AiError> {
        let mut stream = Self {
            body: None,
            decoder: StreamDecoder::new(reply.request_id.clone()),
            ready: VecDeque::new(),
            signal: reply.signal.clone(),
            request_id: reply.request_id.clone(),
            gateway_log_id: reply.gateway_log_id.clone(),
            gateway_cache: reply.gateway_cache.clone(),
        };
        if reply.is_json() {
            let generation = Generation::from_wire(&reply.text().await?, stream.request_id.clone())?;
            stream.ready.extend(events_of(generation).into_iter().map(Ok));
            return Ok(stream);
        }
        let closed_at_once =
            || AiError::Network { message: "the stream closed before its first event".into() };
        let body = reply.body().ok_or_else(closed_at_once)?;
        stream.body = Some(ReadableStream::from_raw(body.unchecked_into()).into_stream());
        match stream.next().await {
            Some(Ok(StreamEvent::Done { finish_reason: None, truncated: true })) | None => {
                Err(closed_at_once())
            }
            Some(Err(error)) => Err(error),
            Some(Ok(first)) => {
                stream.ready.push_front(Ok(first));
                Ok(stream)
            }
        }
    }

    /// The header `cf-ai-req-id`.
    pub fn request_id(&self) -> Option<&str> {
        self.request_id.as_deref()
    }

    /// The header `cf-aig-log-id`, when the call went through AI Gateway.
    pub fn gateway_log_id(&self) -> Option<&str> {
        self.gateway_log_id.as_deref()
    }

    /// The header `cf-aig-cache-status`, `HIT` or `MISS`, when the call went through AI Gateway.
    pub fn gateway_cache(&self) -> Option<&str> {
        self.gateway_cache.as_deref()
    }

    fn read(&mut self, chunk: Option<Result<JsValue, JsValue>>) {
        let mut events = Vec::new();
        let outcome = match chunk {
            Some(Ok(chunk)) => match chunk.dyn_into::<js_sys::Uint8Array>() {
                Ok(bytes) => self.decoder.feed(&bytes.to_vec(), &mut events),
                Err(other) => Err(AiError::Malformed {
                    what: "stream",
                    detail: format!("a chunk that is no bytes: {other:?}"),
                    request_id: self.request_id.clone(),
                }),
            },
            Some(Err(error)) => Err(broke_off(&error, self.signal.as_ref())),
            None => self.decoder.finish(&mut events),
        };
        self.ready.extend(events.into_iter().map(Ok));
        if outcome.is_err() || self.decoder.ended() {
            self.body = None;
        }
        self.ready.extend(outcome.err().map(Err));
    }
}

impl Stream for GenerationStream {
    type Item = Result<StreamEvent, AiError>;

    fn poll_next(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<Option<Self::Item>> {
        loop {
            if let Some(event) = self.ready.pop_front() {
                return Poll::Ready(Some(event));
            }
            let Some(body) = &mut self.body else {
                return Poll::Ready(None);
            };
            let chunk = ready!(body.poll_next_unpin(context));
            self.read(chunk);
        }
    }
}
