//! Who may call: scopes on every route, revocation, rate limits, pages of other origins, and what the logs keep to
//! themselves.

use anyhow::{Context, Result, ensure};
use ragflare_tests::{Case, Client, run};
use serde_json::json;
use std::fs;
use std::process::ExitCode;
use xtask::{Stack, StackOptions};

/// Calls a minute for one key: more than any other case here makes with one.
const LIMIT: u32 = 150;
const PAGE: &str = "https://page.example";
/// In a document, a question and a title; in no log.
const SECRET_WORD: &str = "xylographer";

struct World {
    stack: Stack,
    admin: Client,
}

impl World {
    fn start() -> Result<Self> {
        let options = StackOptions { fresh: true, ..StackOptions::new("target/tests/access") };
        let settings = json!({
            "search": {"rerank_model": "ms-marco-MiniLM-L-12-v2", "rerank_timeout_ms": 60_000},
            "limits": {"neurons_per_request": 200, "neurons_per_day": 400},
        });
        let options = options.var("SETTINGS", &settings.to_string());
        let options = options.var("RATE_LIMIT", &LIMIT.to_string()).var("CORS_ORIGINS", PAGE);
        let stack = Stack::start(&options)?;
        let admin = Client::new(&stack.url).with_key(&stack.admin_key);
        Ok(Self { stack, admin })
    }

    /// A new key of a tenant: its text and its id.
    fn key(&self, tenant: &str, scopes: &[&str]) -> Result<(String, String)> {
        let body = json!({"tenant": tenant, "scopes": scopes});
        let made = self.admin.post("/v1/admin/keys", &body)?.expect(201)?;
        let text = |name: &str| made[name].as_str().map(ToOwned::to_owned).context("no key");
        Ok((text("key")?, text("id")?))
    }
}

fn main() -> ExitCode {
    let cases: &[Case<World>] = &[
        ("every route wants its scope", every_route_wants_its_scope),
        ("a revoked key opens nothing", a_revoked_key_opens_nothing),
        ("a key used too often has to wait, others don't", a_key_used_too_often),
        ("what a tenant may spend is limited", spending_is_limited),
        ("embeddings count, too", embeddings_count),
        ("pages of listed origins may call", pages_of_listed_origins),
        ("logs hold neither keys nor texts", logs_hold_neither_keys_nor_texts),
    ];
    run(World::start, cases)
}

/// Method, path, body, the scope that is wanted.
const ROUTES: &[(&str, &str, &str, &str)] = &[
    ("POST", "/v1/search", r#"{"query":"x"}"#, "read"),
    ("POST", "/v1/feedback", r#"{"log_id":"x","feedback":1}"#, "read"),
    ("POST", "/v1/chat", r#"{"messages":[{"role":"user","content":"x"}]}"#, "read"),
    ("POST", "/v1/chat/completions", r#"{"messages":[{"role":"user","content":"x"}]}"#, "read"),
    ("GET", "/v1/models", "", "read"),
    ("GET", "/v1/documents", "", "read"),
    ("GET", "/v1/documents/a.md", "", "read"),
    ("GET", "/v1/documents/a.md/chunks", "", "read"),
    ("GET", "/v1/documents/a.md/text", "", "read"),
    ("GET", "/v1/documents/a.md/content", "", "read"),
    ("PUT", "/v1/documents/a.md", "text", "write"),
    ("POST", "/v1/documents?filename=a.md", "text", "write"),
    ("PATCH", "/v1/documents/a.md", r#"{"title":"t"}"#, "write"),
    ("DELETE", "/v1/documents/a.md", "", "write"),
    ("DELETE", "/v1/documents?prefix=a", "", "write"),
    ("GET", "/v1/admin/keys", "", "admin"),
    ("POST", "/v1/admin/keys", "{}", "admin"),
    ("DELETE", "/v1/admin/keys/none", "", "admin"),
    ("GET", "/v1/admin/reindex", "", "admin"),
    ("POST", "/v1/admin/reindex", "{}", "admin"),
    ("POST", "/v1/admin/sweep", "{}", "admin"),
    ("GET", "/v1/admin/audit", "", "admin"),
    ("GET", "/v1/admin/dead-letters", "", "admin"),
    ("POST", "/v1/admin/dead-letters/none/replay", "{}", "admin"),
    ("DELETE", "/v1/admin/dead-letters/none", "", "admin"),
];

fn every_route_wants_its_scope(world: &World) -> Result<()> {
    for scope in ["read", "write", "admin"] {
        let others: Vec<&str> =
            ["read", "write", "admin"].into_iter().filter(|other| *other != scope).collect();
        let without = world.admin.with_key(&world.key("scopes", &others)?.0);
        let with = world.admin.with_key(&world.key("scopes", &[scope])?.0);
        for (method, path, body, _) in ROUTES.iter().filter(|(.., wanted)| *wanted == scope) {
            let media_type = if body.starts_with('{') { "application/json" } else { "text/plain" };
            let headers = [("content-type", media_type)];
            let status = |client: &Client| -> Result<u16> {
                Ok(client.send(method, path, &headers, body.as_bytes())?.status)
            };
            ensure!(status(&without)? == 403, "{method} {path} without `{scope}`");
            ensure!(status(&Client::new(&world.stack.url))? == 401, "{method} {path} without a key");
            ensure!(status(&world.admin.with_key("rf_wrong"))? == 401, "{method} {path} with a wrong key");
            // Its own scope opens it, whatever it then finds; operators' routes are closed to a tenant's keys.
            let opened = status(&with)?;
            ensure!(!matches!(opened, 401 | 429), "{method} {path} with `{scope}`: {opened}");
            ensure!(opened != 403 || scope == "admin", "{method} {path} with `{scope}`: {opened}");
        }
    }
    Ok(())
}

fn a_revoked_key_opens_nothing(world: &World) -> Result<()> {
    let (key, id) = world.key("revoked", &["read", "write"])?;
    let (next, _) = world.key("revoked", &["read", "write"])?;
    let client = world.admin.with_key(&key);
    client.get("/v1/documents")?.expect(200)?;
    ensure!(world.admin.delete(&format!("/v1/admin/keys/{id}"))?.status == 204);
    for _ in 0..3 {
        ensure!(client.get("/v1/documents")?.error(401)? == "invalid_api_key");
        ensure!(client.post("/v1/search", &json!({"query": "x"}))?.error(401)? == "invalid_api_key");
    }
    world.admin.with_key(&next).get("/v1/documents")?.expect(200)?;
    Ok(())
}

fn a_key_used_too_often(world: &World) -> Result<()> {
    let client = world.admin.with_key(&world.key("hasty", &["read"])?.0);
    let patient = world.admin.with_key(&world.key("hasty", &["read"])?.0);
    // A minute may begin in between.
    let refused = (0..=2 * LIMIT).find_map(|_| {
        let reply = client.get("/v1/models");
        reply.map(|reply| (reply.status != 200).then_some(reply)).transpose()
    });
    let refused = refused.context("nothing was refused")??;
    ensure!(refused.error(429)? == "rate_limit_exceeded");
    ensure!(refused.expect(429)?["error"]["type"] == "rate_limit_error");
    ensure!(refused.header("retry-after").and_then(|seconds| seconds.parse().ok()) == Some(60));
    patient.get("/v1/models")?.expect(200)?;
    Ok(())
}

fn spending_is_limited(world: &World) -> Result<()> {
    let (spender, other) = (world.admin.tenant("spender")?, world.admin.tenant("thrifty")?);
    let text = "The lamp burns colza oil. It is filled before sunset.";
    spender.ingest("a.md", text)?;
    other.ingest("a.md", text)?;
    let ask = |client: &Client, max_tokens: u32| {
        let messages = json!([{"role": "user", "content": "What does the lamp burn?"}]);
        client.post("/v1/chat", &json!({"messages": messages, "max_tokens": max_tokens, "stream": false}))
    };
    ensure!(ask(&spender, 2000)?.error(400)? == "request_limit_exceeded", "409.6 neurons of answer room");
    // An answer of few tokens gives back what it did not use: more of them fit than rooms would.
    let mut answers = 0;
    let refused = loop {
        let reply = ask(&spender, 500)?;
        if reply.status != 200 {
            break reply;
        }
        answers += 1;
        ensure!(answers < 500, "nothing was refused");
    };
    ensure!(answers > 400 / 102, "{answers} answers");
    ensure!(refused.error(429)? == "daily_limit_exceeded");
    let wait: u32 = refused.header("retry-after").context("no retry-after")?.parse()?;
    ensure!((1..=86_400).contains(&wait));
    ask(&other, 500)?.expect(200)?;
    Ok(())
}

fn embeddings_count(_: &World) -> Result<()> {
    let options = StackOptions { fresh: true, ..StackOptions::new("target/tests/access-frugal") };
    // Enough for the text below once, but not twice.
    let stack = Stack::start(&options.var("SETTINGS", r#"{"limits": {"neurons_per_day": 0.03}}"#))?;
    let admin = Client::new(&stack.url).with_key(&stack.admin_key);
    let (spender, other) = (admin.tenant("spender")?, admin.tenant("thrifty")?);
    let body =
        json!({"model": "@cf/baai/bge-small-en-v1.5", "input": "The lamp burns colza oil before sunset."});
    // A call that fails costs nothing.
    let twin = Client::new(&stack.twin_url);
    let fails = json!([{"match": {"service": "ai", "op": "embed"}, "action": {"error": {"code": 5007}}}]);
    twin.send("PUT", "/control/faults", &[], fails.to_string().as_bytes())?.expect(200)?;
    let failed = spender.post("/v1/embeddings", &body)?;
    ensure!(failed.status >= 500, "{}", failed.text());
    twin.delete("/control/faults")?;
    let embedded = spender.post("/v1/embeddings", &body)?.expect(200)?;
    let neurons = embedded["ragflare"]["usage"]["neurons"].as_f64().context("no neurons")?;
    ensure!(neurons > 0.015 && neurons < 0.03, "{embedded}");
    let refused = spender.post("/v1/embeddings", &body)?;
    ensure!(refused.error(429)? == "daily_limit_exceeded" && refused.header("retry-after").is_some());
    // Nor does one that is refused: what is left does for a search.
    spender.post("/v1/search", &json!({"query": "lamp"}))?.expect(200)?;
    other.post("/v1/embeddings", &body)?.expect(200)?;
    Ok(())
}

fn pages_of_listed_origins(world: &World) -> Result<()> {
    let allowed =
        |reply: &ragflare_tests::Reply| reply.header("access-control-allow-origin").map(ToOwned::to_owned);
    for (origin, expected) in [(PAGE, Some(PAGE)), ("https://other.example", None), ("null", None)] {
        let asks = [
            ("origin", origin),
            ("access-control-request-method", "PUT"),
            ("access-control-request-headers", "authorization"),
        ];
        for path in ["/v1/chat", "/v1/documents/a.md", "/healthz"] {
            let reply = Client::new(&world.stack.url).send("OPTIONS", path, &asks, b"")?;
            ensure!(reply.status == 204 && allowed(&reply).as_deref() == expected, "{path} from {origin}");
            ensure!(reply.header("access-control-allow-methods").is_some() == expected.is_some());
        }
        // Replies and refusals of both workers, a stream among them.
        let chat = r#"{"messages":[{"role":"user","content":"x"}]}"#;
        for (method, path, body, status) in [
            ("GET", "/v1/documents", "", 200),
            ("GET", "/v1/documents/none", "", 404),
            ("GET", "/v1/models", "", 200),
            ("POST", "/v1/search", "{}", 400),
            ("POST", "/v1/chat", chat, 200),
        ] {
            let headers = [("origin", origin), ("content-type", "application/json")];
            let reply = world.admin.send(method, path, &headers, body.as_bytes())?;
            ensure!(reply.status == status, "{method} {path}: {}", reply.text());
            ensure!(allowed(&reply).as_deref() == expected, "{method} {path} from {origin}");
        }
    }
    let reply = world.admin.get("/v1/models")?;
    ensure!(allowed(&reply).is_none() && reply.status == 200);
    Ok(())
}

fn logs_hold_neither_keys_nor_texts(world: &World) -> Result<()> {
    let (key, _) = world.key("quiet", &["read", "write"])?;
    let client = world.admin.with_key(&key);
    client.ingest("a.md", &format!("# The {SECRET_WORD}\n\nThe {SECRET_WORD} cuts pictures in wood."))?;
    client.search(&json!({"query": format!("who is the {SECRET_WORD}?")}))?;
    // Errors are logged, too.
    client.put("b.md", "")?.error(422)?;
    let chat = json!({"messages": [{"role": "user", "content": SECRET_WORD}], "filter": {SECRET_WORD: 1}});
    client.post("/v1/chat", &chat)?.error(400)?;
    let mut logs = String::new();
    for entry in fs::read_dir(world.stack.data().join("logs"))? {
        logs.push_str(&String::from_utf8_lossy(&fs::read(entry?.path())?));
    }
    ensure!(logs.contains("/v1/search"), "these are the logs");
    for (secret, what) in
        [(key.as_str(), "a key"), (&world.stack.admin_key, "the admin key"), (SECRET_WORD, "a text")]
    {
        ensure!(!logs.contains(secret), "{what} is in the logs");
    }
    Ok(())
}
