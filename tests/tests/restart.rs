//! What survives: a stop, a crash, and work that was not done yet.

use anyhow::{Result, ensure};
use ragflare_tests::{Case, Client, run};
use serde_json::json;
use std::process::ExitCode;
use xtask::{Stack, StackOptions};

struct World;

fn main() -> ExitCode {
    let cases: &[Case<World>] = &[
        ("everything survives a kill, pending work too", survives_a_kill),
        ("a deployment without keys answers 401", a_deployment_answers_401),
    ];
    run(|| Ok(World), cases)
}

fn survives_a_kill(_: &World) -> Result<()> {
    let options = StackOptions { fresh: true, ..StackOptions::new("target/tests/restart") };
    let stack = Stack::start(&options)?;
    let client = Client::new(&stack.url);
    client.ingest("kept.md", "The key of the cellar hangs behind the clock.")?;
    client.wait_for("kept.md", |document| document["status"] == "indexed")?;
    let long: String = (0..4000).map(|number| format!("Sentence {number} about the harbour. ")).collect();
    client.put("pending.md", &long)?.expect(202)?;
    stack.kill();

    let stack = Stack::start(&StackOptions { fresh: false, ..options })?;
    let client = Client::new(&stack.url);
    let kept = client.get("/v1/documents/kept.md")?.expect(200)?;
    ensure!(kept["status"] == "indexed", "{kept}");
    for mode in ["keyword", "vector"] {
        let hits = client.search(&json!({"query": "where is the cellar key", "mode": mode}))?;
        ensure!(hits.iter().any(|hit| hit["document_id"] == "kept.md"), "{mode}: {hits:?}");
    }
    // The queue lived in memory: the sweeper sends again what it lost.
    let admin = client.with_key(&stack.admin_key);
    admin.post("/v1/admin/sweep?older_than=0", &json!({}))?.expect(200)?;
    let pending = client.wait("pending.md")?;
    ensure!(pending["generation"] == 1, "{pending}");
    let hits = client.search(&json!({"query": "sentence 3999 harbour", "mode": "keyword", "top_k": 3}))?;
    ensure!(
        hits.iter().any(|hit| hit["text"].as_str().is_some_and(|text| text.contains("3999"))),
        "{hits:?}"
    );
    Ok(())
}

/// As deployed: nothing says that anybody may come in.
fn a_deployment_answers_401(_: &World) -> Result<()> {
    let mut options = StackOptions::new("target/tests/deployed").var("ANONYMOUS_TENANT", "");
    options.fresh = true;
    let stack = Stack::start(&options)?;
    let anyone = Client::new(&stack.url);
    for path in ["/v1/documents", "/v1/documents/a.md", "/v1/admin/keys", "/v1/models"] {
        ensure!(anyone.get(path)?.error(401)? == "invalid_api_key", "{path}");
    }
    ensure!(anyone.put("a.md", "text")?.error(401)? == "invalid_api_key");
    ensure!(anyone.post("/v1/search", &json!({"query": "x"}))?.error(401)? == "invalid_api_key");
    let question = json!({"messages": [{"role": "user", "content": "x"}]});
    ensure!(anyone.post("/v1/chat", &question)?.error(401)? == "invalid_api_key");
    let admin = anyone.with_key(&stack.admin_key);
    let member = admin.tenant("first")?;
    member.ingest("a.md", "The first key opens the door.")?;
    ensure!(member.search(&json!({"query": "door"}))?.len() == 1);
    Ok(())
}
