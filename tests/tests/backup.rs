//! Backup and restore: the database is lost, or everything moves to another account.

use anyhow::{Context, Result, bail, ensure};
use ragflare_tests::{Case, Client, run};
use serde_json::{Map, Value, json};
use std::fs;
use std::path::{Path, PathBuf};
use std::process::ExitCode;
use std::time::{Duration, Instant};
use xtask::backup::{self, Place, restore};
use xtask::data::DataDir;
use xtask::stack::age;
use xtask::{Stack, StackOptions, hash, paths};

const GUIDE: &str = include_str!("../../fixtures/lighthouse.md");
const ODD: &str = "# \"Odd\" isn't `even`\r\n\nA line\nand \\n, which is none; -- no comment, /* nor this */ [x] ''\n\n\
                   BEGIN TRANSACTION; COMMIT; DROP TABLE chunks;\n\nNul \0 here. Keeper 🦀 👩‍👩‍👧 ends.\n";
const CHINESE: &str = "# 灯塔\n\n雾天必须鸣笛。守塔人每天晚上点灯。\n\n灯油放在地窖里。";
const QUERIES: &[&str] = &["When does the fog signal sound?", "keeper", "灯油", "quotes and comments"];

/// What was there when the backup was made.
struct World {
    /// Where it was made, without a stack.
    old: PathBuf,
    /// Another directory, with a copy of the originals only.
    new: PathBuf,
    file: PathBuf,
    before: Map<String, Value>,
    /// Of tenant `other`, and of one whose document is still to be processed when the backup is made.
    keys: [String; 2],
}

fn main() -> ExitCode {
    let cases: &[Case<World>] = &[
        ("the database is lost", the_database_is_lost),
        ("another account", another_account),
        ("what does not fit is refused", what_does_not_fit_is_refused),
    ];
    run(World::build, cases)
}

impl World {
    fn build() -> Result<Self> {
        let dir = paths::checkout().join("target/tests");
        let (old, new) = (dir.join("backup-old"), dir.join("backup-new"));
        let file = dir.join("backup.sql");
        let _ = fs::remove_file(&file);
        let stack = Stack::start(&StackOptions { fresh: true, ..StackOptions::new(&old) })?;
        let admin = Client::new(&stack.url).with_key(&stack.admin_key);
        fill(&admin)?;
        let keys = [key(&admin, "other")?, key(&admin, "late")?];
        let [other, late] = keys.each_ref().map(|key| admin.with_key(key));
        other.ingest("own.md", "Another tenant's keeper keeps the fog signal.")?;
        other.wait_for("own.md", |document| document["status"] == "indexed")?;
        settle(&admin)?;
        let before = everything(&admin, &other)?;
        late.put("late.md", &"The late boat. ".repeat(3000))?.expect(202)?;
        stack.stop();

        let place = Place::Data(Some(old.clone()));
        backup::save(&file, &place)?;
        ensure!(backup::save(&file, &place).is_err(), "a backup is never overwritten");
        DataDir::open(&new, true)?;
        copy(&old.join("state/v3/r2"), &new.join("state/v3/r2"))?;
        Ok(Self { old, new, file, before, keys })
    }

    fn start(&self, data: &Path) -> Result<(Stack, Client, Client)> {
        let stack = Stack::start(&StackOptions::new(data))?;
        let admin = Client::new(&stack.url).with_key(&stack.admin_key);
        let other = admin.with_key(&self.keys[0]);
        Ok((stack, admin, other))
    }
}

fn key(admin: &Client, tenant: &str) -> Result<String> {
    let body = json!({"tenant": tenant, "name": "kept", "scopes": ["read", "write"]});
    let made = admin.post("/v1/admin/keys", &body)?.expect(201)?;
    Ok(made["key"].as_str().context("no key")?.to_owned())
}

fn fill(admin: &Client) -> Result<()> {
    admin.ingest("guide.md?title=The%20guide&metadata=%7B%22lang%22%3A%22en%22%7D", GUIDE)?;
    admin.ingest("odd.md", ODD)?;
    admin.ingest("chinese.md", CHINESE)?;
    // The longest statements: every character of the text is doubled, or two digits.
    admin.ingest("quotes.md", &format!("Quotes and comments: {}", "'".repeat(8 << 10)))?;
    admin.ingest("lines.md", &format!("Lines:\n\n{}", "-\n".repeat(4 << 10)))?;
    admin.ingest("replaced.md", "The keeper counts the ships.")?;
    admin.ingest("replaced.md", "The keeper counts the stars.")?;
    admin.ingest("deleted.md", "The keeper sleeps.")?;
    ensure!(admin.delete("/v1/documents/deleted.md")?.status == 204);
    admin.put_as("failed.md", "text/markdown", b" \n")?.expect(202)?;
    let failed = admin.wait("failed.md")?;
    ensure!(failed["status"] == "failed", "{failed}");
    for id in ["guide.md", "odd.md", "chinese.md", "quotes.md", "lines.md", "replaced.md"] {
        admin.wait_for(id, |document| document["status"] == "indexed")?;
    }
    Ok(())
}

/// The keyword index and its statistics fit the chunks.
fn ensure_indexed(admin: &Client) -> Result<()> {
    let audit = admin.get("/v1/admin/audit")?.expect(200)?;
    for name in ["chunks_without_keywords", "keywords_without_chunk", "tenants_miscounted"] {
        ensure!(audit["inconsistencies"][name] == 0, "{audit}");
    }
    ensure!(audit["totals"]["keywords"].as_u64() > Some(0), "{audit}");
    Ok(())
}

/// Waits until the tables agree with each other.
fn settle(admin: &Client) -> Result<()> {
    let deadline = Instant::now() + Duration::from_mins(1);
    loop {
        admin.post("/v1/admin/sweep?older_than=0", &json!({}))?.expect(200)?;
        let audit = admin.get("/v1/admin/audit")?.expect(200)?;
        let faults = audit["inconsistencies"].as_object().context("no inconsistencies")?;
        if faults.values().all(|count| *count == 0) {
            return Ok(());
        }
        ensure!(Instant::now() < deadline, "{audit}");
        std::thread::sleep(Duration::from_millis(200));
    }
}

fn hits(client: &Client, mode: &str, query: &str) -> Result<Value> {
    Ok(client.search(&json!({"query": query, "mode": mode, "rerank": false, "top_k": 20}))?.into())
}

/// What the API shows of two tenants.
fn everything(admin: &Client, other: &Client) -> Result<Map<String, Value>> {
    let mut all = Map::new();
    for (tenant, client) in [("default", admin), ("other", other)] {
        let list = client.get("/v1/documents")?.expect(200)?;
        for document in list["documents"].as_array().context("no documents")? {
            let id = document["id"].as_str().context("no id")?;
            all.insert(format!("{tenant} {id}"), document.clone());
            for part in ["chunks", "text", "content"] {
                let reply = client.get(&format!("/v1/documents/{id}/{part}"))?;
                all.insert(format!("{tenant} {id} {part}"), json!([reply.status, without_id(&reply.text())]));
            }
        }
        for query in QUERIES {
            for mode in ["keyword", "vector"] {
                all.insert(format!("{tenant} {mode} {query}"), hits(client, mode, query)?);
            }
        }
    }
    all.insert("keys".into(), admin.get("/v1/admin/keys")?.expect(200)?);
    Ok(all)
}

/// Errors have the request's id.
fn without_id(text: &str) -> &str {
    text.split("\"request_id\"").next().unwrap_or(text)
}

fn ensure_same(before: &Map<String, Value>, after: &Map<String, Value>) -> Result<()> {
    for (name, value) in before {
        let now = after.get(name).with_context(|| format!("{name} is gone: {value}"))?;
        ensure!(value == now, "{name}\nbefore: {value}\nafter:  {now}");
    }
    Ok(())
}

/// Originals and vectors are there, the database is not.
fn the_database_is_lost(world: &World) -> Result<()> {
    let place = Place::Data(Some(world.old.clone()));
    let error = refusal(&world.file, &place, false)?;
    ensure!(error.contains("is not empty") && error.contains("--fresh"), "{error}");
    fs::remove_dir_all(world.old.join("state/v3/d1"))?;
    restore::load(&world.file, &place, false)?;

    let (stack, admin, other) = world.start(&world.old)?;
    ensure_indexed(&admin)?;
    ensure_same(&world.before, &everything(&admin, &other)?)?;
    // What a queue had is sent again, and nothing that is needed is taken for refuse.
    settle(&admin)?;
    let late = admin.with_key(&world.keys[1]);
    late.wait_for("late.md", |document| document["status"] == "indexed")?;
    settle(&admin)?;
    ensure_same(&world.before, &everything(&admin, &other)?)?;
    // Life goes on where it stopped: counters, carried vectors, tombstones.
    let changed = GUIDE.to_owned() + "\n\nThe keeper of the restored lamp writes a letter.\n";
    let document =
        admin.ingest("guide.md?title=The%20guide&metadata=%7B%22lang%22%3A%22en%22%7D", &changed)?;
    let counts = &document["counts"];
    ensure!(document["generation"] == 2, "{document}");
    ensure!(counts["reused"].as_u64() > Some(0) && counts["embedded"].as_u64() <= Some(2), "{document}");
    let document = admin.ingest("deleted.md", "The keeper sleeps no more.")?;
    ensure!(document["generation"] == 2, "{document}");
    ensure!(admin.delete("/v1/documents/odd.md")?.status == 204);
    ensure!(hits(&admin, "keyword", "restored lamp letter")?[0]["document_id"] == "guide.md");
    settle(&admin)?;
    let gone = hits(&admin, "keyword", "comment")?;
    ensure!(!gone.to_string().contains("odd.md"), "{gone}");
    stack.stop();
    Ok(())
}

/// The originals were copied; the vector index is a new one.
fn another_account(world: &World) -> Result<()> {
    restore::load(&world.file, &Place::Data(Some(world.new.clone())), false)?;
    let (stack, admin, other) = world.start(&world.new)?;
    ensure_indexed(&admin)?;
    let mut before = world.before.clone();
    for (_, found) in before.iter_mut().filter(|(name, _)| name.contains(" vector ")) {
        *found = json!([]);
    }
    ensure_same(&before, &everything(&admin, &other)?)?;
    stack.stop();

    // Two hours later the sweeper deletes what no row names: no original.
    age(&world.new, Duration::from_hours(2))?;
    let (stack, admin, other) = world.start(&world.new)?;
    settle(&admin)?;
    for (name, reply) in world.before.iter().filter(|(name, _)| name.ends_with(" content")) {
        let id = name.split(' ').nth(1).context("no id")?;
        let client = if name.starts_with("other") { &other } else { &admin };
        let now = client.get(&format!("/v1/documents/{id}/content"))?;
        ensure!(*reply == json!([now.status, without_id(&now.text())]), "{name}: {reply} {}", now.text());
    }
    for tenant in ["default", "other"] {
        admin.post("/v1/admin/reindex", &json!({"tenant": tenant, "force": true}))?.expect(202)?;
        let deadline = Instant::now() + Duration::from_mins(2);
        loop {
            let progress = admin.get(&format!("/v1/admin/reindex?tenant={tenant}"))?.expect(200)?;
            if progress["reindexing"] == false && progress["open"] == 0 {
                break;
            }
            ensure!(Instant::now() < deadline, "still {progress}");
            std::thread::sleep(Duration::from_millis(200));
        }
    }
    for id in ["guide.md", "odd.md", "chinese.md", "quotes.md", "lines.md", "replaced.md"] {
        admin.wait_for(id, |document| document["status"] == "indexed")?;
    }
    other.wait_for("own.md", |document| document["status"] == "indexed")?;
    // The same hits; ids are those of the new vectors.
    for (tenant, client) in [("default", &admin), ("other", &other)] {
        for query in QUERIES {
            for mode in ["keyword", "vector"] {
                let before = comparable(&world.before[&format!("{tenant} {mode} {query}")]);
                let after = comparable(&hits(client, mode, query)?);
                ensure!(before == after, "{tenant} {mode} {query}\nbefore: {before:?}\nafter:  {after:?}");
            }
        }
    }
    settle(&admin)?;
    let document = admin.ingest("new.md", "The keeper of the new account.")?;
    ensure!(document["generation"] == 1, "{document}");
    ensure!(admin.delete("/v1/documents/guide.md")?.status == 204);
    settle(&admin)?;
    stack.stop();
    Ok(())
}

/// Texts with their scores, rounded: the same text embedded again, in another batch, is the same but for the last digits.
fn comparable(hits: &Value) -> Vec<(i64, String)> {
    let mut all: Vec<(i64, String)> = hits
        .as_array()
        .into_iter()
        .flatten()
        .map(|hit| {
            let score = (hit["score"].as_f64().unwrap_or_default() * 1000.0).round() as i64;
            (score, format!("{} {}", hit["document_id"], hit["text"]))
        })
        .collect();
    all.sort();
    all
}

fn refusal(file: &Path, place: &Place, fresh: bool) -> Result<String> {
    match restore::load(file, place, fresh) {
        Ok(()) => bail!("{} was restored", file.display()),
        Err(error) => Ok(format!("{error:#}")),
    }
}

fn what_does_not_fit_is_refused(world: &World) -> Result<()> {
    let dir = paths::checkout().join("target/tests/backup-refused");
    let place = Place::Data(Some(dir.clone()));
    let whole = fs::read_to_string(&world.file)?;
    let sealed = |body: &str| format!("{body}-- sha256 {}\n", hash::of_bytes(body.as_bytes()));
    let (body, _) = whole.rsplit_once("-- sha256 ").context("no seal")?;
    ensure!(sealed(body) == whole);
    let file = world.file.with_file_name("backup-refused.sql");
    let (title, rest) = body.split_once("\n-- ").context("no header")?;
    let (header, rows) = rest.split_once('\n').context("no rows")?;
    let mut header: Value = serde_json::from_str(header)?;
    let mut with_header = |change: fn(&mut Value)| {
        change(&mut header);
        sealed(&format!("{title}\n-- {header}\n{rows}"))
    };
    for (text, words) in [
        (whole[..whole.len() / 2].to_owned(), "was cut off"),
        (whole.replacen("keeper", "kepper", 1), "was changed"),
        (with_header(|header| header["tables"][0]["rows"] = 1_000_000.into()), "is not what was backed up"),
        (
            with_header(|header| header["migrations"][0] = "0001_other.sql".into()),
            "the database has 0001_documents.sql",
        ),
    ] {
        fs::write(&file, text)?;
        DataDir::open(&dir, true)?;
        let error = refusal(&file, &place, true)?;
        ensure!(error.contains(words), "{words}: {error}");
        ensure!(!dir.join("state/v3/d1").exists(), "nothing half restored is left");
    }
    Ok(())
}

fn copy(from: &Path, to: &Path) -> Result<()> {
    fs::create_dir_all(to)?;
    for entry in fs::read_dir(from).with_context(|| format!("cannot read {}", from.display()))? {
        let entry = entry?;
        let target = to.join(entry.file_name());
        if entry.file_type()?.is_dir() {
            copy(&entry.path(), &target)?;
        } else {
            fs::copy(entry.path(), &target)?;
        }
    }
    Ok(())
}
