//! The protocols of others, spoken by their own official clients; the contract; clients that leave.

#[path = "protocols/contract.rs"]
mod contract;

use anyhow::{Context, Result, ensure};
use ragflare_tests::{Case, Client, run};
use serde_json::{Value, json};
use std::io::{BufRead, BufReader, Write};
use std::net::{Shutdown, TcpStream};
use std::process::ExitCode;
use std::sync::{Mutex, PoisonError};
use std::time::{Duration, Instant};
use xtask::{Stack, StackOptions, clients, paths};

const GUIDE: &str = include_str!("../../fixtures/lighthouse.md");
struct World {
    stack: Stack,
    admin: Client,
    /// Its one document is the guide.
    client: Client,
    key: String,
    /// What the twin is told concerns all who ask it: one at a time.
    twin: Mutex<()>,
}

impl World {
    fn start() -> Result<Self> {
        clients::install()?;
        let options = StackOptions { fresh: true, ..StackOptions::new("target/tests/protocols") };
        let stack = Stack::start(&options)?;
        let admin = Client::new(&stack.url).with_key(&stack.admin_key);
        let body = json!({"tenant": "protocols", "scopes": ["read", "write"]});
        let made = admin.post("/v1/admin/keys", &body)?.expect(201)?;
        let key = made["key"].as_str().context("no key")?.to_owned();
        let client = admin.with_key(&key);
        client.ingest("lighthouse.md", GUIDE)?;
        client.wait_for("lighthouse.md", |document| document["status"] == "indexed")?;
        Ok(Self { stack, admin, client, key, twin: Mutex::default() })
    }

    fn script(&self, name: &str) -> Result<()> {
        let _turn = self.twin.lock().unwrap_or_else(PoisonError::into_inner);
        let env = [
            ("RAGFLARE_URL", self.stack.url.as_str()),
            ("RAGFLARE_KEY", &self.key),
            ("RAGFLARE_TWIN", &self.stack.twin_url),
        ];
        let work = paths::checkout().join("target/tests/protocols-clients").join(name);
        let printed = clients::run(name, &work, &env);
        Client::new(&self.stack.twin_url).delete("/control/faults")?;
        eprint!("{}", printed?.lines().map(|line| format!("{name}: {line}\n")).collect::<String>());
        Ok(())
    }
}

fn main() -> ExitCode {
    let cases: &[Case<World>] = &[
        ("the AI SDK", |world| world.script("ui.mjs")),
        ("MCP's official clients", |world| world.script("mcp.mjs")),
        ("OpenAI's official client for Node", |world| world.script("openai.mjs")),
        ("tools and structured answers by OpenAI's client", |world| world.script("openai_tools.mjs")),
        ("OpenAI's official client for Python", |world| world.script("openai_client.py")),
        ("a client that leaves stops the generation", a_client_that_leaves),
        ("MCP without a client", mcp_without_a_client),
        ("every new route asks for a key", every_new_route_asks_for_a_key),
        ("the contract is served", contract::is_served),
        ("every route is in the contract", contract::every_route_is_in_it),
        ("the contract's routes are there", contract::its_routes_are_there),
        ("the contract's examples work, and replies are as it says", contract::its_examples_work),
    ];
    run(World::start, cases)
}

/// Opens a reply and goes away at its first sign of text.
fn a_client_that_leaves(world: &World) -> Result<()> {
    let _turn = world.twin.lock().unwrap_or_else(PoisonError::into_inner);
    let twin = Client::new(&world.stack.twin_url);
    let text = "Tell me at length all that this guide says about the lamp, the lens and the fog.";
    let messages = json!([{"role": "user", "content": text}]);
    let parts = json!([{"id": "1", "role": "user", "parts": [{"type": "text", "text": text}]}]);
    let call = json!({"name": "ask", "arguments": {"question": text, "max_tokens": 400},
        "_meta": {"progressToken": "p"}});
    for (path, body, sign) in [
        ("/v1/chat", json!({"messages": messages, "max_tokens": 400}), "event: delta"),
        (
            "/v1/chat/completions",
            json!({"messages": messages, "max_tokens": 400, "stream": true}),
            "\"delta\":{\"content\":",
        ),
        ("/api/chat", json!({"messages": parts, "max_tokens": 400}), "text-delta"),
        (
            "/mcp",
            json!({"jsonrpc": "2.0", "id": 1, "method": "tools/call", "params": call}),
            "\"progress\":3",
        ),
    ] {
        twin.send("POST", "/control/stats/reset", &[], b"")?;
        let stats = || twin.get("/control/stats")?.expect(200);
        let active = |count: u64| -> Result<Value> {
            let started = Instant::now();
            loop {
                let now = stats()?;
                if now["generations_active"] == count {
                    return Ok(now);
                }
                ensure!(started.elapsed() < Duration::from_secs(15), "{path}: not {count}: {now}");
                std::thread::sleep(Duration::from_millis(20));
            }
        };
        let reported = || -> Result<usize> {
            let what = format!("POST {path}");
            Ok(world.stack.ledger()?.iter().filter(|line| line["invocation"] == what).count())
        };
        let before = reported()?;
        let stream = post(&world.stack.url, path, &world.key, &body.to_string())?;
        let mut lines = BufReader::new(&stream).lines();
        while !lines.next().context("the stream ended")??.contains(sign) {}
        active(1)?;
        stream.shutdown(Shutdown::Both)?;
        let left = Instant::now();
        let stats = active(0)?;
        let (cancelled, finished) = (&stats["generations_cancelled"], &stats["generations_finished"]);
        ensure!(*cancelled == 1 && *finished == 0, "{path}: {stats}");
        let (after, tokens) = (left.elapsed(), &stats["tokens_generated"]);
        while reported()? == before {
            ensure!(left.elapsed() < Duration::from_secs(15), "{path}: nothing in the ledger");
            std::thread::sleep(Duration::from_millis(20));
        }
        eprintln!("left {path}: stopped after {after:?}, {tokens} of 400 tokens generated");
    }
    Ok(())
}

/// Sends a request and hands the connection over, to be ended when one likes.
fn post(url: &str, path: &str, key: &str, body: &str) -> Result<TcpStream> {
    let host = url.strip_prefix("http://").context("an http address")?;
    let mut stream = TcpStream::connect(host)?;
    write!(
        stream,
        "POST {path} HTTP/1.1\r\nhost: {host}\r\nauthorization: Bearer {key}\r\ncontent-type: application/json\r\n\
         accept: application/json, text/event-stream\r\ncontent-length: {}\r\n\r\n{body}",
        body.len()
    )?;
    Ok(stream)
}

fn mcp_without_a_client(world: &World) -> Result<()> {
    let send = |headers: &[(&str, &str)], body: &Value| {
        let mut all = vec![("content-type", "application/json")];
        all.extend(headers);
        world.client.send("POST", "/mcp", &all, body.to_string().as_bytes())
    };
    let call = |method: &str| json!({"jsonrpc": "2.0", "id": 7, "method": method});
    // Each revision that is spoken is agreed to; to another the newest is offered.
    for (wanted, given) in [
        ("2025-11-25", "2025-11-25"),
        ("2025-03-26", "2025-03-26"),
        ("2024-11-05", "2024-11-05"),
        ("1999-01-01", "2025-11-25"),
    ] {
        let mut hello = call("initialize");
        hello["params"] = json!({"protocolVersion": wanted, "capabilities": {}, "clientInfo": {"name": "x"}});
        let reply = send(&[], &hello)?.expect(200)?;
        ensure!(reply["result"]["protocolVersion"] == given && reply["id"] == 7, "{reply}");
    }
    ensure!(send(&[], &call("ping"))?.expect(200)? == json!({"jsonrpc": "2.0", "id": 7, "result": {}}));
    for silent in [
        json!({"jsonrpc": "2.0", "method": "notifications/initialized"}),
        json!({"jsonrpc": "2.0", "method": "notifications/cancelled", "params": {"requestId": 7}}),
        json!({"jsonrpc": "2.0", "id": 7, "result": {}}),
    ] {
        let reply = send(&[], &silent)?;
        ensure!(reply.status == 202 && reply.bytes.is_empty(), "{silent}: {}", reply.text());
    }

    let modern = |method: &str, version: &str| {
        json!({"jsonrpc": "2.0", "id": "m", "method": method, "params": {"name": "search", "_meta": {
            "io.modelcontextprotocol/protocolVersion": version,
            "io.modelcontextprotocol/clientCapabilities": {},
        }}})
    };
    let named = [("mcp-protocol-version", "2026-07-28"), ("mcp-method", "tools/list")];
    let list = send(&named, &modern("tools/list", "2026-07-28"))?.expect(200)?;
    ensure!(list["result"]["resultType"] == "complete" && list["result"]["ttlMs"].is_u64(), "{list}");
    let other = [("mcp-protocol-version", "2026-07-28"), ("mcp-method", "ping")];
    let mut bare = modern("tools/list", "2026-07-28");
    bare["params"]["_meta"].as_object_mut().context("an object")?.clear();

    for (what, headers, body, status, code) in [
        ("a batch", vec![], json!([call("ping")]), 400, -32600),
        ("no version of JSON-RPC", vec![], json!({"id": 1, "method": "ping"}), 400, -32600),
        ("a null id", vec![], json!({"jsonrpc": "2.0", "id": null, "method": "ping"}), 400, -32600),
        ("no method", vec![], json!({"jsonrpc": "2.0", "id": 1}), 400, -32600),
        (
            "params in a list",
            vec![],
            json!({"jsonrpc": "2.0", "id": 1, "method": "ping", "params": []}),
            400,
            -32600,
        ),
        ("an unknown method", vec![], call("resources/list"), 200, -32601),
        ("an unknown tool", vec![], call("tools/call"), 200, -32602),
        ("an unknown version", vec![("mcp-protocol-version", "2031-01-01")], call("ping"), 400, -32000),
        ("an unknown version, newer", named.to_vec(), modern("tools/list", "2031-01-01"), 400, -32022),
        ("no version in a newer body", named.to_vec(), bare, 400, -32602),
        ("a header of another method", named.to_vec(), modern("tools/call", "2026-07-28"), 400, -32020),
        ("no headers", vec![], modern("tools/list", "2026-07-28"), 400, -32020),
        ("an unknown method, newer", other.to_vec(), modern("ping", "2026-07-28"), 404, -32601),
        ("a page of another origin", vec![("origin", "https://evil.example")], call("ping"), 403, -32000),
    ] {
        let reply = send(&headers, &body)?.expect(status).with_context(|| what.to_owned())?;
        ensure!(reply["error"]["code"] == code && reply["jsonrpc"] == "2.0", "{what}: {reply}");
        ensure!(reply["error"]["message"].is_string() && reply.get("id").is_some(), "{what}: {reply}");
    }
    let own = [("origin", world.stack.url.as_str())];
    ensure!(send(&own, &call("ping"))?.status == 200, "a page of this origin");
    let json = [("content-type", "application/json")];
    let broken = world.client.send("POST", "/mcp", &json, b"{\"jsonrpc\"")?.expect(400)?;
    ensure!(broken["error"]["code"] == -32700 && broken["id"].is_null(), "{broken}");
    let typed = world.client.send("POST", "/mcp", &[("content-type", "text/plain")], b"{}")?;
    ensure!(typed.expect(415)?["error"]["code"] == -32000);
    for method in ["GET", "DELETE", "PUT"] {
        let reply = world.client.send(method, "/mcp", &[("accept", "text/event-stream")], b"")?;
        ensure!(reply.header("allow") == Some("POST") && reply.expect(405)?["error"]["code"] == -32000);
    }
    // Without a stream, the answer comes whole.
    let _turn = world.twin.lock().unwrap_or_else(PoisonError::into_inner);
    let mut ask = call("tools/call");
    ask["params"] =
        json!({"name": "ask", "arguments": {"question": "Which oil burns the lamp?", "max_tokens": 8}});
    let whole = send(&[("accept", "application/json")], &ask)?.expect(200)?;
    ensure!(whole["result"]["structuredContent"]["sources"][0]["number"] == 1, "{whole}");
    Ok(())
}

fn every_new_route_asks_for_a_key(world: &World) -> Result<()> {
    let nobody = Client::new(&world.stack.url);
    let write = json!({"tenant": "protocols", "scopes": ["write"]});
    let made = world.admin.post("/v1/admin/keys", &write)?.expect(201)?;
    let writer = world.admin.with_key(made["key"].as_str().context("no key")?);
    for (method, path) in [
        ("POST", "/api/chat"),
        ("GET", "/api/chat/c1/stream"),
        ("POST", "/v1/embeddings"),
        ("POST", "/v1/feedback"),
        ("GET", "/v1/models"),
        ("GET", "/v1/models/x"),
    ] {
        let headers = [("content-type", "application/json")];
        let refused = nobody.send(method, path, &headers, b"")?;
        ensure!(refused.error(401)? == "invalid_api_key", "{method} {path}");
        ensure!(refused.header("www-authenticate") == Some("Bearer"));
        let refused = writer.send(method, path, &headers, b"")?;
        ensure!(refused.error(403)? == "insufficient_scope", "{method} {path}");
    }
    let headers = [("content-type", "application/json")];
    let refused = nobody.send("POST", "/mcp", &headers, b"{}")?;
    ensure!(refused.header("www-authenticate") == Some("Bearer"));
    ensure!(refused.expect(401)?["error"]["data"]["code"] == "invalid_api_key");
    // OpenAI's errors say `param` also when it is none.
    let body = writer.post("/v1/embeddings", &json!({}))?.expect(403)?;
    ensure!(body["error"].get("param") == Some(&Value::Null), "{body}");
    Ok(())
}
