//! The asynchronous Batch API, for the embedding model.
//!
//! Documented (Workers AI, "Asynchronous Batch API" and "Workers Binding", stored copies of 2026):
//! `run(model, {requests: […]}, {queueRequest: true})` answers `{status: "queued", request_id, model}`;
//! `run(model, {request_id})` answers a status `queued` or `running`, and in the end status 200 with
//! `{responses: [{id, result, success, external_reference}], usage}`, where `id` is the position of the
//! request.
//!
//! Seen in public code, not documented: status 202 until the end; 5504 "Request not found in queue" for an id
//! that is unknown or has expired; 8007 for a model that takes no batches; without `queueRequest` the same
//! inputs are answered at once.
//!
//! Assumed: the shape of a request that failed (`success: false` with `error: {code, message}`); that results
//! can be collected more than once; that an id belongs to its model; that inputs are checked when they are
//! handed in. When results expire is not documented: here [`KEPT`] batches are kept, in memory.

use std::collections::{HashMap, VecDeque};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use axum::http::StatusCode;
use axum::response::Response;
use serde::Serialize;
use serde_json::{Value, json};

use super::inputs::EmbedInput;
use super::sse::Usage;
use super::wire::{AiError, CODE_NOT_FOUND};
use super::{Embeddings, Request, embed};
use crate::embedder::Embedder;
use crate::faults::{Call, Service};
use crate::server::{Twin, json_reply};
use crate::vectorize::store::new_uuid;

/// Batches kept. The oldest expire.
pub const KEPT: usize = 1000;

/// What has been handed in.
#[derive(Debug, Default)]
pub struct Batches {
    state: Mutex<State>,
    /// Held by the one batch that runs.
    turn: tokio::sync::Mutex<()>,
}

#[derive(Debug, Default)]
struct State {
    delay: Duration,
    batches: HashMap<String, Batch>,
    /// Ids, oldest first.
    order: VecDeque<String>,
}

#[derive(Debug)]
struct Batch {
    model: String,
    accepted: Instant,
    stage: Stage,
}

#[derive(Debug, Clone)]
enum Stage {
    Queued,
    Running,
    Done(Arc<Responses>),
}

/// What a finished batch answers.
#[derive(Debug, Serialize)]
struct Responses {
    responses: Vec<Item>,
    usage: Usage,
}

#[derive(Debug, Serialize)]
struct Item {
    id: usize,
    #[serde(skip_serializing_if = "Option::is_none")]
    result: Option<Embeddings>,
    success: bool,
    #[serde(skip_serializing_if = "Option::is_none")]
    error: Option<Value>,
    external_reference: Value,
}

/// One request of a batch.
#[derive(Debug)]
pub(super) struct Job {
    input: EmbedInput,
    /// As it was sent, for the rules of faults.
    body: String,
    external_reference: Value,
}

impl Batches {
    /// How long a batch is not done, at least.
    pub fn delay(&self) -> Duration {
        self.lock().delay
    }

    /// Changes the delay, also of the batches under way.
    pub fn set_delay(&self, delay: Duration) {
        self.lock().delay = delay;
    }

    /// Every batch's id and status, `queued`, `running` or `done`, oldest first.
    pub fn list(&self) -> Vec<(String, &'static str)> {
        let state = self.lock();
        let status = |id: &String| match state.batches.get(id)?.stage(state.delay) {
            Stage::Queued => Some("queued"),
            Stage::Running => Some("running"),
            Stage::Done(_) => Some("done"),
        };
        state.order.iter().filter_map(|id| Some((id.clone(), status(id)?))).collect()
    }

    /// Forgets every batch, as if all had expired. Returns how many there were.
    pub fn forget(&self) -> usize {
        let mut state = self.lock();
        state.batches.clear();
        std::mem::take(&mut state.order).len()
    }

    fn add(&self, model: &str) -> String {
        let id = new_uuid();
        let batch = Batch { model: model.to_owned(), accepted: Instant::now(), stage: Stage::Queued };
        let mut state = self.lock();
        state.batches.insert(id.clone(), batch);
        state.order.push_back(id.clone());
        if state.order.len() > KEPT
            && let Some(oldest) = state.order.pop_front()
        {
            state.batches.remove(&oldest);
        }
        id
    }

    fn advance(&self, id: &str, stage: Stage) {
        if let Some(batch) = self.lock().batches.get_mut(id) {
            batch.stage = stage;
        }
    }

    fn stage(&self, model: &str, id: &str) -> Option<Stage> {
        let state = self.lock();
        let batch = state.batches.get(id).filter(|batch| batch.model == model)?;
        Some(batch.stage(state.delay))
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Batch {
    /// What is told of it.
    fn stage(&self, delay: Duration) -> Stage {
        match &self.stage {
            Stage::Done(_) if self.accepted.elapsed() < delay => Stage::Running,
            stage => stage.clone(),
        }
    }
}

/// The operation of a call of the embedding model.
pub(super) fn op(request: &Request) -> &'static str {
    if request.inputs.get("request_id").is_some() {
        "collect"
    } else if request.queued() {
        "submit"
    } else {
        "embed"
    }
}

/// Accepts a batch, and computes it when its turn comes.
pub(super) fn submit(
    twin: &Arc<Twin>,
    engine: &Arc<Embedder>,
    model: &str,
    inputs: &Value,
) -> Result<Response, AiError> {
    let jobs = parse(inputs)?;
    let texts: usize = jobs.iter().map(|job| job.input.texts.len()).sum();
    twin.stats.change(|c| c.texts_queued += texts as u64);
    let id = twin.batches.add(model);
    let reply = json!({"status": "queued", "model": model, "request_id": id});
    let (twin, engine, model) = (Arc::clone(twin), Arc::clone(engine), model.to_owned());
    tokio::spawn(async move {
        // tokio's mutex is fair: first come, first served.
        let _turn = twin.batches.turn.lock().await;
        twin.batches.advance(&id, Stage::Running);
        let done = responses(&twin, &engine, &model, jobs).await;
        twin.batches.advance(&id, Stage::Done(Arc::new(done)));
    });
    Ok(json_reply(StatusCode::ACCEPTED, &reply))
}

/// What has become of a batch.
pub(super) fn collect(twin: &Twin, model: &str, inputs: &Value) -> Result<Response, AiError> {
    let Some(id) = inputs.get("request_id").and_then(Value::as_str) else {
        return Err(AiError::input("Type mismatch of '/request_id', 'string' not in the input"));
    };
    let unfinished = |status: &str| {
        json_reply(StatusCode::ACCEPTED, &json!({"status": status, "model": model, "request_id": id}))
    };
    match twin.batches.stage(model, id).ok_or_else(|| AiError::of_code(CODE_NOT_FOUND))? {
        Stage::Queued => Ok(unfinished("queued")),
        Stage::Running => Ok(unfinished("running")),
        Stage::Done(responses) => Ok(json_reply(StatusCode::OK, &*responses)),
    }
}

/// Answers the requests of a batch at once.
pub(super) async fn at_once(
    twin: &Arc<Twin>,
    engine: &Arc<Embedder>,
    model: &str,
    inputs: &Value,
) -> Result<Response, AiError> {
    Ok(json_reply(StatusCode::OK, &responses(twin, engine, model, parse(inputs)?).await))
}

fn parse(inputs: &Value) -> Result<Vec<Job>, AiError> {
    let Some(Value::Array(requests)) = inputs.get("requests") else {
        return Err(AiError::input("required properties at '/' are 'requests'"));
    };
    if requests.is_empty() {
        return Err(AiError::input("Number of items of '/requests' must be >= 1 but got 0"));
    }
    let job = |request: &Value| {
        let external_reference = request.get("external_reference").cloned().unwrap_or_default();
        Ok(Job { input: EmbedInput::parse(request)?, body: request.to_string(), external_reference })
    };
    requests.iter().map(job).collect()
}

async fn responses(twin: &Arc<Twin>, engine: &Arc<Embedder>, model: &str, jobs: Vec<Job>) -> Responses {
    let mut responses = Vec::with_capacity(jobs.len());
    let mut tokens = 0;
    for (id, Job { input, body, external_reference }) in jobs.into_iter().enumerate() {
        let call = Call { service: Service::Ai, op: "batch", model: Some(model), body: body.as_bytes() };
        let plan = twin.plan(&call);
        plan.wait().await;
        let mut result = match &plan.error {
            Some(error) => Err(error.ai()),
            None => embed(twin, engine, input).await,
        };
        if let (Ok(_), Some(error)) = (&result, &plan.error_after) {
            result = Err(error.ai());
        }
        responses.push(match result {
            Ok((embeddings, used)) => {
                tokens += used;
                Item { id, result: Some(embeddings), success: true, error: None, external_reference }
            }
            Err(error) => {
                let error = json!({"code": error.code, "message": error.message()});
                Item { id, result: None, success: false, error: Some(error), external_reference }
            }
        });
    }
    Responses { responses, usage: Usage::new(tokens, 0) }
}

#[cfg(test)]
mod tests {
    use super::*;

    const MODEL: &str = "m";

    fn done() -> Stage {
        Stage::Done(Arc::new(Responses { responses: Vec::new(), usage: Usage::new(0, 0) }))
    }

    #[test]
    fn a_batch_is_done_when_it_is_computed_and_its_delay_is_over() {
        let batches = Batches::default();
        batches.set_delay(Duration::from_hours(1));
        let id = batches.add(MODEL);
        let status = || batches.list()[0].1;
        assert_eq!(status(), "queued");
        batches.advance(&id, Stage::Running);
        assert_eq!(status(), "running");
        batches.advance(&id, done());
        assert_eq!(status(), "running");
        batches.set_delay(Duration::ZERO);
        assert_eq!(status(), "done");
        assert!(batches.stage("another model", &id).is_none());
        assert_eq!(batches.forget(), 1);
        assert!(batches.stage(MODEL, &id).is_none());
        batches.advance(&id, done());
        assert!(batches.list().is_empty());
    }

    #[test]
    fn the_oldest_expire() {
        let batches = Batches::default();
        let first = batches.add(MODEL);
        let second = batches.add(MODEL);
        (1..KEPT).for_each(|_| drop(batches.add(MODEL)));
        assert!(batches.stage(MODEL, &first).is_none() && batches.stage(MODEL, &second).is_some());
        assert_eq!(batches.list().len(), KEPT);
    }

    #[test]
    fn requests_are_checked() {
        let jobs =
            parse(&json!({"requests": [{"text": ["a", "b"], "external_reference": "x"}, {"text": "c"}]}));
        let jobs = jobs.unwrap();
        assert_eq!((jobs[0].input.texts.len(), &jobs[0].external_reference), (2, &json!("x")));
        assert_eq!((jobs[1].input.texts.len(), &jobs[1].external_reference), (1, &Value::Null));
        for bad in [json!({}), json!({"requests": []}), json!({"requests": [{"text": ["a"]}, {"text": ""}]})]
        {
            assert_eq!(parse(&bad).unwrap_err().code, 5006, "{bad}");
        }
    }
}
