//! A folder of files, uploaded as a person would, against a list of those that should be refused.
//!
//! `RAGFLARE_FILES` names the folder; `tests/expected/refused.tsv` lists path, code and reason. Without it, the fixtures are
//! the folder. `RAGFLARE_PEER` names a Python with markitdown: then both are timed, see `tests/formats_peer.py`.

use crate::World;
use anyhow::{Context, Result, ensure};
use ragflare_tests::Client;
use serde_json::Value;
use std::collections::BTreeMap;
use std::fs;
use std::io::Write;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use xtask::paths;

const REFUSED: &str = include_str!("../../expected/refused.tsv");
/// Documents that are waited for at a time.
const AT_A_TIME: usize = 40;

#[derive(Debug, Default)]
struct Tally {
    files: usize,
    bytes: usize,
    accepted: usize,
    as_listed: usize,
    otherwise: Vec<String>,
    wrongly_accepted: Vec<String>,
    crashed: Vec<String>,
    /// Of files that both read: bytes, our milliseconds, the peer's.
    timed: (u64, u64, f64),
}

pub(crate) fn is_read(world: &World) -> Result<()> {
    let (folder, is_given) = match std::env::var_os("RAGFLARE_FILES") {
        Some(folder) => (PathBuf::from(folder), true),
        None => (paths::checkout().join("fixtures"), false),
    };
    let mut files = Vec::new();
    list(&folder, &folder, &mut files)?;
    files.sort();
    let listed: BTreeMap<&str, &str> = REFUSED
        .lines()
        .filter(|line| is_given && !line.starts_with('#'))
        .filter_map(|line| line.split_once('\t'))
        .map(|(path, rest)| (path, rest.split('\t').next().unwrap_or(rest)))
        .collect();
    let client = world.admin.tenant("folder")?;
    let mut tallies: BTreeMap<String, Tally> = BTreeMap::new();
    let mut ids = BTreeMap::new();
    for group in files.chunks(AT_A_TIME) {
        let mut sent = Vec::new();
        for path in group {
            let bytes = fs::read(folder.join(path))?;
            let tally = tallies.entry(format_of(path)).or_default();
            (tally.files, tally.bytes) = (tally.files + 1, tally.bytes + bytes.len());
            let name = path.replace('/', "-");
            let query = format!("/v1/documents?filename={}", crate::encoded(&name));
            let reply =
                client.send("POST", &query, &[("content-type", "application/octet-stream")], &bytes)?;
            let outcome = match reply.status {
                200 | 202 => {
                    let body = reply.expect(reply.status)?;
                    let id = body["documents"][0]["id"].as_str().context("no id")?.to_owned();
                    ids.insert(path.clone(), id.clone());
                    sent.push((path, id));
                    continue;
                }
                status => Err((reply.error(status).unwrap_or_else(|_| status.to_string()), reply.text())),
            };
            judge(tally, path, outcome, listed.get(path.as_str()).copied());
        }
        for (path, id) in sent {
            let outcome = outcome(&client, &id)?;
            judge(
                tallies.entry(format_of(path)).or_default(),
                path,
                outcome,
                listed.get(path.as_str()).copied(),
            );
        }
    }
    time(world, &folder, &files, &ids, &mut tallies)?;
    report(&tallies);
    let wrong: Vec<&String> = tallies
        .values()
        .flat_map(|tally| tally.crashed.iter().chain(&tally.otherwise).chain(&tally.wrongly_accepted))
        .collect();
    ensure!(is_given || wrong.is_empty(), "{wrong:#?}");
    let crashed: Vec<&String> = tallies.values().flat_map(|tally| &tally.crashed).collect();
    ensure!(crashed.is_empty(), "{crashed:#?}");
    Ok(())
}

/// How long the converter took, as it says itself, beside the peer.
fn time(
    world: &World,
    folder: &Path,
    files: &[String],
    ids: &BTreeMap<String, String>,
    tallies: &mut BTreeMap<String, Tally>,
) -> Result<()> {
    let ledger = world.stack.ledger()?;
    let conversions: Vec<&Value> = ledger.iter().filter(|line| line["invocation"] == "convert").collect();
    let memory = conversions.iter().filter_map(|line| line["spent"]["wasm_memory_bytes"].as_u64()).max();
    eprintln!("{} conversions, wasm memory at most {memory:?} bytes", conversions.len());
    let Some(python) = std::env::var_os("RAGFLARE_PEER") else { return Ok(()) };
    let mut peer = Command::new(python)
        .arg(paths::checkout().join("tests/formats_peer.py"))
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::null())
        .spawn()?;
    let paths: String = files.iter().map(|path| format!("{}\n", folder.join(path).display())).collect();
    let mut input = peer.stdin.take().context("no input")?;
    let writer = std::thread::spawn(move || input.write_all(paths.as_bytes()));
    let output = peer.wait_with_output()?;
    writer.join().ok().context("the peer stopped reading")??;
    let said: BTreeMap<String, f64> = String::from_utf8(output.stdout)?
        .lines()
        .filter_map(|line| line.split_once('\t'))
        .filter_map(|(path, seconds)| Some((path.to_owned(), seconds.parse().ok()?)))
        .collect();
    for path in files {
        let ours = ids.get(path).and_then(|id| conversions.iter().find(|line| line["name"] == id.as_str()));
        let ours = ours.and_then(|line| Some((line["bytes"].as_u64()?, line["ms"].as_u64()?)));
        let theirs = said.get(&folder.join(path).display().to_string());
        if let (Some((bytes, milliseconds)), Some(seconds)) = (ours, theirs) {
            let timed = &mut tallies.entry(format_of(path)).or_default().timed;
            *timed = (timed.0 + bytes, timed.1 + milliseconds, timed.2 + seconds * 1000.0);
        }
    }
    Ok(())
}

/// Whether a document is served, or why it failed.
fn outcome(client: &Client, id: &str) -> Result<Result<(), (String, String)>> {
    let document = client.wait(id)?;
    if matches!(document["status"].as_str(), Some("searchable" | "indexed")) {
        return Ok(Ok(()));
    }
    let error = &document["error"];
    let text = |value: &Value| value.as_str().unwrap_or_default().to_owned();
    Ok(Err((text(&error["code"]), text(&error["message"]))))
}

fn judge(tally: &mut Tally, path: &str, outcome: Result<(), (String, String)>, listed: Option<&str>) {
    match (outcome, listed) {
        (Ok(()), None) => tally.accepted += 1,
        (Ok(()), Some(code)) => tally.wrongly_accepted.push(format!("{path}: accepted, listed as {code}")),
        (Err((code, why)), _) if matches!(code.as_str(), "conversion_failed" | "retries_exhausted") => {
            tally.crashed.push(format!("{path}: {code}: {why}"));
        }
        // A file of no bytes is refused before anyone reads it.
        (Err((code, _)), Some(listed)) if code == listed || code == "empty" && listed == "no_text" => {
            tally.as_listed += 1;
        }
        (Err((code, why)), _) => {
            let listed = listed.map(|code| format!(" (listed as {code})")).unwrap_or_default();
            tally.otherwise.push(format!("{path}: {code}{listed}: {why}"));
        }
    }
}

fn report(tallies: &BTreeMap<String, Tally>) {
    eprintln!(
        "format | files | bytes | accepted | refused as listed | refused otherwise | accepted though listed | crashed"
    );
    for (format, tally) in tallies {
        eprintln!(
            "{format} | {} | {} | {} | {} | {} | {} | {}",
            tally.files,
            tally.bytes,
            tally.accepted,
            tally.as_listed,
            tally.otherwise.len(),
            tally.wrongly_accepted.len(),
            tally.crashed.len()
        );
    }
    let timed: Vec<_> = tallies.iter().filter(|(_, tally)| tally.timed.0 > 0).collect();
    if !timed.is_empty() {
        eprintln!("format | bytes | ms | MB/s | markitdown's ms | theirs / ours");
    }
    for (format, tally) in timed {
        let (bytes, ours, theirs) = tally.timed;
        let ours = ours.max(1) as f64;
        let speed = bytes as f64 / 1000.0 / ours;
        eprintln!("{format} | {bytes} | {ours} | {speed:.2} | {theirs:.0} | {:.1}", theirs / ours);
    }
    for line in tallies
        .values()
        .flat_map(|tally| tally.otherwise.iter().chain(&tally.wrongly_accepted).chain(&tally.crashed))
    {
        eprintln!("  {line}");
    }
}

fn format_of(path: &str) -> String {
    Path::new(path)
        .extension()
        .map_or_else(|| "(none)".into(), |ending| ending.to_string_lossy().to_lowercase())
}

fn list(root: &Path, dir: &Path, files: &mut Vec<String>) -> Result<()> {
    for entry in fs::read_dir(dir).with_context(|| format!("cannot read {}", dir.display()))? {
        let path = entry?.path();
        if path.is_dir() {
            list(root, &path, files)?;
        } else if let Some(name) = path.strip_prefix(root)?.to_str() {
            files.push(name.to_owned());
        }
    }
    Ok(())
}
