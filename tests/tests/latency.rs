//! How long a reader waits: for the first event and the first word of an answer, next to the same model asked directly.
//!
//! Asked directly means the twin's own chat service, over HTTP like the product: once with the question alone, as without
//! retrieval, and once with the very prompt that the product sent. Before each ask the model's prompt cache is filled with
//! something else. `RAGFLARE_ASKS` (3) says how many questions are asked each way; the medians are printed, nothing is promised.

mod shared;

use anyhow::{Context, Result, ensure};
use ragflare_tests::{Case, Client, Sse, run};
use serde_json::{Value, json};
use shared::{Twin, number};
use std::process::ExitCode;
use std::time::Duration;
use xtask::{Stack, StackOptions};

const GUIDE: &str = include_str!("../../fixtures/lighthouse.md");
const SUBJECTS: [&str; 10] = [
    "the lamp",
    "the lens",
    "the fog signal",
    "the keeper's log",
    "the clockwork",
    "the stairs",
    "the boat",
    "the oil store",
    "the tower",
    "the watch at night",
];
const MAX_TOKENS: u32 = 8;

struct World {
    /// Ends with the world.
    _stack: Stack,
    client: Client,
    model: Client,
    twin: Twin,
}

impl World {
    fn start() -> Result<Self> {
        let settings = json!({
            "search": {"rerank_model": "ms-marco-MiniLM-L-12-v2", "rerank_timeout_ms": 30_000},
            "answer": {"min_relevance": 0.0},
        });
        let options = StackOptions { fresh: true, ..StackOptions::new("target/tests/latency") };
        let stack = Stack::start(&options.var("SETTINGS", &settings.to_string()))?;
        let client = Client::new(&stack.url).with_key(&stack.admin_key).tenant("latency")?;
        client.ingest("lighthouse.md", GUIDE)?;
        client.wait_for("lighthouse.md", |document| document["status"] == "indexed")?;
        let (model, twin) = (Client::new(&stack.twin_url), Twin::new(&stack.twin_url));
        Ok(Self { _stack: stack, client, model, twin })
    }
}

fn main() -> ExitCode {
    let cases: &[Case<World>] = &[("the wait for the first word", the_wait_for_the_first_word)];
    run(World::start, cases)
}

/// Times of one way of asking.
#[derive(Default)]
struct Times {
    first_event: Vec<Duration>,
    first_word: Vec<Duration>,
    prompt_tokens: Vec<u64>,
}

impl Times {
    fn report(&mut self, what: &str) {
        let millis = |times: &mut Vec<Duration>| {
            times.sort_unstable();
            times.get(times.len() / 2).map_or(f64::NAN, |time| time.as_secs_f64() * 1000.0)
        };
        self.prompt_tokens.sort_unstable();
        let tokens = self.prompt_tokens.get(self.prompt_tokens.len() / 2).copied().unwrap_or(0);
        let (event, word) = (millis(&mut self.first_event), millis(&mut self.first_word));
        let count = self.first_word.len();
        eprintln!(
            "{what}: first event {event:.0} ms, first word {word:.0} ms, prompt {tokens} tokens ({count} asks)"
        );
    }
}

/// Puts something else into the model's prompt cache.
fn forget(world: &World) -> Result<()> {
    let body = json!({"model": "m", "messages": [{"role": "user", "content": "Say x."}], "max_tokens": 1});
    world.model.post("/v1/chat/completions", &body)?.expect(200).map(drop)
}

fn through_the_product(world: &World, question: &str, times: &mut Times) -> Result<()> {
    let body = json!({"messages": [{"role": "user", "content": question}], "max_tokens": MAX_TOKENS});
    let events = world.client.stream("/v1/chat", &body)?;
    let place = |name: &str| events.iter().position(|event| event.name == name);
    let (sources, word) = (place("sources").context("no sources")?, place("delta").context("no words")?);
    ensure!(sources == 0 && word > sources, "{question}: the sources are not first");
    times.first_event.push(events[sources].after);
    times.first_word.push(events[word].after);
    let usage = events.iter().find(|event| event.name == "usage").context("no usage")?.json()?;
    times.prompt_tokens.push(usage["prompt_tokens"].as_u64().unwrap_or(0));
    Ok(())
}

fn directly(world: &World, messages: &Value, times: &mut Times) -> Result<()> {
    let body = json!({
        "model": "m", "messages": messages, "max_tokens": MAX_TOKENS, "temperature": 0.2, "stream": true,
        "stream_options": {"include_usage": true},
    });
    let events = world.model.stream("/v1/chat/completions", &body)?;
    let has_text = |event: &&Sse| {
        event.json().is_ok_and(|chunk| {
            chunk["choices"][0]["delta"]["content"].as_str().is_some_and(|text| !text.is_empty())
        })
    };
    let word = events.iter().find(has_text).context("no words")?;
    times.first_event.push(events[0].after);
    times.first_word.push(word.after);
    let usage = events.iter().rev().find_map(|event| event.json().ok()).context("no usage")?;
    times.prompt_tokens.push(usage["usage"]["prompt_tokens"].as_u64().unwrap_or(0));
    Ok(())
}

fn the_wait_for_the_first_word(world: &World) -> Result<()> {
    let asks: usize = number("RAGFLARE_ASKS", 3)?;
    for (speed, rules) in [
        ("the real model", json!([])),
        (
            "a model that answers at once",
            json!([{"match": {"service": "ai", "op": "chat"}, "action": {"answer": "It is lit [S1]."}},
                   {"match": {"service": "external"}, "action": {"answer": "It is lit [S1]."}}]),
        ),
    ] {
        let mut times: [Times; 3] = Default::default();
        for ask in 0..asks {
            world.twin.faults(&rules)?;
            let question = format!(
                "What has the keeper to know about {}, number {ask}?",
                SUBJECTS[ask % SUBJECTS.len()]
            );
            forget(world)?;
            through_the_product(world, &question, &mut times[0])?;
            let prompts = world.twin.control("GET", "prompts", &Value::Null)?;
            let prompt =
                prompts["prompts"].as_array().and_then(|all| all.last()).context("no prompt")?.clone();
            forget(world)?;
            directly(world, &prompt, &mut times[1])?;
            forget(world)?;
            directly(world, &json!([{"role": "user", "content": question}]), &mut times[2])?;
        }
        for (times, what) in times.iter_mut().zip([
            "through the product",
            "directly, the same prompt",
            "directly, the question alone",
        ]) {
            times.report(&format!("{speed}, {what}"));
        }
    }
    world.twin.faults(&json!([]))
}
