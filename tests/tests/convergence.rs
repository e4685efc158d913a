//! Documents come, change and go while services fail and everything is killed again and again. In the end each tenant has
//! what was last uploaded, exactly as a fresh upload of it would be, and nothing else is left anywhere.
//!
//! `RAGFLARE_SEQUENCES` (8) sequences of requests, `RAGFLARE_KILLS` (two for five sequences) crashes. Sequence n has the seed
//! `RAGFLARE_SEED` + n, so that a printed seed and `RAGFLARE_SEQUENCES=1` repeat one sequence alone.

mod shared;

use anyhow::{Context, Result, bail, ensure};
use ragflare_tests::{Case, Client, Reply, run};
use serde_json::{Value, json};
use shared::{
    Random, Twin, accepted, audit, chunks, documents, encoded, number, sum, sweep, sweep_until_quiet,
};
use std::collections::{BTreeMap, BTreeSet};
use std::fmt::Write as _;
use std::process::ExitCode;
use std::sync::atomic::{AtomicU64, AtomicUsize, Ordering};
use std::sync::{Condvar, Mutex, PoisonError};
use std::thread;
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};
use xtask::stack::{age, objects};
use xtask::{Stack, StackOptions};

const DATA: &str = "target/tests/convergence";
/// Sequences in flight at a time.
const TOGETHER: usize = 5;
/// Ids of a sequence; those with a slash go with their prefix.
const IDS: [&str; 3] = ["a/one.md", "a/two.txt", "three.md"];
const PREFIX: &str = "a/";
/// After that no writer can be at work any more, no upload on its way, and no pause is left.
const LATER: Duration = Duration::from_hours(2);
/// Scores of the same text, embedded in other company, differ by rounding.
const TOLERANCE: f64 = 2e-3;

struct Nothing;

fn main() -> ExitCode {
    let cases: &[Case<Nothing>] = &[("whatever happens, it is what was last uploaded", converges)];
    run(|| Ok(Nothing), cases)
}

/// Where the stack is, while it is up.
#[derive(Debug)]
struct Place {
    up: bool,
    url: String,
    starts: u64,
}

struct World {
    place: Mutex<Place>,
    changed: Condvar,
    admin_key: String,
    /// Requests, and those of them that a crash cut.
    asked: AtomicU64,
    cut: AtomicU64,
    /// The first failure ends all.
    failed: Mutex<Option<String>>,
}

impl World {
    fn set(&self, up: bool, url: &str) {
        let mut place = self.place.lock().unwrap_or_else(PoisonError::into_inner);
        place.starts += u64::from(up);
        place.up = up;
        url.clone_into(&mut place.url);
        self.changed.notify_all();
    }

    /// Waits until the place is as wanted; `None` when it is not in time.
    fn wait(&self, patience: Duration, wanted: impl Fn(&Place) -> bool) -> Option<(String, u64)> {
        let place = self.place.lock().unwrap_or_else(PoisonError::into_inner);
        let waited = self.changed.wait_timeout_while(place, patience, |place| !wanted(place));
        let (place, timeout) = waited.unwrap_or_else(PoisonError::into_inner);
        (!timeout.timed_out()).then(|| (place.url.clone(), place.starts))
    }

    /// Sends a request when the stack is up. `None`: a crash came before the reply, so that it may or may not have counted.
    fn ask(&self, key: &str, send: impl Fn(&Client) -> Result<Reply>) -> Result<Option<Reply>> {
        ensure!(self.failed.lock().unwrap_or_else(PoisonError::into_inner).is_none(), "another one failed");
        let up = self.wait(Duration::from_mins(3), |place| place.up);
        let (url, starts) = up.context("the stack does not come up again")?;
        self.asked.fetch_add(1, Ordering::Relaxed);
        let answer = send(&Client::new(&url).with_key(key));
        let broken = match &answer {
            Ok(reply) if reply.status < 500 => return answer.map(Some),
            Ok(reply) => format!("{}: {}", reply.status, reply.text()),
            Err(error) => format!("{error:#}"),
        };
        let crashed = self.wait(Duration::from_secs(5), |place| !place.up || place.starts != starts);
        ensure!(crashed.is_some(), "without a crash: {broken}");
        self.cut.fetch_add(1, Ordering::Relaxed);
        Ok(None)
    }

    /// [`Self::ask`], again until it is answered: for what may be done twice.
    fn insist(&self, key: &str, send: impl Fn(&Client) -> Result<Reply>) -> Result<Reply> {
        loop {
            if let Some(reply) = self.ask(key, &send)? {
                return Ok(reply);
            }
        }
    }

    fn tenant(&self, tenant: &str) -> Result<String> {
        let body = json!({"tenant": tenant, "name": "test", "scopes": ["read", "write"]});
        let made =
            self.insist(&self.admin_key, |client| client.post("/v1/admin/keys", &body))?.expect(201)?;
        Ok(made["key"].as_str().context("no key")?.to_owned())
    }
}

/// What an id holds.
#[derive(Clone, Debug, PartialEq)]
struct State {
    text: String,
    /// The title it was uploaded with, which is embedded, and the one it has now.
    uploaded_title: Option<String>,
    title: Option<String>,
    metadata: Value,
}

impl State {
    fn path(&self, id: &str) -> String {
        let mut path = format!("/v1/documents/{id}?metadata={}", encoded(&self.metadata.to_string()));
        if let Some(title) = &self.uploaded_title {
            let _ = write!(path, "&title={}", encoded(title));
        }
        path
    }

    fn put(&self, client: &Client, id: &str, condition: &[(&str, &str)]) -> Result<Reply> {
        let mut headers = vec![("content-type", media_type(id))];
        headers.extend(condition);
        client.send("PUT", &self.path(id), &headers, self.text.as_bytes())
    }

    fn is(&self, document: &Value, text: &str) -> bool {
        self.text == text && document["title"] == json!(self.title) && document["metadata"] == self.metadata
    }
}

fn media_type(id: &str) -> &'static str {
    if id.contains(".md") { "text/markdown" } else { "text/plain" }
}

/// An id, and all that it may hold as far as we were told.
struct Entry {
    id: &'static str,
    may_be: Vec<Option<State>>,
    /// Texts it may have shown since it was certainly absent.
    shown: BTreeSet<String>,
    sections: Vec<usize>,
}

impl Entry {
    fn settle(&mut self, may_be: Vec<Option<State>>) {
        self.may_be.clear();
        for state in may_be {
            if !self.may_be.contains(&state) {
                self.may_be.push(state);
            }
        }
        if self.may_be == [None] {
            self.shown.clear();
        }
        self.shown.extend(self.may_be.iter().flatten().map(|state| state.text.clone()));
    }

    fn add(&mut self, more: impl IntoIterator<Item = Option<State>>) {
        let all = self.may_be.drain(..).chain(more).collect();
        self.settle(all);
    }

    fn may_be_absent(&self) -> bool {
        self.may_be.contains(&None)
    }

    fn may_be_there(&self) -> bool {
        self.may_be.iter().any(Option::is_some)
    }
}

/// A tenant of its own and what is done to it.
struct Sequence<'w> {
    world: &'w World,
    seed: u64,
    tenant: String,
    key: String,
    random: Random,
    sections: Vec<String>,
    entries: Vec<Entry>,
    log: Vec<String>,
}

impl<'w> Sequence<'w> {
    fn new(world: &'w World, seed: u64) -> Result<Self> {
        let tenant = format!("t{seed}");
        let key = world.tenant(&tenant)?;
        let mut random = Random::new(seed);
        let sections: Vec<String> = (0..14).map(|_| random.prose(31)).collect();
        let entry = |id| Entry { id, may_be: vec![None], shown: BTreeSet::new(), sections: Vec::new() };
        let entries = IDS.into_iter().map(entry).collect();
        Ok(Self { world, seed, tenant, key, random, sections, entries, log: Vec::new() })
    }

    fn go(&mut self) -> Result<()> {
        for _ in 0..10 + self.random.below(10) {
            let started = Instant::now();
            let done = self.step();
            match &done {
                Ok(what) => self.log.push(format!("{:>5} ms {what}", started.elapsed().as_millis())),
                Err(error) => self.log.push(format!("failed: {error:#}")),
            }
            done?;
            let pause = if self.random.percent(25) {
                self.random.millis(1000, 2500)
            } else {
                self.random.millis(0, 300)
            };
            thread::sleep(pause);
        }
        Ok(())
    }

    /// One request, or a few at once. Tells what it was.
    fn step(&mut self) -> Result<String> {
        let nth = self.random.below(IDS.len());
        let id = self.entries[nth].id;
        match self.random.below(100) {
            0..=32 => {
                let state = self.changed(nth);
                self.put(nth, state, &[]).map(|status| format!("put {id}: {status}"))
            }
            33..=40 => {
                let Some(state) = self.entries[nth].may_be.iter().flatten().next().cloned() else {
                    return Ok(format!("nothing to put again at {id}"));
                };
                let again = State { uploaded_title: state.title.clone(), ..state };
                self.put(nth, again, &[]).map(|status| format!("put {id} again: {status}"))
            }
            41..=50 => self.race(nth).map(|replies| format!("puts of {id} at once: {replies}")),
            51..=62 => self.patch(nth).map(|status| format!("patch {id}: {status}")),
            63..=73 => self.delete(nth).map(|status| format!("delete {id}: {status}")),
            74..=77 => self.delete_prefix().map(|status| format!("delete {PREFIX}: {status}")),
            78..=82 => self.create(nth).map(|status| format!("create {id}: {status}")),
            83..=87 => self.replace(nth).map(|status| format!("replace {id}: {status}")),
            88..=91 => {
                self.world.insist(&self.world.admin_key, |client| {
                    client.post("/v1/admin/sweep?older_than=0", &json!({}))
                })?;
                Ok("sweep".to_owned())
            }
            _ => self.look(nth).map(|status| format!("look at {id}: {status}")),
        }
    }

    /// Another text for an id, made from the one it had.
    fn changed(&mut self, nth: usize) -> State {
        let many = self.sections.len();
        let random = &mut self.random;
        let own = &mut self.entries[nth].sections;
        if own.is_empty() || random.percent(15) {
            *own = (0..=random.below(9)).map(|_| random.below(many)).collect();
        } else if random.percent(8) {
            // More than a part takes, and often more than a call of the model; some of it says the same again.
            *own = (0..110 + random.below(100))
                .map(|place| if place % 4 == 0 { 0 } else { many * (place + 1) } + random.below(many))
                .collect();
        }
        for _ in 0..=random.below(2) {
            let place = random.below(own.len());
            match random.below(4) {
                0 => own.insert(place, random.below(many)),
                1 if own.len() > 1 => drop(own.remove(place)),
                2 => own.rotate_left(place),
                _ => own[place] = random.below(many),
            }
        }
        let mut text = String::new();
        for section in own.iter() {
            if media_type(IDS[nth]) == "text/markdown" {
                let _ = write!(text, "## Section {section}\n\n");
            }
            let _ = write!(text, "{}", self.sections[section % many]);
            if *section >= many {
                let _ = write!(text, " That is number {section}.");
            }
            text.push_str("\n\n");
        }
        let title = random.percent(50).then(|| format!("Title {}", random.below(3)));
        State { text, uploaded_title: title.clone(), title, metadata: metadata(random) }
    }

    fn put(&mut self, nth: usize, state: State, condition: &[(&str, &str)]) -> Result<String> {
        let entry = &mut self.entries[nth];
        let Some(reply) = self.world.ask(&self.key, |client| state.put(client, entry.id, condition))? else {
            entry.add([Some(state)]);
            return Ok("cut".to_owned());
        };
        accepted(&reply)?;
        entry.settle(vec![Some(state)]);
        Ok(reply.status.to_string())
    }

    /// Several uploads of one id at once.
    fn race(&mut self, nth: usize) -> Result<String> {
        let states: Vec<State> = (0..2 + self.random.below(2)).map(|_| self.changed(nth)).collect();
        let (world, key, id) = (self.world, &self.key, self.entries[nth].id);
        let replies: Vec<Option<Reply>> = thread::scope(|scope| {
            let put =
                |state| scope.spawn(move || world.ask(key, |client| State::put(state, client, id, &[])));
            let racers: Vec<_> = states.iter().map(put).collect();
            racers.into_iter().map(|racer| racer.join().expect("a thread panicked")).collect::<Result<_>>()
        })?;
        let told: Vec<String> = replies
            .iter()
            .map(|reply| reply.as_ref().map_or_else(|| "cut".to_owned(), |reply| reply.status.to_string()))
            .collect();
        let mut newest: Option<(u64, &State)> = None;
        for (reply, state) in replies.iter().zip(&states) {
            if let Some(reply) = reply {
                let generation = accepted(reply)?["pending"]["generation"].as_u64().unwrap_or_default();
                if newest.is_none_or(|(newest, _)| newest < generation) {
                    newest = Some((generation, state));
                }
            }
        }
        let entry = &mut self.entries[nth];
        match newest {
            // Each was told of its own generation: the last one stays.
            Some((_, state)) if told.iter().all(|status| status == "202") => {
                entry.shown.extend(states.iter().map(|state| state.text.clone()));
                entry.settle(vec![Some(state.clone())]);
            }
            Some(_) => entry.settle(states.into_iter().map(Some).collect()),
            None => entry.add(states.into_iter().map(Some)),
        }
        Ok(told.join(" "))
    }

    fn patch(&mut self, nth: usize) -> Result<String> {
        let random = &mut self.random;
        let mut change = json!({});
        if random.percent(60) {
            change["title"] =
                if random.percent(30) { Value::Null } else { format!("Title {}", random.below(5)).into() };
        }
        if change == json!({}) || random.percent(40) {
            change["metadata"] = metadata(random);
        }
        let entry = &mut self.entries[nth];
        let path = format!("/v1/documents/{}", entry.id);
        let reply = self.world.ask(&self.key, |client| client.patch(&path, &change))?;
        let patched = |state: &State| {
            let mut state = state.clone();
            if let Some(title) = change.get("title") {
                state.title = title.as_str().map(ToOwned::to_owned);
            }
            if let Some(metadata) = change.get("metadata") {
                state.metadata = metadata.clone();
            }
            Some(state)
        };
        let changed: Vec<_> = entry.may_be.iter().flatten().map(patched).collect();
        let Some(reply) = reply else {
            entry.add(changed);
            return Ok("cut".to_owned());
        };
        if reply.status == 404 {
            ensure!(entry.may_be_absent(), "404 for {}, which is there", entry.id);
            entry.settle(vec![None]);
        } else {
            accepted(&reply)?;
            ensure!(!changed.is_empty(), "{} for {}, which is not there", reply.status, entry.id);
            entry.settle(changed);
        }
        Ok(reply.status.to_string())
    }

    fn delete(&mut self, nth: usize) -> Result<String> {
        let entry = &mut self.entries[nth];
        let path = format!("/v1/documents/{}", entry.id);
        let Some(reply) = self.world.ask(&self.key, |client| client.delete(&path))? else {
            entry.add([None]);
            return Ok("cut".to_owned());
        };
        match reply.status {
            204 => ensure!(entry.may_be_there(), "204 for {}, which is not there", entry.id),
            404 => ensure!(entry.may_be_absent(), "404 for {}, which is there", entry.id),
            _ => bail!("{}: {}", reply.status, reply.text()),
        }
        entry.settle(vec![None]);
        // Gone from every answer at once; the same request may come to another runtime after a crash.
        self.look(nth)?;
        Ok(reply.status.to_string())
    }

    fn delete_prefix(&mut self) -> Result<String> {
        let path = format!("/v1/documents?prefix={}", encoded(PREFIX));
        let reply = self.world.ask(&self.key, |client| client.delete(&path))?;
        let concerned = || IDS.iter().enumerate().filter(|(_, id)| id.starts_with(PREFIX));
        let Some(reply) = reply else {
            concerned().for_each(|(nth, _)| self.entries[nth].add([None]));
            return Ok("cut".to_owned());
        };
        let deleted = reply.expect(200)?["deleted"].as_u64().context("no number")? as usize;
        let most = concerned().filter(|(nth, _)| self.entries[*nth].may_be_there()).count();
        let least = concerned().filter(|(nth, _)| !self.entries[*nth].may_be_absent()).count();
        ensure!((least..=most).contains(&deleted), "{deleted} deleted, not {least} to {most}");
        concerned().for_each(|(nth, _)| self.entries[nth].settle(vec![None]));
        Ok(deleted.to_string())
    }

    /// An upload that must not replace anything.
    fn create(&mut self, nth: usize) -> Result<String> {
        let before = self.entries[nth].sections.clone();
        let state = self.changed(nth);
        let entry = &mut self.entries[nth];
        let condition = [("if-none-match", "*")];
        let Some(reply) = self.world.ask(&self.key, |client| state.put(client, entry.id, &condition))? else {
            if entry.may_be_absent() {
                entry.add([Some(state)]);
            }
            return Ok("cut".to_owned());
        };
        if reply.status == 412 {
            ensure!(entry.may_be_there(), "412 for {}, which is not there", entry.id);
            entry.sections = before;
            entry.may_be.retain(Option::is_some);
        } else {
            accepted(&reply)?;
            ensure!(entry.may_be_absent(), "{} for {}, which is there", reply.status, entry.id);
            entry.settle(vec![Some(state)]);
        }
        Ok(reply.status.to_string())
    }

    /// An upload that replaces what was looked at before; and one that would replace something else.
    fn replace(&mut self, nth: usize) -> Result<String> {
        let id = self.entries[nth].id;
        let path = format!("/v1/documents/{id}");
        let found = self.world.insist(&self.key, |client| client.get(&path))?;
        if found.status == 404 {
            ensure!(self.entries[nth].may_be_absent(), "404 for {id}, which is there");
            return Ok("404".to_owned());
        }
        let right = found.header("etag").context("no etag")?.to_owned();
        let wrong = right.replacen('"', "\"1", 1);
        let state = self.changed(nth);
        let refused =
            self.world.insist(&self.key, |client| state.put(client, id, &[("if-match", &wrong)]))?;
        ensure!(refused.error(412)? == "precondition_failed", "{}", refused.text());
        self.put(nth, state, &[("if-match", &right)])
    }

    /// What is shown is something that was uploaded, whole.
    fn look(&mut self, nth: usize) -> Result<String> {
        let entry = &self.entries[nth];
        let path = format!("/v1/documents/{}/text", entry.id);
        let reply = self.world.insist(&self.key, |client| client.get(&path))?;
        if reply.status == 404 {
            ensure!(entry.may_be_absent(), "404 for {}, which is there", entry.id);
        } else {
            ensure!(reply.status == 200, "{}: {}", reply.status, reply.text());
            ensure!(entry.may_be_there(), "{} is there again", entry.id);
            ensure!(entry.shown.contains(&reply.text()), "{} shows {:?}", entry.id, reply.text());
        }
        Ok(reply.status.to_string())
    }

    /// Every id holds something that it may hold; those things.
    fn held(&self, client: &Client) -> Result<BTreeMap<&'static str, State>> {
        let mut held = BTreeMap::new();
        let mut listed: Vec<Value> =
            documents(client, "")?.into_iter().map(|mut document| document["id"].take()).collect();
        for entry in &self.entries {
            let reply = client.get(&format!("/v1/documents/{}", entry.id))?;
            if reply.status == 404 {
                ensure!(entry.may_be_absent(), "{} is lost; it should be {:#?}", entry.id, entry.may_be);
                continue;
            }
            let document = reply.expect(200)?;
            ensure!(document["status"] == "indexed" && document["pending"].is_null(), "{document}");
            let text = client.get(&format!("/v1/documents/{}/content", entry.id))?.text();
            let state = entry.may_be.iter().flatten().find(|state| state.is(&document, &text));
            let state = state.with_context(|| {
                format!("{} is {document} of {text:?}; it should be {:#?}", entry.id, entry.may_be)
            })?;
            held.insert(entry.id, state.clone());
            listed.retain(|id| id != entry.id);
        }
        ensure!(listed.is_empty(), "{listed:?} should not be there");
        Ok(held)
    }
}

fn metadata(random: &mut Random) -> Value {
    match random.below(4) {
        0 => json!({}),
        1 => json!({"lang": "en"}),
        2 => json!({"lang": "de", "year": 1990 + random.below(3)}),
        _ => json!({"note": format!("note {}", random.below(9)), "lang": "en"}),
    }
}

/// What the services do while sequences run.
fn faults(seed: u64) -> Value {
    let rule = |service: &str, op: &str, share: f64, action: Value| json!({"match": {"service": service, "op": op}, "probability": share, "seed": seed, "action": action});
    let slow = json!({"delay_ms": 250});
    json!([
        rule("ai", "embed", 0.2, slow.clone()),
        rule("vectorize", "upsert", 0.2, slow.clone()),
        rule("vectorize", "deleteByIds", 0.2, slow),
        rule("ai", "embed", 0.3, json!({"error": {"code": 3040}})),
        rule("ai", "embed", 0.05, json!({"cut_reply": true})),
        rule("ai", "embed", 0.05, json!({"disconnect": true})),
        rule("vectorize", "upsert", 0.15, json!({"error": {"code": 40041}})),
        rule("vectorize", "upsert", 0.1, json!({"cut_reply": true})),
        rule("vectorize", "upsert", 0.1, json!({"error_after": {"code": 40041}})),
        rule("vectorize", "deleteByIds", 0.15, json!({"error": {"code": 40041}})),
        rule("vectorize", "deleteByIds", 0.15, json!({"cut_reply": true})),
        rule("vectorize", "getByIds", 0.15, json!({"error": {"code": 40041}})),
    ])
}

/// Numbers of all stacks together; the twin's end with it.
#[derive(Debug, Default)]
struct Totals {
    kills: usize,
    kills_midway: usize,
    faults: u64,
    ai: u64,
    vectorize: u64,
}

impl Totals {
    fn add(&mut self, twin: &Twin) -> Result<()> {
        let stats = twin.stats()?;
        self.faults += sum(&stats["faults"]);
        self.ai += sum(&stats["ai"]);
        self.vectorize += sum(&stats["vectorize"]);
        Ok(())
    }
}

fn options() -> StackOptions {
    // Small chunks: more of them to a second.
    StackOptions::new(DATA).var("SETTINGS", &json!({"chunk": {"target": 64, "prefix": 32}}).to_string())
}

fn converges(_: &Nothing) -> Result<()> {
    let sequences: usize = number("RAGFLARE_SEQUENCES", 8)?;
    let kills: usize = number("RAGFLARE_KILLS", (sequences * 2).div_ceil(5))?;
    let clock = SystemTime::now().duration_since(UNIX_EPOCH)?.as_millis() as u64 % 1_000_000 * 1000;
    let seed: u64 = number("RAGFLARE_SEED", clock)?;
    eprintln!("{sequences} sequences, {kills} kills: RAGFLARE_SEED={seed}");

    let started = Instant::now();
    let stack = Stack::start(&StackOptions { fresh: true, ..options() })?;
    let world = World {
        place: Mutex::new(Place { up: false, url: String::new(), starts: 0 }),
        changed: Condvar::new(),
        admin_key: stack.admin_key.clone(),
        asked: AtomicU64::new(0),
        cut: AtomicU64::new(0),
        failed: Mutex::new(None),
    };
    let next = AtomicUsize::new(0);
    let finished: Mutex<Vec<Sequence<'_>>> = Mutex::new(Vec::new());
    let run_them = || {
        loop {
            let nth = next.fetch_add(1, Ordering::Relaxed);
            if nth >= sequences {
                return;
            }
            let seed = seed + nth as u64;
            let result = Sequence::new(&world, seed).and_then(|mut sequence| match sequence.go() {
                Ok(()) => Ok(sequence),
                Err(error) => Err(error.context(format!("sequence\n{}", sequence.log.join("\n")))),
            });
            match result {
                Ok(sequence) => finished.lock().unwrap_or_else(PoisonError::into_inner).push(sequence),
                Err(error) => {
                    let mut failed = world.failed.lock().unwrap_or_else(PoisonError::into_inner);
                    failed.get_or_insert_with(|| format!("seed {seed}: {error:?}"));
                    return;
                }
            }
        }
    };
    let (stack, mut totals) = thread::scope(|scope| {
        let runners: Vec<_> = (0..TOGETHER.min(sequences)).map(|_| scope.spawn(run_them)).collect();
        let busy = || runners.iter().any(|runner| !runner.is_finished());
        let ended = supervise(&world, stack, kills, Random::new(seed), &busy);
        if let Err(error) = &ended {
            let mut failed = world.failed.lock().unwrap_or_else(PoisonError::into_inner);
            failed.get_or_insert_with(|| format!("{error:?}"));
        }
        ended
    })?;
    let failed = world.failed.lock().unwrap_or_else(PoisonError::into_inner).take();
    if let Some(failed) = failed {
        bail!(failed);
    }
    let mut finished = finished.into_inner().unwrap_or_else(PoisonError::into_inner);
    finished.sort_by_key(|sequence| sequence.seed);
    let ran = started.elapsed();
    let stack = settle(stack, &world, &mut totals)?;
    let settled = started.elapsed();
    let (held, vectors) = compare(&stack, &world, &finished)?;
    stack.stop();
    let left = objects(DATA.as_ref())?;
    ensure!(left.len() == held, "{} objects for {held} documents: {left:#?}", left.len());
    eprintln!(
        "{sequences} sequences in {ran:.0?}: {} requests, {} cut; {} kills, {} of them while sequences ran; {} faults in \
         {} calls of Workers AI and {} of Vectorize; settled after {settled:.0?}, compared after {:.0?}: {held} \
         documents, {vectors} vectors",
        world.asked.load(Ordering::Relaxed),
        world.cut.load(Ordering::Relaxed),
        totals.kills,
        totals.kills_midway,
        totals.faults,
        totals.ai,
        totals.vectorize,
        started.elapsed(),
    );
    Ok(())
}

/// Kills everything at random moments and starts it again, until that was often enough and the sequences are through.
fn supervise(
    world: &World,
    mut stack: Stack,
    kills: usize,
    mut random: Random,
    busy: &dyn Fn() -> bool,
) -> Result<(Stack, Totals)> {
    let mut totals = Totals::default();
    loop {
        let twin = Twin::new(&stack.twin_url);
        twin.faults(&faults(random.below(1 << 30) as u64))?;
        twin.visible_after(random.below(3) as u64 * 700)?;
        // The queue lived in memory: what was under way is sent again.
        sweep(&Client::new(&stack.url).with_key(&world.admin_key))?;
        world.set(true, &stack.url);
        let failed = || world.failed.lock().unwrap_or_else(PoisonError::into_inner).is_some();
        if totals.kills == kills {
            while busy() && !failed() {
                thread::sleep(Duration::from_millis(50));
                if let Some(dead) = stack.dead() {
                    bail!(dead);
                }
            }
            totals.add(&twin)?;
            return Ok((stack, totals));
        }
        thread::sleep(random.millis(800, 6500));
        totals.add(&twin)?;
        totals.kills += 1;
        totals.kills_midway += usize::from(busy());
        world.set(false, "");
        stack.kill();
        stack = Stack::start(&options())?;
    }
}

/// Lets everything come to rest: no faults any more, hours later, twice. What the first round's latecomers leave behind, the
/// second finds.
fn settle(stack: Stack, world: &World, totals: &mut Totals) -> Result<Stack> {
    let mut stack = stack;
    for _ in 0..2 {
        stack.kill();
        age(DATA.as_ref(), LATER)?;
        stack = Stack::start(&options())?;
        let twin = Twin::new(&stack.twin_url);
        twin.visible_after(0)?;
        sweep_until_quiet(&Client::new(&stack.url).with_key(&world.admin_key), Duration::from_mins(3))?;
        totals.add(&twin)?;
    }
    world.set(true, &stack.url);
    Ok(stack)
}

/// Compares every tenant with one that has the same uploads and no history. Returns how many documents and vectors there
/// are.
fn compare(stack: &Stack, world: &World, sequences: &[Sequence<'_>]) -> Result<(usize, usize)> {
    let next = AtomicUsize::new(0);
    let work = || {
        let (mut held, mut vectors) = (0, BTreeSet::new());
        while let Some(sequence) = sequences.get(next.fetch_add(1, Ordering::Relaxed)) {
            let compared = compare_tenant(stack, world, sequence);
            let compared = compared.with_context(|| {
                format!("seed {}, tenant {}\n{}", sequence.seed, sequence.tenant, sequence.log.join("\n"))
            });
            let (documents, refer_to) = compared?;
            held += documents;
            vectors.extend(refer_to);
        }
        Ok((held, vectors))
    };
    let parts: Vec<(usize, BTreeSet<String>)> = thread::scope(|scope| {
        // They wait most of the time.
        let workers: Vec<_> = (0..2 * TOGETHER).map(|_| scope.spawn(work)).collect();
        workers.into_iter().map(|worker| worker.join().expect("a thread panicked")).collect::<Result<_>>()
    })?;
    let held = parts.iter().map(|(held, _)| held).sum();
    let expected: BTreeSet<String> = parts.into_iter().flat_map(|(_, vectors)| vectors).collect();
    // What the patches of the fresh tenants left.
    sweep_until_quiet(&Client::new(&stack.url).with_key(&world.admin_key), Duration::from_mins(2))?;
    let there: BTreeSet<String> = Twin::new(&stack.twin_url).vectors()?.into_iter().collect();
    let (lost, zombies): (Vec<_>, Vec<_>) =
        (expected.difference(&there).collect(), there.difference(&expected).collect());
    ensure!(lost.is_empty() && zombies.is_empty(), "vectors lost: {lost:?}; left behind: {zombies:?}");
    audit(&Client::new(&stack.url).with_key(&world.admin_key))?;
    Ok((held, expected.len()))
}

/// Documents and vectors of both tenants.
fn compare_tenant(
    stack: &Stack,
    world: &World,
    sequence: &Sequence<'_>,
) -> Result<(usize, BTreeSet<String>)> {
    let client = Client::new(&stack.url).with_key(&sequence.key);
    let held = sequence.held(&client)?;
    let fresh = Client::new(&stack.url).with_key(&world.tenant(&format!("{}-fresh", sequence.tenant))?);
    let settled = |document: &Value| document["status"] == "indexed" && document["pending"].is_null();
    for (id, state) in &held {
        accepted(&state.put(&fresh, id, &[])?)?;
    }
    for (id, state) in &held {
        fresh.wait_for(id, settled)?;
        if state.title != state.uploaded_title {
            accepted(&fresh.patch(&format!("/v1/documents/{id}"), &json!({"title": state.title}))?)?;
        }
    }
    for (id, state) in &held {
        fresh.wait_for(id, |document| settled(document) && document["title"] == json!(state.title))?;
    }
    let mut vectors = BTreeSet::new();
    for id in held.keys() {
        let document = |client: &Client| client.get(&format!("/v1/documents/{id}"))?.expect(200);
        let (ours, theirs) = (document(&client)?, document(&fresh)?);
        for name in
            ["status", "title", "media_type", "bytes", "content_hash", "chunk_count", "tokens", "metadata"]
        {
            ensure!(ours[name] == theirs[name], "{name} of {ours}\nis not that of {theirs}");
        }
        ensure!(client.get(&format!("/v1/documents/{id}/text"))?.text() == held[id].text, "{id}");
        let (ours, theirs) = (chunks(&client, id)?, chunks(&fresh, id)?);
        vectors.extend(shared::vectors_of(&ours).chain(shared::vectors_of(&theirs)));
        let without_ids = |mut chunks: Vec<Value>| {
            chunks.iter_mut().for_each(|chunk| chunk["id"] = Value::Null);
            chunks
        };
        ensure!(without_ids(ours) == without_ids(theirs), "the chunks of {id} differ");
    }
    let mut random = Random::new(sequence.seed ^ 1);
    for _ in 0..3 {
        let section = &sequence.sections[random.below(sequence.sections.len())];
        let query: String = section.split(' ').take(8).collect::<Vec<_>>().join(" ");
        for mode in ["keyword", "vector"] {
            for filter in [Value::Null, json!({"lang": "en"}), json!({"year": {"$gte": 1991}})] {
                let question =
                    json!({"query": query, "mode": mode, "filter": filter, "rerank": false, "top_k": 100});
                let (ours, theirs) = (client.search(&question)?, fresh.search(&question)?);
                same_hits(&ours, &theirs, mode)
                    .with_context(|| format!("{question}\nours: {ours:#?}\ntheirs: {theirs:#?}"))?;
            }
        }
    }
    Ok((held.len() * 2, vectors))
}

/// The same passages with the same scores. Where there are more than are asked for, the last ones may differ.
fn same_hits(ours: &[Value], theirs: &[Value], mode: &str) -> Result<()> {
    let scores = |hits: &[Value]| -> BTreeMap<String, f64> {
        let passage = |hit: &Value| format!("{}@{}: {}", hit["document_id"], hit["start"], hit["text"]);
        hits.iter().map(|hit| (passage(hit), hit["scores"][mode].as_f64().unwrap_or(f64::NAN))).collect()
    };
    let (ours, theirs) = (scores(ours), scores(theirs));
    ensure!(ours.len() == theirs.len(), "{} hits instead of {}", ours.len(), theirs.len());
    for (one, other) in [(&ours, &theirs), (&theirs, &ours)] {
        let last = other.values().copied().fold(f64::INFINITY, f64::min);
        for (passage, score) in one {
            let expected = other.get(passage).copied().unwrap_or(last);
            ensure!(
                (score - expected).abs() <= TOLERANCE * expected.abs().max(1.0),
                "{score}, not {expected}: {passage}"
            );
        }
    }
    Ok(())
}
