//! What answers are made with besides the first model: answers given before, AI Gateway, another service, no model at all.

use anyhow::{Context, Result, ensure};
use ragflare_tests::{Case, Client, run};
use serde_json::{Value, json};
use std::net::TcpListener;
use std::process::ExitCode;
use std::sync::{Mutex, PoisonError};
use xtask::{Stack, StackOptions};

const GUIDE: &str = include_str!("../../fixtures/lighthouse.md");
const EXTERNAL: &str = "a-model-of-ones-own";
const QUESTION: &str = "How many litres of oil does the tank of the lamp hold?";

struct World {
    _stack: Stack,
    admin: Client,
    twin: Client,
    /// What the twin is told and counts concerns all who ask it: one at a time.
    turn: Mutex<()>,
}

impl World {
    fn start() -> Result<Self> {
        // The workers are told where the external service is before the twin, which plays it, is there.
        let twin = TcpListener::bind("127.0.0.1:0")?.local_addr()?;
        let settings = json!({
            "search": {"rerank_model": "ms-marco-MiniLM-L-12-v2", "rerank_timeout_ms": 60_000},
            "answer": {
                // The most likely answer each time: a sampled one may run into its limit now and then, and such a one is not kept.
                "temperature": 0.0,
                "cache_seconds": 3600,
                "gateway": {"id": "front", "cache_ttl": 600, "collect_log": true},
                "external": {"url": format!("http://{twin}/v1"), "model": EXTERNAL, "window": 2048},
                "timeout_ms": 120_000,
            },
        });
        let mut options = StackOptions { fresh: true, ..StackOptions::new("target/tests/answers") };
        options.twin_args = vec!["--listen".into(), twin.to_string()];
        let stack = Stack::start(&options.var("SETTINGS", &settings.to_string()))?;
        let admin = Client::new(&stack.url).with_key(&stack.admin_key);
        let twin = Client::new(&stack.twin_url);
        Ok(Self { _stack: stack, admin, twin, turn: Mutex::default() })
    }

    /// A tenant whose one document is the guide, found by both legs.
    fn tenant(&self, name: &str) -> Result<Client> {
        let client = self.admin.tenant(name)?;
        client.ingest("lighthouse.md", GUIDE)?;
        client.wait_for("lighthouse.md", |document| document["status"] == "indexed")?;
        Ok(client)
    }

    /// Calls of chat models since the last reset, out of the gateway's cache or not.
    fn chats(&self) -> Result<u64> {
        let stats = self.twin.get("/control/stats")?.expect(200)?;
        let models = stats["ai"]["chat"].as_object().cloned().unwrap_or_default();
        let calls = models.values().filter_map(Value::as_object).flat_map(|by_status| by_status.values());
        Ok(calls.filter_map(Value::as_u64).sum::<u64>() + stats["gateway_hits"].as_u64().unwrap_or(0))
    }

    fn faults(&self, rules: &Value) -> Result<()> {
        self.twin.send("PUT", "/control/faults", &[], rules.to_string().as_bytes())?.expect(200)?;
        Ok(())
    }
}

fn main() -> ExitCode {
    let cases: &[Case<World>] = &[
        ("the same question is answered from what is kept", the_same_question),
        ("a changed document is never answered from what was kept", a_changed_document),
        ("AI Gateway keeps answers, logs them, and takes feedback", ai_gateway),
        ("another service answers where Workers AI does not", another_service),
        ("without any model, passages are quoted", without_any_model),
        ("a conversation goes to where its beginning is remembered", a_conversation),
    ];
    run(World::start, cases)
}

fn ask(client: &Client, question: &str) -> Result<Value> {
    let messages = json!([{"role": "user", "content": question}]);
    client.post("/v1/chat", &json!({"messages": messages, "stream": false, "max_tokens": 120}))?.expect(200)
}

fn is_kept(answer: &Value) -> bool {
    answer["done"]["cached"] == true
}

fn expect_kept(client: &Client) -> Result<()> {
    let answer = ask(client, QUESTION)?;
    ensure!(is_kept(&answer), "made anew: {answer}");
    Ok(())
}

fn the_same_question(world: &World) -> Result<()> {
    let _turn = world.turn.lock().unwrap_or_else(PoisonError::into_inner);
    let (client, other) = (world.tenant("kept")?, world.tenant("kept-too")?);
    world.twin.send("POST", "/control/stats/reset", &[], b"")?;
    let first = ask(&client, QUESTION)?;
    ensure!(!is_kept(&first) && first["usage"]["total_tokens"].as_u64() > Some(0), "{first}");
    ensure!(world.chats()? == 1, "{}", world.chats()?);
    let again = ask(&client, QUESTION)?;
    ensure!(is_kept(&again) && world.chats()? == 1, "{again}");
    for part in ["text", "citations", "sources", "query"] {
        ensure!(again[part] == first[part], "{part}: {again} {first}");
    }
    ensure!(again["usage"]["total_tokens"] == 0 && again["usage"]["neurons"] == 0.0, "{again}");

    let messages = json!([{"role": "user", "content": QUESTION}]);
    let anew = json!({"messages": messages, "stream": false, "max_tokens": 120, "skip_cache": true});
    let anew = client.post("/v1/chat", &anew)?.expect(200)?;
    ensure!(!is_kept(&anew) && anew["done"]["gateway"]["cache"] != "HIT" && world.chats()? == 2, "{anew}");

    // Another protocol, another tenant.
    let body = json!({"messages": [{"role": "user", "content": QUESTION}], "max_tokens": 120});
    let events = client.stream("/v1/chat", &body)?;
    let done = events.last().context("no event")?.json()?;
    ensure!(done["cached"] == true && world.chats()? == 2, "{done}");
    let others = ask(&other, QUESTION)?;
    ensure!(!is_kept(&others) && world.chats()? == 3, "{others}");

    // Not the same: another filter, another room.
    let body =
        json!({"messages": [{"role": "user", "content": QUESTION}], "max_tokens": 121, "stream": false});
    ensure!(!is_kept(&client.post("/v1/chat", &body)?.expect(200)?));

    let nothing = world.admin.tenant("kept-nothing")?;
    let none = ask(&nothing, QUESTION)?;
    ensure!(none["done"]["outcome"] == "not_found" && !is_kept(&none), "{none}");
    let none = ask(&nothing, QUESTION)?;
    ensure!(none["done"]["outcome"] == "not_found" && is_kept(&none), "{none}");
    nothing.ingest("lighthouse.md", GUIDE)?;
    ensure!(ask(&nothing, QUESTION)?["done"]["outcome"] == "answered", "documents came");
    Ok(())
}

fn a_changed_document(world: &World) -> Result<()> {
    let _turn = world.turn.lock().unwrap_or_else(PoisonError::into_inner);
    let client = world.tenant("changing")?;
    ask(&client, QUESTION)?;
    expect_kept(&client)?;
    client.ingest("note.md", "The lighthouse keeper's dog is called Bruno.")?;
    ensure!(!is_kept(&ask(&client, QUESTION)?), "another document");
    client.wait_for("note.md", |document| document["status"] == "indexed")?;
    ensure!(!is_kept(&ask(&client, QUESTION)?), "the vector leg sees it, too");
    expect_kept(&client)?;
    client.patch("/v1/documents/note.md", &json!({"title": "Dogs"}))?.expect(202)?;
    client.wait("note.md")?;
    client.wait_for("note.md", |document| document["status"] == "indexed")?;
    ensure!(!is_kept(&ask(&client, QUESTION)?), "another title");
    expect_kept(&client)?;
    client.delete("/v1/documents/lighthouse.md")?.expect(204)?;
    let gone = ask(&client, QUESTION)?;
    ensure!(!is_kept(&gone) && !gone.to_string().contains("lighthouse.md"), "{gone}");
    Ok(())
}

fn ai_gateway(world: &World) -> Result<()> {
    let _turn = world.turn.lock().unwrap_or_else(PoisonError::into_inner);
    let (client, other) = (world.tenant("logged")?, world.tenant("logged-too")?);
    let first = ask(&client, QUESTION)?;
    let gateway = &first["done"]["gateway"];
    ensure!(gateway["cache"] == "MISS", "{first}");
    let log = gateway["log_id"].as_str().context("no log id")?.to_owned();
    // The answer is kept no longer, but the prompt stays as it was.
    client.patch("/v1/documents/lighthouse.md", &json!({"metadata": {"shelf": 3}}))?.expect(202)?;
    client.wait("lighthouse.md")?;
    let again = ask(&client, QUESTION)?;
    ensure!(!is_kept(&again) && again["done"]["gateway"]["cache"] == "HIT", "{again}");
    ensure!(again["text"] == first["text"], "{again} {first}");
    let others = ask(&other, QUESTION)?;
    ensure!(others["done"]["gateway"]["cache"] == "MISS", "another tenant's is never taken: {others}");

    let logged = || -> Result<Value> {
        let logs = world.twin.get("/control/gateway-logs")?.expect(200)?;
        let logs = logs["logs"].as_array().or(logs.as_array()).cloned().unwrap_or_default();
        logs.into_iter().find(|entry| entry["id"] == log.as_str()).context("not logged")
    };
    ensure!(logged()?["metadata"] == json!({"tenant": "logged"}), "{}", logged()?);
    let feedback = json!({"log_id": log, "feedback": -1, "score": 20, "metadata": {"why": "too short"}});
    ensure!(other.post("/v1/feedback", &feedback)?.error(404)? == "not_found", "another tenant's log");
    ensure!(logged()?["feedback"].is_null(), "{}", logged()?);
    ensure!(client.post("/v1/feedback", &feedback)?.status == 204);
    let entry = logged()?;
    ensure!(entry["feedback"] == -1 && entry["score"].as_f64() == Some(20.0), "{entry}");
    ensure!(entry["metadata"] == json!({"tenant": "logged", "why": "too short"}), "{entry}");
    for wrong in [
        json!({"log_id": "../x", "feedback": 1}),
        json!({"log_id": log, "feedback": 2}),
        json!({"log_id": log, "score": 101}),
        json!({"log_id": log}),
        json!({"log_id": log, "feedback": 1, "metadata": {"a": {}}}),
    ] {
        client.post("/v1/feedback", &wrong)?.error(400)?;
    }
    ensure!(client.post("/v1/feedback", &json!({"log_id": "unknown", "feedback": 1}))?.status == 404);
    Ok(())
}

fn another_service(world: &World) -> Result<()> {
    let _turn = world.turn.lock().unwrap_or_else(PoisonError::into_inner);
    let client = world.tenant("elsewhere")?;
    world
        .faults(&json!([{"match": {"service": "ai", "op": "chat"}, "action": {"error": {"code": 3036}}}]))?;
    let answer = ask(&client, QUESTION)?;
    let done = &answer["done"];
    ensure!(done["model"] == EXTERNAL && done["outcome"] == "answered", "{answer}");
    ensure!(done["degraded"] == json!(["model", "fallback_model"]), "{answer}");
    ensure!(answer["usage"]["completion_tokens"].as_u64() > Some(0), "{answer}");
    let body = json!({"messages": [{"role": "user", "content": QUESTION}], "max_tokens": 120});
    let events = client.stream("/v1/chat", &body)?;
    let words = events.iter().filter(|event| event.name == "delta").count();
    ensure!(words > 3, "it streams: {words}");
    ensure!(!is_kept(&ask(&client, QUESTION)?), "what is degraded is not kept");
    world.faults(&json!([]))
}

fn without_any_model(world: &World) -> Result<()> {
    let _turn = world.turn.lock().unwrap_or_else(PoisonError::into_inner);
    let client = world.tenant("quoted")?;
    world.faults(&json!([
        {"match": {"service": "ai", "op": "chat"}, "action": {"error": {"code": 3040}}},
        {"match": {"service": "external"}, "action": {"error": {"code": 500}}},
    ]))?;
    let answer = ask(&client, QUESTION)?;
    let done = &answer["done"];
    ensure!(done["outcome"] == "quoted" && done["model"].is_null(), "{answer}");
    ensure!(done["degraded"] == json!(["model", "fallback_model", "external_model"]), "{answer}");
    let text = answer["text"].as_str().context("no text")?;
    for citation in answer["citations"].as_array().context("no citations")? {
        let quote = citation["sentence"]["text"].as_str().context("no sentence")?;
        ensure!(GUIDE.contains(quote), "{quote}");
        ensure!(text.contains(citation["marker"].as_str().context("no marker")?), "{answer}");
    }
    ensure!(done["cited"].as_array().is_some_and(|cited| !cited.is_empty()), "{answer}");
    world.faults(&json!([]))
}

fn a_conversation(world: &World) -> Result<()> {
    let _turn = world.turn.lock().unwrap_or_else(PoisonError::into_inner);
    let client = world.tenant("remembered")?;
    // The sources change with each question; what stands before them does not.
    let house =
        "Answer in one short sentence, and name the part of the building that it is about. ".repeat(20);
    let ask = |said: &[(&str, &str)]| {
        let mut messages = vec![json!({"role": "system", "content": house})];
        messages.extend(said.iter().map(|(role, content)| json!({"role": role, "content": content})));
        client
            .post("/v1/chat", &json!({"messages": messages, "stream": false, "max_tokens": 30}))?
            .expect(200)
    };
    let first = ask(&[("user", QUESTION)])?;
    ensure!(first["usage"]["cached_tokens"] == 0, "{first}");
    let text = first["text"].as_str().context("no text")?;
    let next = "With what is the glass of the lens wiped every morning?";
    let second = ask(&[("user", QUESTION), ("assistant", text), ("user", next)])?;
    let cached = second["usage"]["cached_tokens"].as_u64().context("not said")?;
    ensure!(cached > 200, "the instructions were read before: {}", second["usage"]);
    Ok(())
}
