//! The Vectorize binding's requests and replies.
//!
//! Source: the runtime's own `VectorizeIndexImpl` class, which sends `POST query`, `insert`, `upsert`, `getByIds`,
//! `deleteByIds` and `GET info` and takes only status 200 for success. The index is named by the header
//! `x-ragflare-index` (the development plugin sets it); without it the first index answers.

use std::sync::Arc;

use axum::Router;
use axum::body::Body;
use axum::extract::{Path, State};
use axum::http::{HeaderMap, StatusCode};
use axum::response::Response;
use axum::routing::{get, post};
use serde::{Deserialize, Serialize};
use serde_json::{Value, json};

use super::filter::Filter;
use super::limits;
use super::store::{IndexConfig, Match, Query, ReturnMetadata, Vector, Write};
use crate::error::Error;
use crate::faults::{Call, Service};
use crate::server::{CLIENT_LEFT, Twin, broken_reply, cut_reply, json_reply, json_text_reply, read_body};

/// The header that names the index.
pub const INDEX_HEADER: &str = "x-ragflare-index";

/// An error as the binding reads it: `{code, error}`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct WireError {
    /// HTTP status.
    pub status: u16,
    /// Vectorize's code.
    pub code: u32,
    /// The text.
    pub error: String,
}

impl WireError {
    /// A 400.
    pub fn bad(code: u32, error: impl Into<String>) -> Self {
        Self { status: 400, code, error: error.into() }
    }

    /// The reply.
    pub fn reply(&self) -> Response {
        let status = StatusCode::from_u16(self.status).unwrap_or(StatusCode::BAD_REQUEST);
        json_reply(status, &json!({"code": self.code, "error": self.error}))
    }
}

impl From<Error> for WireError {
    fn from(error: Error) -> Self {
        match error {
            Error::Input(text) => Self::bad(limits::CODE_BODY, text),
            // Not documented; 5xx is what a caller retries.
            other => Self { status: 500, code: 50000, error: other.to_string() },
        }
    }
}

/// The routes of the binding.
pub fn routes() -> Router<Arc<Twin>> {
    Router::new()
        .route("/query", post(|s, h, b| handle(s, h, "query", b)))
        .route("/insert", post(|s, h, b| handle(s, h, "insert", b)))
        .route("/upsert", post(|s, h, b| handle(s, h, "upsert", b)))
        .route("/getByIds", post(|s, h, b| handle(s, h, "getByIds", b)))
        .route("/deleteByIds", post(|s, h, b| handle(s, h, "deleteByIds", b)))
        .route("/info", get(|s, h, b| handle(s, h, "info", b)))
}

async fn handle(
    State(twin): State<Arc<Twin>>,
    headers: HeaderMap,
    operation: &'static str,
    body: Body,
) -> Response {
    let body = read_body(body, limits::BODY_BYTES).await;
    let sent = body.as_deref().unwrap_or_default();
    let plan = twin.plan(&Call { service: Service::Vectorize, op: operation, model: None, body: sent });
    plan.wait().await;
    if plan.disconnect {
        twin.stats.vectorize(operation, CLIENT_LEFT);
        return broken_reply();
    }
    let mut result = match &plan.error {
        Some(error) => Err(error.vectorize()),
        None => answer(&twin, &headers, operation, body).await,
    };
    if let (Ok(_), Some(error)) = (&result, &plan.error_after) {
        result = Err(error.vectorize());
    }
    let status = result.as_ref().map_or_else(|e| e.status, |_| 200);
    twin.stats.vectorize(operation, if plan.cut_reply { CLIENT_LEFT } else { status });
    let reply = match result {
        Ok(text) => json_text_reply(StatusCode::OK, text),
        Err(error) => error.reply(),
    };
    if plan.cut_reply { cut_reply(reply).await } else { reply }
}

async fn answer(
    twin: &Arc<Twin>,
    headers: &HeaderMap,
    operation: &str,
    body: Option<Vec<u8>>,
) -> Result<String, WireError> {
    let Some(body) = body else {
        // The code for this is not documented.
        let text = format!("request body too large; max is {} bytes", limits::BODY_BYTES);
        return Err(WireError { status: 413, code: limits::CODE_BODY, error: text });
    };
    let names = twin.store.index_names();
    let index = match headers.get(INDEX_HEADER).and_then(|v| v.to_str().ok()) {
        Some(name) => name.to_owned(),
        None => names.first().cloned().unwrap_or_default(),
    };
    let Some(config) = twin.store.config(&index) else {
        // The REST interface says this with code 3000 ("vectorize.index.not_found"); unverified for the binding.
        let error = format!("vectorize.index.not_found - no index named {index:?}; there are {names:?}");
        return Err(WireError { status: 404, code: 3000, error });
    };
    let twin = Arc::clone(twin);
    let operation = operation.to_owned();
    let task = tokio::task::spawn_blocking(move || operate(&twin, &index, &config, &operation, &body));
    task.await.unwrap_or_else(|e| Err(WireError { status: 500, code: 50000, error: e.to_string() }))
}

/// The reply as JSON text: numbers go out as f32, not by way of f64.
fn operate(
    twin: &Twin,
    index: &str,
    config: &IndexConfig,
    operation: &str,
    body: &[u8],
) -> Result<String, WireError> {
    #[derive(Serialize)]
    struct Matches {
        count: usize,
        matches: Vec<Match>,
    }
    fn text<T: Serialize>(value: &T) -> Result<String, WireError> {
        serde_json::to_string(value).map_err(|e| Error::Store(e.to_string()).into())
    }
    let store = &twin.store;
    let mutation = |write: Write| -> Result<String, WireError> {
        let (vectors, ids) = match &write {
            Write::Insert(vectors) | Write::Upsert(vectors) => (vectors.len(), 0),
            Write::Delete(ids) => (0, ids.len()),
        };
        let id = store.write(index, write)?;
        twin.stats.change(|c| {
            c.vectors_upserted += vectors as u64;
            c.ids_deleted += ids as u64;
        });
        twin.mutated.notify_one();
        text(&json!({"mutationId": id}))
    };
    match operation {
        "insert" => mutation(Write::Insert(parse_vectors(body, config.dimensions)?)),
        "upsert" => mutation(Write::Upsert(parse_vectors(body, config.dimensions)?)),
        "deleteByIds" => mutation(Write::Delete(parse_ids(body, limits::DELETE_IDS)?)),
        "getByIds" => {
            let ids = parse_ids(body, limits::GET_IDS)?;
            twin.stats.change(|c| c.ids_fetched += ids.len() as u64);
            text(&store.get(index, &ids)?)
        }
        "query" => {
            let by_id = |id: &str| Ok(store.get(index, &[id.to_owned()])?.pop().map(|v| v.values));
            let matches = store.query(index, &parse_query(body, config.dimensions, by_id)?)?;
            text(&Matches { count: matches.len(), matches })
        }
        _ => text(&store.info(index)),
    }
}

/// The vectors of an insert or upsert: one JSON object per line, or `{"vectors": […]}`, or a JSON list.
fn parse_vectors(body: &[u8], dimensions: usize) -> Result<Vec<Vector>, WireError> {
    #[derive(Deserialize)]
    struct Whole {
        vectors: Vec<Vector>,
    }
    let parse_error = |line: usize, e: &dyn std::fmt::Display| {
        WireError::bad(limits::CODE_VECTOR_PARSE, format!("failed to parse vector on line {line}: {e}"))
    };
    let vectors: Vec<Vector> = if let Ok(whole) = serde_json::from_slice::<Whole>(body) {
        whole.vectors
    } else if body.trim_ascii_start().first() == Some(&b'[') {
        serde_json::from_slice(body).map_err(|e| parse_error(1, &e))?
    } else {
        body.split(|&b| b == b'\n')
            .enumerate()
            .filter(|(_, line)| !line.trim_ascii().is_empty())
            .map(|(i, line)| serde_json::from_slice(line).map_err(|e| parse_error(i + 1, &e)))
            .collect::<Result<_, _>>()?
    };
    if vectors.is_empty() {
        return Err(WireError::bad(limits::CODE_VECTOR_PARSE, "no vectors in the payload"));
    }
    if vectors.len() > limits::BATCH {
        // The code for this is not documented.
        let text = format!(
            "too many vectors in payload; max vector count is {}, got {}",
            limits::BATCH,
            vectors.len()
        );
        return Err(WireError::bad(limits::CODE_BODY, text));
    }
    for vector in &vectors {
        limits::check_vector(vector, dimensions)?;
    }
    Ok(vectors)
}

fn parse_ids(body: &[u8], limit: usize) -> Result<Vec<String>, WireError> {
    #[derive(Deserialize)]
    struct Ids {
        ids: Vec<String>,
    }
    let Ids { ids } = parse_body(body)?;
    limits::check_ids(&ids, limit)?;
    Ok(ids)
}

fn parse_body<'b, T: Deserialize<'b>>(body: &'b [u8]) -> Result<T, WireError> {
    serde_json::from_slice(body)
        .map_err(|e| WireError::bad(limits::CODE_BODY, format!("failed to parse request body: {e}")))
}

fn parse_query(
    body: &[u8],
    dimensions: usize,
    by_id: impl Fn(&str) -> Result<Option<Vec<f32>>, WireError>,
) -> Result<Query, WireError> {
    #[derive(Deserialize)]
    #[serde(rename_all = "camelCase")]
    struct Wire {
        vector: Option<Vec<f32>>,
        vector_id: Option<String>,
        top_k: Option<i64>,
        namespace: Option<String>,
        #[serde(default)]
        return_values: bool,
        // A boolean here is the mistake that the service answers with 40026.
        #[serde(default)]
        return_metadata: ReturnMetadata,
        filter: Option<Value>,
    }
    let wire: Wire = parse_body(body)?;
    let with_data = wire.return_values || wire.return_metadata == ReturnMetadata::All;
    let top_k = match wire.top_k {
        Some(k) => limits::check_top_k(k, with_data)?,
        None => limits::TOP_K_DEFAULT,
    };
    let vector = match (wire.vector, wire.vector_id) {
        (Some(vector), None) => vector,
        // What the service says to an id it does not know is not documented.
        (None, Some(id)) => by_id(&id)?
            .ok_or_else(|| WireError::bad(limits::CODE_BODY, format!("no vector with id {id:?}")))?,
        _ => return Err(WireError::bad(limits::CODE_BODY, "either vector or vectorId is required")),
    };
    if vector.len() != dimensions {
        let text = format!(
            "invalid query vector, expected {dimensions} dimensions, and got {} dimensions",
            vector.len()
        );
        return Err(WireError::bad(limits::CODE_QUERY_DIMENSIONS, text));
    }
    if wire.namespace.as_ref().is_some_and(|n| n.len() > limits::NAMESPACE_BYTES) {
        // The code for this is not documented.
        let text = format!("namespace too long; max is {} bytes", limits::NAMESPACE_BYTES);
        return Err(WireError::bad(limits::CODE_BODY, text));
    }
    Ok(Query {
        vector,
        top_k,
        namespace: wire.namespace,
        filter: wire.filter.filter(|f| !f.is_null()).map(|f| Filter::parse(&f)).transpose()?,
        return_values: wire.return_values,
        return_metadata: wire.return_metadata,
    })
}

/// `GET /control/indexes/{name}/ids`.
pub(crate) async fn list_ids(State(twin): State<Arc<Twin>>, Path(name): Path<String>) -> Response {
    match twin.store.ids(&name) {
        Some(ids) => json_reply(StatusCode::OK, &json!({"ids": ids})),
        None => json_reply(StatusCode::NOT_FOUND, &json!({"error": format!("no index named {name:?}")})),
    }
}
