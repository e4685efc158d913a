//! The twin of Workers AI: the binding's wire protocol over local models.
//!
//! Source: the runtime's own `Ai` class, which sends `POST /run` (or `/ai-gateway/run`) with `{inputs, options}` and the
//! model in a header, takes exactly `application/json` for a JSON reply and anything else for a stream.

use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Instant;

use axum::Router;
use axum::body::Body;
use axum::extract::State;
use axum::http::{HeaderMap, StatusCode};
use axum::response::Response;
use axum::routing::{get, post};
use serde::{Deserialize, Serialize};
use serde_json::{Value, json};
use tokio::sync::Mutex;

pub mod batch;
pub mod catalog;
mod chat;
mod feedback;
mod form;
pub mod gateway;
pub mod inputs;
pub mod obedience;
mod openai;
pub mod sse;
pub mod wire;

use crate::embedder::{Embedder, Pooling};
use crate::error::{Error, Result};
use crate::faults::{Call, Plan, Service};
use crate::llama::Llama;
use crate::onnx;
use crate::reranker::Reranker;
use crate::server::{CLIENT_LEFT, Twin, broken_reply, cut_reply, json_reply, read_body};
use catalog::Task;
use chat::Chat;
use form::Form;
use gateway::Passing;
use inputs::{ChatInput, EmbedInput, RerankInput};
use wire::AiError;

/// The folder of the embedding model below the models folder.
pub const EMBEDDER_FOLDER: &str = "bge-small-en-v1.5";
/// The largest request to `toMarkdown`, in bytes; how much the platform takes is not documented.
const MARKDOWN_BODY_BYTES: usize = 50_000_000;
/// The folder of the reranker below the models folder.
pub const RERANKER_FOLDER: &str = "ms-marco-MiniLM-L-12-v2";

/// The installed models. What is absent answers 5007.
#[derive(Debug, Default)]
pub struct Ai {
    /// Answers for bge-small-en-v1.5.
    pub embedder: Option<Arc<Embedder>>,
    /// Answers for bge-reranker-base.
    pub reranker: Option<Arc<Reranker>>,
    /// Answers for every chat model.
    pub chat: Option<Arc<Llama>>,
    /// Held by the one generation that runs; the session of the latest.
    pub(crate) generating: Mutex<Option<String>>,
}

impl Ai {
    /// Loads what the folder holds, side by side: the two ONNX models by the names above, and the first `*.gguf` in any
    /// folder below.
    ///
    /// # Errors
    /// [`Error::Read`] for an unreadable folder, [`Error::Model`] for a model that does not load.
    pub fn load(models: &Path, onnxruntime: &Path, threads: usize) -> Result<Self> {
        let gguf = find_gguf(models)?;
        let onnx_folder = |name: &str| Some(models.join(name)).filter(|f| f.join("model.onnx").is_file());
        let (embedder, reranker) = (onnx_folder(EMBEDDER_FOLDER), onnx_folder(RERANKER_FOLDER));
        if embedder.is_some() || reranker.is_some() {
            onnx::init_runtime(onnxruntime)?;
        }
        let ai = std::thread::scope(|scope| -> Result<Self> {
            let embedder = scope.spawn(|| {
                embedder.map(|f| timed("embedder", &f, || Embedder::load(&f, threads))).transpose()
            });
            let reranker = scope.spawn(|| {
                reranker.map(|f| timed("reranker", &f, || Reranker::load(&f, threads))).transpose()
            });
            let chat = gguf.map(|f| timed("chat model", &f, || Llama::load(&f, threads))).transpose()?;
            let panicked = || Error::model("loading", "panicked");
            Ok(Self {
                embedder: embedder.join().map_err(|_| panicked())??.map(Arc::new),
                reranker: reranker.join().map_err(|_| panicked())??.map(Arc::new),
                chat: chat.map(Arc::new),
                generating: Mutex::default(),
            })
        })?;
        for (missing, name) in [
            (ai.embedder.is_none(), "embedding model"),
            (ai.reranker.is_none(), "reranker"),
            (ai.chat.is_none(), "chat model"),
        ] {
            if missing {
                tracing::warn!("no {name} in {}: it will answer 5007", models.display());
            }
        }
        Ok(ai)
    }

    /// The names of the installed models.
    pub fn installed(&self) -> Vec<String> {
        let embedder = self.embedder.as_ref().map(|m| m.name().to_owned());
        let reranker = self.reranker.as_ref().map(|m| m.name().to_owned());
        let chat = self.chat.as_ref().map(|m| m.name().to_owned());
        [embedder, reranker, chat].into_iter().flatten().collect()
    }

    /// The installed model that answers for a name of Workers AI.
    fn stand_in(&self, model: &str) -> Option<(Task, &str)> {
        let task = catalog::task(model)?;
        let name = match task {
            Task::Embed => self.embedder.as_ref()?.name(),
            Task::Rerank => self.reranker.as_ref()?.name(),
            Task::Chat => self.chat.as_ref()?.name(),
        };
        Some((task, name))
    }
}

fn timed<T>(what: &str, path: &Path, load: impl FnOnce() -> Result<T>) -> Result<T> {
    let started = Instant::now();
    let loaded = load()?;
    let name = path.file_name().unwrap_or_default().to_string_lossy();
    tracing::info!(%name, seconds = started.elapsed().as_secs_f32(), "{what} loaded");
    Ok(loaded)
}

fn find_gguf(models: &Path) -> Result<Option<PathBuf>> {
    let read = |folder: &Path| -> Result<Vec<PathBuf>> {
        let fail = |source| Error::Read { path: folder.to_owned(), source };
        let mut paths: Vec<PathBuf> = std::fs::read_dir(folder)
            .map_err(fail)?
            .map(|entry| entry.map(|e| e.path()))
            .collect::<std::io::Result<_>>()
            .map_err(fail)?;
        paths.sort();
        Ok(paths)
    };
    for folder in read(models)?.into_iter().filter(|p| p.is_dir()) {
        if let Some(file) = read(&folder)?.into_iter().find(|p| p.extension().is_some_and(|e| e == "gguf")) {
            return Ok(Some(file));
        }
    }
    Ok(None)
}

/// The routes of the binding.
pub fn routes() -> Router<Arc<Twin>> {
    Router::new()
        .merge(feedback::routes())
        .merge(openai::routes())
        .route("/run", post(run))
        .route("/ai-gateway/run", post(run))
        .route("/ai-api/models/search", get(models))
        .route("/to-everything/markdown/transformer", post(to_markdown))
        .route("/to-everything/markdown/supported", get(to_markdown))
}

async fn run(State(twin): State<Arc<Twin>>, headers: HeaderMap, body: Body) -> Response {
    let request_id = crate::vectorize::store::new_uuid();
    let header = headers.get(wire::MODEL_HEADER).and_then(|v| v.to_str().ok()).unwrap_or("");
    let model = wire::model_name(header);
    let task = catalog::task(model);
    let op = task.map_or("run", Task::op);
    let mut counted = Counted { twin: Arc::clone(&twin), op, model, status: CLIENT_LEFT, hit: false };
    let body = read_body(body, wire::MAX_BODY_BYTES).await;
    let request = Request::parse(model, body.as_deref());
    if let (Some(Task::Embed), Ok(request)) = (task, &request) {
        counted.op = batch::op(request);
    }
    let sent = body.as_deref().unwrap_or_default();
    let passing = request
        .as_ref()
        .map_or(Ok(None), |request| Passing::parse(model, &request.inputs, &request.options, sent.len()));
    if let Ok(Some(passing)) = &passing
        && let Some(mut response) = twin.gateway.cached(passing)
    {
        counted.hit = true;
        wire::add_request_id(&mut response, &request_id);
        return response;
    }
    let plan = twin.plan(&Call { service: Service::Ai, op: counted.op, model: Some(model), body: sent });
    drop(body);
    plan.wait().await;
    if plan.disconnect {
        return broken_reply();
    }
    if let Some(reply) = &plan.reply {
        let mut response = json_reply(StatusCode::OK, reply);
        wire::add_request_id(&mut response, &request_id);
        counted.status = response.status().as_u16();
        return response;
    }
    let (mut result, passing) = match (&plan.error, request, passing) {
        (Some(error), _, passing) => (Err(error.ai()), passing.ok().flatten()),
        (None, Ok(request), Ok(passing)) => {
            (dispatch(&twin, model, &request, &headers, &plan).await, passing)
        }
        (None, Err(error), _) | (None, _, Err(error)) => (Err(error), None),
    };
    if let (Ok(_), Some(error)) = (&result, &plan.error_after) {
        result = Err(error.ai());
    }
    let mut response = result.unwrap_or_else(|error| error.reply());
    if let Some(passing) = passing {
        response = gateway::watch(&twin, passing, response);
    }
    wire::add_request_id(&mut response, &request_id);
    if plan.cut_reply {
        return cut_reply(response).await;
    }
    counted.status = response.status().as_u16();
    response
}

/// Counts a call when it is over, also when its future is dropped because the client has left.
struct Counted<'c> {
    twin: Arc<Twin>,
    op: &'static str,
    model: &'c str,
    status: u16,
    /// Answered by the gateway.
    hit: bool,
}

impl Drop for Counted<'_> {
    fn drop(&mut self) {
        if self.hit {
            return self.twin.stats.change(|c| c.gateway_hits += 1);
        }
        self.twin.stats.ai(self.op, self.model, self.status);
    }
}

#[derive(Debug, Deserialize)]
struct Request {
    #[serde(default)]
    inputs: Value,
    #[serde(default)]
    options: Value,
}

impl Request {
    /// Reads a body that was short enough to be read.
    fn parse(model: &str, body: Option<&[u8]>) -> std::result::Result<Self, AiError> {
        let body = body.ok_or_else(|| AiError::of_code(wire::CODE_TOO_LARGE))?;
        if model.is_empty() || body.is_empty() {
            return Err(AiError::of_code(wire::CODE_MISSING));
        }
        serde_json::from_slice(body).map_err(|e| {
            AiError::new(wire::CODE_MISSING, format!("AiError: the body is not valid JSON: {e}"))
        })
    }

    /// Whether it is to be answered later.
    fn queued(&self) -> bool {
        self.option("queueRequest")
    }

    fn option(&self, name: &str) -> bool {
        self.options.get(name).and_then(Value::as_bool).unwrap_or(false)
    }
}

/// The reply to an embedding call.
#[derive(Debug, Serialize)]
struct Embeddings {
    shape: [usize; 2],
    data: Vec<Vec<f32>>,
    pooling: Pooling,
}

/// The reply to a rerank call, best first.
#[derive(Serialize)]
struct Ranking {
    response: Vec<Ranked>,
}

#[derive(Serialize)]
struct Ranked {
    /// The position in `contexts`.
    id: usize,
    score: f32,
}

async fn dispatch(
    twin: &Arc<Twin>,
    model: &str,
    request: &Request,
    headers: &HeaderMap,
    plan: &Plan,
) -> std::result::Result<Response, AiError> {
    let no_model = || AiError::no_model(model);
    match catalog::task(model).ok_or_else(no_model)? {
        Task::Embed => {
            let engine = Arc::clone(twin.ai.embedder.as_ref().ok_or_else(no_model)?);
            match batch::op(request) {
                "collect" => batch::collect(twin, model, &request.inputs),
                "submit" => batch::submit(twin, &engine, model, &request.inputs),
                _ if request.inputs.get("requests").is_some() => {
                    batch::at_once(twin, &engine, model, &request.inputs).await
                }
                _ => {
                    let (embeddings, _) = embed(twin, &engine, EmbedInput::parse(&request.inputs)?).await?;
                    Ok(json_reply(StatusCode::OK, &embeddings))
                }
            }
        }
        Task::Rerank | Task::Chat if request.queued() => Err(AiError::of_code(wire::CODE_NO_QUEUE)),
        Task::Rerank => {
            let engine = Arc::clone(twin.ai.reranker.as_ref().ok_or_else(no_model)?);
            let input = RerankInput::parse(&request.inputs)?;
            let (count, top_k) = (input.texts.len(), input.top_k);
            let scores = blocking(move || engine.score(&input.query, &input.texts)).await?;
            twin.stats.change(|c| c.pairs_reranked += count as u64);
            let mut ranked: Vec<(usize, f32)> = scores.into_iter().enumerate().collect();
            ranked.sort_by(|a, b| b.1.total_cmp(&a.1));
            ranked.truncate(top_k.unwrap_or(count));
            let response = ranked.into_iter().map(|(id, score)| Ranked { id, score }).collect();
            Ok(json_reply(StatusCode::OK, &Ranking { response }))
        }
        Task::Chat => {
            let engine = Arc::clone(twin.ai.chat.as_ref().ok_or_else(no_model)?);
            let input = ChatInput::parse(&request.inputs)?;
            let asked = chat::asked(Service::Ai, model, &request.inputs, &request.options, headers);
            let reject_if_busy = request.option("rejectIfBusy");
            let chat = Chat { input, form: Form::WorkersAi, asked, plan, reject_if_busy };
            chat::answer(twin, &engine, chat).await
        }
    }
}

/// Embeds, and says how many tokens that took.
async fn embed(
    twin: &Arc<Twin>,
    engine: &Arc<Embedder>,
    input: EmbedInput,
) -> std::result::Result<(Embeddings, usize), AiError> {
    let EmbedInput { texts, pooling } = input;
    let count = texts.len();
    let (counting, engine) = (Arc::clone(twin), Arc::clone(engine));
    let (data, tokens) = blocking(move || {
        let _running = counting.stats.embedding_runs();
        engine.embed_counted(&texts, pooling)
    })
    .await?;
    twin.stats.change(|c| c.texts_embedded += count as u64);
    Ok((Embeddings { shape: [count, data.first().map_or(0, Vec::len)], data, pooling }, tokens))
}

async fn blocking<T: Send + 'static>(
    work: impl FnOnce() -> Result<T> + Send + 'static,
) -> std::result::Result<T, AiError> {
    match tokio::task::spawn_blocking(work).await {
        Ok(result) => result.map_err(AiError::from),
        Err(error) => Err(Error::model("inference", error).into()),
    }
}

/// `models()` of the binding: what is installed, under the names of Workers AI.
async fn models(State(twin): State<Arc<Twin>>) -> Response {
    let names = [catalog::EMBEDDER, catalog::RERANKER, catalog::OWN_RERANKER];
    let names = names.into_iter().chain(catalog::CHAT);
    let result: Vec<Value> = names
        .filter_map(|name| {
            let (task, installed) = twin.ai.stand_in(name)?;
            let genuine = task == Task::Embed || name == installed;
            let description = if genuine {
                format!("Answered by {installed}.")
            } else {
                format!("Stand-in: answered by {installed}, not by the model of this name.")
            };
            let window = twin.ai.chat.as_ref().filter(|_| task == Task::Chat).map(|m| m.context());
            let properties = window.map_or_else(Vec::new, |w| {
                vec![json!({"property_id": "context_window", "value": w.to_string()})]
            });
            Some(json!({
                "id": name,
                "name": name,
                "description": description,
                "task": {"name": task.label()},
                "installed_model": installed,
                "stand_in": !genuine,
                "properties": properties,
            }))
        })
        .collect();
    json_reply(StatusCode::OK, &json!({"success": true, "result": result, "errors": [], "messages": []}))
}

/// `toMarkdown` of the binding. It reads an error's text from `errors`, unlike `run`.
async fn to_markdown(State(twin): State<Arc<Twin>>, body: Body) -> Response {
    let body = read_body(body, MARKDOWN_BODY_BYTES).await;
    let sent = body.as_deref().unwrap_or_default();
    let plan = twin.plan(&Call { service: Service::Ai, op: "toMarkdown", model: None, body: sent });
    plan.wait().await;
    if plan.disconnect {
        return broken_reply();
    }
    if let Some(result) = &plan.reply {
        twin.stats.ai("toMarkdown", "", StatusCode::OK.as_u16());
        return json_reply(StatusCode::OK, &json!({"success": true, "result": result, "errors": []}));
    }
    let lacking = || {
        AiError::new(
            wire::CODE_NO_MODEL,
            "The twin has no Markdown conversion (toMarkdown); convert documents in the worker, or use the platform",
        )
    };
    let error = plan.error.as_ref().map_or_else(lacking, crate::faults::Failure::ai);
    twin.stats.ai("toMarkdown", "", error.status);
    let status = StatusCode::from_u16(error.status).unwrap_or(StatusCode::INTERNAL_SERVER_ERROR);
    let errors = [json!({"code": error.code, "message": error.message()})];
    json_reply(status, &json!({"success": false, "result": null, "errors": errors}))
}
