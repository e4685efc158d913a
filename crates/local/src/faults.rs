//! Faults on demand: errors, delays, cut streams, hostile answers.
//!
//! Rules are set through `PUT /control/faults` and tried in order on every call. Delays add up; the first rule with any
//! other action decides.

use std::sync::{Mutex, PoisonError};
use std::time::Duration;

use rand::rngs::StdRng;
use rand::{RngExt, SeedableRng};
use serde::{Deserialize, Serialize};

use crate::ai::wire::AiError;
use crate::vectorize::limits;
use crate::vectorize::wire::WireError;

/// Which of the two services a call goes to.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Service {
    /// Workers AI: operations `embed`, `rerank`, `chat`, and `run` for a model that is not installed.
    Ai,
    /// Vectorize: operations `query`, `insert`, `upsert`, `getByIds`, `deleteByIds`, `info`.
    Vectorize,
}

/// A call, as rules see it.
#[derive(Debug, Clone, Copy)]
pub struct Call<'c> {
    /// The service.
    pub service: Service,
    /// The operation.
    pub op: &'c str,
    /// The AI model asked for.
    pub model: Option<&'c str>,
}

/// When a rule applies and what it does.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Rule {
    /// Which calls.
    #[serde(rename = "match")]
    pub matching: Matching,
    /// The share of calls, 0 to 1; all when absent.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub probability: Option<f64>,
    /// How many calls are still to be hit; all when absent.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub times: Option<u64>,
    /// Makes `probability` and the cuts of `answer` repeatable.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub seed: Option<u64>,
    /// What happens.
    pub action: Action,
}

/// Which calls a rule is about.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Matching {
    /// The service.
    pub service: Service,
    /// The operation; any when absent.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub op: Option<String>,
    /// The AI model; any when absent.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub model: Option<String>,
}

/// What a rule does to a call.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case", deny_unknown_fields)]
pub enum Action {
    /// Answer with an error.
    Error {
        /// Workers AI's or Vectorize's code.
        code: u32,
        /// HTTP status; the usual one for the code when absent.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        status: Option<u16>,
        /// The text; the usual one when absent.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        description: Option<String>,
    },
    /// Wait this many milliseconds before answering.
    DelayMs(u64),
    /// End a chat stream after this many pieces of text, without usage and `[DONE]`.
    CutAfterChunks(usize),
    /// Break the connection instead of answering.
    Disconnect(bool),
    /// A chat answers exactly this; a stream is cut at random places, in the middle of lines and characters too.
    Answer(String),
}

/// What is to be done to one call.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct Plan {
    delay: Duration,
    error: Option<(u32, Option<u16>, Option<String>)>,
    /// See [`Action::CutAfterChunks`].
    pub cut_after_chunks: Option<usize>,
    /// See [`Action::Disconnect`].
    pub disconnect: bool,
    /// See [`Action::Answer`], with a seed for the cuts.
    pub answer: Option<(String, u64)>,
}

impl Plan {
    /// Waits as long as the plan says.
    pub async fn wait(&self) {
        if !self.delay.is_zero() {
            tokio::time::sleep(self.delay).await;
        }
    }

    /// The planned error in Workers AI's shape.
    pub fn ai_error(&self) -> Option<AiError> {
        let (code, status, description) = self.error.as_ref()?;
        let mut error = AiError::of_code(*code);
        if let Some(status) = status {
            error.status = *status;
        }
        if let Some(description) = description {
            error.description.clone_from(description);
        }
        Some(error)
    }

    /// The planned error in Vectorize's shape.
    pub fn vectorize_error(&self) -> Option<WireError> {
        let (code, status, description) = self.error.as_ref()?;
        let too_many = *code == limits::CODE_TOO_MANY_REQUESTS;
        let text = if too_many { "Too Many Requests" } else { "injected fault" };
        Some(WireError {
            status: status.unwrap_or(if too_many { 429 } else { 400 }),
            code: *code,
            error: description.clone().unwrap_or_else(|| text.to_owned()),
        })
    }
}

#[derive(Debug)]
struct Armed {
    rule: Rule,
    random: StdRng,
}

/// The rules in force.
#[derive(Debug, Default)]
pub struct Faults {
    rules: Mutex<Vec<Armed>>,
}

impl Faults {
    /// Replaces all rules.
    pub fn set(&self, rules: Vec<Rule>) {
        let arm = |rule: Rule| {
            let seed = rule.seed.unwrap_or_else(|| rand::rng().random());
            Armed { rule, random: StdRng::seed_from_u64(seed) }
        };
        *self.lock() = rules.into_iter().map(arm).collect();
    }

    /// The rules, with the `times` that are left.
    pub fn get(&self) -> Vec<Rule> {
        self.lock().iter().map(|a| a.rule.clone()).collect()
    }

    /// What is to be done to a call; counts it.
    pub fn plan(&self, call: &Call<'_>) -> Plan {
        let mut plan = Plan::default();
        for armed in self.lock().iter_mut() {
            let Rule { matching, probability, times, action, .. } = &mut armed.rule;
            let matches = matching.service == call.service
                && matching.op.as_deref().is_none_or(|op| op == call.op)
                && matching.model.as_deref().is_none_or(|model| Some(model) == call.model);
            if !matches || *times == Some(0) {
                continue;
            }
            if probability.is_some_and(|p| armed.random.random::<f64>() >= p) {
                continue;
            }
            if let Some(left) = times {
                *left -= 1;
            }
            match action {
                Action::DelayMs(ms) => {
                    plan.delay += Duration::from_millis(*ms);
                    continue;
                }
                Action::Error { code, status, description } => {
                    plan.error = Some((*code, *status, description.clone()));
                }
                Action::CutAfterChunks(n) => plan.cut_after_chunks = Some(*n),
                Action::Disconnect(yes) => plan.disconnect = *yes,
                Action::Answer(text) => plan.answer = Some((text.clone(), armed.random.random())),
            }
            break;
        }
        plan
    }

    fn lock(&self) -> std::sync::MutexGuard<'_, Vec<Armed>> {
        self.rules.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    fn faults(rules: serde_json::Value) -> Faults {
        let faults = Faults::default();
        faults.set(serde_json::from_value(rules).unwrap());
        faults
    }

    const QUERY: Call<'_> = Call { service: Service::Vectorize, op: "query", model: None };

    #[test]
    fn times_run_out() {
        let faults = faults(json!([
            {"match": {"service": "vectorize", "op": "query"}, "times": 2, "action": {"error": {"code": 40041}}}
        ]));
        for expected in [Some(429), Some(429), None] {
            assert_eq!(faults.plan(&QUERY).vectorize_error().map(|e| e.status), expected);
        }
        assert_eq!(faults.get()[0].times, Some(0));
    }

    #[test]
    fn a_seed_repeats() {
        let rules = json!([
            {"match": {"service": "vectorize"}, "probability": 0.5, "seed": 3, "action": {"disconnect": true}}
        ]);
        let run = || {
            let faults = faults(rules.clone());
            (0..64).map(|_| faults.plan(&QUERY).disconnect).collect::<Vec<_>>()
        };
        let hits = run().iter().filter(|hit| **hit).count();
        assert_eq!(run(), run());
        assert!((16..48).contains(&hits), "{hits}");
    }

    #[test]
    fn delays_add_up_and_others_decide() {
        let faults = faults(json!([
            {"match": {"service": "ai", "op": "chat", "model": "other"}, "action": {"answer": "never"}},
            {"match": {"service": "ai"}, "action": {"delay_ms": 5}},
            {"match": {"service": "ai"}, "action": {"error": {"code": 3040}}},
            {"match": {"service": "ai"}, "action": {"cut_after_chunks": 1}}
        ]));
        let plan = faults.plan(&Call { service: Service::Ai, op: "chat", model: Some("m") });
        let error = plan.ai_error().unwrap();
        assert_eq!((plan.delay.as_millis(), plan.cut_after_chunks), (5, None));
        assert_eq!((error.status, error.code), (429, 3040));
        assert_eq!(faults.plan(&QUERY), Plan::default());
    }

    #[test]
    fn a_misspelt_rule_is_refused() {
        for rule in [
            json!({"match": {"service": "ai"}, "action": {"explode": 1}}),
            json!({"match": {"service": "ai", "operation": "chat"}, "action": {"delay_ms": 1}}),
            json!({"match": {"service": "ai"}, "propability": 1, "action": {"delay_ms": 1}}),
        ] {
            assert!(serde_json::from_value::<Rule>(rule).is_err());
        }
    }
}
