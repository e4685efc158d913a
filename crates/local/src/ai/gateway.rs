//! The twin of AI Gateway, as the binding reaches it: a log of calls, a cache of whole replies, feedback.
//!
//! A call goes through a gateway when its options name one (`gateway.id`); any name will do. It is cached when
//! `cacheTtl` asks for it (the default of a gateway, which is a setting of the dashboard, is not to), under `cacheKey` or
//! else under model and inputs; `skipCache` goes round the cache both ways. A reply of whichever form is kept when all of
//! it was sent and its status is 200, and answered from then on without the model. Retries and time limits of the gateway
//! are accepted and not applied.
//!
//! Sources: `cloudflare-internal:ai-api` and `aig-api` of workerd 1.20261117.1 for paths, headers and the log's fields;
//! Cloudflare's pages on caching and on custom metadata for the rest. Assumed: that without a log there is no log id, and
//! without caching no cache status.

use std::collections::{HashMap, VecDeque};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use axum::body::{Body, Bytes};
use axum::http::{HeaderMap, HeaderValue, StatusCode, header};
use axum::response::Response;
use futures::{StreamExt, stream};
use serde::Serialize;
use serde_json::{Map, Value};

use super::wire::{self, AiError};
use crate::server::Twin;
use crate::vectorize::store::{new_uuid, now_ms, rfc3339};

/// Log entries that are kept, the newest.
const LOGS: usize = 1000;
/// Replies that are kept, the newest.
const REPLIES: usize = 256;
/// The longest reply that is kept, in bytes.
const REPLY_BYTES: usize = 1 << 20;
/// Values of a call's metadata that are kept.
const METADATA: usize = 5;

/// All gateways.
#[derive(Debug, Default)]
pub struct Gateway {
    kept: Mutex<Kept>,
}

#[derive(Debug, Default)]
struct Kept {
    logs: VecDeque<Log>,
    replies: HashMap<(String, String), Reply>,
}

#[derive(Debug, Clone)]
struct Reply {
    until: Instant,
    kind: HeaderValue,
    body: Bytes,
}

/// An entry of the log, with the fields that the binding's `getLog` gives (and the gateway's name). Neither requests nor
/// replies are kept in it.
#[derive(Debug, Clone, Serialize)]
#[allow(clippy::struct_excessive_bools, reason = "the fields are the platform's")]
pub struct Log {
    /// What the header `cf-aig-log-id` said.
    pub id: String,
    /// The gateway.
    pub gateway: String,
    /// `workers-ai`.
    pub provider: &'static str,
    /// The model asked for.
    pub model: String,
    /// Empty.
    pub path: &'static str,
    /// Milliseconds, until the end of the reply.
    pub duration: u64,
    /// HTTP status.
    pub status_code: u16,
    /// Type of the reply.
    pub response_content_type: String,
    /// Whether all of a good reply was sent.
    pub success: bool,
    /// Whether it came out of the cache.
    pub cached: bool,
    /// Tokens of the prompt, when the reply says so.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub tokens_in: Option<u64>,
    /// Tokens generated.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub tokens_out: Option<u64>,
    /// What the call or its feedback noted.
    pub metadata: Map<String, Value>,
    /// 0: no retries.
    pub step: u32,
    /// Bytes.
    pub request_size: usize,
    /// False: see [`Log`].
    pub request_head_complete: bool,
    /// Bytes.
    pub response_size: usize,
    /// False: see [`Log`].
    pub response_head_complete: bool,
    /// RFC 3339.
    pub created_at: String,
    /// An id that the caller gave.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub event_id: Option<String>,
    /// -1 or 1, set by `patchLog`.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub feedback: Option<i64>,
    /// 0 to 100, set by `patchLog`.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub score: Option<f64>,
}

/// A call that goes through a gateway.
#[derive(Debug, Clone)]
pub(super) struct Passing {
    gateway: String,
    model: String,
    /// Key and time of a reply that is to be cached.
    cache: Option<(String, Duration)>,
    log: bool,
    metadata: Map<String, Value>,
    event_id: Option<String>,
    request_size: usize,
    started: Instant,
}

impl Passing {
    /// What the options of a call ask for; `None` when they name no gateway.
    ///
    /// # Errors
    /// 5006 for an option of another type than it should have.
    pub(super) fn parse(
        model: &str,
        inputs: &Value,
        options: &Value,
        request_size: usize,
    ) -> Result<Option<Self>, AiError> {
        let Some(options) = options.get("gateway").filter(|gateway| !gateway.is_null()) else {
            return Ok(None);
        };
        let wrong = |name: &str, kind: &str| AiError::input(format!("'/gateway/{name}' must be {kind}"));
        let given = |name: &str| options.get(name).filter(|value| !value.is_null());
        let text = |name: &str| match given(name) {
            None => Ok(None),
            Some(Value::String(text)) => Ok(Some(text.clone())),
            Some(_) => Err(wrong(name, "a string")),
        };
        let flag = |name: &str| match given(name) {
            None => Ok(None),
            Some(Value::Bool(flag)) => Ok(Some(*flag)),
            Some(_) => Err(wrong(name, "a boolean")),
        };
        let Some(gateway) = text("id")?.filter(|id| !id.is_empty()) else { return Ok(None) };
        let ttl = match given("cacheTtl") {
            None => None,
            Some(seconds) => Some(seconds.as_u64().ok_or_else(|| wrong("cacheTtl", "a number of seconds"))?),
        };
        let key = text("cacheKey")?.unwrap_or_else(|| format!("{model}\n{inputs}"));
        let skipped = flag("skipCache")? == Some(true);
        let cache = ttl.filter(|seconds| *seconds > 0 && !skipped);
        Ok(Some(Self {
            gateway,
            model: model.to_owned(),
            cache: cache.map(|seconds| (key, Duration::from_secs(seconds))),
            log: flag("collectLog")? != Some(false),
            metadata: metadata(given("metadata"))
                .ok_or_else(|| wrong("metadata", "an object of strings, numbers and booleans"))?,
            event_id: text("eventId")?,
            request_size,
            started: Instant::now(),
        }))
    }

    fn log(&self, status: u16, kind: &HeaderValue) -> Log {
        Log {
            id: new_uuid(),
            gateway: self.gateway.clone(),
            provider: "workers-ai",
            model: self.model.clone(),
            path: "",
            duration: 0,
            status_code: status,
            response_content_type: kind.to_str().unwrap_or_default().to_owned(),
            success: false,
            cached: false,
            tokens_in: None,
            tokens_out: None,
            metadata: self.metadata.clone(),
            step: 0,
            request_size: self.request_size,
            request_head_complete: false,
            response_size: 0,
            response_head_complete: false,
            created_at: rfc3339(now_ms()),
            event_id: self.event_id.clone(),
            feedback: None,
            score: None,
        }
    }
}

/// At most five values, none of them nested.
pub(super) fn metadata(given: Option<&Value>) -> Option<Map<String, Value>> {
    let Some(given) = given else { return Some(Map::new()) };
    let given = given.as_object()?;
    let flat = given.values().all(|value| !value.is_object() && !value.is_array());
    flat.then(|| given.iter().take(METADATA).map(|(name, value)| (name.clone(), value.clone())).collect())
}

impl Gateway {
    /// The log, oldest first.
    pub fn logs(&self) -> Vec<Log> {
        self.kept().logs.iter().cloned().collect()
    }

    /// Empties log and cache.
    pub fn forget(&self) {
        *self.kept() = Kept::default();
    }

    fn kept(&self) -> MutexGuard<'_, Kept> {
        self.kept.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn note(&self, log: Log) {
        let mut kept = self.kept();
        kept.logs.push_back(log);
        let surplus = kept.logs.len().saturating_sub(LOGS);
        kept.logs.drain(..surplus);
    }

    /// Changes an entry of the log, if it is there.
    pub(super) fn change<T>(&self, gateway: &str, id: &str, change: impl FnOnce(&mut Log) -> T) -> Option<T> {
        let mut kept = self.kept();
        kept.logs.iter_mut().find(|log| log.gateway == gateway && log.id == id).map(change)
    }

    fn keep(&self, passing: &Passing, kind: HeaderValue, body: Vec<u8>) {
        let Some((key, ttl)) = &passing.cache else { return };
        let mut kept = self.kept();
        let now = Instant::now();
        kept.replies.retain(|_, reply| reply.until > now);
        if kept.replies.len() >= REPLIES {
            let oldest = kept.replies.iter().min_by_key(|(_, reply)| reply.until).map(|(key, _)| key.clone());
            oldest.and_then(|oldest| kept.replies.remove(&oldest));
        }
        let reply = Reply { until: now + *ttl, kind, body: body.into() };
        kept.replies.insert((passing.gateway.clone(), key.clone()), reply);
    }

    /// The reply that is cached for a call, noted in the log.
    pub(super) fn cached(&self, passing: &Passing) -> Option<Response> {
        let (key, _) = passing.cache.as_ref()?;
        let reply = self.kept().replies.get(&(passing.gateway.clone(), key.clone())).cloned()?;
        if reply.until <= Instant::now() {
            return None;
        }
        let mut response = Response::new(Body::from(reply.body.clone()));
        if passing.log {
            let mut log = passing.log(200, &reply.kind);
            (log.success, log.cached, log.response_size) = (true, true, reply.body.len());
            (log.tokens_in, log.tokens_out) = tokens(&reply.body);
            add(response.headers_mut(), wire::LOG_ID_HEADER, &log.id);
            self.note(log);
        }
        response.headers_mut().insert(header::CONTENT_TYPE, reply.kind);
        add(response.headers_mut(), wire::CACHE_HEADER, "HIT");
        Some(response)
    }
}

fn add(headers: &mut HeaderMap, name: &'static str, value: &str) {
    if let Ok(value) = HeaderValue::from_str(value) {
        headers.insert(name, value);
    }
}

/// Notes a reply in the log, and keeps it in the cache once all of it was sent.
pub(super) fn watch(twin: &Arc<Twin>, passing: Passing, response: Response) -> Response {
    let (mut head, body) = response.into_parts();
    let kind = head.headers.get(header::CONTENT_TYPE).cloned();
    let kind = kind.unwrap_or(HeaderValue::from_static("application/json"));
    let log = passing.log(head.status.as_u16(), &kind);
    let id = log.id.clone();
    if passing.log {
        add(&mut head.headers, wire::LOG_ID_HEADER, &id);
        twin.gateway.note(log);
    }
    if passing.cache.is_some() {
        add(&mut head.headers, wire::CACHE_HEADER, "MISS");
    }
    let good = head.status == StatusCode::OK;
    let watched = Watched { twin: Arc::clone(twin), passing, id, kind, good, seen: Vec::new(), whole: false };
    let body = stream::unfold((body.into_data_stream(), watched), |(mut body, mut watched)| async move {
        let Some(chunk) = body.next().await else {
            watched.ended();
            return None;
        };
        if let Ok(chunk) = &chunk {
            watched.seen.extend_from_slice(chunk);
        }
        Some((chunk, (body, watched)))
    });
    Response::from_parts(head, Body::from_stream(body))
}

/// A reply on its way. It is dropped at its end, or when the client leaves.
struct Watched {
    twin: Arc<Twin>,
    passing: Passing,
    id: String,
    kind: HeaderValue,
    good: bool,
    seen: Vec<u8>,
    whole: bool,
}

impl Watched {
    /// All was sent.
    fn ended(&mut self) {
        self.whole = true;
    }
}

impl Drop for Watched {
    fn drop(&mut self) {
        let streamed = self.kind != "application/json";
        let ended = !streamed || self.seen.ends_with(b"data: [DONE]\n\n");
        let success = self.good && self.whole && ended;
        let (tokens_in, tokens_out) = tokens(&self.seen);
        self.twin.gateway.change(&self.passing.gateway, &self.id, |log| {
            log.success = success;
            (log.tokens_in, log.tokens_out) = (tokens_in, tokens_out);
            log.response_size = self.seen.len();
            log.duration = self.passing.started.elapsed().as_millis() as u64;
        });
        if success && self.seen.len() <= REPLY_BYTES {
            self.twin.gateway.keep(&self.passing, self.kind.clone(), std::mem::take(&mut self.seen));
        }
    }
}

/// The tokens that a reply says it took, of the prompt and of the answer.
fn tokens(body: &[u8]) -> (Option<u64>, Option<u64>) {
    let text = String::from_utf8_lossy(body);
    let events = text.lines().rev().filter_map(|line| line.strip_prefix("data: "));
    let usage = std::iter::once(text.as_ref()).chain(events).find_map(|json| {
        let mut value: Value = serde_json::from_str(json).ok()?;
        value.get_mut("usage").map(Value::take).filter(Value::is_object)
    });
    let count = |name: &str| usage.as_ref().and_then(|usage| usage[name].as_u64());
    (count("prompt_tokens"), count("completion_tokens"))
}
