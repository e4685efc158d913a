//! A bucket as the source: what is put into it, changed in it and removed from it, by events, by syncs, and by neither.

use anyhow::{Context, Result, ensure};
use ragflare_tests::{Case, Client, run};
use serde_json::{Value, json};
use std::collections::BTreeSet;
use std::process::ExitCode;
use std::thread;
use std::time::{Duration, Instant};
use xtask::{Stack, StackOptions, stack};

#[path = "shared/mod.rs"]
mod shared;
use shared::{documents, encoded};

/// Recorded bodies of event notifications.
const EVENTS: &str = include_str!("../../fixtures/r2_events.json");
const WORKERS: [&str; 4] = ["tests/source-worker", "worker/query", "worker/ingest", "worker/convert"];

struct World {
    stack: Stack,
    owner: Owner,
}

/// Who has the bucket, and the product's admin key.
struct Owner(Client);

/// Each case has a source, and a tenant, of its own.
fn settings() -> Value {
    let source = |name: &str| json!({"name": name, "tenant": name, "prefix": format!("{name}/")});
    let mut handbook = source("handbook");
    handbook["exclude"] = json!(["**/drafts/**", "**/*.tmp"]);
    handbook["metadata"] = json!({"category": "handbook"});
    let mut prefixed = source("prefixed");
    prefixed["id_prefix"] = "bucket/".into();
    prefixed["include"] = json!(["**/*.{md,txt}"]);
    let mut unbound = source("unbound");
    unbound["binding"] = "NOWHERE".into();
    let plain = ["events", "taken", "emptied", "twice", "large", "killed", "neighbour", "pages"].map(source);
    let mut all = vec![handbook, prefixed, unbound];
    all.extend(plain);
    json!({"ingest": {"sources": all}})
}

impl World {
    fn start() -> Result<Self> {
        let options = StackOptions::new("target/tests/sources").workers(WORKERS);
        let options = StackOptions { fresh: true, ..options.var("SETTINGS", &settings().to_string()) };
        let stack = Stack::start(&options)?;
        let owner = Owner(Client::new(&stack.url).with_key(&stack.admin_key));
        Ok(Self { stack, owner })
    }
}

impl Owner {
    fn put_with(&self, key: &str, headers: &[(&str, &str)], bytes: &[u8]) -> Result<()> {
        let reply = self.0.send("PUT", &format!("/bucket/{}", encoded(key)), headers, bytes)?;
        ensure!(reply.status == 204, "{}", reply.text());
        Ok(())
    }

    fn put(&self, key: &str, text: &str) -> Result<()> {
        self.put_with(key, &[("content-type", "text/markdown")], text.as_bytes())
    }

    fn delete(&self, key: &str) -> Result<()> {
        let reply = self.0.delete(&format!("/bucket/{}", encoded(key)))?;
        ensure!(reply.status == 204, "{}", reply.text());
        Ok(())
    }

    /// Sends the event that was recorded for an action, about this key.
    fn event(&self, action: &str, key: &str) -> Result<()> {
        let recorded: Value = serde_json::from_str(EVENTS)?;
        let mut messages = recorded["messages"].as_array().context("no messages")?.iter();
        let mut message =
            messages.find(|message| message["action"] == action).context("no such action")?.clone();
        message["object"]["key"] = key.into();
        ensure!(self.0.post("/event", &message)?.status == 204);
        Ok(())
    }

    /// A source as the administration shows it.
    fn source(&self, name: &str) -> Result<Value> {
        let listed = self.0.get("/v1/admin/sources")?.expect(200)?;
        let mut sources = listed["sources"].as_array().context("no sources")?.iter();
        Ok(sources
            .find(|source| source["name"] == name)
            .with_context(|| format!("no {name}: {listed}"))?
            .clone())
    }

    fn start_sync(&self, body: &Value) -> Result<Value> {
        self.0.post("/v1/admin/sources/sync", body)?.expect(202)
    }

    /// Waits until nothing of a source is under way.
    fn settled(&self, name: &str) -> Result<Value> {
        let deadline = Instant::now() + Duration::from_mins(3);
        loop {
            let source = self.source(name)?;
            let runs = matches!(source["last_sync"]["state"].as_str(), Some("listing" | "sweeping"));
            if !runs && source["pending"] == 0 && source["processing"] == 0 {
                return Ok(source);
            }
            ensure!(Instant::now() < deadline, "still {source}");
            thread::sleep(Duration::from_millis(200));
        }
    }

    /// A whole sync, and all that follows from it.
    fn sync(&self, name: &str) -> Result<Value> {
        self.start_sync(&json!({"source": name}))?;
        self.settled(name)
    }

    /// What the product keeps of a tenant's originals.
    fn originals(&self, tenant: &str) -> Result<Vec<String>> {
        let keys = self.0.get("/originals")?.expect(200)?;
        let keys = keys.as_array().context("no keys")?.iter().filter_map(|key| key.as_str());
        Ok(keys
            .filter(|key| key.starts_with(&format!("originals/{tenant}/")))
            .map(ToOwned::to_owned)
            .collect())
    }
}

fn main() -> ExitCode {
    let cases: &[Case<World>] = &[
        ("a bucket becomes documents", a_bucket_becomes_documents),
        ("events are hints", events_are_hints),
        ("what was uploaded is nobody else's", what_was_uploaded),
        ("a bucket that lists nothing deletes nothing", an_empty_listing),
        ("two syncs at once", two_syncs_at_once),
        ("an object of many parts", an_object_of_many_parts),
        ("ids and patterns", ids_and_patterns),
        ("a listing of several pages", a_listing_of_several_pages),
        ("sources are shown to whom they belong", who_sees_what),
        ("a sync survives a kill", a_sync_survives_a_kill),
    ];
    run(World::start, cases)
}

/// Whether a source is shown as the contract says.
fn is_as_documented(source: &Value) -> Result<()> {
    let contract: Value = serde_json::from_str(include_str!("../../worker/query/src/openapi.json"))?;
    let schema = json!({"$ref": "#/components/schemas/BucketSource", "components": contract["components"]});
    let validator = jsonschema::validator_for(&schema)?;
    let wrong: Vec<String> =
        validator.iter_errors(source).map(|error| format!("{}: {error}", error.instance_path())).collect();
    ensure!(wrong.is_empty(), "{wrong:?}: {source}");
    Ok(())
}

fn ids(client: &Client) -> Result<BTreeSet<String>> {
    Ok(documents(client, "")?.iter().filter_map(|found| Some(found["id"].as_str()?.to_owned())).collect())
}

/// Waits until a document is found by this word, or, with `false`, is not any more.
fn found(client: &Client, word: &str, id: &str, wanted: bool) -> Result<()> {
    let deadline = Instant::now() + Duration::from_mins(1);
    loop {
        let hits = client.search(&json!({"query": word, "mode": "keyword"}))?;
        let is = hits.iter().any(|hit| {
            hit["document_id"] == id && hit["text"].as_str().is_some_and(|text| text.contains(word))
        });
        if is == wanted {
            return Ok(());
        }
        ensure!(Instant::now() < deadline, "{word} in {id}: {is}, {hits:?}");
        thread::sleep(Duration::from_millis(200));
    }
}

fn a_bucket_becomes_documents(world: &World) -> Result<()> {
    let owner = &world.owner;
    let reader = owner.0.tenant("handbook")?;
    for number in 0..30 {
        let text = format!("# Duty {number}\n\nThe keeper of watch number{number}word winds the clock.");
        owner.put(&format!("handbook/duties/{number:02}.md"), &text)?;
    }
    // What has no type is read by its ending; what an id can't hold gets another; metadata goes along.
    owner.put_with("handbook/plain.txt", &[], b"The fogword is sounded by hand.")?;
    let headers = [
        ("content-type", "text/markdown; charset=utf-8"),
        ("x-metadata", r#"{"year":"1911","title":"The lens","public":"maybe"}"#),
    ];
    owner.put_with("handbook/The lens (2).md", &headers, b"The lensword floats in mercury.")?;
    // What is no document, with a reason or without.
    owner.put("handbook/drafts/plan.md", "The draftword.")?;
    owner.put("handbook/notes.tmp", "The tmpword.")?;
    owner.put_with("handbook/sub/", &[], b"")?;
    owner.put("handbook/empty.md", "")?;
    owner.put_with("handbook/photo.raw", &[("content-type", "image/png")], b"\x00\x01")?;
    owner.put_with(
        "handbook/packed.md",
        &[("content-type", "text/markdown"), ("x-encoding", "gzip")],
        b"x",
    )?;
    owner.put("other/else.md", "The elsewhereword.")?;
    let source = owner.sync("handbook")?;
    ensure!(source["documents"] == 32 && source["skipped"] == 3 && source["failed"] == 0, "{source}");
    ensure!(source["objects"] == 35 && source["configured"] == true, "{source}");
    is_as_documented(&source)?;
    let sync = &source["last_sync"];
    ensure!(sync["state"] == "done" && sync["listed"] == 38 && sync["excluded"] == 3, "{sync}");
    ensure!(sync["changed"] == 35, "{sync}");
    let problem = |key: &str| {
        let mut all = source["problems"].as_array().into_iter().flatten();
        all.find(|problem| problem["key"] == key).cloned().unwrap_or_default()
    };
    ensure!(problem("handbook/empty.md")["code"] == "empty", "{source}");
    ensure!(problem("handbook/photo.raw")["code"] == "unsupported_media_type", "{source}");
    ensure!(problem("handbook/packed.md")["code"] == "unsupported_encoding", "{source}");
    let lens = problem("handbook/The lens (2).md");
    ensure!(lens["code"] == "metadata_ignored" && lens["state"] == "taken", "{source}");
    ensure!(
        lens["message"].as_str().is_some_and(|message| message.contains("`public` is `maybe`")),
        "{lens}"
    );

    let all = ids(&reader)?;
    ensure!(all.len() == 32, "{all:?}");
    let lens = lens["document_id"].as_str().context("no id")?.to_owned();
    ensure!(
        lens.starts_with("handbook/The-lens-2-") && lens.contains(".md") && all.contains(&lens),
        "{lens}"
    );
    for number in [0, 17, 29] {
        found(&reader, &format!("number{number}word"), &format!("handbook/duties/{number:02}.md"), true)?;
    }
    found(&reader, "fogword", "handbook/plain.txt", true)?;
    let shown = reader.get(&format!("/v1/documents/{}", encoded(&lens)))?.expect(200)?;
    ensure!(
        shown["title"] == "The lens" && shown["metadata"] == json!({"year": 1911, "category": "handbook"}),
        "{shown}"
    );
    let hits =
        reader.search(&json!({"query": "mercury", "mode": "keyword", "filter": {"year": {"$lt": 1912}}}))?;
    ensure!(hits.len() == 1 && hits[0]["document_id"] == lens, "{hits:?}");
    let content = reader.get("/v1/documents/handbook%2Fplain.txt/content")?;
    ensure!(content.bytes == b"The fogword is sounded by hand.", "{}", content.text());
    for word in ["draftword", "tmpword", "elsewhereword"] {
        ensure!(reader.search(&json!({"query": word, "mode": "keyword"}))?.is_empty(), "{word}");
    }
    // Nobody else's.
    let other = owner.0.tenant("handbook-other")?;
    ensure!(
        ids(&other)?.is_empty() && other.search(&json!({"query": "keeper", "mode": "keyword"}))?.is_empty()
    );
    // The library's copy is all that is kept, and once.
    ensure!(owner.originals("handbook")?.len() == 32);

    // Once more: nothing differs, and nothing is written or copied.
    let again = owner.sync("handbook")?;
    ensure!(again["last_sync"]["changed"] == 0 && again["last_sync"]["run"] == 2, "{again}");
    ensure!(documents(&reader, "")?.iter().all(|found| found["generation"] == 1));
    for line in world.stack.ledger()? {
        let spent = &line["spent"];
        ensure!(
            spent["d1_statements"].as_u64() <= Some(1000) && spent["subrequests"].as_u64() <= Some(10_000),
            "{line}"
        );
    }
    Ok(())
}

fn events_are_hints(world: &World) -> Result<()> {
    let owner = &world.owner;
    let reader = owner.0.tenant("events")?;
    for name in ["changed", "removed", "kept"] {
        owner.put(&format!("events/{name}.md"), &format!("The {name}firstword."))?;
    }
    owner.sync("events")?;
    ensure!(ids(&reader)?.len() == 3);
    let runs = |source: Value| source["last_sync"]["run"].clone();
    let run = runs(owner.source("events")?);

    owner.put("events/changed.md", "The changedsecondword.")?;
    owner.delete("events/removed.md")?;
    owner.put("events/added.md", "The addedword.")?;
    // Twice, out of order, too late, and about what is no document.
    owner.event("DeleteObject", "events/removed.md")?;
    owner.event("DeleteObject", "events/kept.md")?;
    owner.event("PutObject", "events/changed.md")?;
    owner.event("CompleteMultipartUpload", "events/added.md")?;
    owner.event("PutObject", "events/removed.md")?;
    owner.event("CopyObject", "events/added.md")?;
    owner.event("LifecycleDeletion", "events/never.md")?;
    owner.event("PutObject", "elsewhere/x.md")?;
    found(&reader, "changedsecondword", "events/changed.md", true)?;
    found(&reader, "addedword", "events/added.md", true)?;
    found(&reader, "removedfirstword", "events/removed.md", false)?;
    found(&reader, "keptfirstword", "events/kept.md", true)?;
    owner.settled("events")?;
    let expected = ["added", "changed", "kept"].map(|name| format!("events/{name}.md"));
    ensure!(ids(&reader)? == BTreeSet::from(expected));
    ensure!(runs(owner.source("events")?) == run, "no sync was needed");

    // Of these, nobody hears.
    owner.put("events/changed.md", "The changedthirdword.")?;
    owner.put("events/late.md", "The lateword.")?;
    owner.delete("events/kept.md")?;
    thread::sleep(Duration::from_secs(3));
    found(&reader, "changedsecondword", "events/changed.md", true)?;
    let source = owner.sync("events")?;
    ensure!(source["last_sync"]["changed"] == 2, "{source}");
    found(&reader, "changedthirdword", "events/changed.md", true)?;
    let expected = ["added", "changed", "late"].map(|name| format!("events/{name}.md"));
    ensure!(ids(&reader)? == BTreeSet::from(expected));
    // New metadata of the same bytes is a change, too.
    let headers = [("content-type", "text/markdown"), ("x-metadata", r#"{"lang":"en"}"#)];
    owner.put_with("events/late.md", &headers, b"The lateword.")?;
    owner.event("PutObject", "events/late.md")?;
    reader.wait_for("events%2Flate.md", |document| document["metadata"]["lang"] == "en")?;
    ensure!(owner.source("events")?["problems"] == json!([]));
    Ok(())
}

fn what_was_uploaded(world: &World) -> Result<()> {
    let owner = &world.owner;
    let writer = owner.0.tenant("taken")?;
    let (a, b) = ("taken%2Fa.md", "taken%2Fb.md");
    writer.ingest(a, "The uploadedword.")?;
    owner.put("taken/a.md", "The objectword.")?;
    owner.put("taken/b.md", "The otherobjectword.")?;
    let source = owner.sync("taken")?;
    ensure!(source["skipped"] == 1 && source["documents"] == 1, "{source}");
    ensure!(
        source["problems"][0]["code"] == "id_taken" && source["problems"][0]["key"] == "taken/a.md",
        "{source}"
    );
    found(&writer, "uploadedword", "taken/a.md", true)?;
    // Neither by an event, nor when the object goes.
    owner.event("PutObject", "taken/a.md")?;
    owner.delete("taken/a.md")?;
    owner.event("DeleteObject", "taken/a.md")?;
    owner.sync("taken")?;
    found(&writer, "uploadedword", "taken/a.md", true)?;
    ensure!(owner.source("taken")?["objects"] == 1);
    // When the uploaded one goes, there is room.
    owner.put("taken/a.md", "The objectword.")?;
    owner.sync("taken")?;
    ensure!(writer.delete(&format!("/v1/documents/{a}"))?.status == 204);
    let source = owner.sync("taken")?;
    ensure!(source["documents"] == 2 && source["skipped"] == 0, "{source}");
    found(&writer, "objectword", "taken/a.md", true)?;
    // Deleted over HTTP only, a source's document comes back; uploaded over, it stays what was uploaded.
    ensure!(writer.delete(&format!("/v1/documents/{b}"))?.status == 204);
    owner.sync("taken")?;
    found(&writer, "otherobjectword", "taken/b.md", true)?;
    // Another title is nothing new of the object.
    writer.patch(&format!("/v1/documents/{a}"), &json!({"title": "Mine"}))?.expect(202)?;
    ensure!(owner.sync("taken")?["last_sync"]["changed"] == 0);
    ensure!(writer.wait(a)?["title"] == "Mine");
    writer.ingest(b, "The uploadedoverword.")?;
    let source = owner.sync("taken")?;
    ensure!(source["skipped"] == 1, "{source}");
    owner.delete("taken/b.md")?;
    owner.sync("taken")?;
    found(&writer, "uploadedoverword", "taken/b.md", true)
}

fn an_empty_listing(world: &World) -> Result<()> {
    let owner = &world.owner;
    let reader = owner.0.tenant("emptied")?;
    let source = owner.sync("emptied")?;
    ensure!(source["last_sync"]["state"] == "done" && source["objects"] == 0, "{source}");
    for number in 0..3 {
        owner.put(&format!("emptied/{number}.md"), "The cellar is dry.")?;
    }
    owner.sync("emptied")?;
    ensure!(ids(&reader)?.len() == 3);
    for number in 0..3 {
        owner.delete(&format!("emptied/{number}.md"))?;
    }
    let source = owner.sync("emptied")?;
    let sync = &source["last_sync"];
    ensure!(sync["state"] == "refused" && sync["code"] == "empty_listing", "{source}");
    ensure!(
        sync["message"].as_str().is_some_and(|message| message.contains("3 documents came from it")),
        "{sync}"
    );
    ensure!(ids(&reader)?.len() == 3);
    let all = owner.0.post("/v1/admin/sources/sync", &json!({"confirm_empty": true}))?;
    ensure!(all.error(400)? == "invalid_value");
    owner.start_sync(&json!({"source": "emptied", "confirm_empty": true}))?;
    let source = owner.settled("emptied")?;
    ensure!(source["last_sync"]["state"] == "done" && source["objects"] == 0, "{source}");
    ensure!(ids(&reader)?.is_empty());
    Ok(())
}

fn two_syncs_at_once(world: &World) -> Result<()> {
    let owner = &world.owner;
    let reader = owner.0.tenant("twice")?;
    for number in 0..20 {
        owner.put(&format!("twice/{number}.md"), &format!("The twiceword{number}."))?;
    }
    let syncs: Vec<Value> = thread::scope(|scope| {
        let started: Vec<_> =
            (0..4).map(|_| scope.spawn(|| owner.start_sync(&json!({"source": "twice"})))).collect();
        started
            .into_iter()
            .map(|thread| thread.join().map_err(|_| anyhow::anyhow!("panic"))?)
            .collect::<Result<_>>()
    })?;
    ensure!(syncs.iter().all(|sync| sync["syncs"][0]["source"] == "twice"), "{syncs:?}");
    // Messages twice, late, and of runs that never were.
    for (run, sweep) in [(1, false), (1, true), (2, false), (7, false), (1, true)] {
        let job = json!({"job": "sync", "source": "twice", "run": run, "sweep": sweep});
        ensure!(owner.0.post("/job", &job)?.status == 204);
    }
    for number in 0..20 {
        let job = json!({"job": "look", "source": "twice", "key": format!("twice/{number}.md")});
        ensure!(owner.0.post("/job", &job)?.status == 204);
    }
    ensure!(owner.0.post("/job", &json!({"job": "look", "source": "no such", "key": "x"}))?.status == 204);
    let source = owner.sync("twice")?;
    ensure!(source["documents"] == 20 && source["problems"] == json!([]), "{source}");
    ensure!(source["last_sync"]["state"] == "done", "{source}");
    for document in documents(&reader, "")? {
        ensure!(document["generation"] == 1, "made once: {document}");
    }
    ensure!(owner.originals("twice")?.len() == 20);
    Ok(())
}

fn an_object_of_many_parts(world: &World) -> Result<()> {
    let owner = &world.owner;
    let reader = owner.0.tenant("large")?;
    // 12 MB in parts of 5; that there is no text in it is found out when it is read.
    let mut bytes = vec![b' '; 12_000_000];
    for place in (0..bytes.len()).step_by(997) {
        bytes[place] = b'\n';
    }
    owner.put_with("large/blank.txt", &[("content-type", "text/plain")], &bytes)?;
    let source = owner.sync("large")?;
    ensure!(source["documents"] == 1 && source["failed"] == 1, "{source}");
    let problem = &source["problems"][0];
    ensure!(problem["state"] == "failed" && problem["code"] == "no_text", "{source}");
    let content = reader.get("/v1/documents/large%2Fblank.txt/content")?;
    ensure!(content.bytes == bytes, "{} bytes", content.bytes.len());
    // The same again is not tried again.
    ensure!(owner.sync("large")?["last_sync"]["changed"] == 0);
    let most =
        world.stack.ledger()?.iter().filter_map(|line| line["spent"]["wasm_memory_bytes"].as_u64()).max();
    ensure!(most < Some(64 * 1024 * 1024), "{most:?} bytes of memory");
    Ok(())
}

fn ids_and_patterns(world: &World) -> Result<()> {
    let owner = &world.owner;
    let reader = owner.0.tenant("prefixed")?;
    let long = format!("prefixed/{}.md", "x".repeat(500));
    for key in
        ["prefixed/a.md", "prefixed/Grüße an alle.txt", long.as_str(), "prefixed/x/../y.md", "prefixed/a.csv"]
    {
        owner.put(key, &format!("Of {}.", key.len()))?;
    }
    let source = owner.sync("prefixed")?;
    ensure!(source["documents"] == 4 && source["last_sync"]["excluded"] == 1, "{source}");
    let all = ids(&reader)?;
    ensure!(all.iter().all(|id| id.starts_with("bucket/prefixed/") && id.len() <= 128), "{all:?}");
    ensure!(all.contains("bucket/prefixed/a.md"), "{all:?}");
    // Of two that give the same id, the first one has it, until it goes.
    let key = "prefixed/Grüße an alle.txt";
    let id = all.iter().find(|id| id.strip_suffix(".txt").is_some()).context("no id")?.clone();
    let literal = id.strip_prefix("bucket/").context("no prefix")?;
    owner.put(literal, "The literalword.")?;
    let refused = |wanted: Option<&str>| -> Result<()> {
        let deadline = Instant::now() + Duration::from_secs(30);
        loop {
            let source = owner.settled("prefixed")?;
            let problem = source["problems"].as_array().and_then(|problems| problems.first());
            let is = problem.filter(|problem| problem["code"] == "id_taken");
            if is.and_then(|problem| problem["key"].as_str()) == wanted && ids(&reader)? == all {
                return Ok(());
            }
            ensure!(Instant::now() < deadline, "{source}");
            thread::sleep(Duration::from_millis(200));
        }
    };
    owner.sync("prefixed")?;
    refused(Some(key.max(literal)))?;
    owner.delete(literal)?;
    owner.sync("prefixed")?;
    refused(None)?;
    // Each goes with its object.
    owner.delete(&long)?;
    owner.event("DeleteObject", &long)?;
    owner.delete("prefixed/Grüße an alle.txt")?;
    owner.event("DeleteObject", "prefixed/Grüße an alle.txt")?;
    let deadline = Instant::now() + Duration::from_secs(30);
    while ids(&reader)?.len() > 2 {
        ensure!(Instant::now() < deadline, "{:?}", ids(&reader)?);
        thread::sleep(Duration::from_millis(200));
    }
    Ok(())
}

fn a_listing_of_several_pages(world: &World) -> Result<()> {
    let owner = &world.owner;
    let reader = owner.0.tenant("pages")?;
    // Empty objects are skipped: only the listing has work with them.
    ensure!(owner.0.post("/fill?prefix=pages/&count=1100", &json!({}))?.status == 204);
    owner.put("pages/00777.md", "The pageword.")?;
    owner.put("pages/~last.md", "The lastword.")?;
    let source = owner.sync("pages")?;
    let sync = &source["last_sync"];
    ensure!(sync["listed"] == 1101 && sync["changed"] == 1101 && sync["state"] == "done", "{sync}");
    ensure!(source["documents"] == 2 && source["skipped"] == 1099, "{source}");
    for number in [0, 499, 500, 501, 777, 1099] {
        owner.delete(&format!("pages/{number:05}.md"))?;
    }
    let source = owner.sync("pages")?;
    ensure!(source["last_sync"]["listed"] == 1095 && source["last_sync"]["changed"] == 0, "{source}");
    ensure!(source["objects"] == 1095 && source["documents"] == 1 && source["pending"] == 0, "{source}");
    ensure!(ids(&reader)?.len() == 1);
    found(&reader, "lastword", ids(&reader)?.first().context("no document")?, true)
}

fn who_sees_what(world: &World) -> Result<()> {
    let owner = &world.owner;
    let body = json!({"tenant": "neighbour", "name": "test", "scopes": ["read", "write", "admin"]});
    let made = owner.0.post("/v1/admin/keys", &body)?.expect(201)?;
    let neighbour = owner.0.with_key(made["key"].as_str().context("no key")?);
    let listed = neighbour.get("/v1/admin/sources")?.expect(200)?;
    let names: Vec<_> =
        listed["sources"].as_array().into_iter().flatten().map(|source| &source["name"]).collect();
    ensure!(names == ["neighbour"] && listed["sync_minutes"] == 60, "{listed}");
    let syncs = neighbour.post("/v1/admin/sources/sync", &json!({}))?.expect(202)?;
    ensure!(syncs["syncs"].as_array().is_some_and(|syncs| syncs.len() == 1), "{syncs}");
    for name in ["events", "no such"] {
        let reply = neighbour.post("/v1/admin/sources/sync", &json!({"source": name}))?;
        ensure!(reply.error(404)? == "not_found", "{name}");
    }
    let reader = owner.0.tenant("neighbour")?;
    ensure!(reader.get("/v1/admin/sources")?.error(403)? == "insufficient_scope");
    ensure!(owner.0.post("/v1/admin/sources/sync", &json!({"sauce": "events"}))?.status == 400);
    let nobody = owner.0.tenant("nobody")?;
    ensure!(ids(&nobody)?.is_empty());
    // A binding that is missing stops nothing but its source.
    let source = owner.sync("unbound")?;
    is_as_documented(&source)?;
    let sync = &source["last_sync"];
    ensure!(sync["state"] == "failed" && sync["code"] == "misconfigured", "{source}");
    ensure!(sync["message"].as_str().is_some_and(|message| message.contains("`NOWHERE`")), "{sync}");
    // Neither does an event of it come again and again: it is noted.
    owner.event("PutObject", "unbound/a.md")?;
    let deadline = Instant::now() + Duration::from_secs(30);
    while owner.source("unbound")?["problems"][0]["code"] != "misconfigured" {
        ensure!(Instant::now() < deadline, "{}", owner.source("unbound")?);
        thread::sleep(Duration::from_millis(200));
    }
    let source = owner.source("unbound")?;
    ensure!(source["failed"] == 1 && source["pending"] == 0, "{source}");
    Ok(())
}

fn a_sync_survives_a_kill(_: &World) -> Result<()> {
    const DATA: &str = "target/tests/sources-killed";
    const OBJECTS: usize = 120;
    let options = StackOptions::new(DATA).workers(WORKERS).var("SETTINGS", &settings().to_string());
    let stack = Stack::start(&StackOptions { fresh: true, ..options.clone() })?;
    let owner = Owner(Client::new(&stack.url).with_key(&stack.admin_key));
    for number in 0..OBJECTS {
        owner.put(&format!("killed/{number:03}.md"), &format!("The killedword{number}."))?;
    }
    owner.start_sync(&json!({"source": "killed"}))?;
    let deadline = Instant::now() + Duration::from_mins(1);
    while owner.source("killed")?["documents"].as_u64() < Some(10) {
        ensure!(Instant::now() < deadline, "{}", owner.source("killed")?);
    }
    stack.kill();
    // An hour and a quarter later, the cron does what it always does. Local queues lived in memory.
    stack::age(DATA.as_ref(), Duration::from_mins(75))?;
    let stack = Stack::start(&options)?;
    let owner = Owner(Client::new(&stack.url).with_key(&stack.admin_key));
    let before = owner.source("killed")?;
    ensure!(
        before["documents"].as_u64() < Some(OBJECTS as u64),
        "killed too late to show anything: {before}"
    );
    shared::sweep(&owner.0)?;
    let source = owner.settled("killed")?;
    ensure!(source["documents"] == OBJECTS && source["last_sync"]["run"] == 2, "{before} {source}");
    let reader = owner.0.tenant("killed")?;
    ensure!(ids(&reader)?.len() == OBJECTS);
    found(&reader, "killedword119", "killed/119.md", true)?;
    // What was copied and not registered is the sweeper's.
    drop(stack);
    stack::age(DATA.as_ref(), Duration::from_mins(75))?;
    let stack = Stack::start(&options)?;
    let owner = Owner(Client::new(&stack.url).with_key(&stack.admin_key));
    shared::sweep(&owner.0)?;
    let left = owner.originals("killed")?.len();
    ensure!(left == OBJECTS, "{left} originals");
    Ok(())
}
