//! Chat: one generation at a time, streamed or whole, stopped as soon as the client leaves.

use std::ops::ControlFlow;
use std::sync::Arc;

use axum::body::{Body, Bytes};
use axum::http::{HeaderMap, HeaderValue, StatusCode, header};
use axum::response::Response;
use futures::stream;
use serde_json::{Value, json};
use tokio::sync::mpsc;

use super::form::{End, Form};
use super::inputs::{ChatInput, Prompt};
use super::obedience;
use super::sse::{self, Usage};
use super::wire::{AiError, CODE_CAPACITY, CODE_JSON_MODE, CODE_NO_LORA, SESSION_HEADER};
use crate::error::Error;
use crate::faults::{Dictated, Plan, Service};
use crate::llama::{Finish, GenerateOptions, Llama};
use crate::server::{Twin, json_reply};
use crate::stats::Asked;

/// What the generating thread sends.
enum Event {
    Text(String),
    Done(Finish, Usage),
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

/// A chat request.
pub(super) struct Chat<'c> {
    pub(super) input: ChatInput,
    pub(super) form: Form,
    /// What is kept of the request ([`asked`]).
    pub(super) asked: Value,
    pub(super) plan: &'c Plan,
    /// Not to wait while another generation runs.
    pub(super) reject_if_busy: bool,
}

/// What is kept of a request beside its conversation ([`Asked::request`]).
pub(super) fn asked(
    service: Service,
    model: &str,
    inputs: &Value,
    options: &Value,
    headers: &HeaderMap,
) -> Value {
    let mut inputs = inputs.clone();
    if let Some(inputs) = inputs.as_object_mut() {
        inputs.remove("messages");
        inputs.remove("prompt");
    }
    let session = headers.get(SESSION_HEADER).and_then(|session| session.to_str().ok());
    json!({
        "service": service.name(), "model": model, "inputs": inputs, "options": options, "session": session,
    })
}

/// Answers a chat request.
pub(super) async fn answer(
    twin: &Arc<Twin>,
    model: &Arc<Llama>,
    chat: Chat<'_>,
) -> Result<Response, AiError> {
    let Chat { input, form, asked, plan, reject_if_busy } = chat;
    let tokens = match &input.prompt {
        Prompt::Chat(messages) => model.encode_chat(messages)?,
        Prompt::Raw(text) => model.encode_raw(text)?,
    };
    model.check_window(tokens.len(), input.options.max_tokens)?;
    if input.json && input.stream && matches!(form, Form::WorkersAi) {
        return Err(AiError::input("JSON Mode does not support streaming"));
    }
    let session = asked["session"].as_str().map(ToOwned::to_owned);
    twin.stats.asked(Asked { prompt: input.prompt.clone(), request: asked });
    if plan.stall_after_chunks.is_some() && !input.stream {
        // Until the client leaves.
        std::future::pending::<()>().await;
    }
    let obedient = plan.obey.map(|seed| {
        let text = obedience::answer(&input.prompt);
        (Dictated { text, tool_calls: Vec::new() }, seed)
    });
    if let Some((said, seed)) = plan.answer.as_ref().or(obedient.as_ref()) {
        let usage = Usage::new(tokens.len(), model.encode_text(&said.text)?.len()).cached(0);
        let end = End { calls: &said.tool_calls, finish: Finish::Stop, usage };
        return Ok(if input.stream {
            dictated_stream(&said.text, *seed, &form, &end, plan)
        } else {
            json_reply(StatusCode::OK, &form.whole(&said.text, &end, input.json))
        });
    }
    if input.lora.is_some() {
        return Err(AiError::new(
            CODE_NO_LORA,
            "The model does not support LoRAs (the twin has no adapters)",
        ));
    }
    if input.json && input.stream {
        return Err(AiError::new(
            CODE_JSON_MODE,
            "JSON Mode couldn't be met (the twin checks whole replies only)",
        ));
    }
    if reject_if_busy && twin.ai.generating.try_lock().is_err() {
        return Err(AiError::of_code(CODE_CAPACITY));
    }
    let (stream, json_mode) = (input.stream, input.json);
    let mut events = generate(twin, Arc::clone(model), tokens, input.options, session);
    if stream {
        return Ok(streamed(events, form, plan));
    }
    let mut text = String::new();
    while let Some(event) = events.recv().await {
        match event {
            Event::Text(piece) => text.push_str(&piece),
            Event::Failed(error) => return Err(error.into()),
            Event::Done(finish, usage) => {
                let is_json = serde_json::from_str::<Value>(&text).is_ok_and(|value| value.is_object());
                if json_mode && !is_json {
                    return Err(AiError::of_code(CODE_JSON_MODE));
                }
                let end = End { calls: &[], finish, usage };
                return Ok(json_reply(StatusCode::OK, &form.whole(&text, &end, json_mode)));
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
    options: GenerateOptions,
    session: Option<String>,
) -> mpsc::Receiver<Event> {
    // Small, so that a client that reads slowly slows the generation down.
    let (sender, receiver) = mpsc::channel(32);
    let active = Active::new(twin);
    tokio::spawn(async move {
        let twin = Arc::clone(&active.0);
        let mut turn = tokio::select! {
            // tokio's mutex is fair: first come, first served.
            turn = twin.ai.generating.lock() => turn,
            () = sender.closed() => {
                twin.stats.change(|c| c.generations_cancelled += 1);
                return;
            }
        };
        let same_session = session.is_some() && *turn == session;
        *turn = session;
        let work = tokio::task::spawn_blocking(move || {
            let result = model.generate(&tokens, &options, &|| sender.is_closed(), &mut |piece| match sender
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
                Ok(outcome) => {
                    let usage = Usage::new(outcome.prompt_tokens, outcome.completion_tokens);
                    // What was reused in passing is not told: without the header the platform promises nothing.
                    Event::Done(
                        outcome.finish,
                        usage.cached(if same_session { outcome.cached_tokens } else { 0 }),
                    )
                }
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

/// Ends a body that is broken off: at once, or not at all.
async fn broken_off(plan: &BreakOff) {
    if plan.stall {
        std::future::pending::<()>().await;
    }
}

/// Where a stream is broken off, and whether it then stalls.
#[derive(Clone, Copy)]
struct BreakOff {
    after: usize,
    stall: bool,
}

impl BreakOff {
    fn of(plan: &Plan) -> Option<Self> {
        let cut = plan.cut_after_chunks.map(|after| Self { after, stall: false });
        cut.or(plan.stall_after_chunks.map(|after| Self { after, stall: true }))
    }
}

fn streamed(events: mpsc::Receiver<Event>, form: Form, plan: &Plan) -> Response {
    struct State {
        /// Dropped to stop the generation.
        events: Option<mpsc::Receiver<Event>>,
        form: Form,
        pieces: usize,
        broken: Option<BreakOff>,
    }
    let state = State { events: Some(events), form, pieces: 0, broken: BreakOff::of(plan) };
    let body = stream::unfold(state, |mut state| async move {
        let mut events = state.events.take()?;
        let broken = state.broken.filter(|broken| broken.after == state.pieces);
        let next = if broken.is_some() { None } else { events.recv().await };
        let item: Result<Bytes, std::io::Error> = match next {
            Some(Event::Text(piece)) => {
                let begin = if state.pieces == 0 { state.form.begin() } else { Bytes::new() };
                state.pieces += 1;
                state.events = Some(events);
                Ok([begin, state.form.text(&piece)].concat().into())
            }
            Some(Event::Done(finish, usage)) if state.broken.is_none() => {
                Ok(state.form.end(&End { calls: &[], finish, usage }))
            }
            Some(Event::Failed(error)) => Err(std::io::Error::other(error)),
            // An answer that was shorter than the cut ends without usage all the same.
            Some(Event::Done(..)) | None => {
                drop(events);
                if let Some(broken) = &state.broken {
                    broken_off(broken).await;
                }
                return None;
            }
        };
        Some((item, state))
    });
    event_stream(Body::from_stream(body))
}

fn dictated_stream(text: &str, seed: u64, form: &Form, end: &End<'_>, plan: &Plan) -> Response {
    let broken = BreakOff::of(plan);
    let pieces = sse::random_pieces(text, seed);
    let mut bytes = form.begin().to_vec();
    for piece in pieces.iter().take(broken.map_or(usize::MAX, |broken| broken.after)) {
        bytes.extend_from_slice(&form.text(piece));
    }
    if broken.is_none() {
        bytes.extend_from_slice(&form.end(end));
    }
    // Long answers in long chunks, so that they take no longer: at most a few hundred.
    let chunks = sse::random_chunks(&bytes, 41.max(bytes.len() / 100), seed);
    let body = stream::unfold(chunks.into_iter(), move |mut chunks| async move {
        // A pause, so that every chunk is sent on its own.
        tokio::time::sleep(std::time::Duration::from_millis(1)).await;
        if let Some(chunk) = chunks.next() {
            return Some((Ok::<_, std::io::Error>(chunk), chunks));
        }
        if let Some(broken) = &broken {
            broken_off(broken).await;
        }
        None
    });
    event_stream(Body::from_stream(body))
}
