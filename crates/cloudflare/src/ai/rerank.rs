//! Reranking: how well each of several texts answers a query.

use serde::Serialize;
use serde_json::Value;

use super::error::{AiError, error_in_json, shorten};

/// One text's place in the ranking.
#[derive(Debug, Clone, Copy, PartialEq, Serialize)]
pub struct Ranked {
    /// Index of the text in the call's `contexts`.
    pub index: usize,
    /// Its score. Higher is better; whether it lies in 0..1 or is a logit is not documented, so compare scores of
    /// one call only.
    pub score: f32,
}

/// The JSON of a request.
pub(super) fn to_wire(query: &str, contexts: &[&str], top_k: usize) -> Result<String, AiError> {
    #[derive(Serialize)]
    struct Context<'a> {
        text: &'a str,
    }
    #[derive(Serialize)]
    struct Wire<'a> {
        query: &'a str,
        contexts: Vec<Context<'a>>,
        top_k: usize,
    }
    let invalid = |field, detail: String| Err(AiError::Invalid { field, detail });
    if query.is_empty() {
        return invalid("query", "must not be empty".into());
    }
    if let Some(index) = contexts.iter().position(|text| text.is_empty()) {
        return invalid("contexts", format!("text {index} is empty"));
    }
    if top_k == 0 {
        return invalid("top_k", "must be at least 1".into());
    }
    let contexts: Vec<_> = contexts.iter().map(|text| Context { text }).collect();
    let top_k = top_k.min(contexts.len());
    serde_json::to_string(&Wire { query, contexts, top_k })
        .map_err(|error| AiError::Invalid { field: "contexts", detail: error.to_string() })
}

/// Reads the reply `{response: [{id, score}]}`, best first.
pub(super) fn from_wire(
    body: &str,
    contexts: usize,
    top_k: usize,
    request_id: Option<String>,
) -> Result<Vec<Ranked>, AiError> {
    let malformed =
        |detail: String| AiError::Malformed { what: "ranking", detail, request_id: request_id.clone() };
    let value: Value =
        serde_json::from_str(body).map_err(|error| malformed(format!("{error} in {}", shorten(body))))?;
    if let Some((code, message)) = error_in_json(&value) {
        return Err(AiError::Platform { code, status: 200, message, request_id });
    }
    let entries = value
        .get("response")
        .and_then(Value::as_array)
        .ok_or_else(|| malformed(format!("no `response` in {}", shorten(body))))?;
    let mut seen = vec![false; contexts];
    let mut ranking = Vec::with_capacity(entries.len());
    for entry in entries {
        let index = entry.get("id").and_then(Value::as_u64).map(|id| id as usize);
        let score = entry.get("score").and_then(Value::as_f64).map(|score| score as f32);
        let (Some(index), Some(score)) = (index, score.filter(|score| score.is_finite())) else {
            return Err(malformed(format!(
                "an entry without `id` and `score`: {}",
                shorten(&entry.to_string())
            )));
        };
        match seen.get_mut(index) {
            None => return Err(malformed(format!("id {index} for {contexts} texts"))),
            Some(seen) if *seen => return Err(malformed(format!("id {index} twice"))),
            Some(seen) => *seen = true,
        }
        ranking.push(Ranked { index, score });
    }
    ranking.sort_by(|a, b| b.score.total_cmp(&a.score));
    ranking.truncate(top_k);
    Ok(ranking)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_request_names_query_contexts_and_top_k() {
        let wire = to_wire("q", &["a", "b"], 9).unwrap();
        assert_eq!(wire, r#"{"query":"q","contexts":[{"text":"a"},{"text":"b"}],"top_k":2}"#);
    }

    #[test]
    fn empty_inputs_are_refused() {
        assert!(to_wire("", &["a"], 1).is_err());
        assert!(to_wire("q", &["a", ""], 1).is_err());
        assert!(to_wire("q", &["a"], 0).is_err());
    }

    #[test]
    fn the_best_come_first() {
        let body = r#"{"response":[{"id":0,"score":-2.5},{"id":2,"score":3},{"id":1,"score":0.1}]}"#;
        let ranking = from_wire(body, 3, 2, None).unwrap();
        assert_eq!(ranking, [Ranked { index: 2, score: 3.0 }, Ranked { index: 1, score: 0.1 }]);
    }

    #[test]
    fn rankings_that_cannot_be_right_are_refused() {
        for body in [
            r#"{"response":[{"id":2,"score":1}]}"#,
            r#"{"response":[{"id":0,"score":1},{"id":0,"score":1}]}"#,
            r#"{"response":[{"id":0}]}"#,
            r#"{"response":[{"id":-1,"score":1}]}"#,
            r#"{"response":"text"}"#,
            r#"{"data":[]}"#,
            "no json",
        ] {
            let error = from_wire(body, 2, 2, None).unwrap_err();
            assert!(matches!(error, AiError::Malformed { what: "ranking", .. }), "{body}: {error}");
        }
        let error = from_wire(r#"{"error":"3040: full"}"#, 2, 2, None).unwrap_err();
        assert_eq!(error.code(), Some(3040));
    }
}
