//! The HTTP server: one router for both services.
//!
//! The runtime talks to the twin in proxy style (`POST https://workers-binding.ai/run`, perhaps without a `Host`
//! header), so requests are told apart by their path alone.

use std::sync::Arc;
use std::time::Duration;

use axum::Router;
use axum::body::{Body, Bytes};
use axum::http::{HeaderValue, StatusCode, header};
use axum::response::Response;
use futures::StreamExt;
use serde::Serialize;
use tokio::net::TcpListener;
use tokio::sync::Notify;

use crate::ai::batch::Batches;
use crate::ai::gateway::Gateway;
use crate::ai::{self, Ai};
use crate::control;
use crate::error::Result;
use crate::faults::{Call, Faults, Plan};
use crate::stats::Stats;
use crate::vectorize::store::VectorStore;
use crate::vectorize::wire;

/// Everything the routes share.
#[derive(Debug)]
pub struct Twin {
    /// The models.
    pub ai: Ai,
    /// The asynchronous batches, in memory: a twin that starts anew knows none.
    pub batches: Batches,
    /// The gateways' log and cache, in memory.
    pub gateway: Gateway,
    /// The indexes.
    pub store: VectorStore,
    /// The rules for faults.
    pub faults: Faults,
    /// The counters.
    pub stats: Stats,
    /// Told when a mutation was accepted or the delay changed.
    pub mutated: Notify,
}

impl Twin {
    /// A twin without faults.
    pub fn new(ai: Ai, store: VectorStore) -> Self {
        Self {
            ai,
            batches: Batches::default(),
            gateway: Gateway::default(),
            store,
            faults: Faults::default(),
            stats: Stats::default(),
            mutated: Notify::new(),
        }
    }

    /// What is to be done to a call; counts it.
    pub(crate) fn plan(&self, call: &Call<'_>) -> Plan {
        let plan = self.faults.plan(call);
        self.stats.faults(call, &plan.hits);
        plan
    }
}

/// All routes.
pub fn router(twin: Arc<Twin>) -> Router {
    Router::new()
        .merge(ai::routes())
        .merge(wire::routes())
        .merge(control::routes())
        .fallback(not_found)
        .with_state(twin)
}

async fn not_found(request: axum::extract::Request) -> Response {
    let text = format!("the twin has no {} {}", request.method(), request.uri().path());
    json_reply(StatusCode::NOT_FOUND, &serde_json::json!({"errors": [{"code": 7000, "message": text}]}))
}

/// Serves until `stop` resolves, and applies mutations as they fall due. Streams still open then are cut.
///
/// # Errors
/// When accepting connections fails.
pub async fn serve(twin: Arc<Twin>, listener: TcpListener, stop: impl Future<Output = ()>) -> Result<()> {
    let applier = tokio::spawn(apply_mutations(Arc::clone(&twin)));
    let served = async { axum::serve(listener, router(twin)).await };
    let result = tokio::select! {
        result = served => result,
        () = stop => Ok(()),
    };
    applier.abort();
    result.map_err(Into::into)
}

async fn apply_mutations(twin: Arc<Twin>) {
    loop {
        let changed = twin.mutated.notified();
        let worker = Arc::clone(&twin);
        let wait = match tokio::task::spawn_blocking(move || worker.store.apply_due()).await {
            Ok(Ok(wait)) => wait,
            Ok(Err(error)) => {
                tracing::error!(%error, "a mutation could not be applied");
                Some(Duration::from_secs(1))
            }
            Err(_) => return,
        };
        match wait {
            None => changed.await,
            Some(wait) => {
                tokio::select! {
                    () = changed => {}
                    () = tokio::time::sleep(wait) => {}
                }
            }
        }
    }
}

/// A reply whose content type is exactly `application/json`: the bindings take anything else for a stream.
pub(crate) fn json_reply<T: Serialize + ?Sized>(status: StatusCode, value: &T) -> Response {
    match serde_json::to_string(value) {
        Ok(text) => json_text_reply(status, text),
        Err(error) => {
            json_text_reply(StatusCode::INTERNAL_SERVER_ERROR, format!("{{\"error\":\"{error}\"}}"))
        }
    }
}

/// The same from JSON text.
pub(crate) fn json_text_reply(status: StatusCode, text: String) -> Response {
    let mut response = Response::new(Body::from(text));
    *response.status_mut() = status;
    response.headers_mut().insert(header::CONTENT_TYPE, HeaderValue::from_static("application/json"));
    response
}

/// What is counted for a call whose reply the client (or an injected fault) broke off, after the custom of
/// web servers.
pub(crate) const CLIENT_LEFT: u16 = 499;

/// A reply that breaks the connection.
pub(crate) fn broken_reply() -> Response {
    Response::new(broken_body(Bytes::new()))
}

/// Half of a reply; then the connection breaks.
pub(crate) async fn cut_reply(reply: Response) -> Response {
    let (head, body) = reply.into_parts();
    let whole = axum::body::to_bytes(body, usize::MAX).await.unwrap_or_default();
    Response::from_parts(head, broken_body(whole.slice(..whole.len() / 2)))
}

/// What is sent has to leave before the end: otherwise the connection ends without even a status, and the
/// runtime (workerd 1.20261117.1) was seen to send such a request again by itself.
fn broken_body(sent: Bytes) -> Body {
    const LEAVES: Duration = Duration::from_millis(20);
    let end = async {
        tokio::time::sleep(LEAVES).await;
        Err(std::io::Error::other("injected disconnect"))
    };
    Body::from_stream(futures::stream::once(async { Ok(sent) }).chain(futures::stream::once(end)))
}

/// Reads a body of at most `limit` bytes. A longer one is read to its end, so that the client gets to see the reply, and
/// `None` is returned; so it is when the client breaks off.
pub(crate) async fn read_body(body: Body, limit: usize) -> Option<Vec<u8>> {
    let mut bytes = Vec::new();
    let mut fits = true;
    let mut stream = body.into_data_stream();
    while let Some(chunk) = stream.next().await {
        let chunk = chunk.ok()?;
        fits &= bytes.len() + chunk.len() <= limit;
        if fits {
            bytes.extend_from_slice(&chunk);
        }
    }
    fits.then_some(bytes)
}
