//! Clients that leave: what they asked for is not generated to the end.

use super::World;
use anyhow::{Context, Result, ensure};
use ragflare_tests::Client;
use serde_json::{Value, json};
use std::collections::BTreeSet;
use std::fs;
use std::io::{BufRead, BufReader, Read, Write};
use std::net::{Shutdown, TcpStream};
use std::path::Path;
use std::sync::PoisonError;
use std::time::{Duration, Instant};

const QUESTION: &str = "Tell me at length all that this guide says about the lamp, the lens and the fog.";

/// Opens a reply and goes away at its first sign of text.
pub(crate) fn from_a_stream(world: &World) -> Result<()> {
    let _turn = world.twin.lock().unwrap_or_else(PoisonError::into_inner);
    for (path, body, sign) in [
        ("/v1/chat", chat(true), "event: delta"),
        ("/v1/chat/completions", chat(true), "\"delta\":{\"content\":"),
        ("/api/chat", ui(), "text-delta"),
        ("/mcp", ask(), "\"progress\":3"),
    ] {
        let before = Before::new(world, path)?;
        let mut stream = TcpStream::connect(host(&world.stack.url)?)?;
        post(&mut stream, &world.stack.url, path, &world.key, "application/json, text/event-stream", &body)?;
        let mut lines = BufReader::new(&stream).lines();
        while !lines.next().context("the stream ended")??.contains(sign) {}
        before.active(1)?;
        stream.shutdown(Shutdown::Both)?;
        before.stopped()?;
    }
    Ok(())
}

/// Asks for a reply that is not streamed, and goes away while it is generated.
pub(crate) fn from_a_whole_reply(world: &World) -> Result<()> {
    let _turn = world.twin.lock().unwrap_or_else(PoisonError::into_inner);
    let direct = direct(world)?;
    for (path, body) in [("/v1/chat", chat(false)), ("/v1/chat/completions", chat(false)), ("/mcp", ask())] {
        let before = Before::new(world, path)?;
        let mut stream = TcpStream::connect(host(&direct)?)?;
        // A reply that is not read: with it in the buffer, closing resets the connection. Of one that is only closed the
        // runtime learns nothing until it writes.
        write!(stream, "GET / HTTP/1.1\r\nhost: {}\r\n\r\n", host(&direct)?)?;
        stream.peek(&mut [0])?;
        post(&mut stream, &direct, path, &world.key, "application/json", &body)?;
        before.active(1)?;
        drop(stream);
        before.stopped()?;
    }
    Ok(())
}

fn chat(stream: bool) -> Value {
    json!({"messages": [{"role": "user", "content": QUESTION}], "max_tokens": 400, "stream": stream})
}

fn ui() -> Value {
    let parts = json!([{"type": "text", "text": QUESTION}]);
    json!({"messages": [{"id": "1", "role": "user", "parts": parts}], "max_tokens": 400})
}

fn ask() -> Value {
    let call = json!({"name": "ask", "arguments": {"question": QUESTION, "max_tokens": 400},
        "_meta": {"progressToken": "p"}});
    json!({"jsonrpc": "2.0", "id": 1, "method": "tools/call", "params": call})
}

/// How things stood before the request.
struct Before<'a> {
    world: &'a World,
    twin: Client,
    path: &'a str,
    reported: usize,
}

impl<'a> Before<'a> {
    fn new(world: &'a World, path: &'a str) -> Result<Self> {
        let twin = Client::new(&world.stack.twin_url);
        twin.send("POST", "/control/stats/reset", &[], b"")?;
        Ok(Self { reported: reported(world, path)?, world, twin, path })
    }

    /// Waits until so many generations run.
    fn active(&self, count: u64) -> Result<Value> {
        let started = Instant::now();
        loop {
            let now = self.twin.get("/control/stats")?.expect(200)?;
            if now["generations_active"] == count {
                return Ok(now);
            }
            ensure!(started.elapsed() < Duration::from_secs(15), "{}: not {count}: {now}", self.path);
            std::thread::sleep(Duration::from_millis(20));
        }
    }

    /// Waits until the generation is stopped and what it took is in the ledger.
    fn stopped(&self) -> Result<()> {
        let (path, left) = (self.path, Instant::now());
        let stats = self.active(0)?;
        let (cancelled, finished) = (&stats["generations_cancelled"], &stats["generations_finished"]);
        ensure!(*cancelled == 1 && *finished == 0, "{path}: {stats}");
        let (after, tokens) = (left.elapsed(), &stats["tokens_generated"]);
        while reported(self.world, path)? == self.reported {
            ensure!(left.elapsed() < Duration::from_secs(15), "{path}: nothing in the ledger");
            std::thread::sleep(Duration::from_millis(20));
        }
        eprintln!("left {path}: stopped after {after:?}, {tokens} of 400 tokens generated");
        Ok(())
    }
}

fn reported(world: &World, path: &str) -> Result<usize> {
    let what = format!("POST {path}");
    Ok(world.stack.ledger()?.iter().filter(|line| line["invocation"] == what).count())
}

fn host(url: &str) -> Result<&str> {
    url.strip_prefix("http://").context("an http address")
}

/// Sends a request over a connection, to be ended when one likes.
fn post(stream: &mut TcpStream, url: &str, path: &str, key: &str, accept: &str, body: &Value) -> Result<()> {
    let body = body.to_string();
    write!(
        stream,
        "POST {path} HTTP/1.1\r\nhost: {}\r\nauthorization: Bearer {key}\r\ncontent-type: application/json\r\n\
         accept: {accept}\r\ncontent-length: {}\r\n\r\n{body}",
        host(url)?,
        body.len()
    )?;
    Ok(())
}

/// Where the worker's own runtime listens. wrangler's proxy before it closes its connection when a client leaves, but does
/// not reset it, which is all that a runtime that has not begun to write sees.
fn direct(world: &World) -> Result<String> {
    let mark = format!("RAGFLARE_TWIN={}", world.stack.twin_url);
    let mut sockets = BTreeSet::new();
    for process in fs::read_dir("/proc")?.flatten() {
        // Others' processes, and those that end meanwhile, can't be read.
        let _ = sockets_of(&process.path(), &mark, &mut sockets);
    }
    for line in fs::read_to_string("/proc/net/tcp")?.lines().skip(1) {
        let fields: Vec<&str> = line.split_whitespace().collect();
        let [_, local, _, state, _, _, _, _, _, inode, ..] = fields[..] else { continue };
        if state != "0A" || !sockets.contains(inode) {
            continue;
        }
        let port = u16::from_str_radix(local.rsplit(':').next().unwrap_or_default(), 16)?;
        let url = format!("http://127.0.0.1:{port}");
        if url != world.stack.url && greets(port).unwrap_or(false) {
            return Ok(url);
        }
    }
    anyhow::bail!("no runtime of this stack listens")
}

/// Adds the sockets of a `workerd` that has `mark` in its environment.
fn sockets_of(process: &Path, mark: &str, sockets: &mut BTreeSet<String>) -> Result<()> {
    let is_runtime = fs::read_to_string(process.join("comm"))?.trim() == "workerd";
    let environment = fs::read(process.join("environ"))?;
    if !is_runtime || !environment.split(|byte| *byte == 0).any(|entry| entry == mark.as_bytes()) {
        return Ok(());
    }
    for entry in fs::read_dir(process.join("fd"))? {
        let target = fs::read_link(entry?.path())?;
        let inode = target.to_str().and_then(|name| name.strip_prefix("socket:[")?.strip_suffix(']'));
        sockets.extend(inode.map(str::to_owned));
    }
    Ok(())
}

/// Whether the query worker answers there.
fn greets(port: u16) -> Result<bool> {
    let mut stream = TcpStream::connect(("127.0.0.1", port))?;
    stream.set_read_timeout(Some(Duration::from_secs(2)))?;
    write!(stream, "GET / HTTP/1.1\r\nhost: 127.0.0.1:{port}\r\nconnection: close\r\n\r\n")?;
    let mut reply = String::new();
    stream.read_to_string(&mut reply)?;
    Ok(reply.contains("\r\n\r\nRagflare. "))
}
