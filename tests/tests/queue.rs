//! What comes out of the queue: twice, too late, corrupted, or not at all any more.

use anyhow::{Context, Result, ensure};
use ragflare_tests::{Case, Client, run};
use serde_json::{Value, json};
use std::process::ExitCode;
use std::sync::{Mutex, PoisonError};
use std::time::Duration;
use xtask::{Stack, StackOptions};

const GUIDE: &str = include_str!("../../fixtures/lighthouse.md");

struct World {
    _stack: Stack,
    admin: Client,
    twin: Client,
    /// The letters and the twin's faults are everybody's.
    alone: Mutex<()>,
}

impl World {
    fn start() -> Result<Self> {
        let mut options = StackOptions::new("target/tests/queue").workers([
            "tests/queue-worker",
            "worker/query",
            "worker/ingest",
        ]);
        options.fresh = true;
        let stack = Stack::start(&options)?;
        let admin = Client::new(&stack.url).with_key(&stack.admin_key);
        let twin = Client::new(&stack.twin_url);
        Ok(Self { _stack: stack, admin, twin, alone: Mutex::new(()) })
    }

    /// Sends a message.
    fn message(&self, queue: &str, body: &str) -> Result<()> {
        let sent = self.admin.send("POST", &format!("/queue/{queue}"), &[], body.as_bytes())?;
        ensure!(sent.status == 204, "{}", sent.text());
        Ok(())
    }

    fn letters(&self) -> Result<Vec<Value>> {
        let listed = self.admin.get("/v1/admin/dead-letters")?.expect(200)?;
        listed["dead_letters"].as_array().cloned().context("no letters")
    }

    /// Waits until there are so many letters with this in their bodies.
    fn letters_with(&self, text: &str, count: usize) -> Result<Vec<Value>> {
        let mut found = Vec::new();
        for _ in 0..150 {
            found = self.letters()?;
            found.retain(|letter| letter["body"].as_str().is_some_and(|body| body.contains(text)));
            if found.len() == count {
                return Ok(found);
            }
            std::thread::sleep(Duration::from_millis(200));
        }
        anyhow::bail!("not {count} letters with {text}: {found:?}")
    }
}

fn main() -> ExitCode {
    let cases: &[Case<World>] = &[
        ("a corrupted message harms nothing", a_corrupted_message),
        ("messages twice, late and out of order", messages_twice_and_late),
        ("what was given up is replayed", what_was_given_up_is_replayed),
        ("all letters are replayed", all_letters_are_replayed),
    ];
    run(World::start, cases)
}

fn process(tenant: &str, document: &str, generation: u64) -> String {
    json!({"job": "process", "tenant": tenant, "document": document, "generation": generation, "bytes": 10})
        .to_string()
}

fn a_corrupted_message(world: &World) -> Result<()> {
    let _alone = world.alone.lock().unwrap_or_else(PoisonError::into_inner);
    let client = world.admin.tenant("corrupted")?;
    // In one batch with good ones, most likely.
    for number in 0..3 {
        client.put(&format!("{number}.md"), &format!("The bell of buoy {number} rings."))?.expect(202)?;
        world.message("JOBS", &format!("{{\"job\": \"corrupted{number}"))?;
    }
    world.message("JOBS?json", r#"{"no": "corrupted job"}"#)?;
    world.message(
        "JOBS",
        r#"{"job":"process","tenant":"a corrupted tenant","document":"x","generation":1,"bytes":1}"#,
    )?;
    for number in 0..3 {
        let document = client.wait(&format!("{number}.md"))?;
        ensure!(document["generation"] == 1, "{document}");
    }
    let letters = world.letters_with("corrupted", 5)?;
    for letter in &letters {
        let path = format!("/v1/admin/dead-letters/{}", letter["id"]);
        ensure!(letter["created_at"].is_number(), "{letter}");
        ensure!(world.admin.post(&format!("{path}/replay"), &json!({}))?.error(422)? == "not_replayable");
        ensure!(world.admin.delete(&path)?.status == 204);
        ensure!(world.admin.delete(&path)?.error(404)? == "not_found");
    }
    world.letters_with("corrupted", 0)?;
    Ok(())
}

fn messages_twice_and_late(world: &World) -> Result<()> {
    let _alone = world.alone.lock().unwrap_or_else(PoisonError::into_inner);
    let client = world.admin.tenant("twice")?;
    let first = client.ingest("a.md", GUIDE)?;
    client.wait_for("a.md", |document| document["status"] == "indexed")?;
    let second = client.ingest("a.md", &GUIDE.replace("ninety", "eighty"))?;
    client.ingest("gone.md", "This one is deleted.")?;
    ensure!(client.delete("/v1/documents/gone.md")?.status == 204);
    for _ in 0..2 {
        for (document, generation) in
            [("a.md", 2), ("a.md", 1), ("a.md", 7), ("gone.md", 1), ("gone.md", 2), ("never.md", 1)]
        {
            world.message("JOBS", &process("twice", document, generation))?;
        }
        for job in ["confirm", "clean"] {
            let mut body = json!({"job": job, "tenant": "twice", "document": "a.md"});
            if job == "confirm" {
                body["generation"] = 1.into();
            }
            world.message("JOBS", &body.to_string())?;
        }
        world.message("JOBS", &json!({"job": "reindex", "tenant": "twice"}).to_string())?;
        world.message("JOBS", &json!({"job": "reindex", "tenant": "nobody"}).to_string())?;
    }
    // A document that comes after them has seen them go by.
    client.ingest("last.md", "The last one.")?;
    let after = client.wait_for("a.md", |document| document["status"] == "indexed")?;
    ensure!(after["generation"] == 2 && after["chunk_count"] == second["chunk_count"], "{first} {after}");
    ensure!(client.get("/v1/documents/gone.md")?.status == 404);
    ensure!(client.get("/v1/documents/never.md")?.status == 404);
    let hits = client.search(&json!({"query": "fog signal", "mode": "keyword", "top_k": 50}))?;
    ensure!(hits.iter().all(|hit| hit["document_id"] == "a.md"), "{hits:?}");
    Ok(())
}

/// A document that fails for good, by messages that died three times.
fn give_up(world: &World, client: &Client, tenant: &str, id: &str, marker: &str) -> Result<()> {
    let rule = json!([{"match": {"service": "ai", "op": "embed", "contains": marker},
        "action": {"error": {"code": 3043}}}]);
    let headers = [("content-type", "application/json")];
    world.twin.send("PUT", "/control/faults", &headers, rule.to_string().as_bytes())?.expect(200)?;
    let queued = client.put(id, &format!("The tide table of {marker}."))?.expect(202)?;
    let bytes = &queued["bytes"];
    let body = json!({"job": "process", "tenant": tenant, "document": id, "generation": 1, "bytes": bytes});
    for count in 1..=3 {
        world.message("DEAD", &body.to_string())?;
        world.letters_with(&format!("\"{id}\""), count)?;
        let document = client.get(&format!("/v1/documents/{id}"))?.expect(200)?;
        ensure!((document["status"] == "failed") == (count == 3), "{count}: {document}");
    }
    let document = client.get(&format!("/v1/documents/{id}"))?.expect(200)?;
    ensure!(document["error"]["code"] == "retries_exhausted", "{document}");
    world.twin.delete("/control/faults")?;
    Ok(())
}

fn what_was_given_up_is_replayed(world: &World) -> Result<()> {
    let _alone = world.alone.lock().unwrap_or_else(PoisonError::into_inner);
    let client = world.admin.tenant("given-up")?;
    give_up(world, &client, "given-up", "lost.md", "Lostmarker")?;
    let letters = world.letters_with("\"lost.md\"", 3)?;
    let replay = |letter: &Value| {
        world.admin.post(&format!("/v1/admin/dead-letters/{}/replay", letter["id"]), &json!({}))
    };
    let reply = replay(&letters[0])?.expect(200)?;
    ensure!(reply["replayed"] == true, "{reply}");
    let document = client.wait_for("lost.md", |document| document["generation"] == 2)?;
    ensure!(document["error"].is_null(), "{document}");
    ensure!(client.search(&json!({"query": "tide table", "mode": "keyword"}))?.len() == 1);
    // The others are of no use any more.
    let reply = replay(&letters[1])?.expect(200)?;
    ensure!(reply["replayed"] == false, "{reply}");
    ensure!(client.delete("/v1/documents/lost.md")?.status == 204);
    ensure!(replay(&letters[2])?.expect(200)?["replayed"] == false);
    ensure!(replay(&letters[2])?.error(404)? == "not_found");
    world.letters_with("\"lost.md\"", 0)?;
    // Messages that the sweeper sends again leave no letter.
    world.message(
        "DEAD",
        &json!({"job": "clean", "tenant": "given-up", "document": "swept.md"}).to_string(),
    )?;
    world.message("DEAD", &json!({"job": "reindex", "tenant": "given-up-swept"}).to_string())?;
    world.message("DEAD", "swept: the last one")?;
    let letters = world.letters_with("swept", 1)?;
    world.admin.delete(&format!("/v1/admin/dead-letters/{}", letters[0]["id"]))?;
    Ok(())
}

fn all_letters_are_replayed(world: &World) -> Result<()> {
    let _alone = world.alone.lock().unwrap_or_else(PoisonError::into_inner);
    let client = world.admin.tenant("all-letters")?;
    give_up(world, &client, "all-letters", "first.md", "Firstmarker")?;
    world.message("DEAD", "no job at all")?;
    world.letters_with("no job at all", 1)?;
    let reply = world.admin.post("/v1/admin/dead-letters/replay", &json!({}))?.expect(200)?;
    ensure!(reply["not_replayable"].as_u64() >= Some(1), "{reply}");
    ensure!(reply["replayed"].as_u64() >= Some(1), "{reply}");
    let document = client.wait_for("first.md", |document| document["generation"] == 2)?;
    ensure!(document["error"].is_null(), "{document}");
    world.letters_with("\"first.md\"", 0)?;
    let letters = world.letters_with("no job at all", 1)?;
    world.admin.delete(&format!("/v1/admin/dead-letters/{}", letters[0]["id"]))?;
    Ok(())
}
