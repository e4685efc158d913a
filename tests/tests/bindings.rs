//! The clients through the genuine binding classes in workerd, against the twin; and the ports' contract against D1, R2
//! and Vectorize there.

use anyhow::{Context, Result, bail, ensure};
use ragflare_tests::{Case, Client, run};
use serde_json::{Value, json};
use std::process::ExitCode;
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::Duration;
use xtask::{Stack, StackOptions};

const BGE: &str = "@cf/baai/bge-small-en-v1.5";
const LLAMA: &str = "@cf/meta/llama-3.3-70b-instruct-fp8-fast";

struct World {
    stack: Stack,
    client: Client,
    twin: Client,
    /// Held by the cases that change how the twin behaves. The others run beside them: faults name what they
    /// are for.
    alone: Mutex<()>,
}

fn main() -> ExitCode {
    let start = || {
        let mut options = StackOptions::new("target/tests/bindings").workers(["tests/bindings-worker"]);
        options.fresh = true;
        "/vectorize/describe".clone_into(&mut options.health);
        let stack = Stack::start(&options)?;
        let (client, twin) = (Client::new(&stack.url), Client::new(&stack.twin_url));
        Ok(World { stack, client, twin, alone: Mutex::new(()) })
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
        ("texts handed in are collected later", batches),
        ("a batch that is lost or refused says so", failed_batches),
        ("40041 is retried", too_many_requests),
        ("a lost acknowledgement is retried, and doubles nothing", lost_acknowledgements),
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

    fn alone(&self) -> MutexGuard<'_, ()> {
        self.alone.lock().unwrap_or_else(PoisonError::into_inner)
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

/// Polls until the batch is done, or is not to be had.
fn collect(world: &World, id: &str) -> Result<Value> {
    let body = json!({"model": BGE, "request_id": id});
    for _ in 0..500 {
        let state = world.ok("/ai/collect", &body)?;
        if state["state"] != "running" {
            return Ok(state);
        }
        std::thread::sleep(Duration::from_millis(10));
    }
    bail!("batch {id} is still running")
}

fn submit(world: &World, texts: &[&str]) -> Result<String> {
    let id = world.ok("/ai/submit", &json!({"model": BGE, "texts": texts, "pooling": "cls"}))?;
    Ok(id.as_str().context("no id")?.to_owned())
}

fn batches(world: &World) -> Result<()> {
    let _alone = world.alone();
    world.twin.send("PUT", "/control/batch-delay", &[], br#"{"ms":60000}"#)?.expect(200)?;
    let id = submit(world, &["one fish", "two"])?;
    let state = world.ok("/ai/collect", &json!({"model": BGE, "request_id": id}))?;
    ensure!(state == json!({"state": "running"}), "{state}");
    world.twin.send("PUT", "/control/batch-delay", &[], br#"{"ms":0}"#)?.expect(200)?;
    let done = collect(world, &id)?;
    let direct =
        world.ok("/ai/embed", &json!({"model": BGE, "texts": ["one fish", "two"], "pooling": "cls"}))?;
    ensure!(done["state"] == "done" && done["dimensions"] == 384, "{done}");
    ensure!(done["rows"] == direct["rows"], "the vectors are those of a plain call");
    ensure!(collect(world, &id)? == done, "it can be collected again");
    let many: Vec<String> = (0..100).map(|number| format!("text {number}")).collect();
    let id = submit(world, &many.iter().map(String::as_str).collect::<Vec<_>>())?;
    ensure!(collect(world, &id)?["rows"].as_array().map(Vec::len) == Some(100));
    Ok(())
}

fn failed_batches(world: &World) -> Result<()> {
    let _alone = world.alone();
    let lost = json!({"state": "lost"});
    ensure!(collect(world, "00000000-never")? == lost);
    let id = submit(world, &["forgotten"])?;
    world.twin.delete("/control/batches")?.expect(200)?;
    ensure!(collect(world, &id)? == lost);
    // A request that may succeed another time is lost; one that cannot is an error, with its code.
    let fault = |code: u32| {
        json!({"match": {"service": "ai", "op": "batch", "contains": "BAD"},
            "action": {"error": {"code": code}}})
    };
    let refused = |code: u32| {
        world.with_fault(&fault(code), || {
            let id = submit(world, &["good", "a BAD one"])?;
            while world.twin.get("/control/batches")?.expect(200)?.to_string().contains("ing\"") {
                std::thread::sleep(Duration::from_millis(10));
            }
            let reply =
                world.client.post("/ai/collect", &json!({"model": BGE, "request_id": id}))?.expect(200)?;
            Ok(reply)
        })
    };
    let reply = refused(3040)?;
    ensure!(reply["ok"] == lost, "{reply}");
    let reply = refused(5004)?;
    ensure!(reply["error"]["code"] == 5004 && reply["retry"] == "never", "{reply}");
    let reply = refused(3036)?;
    ensure!(reply["error"]["code"] == 3036 && reply["retry"] == "after_midnight_utc", "{reply}");
    // Nothing is sent for what cannot be right.
    let failed = world.error("/ai/submit", &json!({"model": BGE, "texts": [], "pooling": "cls"}))?;
    ensure!(failed["ledger"]["ai_calls"] == 0, "{failed}");
    Ok(())
}

/// One vector with a one at this place.
fn unit(id: &str, place: usize) -> Value {
    let values: Vec<f32> = (0..384).map(|index| f32::from(u8::from(index == place))).collect();
    json!({"records": [{"id": id, "values": values, "namespace": "faults"}]})
}

fn with_retry(mut body: Value, attempts: u32) -> Value {
    body["retry"] = json!({"attempts": attempts, "base_ms": 5});
    body
}

fn too_many_requests(world: &World) -> Result<()> {
    let _alone = world.alone();
    let ids = json!({"ids": ["busy"]});
    for (op, route, body) in [
        ("upsert", "/vectorize/upsert", unit("busy", 3)),
        ("deleteByIds", "/vectorize/delete-by-ids", ids.clone()),
        ("getByIds", "/vectorize/get-by-ids", ids),
    ] {
        let fault = json!({"match": {"service": "vectorize", "op": op, "contains": "busy"}, "times": 2,
            "action": {"error": {"code": 40041}}});
        world.with_fault(&fault, || {
            let reply = world.client.post(route, &with_retry(body.clone(), 4))?.expect(200)?;
            ensure!(reply["error"].is_null() && reply["ledger"]["vectorize_calls"] == 3, "{op}: {reply}");
            Ok(())
        })?;
        world.with_fault(&fault, || {
            let failed = world.error(route, &body)?;
            let error = &failed["error"];
            ensure!(error["type"] == "platform" && error["code"] == 40041, "{op}: {failed}");
            ensure!(
                error["message"] == "Too Many Requests" && failed["retry"] == "backoff",
                "{op}: {failed}"
            );
            Ok(())
        })?;
    }
    Ok(())
}

fn lost_acknowledgements(world: &World) -> Result<()> {
    let _alone = world.alone();
    let cut = |service: &str, op: &str| {
        json!({"match": {"service": service, "op": op, "contains": "cut"}, "times": 1,
            "action": {"cut_reply": true}})
    };
    let fault = cut("vectorize", "upsert");
    world.with_fault(&fault, || {
        let failed = world.error("/vectorize/upsert", &unit("cut", 4))?;
        ensure!(failed["retry"] == "backoff", "{failed}");
        Ok(())
    })?;
    world.twin.post("/control/flush", &json!({}))?.expect(200)?;
    let written = world.ok("/vectorize/get-by-ids", &json!({"ids": ["cut"]}))?;
    ensure!(written[0]["id"] == "cut" && written[0]["namespace"] == "faults", "it was written: {written}");
    ensure!(written[0]["values"].as_array().map(Vec::len) == Some(384) && written[0]["values"][4] == 1.0);
    world.with_fault(&fault, || {
        let reply = world.client.post("/vectorize/upsert", &with_retry(unit("cut", 4), 3))?.expect(200)?;
        ensure!(reply["error"].is_null() && reply["ledger"]["vectorize_calls"] == 2, "{reply}");
        Ok(())
    })?;
    world.twin.post("/control/flush", &json!({}))?.expect(200)?;
    let written = world.ok("/vectorize/get-by-ids", &json!({"ids": ["cut"]}))?;
    ensure!(written.as_array().map(Vec::len) == Some(1), "{written}");
    // The same for a reading call, an embedding, and an error after the deed.
    world.with_fault(&cut("vectorize", "getByIds"), || {
        let reply = world
            .client
            .post("/vectorize/get-by-ids", &with_retry(json!({"ids": ["cut"]}), 3))?
            .expect(200)?;
        ensure!(reply["ok"][0]["id"] == "cut" && reply["ledger"]["vectorize_calls"] == 2, "{reply}");
        Ok(())
    })?;
    let body = json!({"model": BGE, "texts": ["cut me"], "pooling": "cls"});
    world.with_fault(&cut("ai", "embed"), || {
        let reply = world.client.post("/ai/embed", &with_retry(body.clone(), 3))?.expect(200)?;
        ensure!(reply["error"].is_null() && reply["ledger"]["ai_calls"] == 2, "{reply}");
        Ok(())
    })?;
    let fault = json!({"match": {"service": "vectorize", "op": "deleteByIds", "contains": "cut"}, "times": 1,
        "action": {"error_after": {"code": 40041}}});
    world.with_fault(&fault, || {
        let failed = world.error("/vectorize/delete-by-ids", &json!({"ids": ["cut"]}))?;
        ensure!(failed["error"]["code"] == 40041, "{failed}");
        Ok(())
    })?;
    world.twin.post("/control/flush", &json!({}))?.expect(200)?;
    ensure!(world.ok("/vectorize/get-by-ids", &json!({"ids": ["cut"]}))? == json!([]));
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
    let _alone = world.alone();
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
    let _alone = world.alone();
    let body = json!({"model": BGE, "texts": ["retry me"], "pooling": "cls", "retry": {"attempts": 4, "base_ms": 5}});
    let fault = |code: u32| json!({"match": {"service": "ai", "op": "embed", "contains": "retry me"}, "times": 2, "action": {"error": {"code": code}}});
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
    let _alone = world.alone();
    let fault = json!({"match": {"service": "ai", "op": "chat", "contains": "fifty"}, "times": 1, "action": {"cut_after_chunks": 3}});
    let request = json!({"messages": [{"role": "user", "content": "Count to fifty."}], "max_tokens": 40});
    world.with_fault(&fault, || {
        let streamed = world.ok("/ai/stream", &json!({"model": LLAMA, "request": request}))?;
        let last = streamed["events"].as_array().and_then(|events| events.last()).context("no events")?;
        ensure!(last["value"]["truncated"] == true, "{streamed}");
        Ok(())
    })
}
