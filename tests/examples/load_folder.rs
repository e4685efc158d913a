//! Uploads a folder of Markdown and text to a running deployment and tells how fast it went.
//!
//! ```text
//! cargo run --example load_folder -- URL FOLDER [--key KEY] [--twin URL] [--at-once N]
//! ```
//!
//! Ids are the paths in the folder, other characters than an id may have replaced. With the address of a local twin
//! (`cargo xtask up` prints it into its log) the time that went into embedding is shown apart.

use anyhow::{Context, Result, bail, ensure};
use ragflare_tests::Client;
use serde_json::Value;
use std::collections::BTreeSet;
use std::fs;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicUsize, Ordering};
use std::thread;
use std::time::{Duration, Instant};

/// How often progress is looked at, and shown.
const LOOK_EVERY: Duration = Duration::from_secs(2);
/// Without any progress for so long it is given up.
const PATIENCE: Duration = Duration::from_mins(15);
/// How often an upload is tried that is refused for the moment.
const TRIES: u32 = 5;

struct Wanted {
    url: String,
    folder: PathBuf,
    key: Option<String>,
    twin: Option<String>,
    at_once: usize,
}

fn wanted() -> Result<Wanted> {
    let mut plain = Vec::new();
    let (mut key, mut twin, mut at_once) = (None, None, 8);
    let mut arguments = std::env::args().skip(1);
    while let Some(argument) = arguments.next() {
        let mut value = || arguments.next().with_context(|| format!("{argument} needs a value"));
        match argument.as_str() {
            "--key" => key = Some(value()?),
            "--twin" => twin = Some(value()?),
            "--at-once" => at_once = value()?.parse().context("--at-once needs a number")?,
            other if other.starts_with('-') => bail!("{other} is not known"),
            _ => plain.push(argument),
        }
    }
    let [url, folder] =
        plain.try_into().ok().context("usage: load_folder URL FOLDER [--key KEY] [--twin URL]")?;
    Ok(Wanted { url: url.trim_end_matches('/').to_owned(), folder: folder.into(), key, twin, at_once })
}

fn main() -> Result<()> {
    let wanted = wanted()?;
    let mut files = Vec::new();
    find(&wanted.folder, &wanted.folder, &mut files)?;
    files.sort();
    ensure!(!files.is_empty(), "there is no .md or .txt file in {}", wanted.folder.display());
    let ids: BTreeSet<&str> = files.iter().map(|(id, _)| id.as_str()).collect();
    ensure!(ids.len() == files.len(), "two files would get the same id");
    let mut client = Client::new(&wanted.url);
    if let Some(key) = &wanted.key {
        client = client.with_key(key);
    }
    let embedding = || -> Result<Option<(u64, u64)>> {
        let Some(twin) = &wanted.twin else { return Ok(None) };
        let stats = Client::new(twin).get("/control/stats")?.expect(200)?;
        let number = |name: &str| stats[name].as_u64().with_context(|| format!("no {name}: {stats}"));
        Ok(Some((number("embedding_ms")?, number("texts_embedded")?)))
    };

    let before = embedding()?;
    let started = Instant::now();
    let bytes = upload(&client, &files, wanted.at_once)?;
    let uploaded = started.elapsed();
    let found = wait(&client, &ids, started)?;
    let elapsed = started.elapsed();
    let after = embedding()?;

    let sum = |name: &str| found.iter().filter_map(|document| document[name].as_u64()).sum::<u64>();
    let seconds = elapsed.as_secs_f64();
    println!(
        "{} documents, {:.2} MB: uploaded in {:.1} s, all found after {seconds:.1} s",
        files.len(),
        bytes as f64 / 1e6,
        uploaded.as_secs_f64()
    );
    println!(
        "{:.1} documents/s, {:.3} MB/s, {} chunks, {} tokens",
        files.len() as f64 / seconds,
        bytes as f64 / 1e6 / seconds,
        sum("chunk_count"),
        sum("tokens")
    );
    if let (Some((ms_before, texts_before)), Some((ms, texts))) = (before, after) {
        let embedded = (ms - ms_before) as f64 / 1000.0;
        println!(
            "the twin embedded {} texts in {embedded:.1} s; without that: {:.1} s, {:.1} documents/s, {:.3} MB/s",
            texts - texts_before,
            seconds - embedded,
            files.len() as f64 / (seconds - embedded),
            bytes as f64 / 1e6 / (seconds - embedded),
        );
    }
    let failed: Vec<&Value> = found.iter().filter(|document| failed(document)).collect();
    println!("{} failed", failed.len());
    for document in &failed {
        println!("  {}: {}{}", document["id"], document["error"], document["pending"]["error"]);
    }
    ensure!(failed.is_empty(), "not all documents arrived");
    Ok(())
}

/// Ids and paths of the files to be uploaded.
fn find(root: &Path, folder: &Path, files: &mut Vec<(String, PathBuf)>) -> Result<()> {
    for entry in fs::read_dir(folder).with_context(|| format!("cannot read {}", folder.display()))? {
        let path = entry?.path();
        if path.is_dir() {
            find(root, &path, files)?;
        } else if path.extension().is_some_and(|ending| ending == "md" || ending == "txt") {
            let name = path.strip_prefix(root)?.to_string_lossy().into_owned();
            let allowed = |c: char| c.is_ascii_alphanumeric() || "._-/".contains(c);
            files.push((name.chars().map(|c| if allowed(c) { c } else { '_' }).collect(), path));
        }
    }
    Ok(())
}

/// Uploads all, a few at a time. Returns how many bytes that were.
fn upload(client: &Client, files: &[(String, PathBuf)], at_once: usize) -> Result<usize> {
    let next = AtomicUsize::new(0);
    let work = || {
        let mut bytes = 0;
        while let Some((id, path)) = files.get(next.fetch_add(1, Ordering::Relaxed)) {
            let body = fs::read(path).with_context(|| format!("cannot read {}", path.display()))?;
            let kind = if path.extension().is_some_and(|ending| ending == "md") {
                "text/markdown"
            } else {
                "text/plain"
            };
            let mut tries = 0;
            loop {
                let reply = client.put_as(id, kind, &body)?;
                tries += 1;
                match reply.status {
                    200 | 202 => break,
                    429 | 503 if tries < TRIES => thread::sleep(Duration::from_secs(1 << tries)),
                    status => bail!("{id}: {status}: {}", reply.text()),
                }
            }
            bytes += body.len();
        }
        Ok(bytes)
    };
    thread::scope(|scope| {
        let workers: Vec<_> = (0..at_once.max(1)).map(|_| scope.spawn(work)).collect();
        workers.into_iter().map(|worker| worker.join().expect("a thread panicked")).sum()
    })
}

/// Waits until all are found or have failed, and returns them.
fn wait(client: &Client, ids: &BTreeSet<&str>, started: Instant) -> Result<Vec<Value>> {
    let (mut best, mut since) = (usize::MAX, Instant::now());
    loop {
        let mut found = Vec::new();
        let mut cursor = String::new();
        loop {
            let mut page = client.get(&format!("/v1/documents?limit=100{cursor}"))?.expect(200)?;
            if let Value::Array(documents) = page["documents"].take() {
                found.extend(documents);
            }
            match page["next_cursor"].as_str() {
                // An id needs no encoding.
                Some(next) => cursor = format!("&cursor={next}"),
                None => break,
            }
        }
        found.retain(|document| document["id"].as_str().is_some_and(|id| ids.contains(id)));
        let done = |document: &&Value| {
            failed(document)
                || (document["pending"].is_null()
                    && matches!(document["status"].as_str(), Some("searchable" | "indexed")))
        };
        let open = ids.len() - found.iter().filter(done).count();
        eprintln!(
            "{:>6.1} s: {} of {} documents",
            started.elapsed().as_secs_f64(),
            ids.len() - open,
            ids.len()
        );
        if open == 0 {
            return Ok(found);
        }
        if open < best {
            (best, since) = (open, Instant::now());
        }
        ensure!(since.elapsed() < PATIENCE, "{open} documents do not get on");
        thread::sleep(LOOK_EVERY);
    }
}

fn failed(document: &Value) -> bool {
    document["status"] == "failed" || document["pending"]["status"] == "failed"
}
