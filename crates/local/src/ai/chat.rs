//! Chat: one generation at a time, streamed or whole, stopped as soon as the client leaves.

use std::ops::ControlFlow;
use std::sync::Arc;

use axum::body::{Body, Bytes};
use axum::http::{HeaderValue, StatusCode, header};
use axum::response::Response;
use futures::stream;
use serde_json::json;
use tokio::sync::mpsc;

use super::inputs::{ChatInput, Prompt};
use super::obedience;
use super::sse::{self, Usage};
use super::wire::{AiError, CODE_CAPACITY};
use crate::error::Error;
use crate::faults::Plan;
use crate::llama::{Finish, Llama, Outcome};
use crate::server::{Twin, json_reply};

/// What the generating thread sends.
enum Event {
    Text(String),
    Done(Outcome),
    Failed(Error),
}

/// Counts a generation as active as long as it exists.
struct Active(Arc<Twin>);

impl Active {
    fn new(twin: &Arc<Twin>) -> Self {
        twin.stats.change(|c| c.generations_active += 1);
        Self(Arc::clone(twin))
    }
}

impl Drop for Active {
    fn drop(&mut self) {
        self.0.stats.change(|c| c.generations_active -= 1);
    }
}

/// Answers a chat request.
pub(super) async fn answer(
    twin: &Arc<Twin>,
    model: &Arc<Llama>,
    input: ChatInput,
    plan: &Plan,
    reject_if_busy: bool,
) -> Result<Response, AiError> {
    let tokens = match &input.prompt {
        Prompt::Chat(messages) => model.encode_chat(messages)?,
        Prompt::Raw(text) => model.encode_raw(text)?,
    };
    model.check_window(tokens.len(), input.options.max_tokens)?;
    twin.stats.prompt(&input.prompt);
    let obedient = plan.obey.map(|seed| (obedience::answer(&input.prompt), seed));
    if let Some((text, seed)) = plan.answer.as_ref().or(obedient.as_ref()) {
        let usage = Usage::new(tokens.len(), model.encode_text(text)?.len());
        return Ok(planned_answer(text, *seed, usage, input.stream));
    }
    if reject_if_busy && twin.ai.generating.try_lock().is_err() {
        return Err(AiError::of_code(CODE_CAPACITY));
    }
    let stream = input.stream;
    let events = generate(twin, Arc::clone(model), tokens, input);
    if stream {
        return Ok(streamed(events, plan.cut_after_chunks));
    }
    let mut events = events;
    let mut text = String::new();
    while let Some(event) = events.recv().await {
        match event {
            Event::Text(piece) => text.push_str(&piece),
            Event::Failed(error) => return Err(error.into()),
            Event::Done(outcome) => {
                let usage = Usage::new(outcome.prompt_tokens, outcome.completion_tokens);
                return Ok(json_reply(
                    StatusCode::OK,
                    &json!({"response": text, "tool_calls": [], "usage": usage}),
                ));
            }
        }
    }
    Err(Error::model(model.name(), "the generation ended without a result").into())
}

/// Starts a generation, which waits for its turn. Dropping the receiver stops it: in the queue at once, in the prompt
/// between two passes, in the answer at the next token.
fn generate(
    twin: &Arc<Twin>,
    model: Arc<Llama>,
    tokens: Vec<u32>,
    input: ChatInput,
) -> mpsc::Receiver<Event> {
    // Small, so that a client that reads slowly slows the generation down.
    let (sender, receiver) = mpsc::channel(32);
    let active = Active::new(twin);
    tokio::spawn(async move {
        let twin = Arc::clone(&active.0);
        let turn = tokio::select! {
            // tokio's mutex is fair: first come, first served.
            turn = twin.ai.generating.lock() => turn,
            () = sender.closed() => {
                twin.stats.change(|c| c.generations_cancelled += 1);
                return;
            }
        };
        let work = tokio::task::spawn_blocking(move || {
            let result =
                model.generate(&tokens, &input.options, &|| sender.is_closed(), &mut |piece| match sender
                    .blocking_send(Event::Text(piece))
                {
                    Ok(()) => ControlFlow::Continue(()),
                    Err(_) => ControlFlow::Break(()),
                });
            active.0.stats.change(|c| match &result {
                Ok(outcome) => {
                    c.prompt_tokens += outcome.prompt_tokens as u64;
                    c.prompt_tokens_cached += outcome.cached_tokens as u64;
                    c.tokens_generated += outcome.completion_tokens as u64;
                    match outcome.finish {
                        Finish::Cancelled => c.generations_cancelled += 1,
                        Finish::Stop | Finish::Length => c.generations_finished += 1,
                    }
                }
                Err(_) => c.generations_finished += 1,
            });
            drop(active);
            let last = match result {
                Ok(outcome) => Event::Done(outcome),
                Err(error) => Event::Failed(error),
            };
            // When the client has left there is no one to tell.
            let _ = sender.blocking_send(last);
        });
        let _ = work.await;
        drop(turn);
    });
    receiver
}

fn event_stream(body: Body) -> Response {
    let mut response = Response::new(body);
    response.headers_mut().insert(header::CONTENT_TYPE, HeaderValue::from_static("text/event-stream"));
    response
}

fn streamed(events: mpsc::Receiver<Event>, cut_after: Option<usize>) -> Response {
    struct State {
        events: mpsc::Receiver<Event>,
        left: Option<usize>,
        ended: bool,
    }
    let state = State { events, left: cut_after, ended: false };
    let body = stream::unfold(state, |mut state| async move {
        if state.ended || state.left == Some(0) {
            return None;
        }
        let item: Result<Bytes, std::io::Error> = match state.events.recv().await {
            Some(Event::Text(piece)) => {
                state.left = state.left.map(|n| n - 1);
                Ok(sse::text_event(&piece))
            }
            Some(Event::Done(outcome)) if state.left.is_none() => {
                state.ended = true;
                let usage = Usage::new(outcome.prompt_tokens, outcome.completion_tokens);
                Ok(Bytes::from([sse::usage_event(usage), sse::done_event()].concat()))
            }
            // The answer was shorter than the cut: it ends without usage all the same.
            Some(Event::Done(_)) | None => return None,
            Some(Event::Failed(error)) => {
                state.ended = true;
                Err(std::io::Error::other(error))
            }
        };
        Some((item, state))
    });
    event_stream(Body::from_stream(body))
}

fn planned_answer(text: &str, seed: u64, usage: Usage, stream: bool) -> Response {
    if !stream {
        return json_reply(StatusCode::OK, &json!({"response": text, "tool_calls": [], "usage": usage}));
    }
    let mut bytes = Vec::new();
    for piece in sse::random_pieces(text, seed) {
        bytes.extend_from_slice(&sse::text_event(&piece));
    }
    bytes.extend_from_slice(&sse::usage_event(usage));
    bytes.extend_from_slice(&sse::done_event());
    // Long answers in long chunks, so that they take no longer: at most a few hundred.
    let chunks = sse::random_chunks(&bytes, 41.max(bytes.len() / 100), seed);
    let body = stream::unfold(chunks.into_iter(), |mut chunks| async move {
        // A pause, so that every chunk is sent on its own.
        tokio::time::sleep(std::time::Duration::from_millis(1)).await;
        chunks.next().map(|chunk| (Ok::<_, std::io::Error>(chunk), chunks))
    });
    event_stream(Body::from_stream(body))
}
