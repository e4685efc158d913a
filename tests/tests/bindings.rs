//! The clients through the genuine binding classes in workerd, against the twin; and the ports' contract against D1, R2
//! and Vectorize there.

use anyhow::{Context, Result, ensure};
use ragflare_tests::{Case, Client, run};
use serde_json::{Value, json};
use std::process::ExitCode;
use xtask::{Stack, StackOptions};

const BGE: &str = "@cf/baai/bge-small-en-v1.5";
const LLAMA: &str = "@cf/meta/llama-3.3-70b-instruct-fp8-fast";

struct World {
    stack: Stack,
    client: Client,
    twin: Client,
}

fn main() -> ExitCode {
    let start = || {
        let mut options = StackOptions::new("target/tests/bindings").workers(["tests/bindings-worker"]);
        options.fresh = true;
        "/vectorize/describe".clone_into(&mut options.health);
        let stack = Stack::start(&options)?;
        let (client, twin) = (Client::new(&stack.url), Client::new(&stack.twin_url));
        Ok(World { stack, client, twin })
    };
    let cases: &[Case<World>] = &[
        ("the ports' contract holds in the runtime", the_contract_holds),
        ("embeddings come with their pooling", embeddings),
        ("the reranker ranks", rerank),
        ("generation, whole and streamed", generation),
        ("a model that is not installed is 5007", not_installed),
        ("vectors are written, found and deleted", vectors),
        ("limits are named before anything is sent", limits),
        ("3040 is retried, 3036 is not", retries),
        ("a cut stream is reported as truncated", truncation),
    ];
    run(start, cases)
}

impl World {
    fn ok(&self, route: &str, body: &Value) -> Result<Value> {
        let reply = self.client.post(route, body)?.expect(200)?;
        ensure!(reply["error"].is_null(), "{route}: {reply}");
        Ok(reply["ok"].clone())
    }

    fn error(&self, route: &str, body: &Value) -> Result<Value> {
        let reply = self.client.post(route, body)?.expect(200)?;
        ensure!(reply["error"].is_object(), "{route} worked: {reply}");
        Ok(reply)
    }

    fn with_fault<T>(&self, fault: &Value, work: impl FnOnce() -> Result<T>) -> Result<T> {
        self.twin
            .send(
                "PUT",
                "/control/faults",
                &[("content-type", "application/json")],
                json!([fault]).to_string().as_bytes(),
            )?
            .expect(200)?;
        let outcome = work();
        self.twin.delete("/control/faults")?;
        outcome
    }
}

fn the_contract_holds(world: &World) -> Result<()> {
    let cases = world.client.post("/contract", &json!({}))?.expect(200)?;
    let cases = cases.as_array().context("no cases")?;
    ensure!(cases.len() >= 22, "{} cases", cases.len());
    let faults: Vec<_> = cases.iter().filter(|case| !case["fault"].is_null()).collect();
    ensure!(faults.is_empty(), "{faults:#?}");
    let _ = &world.stack;
    Ok(())
}

fn embeddings(world: &World) -> Result<()> {
    let embed = |pooling: &str| {
        world.ok("/ai/embed", &json!({"model": BGE, "texts": ["one fish", "two"], "pooling": pooling}))
    };
    let (cls, mean) = (embed("cls")?, embed("mean")?);
    ensure!(cls["dimensions"] == 384 && cls["rows"].as_array().map(Vec::len) == Some(2));
    ensure!(cls["rows"] != mean["rows"], "the poolings are not compatible");
    let many: Vec<String> = (0..250).map(|number| format!("text {number}")).collect();
    let all = world.ok("/ai/embed-all", &json!({"model": BGE, "texts": many, "pooling": "cls"}))?;
    ensure!(all["rows"].as_array().map(Vec::len) == Some(250));
    Ok(())
}

fn rerank(world: &World) -> Result<()> {
    let contexts = ["Bread is baked.", "Paris is the capital of France.", "Wolves hunt."];
    let body = json!({"model": "@cf/baai/bge-reranker-base", "query": "capital of France",
        "contexts": contexts, "top_k": 3});
    let ranked = world.ok("/ai/rerank", &body)?;
    ensure!(ranked[0]["index"] == 1 && ranked.as_array().map(Vec::len) == Some(3), "{ranked}");
    Ok(())
}

fn generation(world: &World) -> Result<()> {
    let request =
        json!({"messages": [{"role": "user", "content": "Say hello."}], "max_tokens": 12, "temperature": 0});
    let whole = world.ok("/ai/generate", &json!({"model": LLAMA, "request": request}))?;
    ensure!(whole["text"].as_str().is_some_and(|text| !text.is_empty()), "{whole}");
    ensure!(whole["usage"]["completion_tokens"].as_u64().is_some_and(|used| used <= 12), "{whole}");
    let streamed = world.ok("/ai/stream", &json!({"model": LLAMA, "request": request}))?;
    let events = streamed["events"].as_array().context("no events")?;
    let text: String = events
        .iter()
        .filter(|event| event["type"] == "delta")
        .filter_map(|event| event["value"].as_str())
        .collect();
    ensure!(whole["text"] == text, "{whole} {text}");
    let last = events.last().context("no events")?;
    ensure!(last["type"] == "done" && last["value"]["truncated"] == false, "{last}");
    ensure!(events.iter().any(|event| event["type"] == "usage"));
    Ok(())
}

fn not_installed(world: &World) -> Result<()> {
    let body = json!({"model": "@cf/baai/bge-large-en-v1.5", "texts": ["x"], "pooling": "cls"});
    let failed = world.error("/ai/embed", &body)?;
    ensure!(failed["error"]["code"] == 5007 && failed["retry"] == "never", "{failed}");
    Ok(())
}

fn vectors(world: &World) -> Result<()> {
    let values = |one: usize| (0..384).map(|index| f32::from(u8::from(index == one))).collect::<Vec<_>>();
    let records = json!([
        {"id": "v1", "values": values(1), "namespace": "n", "metadata": {"lang": "en"}},
        {"id": "v2", "values": values(2), "namespace": "n", "metadata": {"lang": "de"}},
        {"id": "v3", "values": values(1), "namespace": "other"}
    ]);
    let written = world.ok("/vectorize/upsert", &json!({"records": records}))?;
    ensure!(written.to_string().contains("utation"), "{written}");
    let hidden = world.ok("/vectorize/get-by-ids", &json!({"ids": ["v1"]}))?;
    ensure!(hidden == json!([]), "writes become visible later: {hidden}");
    world.twin.post("/control/flush", &json!({}))?.expect(200)?;
    let query =
        |options: Value| world.ok("/vectorize/query", &json!({"vector": values(1), "options": options}));
    let found = query(json!({"namespace": "n", "top_k": 5}))?;
    ensure!(found[0]["id"] == "v1" && found.as_array().map(Vec::len) == Some(2), "{found}");
    let found = query(json!({"namespace": "n", "filter": {"lang": "de"}}))?;
    ensure!(found[0]["id"] == "v2" && found.as_array().map(Vec::len) == Some(1), "{found}");
    let near = world
        .ok("/vectorize/query-by-id", &json!({"id": "v3", "options": {"namespace": "n", "top_k": 1}}))?;
    ensure!(near[0]["id"] == "v1", "{near}");
    world.ok("/vectorize/delete-by-ids", &json!({"ids": ["v1", "v3", "never"]}))?;
    world.twin.post("/control/flush", &json!({}))?.expect(200)?;
    let left = world.ok("/vectorize/get-by-ids", &json!({"ids": ["v1", "v2", "v3"]}))?;
    ensure!(left[0]["id"] == "v2" && left.as_array().map(Vec::len) == Some(1), "{left}");
    let state = world.ok("/vectorize/describe", &json!({}))?;
    ensure!(state["dimensions"] == 384, "{state}");
    Ok(())
}

fn limits(world: &World) -> Result<()> {
    let long = "i".repeat(65);
    let failed = world.error("/vectorize/upsert", &json!({"records": [{"id": long, "values": [1.0]}]}))?;
    ensure!(
        failed["ledger"]["vectorize_calls"] == 0
            && failed["text"].as_str().is_some_and(|text| text.contains("64")),
        "{failed}"
    );
    let failed = world.error("/vectorize/query", &json!({"vector": [1.0], "options": {"top_k": 101}}))?;
    ensure!(failed["ledger"]["vectorize_calls"] == 0, "{failed}");
    let texts: Vec<&str> = std::iter::repeat_n("x", 101).collect();
    let failed = world.error("/ai/embed", &json!({"model": BGE, "texts": texts, "pooling": "cls"}))?;
    ensure!(failed["ledger"]["ai_calls"] == 0, "{failed}");
    Ok(())
}

fn retries(world: &World) -> Result<()> {
    let body = json!({"model": BGE, "texts": ["retry me"], "pooling": "cls", "retry": {"attempts": 4, "base_ms": 5}});
    let fault = |code: u32| json!({"match": {"service": "ai", "op": "embed"}, "times": 2, "action": {"error": {"code": code}}});
    world.with_fault(&fault(3040), || {
        let reply = world.client.post("/ai/embed", &body)?.expect(200)?;
        ensure!(reply["error"].is_null() && reply["ledger"]["ai_calls"] == 3, "{reply}");
        Ok(())
    })?;
    world.with_fault(&fault(3036), || {
        let failed = world.error("/ai/embed", &body)?;
        ensure!(failed["ledger"]["ai_calls"] == 1 && failed["retry"] == "after_midnight_utc", "{failed}");
        Ok(())
    })
}

fn truncation(world: &World) -> Result<()> {
    let fault =
        json!({"match": {"service": "ai", "op": "chat"}, "times": 1, "action": {"cut_after_chunks": 3}});
    let request = json!({"messages": [{"role": "user", "content": "Count to fifty."}], "max_tokens": 40});
    world.with_fault(&fault, || {
        let streamed = world.ok("/ai/stream", &json!({"model": LLAMA, "request": request}))?;
        let last = streamed["events"].as_array().and_then(|events| events.last()).context("no events")?;
        ensure!(last["value"]["truncated"] == true, "{streamed}");
        Ok(())
    })
}
