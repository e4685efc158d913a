//! `POST /v1/embeddings`: vectors of the configured embedding model.

use super::unknown_model;
use base64::{Engine, engine::general_purpose::STANDARD};
use futures::{StreamExt, TryStreamExt, stream};
use ragflare_cloudflare::AiEmbedder;
use ragflare_cloudflare::core::ports::{Embedder, Embeddings, Ports};
use ragflare_cloudflare::core::prices;
use ragflare_cloudflare::core::tokens::WordPiece;
use ragflare_cloudflare::core::{Error, Result as CoreResult};
use ragflare_cloudflare::http::{ApiError, json, read_json};
use ragflare_cloudflare::invocation::Invocation;
use ragflare_cloudflare::keys::Scope;
use serde::Deserialize;
use serde_json::{Value, json};
use worker::{Request, Response};

/// Texts of a request at most, as at `OpenAI`.
const MAX_INPUTS: usize = 2048;
/// Tokens of a text at most, with the two specials: what the model sees.
const WINDOW: usize = 512;
const SPECIALS: usize = 2;
/// Calls of the model under way at once: a worker may have 6 connections that wait for a reply.
const CONCURRENCY: usize = 4;

/// A request; `user` and what else has no meaning here is ignored.
#[derive(Deserialize)]
struct Wanted {
    input: Value,
    model: String,
    encoding_format: Option<Encoding>,
    dimensions: Option<usize>,
}

#[derive(Clone, Copy, Default, Deserialize)]
#[serde(rename_all = "lowercase")]
enum Encoding {
    #[default]
    Float,
    /// Little-endian 32-bit floats: what the official clients ask for unless told otherwise.
    Base64,
}

/// `POST /v1/embeddings`
pub(crate) async fn embeddings(
    invocation: Invocation,
    request: &mut Request,
    what: &str,
) -> Result<Response, ApiError> {
    let access = invocation.authorize(request, Scope::Read).await?;
    let wanted: Wanted = read_json(request).await?;
    let settings = &invocation.rag.settings().embedding;
    if wanted.model != settings.model {
        return Err(unknown_model(&wanted.model));
    }
    if wanted.dimensions.is_some_and(|dimensions| dimensions != settings.dimensions) {
        let message = format!("must be {}, the length of this model's vectors", settings.dimensions);
        return Err(Error::invalid("dimensions", message).into());
    }
    let texts = texts(&wanted.input)?;
    let tokens = counted(&texts)?;
    let neurons = prices::neurons(&settings.model, tokens as u64, 0);
    let cost = neurons.unwrap_or(0.0);
    invocation.rag.reserve(&access.tenant, cost).await?;

    let embedder = invocation.rag.platform().embedder();
    let calls = texts
        .chunks(AiEmbedder::BATCH)
        .map(|texts| embedder.embed_documents(&access.tenant, settings, texts));
    let made: CoreResult<Vec<Embeddings>> = stream::iter(calls).buffered(CONCURRENCY).try_collect().await;
    if made.is_err() {
        invocation.rag.spend(&access.tenant, -cost).await?;
    }
    invocation.report(what);
    let made = made?;
    let encoding = wanted.encoding_format.unwrap_or_default();
    let rows = made.iter().flat_map(|rows| (0..rows.len()).map(|row| rows.row(row)));
    let data: Vec<Value> = rows
        .enumerate()
        .map(|(index, row)| {
            json!({"object": "embedding", "index": index, "embedding": encoded(row, encoding)})
        })
        .collect();
    let usage = json!({"prompt_tokens": tokens, "total_tokens": tokens});
    let mut reply = json!({"object": "list", "data": data, "model": settings.model, "usage": usage});
    if let Some(neurons) = neurons {
        reply["ragflare"] = json!({"usage": {"neurons": neurons, "usd": prices::dollars(neurons)}});
    }
    json(200, &reply)
}

fn encoded(row: &[f32], encoding: Encoding) -> Value {
    match encoding {
        Encoding::Float => json!(row),
        Encoding::Base64 => {
            let bytes: Vec<u8> = row.iter().flat_map(|value| value.to_le_bytes()).collect();
            STANDARD.encode(bytes).into()
        }
    }
}

fn texts(input: &Value) -> CoreResult<Vec<&str>> {
    let wrong = |message: String| Error::invalid("input", message);
    let all = match input {
        Value::String(text) => vec![text.as_str()],
        Value::Array(all) => {
            let text = |entry: &Value| entry.is_string();
            if !all.iter().all(text) {
                return Err(wrong("must be a text or a list of texts; lists of tokens can't be read".into()));
            }
            all.iter().filter_map(Value::as_str).collect()
        }
        _ => return Err(wrong("must be a text or a list of texts".into())),
    };
    if all.is_empty() || all.len() > MAX_INPUTS {
        return Err(wrong(format!("has {} texts; allowed are 1 to {MAX_INPUTS}", all.len())));
    }
    Ok(all)
}

/// The tokens of all texts; one that the model would not see whole is refused.
fn counted(texts: &[&str]) -> CoreResult<usize> {
    let mut sum = 0;
    for (index, text) in texts.iter().enumerate() {
        if text.trim().is_empty() {
            return Err(Error::invalid(format!("input[{index}]"), "must not be empty"));
        }
        let tokens = WordPiece::count(text) + SPECIALS;
        if tokens > WINDOW {
            let message = format!("has {tokens} tokens; the model reads {WINDOW}");
            return Err(Error::invalid(format!("input[{index}]"), message));
        }
        sum += tokens;
    }
    Ok(sum)
}
