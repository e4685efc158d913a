//! The routes of the Workers AI client.
//!
//! Besides those of the crate's table: `/submit` takes what `/embed` takes and gives the id of the batch;
//! `/collect` takes `model, request_id` and gives `{state: "running" | "done" | "lost"}`, with `dimensions`
//! and `rows` when done.

use std::pin::pin;
use std::time::Duration;

use futures::StreamExt;
use futures::future::{Either, join_all, select};
use ragflare_cloudflare::ai::{Ai, BatchState, Embeddings, GenerationRequest, Pooling, RunOptions};
use ragflare_cloudflare::ledger::Ledger;
use serde::Deserialize;
use serde_json::{Value, json};
use worker::{Delay, Env};

use crate::{Failure, Outcome, failure, input, output, retry};

#[derive(Deserialize)]
struct Embed {
    model: String,
    texts: Vec<String>,
    pooling: Pooling,
}

#[derive(Deserialize)]
struct Collect {
    model: String,
    request_id: String,
}

#[derive(Deserialize)]
struct Rerank {
    model: String,
    query: String,
    contexts: Vec<String>,
    top_k: usize,
}

#[derive(Deserialize)]
struct Generate {
    model: String,
    request: GenerationRequest,
    take: Option<usize>,
    #[serde(default)]
    after_ms: u64,
}

#[derive(Deserialize)]
struct SideBySide {
    model: String,
    requests: Vec<GenerationRequest>,
}

pub(crate) async fn route(route: &str, body: &Value, env: &Env, ledger: &Ledger) -> Outcome {
    let options: RunOptions = body.get("options").map_or(Ok(RunOptions::default()), input)?;
    let ai = Ai::from_env(env, "AI", ledger.clone())?.with_retry(retry(body)).with_options(options.clone());
    match route {
        "/embed" => {
            let Embed { model, texts, pooling } = input(body)?;
            embedded(&ai.embed(&model, &strs(&texts), pooling).await?)
        }
        "/embed-all" => {
            let Embed { model, texts, pooling } = input(body)?;
            embedded(&ai.embed_all(&model, &strs(&texts), pooling).await?)
        }
        "/submit" => {
            let Embed { model, texts, pooling } = input(body)?;
            output(&ai.submit_embeddings(&model, &strs(&texts), pooling).await?)
        }
        "/collect" => {
            let Collect { model, request_id } = input(body)?;
            match ai.collect_embeddings(&model, &request_id).await? {
                BatchState::Running => Ok(json!({ "state": "running" })),
                BatchState::Lost => Ok(json!({ "state": "lost" })),
                BatchState::Done(embeddings) => {
                    let mut done = embedded(&embeddings)?;
                    done["state"] = "done".into();
                    Ok(done)
                }
            }
        }
        "/rerank" => {
            let Rerank { model, query, contexts, top_k } = input(body)?;
            output(&ai.rerank(&model, &query, &strs(&contexts), top_k).await?)
        }
        "/generate" => {
            let Generate { model, request, .. } = input(body)?;
            output(&ai.generate(&model, &request).await?)
        }
        "/stream" => stream(&ai, input(body)?).await,
        "/abort" => {
            let generate: Generate = input(body)?;
            let controller =
                web_sys::AbortController::new().map_err(|error| Failure::Body(format!("{error:?}")))?;
            let signal = Some(controller.signal());
            let ai = ai.with_options(RunOptions { signal, ..options });
            let after = Duration::from_millis(generate.after_ms);
            let abort = async {
                Delay::from(after).await;
                controller.abort();
            };
            futures::join!(stream(&ai, generate), abort).0
        }
        "/drop" => {
            let Generate { model, request, after_ms, .. } = input(body)?;
            let call = pin!(ai.generate(&model, &request));
            match select(call, Delay::from(Duration::from_millis(after_ms))).await {
                Either::Left((generation, _)) => output(&generation?),
                Either::Right(_) => Ok(Value::Null),
            }
        }
        "/side-by-side" => {
            let SideBySide { model, requests } = input(body)?;
            let calls = requests.iter().map(|request| ai.generate(&model, request));
            let results = join_all(calls).await.into_iter().map(|result| match result {
                Ok(generation) => json!({ "ok": generation }),
                Err(error) => failure(&error, error.retry_class()),
            });
            Ok(results.collect())
        }
        _ => Err(Failure::Body(format!("no route /ai{route}"))),
    }
}

async fn stream(ai: &Ai, input: Generate) -> Outcome {
    let mut stream = ai.stream(&input.model, &input.request).await?;
    let (mut events, mut error) = (Vec::new(), None);
    while input.take.is_none_or(|take| events.len() < take) {
        match stream.next().await {
            Some(Ok(event)) => events.push(event),
            Some(Err(found)) => error = Some(failure(&found, found.retry_class())),
            None => break,
        }
    }
    Ok(json!({
        "events": events,
        "error": error,
        "request_id": stream.request_id(),
        "gateway_log_id": stream.gateway_log_id(),
    }))
}

fn embedded(embeddings: &Embeddings) -> Outcome {
    let rows: Vec<_> = embeddings.rows().collect();
    output(&json!({ "dimensions": embeddings.dimensions(), "rows": rows }))
}

fn strs(texts: &[String]) -> Vec<&str> {
    texts.iter().map(String::as_str).collect()
}
