//! Embeddings by the asynchronous Batch API: texts are handed in now and collected later.
//!
//! Documented (Workers AI, "Asynchronous Batch API" and its page "Workers Binding", stored copies of 2026;
//! the API is in beta): texts are handed in by `run(model, {requests: […]}, {queueRequest: true})`, which
//! answers `{status: "queued", request_id, model}`; `run(model, {request_id})` answers a status `queued` or
//! `running`, and in the end `{responses: [{id, result, success, external_reference}], usage}`. A payload
//! must be under 10 MB. The three English `bge` models and `bge-m3` take batches.
//!
//! Not documented, but reported in public code: 5504 "Request not found in queue" for an id that is unknown
//! or has expired, 8007 for a model that takes no batches, 3030 for a request that was accepted and then
//! found invalid, HTTP 202 until the end.
//!
//! Assumed, since no page and no transcript shows it: how long results are kept (so collect soon), and the
//! shape of a request that failed (any of the shapes of [`AiError::from_reply`], in the response or its
//! `result`).

use js_sys::{Array, JSON, Reflect};
use serde::Serialize;
use serde_json::Value;
use wasm_bindgen::{JsCast, JsValue};

use super::call::Reply;
use super::embeddings::{self, Embeddings, Pooling};
use super::error::{AiError, code_in_text, error_in_json, shorten};
use super::retry::RetryClass;
use super::{Ai, RunOptions};

/// Bytes of the texts of a batch, as JSON: 10 MB less what the options may take.
pub const BATCH_BYTES: usize = 9_990_000;

/// The service's code for an id that it does not know, or not any more.
const NOT_FOUND: u32 = 5504;

/// What has become of texts handed in with [`Ai::submit_embeddings`].
#[derive(Debug, Clone, PartialEq)]
pub enum BatchState {
    /// Not ready yet. So is any status that is neither documented nor clearly a failure: give up on a batch
    /// by its age.
    Running,
    /// One vector for each text, in order. Whether there are as many as texts is the caller's to check.
    Done(Embeddings),
    /// The service does not know the id any more, or the request failed in a way that may not happen again.
    Lost,
}

impl Ai {
    /// Hands texts in to be embedded when there is room, and returns the id to collect them with: one request
    /// of at most [`EMBED_BATCH`](super::EMBED_BATCH) texts and [`BATCH_BYTES`] bytes.
    ///
    /// A retry after a reply that was lost hands the texts in a second time; nobody collects the first.
    ///
    /// # Errors
    /// A limit, or as for any call; [`AiError::Invalid`] without texts, [`AiError::Platform`] with code 8007
    /// for a model that takes no batches, [`AiError::Malformed`] if the reply has no id.
    pub async fn submit_embeddings(
        &self,
        model: &str,
        texts: &[&str],
        pooling: Pooling,
    ) -> Result<String, AiError> {
        let inputs = submission(texts, pooling)?;
        let options = RunOptions { queue_request: Some(true), ..(*self.options).clone() };
        self.call_with(&options, model, &inputs, async |reply: Reply| {
            let request_id = reply.request_id.clone();
            queued(&reply.text().await?, request_id)
        })
        .await
    }

    /// What has become of the texts handed in under this id, with the same model.
    ///
    /// # Errors
    /// As for any call. [`AiError::Platform`] with status 200 if the request itself failed for its input or
    /// because the day's allocation is used up: [`AiError::retry_class`] tells which.
    pub async fn collect_embeddings(&self, model: &str, request_id: &str) -> Result<BatchState, AiError> {
        let inputs = poll(request_id)?;
        let state = self
            .call(model, &inputs, async |reply: Reply| {
                let request_id = reply.request_id.clone();
                state(&reply.json("batch").await?, request_id)
            })
            .await;
        match state {
            Err(error) if is_unknown(&error) => Ok(BatchState::Lost),
            state => state,
        }
    }
}

/// The JSON of texts handed in.
fn submission(texts: &[&str], pooling: Pooling) -> Result<String, AiError> {
    #[derive(Serialize)]
    struct Wire<'a> {
        requests: [embeddings::Request<'a>; 1],
    }
    if texts.is_empty() {
        return Err(AiError::Invalid { field: "texts", detail: "must not be empty".into() });
    }
    let inputs = embeddings::json(&Wire { requests: [embeddings::Request::new(texts, pooling)?] })?;
    if inputs.len() > BATCH_BYTES {
        return Err(AiError::Limit {
            limit: "bytes of a batch",
            value: inputs.len() as u64,
            allowed: BATCH_BYTES as u64,
        });
    }
    Ok(inputs)
}

/// The JSON of a question for what has become of them.
fn poll(request_id: &str) -> Result<String, AiError> {
    #[derive(Serialize)]
    struct Wire<'a> {
        request_id: &'a str,
    }
    if request_id.is_empty() {
        return Err(AiError::Invalid { field: "request_id", detail: "must not be empty".into() });
    }
    embeddings::json(&Wire { request_id })
}

/// The id in the answer to texts handed in.
fn queued(body: &str, request_id: Option<String>) -> Result<String, AiError> {
    let reply: Value = serde_json::from_str(body).unwrap_or_default();
    if let Some(id) = reply.get("request_id").and_then(Value::as_str).filter(|id| !id.is_empty()) {
        return Ok(id.to_owned());
    }
    if let Some((code, message)) = error_in_json(&reply) {
        return Err(AiError::Platform { code, status: 200, message, request_id });
    }
    let detail = format!("no `request_id` in {}", shorten(body));
    Err(AiError::Malformed { what: "batch", detail, request_id })
}

/// Reads the answer to a poll. Only what is not a list of vectors passes through JSON on this side.
fn state(reply: &JsValue, request_id: Option<String>) -> Result<BatchState, AiError> {
    let field = |object: &JsValue, name: &str| {
        Reflect::get(object, &JsValue::from_str(name)).unwrap_or(JsValue::UNDEFINED)
    };
    let text = |value: &JsValue| JSON::stringify(value).map(String::from).unwrap_or_default();
    let Ok(responses) = field(reply, "responses").dyn_into::<Array>() else {
        return unfinished(&text(reply), request_id);
    };
    if responses.length() != 1 {
        let detail = format!("{} responses to one request", responses.length());
        return Err(AiError::Malformed { what: "batch", detail, request_id });
    }
    let response = responses.get(0);
    let result = field(&response, "result");
    if field(&response, "success") == JsValue::FALSE || result.is_null_or_undefined() {
        return failed(&text(&response), request_id);
    }
    Embeddings::from_wire(&result, None, request_id).map(BatchState::Done)
}

/// An answer without responses.
fn unfinished(body: &str, request_id: Option<String>) -> Result<BatchState, AiError> {
    let reply: Value = serde_json::from_str(body).unwrap_or_default();
    if error_in_json(&reply).is_some() {
        return failed(body, request_id);
    }
    match reply.get("status").and_then(Value::as_str) {
        Some("failed" | "error" | "cancelled" | "canceled" | "expired") => Ok(BatchState::Lost),
        Some(_) => Ok(BatchState::Running),
        None => {
            let detail = format!("neither `responses` nor `status` in {}", shorten(body));
            Err(AiError::Malformed { what: "batch", detail, request_id })
        }
    }
}

/// A request that failed: lost if it may succeed another time, and else the error.
fn failed(response: &str, request_id: Option<String>) -> Result<BatchState, AiError> {
    let value: Value = serde_json::from_str(response).unwrap_or_default();
    let (code, message) = error_in_json(&value)
        .or_else(|| error_in_json(value.get("result")?))
        .unwrap_or_else(|| (code_in_text(response), shorten(response)));
    let error = AiError::Platform { code, status: 200, message, request_id };
    match error.retry_class() {
        RetryClass::Backoff | RetryClass::Once => Ok(BatchState::Lost),
        RetryClass::Never | RetryClass::AfterMidnightUtc => Err(error),
    }
}

/// Whether the service does not know the id. (A 404 with another code is about the model.)
fn is_unknown(error: &AiError) -> bool {
    matches!(
        error,
        AiError::Platform { code: Some(NOT_FOUND), .. }
            | AiError::Platform { code: None, status: 404 | 410, .. }
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The lines of a transcript: what is expected, and the body.
    fn transcript(name: &str) -> Vec<(String, String)> {
        let path = format!("{}/../../fixtures/wire/{name}", env!("CARGO_MANIFEST_DIR"));
        let text = std::fs::read_to_string(path).unwrap();
        let lines = text.lines().filter(|line| !line.starts_with('#') && !line.is_empty());
        lines
            .map(|line| {
                let (expected, body) = line.split_once(" | ").unwrap();
                (expected.to_owned(), body.to_owned())
            })
            .collect()
    }

    #[test]
    fn the_request_is_one_of_all_texts() {
        let wire = submission(&["a", "b"], Pooling::Cls).unwrap();
        assert_eq!(wire, r#"{"requests":[{"text":["a","b"],"pooling":"cls"}]}"#);
        assert_eq!(poll("768f15b7-4fd6").unwrap(), r#"{"request_id":"768f15b7-4fd6"}"#);
    }

    #[test]
    fn limits_are_checked_before_the_call() {
        assert!(matches!(submission(&[], Pooling::Cls), Err(AiError::Invalid { field: "texts", .. })));
        assert!(matches!(submission(&["a", ""], Pooling::Cls), Err(AiError::Invalid { field: "texts", .. })));
        assert!(matches!(submission(&["a"; 101], Pooling::Cls), Err(AiError::Limit { value: 101, .. })));
        assert!(matches!(poll(""), Err(AiError::Invalid { field: "request_id", .. })));
        let around = submission(&["x"], Pooling::Cls).unwrap().len() - 1;
        let text = "x".repeat(BATCH_BYTES - around + 1);
        assert!(submission(&[&text[1..]], Pooling::Cls).is_ok());
        let error = submission(&[&text], Pooling::Cls).unwrap_err();
        assert_eq!(error.to_string(), "bytes of a batch: 9990001 is above the allowed 9990000");
    }

    #[test]
    fn answers_to_texts_handed_in() {
        for (expected, body) in transcript("ai-batch-submit.txt") {
            let found = match queued(&body, None) {
                Ok(id) => id,
                Err(AiError::Platform { code, .. }) => format!("error {}", code.unwrap_or_default()),
                Err(error) => {
                    assert!(matches!(error, AiError::Malformed { what: "batch", .. }), "{body}: {error}");
                    "malformed".to_owned()
                }
            };
            assert_eq!(found, expected, "{body}");
        }
    }

    #[test]
    fn answers_to_polls() {
        for (expected, body) in transcript("ai-batch-poll.txt") {
            let reply: Value = serde_json::from_str(&body).unwrap();
            let state = match reply.pointer("/responses/0") {
                Some(response) => failed(&response.to_string(), None),
                None => unfinished(&body, None),
            };
            let found = match state {
                Ok(state) => format!("{state:?}").to_lowercase(),
                Err(AiError::Platform { code, .. }) => format!("error {}", code.unwrap_or_default()),
                Err(error) => {
                    assert!(matches!(error, AiError::Malformed { what: "batch", .. }), "{body}: {error}");
                    "malformed".to_owned()
                }
            };
            assert_eq!(found, expected, "{body}");
        }
    }

    #[test]
    fn an_id_that_is_not_known_is_lost() {
        let reply = |status, body: &str| is_unknown(&AiError::from_reply(status, body, None));
        let body = r#"{"internalCode":5504,"description":"Request not found in queue","name":"X"}"#;
        assert!(
            reply(404, body) && reply(500, body) && reply(400, "AiError: 5504: Request not found in queue")
        );
        assert!(reply(404, "nothing here") && reply(410, "gone"));
        assert!(!reply(404, r#"{"internalCode":3042,"description":"Invalid model id"}"#));
        assert!(!reply(400, "bad") && !reply(503, "down"));
        // And is not asked for again and again.
        assert_eq!(AiError::from_reply(500, body, None).retry_class(), RetryClass::Never);
    }
}
