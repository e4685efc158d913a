//! Retrieval over HTTP: vectors of documents gone, filters on long strings, a slow reranker, follow-up questions.

mod shared;

use anyhow::{Context, Result, ensure};
use ragflare_tests::{Case, Client, run};
use serde_json::{Value, json};
use shared::Twin;
use std::fs;
use std::path::Path;
use std::process::{Command, ExitCode};
use std::sync::{Mutex, MutexGuard, PoisonError};
use xtask::{Stack, StackOptions};

/// The reranker as the twin has it, under its own name.
const RERANKER: &str = "ms-marco-MiniLM-L-12-v2";
const CONDENSER: &str = "@cf/meta/llama-3.1-8b-instruct-fp8-fast";
/// Longer than it takes on any machine that runs this.
const PATIENT_MS: u32 = 60_000;

struct World {
    stack: Stack,
    admin: Client,
    twin: Twin,
    turn: Mutex<()>,
}

impl World {
    fn start() -> Result<Self> {
        let settings = json!({"search": {
            "rerank_model": RERANKER, "rerank_timeout_ms": PATIENT_MS, "condense_timeout_ms": 5000,
        }});
        let options = StackOptions { fresh: true, ..StackOptions::new("target/tests/search") };
        let stack = Stack::start(&options.var("SETTINGS", &settings.to_string()))?;
        let admin = Client::new(&stack.url).with_key(&stack.admin_key);
        let twin = Twin::new(&stack.twin_url);
        Ok(Self { stack, admin, twin, turn: Mutex::new(()) })
    }

    /// The twin's controls are all cases' own, one after the other.
    fn alone(&self) -> Result<MutexGuard<'_, ()>> {
        let turn = self.turn.lock().unwrap_or_else(PoisonError::into_inner);
        self.twin.faults(&json!([]))?;
        self.twin.visible_after(0)?;
        ensure!(!self.stack.url.is_empty());
        Ok(turn)
    }
}

fn main() -> ExitCode {
    let cases: &[Case<World>] = &[
        ("dead vectors hide nothing", dead_vectors_hide_nothing),
        ("filters on long strings hold in every mode", filters_on_long_strings),
        ("a slow reranker is not waited for", a_slow_reranker),
        ("relevance is told by the reranker's calibration", relevance_is_told),
        ("a follow-up is searched for as one query", a_follow_up),
        ("hostile filters and queries", hostile_input),
        ("`ragflare eval` ranks here as in its own process", both_engines_rank_the_same),
    ];
    run(World::start, cases)
}

fn both_engines_rank_the_same(world: &World) -> Result<()> {
    let _turn = world.alone()?;
    let here = measured(world, &[])?;
    let there = measured(world, &["--url", &world.stack.url])?;
    let list = |value: &Value| value.as_array().cloned().unwrap_or_default();
    let mut compared = 0;
    for (here, there) in list(&here).iter().zip(&list(&there)) {
        ensure!(here["indexed"] == there["indexed"], "{}", here["set"]);
        for (here, there) in list(&here["configs"]).iter().zip(&list(&there["configs"])) {
            for (here, there) in list(&here["questions"]).iter().zip(&list(&there["questions"])) {
                let (ours, theirs) = (list(&here["hits"]), list(&there["hits"]));
                let places = |hits: &[Value]| -> Vec<(Value, Value)> {
                    hits.iter().map(|hit| (hit[0].clone(), hit[1].clone())).collect()
                };
                ensure!(places(&ours) == places(&theirs), "{here:#}\n{there:#}");
                for (ours, theirs) in ours.iter().zip(&theirs) {
                    let gap =
                        ours[2].as_f64().context("no score")? - theirs[2].as_f64().context("no score")?;
                    ensure!(gap.abs() < 1e-3, "{ours} {theirs}");
                }
                compared += 1;
            }
        }
    }
    ensure!(compared >= 40, "only {compared} rankings");
    Ok(())
}

/// What `ragflare eval` says of the small sets.
fn measured(world: &World, arguments: &[&str]) -> Result<Value> {
    let sets = Path::new(env!("CARGO_MANIFEST_DIR")).join("../fixtures/eval");
    let file = world.stack.data().join("report.json");
    let mut command = Command::new(env!("CARGO"));
    command.args(["run", "--quiet", "--profile", "native", "--package", "ragflare", "--", "eval"]);
    command.args(["beir", "chroma", "squad", "--ablation", "--top-k", "20", "--json"]).arg(&file);
    let output =
        command.args(arguments).env("ADMIN_KEY", &world.stack.admin_key).current_dir(sets).output()?;
    ensure!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    Ok(serde_json::from_slice(&fs::read(file)?)?)
}

fn dead_vectors_hide_nothing(world: &World) -> Result<()> {
    let _turn = world.alone()?;
    let client = world.admin.tenant("dead")?;
    let section =
        |n: usize| format!("# Part {n}\n\n{}\n\n", format!("The heron number {n} eats fish. ").repeat(30));
    let long: String = (0..150).map(section).collect();
    client.ingest("gone.md", &long)?;
    client.ingest("here.md", "A text about many things: bread, and weather, and once a heron.")?;
    client.wait_for("gone.md", |document| document["status"] == "indexed")?;
    client.wait_for("here.md", |document| document["status"] == "indexed")?;
    let query = json!({"query": "what does the heron eat", "mode": "vector", "rerank": false});
    let found = client.search(&query)?;
    ensure!(found.iter().all(|hit| hit["document_id"] == "gone.md"), "it is in the way: {found:?}");
    world.twin.visible_after(600_000)?;
    ensure!(client.delete("/v1/documents/gone.md")?.status == 204);
    let found = client.search(&query)?;
    ensure!(found.len() == 1 && found[0]["document_id"] == "here.md", "{found:?}");
    world.twin.visible_after(0)
}

fn filters_on_long_strings(world: &World) -> Result<()> {
    let _turn = world.alone()?;
    let client = world.admin.tenant("long-strings")?;
    let long = |tail: &str| format!("{}{tail}", "x".repeat(64));
    for (id, lang) in [("a", long("a")), ("b", long("b")), ("c", "en".to_owned())] {
        let metadata = shared::encoded(&json!({"lang": lang}).to_string());
        client
            .put_as(&format!("{id}?metadata={metadata}"), "text/plain", b"The heron eats fish.")?
            .expect(202)?;
        client.wait_for(id, |document| document["status"] == "indexed")?;
    }
    for (filter, wanted) in [
        (json!({"lang": long("a")}), "a"),
        (json!({"lang": {"$ne": long("a")}}), "bc"),
        (json!({"lang": {"$nin": [long("a"), "en"]}}), "b"),
        (json!({"lang": {"$in": [long("a"), "en"]}}), "ac"),
        (json!({"lang": {"$gt": long("a")}}), "b"),
        (json!({"lang": {"$lt": long("b"), "$gte": "en"}}), "ac"),
        (json!({"lang": {"$ne": null}}), "abc"),
    ] {
        for mode in ["hybrid", "vector", "keyword"] {
            let query = json!({"query": "heron", "mode": mode, "filter": filter});
            let mut found: Vec<String> = client
                .search(&query)?
                .iter()
                .filter_map(|hit| hit["document_id"].as_str().map(str::to_owned))
                .collect();
            found.sort();
            ensure!(found.concat() == wanted, "{mode} {filter}: {found:?}");
        }
    }
    Ok(())
}

fn a_slow_reranker(world: &World) -> Result<()> {
    let _turn = world.alone()?;
    let client = world.admin.tenant("slow")?;
    client.ingest("a.md", "The heron eats fish.")?;
    client.ingest("b.md", "Bread is baked from flour.")?;
    world.twin.faults(&json!([
        {"match": {"service": "ai", "op": "rerank"}, "action": {"error": {"code": 3040}}}
    ]))?;
    let reply = client.post("/v1/search", &json!({"query": "heron"}))?.expect(200)?;
    ensure!(reply["degraded"] == json!(["rerank"]), "{reply}");
    ensure!(reply["hits"][0]["document_id"] == "a.md" && reply["hits"][0]["scores"]["rerank"].is_null());
    world.twin.faults(&json!([]))
}

fn relevance_is_told(world: &World) -> Result<()> {
    let _turn = world.alone()?;
    let client = world.admin.tenant("relevance")?;
    client.ingest("a.md", "The grey heron eats fish, frogs and mice.")?;
    let relevance = |query: &str| -> Result<f64> {
        let hits = client.search(&json!({"query": query}))?;
        hits[0]["scores"]["relevance"].as_f64().with_context(|| format!("{hits:?}"))
    };
    let (told, untold) =
        (relevance("What does the grey heron eat?")?, relevance("Who won the chess match?")?);
    ensure!(told > 0.5 && untold < 0.1, "{told} {untold}");
    Ok(())
}

fn a_follow_up(world: &World) -> Result<()> {
    let _turn = world.alone()?;
    let client = world.admin.tenant("follow-up")?;
    client.ingest("heron.md", "The heron eats fish. It sleeps in tall trees.")?;
    client.ingest("owl.md", "The owl eats mice. It sleeps in barns.")?;
    world.twin.faults(&json!([{
        "match": {"service": "ai", "op": "chat", "model": CONDENSER},
        "action": {"answer": "Where does the heron sleep?"},
    }]))?;
    let ask = |question: &str| -> Result<Value> {
        let messages = json!([
            {"role": "user", "content": "What does the heron eat?"},
            {"role": "assistant", "content": "Fish [S1]."},
            {"role": "user", "content": question},
        ]);
        client.post("/v1/chat", &json!({"messages": messages, "max_tokens": 8, "stream": false}))?.expect(200)
    };
    let reply = ask("And where does it sleep?")?;
    ensure!(reply["query"] == "Where does the heron sleep?", "{reply}");
    ensure!(reply["sources"][0]["document_id"] == "heron.md", "{reply}");
    ensure!(reply["sources"][0]["chunk_ids"][0] == reply["sources"][0]["chunk_id"], "{reply}");
    let alone = "In which kind of trees does the heron sleep at night?";
    ensure!(ask(alone)?["query"] == alone);
    world.twin.faults(&json!([{
        "match": {"service": "ai", "op": "chat", "model": CONDENSER}, "action": {"error": {"code": 3040}},
    }]))?;
    let reply = ask("And where does it sleep?")?;
    ensure!(reply["query"] == "And where does it sleep?", "{reply}");
    ensure!(
        reply["done"]["degraded"].as_array().is_some_and(|all| all.contains(&json!("condense"))),
        "{reply}"
    );
    world.twin.faults(&json!([]))
}

fn hostile_input(world: &World) -> Result<()> {
    let _turn = world.alone()?;
    let client = world.admin.tenant("hostile")?;
    client.ingest("a.md", "The heron eats fish.")?;
    let many: String = (0..500).map(|number| format!("w{number} ")).collect();
    for query in [
        "heron\0",
        "\"heron\" NEAR(x* -y) ^{z}: ' ; --",
        "heron",
        &format!("heron {many}"),
        &"heron ".repeat(1300),
    ] {
        for mode in ["hybrid", "vector", "keyword"] {
            let hits = client.search(&json!({"query": query, "mode": mode, "top_k": 100}))?;
            ensure!(hits.len() == 1, "{mode} {query:.40}: {hits:?}");
        }
    }
    for filter in
        [json!({"lang": "x".repeat(2048)}), json!({"lang": {"$in": []}}), json!({"lang": {"$gt": null}})]
    {
        let reply = client.post("/v1/search", &json!({"query": "heron", "filter": filter}))?;
        ensure!(reply.error(400)? == "invalid_value" && !reply.text().contains("SQL"), "{}", reply.text());
    }
    for filter in [json!({"lang": "\0'\"; DROP TABLE chunks"}), json!({"lang": {"$in": ["\0", "'"]}})] {
        ensure!(client.search(&json!({"query": "heron", "filter": filter}))?.is_empty());
    }
    Ok(())
}
