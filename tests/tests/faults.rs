//! What clients see when something fails: every fault in every protocol, as a table.
//!
//! The table in `docs/faults.md` is what this test saw; it fails when it sees something else, and writes the table anew when
//! `RAGFLARE_BLESS` is set.

mod shared;

use anyhow::{Context, Result, bail, ensure};
use ragflare_tests::{Case, Client, run};
use serde_json::{Value, json};
use shared::Twin;
use std::fmt::Write as _;
use std::net::TcpListener;
use std::path::Path;
use std::process::ExitCode;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};
use xtask::{Stack, StackOptions};

const MODEL: &str = "@cf/meta/llama-3.3-70b-instruct-fp8-fast";
const FALLBACK: &str = "@cf/meta/llama-3.1-8b-instruct-fp8-fast";
const EXTERNAL: &str = "standby";
const RERANKER: &str = "ms-marco-MiniLM-L-12-v2";
const QUESTION: &str = "What does the lamp burn?";
/// What each model says that is well.
const ANSWER: &str = "The lamp burns colza oil, which the keeper fills in before sunset [S1].";
/// How long a model may say nothing.
const TIMEOUT_MS: u64 = 2000;
/// How long the reranker and the vector leg may take: longer than the pauses between its four tries, at most 3.5 s, so that the one that is down is
/// told from the one that is slow.
const STAGE_MS: u64 = 5000;
/// The longest that anybody waits: three models' time, and that of the search before them.
const PATIENCE: Duration = Duration::from_secs(25);
const DOCUMENT: &str = "docs/faults.md";
const BEGIN: &str = "<!-- seen by tests/tests/faults.rs -->\n";
const END: &str = "<!-- /seen -->\n";

const PROTOCOLS: [&str; 7] = [
    "/v1/chat",
    "/v1/chat, streamed",
    "/v1/chat/completions",
    "/v1/chat/completions, streamed",
    "/api/chat",
    "/mcp",
    "/v1/search",
];

struct World {
    /// Ends with the world.
    _stack: Stack,
    client: Client,
    admin: Client,
    twin: Twin,
}

impl World {
    /// A stack with the whole ladder, or with a model only.
    fn start(ladder: bool) -> Result<Self> {
        let name = if ladder { "target/tests/faults" } else { "target/tests/faults-bare" };
        let port = TcpListener::bind("127.0.0.1:0")?.local_addr()?.port();
        let mut answer = json!({"model": MODEL, "min_relevance": 0.0, "timeout_ms": TIMEOUT_MS});
        if ladder {
            answer["fallback_model"] = FALLBACK.into();
            answer["external"] =
                json!({"url": format!("http://127.0.0.1:{port}/v1"), "model": EXTERNAL, "window": 7000});
        } else {
            answer["fallback_model"] = MODEL.into();
            answer["quote"] = false.into();
        }
        let search = json!({
            "rerank_model": RERANKER, "rerank_timeout_ms": STAGE_MS, "vector_timeout_ms": STAGE_MS,
            "condense_model": null,
        });
        let settings = json!({"search": search, "answer": answer});
        let options = StackOptions { fresh: true, ..StackOptions::new(name) };
        let options = options.twin_arg("--listen").twin_arg(&format!("127.0.0.1:{port}"));
        let stack = Stack::start(&options.var("SETTINGS", &settings.to_string()))?;
        let admin = Client::new(&stack.url).with_key(&stack.admin_key);
        let client = admin.tenant("faults")?;
        let twin = Twin::new(&stack.twin_url);
        twin.visible_after(0)?;
        client.ingest(
            "lamp.md",
            "# The lamp\n\nThe lamp burns colza oil. The keeper fills it before sunset.",
        )?;
        client.ingest("bell.md", "# The bell\n\nThe bell is rung in fog, two strokes every minute.")?;
        for id in ["lamp.md", "bell.md"] {
            client.wait_for(id, |document| document["status"] == "indexed")?;
        }
        Ok(Self { _stack: stack, client, admin, twin })
    }
}

fn main() -> ExitCode {
    let cases: &[Case<Nothing>] = &[("what clients see of faults", every_fault_in_every_protocol)];
    run(|| Ok(Nothing), cases)
}

/// Each stack is started by the case itself.
struct Nothing;

/// A fault and what the twin is told for it.
struct Fault {
    name: &'static str,
    rules: Value,
    /// It strikes once for each question, which are then asked one after the other.
    once: bool,
    /// What is said before it strikes is kept.
    after_text: bool,
}

fn fault(name: &'static str, rules: Value) -> Fault {
    Fault { name, rules, once: false, after_text: false }
}

fn on(matching: Value, action: Value) -> Value {
    json!({"match": matching, "action": action})
}

fn once(name: &'static str, matching: Value, action: Value) -> Fault {
    let mut rule = on(matching, action);
    rule["times"] = 1.into();
    Fault { once: true, ..fault(name, json!([rule])) }
}

fn broken_off(name: &'static str, how: &str) -> Fault {
    let rule = on(json!({"service": "ai", "model": MODEL}), json!({how: 4}));
    Fault { after_text: true, ..fault(name, json!([rule])) }
}

/// Those of the models, the first one's first.
fn faults_of_models() -> Vec<Fault> {
    let model = json!({"service": "ai", "model": MODEL});
    let chat = json!({"service": "ai", "op": "chat"});
    let error = |code: u32| json!({"error": {"code": code}});
    let unknown = json!({"error": {"code": 9999, "status": 500}});
    vec![
        fault("none", json!([])),
        once("the model is out of capacity for a moment (3040)", model.clone(), error(3040)),
        once("the model fails once, in a way not known", model.clone(), unknown.clone()),
        fault("the model is out of capacity (3040)", json!([on(model.clone(), error(3040))])),
        fault("the model fails in a way not known", json!([on(model.clone(), unknown)])),
        fault("the model breaks the connection", json!([on(model.clone(), json!({"disconnect": true}))])),
        fault("the model does not begin", json!([on(model, json!({"delay_ms": 3 * TIMEOUT_MS}))])),
        broken_off("the model's stream is cut", "cut_after_chunks"),
        broken_off("the model's stream stands still", "stall_after_chunks"),
        fault("the day's neurons are used up (3036)", json!([on(chat, error(3036))])),
    ]
}

fn faults_of_all() -> Vec<Fault> {
    let down = |matching: Value| on(matching, json!({"disconnect": true}));
    let slow = |matching: Value| on(matching, json!({"delay_ms": 3 * TIMEOUT_MS}));
    let mute = |matching: Value| on(matching, json!({"delay_ms": 120_000}));
    let chat = json!({"service": "ai", "op": "chat"});
    let (ai, external, vectorize) =
        (json!({"service": "ai"}), json!({"service": "external"}), json!({"service": "vectorize"}));
    let (rerank, embed) = (json!({"service": "ai", "op": "rerank"}), json!({"service": "ai", "op": "embed"}));
    let mut faults = faults_of_models();
    faults.extend([
        fault("all models of Workers AI are down", json!([down(chat.clone())])),
        fault("they and the external service are down", json!([down(chat.clone()), down(external.clone())])),
        fault("they and the external service do not begin", json!([slow(chat), slow(external.clone())])),
        fault("the reranker is down", json!([down(rerank.clone())])),
        fault("the reranker does not answer", json!([mute(rerank)])),
        fault("the embedding model is down", json!([down(embed.clone())])),
        fault("the embedding model does not answer", json!([mute(embed)])),
        fault("Vectorize is down", json!([down(vectorize.clone())])),
        fault("Vectorize does not answer", json!([mute(vectorize.clone())])),
        fault("all of Workers AI is down", json!([down(ai.clone())])),
        fault(
            "Workers AI, Vectorize and the external service are down",
            json!([down(ai), down(vectorize), down(external)]),
        ),
    ]);
    faults
}

/// What a client saw.
#[derive(Clone, Debug, Default)]
struct Seen {
    status: u16,
    /// The error's code, and how it came.
    error: Option<String>,
    text: String,
    outcome: String,
    finish: String,
    model: String,
    degraded: Vec<String>,
}

impl Seen {
    /// What the answer's end says, wherever the protocol has it.
    fn ending(&mut self, done: &Value) {
        let text = |name: &str| done[name].as_str().unwrap_or_default().to_owned();
        (self.outcome, self.finish, self.model) = (text("outcome"), text("finish_reason"), text("model"));
        self.degraded = list(&done["degraded"]);
    }

    /// In a cell of the table.
    fn cell(&self) -> String {
        let said = if self.text.is_empty() { "" } else { " after text" };
        match &self.error {
            Some(code) if self.status == 200 => format!("error `{code}`{said}"),
            Some(code) => format!("{} `{code}`", self.status),
            None if self.finish.is_empty() => self.outcome.clone(),
            None if self.finish == "stop" => self.outcome.clone(),
            None => format!("{}, `{}`", self.outcome, self.finish),
        }
    }
}

fn list(value: &Value) -> Vec<String> {
    let items = value.as_array().into_iter().flatten();
    items.filter_map(|item| item.as_str().map(ToOwned::to_owned)).collect()
}

fn ask(client: &Client, protocol: &str) -> Result<Seen> {
    let (path, stream) = protocol.split_once(", ").map_or((protocol, false), |(path, _)| (path, true));
    let messages = json!([{"role": "user", "content": QUESTION}]);
    match path {
        "/v1/chat" => native(client, &json!({"messages": messages, "stream": stream})),
        "/v1/chat/completions" => openai(
            client,
            &json!({"messages": messages, "stream": stream, "stream_options": {"include_usage": true}}),
        ),
        "/api/chat" => {
            let parts = json!([{"id": "1", "role": "user", "parts": [{"type": "text", "text": QUESTION}]}]);
            ui(client, &json!({"messages": parts}))
        }
        "/mcp" => mcp(client),
        _ => search(client),
    }
}

/// The data of a reply: each event's, or the whole.
fn data(client: &Client, path: &str, body: &Value) -> Result<(u16, Vec<(String, Value)>)> {
    let headers = [("content-type", "application/json"), ("accept", "application/json, text/event-stream")];
    let reply = client.send("POST", path, &headers, body.to_string().as_bytes())?;
    if !reply.header("content-type").is_some_and(|kind| kind.starts_with("text/event-stream")) {
        return Ok((reply.status, vec![(String::new(), reply.expect(reply.status)?)]));
    }
    let mut events = Vec::new();
    for block in reply.text().split("\n\n") {
        let field = |name: &str| block.lines().find_map(|line| line.strip_prefix(name));
        let Some(data) = field("data: ").filter(|data| *data != "[DONE]") else { continue };
        let name = field("event: ").unwrap_or_default().to_owned();
        events.push((name, serde_json::from_str(data).with_context(|| data.to_owned())?));
    }
    Ok((reply.status, events))
}

/// An error as this API writes it.
fn own_error(body: &Value) -> Result<String> {
    let error = &body["error"];
    let whole = error["type"].is_string() && error["message"].is_string() && body["request_id"].is_string();
    ensure!(whole, "not the API's error shape: {body}");
    Ok(error["code"].as_str().context("no code")?.to_owned())
}

fn native(client: &Client, body: &Value) -> Result<Seen> {
    let (status, events) = data(client, "/v1/chat", body)?;
    let mut seen = Seen { status, ..Seen::default() };
    for (name, data) in events {
        match name.as_str() {
            "" if status != 200 => seen.error = Some(own_error(&data)?),
            "" => {
                data["text"].as_str().unwrap_or_default().clone_into(&mut seen.text);
                seen.ending(&data["done"]);
            }
            "error" => seen.error = Some(own_error(&data)?),
            "delta" => seen.text.push_str(data["text"].as_str().unwrap_or_default()),
            "done" => seen.ending(&data),
            _ => {}
        }
    }
    Ok(seen)
}

fn openai(client: &Client, body: &Value) -> Result<Seen> {
    let (status, events) = data(client, "/v1/chat/completions", body)?;
    let mut seen = Seen { status, ..Seen::default() };
    for (_, data) in events {
        if let Some(error) = data.get("error") {
            let whole =
                error["message"].is_string() && error["type"].is_string() && error.get("param").is_some();
            ensure!(whole, "not OpenAI's error shape: {data}");
            seen.error = Some(error["code"].as_str().context("no code")?.to_owned());
        }
        let choice = &data["choices"][0];
        for said in [&choice["delta"]["content"], &choice["message"]["content"]] {
            seen.text.push_str(said.as_str().unwrap_or_default());
        }
        if data["ragflare"]["done"].is_object() {
            seen.ending(&data["ragflare"]["done"]);
            choice["finish_reason"].as_str().context("no finish_reason")?.clone_into(&mut seen.finish);
        }
    }
    Ok(seen)
}

fn ui(client: &Client, body: &Value) -> Result<Seen> {
    let (status, events) = data(client, "/api/chat", body)?;
    let mut seen = Seen { status, ..Seen::default() };
    for (_, data) in events {
        match data["type"].as_str() {
            None if status != 200 => seen.error = Some(own_error(&data)?),
            Some("text-delta") => seen.text.push_str(data["delta"].as_str().unwrap_or_default()),
            Some("error") => {
                ensure!(data["errorText"].as_str().is_some_and(|text| !text.is_empty()), "{data}");
                seen.error = Some("errorText".to_owned());
            }
            Some("finish") => {
                seen.ending(&data["messageMetadata"]["done"]);
                data["finishReason"].as_str().context("no finishReason")?.clone_into(&mut seen.finish);
            }
            _ => {}
        }
    }
    Ok(seen)
}

fn mcp(client: &Client) -> Result<Seen> {
    let call = json!({"name": "ask", "arguments": {"question": QUESTION}, "_meta": {"progressToken": "p"}});
    let body = json!({"jsonrpc": "2.0", "id": 1, "method": "tools/call", "params": call});
    let (status, events) = data(client, "/mcp", &body)?;
    let mut seen = Seen { status, ..Seen::default() };
    let (_, last) = events.last().context("no reply")?;
    let result = &last["result"];
    if result["isError"] == true {
        ensure!(result["content"][0]["text"].as_str().is_some_and(|text| !text.is_empty()), "{last}");
        seen.error =
            Some(result["structuredContent"]["error"]["code"].as_str().unwrap_or("isError").to_owned());
        return Ok(seen);
    }
    ensure!(result["structuredContent"].is_object(), "no result: {last}");
    result["structuredContent"]["text"].as_str().unwrap_or_default().clone_into(&mut seen.text);
    seen.ending(&result["structuredContent"]);
    Ok(seen)
}

fn search(client: &Client) -> Result<Seen> {
    let (status, events) = data(client, "/v1/search", &json!({"query": QUESTION}))?;
    let mut seen = Seen { status, ..Seen::default() };
    let (_, reply) = events.first().context("no reply")?;
    if status != 200 {
        seen.error = Some(own_error(reply)?);
        return Ok(seen);
    }
    let found =
        reply["hits"].as_array().is_some_and(|hits| hits.iter().any(|hit| hit["document_id"] == "lamp.md"));
    if found { "found" } else { "nothing found" }.clone_into(&mut seen.outcome);
    seen.degraded = list(&reply["degraded"]);
    Ok(seen)
}

/// Strikes with a fault and asks by every protocol, at once where the fault lasts.
fn strike(world: &World, fault: &Fault) -> Result<Vec<Seen>> {
    let mut rules = fault.rules.as_array().context("rules")?.clone();
    for service in ["ai", "external"] {
        rules.push(on(json!({"service": service, "op": "chat"}), json!({"answer": ANSWER})));
    }
    let timed = |protocol: &str| -> Result<Seen> {
        let started = Instant::now();
        let seen = ask(&world.client, protocol).with_context(|| format!("{}: {protocol}", fault.name))?;
        let took = started.elapsed();
        ensure!(took < PATIENCE, "{}: {protocol} took {took:?}", fault.name);
        Ok(seen)
    };
    world.twin.faults(&json!(rules))?;
    if fault.once {
        return PROTOCOLS
            .into_iter()
            .map(|protocol| {
                world.twin.faults(&json!(rules))?;
                let seen = timed(protocol)?;
                let left = world.twin.control("GET", "faults", &Value::Null)?;
                ensure!(left[0]["times"] == 0 || protocol == "/v1/search", "it never struck: {left}");
                Ok(seen)
            })
            .collect();
    }
    std::thread::scope(|scope| {
        let timed = &timed;
        let asked: Vec<_> =
            PROTOCOLS.into_iter().map(|protocol| scope.spawn(move || timed(protocol))).collect();
        asked.into_iter().map(|asked| asked.join().expect("a client panicked")).collect()
    })
}

/// What must hold whatever the table says.
fn judge(fault: &Fault, seen: &[Seen], ladder: bool) -> Result<()> {
    let answers = &seen[..PROTOCOLS.len() - 1];
    for (protocol, seen) in PROTOCOLS.iter().zip(seen) {
        let what = format!("{}: {protocol} saw {seen:?}", fault.name);
        // A stream that stands still is told from one that goes on only when words have been sent.
        ensure!(!ladder || fault.after_text || seen.status == 200 && seen.error.is_none(), "{what}");
        ensure!(seen.error.is_some() || !seen.outcome.is_empty(), "{what}");
    }
    for (protocol, seen) in PROTOCOLS.iter().zip(answers) {
        let what = format!("{}: {protocol} saw {seen:?}", fault.name);
        ensure!(seen.error.is_some() || !seen.text.is_empty(), "{what}");
        if fault.after_text && !seen.text.is_empty() {
            ensure!(ANSWER.starts_with(&seen.text) && seen.finish != "stop", "{what}");
        }
        let whole = seen.outcome == "answered" && seen.finish == "stop";
        ensure!(!whole || seen.text == ANSWER, "{what}");
    }
    // All protocols tell the same of an answer.
    let told: Vec<&Seen> = answers.iter().filter(|seen| seen.error.is_none()).collect();
    for pair in told.windows(2) {
        let same = pair[0].degraded == pair[1].degraded
            && pair[0].outcome == pair[1].outcome
            && pair[0].model == pair[1].model;
        ensure!(same, "{}: {:?} and {:?}", fault.name, pair[0], pair[1]);
    }
    Ok(())
}

/// The row of a fault.
fn row(fault: &str, seen: &[Seen]) -> String {
    let told = seen[..PROTOCOLS.len() - 1].iter().find(|seen| seen.error.is_none());
    let names = |degraded: &[String]| {
        degraded.iter().map(|stage| format!("`{stage}`")).collect::<Vec<_>>().join(", ")
    };
    let by = told.map_or("", |seen| match seen.model.as_str() {
        MODEL => "the model",
        FALLBACK => "the fallback",
        EXTERNAL => "the external one",
        _ => "none",
    });
    let without = told.map_or_else(String::new, |seen| names(&seen.degraded));
    let mut row = format!("| {fault} | {by} | {without} |");
    for (protocol, seen) in PROTOCOLS.iter().zip(seen) {
        let lacks = if *protocol == "/v1/search" && !seen.degraded.is_empty() {
            format!(" without {}", names(&seen.degraded))
        } else {
            String::new()
        };
        let _ = write!(row, " {}{lacks} |", seen.cell());
    }
    row + "\n"
}

fn table(world: &World, faults: &[Fault], ladder: bool) -> Result<String> {
    let headings = PROTOCOLS.map(|protocol| match protocol.split_once(", ") {
        Some((path, how)) => format!("`{path}` {how}"),
        None => format!("`{protocol}`"),
    });
    let mut table = format!("| fault | answered by | `degraded` | {} |\n", headings.join(" | "));
    let _ = writeln!(table, "|{}", "---|".repeat(PROTOCOLS.len() + 3));
    for fault in faults {
        let started = Instant::now();
        let seen = strike(world, fault)?;
        let row = row(fault.name, &seen);
        eprint!("{:5.1} s {row}", started.elapsed().as_secs_f64());
        judge(fault, &seen, ladder)?;
        table.push_str(&row);
    }
    if ladder {
        let seen = while_busy(world)?;
        let busy = fault("D1 is busy with other requests", json!([]));
        judge(&busy, &seen, ladder)?;
        table.push_str(&row(busy.name, &seen));
    }
    world.twin.faults(&json!([]))?;
    Ok(table)
}

/// Asks while others keep the database at work, which does one thing at a time.
fn while_busy(world: &World) -> Result<Vec<Seen>> {
    let none = fault("none", json!([]));
    let started = Instant::now();
    strike(world, &none)?;
    let alone = started.elapsed();
    let stop = AtomicBool::new(false);
    std::thread::scope(|scope| {
        let workers: Vec<_> = (0..8)
            .map(|_| {
                scope.spawn(|| -> Result<u32> {
                    let mut done = 0;
                    while !stop.load(Ordering::Relaxed) {
                        world.admin.get("/v1/admin/audit")?.expect(200)?;
                        done += 1;
                    }
                    Ok(done)
                })
            })
            .collect();
        std::thread::sleep(Duration::from_millis(500));
        let started = Instant::now();
        let seen = strike(world, &none);
        let took = started.elapsed();
        stop.store(true, Ordering::Relaxed);
        let mut audits = 0;
        for worker in workers {
            audits += worker.join().expect("a client panicked")?;
        }
        eprintln!("D1 busy with {audits} audits: {took:?} for all protocols, {alone:?} alone");
        seen
    })
}

fn every_fault_in_every_protocol(_: &Nothing) -> Result<()> {
    let mut seen = String::from("With every rung of the ladder:\n\n");
    seen += &table(&World::start(true)?, &faults_of_all(), true)?;
    seen += "\nWith `answer.quote` off and neither a fallback nor an external service:\n\n";
    seen += &table(&World::start(false)?, &faults_of_models(), false)?;
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("..").join(DOCUMENT);
    let document = std::fs::read_to_string(&path)?;
    let parts = document
        .split_once(BEGIN)
        .and_then(|(before, rest)| rest.split_once(END).map(|(table, after)| (before, table, after)));
    let Some((before, written, after)) = parts else { bail!("{DOCUMENT} has no place for the table") };
    if std::env::var_os("RAGFLARE_BLESS").is_some() {
        std::fs::write(&path, format!("{before}{BEGIN}{seen}{END}{after}"))?;
        return Ok(());
    }
    ensure!(written == seen, "{DOCUMENT} says otherwise; RAGFLARE_BLESS=1 writes what was seen:\n{seen}");
    Ok(())
}
