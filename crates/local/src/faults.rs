//! Faults on demand: errors, delays, cut replies and streams, lost acknowledgements, hostile answers.
//!
//! Rules are set through `PUT /control/faults` and tried in order on every call. Delays add up, and where a chat breaks
//! off is noted; the first rule with any other action decides. `GET /control/stats` counts what was done, by service, operation and action.
//!
//! ```json
//! [
//!   {"match": {"service": "ai", "op": "embed"}, "probability": 0.3, "seed": 1, "action": {"error": {"code": 3040}}},
//!   {"match": {"service": "ai", "contains": "BAD"}, "action": {"error": {"code": 5004}}},
//!   {"match": {"service": "vectorize", "op": "upsert"}, "after": 2, "times": 1, "action": {"cut_reply": true}},
//!   {"match": {"service": "ai", "op": "chat"}, "times": 1, "action": {"answer": {"tool_calls": [{"name": "now", "arguments": {}}]}}}
//! ]
//! ```

use std::sync::{Mutex, PoisonError};
use std::time::Duration;

use rand::rngs::StdRng;
use rand::{RngExt, SeedableRng};
use serde::{Deserialize, Serialize};
use serde_json::Value;

use crate::ai::wire::AiError;
use crate::vectorize::limits;
use crate::vectorize::wire::WireError;

/// Which of the services a call goes to.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Service {
    /// Workers AI: operations `embed`, `rerank`, `chat`, `run` for a model that the twin does not know, and `toMarkdown`.
    /// Of the asynchronous batches: `submit`, `collect`, and `batch` for each request inside one, where an
    /// error is that request's own.
    Ai,
    /// Vectorize: operations `query`, `insert`, `upsert`, `getByIds`, `deleteByIds`, `info`.
    Vectorize,
    /// The chat service with `OpenAI`'s interface: operation `chat`. An error's code is any, its status 500 unless the
    /// code is one of Workers AI's.
    External,
}

impl Service {
    /// Its name in rules and statistics.
    pub fn name(self) -> &'static str {
        match self {
            Self::Ai => "ai",
            Self::Vectorize => "vectorize",
            Self::External => "external",
        }
    }
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
    /// The request's body, or the one request of a batch.
    pub body: &'c [u8],
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
    /// How many calls are still let through before the rule begins; none when absent.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub after: Option<u64>,
    /// How many calls are still to be hit; all when absent.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub times: Option<u64>,
    /// Makes `probability` and the cuts of `answer` repeatable. When absent it is chosen by chance, and
    /// `GET /control/faults` tells it.
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
    /// A text that the request's body holds; any when absent. It is looked for in its JSON form.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub contains: Option<String>,
}

/// What a rule does to a call.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case", deny_unknown_fields)]
pub enum Action {
    /// Answer with an error instead of carrying the call out.
    Error(Failure),
    /// Carry the call out, and then answer with an error.
    ErrorAfter(Failure),
    /// Wait this many milliseconds before answering.
    DelayMs(u64),
    /// End a chat stream after this many pieces of text, without usage and `[DONE]`.
    CutAfterChunks(usize),
    /// Break the connection instead of carrying the call out.
    Disconnect(bool),
    /// Carry the call out, and break the connection when half of the reply is sent: a lost acknowledgement.
    CutReply(bool),
    /// Send nothing more of a chat stream after this many pieces of text, and leave the connection open. A whole reply
    /// never comes.
    StallAfterChunks(usize),
    /// A chat answers exactly this; a stream is cut at random places, in the middle of lines and characters too. A JSON
    /// mode is not looked at: models have been seen to miss theirs.
    Answer(Dictated),
    /// Workers AI answers with exactly this JSON, whatever was asked: for models that the twin lacks.
    Reply(Value),
    /// A chat answers as a model that obeys whoever wrote the documents in its prompt, and worse
    /// ([`crate::ai::obedience`]); cut like `answer`.
    Obey(bool),
}

/// What a chat is made to answer: a text, or an object with a text and calls of tools.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
#[serde(from = "Written")]
pub struct Dictated {
    /// The text; empty when only tools are called.
    #[serde(default)]
    pub text: String,
    /// The tools it calls.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub tool_calls: Vec<ToolCall>,
}

/// A call of a tool.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct ToolCall {
    /// The tool.
    pub name: String,
    /// What it is given, an object for every tool that there is.
    pub arguments: Value,
}

#[derive(Deserialize)]
#[serde(untagged)]
enum Written {
    Text(String),
    Whole(Whole),
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Whole {
    #[serde(default)]
    text: String,
    #[serde(default)]
    tool_calls: Vec<ToolCall>,
}

impl From<Written> for Dictated {
    fn from(written: Written) -> Self {
        match written {
            Written::Text(text) => Self { text, tool_calls: Vec::new() },
            Written::Whole(Whole { text, tool_calls }) => Self { text, tool_calls },
        }
    }
}

/// The error to answer with.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Failure {
    /// Workers AI's or Vectorize's code.
    pub code: u32,
    /// HTTP status; the usual one for the code when absent.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub status: Option<u16>,
    /// The text; the usual one when absent.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub description: Option<String>,
}

impl Failure {
    /// In Workers AI's shape.
    pub fn ai(&self) -> AiError {
        let mut error = AiError::of_code(self.code);
        if let Some(status) = self.status {
            error.status = status;
        }
        if let Some(description) = &self.description {
            error.description.clone_from(description);
        }
        error
    }

    /// In Vectorize's shape.
    pub fn vectorize(&self) -> WireError {
        let too_many = self.code == limits::CODE_TOO_MANY_REQUESTS;
        let text = if too_many { "Too Many Requests" } else { "injected fault" };
        WireError {
            status: self.status.unwrap_or(if too_many { 429 } else { 400 }),
            code: self.code,
            error: self.description.clone().unwrap_or_else(|| text.to_owned()),
        }
    }
}

impl Action {
    /// The name it is counted under.
    fn name(&self) -> String {
        match self {
            Self::Error(failure) => format!("error {}", failure.code),
            Self::ErrorAfter(failure) => format!("error_after {}", failure.code),
            Self::DelayMs(_) => "delay_ms".to_owned(),
            Self::CutAfterChunks(_) => "cut_after_chunks".to_owned(),
            Self::StallAfterChunks(_) => "stall_after_chunks".to_owned(),
            Self::Disconnect(_) => "disconnect".to_owned(),
            Self::CutReply(_) => "cut_reply".to_owned(),
            Self::Answer(_) => "answer".to_owned(),
            Self::Reply(_) => "reply".to_owned(),
            Self::Obey(_) => "obey".to_owned(),
        }
    }
}

/// What is to be done to one call.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct Plan {
    /// The names of the rules' actions, in order.
    pub hits: Vec<String>,
    delay: Duration,
    /// See [`Action::Error`].
    pub error: Option<Failure>,
    /// See [`Action::ErrorAfter`].
    pub error_after: Option<Failure>,
    /// See [`Action::CutAfterChunks`].
    pub cut_after_chunks: Option<usize>,
    /// See [`Action::StallAfterChunks`].
    pub stall_after_chunks: Option<usize>,
    /// See [`Action::Disconnect`].
    pub disconnect: bool,
    /// See [`Action::CutReply`].
    pub cut_reply: bool,
    /// See [`Action::Answer`], with a seed for the cuts.
    pub answer: Option<(Dictated, u64)>,
    /// See [`Action::Reply`].
    pub reply: Option<Value>,
    /// See [`Action::Obey`], a seed for the cuts.
    pub obey: Option<u64>,
}

impl Plan {
    /// Waits as long as the plan says.
    pub async fn wait(&self) {
        if !self.delay.is_zero() {
            tokio::time::sleep(self.delay).await;
        }
    }
}

#[derive(Debug)]
struct Armed {
    rule: Rule,
    random: StdRng,
    /// `contains` as it stands in JSON.
    needle: Option<String>,
}

/// The rules in force.
#[derive(Debug, Default)]
pub struct Faults {
    rules: Mutex<Vec<Armed>>,
}

impl Faults {
    /// Replaces all rules.
    pub fn set(&self, rules: Vec<Rule>) {
        let arm = |mut rule: Rule| {
            // 32 bits, which no reader of the JSON rounds.
            let seed = *rule.seed.get_or_insert_with(|| rand::rng().random::<u32>().into());
            let needle = rule.matching.contains.as_ref().map(|text| {
                let json = serde_json::Value::from(text.as_str()).to_string();
                json[1..json.len() - 1].to_owned()
            });
            Armed { rule, random: StdRng::seed_from_u64(seed), needle }
        };
        *self.lock() = rules.into_iter().map(arm).collect();
    }

    /// The rules, with the `after` and `times` that are left.
    pub fn get(&self) -> Vec<Rule> {
        self.lock().iter().map(|a| a.rule.clone()).collect()
    }

    /// What is to be done to a call; counts it.
    pub fn plan(&self, call: &Call<'_>) -> Plan {
        let mut plan = Plan::default();
        for armed in self.lock().iter_mut() {
            let Rule { matching, probability, after, times, action, .. } = &mut armed.rule;
            let holds = |needle: &str| str::from_utf8(call.body).is_ok_and(|body| body.contains(needle));
            let matches = matching.service == call.service
                && matching.op.as_deref().is_none_or(|op| op == call.op)
                && matching.model.as_deref().is_none_or(|model| Some(model) == call.model)
                && armed.needle.as_deref().is_none_or(holds);
            if !matches || *times == Some(0) {
                continue;
            }
            if let Some(left) = after.as_mut().filter(|left| **left > 0) {
                *left -= 1;
                continue;
            }
            if probability.is_some_and(|p| armed.random.random::<f64>() >= p) {
                continue;
            }
            if let Some(left) = times {
                *left -= 1;
            }
            plan.hits.push(action.name());
            match action {
                Action::DelayMs(ms) => {
                    plan.delay += Duration::from_millis(*ms);
                    continue;
                }
                Action::CutAfterChunks(n) => {
                    plan.cut_after_chunks = Some(*n);
                    continue;
                }
                Action::StallAfterChunks(n) => {
                    plan.stall_after_chunks = Some(*n);
                    continue;
                }
                Action::Error(failure) => plan.error = Some(failure.clone()),
                Action::ErrorAfter(failure) => plan.error_after = Some(failure.clone()),
                Action::Disconnect(yes) => plan.disconnect = *yes,
                Action::CutReply(yes) => plan.cut_reply = *yes,
                Action::Answer(said) => plan.answer = Some((said.clone(), armed.random.random())),
                Action::Reply(reply) => plan.reply = Some(reply.clone()),
                Action::Obey(yes) => plan.obey = yes.then(|| armed.random.random()),
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

    fn faults(rules: Value) -> Faults {
        let faults = Faults::default();
        faults.set(serde_json::from_value(rules).unwrap());
        faults
    }

    const QUERY: Call<'_> = Call { service: Service::Vectorize, op: "query", model: None, body: b"" };

    #[test]
    fn times_run_out() {
        let faults = faults(json!([
            {"match": {"service": "vectorize", "op": "query"}, "times": 2, "action": {"error": {"code": 40041}}}
        ]));
        for expected in [Some(429), Some(429), None] {
            assert_eq!(faults.plan(&QUERY).error.map(|e| e.vectorize().status), expected);
        }
        assert_eq!(faults.get()[0].times, Some(0));
    }

    #[test]
    fn a_rule_can_begin_later() {
        let faults = faults(json!([
            {"match": {"service": "vectorize"}, "after": 2, "times": 1, "action": {"cut_reply": true}}
        ]));
        let cuts: Vec<bool> = (0..5).map(|_| faults.plan(&QUERY).cut_reply).collect();
        assert_eq!(cuts, [false, false, true, false, false]);
        assert_eq!((faults.get()[0].after, faults.get()[0].times), (Some(0), Some(0)));
    }

    #[test]
    fn a_rule_can_ask_for_a_text_in_the_body() {
        let faults = faults(json!([
            {"match": {"service": "ai", "contains": "bad \"é\""}, "action": {"error": {"code": 5004}}}
        ]));
        let hit = |body: &Value| {
            let body = body.to_string();
            let call = Call { service: Service::Ai, op: "embed", model: None, body: body.as_bytes() };
            faults.plan(&call).error.map(|e| (e.ai().code, e.ai().status))
        };
        assert_eq!(hit(&json!({"text": ["good", "a bad \"é\" one"]})), Some((5004, 400)));
        assert_eq!(hit(&json!({"text": ["good"]})), None);
    }

    #[test]
    fn a_chosen_seed_is_told() {
        let rule = json!([{"match": {"service": "ai"}, "probability": 0.5, "action": {"disconnect": true}}]);
        let told = faults(rule).get();
        assert!(told[0].seed.is_some());
        let run = |rules: Vec<Rule>| {
            let faults = Faults::default();
            faults.set(rules);
            let call = Call { service: Service::Ai, op: "embed", model: None, body: b"" };
            (0..64).map(|_| faults.plan(&call).disconnect).collect::<Vec<_>>()
        };
        assert_eq!(run(told.clone()), run(told));
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
        let plan = faults.plan(&Call { service: Service::Ai, op: "chat", model: Some("m"), body: b"" });
        assert_eq!(plan.hits, ["delay_ms", "error 3040"]);
        let error = plan.error.as_ref().unwrap().ai();
        assert_eq!((plan.delay.as_millis(), plan.cut_after_chunks), (5, None));
        assert_eq!((error.status, error.code), (429, 3040));
        assert_eq!(faults.plan(&QUERY), Plan::default());
    }

    #[test]
    fn an_answer_is_a_text_or_more_and_can_be_broken_off() {
        let faults = faults(json!([
            {"match": {"service": "external"}, "action": {"cut_after_chunks": 3}},
            {"match": {"service": "external"}, "times": 1, "action": {"answer": "Said."}},
            {"match": {"service": "external"}, "action": {"answer": {"tool_calls": [{"name": "t", "arguments": {"a": 1}}]}}}
        ]));
        let call = Call { service: Service::External, op: "chat", model: Some("m"), body: b"" };
        let (first, second) = (faults.plan(&call), faults.plan(&call));
        assert_eq!((first.cut_after_chunks, first.answer.unwrap().0.text.as_str()), (Some(3), "Said."));
        let said = second.answer.unwrap().0;
        assert_eq!((said.text.as_str(), said.tool_calls[0].name.as_str()), ("", "t"));
        let again: Vec<Rule> = serde_json::from_value(json!(faults.get())).unwrap();
        assert_eq!(again, faults.get());
    }

    #[test]
    fn a_reply_is_any_json() {
        let reply = json!({"text": "Heard.", "segments": [{"start": 0.5, "end": 2, "text": "Heard."}]});
        let faults = faults(json!([
            {"match": {"service": "ai", "op": "run", "model": "w"}, "times": 1, "action": {"reply": reply}}
        ]));
        let call = Call { service: Service::Ai, op: "run", model: Some("w"), body: b"" };
        assert_eq!(faults.plan(&call).reply, Some(reply));
        assert_eq!(faults.plan(&call), Plan::default());
    }

    #[test]
    fn a_misspelt_rule_is_refused() {
        for rule in [
            json!({"match": {"service": "ai"}, "action": {"answer": {"txt": "x"}}}),
            json!({"match": {"service": "ai"}, "action": {"explode": 1}}),
            json!({"match": {"service": "ai", "operation": "chat"}, "action": {"delay_ms": 1}}),
            json!({"match": {"service": "ai"}, "action": {"error_after": {"code": 1, "state": 2}}}),
            json!({"match": {"service": "ai"}, "propability": 1, "action": {"delay_ms": 1}}),
        ] {
            assert!(serde_json::from_value::<Rule>(rule).is_err());
        }
    }
}
