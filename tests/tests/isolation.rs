//! Tenants side by side: what one finds, counts and scores, whatever the others hold, change and try.
//!
//! Five tenants hold documents of the same ids, of one vocabulary, some of them of the same bytes. Two of them do not change:
//! what they found when they were alone they must find again, to the last bit of every score, while the others come, are
//! changed and go. All of them ask for what is not theirs. `RAGFLARE_TRIES` and `RAGFLARE_SEED` change how many and which.

mod shared;

use anyhow::{Context, Result, ensure};
use ragflare_tests::{Case, Client, Reply, run};
use serde_json::{Value, json};
use shared::{Random, Twin, chunks, documents, encoded, number};
use std::collections::{BTreeMap, BTreeSet};
use std::process::ExitCode;
use std::sync::Mutex;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};
use xtask::{Stack, StackOptions};

/// Names that a careless prefix or comparison would take for each other.
const NAMES: [&str; 5] = ["delta", "delta-2", "Delta", "delta_", "d"];
/// The first ones, which do not change.
const STILL: usize = 2;
/// Ids that every tenant has.
const IDS: [&str; 6] = ["notes.md", "notes/one.md", "notes/two.md", "a.md", "b.md", "same.md"];
/// Requests of a tenant at rest whose hits are known.
const KNOWN: usize = 160;
/// Questions that every tenant asks, in the same words.
const QUESTIONS: usize = 8;
/// Clients at once.
const CLIENTS: usize = 4;
/// What is counted.
const AGAIN: &str = "searches compared bit by bit";
const PRIED: &str = "searches for what others hold";
const ASKED: &str = "questions in the same words";
const CACHED: &str = "of them answered from the cache";
const REACHED: &str = "documents of others by id, prefix, cursor";
const HOSTILE: [&str; 8] = [
    "' OR 1=1 --",
    "\" OR \"\"=\"",
    "%",
    "delta",
    "*",
    "\u{0}",
    "x') UNION SELECT text FROM chunks --",
    "{\"$ne\": 1}",
];

struct World {
    /// Ends with the world.
    _stack: Stack,
    admin: Client,
}

impl World {
    fn start() -> Result<Self> {
        let settings = json!({
            "search": {"rerank_candidates": 0, "condense_model": null},
            "answer": {"min_relevance": 0.0, "cache_seconds": 3600},
        });
        let options = StackOptions { fresh: true, ..StackOptions::new("target/tests/isolation") };
        let stack = Stack::start(&options.var("SETTINGS", &settings.to_string()).var("LEDGER", "0"))?;
        let admin = Client::new(&stack.url).with_key(&stack.admin_key);
        let twin = Twin::new(&stack.twin_url);
        twin.visible_after(0)?;
        let said = json!({"answer": "So it is [S1], and so [S2]."});
        twin.faults(&json!([{"match": {"service": "ai", "op": "chat"}, "action": said}]))?;
        Ok(Self { _stack: stack, admin })
    }
}

fn main() -> ExitCode {
    let cases: &[Case<World>] =
        &[("tenants find, score and change nothing of each other", tenants_do_not_meet)];
    run(World::start, cases)
}

/// A tenant and what is its own.
struct Holder {
    name: &'static str,
    client: Client,
    /// In every passage of its documents but one's, and in all titles: a word that nobody else has.
    secret: String,
    /// The id of its one document that nobody else has.
    own: String,
}

impl Holder {
    fn new(world: &World, name: &'static str, random: &mut Random) -> Result<Self> {
        let secret: String = (0..12).map(|_| char::from(b'a' + random.below(26) as u8)).collect();
        let secret = format!("zq{secret}");
        Ok(Self { name, client: world.admin.tenant(name)?, own: format!("own-{secret}.md"), secret })
    }

    /// A document of this tenant; `same.md` is the same for all.
    fn text(&self, id: &str, random: &mut Random) -> String {
        if id == "same.md" {
            return Random::new(1).prose(200);
        }
        let mut common = Random::new(id.len() as u64);
        let part = |random: &mut Random| format!("{} Seen by {}.\n\n", random.prose(60), self.secret);
        format!("# The log\n\n{}{}{}", part(&mut common), part(random), part(&mut common))
    }

    fn put(&self, id: &str, random: &mut Random) -> Result<Reply> {
        let place = ["harbour", "tower", "delta"][random.below(3)];
        let metadata =
            json!({"category": place, "year": 1900 + random.below(5), "public": random.percent(50)});
        let (title, metadata) = (encoded(&format!("Log of {}", self.secret)), encoded(&metadata.to_string()));
        self.client.put(&format!("{id}?title={title}&metadata={metadata}"), &self.text(id, random))
    }

    /// Uploads everything, and waits until all is indexed.
    fn settle(&self, random: &mut Random) -> Result<()> {
        for id in IDS.into_iter().chain([self.own.as_str()]) {
            let reply = self.put(id, random)?;
            ensure!(reply.status == 202, "{}: {}", self.name, reply.text());
        }
        for id in IDS.into_iter().chain([self.own.as_str()]) {
            self.client.wait_for(id, |document| document["status"] == "indexed")?;
        }
        Ok(())
    }

    /// All that the tenant can see of its documents.
    fn sees(&self) -> Result<(Vec<Value>, Vec<Value>)> {
        let documents = documents(&self.client, "")?;
        let mut all = Vec::new();
        for document in &documents {
            all.extend(chunks(&self.client, document["id"].as_str().context("no id")?)?);
        }
        Ok((documents, all))
    }
}

/// A search by chance; what `secret` hides is looked for now and then.
fn search(random: &mut Random, secret: &str) -> Value {
    let mode = match random.below(100) {
        0..96 => "keyword",
        96..98 => "vector",
        _ => "hybrid",
    };
    let words = 1 + random.below(5);
    let query = match random.below(20) {
        0 => secret.to_owned(),
        1 => format!("{secret} {}", random.prose(4)),
        2 => HOSTILE[random.below(HOSTILE.len())].replace('\u{0}', "nothing") + " lamp",
        _ => random.prose(words),
    };
    let mut search = json!({"query": query, "mode": mode, "rerank": false, "top_k": 1 + random.below(40)});
    if random.percent(40) {
        search["filter"] = filter(random);
    }
    search
}

/// A filter over declared fields, half of them with hostile values.
fn filter(random: &mut Random) -> Value {
    let hostile = HOSTILE[random.below(HOSTILE.len())];
    match random.below(8) {
        0 => json!({"category": "tower"}),
        1 => json!({"category": {"$in": ["harbour", "delta", hostile]}}),
        2 => json!({"year": {"$gte": 1901 + random.below(3)}}),
        3 => json!({"public": random.percent(50), "category": {"$ne": hostile}}),
        4 => json!({"category": hostile}),
        5 => json!({"lang": {"$nin": [hostile, "en"]}}),
        6 => json!({"source": {"$ne": hostile}, "year": {"$lt": 9999}}),
        _ => json!({"category": {"$gt": ""}}),
    }
}

/// What was tried, how often.
#[derive(Default)]
struct Counts(Mutex<BTreeMap<&'static str, u64>>);

impl Counts {
    fn add(&self, what: &'static str) {
        *self.0.lock().unwrap_or_else(std::sync::PoisonError::into_inner).entry(what).or_default() += 1;
    }

    fn of(&self, what: &str) -> u64 {
        let counts = self.0.lock().unwrap_or_else(std::sync::PoisonError::into_inner);
        counts.get(what).copied().unwrap_or(0)
    }
}

/// The tenants, and what is known of those at rest.
struct Scene {
    holders: Vec<Holder>,
    /// Of each at rest: requests and their hits.
    known: Vec<Vec<(Value, Value)>>,
    /// Of each at rest: what it was answered when it was alone.
    answers: Vec<Vec<Value>>,
    /// Chunks of each at rest.
    chunks: Vec<BTreeSet<String>>,
    counts: Counts,
}

impl Scene {
    /// Hits of others in a reply: by chunk, by word.
    fn own_hits(&self, who: usize, hits: &Value, request: &Value) -> Result<()> {
        for hit in hits.as_array().context("no hits")? {
            let chunk = hit["chunk_id"].as_str().context("no chunk_id")?;
            for (other, chunks) in self.chunks.iter().enumerate() {
                let theirs = chunks.contains(chunk);
                ensure!(theirs == (other == who) || who >= STILL && !theirs, "{request} found {hit}");
            }
            let shown = hit.to_string();
            for (other, holder) in self.holders.iter().enumerate() {
                ensure!(other == who || !shown.contains(&holder.secret), "{request} of {who} found {hit}");
            }
        }
        Ok(())
    }

    /// Asks again what was asked when the tenant was alone.
    fn ask_again(&self, random: &mut Random) -> Result<()> {
        let who = random.below(STILL);
        let (request, expected) = &self.known[who][random.below(KNOWN)];
        let reply = self.holders[who].client.post("/v1/search", request)?.expect(200)?;
        ensure!(reply["hits"] == *expected, "{request}: {} instead of {expected}", reply["hits"]);
        self.counts.add(AGAIN);
        self.counts.add(if request["mode"] == "keyword" { "by keywords" } else { "with vectors" });
        Ok(())
    }

    /// Asks what all ask. A tenant at rest is answered as when it was alone, and from the cache.
    fn ask_the_same(&self, random: &mut Random) -> Result<()> {
        let (who, question) = (random.below(self.holders.len()), random.below(QUESTIONS));
        let answer = answer(&self.holders[who], question)?;
        self.own_hits(who, &answer["sources"], &json!({"question": question}))?;
        let cached = answer["done"]["cached"] == true;
        if let Some(known) = self.answers.get(who) {
            ensure!(cached && same(&answer, &known[question]), "{answer} instead of {}", known[question]);
        }
        self.counts.add(ASKED);
        if cached {
            self.counts.add(CACHED);
        }
        Ok(())
    }

    /// Looks for what others hold.
    fn pry(&self, random: &mut Random) -> Result<()> {
        let who = random.below(self.holders.len());
        let other = self.other(who, random);
        let request = search(random, &other.secret);
        let reply = self.holders[who].client.post("/v1/search", &request)?;
        let hits = reply.expect(200).with_context(|| request.to_string())?["hits"].take();
        self.own_hits(who, &hits, &request)?;
        let only = request["query"] == other.secret.as_str() && request["mode"] == "keyword";
        ensure!(!only || hits == json!([]), "{request}: {hits}");
        self.counts.add(PRIED);
        self.counts.add(if request["mode"] == "keyword" { "by keywords" } else { "with vectors" });
        Ok(())
    }

    fn other(&self, who: usize, random: &mut Random) -> &Holder {
        let step = 1 + random.below(self.holders.len() - 1);
        &self.holders[(who + step) % self.holders.len()]
    }

    /// Names a document, a key or a page of another.
    fn reach(&self, random: &mut Random) -> Result<()> {
        let who = random.below(self.holders.len());
        let (me, other) = (&self.holders[who], self.other(who, random));
        let theirs = &other.own;
        let escape =
            [format!("..%2F{}%2F{theirs}", other.name), format!("{}%2F{theirs}", other.name), theirs.clone()];
        let id = &escape[random.below(8).min(2)];
        let unknown = |reply: Reply, what: &str| -> Result<()> {
            ensure!(matches!(reply.status, 400 | 404), "{} {what} {id}: {}", me.name, reply.text());
            Ok(())
        };
        match random.below(9) {
            0 => unknown(me.client.get(&format!("/v1/documents/{id}"))?, "reads")?,
            1 => unknown(me.client.get(&format!("/v1/documents/{id}/chunks"))?, "reads the chunks of")?,
            2 => unknown(me.client.get(&format!("/v1/documents/{id}/text"))?, "reads the text of")?,
            3 => unknown(me.client.get(&format!("/v1/documents/{id}/content"))?, "reads the bytes of")?,
            4 => unknown(
                me.client.patch(&format!("/v1/documents/{id}"), &json!({"title": "mine"}))?,
                "renames",
            )?,
            5 => unknown(me.client.delete(&format!("/v1/documents/{id}"))?, "deletes")?,
            6 => {
                let gone = me.client.delete(&format!("/v1/documents?prefix={theirs}"))?.expect(200)?;
                ensure!(gone["deleted"] == 0, "{gone}");
            }
            7 => {
                let listed = me.client.get(&format!("/v1/documents?prefix={theirs}"))?.expect(200)?;
                ensure!(listed["documents"] == json!([]), "{listed}");
            }
            _ => {
                let page = other.client.get("/v1/documents?limit=1")?.expect(200)?;
                let cursor = encoded(page["next_cursor"].as_str().unwrap_or("x"));
                let listed = me.client.get(&format!("/v1/documents?cursor={cursor}&limit=100"))?;
                ensure!(matches!(listed.status, 200 | 400), "{}", listed.text());
                ensure!(!listed.text().contains(&other.secret), "{}", listed.text());
            }
        }
        self.counts.add(REACHED);
        Ok(())
    }

    /// Puts, renames and deletes documents of those not at rest, until told to stop.
    fn churn(&self, seed: u64, stop: &AtomicBool) -> Result<()> {
        let mut random = Random::new(seed);
        while !stop.load(Ordering::Relaxed) {
            let holder = &self.holders[STILL + random.below(self.holders.len() - STILL)];
            let id = IDS[random.below(IDS.len())];
            let path = format!("/v1/documents/{}", encoded(id));
            let (reply, what) = match random.below(10) {
                0..6 => (holder.put(id, &mut random)?, "documents put"),
                6 => (holder.client.patch(&path, &json!({"title": "Renamed"}))?, "documents renamed"),
                7 | 8 => (holder.client.delete(&path)?, "documents deleted"),
                _ => (holder.client.delete("/v1/documents?prefix=notes")?, "prefixes deleted"),
            };
            ensure!(matches!(reply.status, 200 | 202 | 204 | 404), "{}: {}", reply.status, reply.text());
            self.counts.add(what);
            std::thread::sleep(random.millis(300, 900));
        }
        Ok(())
    }
}

fn tenants_do_not_meet(world: &World) -> Result<()> {
    let seed = number("RAGFLARE_SEED", 6)?;
    let tries: u64 = number("RAGFLARE_TRIES", 10_000)?;
    let mut random = Random::new(seed);
    let holders: Vec<Holder> =
        NAMES.into_iter().map(|name| Holder::new(world, name, &mut random)).collect::<Result<_>>()?;
    // Each alone at first: what it finds then can come from nobody else.
    let (mut known, mut answers, mut own, mut seen) = (Vec::new(), Vec::new(), Vec::new(), Vec::new());
    for holder in &holders[..STILL] {
        holder.settle(&mut random)?;
        let sees = holder.sees()?;
        own.push(sees.1.iter().filter_map(|chunk| chunk["id"].as_str().map(ToOwned::to_owned)).collect());
        seen.push(sees);
        known.push(known_hits(holder, &mut random)?);
        let first: Vec<Value> = (0..QUESTIONS).map(|number| answer(holder, number)).collect::<Result<_>>()?;
        ensure!(first.iter().all(|answer| answer["done"].get("cached").is_none()), "{first:?}");
        answers.push(first);
    }
    let scene = Scene { holders, known, answers, chunks: own, counts: Counts::default() };
    ensure!(scene.chunks.iter().all(|chunks| chunks.len() >= IDS.len()), "{:?}", scene.chunks);
    ensure!(scene.chunks[0].is_disjoint(&scene.chunks[1]), "chunks of two tenants have one id");
    let with_hits = scene.known.iter().flatten().filter(|(_, hits)| *hits != json!([])).count();
    ensure!(with_hits > KNOWN, "only {with_hits} of {} find anything", 2 * KNOWN);
    // The texts of the second tenant, which came later, changed nothing either.
    for holder in &scene.holders[STILL..] {
        holder.settle(&mut random)?;
    }

    let started = Instant::now();
    let stop = AtomicBool::new(false);
    let done = |scene: &Scene| {
        let tried = [AGAIN, PRIED, REACHED, ASKED].map(|what| scene.counts.of(what));
        tried.iter().sum::<u64>()
    };
    std::thread::scope(|scope| -> Result<()> {
        let churning = scope.spawn(|| scene.churn(seed + 1, &stop));
        let clients: Vec<_> = (0..CLIENTS as u64)
            .map(|client| {
                let (scene, stop) = (&scene, &stop);
                scope.spawn(move || -> Result<()> {
                    let mut random = Random::new(seed + 100 + client);
                    while done(scene) < tries && !stop.load(Ordering::Relaxed) {
                        let tried = match random.below(100) {
                            0..55 => scene.ask_again(&mut random),
                            55..87 => scene.pry(&mut random),
                            87..92 => scene.ask_the_same(&mut random),
                            _ => scene.reach(&mut random),
                        };
                        // One that fails ends all.
                        tried.inspect_err(|_| stop.store(true, Ordering::Relaxed))?;
                    }
                    Ok(())
                })
            })
            .collect();
        let results: Vec<_> =
            clients.into_iter().map(|client| client.join().expect("a client panicked")).collect();
        stop.store(true, Ordering::Relaxed);
        results.into_iter().collect::<Result<Vec<()>>>()?;
        churning.join().expect("the churner panicked")
    })?;
    let took = started.elapsed();
    administration_ends_at_the_tenant(world, &scene)?;
    cached_answers_end_with_the_documents(&scene, &mut random)?;
    for (holder, before) in scene.holders.iter().zip(&seen) {
        ensure!(holder.sees()? == *before, "the documents of {} are not what they were", holder.name);
    }
    report(&scene, took);
    ensure!(done(&scene) >= tries && scene.counts.of("documents put") > 0);
    Ok(())
}

/// Requests by chance, and what they find now.
fn known_hits(holder: &Holder, random: &mut Random) -> Result<Vec<(Value, Value)>> {
    let mut known = Vec::new();
    while known.len() < KNOWN {
        let request = search(random, &holder.secret);
        let hits = holder.client.post("/v1/search", &request)?.expect(200)?["hits"].take();
        known.push((request, hits));
    }
    Ok(known)
}

/// Keys with the scope `admin` of one tenant, and keys without it.
fn administration_ends_at_the_tenant(world: &World, scene: &Scene) -> Result<()> {
    let key = |tenant: &str, scopes: &[&str]| -> Result<(Client, String)> {
        let made =
            world.admin.post("/v1/admin/keys", &json!({"tenant": tenant, "scopes": scopes}))?.expect(201)?;
        let text = |name: &str| made[name].as_str().context("no key");
        Ok((world.admin.with_key(text("key")?), text("id")?.to_owned()))
    };
    for (who, me) in scene.holders.iter().enumerate() {
        let (admin, _) = key(me.name, &["admin"])?;
        let (reader, _) = key(me.name, &["read"])?;
        let listed = admin.get("/v1/admin/keys")?.expect(200)?;
        let keys = listed["keys"].as_array().context("no keys")?;
        ensure!(!keys.is_empty() && keys.iter().all(|key| key["tenant"] == me.name), "{listed}");
        let other = &scene.holders[(who + 1) % scene.holders.len()];
        let (others, id) = key(other.name, &["read"])?;
        let tries = [
            ("POST", "/v1/admin/keys".to_owned(), json!({"tenant": other.name, "scopes": ["read"]}), 403),
            ("DELETE", format!("/v1/admin/keys/{id}"), Value::Null, 404),
            ("POST", "/v1/admin/reindex".to_owned(), json!({"tenant": other.name, "force": true}), 403),
            ("GET", format!("/v1/admin/reindex?tenant={}", other.name), Value::Null, 403),
            ("POST", "/v1/admin/sweep?older_than=0".to_owned(), Value::Null, 403),
            ("GET", "/v1/admin/audit".to_owned(), Value::Null, 403),
            ("POST", "/v1/admin/rebuild-keywords".to_owned(), Value::Null, 403),
            ("GET", "/v1/admin/dead-letters".to_owned(), Value::Null, 403),
        ];
        for (method, path, body, status) in &tries {
            let body = if body.is_null() { String::new() } else { body.to_string() };
            let headers = [("content-type", "application/json")];
            let reply = admin.send(method, path, &headers, body.as_bytes())?;
            ensure!(reply.status == *status, "{} {method} {path}: {}", me.name, reply.text());
            let reply = reader.send(method, path, &headers, body.as_bytes())?;
            ensure!(reply.status == 403, "{} reading, {method} {path}: {}", me.name, reply.text());
            scene.counts.add("administration of others");
        }
        for (method, path) in
            [("PUT", "a.md"), ("PATCH", "a.md"), ("DELETE", "a.md"), ("DELETE", "?prefix=a")]
        {
            let path = if path.starts_with('?') {
                format!("/v1/documents{path}")
            } else {
                format!("/v1/documents/{path}")
            };
            ensure!(reader.send(method, &path, &[], b"")?.status == 403, "{method} {path} with `read`");
            scene.counts.add("writes with a reader's key");
        }
        // The key that another tried to revoke still opens.
        others.get("/v1/documents?limit=1")?.expect(200)?;
    }
    Ok(())
}

/// What a tenant is answered to a question that all of them ask.
fn answer(holder: &Holder, number: usize) -> Result<Value> {
    let question = Random::new(number as u64).prose(6);
    let body = json!({"messages": [{"role": "user", "content": question}], "stream": false});
    holder.client.post("/v1/chat", &body)?.expect(200)
}

/// Whether two answers are the same but for what their making took.
fn same(answer: &Value, other: &Value) -> bool {
    ["query", "sources", "text", "citations"].iter().all(|part| answer[*part] == other[*part])
}

/// A tenant's change ends its own kept answers, and nobody else's.
fn cached_answers_end_with_the_documents(scene: &Scene, random: &mut Random) -> Result<()> {
    let (still, changed) = (&scene.holders[0], &scene.holders[STILL]);
    for id in IDS {
        changed.client.put(id, &changed.text(id, random))?;
        changed.client.wait(id)?;
    }
    answer(changed, 0)?;
    ensure!(answer(changed, 0)?["done"]["cached"] == true, "it is not kept");
    ensure!(changed.client.delete("/v1/documents/a.md")?.status == 204);
    ensure!(answer(changed, 0)?["done"].get("cached").is_none(), "it is as before");
    ensure!(answer(still, 0)?["done"]["cached"] == true, "another tenant's is gone");
    Ok(())
}

fn report(scene: &Scene, took: Duration) {
    let counts = scene.counts.0.lock().unwrap_or_else(std::sync::PoisonError::into_inner);
    for (what, count) in counts.iter() {
        eprintln!("{count:>7} {what}");
    }
    eprintln!("      0 leaks, 0 changed scores in {:.0} s", took.as_secs_f64());
}
