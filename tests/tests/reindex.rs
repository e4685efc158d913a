//! Settings change between two starts, and documents are made anew from their originals.

use anyhow::{Context, Result, ensure};
use ragflare_tests::{Case, Client, run};
use serde_json::{Value, json};
use std::process::ExitCode;
use std::time::{Duration, Instant};
use xtask::{Stack, StackOptions};

const GUIDE: &str = include_str!("../../fixtures/lighthouse.md");

struct World;

fn main() -> ExitCode {
    let cases: &[Case<World>] = &[
        ("other chunks, document by document", other_chunks),
        ("another embedding, the whole tenant at once", another_embedding),
        ("another length is refused with what to do", another_length),
    ];
    run(|| Ok(World), cases)
}

fn start(options: &StackOptions, settings: &Value, fresh: bool) -> Result<(Stack, Client)> {
    let options = StackOptions { fresh, ..options.clone() }.var("SETTINGS", &settings.to_string());
    let stack = Stack::start(&options)?;
    let admin = Client::new(&stack.url).with_key(&stack.admin_key);
    Ok((stack, admin))
}

/// Waits until a re-index is over; `each` sees every state on the way.
fn finished(admin: &Client, mut each: impl FnMut(&Value) -> Result<()>) -> Result<Value> {
    let deadline = Instant::now() + Duration::from_mins(2);
    loop {
        let progress = admin.get("/v1/admin/reindex")?.expect(200)?;
        each(&progress)?;
        if progress["reindexing"] == false {
            return Ok(progress);
        }
        ensure!(Instant::now() < deadline, "still {progress}");
        std::thread::sleep(Duration::from_millis(100));
    }
}

fn finds(client: &Client, mode: &str) -> Result<bool> {
    let query = match mode {
        // Keywords find words only; the other is of other words than the guide's.
        "keyword" => "How far away must one see before the signal is to start in mist?",
        _ => "What must be done when the mist comes in?",
    };
    let hits = client.search(&json!({"query": query, "mode": mode, "rerank": false, "top_k": 5}))?;
    Ok(hits.iter().any(|hit| hit["text"].as_str().is_some_and(|text| text.contains("fog signal"))))
}

fn audit(admin: &Client) -> Result<()> {
    let mut audit = Value::Null;
    for _ in 0..60 {
        audit = admin.get("/v1/admin/audit")?.expect(200)?;
        if audit["inconsistencies"].as_object().is_some_and(|faults| faults.values().all(|count| *count == 0))
        {
            return Ok(());
        }
        std::thread::sleep(Duration::from_secs(1));
    }
    anyhow::bail!("{audit}")
}

fn other_chunks(_: &World) -> Result<()> {
    let options = StackOptions::new("target/tests/reindex-chunks");
    let (stack, admin) = start(&options, &json!({}), true)?;
    for id in ["a.md", "b.md", "c.md"] {
        admin.ingest(id, &GUIDE.replace("Skerry", id))?;
    }
    let before = admin.wait_for("c.md", |document| document["status"] == "indexed")?;
    stack.stop();

    let (_stack, admin) = start(&options, &json!({"chunk": {"target": 64}}), false)?;
    let progress = admin.get("/v1/admin/reindex")?.expect(200)?;
    ensure!(progress["documents"] == 3 && progress["done"] == 0, "{progress}");
    // Untouched documents stay as they were, one uploaded again is made anew.
    ensure!(admin.put("a.md", &GUIDE.replace("Skerry", "a.md"))?.status == 202);
    let after = admin.wait_for("a.md", |document| document["generation"] == 2)?;
    ensure!(after["chunk_count"].as_u64() > before["chunk_count"].as_u64(), "{before} {after}");
    ensure!(admin.get("/v1/documents/b.md")?.expect(200)?["chunk_count"] == before["chunk_count"]);
    admin.post("/v1/admin/reindex", &json!({"document": "b.md"}))?.expect(202)?;
    let second = admin.wait_for("b.md", |document| document["generation"] == 2)?;
    ensure!(second["chunk_count"] == after["chunk_count"], "{after} {second}");
    admin.post("/v1/admin/reindex", &json!({}))?.expect(202)?;
    let progress = finished(&admin, |_| {
        ensure!(finds(&admin, "keyword")? && finds(&admin, "hybrid")?, "found at all times");
        Ok(())
    })?;
    let third = admin.wait_for("c.md", |document| document["generation"] == 2)?;
    ensure!(third["chunk_count"] == after["chunk_count"], "{third}");
    ensure!(admin.get("/v1/documents/a.md")?.expect(200)?["generation"] == 2, "it was up to date");
    let progress = if progress["done"] == 3 { progress } else { finished(&admin, |_| Ok(()))? };
    ensure!(progress["open"] == 0 && progress["failed"] == 0, "{progress}");
    for id in ["a.md", "b.md", "c.md"] {
        admin.wait_for(id, |document| document["status"] == "indexed")?;
    }
    ensure!(finds(&admin, "vector")?);
    audit(&admin)
}

fn another_embedding(_: &World) -> Result<()> {
    let options = StackOptions::new("target/tests/reindex-embedding");
    let (stack, admin) = start(&options, &json!({}), true)?;
    let texts: Vec<(String, String)> = (0..5)
        .map(|number| (format!("{number}.md"), GUIDE.replace("Skerry", &format!("Skerry {number}"))))
        .collect();
    for (id, text) in &texts {
        admin.ingest(id, text)?;
    }
    for (id, _) in &texts {
        admin.wait_for(id, |document| document["status"] == "indexed")?;
    }
    let other = admin.tenant("untouched")?;
    other.ingest("own.md", GUIDE)?;
    stack.stop();

    let (_stack, admin) = start(&options, &json!({"embedding": {"pooling": "mean"}}), false)?;
    // Until it is re-indexed, the tenant is searched as it was, and takes nothing that would not fit.
    ensure!(finds(&admin, "vector")? && finds(&admin, "hybrid")?);
    ensure!(admin.put("new.md", "A new document.")?.error(409)? == "embedding_settings_changed");
    let one = admin.post("/v1/admin/reindex", &json!({"document": "0.md"}))?;
    ensure!(one.error(400)? == "invalid_value", "one alone can't have another embedding");
    let started = admin.post("/v1/admin/reindex", &json!({}))?.expect(202)?;
    ensure!(started["reindexing"] == true, "{started}");
    let (old, next) = (&started["embedding"], &started["next"]);
    ensure!(old.as_str().is_some_and(|name| name.contains(":cls:")), "{started}");
    ensure!(next.as_str().is_some_and(|name| name.contains(":mean:")), "{started}");
    // Uploads go on meanwhile, are found at once, and are there afterwards.
    admin.put("new.md", "The spare anchor lies in the boathouse.")?.expect(202)?;
    admin.put("0.md", &texts[0].1.replace("ninety seconds", "eighty seconds"))?.expect(202)?;
    admin.delete("/v1/documents/4.md")?;
    let done = finished(&admin, |progress| {
        for mode in ["vector", "keyword", "hybrid"] {
            ensure!(finds(&admin, mode)?, "{mode}: found at all times: {progress}");
        }
        Ok(())
    })?;
    ensure!(done["embedding"] == *next && done["next"].is_null(), "{done}");
    ensure!(done["documents"] == 5 && done["done"] == 5, "{done}");
    admin.wait("new.md")?;
    // The sweeper has their vectors looked at.
    admin.post("/v1/admin/sweep?older_than=0", &json!({}))?.expect(200)?;
    let anchor = json!({"query": "Where is the anchor?", "mode": "vector", "rerank": false, "top_k": 1});
    for id in ["0.md", "1.md", "2.md", "3.md", "new.md"] {
        let document = admin.wait_for(id, |document| document["status"] == "indexed")?;
        ensure!(document["pending"].is_null(), "{document}");
    }
    ensure!(finds(&admin, "vector")?);
    ensure!(admin.search(&anchor)?[0]["document_id"] == "new.md");
    let changed = admin.search(&json!({"query": "eighty seconds", "mode": "keyword"}))?;
    ensure!(changed[0]["document_id"] == "0.md", "{changed:?}");
    ensure!(admin.get("/v1/documents/4.md")?.status == 404);
    // Another tenant is none of it.
    let state = admin.get("/v1/admin/reindex?tenant=untouched")?.expect(200)?;
    ensure!(state["embedding"] == *old && state["done"] == 0 && state["reindexing"] == false, "{state}");
    let other = other_client(&admin, "untouched")?;
    ensure!(finds(&other, "vector")?);
    audit(&admin)
}

/// A new key of a tenant on a stack that was started again.
fn other_client(admin: &Client, tenant: &str) -> Result<Client> {
    let body = json!({"tenant": tenant, "scopes": ["read"]});
    let made = admin.post("/v1/admin/keys", &body)?.expect(201)?;
    Ok(admin.with_key(made["key"].as_str().context("no key")?))
}

fn another_length(_: &World) -> Result<()> {
    let options = StackOptions::new("target/tests/reindex-length");
    let (stack, admin) = start(&options, &json!({}), true)?;
    admin.ingest("a.md", GUIDE)?;
    stack.stop();

    let settings = json!({"embedding": {"model": "@cf/baai/bge-base-en-v1.5", "dimensions": 768}});
    let (_stack, admin) = start(&options, &settings, false)?;
    let refused = admin.post("/v1/admin/reindex", &json!({}))?;
    ensure!(refused.error(400)? == "invalid_value", "{}", refused.text());
    let error = &refused.expect(400)?["error"];
    ensure!(error["param"] == "embedding.dimensions", "{error}");
    ensure!(error["message"].as_str().is_some_and(|message| message.contains("second index")), "{error}");
    let state = admin.get("/v1/admin/reindex")?.expect(200)?;
    ensure!(state["reindexing"] == false && state["next"].is_null(), "{state}");
    ensure!(finds(&admin, "keyword")? && finds(&admin, "vector")?, "it serves as before");
    Ok(())
}
