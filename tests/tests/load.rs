//! Large loads and unkind services: everything arrives, and costs what it must and little more. The costs are printed.
//!
//! With `RAGFLARE_FULL=1` in full size: texts that do not repeat themselves, a thousand documents. That takes half an hour.

mod shared;

use anyhow::{Context, Result, bail, ensure};
use ragflare_tests::{Case, Client, run};
use serde_json::{Value, json};
use shared::{
    Random, Twin, accepted, audit, chunks, documents, number, sum, sweep, sweep_until_quiet, vectors_of,
};
use std::collections::{BTreeMap, BTreeSet};
use std::fmt::Write as _;
use std::io::Write as _;
use std::net::TcpStream;
use std::process::ExitCode;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::thread;
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};
use xtask::stack::{age, objects};
use xtask::{Stack, StackOptions};

/// Uploads at a time.
const TOGETHER: usize = 8;
/// Texts of an embedding call at most.
const CALL: u64 = 100;
const DAY: Duration = Duration::from_hours(24);

struct World {
    site: Site,
    /// Faults and counters are the twin's only ones: one case at a time.
    turn: Mutex<()>,
}

/// A stack as the cases use it.
struct Site {
    stack: Stack,
    twin: Twin,
    admin: Client,
}

impl Site {
    fn start(options: &StackOptions) -> Result<Self> {
        let stack = Stack::start(options)?;
        let twin = Twin::new(&stack.twin_url);
        let admin = Client::new(&stack.url).with_key(&stack.admin_key);
        Ok(Self { stack, twin, admin })
    }

    fn fresh(name: &str, settings: &Value) -> Result<Self> {
        Self::start(&StackOptions { fresh: true, ..Self::options(name, settings) })
    }

    fn options(name: &str, settings: &Value) -> StackOptions {
        StackOptions::new(format!("target/tests/{name}")).var("SETTINGS", &settings.to_string())
    }

    fn tenant(&self, name: &str) -> Result<Client> {
        self.admin.tenant(name)
    }

    /// What the workers have spent since `before`, a [`Self::mark`].
    fn spent(&self, before: usize) -> Result<Spent> {
        // The runtime prints in its own time.
        thread::sleep(Duration::from_millis(300));
        let lines = self.stack.ledger()?;
        let mut spent = Spent::default();
        for line in &lines[before..] {
            spent.add(line)?;
        }
        Ok(spent)
    }

    fn mark(&self) -> Result<usize> {
        thread::sleep(Duration::from_millis(300));
        Ok(self.stack.ledger()?.len())
    }
}

/// The sums of some invocations, and the most of one.
#[derive(Debug, Default)]
struct Spent {
    invocations: u64,
    ai: u64,
    vectorize: u64,
    d1: u64,
    most_d1: u64,
    most_subrequests: u64,
    most_memory: u64,
    /// Of the queue's invocations alone.
    consumers: u64,
}

impl Spent {
    /// Paid plan: 128 MB of memory, 10,000 subrequests, 1,000 D1 statements per invocation (Workers and D1 limits pages).
    fn add(&mut self, line: &Value) -> Result<()> {
        let spent = |name: &str| line["spent"][name].as_u64().with_context(|| format!("no {name}: {line}"));
        let (d1, subrequests, memory) =
            (spent("d1_statements")?, spent("subrequests")?, spent("wasm_memory_bytes")?);
        ensure!(d1 <= 1000 && subrequests <= 10_000 && memory <= 128_000_000, "over a limit: {line}");
        self.invocations += 1;
        self.consumers +=
            u64::from(line["invocation"].as_str().is_some_and(|what| what.starts_with("queue")));
        self.ai += spent("ai_calls")?;
        self.vectorize += spent("vectorize_calls")?;
        self.d1 += d1;
        self.most_d1 = self.most_d1.max(d1);
        self.most_subrequests = self.most_subrequests.max(subrequests);
        self.most_memory = self.most_memory.max(memory);
        Ok(())
    }
}

impl std::fmt::Display for Spent {
    fn fmt(&self, formatter: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(
            formatter,
            "{} invocations ({} of the queue), {} AI calls, {} Vectorize calls, {} D1 statements; most of one invocation: {} \
             D1 statements, {} subrequests, {:.1} MB of wasm memory",
            self.invocations,
            self.consumers,
            self.ai,
            self.vectorize,
            self.d1,
            self.most_d1,
            self.most_subrequests,
            self.most_memory as f64 / 1e6,
        )
    }
}

impl World {
    fn start() -> Result<Self> {
        Ok(Self { site: Site::fresh("load", &json!({}))?, turn: Mutex::new(()) })
    }

    fn turn(&self) -> MutexGuard<'_, ()> {
        self.turn.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// The shared stack, its twin without faults and its counters at zero.
    fn site(&self) -> Result<(MutexGuard<'_, ()>, &Site)> {
        let turn = self.turn();
        self.site.twin.faults(&json!([]))?;
        self.site.twin.visible_after(500)?;
        self.site.twin.reset_stats()?;
        Ok((turn, &self.site))
    }
}

fn main() -> ExitCode {
    let cases: &[Case<World>] = &[
        ("500 documents arrive through faults", documents_arrive_through_faults),
        ("the day's allowance parks a document", the_days_allowance_parks),
        ("one changed paragraph of a megabyte", one_changed_paragraph),
        ("many documents again, few changed", many_documents_again),
        ("30 MB of text", thirty_megabytes),
        ("deleted while it is processed", deleted_while_processed),
        ("messages delivered again and again", messages_delivered_again),
        ("uploads cut half-way leave nothing", cut_uploads),
        ("refused before the database is full", refused_before_full),
        ("embedded by asynchronous batches", asynchronous_batches),
        ("one bad chunk among many documents", one_bad_chunk),
    ];
    run(World::start, cases)
}

fn full() -> Result<bool> {
    Ok(number("RAGFLARE_FULL", 0)? == 1)
}

/// Uploads, a few at a time, and tells each reply's status.
fn upload(client: &Client, all: &[(String, String)]) -> Result<BTreeMap<u16, usize>> {
    let next = AtomicUsize::new(0);
    let work = || {
        let mut statuses = BTreeMap::new();
        while let Some((id, text)) = all.get(next.fetch_add(1, Ordering::Relaxed)) {
            let reply = client.put(id, text)?;
            accepted(&reply).with_context(|| id.clone())?;
            *statuses.entry(reply.status).or_default() += 1;
        }
        Ok(statuses)
    };
    let parts: Vec<BTreeMap<u16, usize>> = thread::scope(|scope| {
        let workers: Vec<_> = (0..TOGETHER).map(|_| scope.spawn(work)).collect();
        workers.into_iter().map(|worker| worker.join().expect("a thread panicked")).collect::<Result<_>>()
    })?;
    Ok(parts.into_iter().flatten().fold(BTreeMap::new(), |mut all, (status, count)| {
        *all.entry(status).or_default() += count;
        all
    }))
}

/// Waits until nothing moves any more and returns all documents.
fn arrived(client: &Client, patience: Duration) -> Result<Vec<Value>> {
    let deadline = Instant::now() + patience;
    loop {
        let all = documents(client, "")?;
        let done = |document: &Value| {
            document["pending"].is_null() && document["status"] == "indexed"
                || document["status"] == "failed"
                || document["pending"]["status"] == "failed"
        };
        let open: Vec<&Value> = all.iter().filter(|document| !done(document)).collect();
        if open.is_empty() {
            return Ok(all);
        }
        ensure!(Instant::now() < deadline, "{} of {} do not arrive: {}", open.len(), all.len(), open[0]);
        thread::sleep(Duration::from_millis(500));
    }
}

fn all_indexed(documents: &[Value], count: usize) -> Result<()> {
    ensure!(documents.len() == count, "{} documents instead of {count}", documents.len());
    let failed = documents.iter().find(|document| document["status"] != "indexed");
    ensure!(failed.is_none(), "{failed:?}");
    Ok(())
}

/// Markdown of sections that make a chunk each, drawn from `distinct` ones, or, without, all different.
fn sections(random: &mut Random, bytes: usize, distinct: Option<usize>) -> Vec<String> {
    let section =
        |random: &mut Random, number: usize| format!("## Section {number}\n\n{}\n\n", random.prose(130));
    let Some(distinct) = distinct else {
        let (mut all, mut length) = (Vec::new(), 0);
        while length < bytes {
            all.push(section(random, all.len()));
            length += all.last().map_or(0, String::len);
        }
        return all;
    };
    let known: Vec<String> = (0..distinct).map(|number| section(random, number)).collect();
    let (mut all, mut length) = (Vec::new(), 0);
    while length < bytes {
        let chosen = &known[random.below(known.len())];
        length += chosen.len();
        all.push(chosen.clone());
    }
    all
}

fn documents_arrive_through_faults(world: &World) -> Result<()> {
    const DOCUMENTS: usize = 500;
    let (_turn, site) = world.site()?;
    let client = site.tenant("faults")?;
    let rule = |service: &str, op: &str, share: f64, action: Value| json!({"match": {"service": service, "op": op}, "probability": share, "seed": 3, "action": action});
    site.twin.faults(&json!([
        rule("ai", "embed", 0.2, json!({"delay_ms": 400})),
        rule("ai", "embed", 0.3, json!({"error": {"code": 3040}})),
        rule("ai", "embed", 0.1, json!({"cut_reply": true})),
        rule("vectorize", "upsert", 0.3, json!({"error": {"code": 40041}})),
        rule("vectorize", "upsert", 0.1, json!({"cut_reply": true})),
        rule("vectorize", "getByIds", 0.3, json!({"error": {"code": 40041}})),
    ]))?;
    let (mark, started) = (site.mark()?, Instant::now());
    let mut random = Random::new(1);
    let all: Vec<(String, String)> = (0..DOCUMENTS)
        .map(|number| (format!("d/{number}.md"), format!("Number {number}. {}", random.prose(12))))
        .collect();
    upload(&client, &all)?;
    let uploaded = started.elapsed();
    all_indexed(&arrived(&client, Duration::from_mins(5))?, DOCUMENTS)?;
    let elapsed = started.elapsed();
    let stats = site.twin.stats()?;
    site.twin.faults(&json!([]))?;
    let mut vectors = BTreeSet::new();
    for (id, text) in &all {
        let chunks = chunks(&client, id)?;
        ensure!(chunks.len() == 1 && chunks[0]["text"] == *text, "{id}: {chunks:?}");
        vectors.extend(vectors_of(&chunks));
    }
    let there: BTreeSet<String> = site.twin.vectors()?.into_iter().collect();
    ensure!(vectors.len() == DOCUMENTS && vectors.is_subset(&there), "vectors are lost");
    for (id, text) in all.iter().step_by(50) {
        for mode in ["keyword", "vector"] {
            let hits = client.search(&json!({"query": text, "mode": mode, "rerank": false}))?;
            ensure!(hits[0]["document_id"] == *id, "{mode} {id}: {hits:?}");
        }
    }
    let tried = sum(&stats["ai"]);
    let least = (DOCUMENTS as u64).div_ceil(CALL);
    eprintln!(
        "{DOCUMENTS} documents through faults: uploaded in {uploaded:.1?}, all there after {elapsed:.1?}; {tried} calls of \
         Workers AI ({least} at least without faults), {} texts embedded, {} calls of Vectorize; calls {} {}; faults {}; {}",
        stats["texts_embedded"],
        sum(&stats["vectorize"]),
        stats["ai"],
        stats["vectorize"],
        stats["faults"],
        site.spent(mark)?,
    );
    Ok(())
}

fn the_days_allowance_parks(world: &World) -> Result<()> {
    let _turn = world.turn();
    let settings = json!({});
    let site = Site::fresh("parked", &settings)?;
    let client = site.tenant("parked")?;
    client.ingest("served.md", "The lamp burns colza oil.")?;
    client.wait_for("served.md", |document| document["status"] == "indexed")?;
    let used_up = json!([{"match": {"service": "ai", "op": "embed"}, "action": {"error": {"code": 3036}}}]);
    site.twin.faults(&used_up)?;
    client.put("first.md", "The first is parked.")?.expect(202)?;
    client.put("second.md", "The second is parked.")?.expect(202)?;
    client.put("served.md", "The lamp burns paraffin.")?.expect(202)?;
    let midnight =
        (SystemTime::now().duration_since(UNIX_EPOCH)?.as_secs() / DAY.as_secs() + 1) * DAY.as_secs();
    for id in ["first.md", "second.md", "served.md"] {
        let document = client.wait_for(id, |document| document["pending"]["status"] == "parked")?;
        let waiting = &document["pending"]["waiting"];
        ensure!(waiting["until"].as_u64() == Some(midnight) && waiting["code"].is_string(), "{document}");
        let shown = if id == "served.md" { "searchable indexed" } else { "parked" };
        ensure!(document["status"].as_str().is_some_and(|status| shown.contains(status)), "{document}");
    }
    let asked = sum(&site.twin.stats()?["ai"]);
    let swept = sweep(&site.admin)?;
    ensure!(swept["resent"] == 0, "{swept}");
    thread::sleep(Duration::from_secs(3));
    ensure!(sum(&site.twin.stats()?["ai"]) == asked, "it was asked again");
    // The text that is served meanwhile is the old one.
    let hits = client.search(&json!({"query": "lamp oil", "mode": "keyword"}))?;
    ensure!(hits[0]["text"] == "The lamp burns colza oil.", "{hits:?}");

    site.twin.faults(&json!([]))?;
    ensure!(client.put("first.md", "The first is parked.")?.expect(202)?["pending"]["status"] == "parked");
    client.put("second.md", "The second goes through.")?.expect(202)?;
    client.wait_for("second.md", |document| document["generation"] == 2)?;
    ensure!(client.get("/v1/documents/first.md")?.expect(200)?["status"] == "parked");

    // The next day.
    let data = site.stack.data().to_path_buf();
    site.stack.stop();
    age(&data, DAY)?;
    let site = Site::start(&Site::options("parked", &settings))?;
    let client = site.tenant("parked")?;
    sweep(&site.admin)?;
    all_indexed(&arrived(&client, Duration::from_mins(1))?, 3)?;
    let hits = client.search(&json!({"query": "lamp oil", "mode": "keyword"}))?;
    ensure!(hits[0]["text"] == "The lamp burns paraffin.", "{hits:?}");
    Ok(())
}

fn one_changed_paragraph(world: &World) -> Result<()> {
    let (_turn, site) = world.site()?;
    let client = site.tenant("megabyte")?;
    let mut random = Random::new(2);
    let mut all = sections(&mut random, 1_000_000, (!full()?).then_some(100));
    let (mark, started) = (site.mark()?, Instant::now());
    accepted(&client.put("large.md", &all.concat())?)?;
    client.wait_for("large.md", |document| document["status"] == "indexed")?;
    let (first, elapsed) = (site.spent(mark)?, started.elapsed());
    let before = client.get("/v1/documents/large.md")?.expect(200)?;

    let middle = all.len() / 2;
    all[middle] = format!("## Section {middle}\n\n{}\n\n", random.prose(120));
    let (mark, started) = (site.mark()?, Instant::now());
    site.twin.reset_stats()?;
    accepted(&client.put("large.md", &all.concat())?)?;
    let after = client
        .wait_for("large.md", |document| document["generation"] == 2 && document["status"] == "indexed")?;
    let stats = site.twin.stats()?;
    let again = site.spent(mark)?;
    eprintln!(
        "a megabyte of Markdown, {} chunks ({} vectors): {elapsed:.1?}; {first}\n  one paragraph changed: {:.1?}; {} texts \
         embedded (1 at least), {} vectors written, {} deleted; {again}",
        before["chunk_count"],
        before["counts"]["embedded"],
        started.elapsed(),
        stats["texts_embedded"],
        stats["vectors_upserted"],
        stats["ids_deleted"],
    );
    ensure!(after["counts"]["embedded"].as_u64().is_some_and(|count| (1..=3).contains(&count)), "{after}");
    ensure!(stats["texts_embedded"].as_u64() <= Some(3), "{stats}");
    let text = client.get("/v1/documents/large.md/text")?.text();
    ensure!(text == all.concat());
    Ok(())
}

fn many_documents_again(world: &World) -> Result<()> {
    let (_turn, site) = world.site()?;
    let client = site.tenant("again")?;
    let count = if full()? { 1000 } else { 200 };
    let changed = count / 100;
    let mut random = Random::new(4);
    let mut all: Vec<(String, String)> = (0..count)
        .map(|number| (format!("{number}.md"), format!("Number {number}. {}", random.prose(10))))
        .collect();
    let mut told = Vec::new();
    for round in ["first", "again"] {
        if round == "again" {
            for place in 0..changed {
                let (id, text) = &mut all[place * (count / changed)];
                *text = format!("{text} {id} was changed.");
            }
        }
        site.twin.reset_stats()?;
        let (mark, started) = (site.mark()?, Instant::now());
        let replies = upload(&client, &all)?;
        let uploaded = started.elapsed();
        all_indexed(&arrived(&client, Duration::from_mins(5))?, count)?;
        let elapsed = started.elapsed();
        let stats = site.twin.stats()?;
        let new = if round == "first" { count } else { changed };
        ensure!(stats["texts_embedded"].as_u64() == Some(new as u64), "{round}: {stats}");
        ensure!(replies.get(&202) == Some(&new), "{round}: {replies:?}");
        told.push(format!(
            "{count} documents, {round}: replies {replies:?} in {uploaded:.1?}, all there after {elapsed:.1?}; {} texts \
             embedded ({new} at least) in {} calls of Workers AI ({} at least), {} calls of Vectorize; {}",
            stats["texts_embedded"],
            sum(&stats["ai"]),
            (new as u64).div_ceil(CALL),
            sum(&stats["vectorize"]),
            site.spent(mark)?,
        ));
    }
    eprintln!("{}", told.join("\n"));
    Ok(())
}

fn thirty_megabytes(world: &World) -> Result<()> {
    let _turn = world.turn();
    let megabytes: usize = number("RAGFLARE_MEGABYTES", 30)?;
    let site = Site::fresh("large", &json!({}))?;
    let client = site.tenant("large")?;
    let mut random = Random::new(5);
    let text = sections(&mut random, megabytes * 1_000_000, (!full()?).then_some(300)).concat();
    let (mark, started) = (site.mark()?, Instant::now());
    accepted(&client.put("book.md", &text)?)?;
    let uploaded = started.elapsed();
    let deadline = Instant::now() + Duration::from_mins(if full()? { 60 } else { 10 });
    let (mut planned, mut seen) = (None, BTreeSet::new());
    let document = loop {
        let document = client.get("/v1/documents/book.md?wait=5")?.expect(200)?;
        let pending = &document["pending"];
        if let Some(total) = pending["parts_total"].as_u64().filter(|total| *total > 0) {
            planned.get_or_insert((total, started.elapsed()));
            seen.insert(pending["parts_done"].as_u64().unwrap_or_default());
        }
        if document["status"] == "indexed" {
            break document;
        }
        ensure!(document["status"] != "failed" && Instant::now() < deadline, "{document}");
        thread::sleep(Duration::from_millis(200));
    };
    let elapsed = started.elapsed();
    let stats = site.twin.stats()?;
    let spent = site.spent(mark)?;
    let (parts, planning) = planned.context("no progress was shown")?;
    ensure!(seen.len() > 1, "no progress was shown: {seen:?}");
    eprintln!(
        "{:.1} MB of text: uploaded in {uploaded:.1?}, planned after {planning:.1?}, indexed after {elapsed:.1?}, of which the \
         twin embedded for {:.1} s; {} chunks in {parts} parts, {} texts embedded; {} of the parts' progress seen; {spent}",
        text.len() as f64 / 1e6,
        stats["embedding_ms"].as_f64().unwrap_or_default() / 1000.0,
        document["chunk_count"],
        stats["texts_embedded"],
        seen.len(),
    );
    let last = text.trim_end().rsplit_once("\n\n").map_or("", |(_, last)| last);
    // The paragraph is longer than a chunk: its beginning and its end are looked for, each in all that its chunk has of it.
    let words: Vec<&str> = last.split(' ').collect();
    let (query, end) = (words[..20].join(" "), words[words.len() - 20..].join(" "));
    for mode in ["keyword", "vector"] {
        let found = |query: &str, whole: &dyn Fn(&str, usize) -> bool| -> Result<()> {
            let hits = client.search(&json!({"query": query, "mode": mode, "top_k": 3}))?;
            let found = hits.iter().any(|hit| {
                let body = hit["text"].as_str().unwrap_or_default();
                body.find(query).is_some_and(|at| whole(body, at))
            });
            ensure!(found, "{mode}: `{query}` in {hits:?}");
            Ok(())
        };
        found(&query, &|body, at| last.starts_with(&body[at..]) || body[at..].starts_with(last))?;
        found(&end, &|body, at| {
            last.ends_with(&body[..at + end.len()]) || body[..at + end.len()].ends_with(last)
        })?;
    }
    ensure!(client.get("/v1/documents/book.md/text")?.text() == text);
    audit(&site.admin)?;

    let (mark, started) = (site.mark()?, Instant::now());
    ensure!(client.delete("/v1/documents/book.md")?.status == 204);
    ensure!(client.search(&json!({"query": query}))?.is_empty());
    let deleted = started.elapsed();
    while !site.twin.vectors()?.is_empty() {
        ensure!(started.elapsed() < Duration::from_mins(5), "vectors stay");
        thread::sleep(Duration::from_secs(1));
    }
    sweep_until_quiet(&site.admin, Duration::from_mins(3))?;
    audit(&site.admin)?;
    eprintln!(
        "  deleted in {deleted:.1?}, cleaned up after {:.1?}; {}",
        started.elapsed(),
        site.spent(mark)?
    );
    Ok(())
}

fn deleted_while_processed(world: &World) -> Result<()> {
    let (_turn, site) = world.site()?;
    let client = site.tenant("deleted")?;
    let slow = json!([{"match": {"service": "ai", "op": "embed"}, "action": {"delay_ms": 1500}}]);
    for again in [false, true] {
        site.twin.faults(&slow)?;
        client.put("a.md", "The old text tells of walruses.")?.expect(202)?;
        while client.get("/v1/documents/a.md")?.expect(200)?["pending"]["status"] != "processing" {
            thread::sleep(Duration::from_millis(20));
        }
        ensure!(client.delete("/v1/documents/a.md")?.status == 204);
        ensure!(client.get("/v1/documents/a.md")?.status == 404);
        if again {
            client.put("a.md", "The new text tells of herons.")?.expect(202)?;
        }
        site.twin.faults(&json!([]))?;
        // Longer than the writer that came too late takes.
        thread::sleep(Duration::from_secs(3));
        sweep(&site.admin)?;
        if again {
            let document = client.wait_for("a.md", |document| document["status"] == "indexed")?;
            // Deleted twice, with a generation each before.
            ensure!(document["generation"] == 3, "{document}");
        } else {
            ensure!(client.get("/v1/documents/a.md")?.status == 404);
        }
        for mode in ["keyword", "vector", "hybrid"] {
            let hits = client.search(&json!({"query": "text tells of walruses", "mode": mode}))?;
            let new = |hit: &Value| hit["text"] == "The new text tells of herons.";
            ensure!(hits.len() == usize::from(again) && hits.iter().all(new), "{mode}: {hits:?}");
        }
    }
    Ok(())
}

fn messages_delivered_again(world: &World) -> Result<()> {
    let (_turn, site) = world.site()?;
    let client = site.tenant("twice")?;
    let mut random = Random::new(6);
    let text = sections(&mut random, 200_000, Some(20)).concat();
    site.twin.faults(&json!([{"match": {"service": "ai"}, "action": {"delay_ms": 700}}]))?;
    let small: Vec<(String, String)> =
        (0..10).map(|number| (format!("{number}.md"), format!("Number {number}."))).collect();
    client.put("large.md", &text)?.expect(202)?;
    upload(&client, &small)?;
    let mut resent = 0;
    for _ in 0..8 {
        resent += sweep(&site.admin)?["resent"].as_u64().unwrap_or_default();
        thread::sleep(Duration::from_millis(250));
    }
    ensure!(resent > 0, "nothing was sent again");
    site.twin.faults(&json!([]))?;
    all_indexed(&arrived(&client, Duration::from_mins(2))?, 11)?;
    let large = client.get("/v1/documents/large.md")?.expect(200)?;
    let chunks = chunks(&client, "large.md")?;
    let ordinals: Vec<_> = chunks.iter().map(|chunk| chunk["ordinal"].as_u64()).collect();
    ensure!(ordinals == (0..chunks.len() as u64).map(Some).collect::<Vec<_>>(), "{ordinals:?}");
    ensure!(large["generation"] == 1 && large["chunk_count"] == chunks.len(), "{large}");
    let vectors: BTreeSet<String> = vectors_of(&chunks).collect();
    ensure!(large["counts"] == json!({"embedded": vectors.len(), "reused": 0, "deleted": 0}), "{large}");
    let hits = client.search(&json!({"query": "Number 7", "mode": "keyword", "top_k": 100}))?;
    ensure!(hits.iter().filter(|hit| hit["document_id"] == "7.md").count() == 1, "{hits:?}");
    eprintln!(
        "{resent} messages more than needed: {} texts embedded for {} vectors",
        site.twin.stats()?["texts_embedded"],
        vectors.len() + small.len()
    );
    Ok(())
}

fn cut_uploads(world: &World) -> Result<()> {
    let _turn = world.turn();
    let site = Site::fresh("cut", &json!({}))?;
    let key = site.stack.admin_key.clone();
    let client = Client::new(&site.stack.url).with_key(&key);
    client.ingest("kept.md", "The text that was there before.")?;
    let place = site.stack.url.trim_start_matches("http://").to_owned();
    let half = "half of a text ".repeat(20_000);
    for id in ["new.md", "kept.md"] {
        for length in ["content-length: 1000000", "transfer-encoding: chunked"] {
            let mut stream = TcpStream::connect(&place)?;
            write!(
                stream,
                "PUT /v1/documents/{id} HTTP/1.1\r\nhost: {place}\r\nauthorization: Bearer {key}\r\n\
                 content-type: text/markdown\r\n{length}\r\n\r\n"
            )?;
            if length.ends_with("chunked") {
                write!(stream, "{:x}\r\n{half}\r\n10000\r\nand no more", half.len())?;
            } else {
                stream.write_all(half.as_bytes())?;
            }
            stream.flush()?;
            thread::sleep(Duration::from_millis(500));
            drop(stream);
        }
    }
    thread::sleep(Duration::from_secs(2));
    ensure!(client.get("/v1/documents/new.md")?.status == 404);
    let kept = client.get("/v1/documents/kept.md")?.expect(200)?;
    ensure!(kept["generation"] == 1 && kept["pending"].is_null(), "{kept}");
    ensure!(client.get("/v1/documents/kept.md/text")?.text() == "The text that was there before.");
    let whole = client.ingest("new.md", "The whole text.")?;
    ensure!(whole["generation"] == 1, "{whole}");
    audit(&site.admin)?;
    let data = site.stack.data().to_path_buf();
    site.stack.stop();
    let left = objects(&data)?;
    ensure!(left.len() == 2, "{left:?}");
    Ok(())
}

fn refused_before_full(world: &World) -> Result<()> {
    const LIMIT: u64 = 1_500_000;
    let _turn = world.turn();
    let site = Site::fresh("full", &json!({"ingest": {"database_bytes": LIMIT}}))?;
    site.twin.visible_after(0)?;
    let client = site.tenant("full")?;
    let mut random = Random::new(7);
    let mut stored = Vec::new();
    // What waits is counted for more than it takes in the end: when it is there, there is room again.
    let message = loop {
        let before = stored.len();
        let message = loop {
            let id = format!("d/{}.md", stored.len());
            let reply = client.put(&id, &sections(&mut random, 40_000, Some(5)).concat())?;
            if reply.status == 507 {
                ensure!(reply.error(507)? == "database_full", "{}", reply.text());
                break reply.expect(507)?["error"]["message"].as_str().unwrap_or_default().to_owned();
            }
            accepted(&reply)?;
            stored.push(id);
            ensure!(stored.len() < 200, "nothing is refused");
        };
        all_indexed(&arrived(&client, Duration::from_mins(2))?, stored.len())?;
        if stored.len() == before {
            break message;
        }
    };
    ensure!(!stored.is_empty(), "nothing fits: {message}");
    let totals = |site: &Site| -> Result<u64> {
        let found = site.admin.get("/v1/admin/audit")?.expect(200)?;
        found["totals"]["bytes"].as_u64().with_context(|| format!("no size: {found}"))
    };
    let used = totals(&site)?;
    ensure!(used < LIMIT, "{used} bytes are used");
    eprintln!("refused after {} documents of 40 kB, at {used} of {LIMIT} bytes: {message}", stored.len());
    // A change of what is there is refused as well, reading and deleting are not.
    ensure!(client.put("d/0.md", &"other text ".repeat(4000))?.error(507)? == "database_full");
    ensure!(client.get("/v1/documents/d/0.md/text")?.status == 200);
    ensure!(client.search(&json!({"query": "lamp", "mode": "keyword"}))?.len() > 1);
    ensure!(client.delete("/v1/documents/d/0.md")?.status == 204);
    let deleted = client.delete("/v1/documents?prefix=d/")?.expect(200)?;
    ensure!(deleted["deleted"] == stored.len() - 1, "{deleted}");
    sweep_until_quiet(&site.admin, Duration::from_mins(2))?;
    let left = totals(&site)?;
    let reply = client.put("d/0.md", "There is room again.")?;
    eprintln!("  after deleting all: {left} bytes, an upload is answered with {}", reply.status);
    accepted(&reply)?;
    client.wait_for("d/0.md", |document| document["status"] == "indexed")?;
    audit(&site.admin)
}

fn asynchronous_batches(world: &World) -> Result<()> {
    let _turn = world.turn();
    let settings = json!({"ingest": {"batch_api": true}});
    let site = Site::fresh("batches", &settings)?;
    let client = site.tenant("batches")?;
    let delay = |site: &Site, ms: u64| site.twin.control("PUT", "batch-delay", &json!({"ms": ms})).map(drop);
    delay(&site, 2000)?;
    let all: Vec<(String, String)> =
        (0..20).map(|number| (format!("{number}.md"), format!("Document number {number}."))).collect();
    let started = Instant::now();
    upload(&client, &all)?;
    client.wait_for("0.md", |document| document["pending"]["waiting"]["code"] == "embedding_queued")?;
    all_indexed(&arrived(&client, Duration::from_mins(3))?, all.len())?;
    let stats = site.twin.stats()?;
    ensure!(stats["texts_queued"] == all.len() && stats["ai"]["embed"].is_null(), "{stats}");
    eprintln!(
        "{} documents by asynchronous batches: {:.1?}; calls {}",
        all.len(),
        started.elapsed(),
        stats["ai"]
    );

    // A ticket that is lost with the service: the texts are handed in again.
    delay(&site, 3_600_000)?;
    client.put("late.md", "The ticket of this one is lost.")?.expect(202)?;
    client.wait_for("late.md", |document| document["pending"]["waiting"]["code"] == "embedding_queued")?;
    let data = site.stack.data().to_path_buf();
    site.stack.kill();
    age(&data, Duration::from_hours(1))?;
    let site = Site::start(&Site::options("batches", &settings))?;
    let client = site.tenant("batches")?;
    sweep(&site.admin)?;
    client.wait_for("late.md", |document| document["status"] == "indexed")?;
    let stats = site.twin.stats()?;
    ensure!(stats["texts_queued"] == 1, "{stats}");
    let hits = client.search(&json!({"query": "whose ticket is lost?", "mode": "vector"}))?;
    ensure!(hits[0]["document_id"] == "late.md", "{hits:?}");

    // A batch in which one text is refused: its document alone fails.
    let bad =
        json!([{"match": {"service": "ai", "contains": "UNSPEAKABLE"}, "action": {"error": {"code": 5006}}}]);
    site.twin.faults(&bad)?;
    delay(&site, 0)?;
    client.put("bad.md", "An UNSPEAKABLE text.")?.expect(202)?;
    client.put("good.md", "A text like any other.")?.expect(202)?;
    let found = arrived(&client, Duration::from_mins(3))?;
    for document in &found {
        let expected = if document["id"] == "bad.md" { "failed" } else { "indexed" };
        ensure!(document["status"] == expected, "{document}");
    }
    Ok(())
}

fn one_bad_chunk(world: &World) -> Result<()> {
    const DOCUMENTS: usize = 60;
    let (_turn, site) = world.site()?;
    let client = site.tenant("bad")?;
    site.twin.faults(&json!([
        // Everything is there before the first message is worked off: batches are full.
        {"match": {"service": "ai", "op": "embed"}, "times": 1, "action": {"delay_ms": 2000}},
        {"match": {"service": "ai", "op": "embed", "contains": "UNSPEAKABLE"}, "action": {"error": {"code": 5006}}},
    ]))?;
    let all: Vec<(String, String)> = (0..DOCUMENTS)
        .map(|number| {
            let mut text = format!("Document number {number}.");
            if number == 33 {
                let _ = write!(text, " It is UNSPEAKABLE.");
            }
            (format!("{number}.md"), text)
        })
        .collect();
    upload(&client, &all)?;
    let found = arrived(&client, Duration::from_mins(2))?;
    ensure!(found.len() == DOCUMENTS);
    for document in &found {
        if document["id"] == "33.md" {
            ensure!(
                document["status"] == "failed" && document["error"]["code"] == "embedding_refused",
                "{document}"
            );
        } else {
            ensure!(document["status"] == "indexed", "{document}");
        }
    }
    let stats = site.twin.stats()?;
    eprintln!(
        "one bad chunk among {DOCUMENTS} documents: calls {}, {} refused",
        stats["ai"]["embed"], stats["faults"]["ai"]["embed"]["error 5006"]
    );
    // The same bytes are tried again when they are uploaded again.
    site.twin.faults(&json!([]))?;
    client.put("33.md", &all[33].1)?.expect(202)?;
    let Some(mended) =
        arrived(&client, Duration::from_mins(1))?.into_iter().find(|found| found["id"] == "33.md")
    else {
        bail!("33.md is gone")
    };
    ensure!(mended["status"] == "indexed" && mended["generation"] == 2, "{mended}");
    Ok(())
}
