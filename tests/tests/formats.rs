//! Files of many formats: what becomes of them, and where what is cited stands in them.

#[path = "formats/folder.rs"]
mod folder;
#[path = "formats/naughty.rs"]
mod naughty;
mod shared;

use anyhow::{Context, Result, ensure};
use ragflare_tests::{Case, Client, run};
use serde_json::{Value, json};
use shared::{Twin, encoded};
use std::fs;
use std::process::ExitCode;
use std::sync::{Mutex, PoisonError};
use xtask::{Stack, StackOptions, paths};

/// The lighthouse's papers, as people's programs write them.
const PAPERS: [&str; 5] = ["manual.pdf", "rules.docx", "stores.xlsx", "lens.pptx", "log.epub"];

struct World {
    stack: Stack,
    admin: Client,
    /// Has the papers.
    client: Client,
    twin: Twin,
    turn: Mutex<()>,
}

impl World {
    fn start() -> Result<Self> {
        let options = StackOptions { fresh: true, ..StackOptions::new("target/tests/formats") };
        let settings = json!({
            "search": {"rerank_model": "ms-marco-MiniLM-L-12-v2", "rerank_timeout_ms": 60_000},
            "answer": {"min_relevance": 0.0},
        });
        let stack = Stack::start(&options.var("SETTINGS", &settings.to_string()))?;
        let admin = Client::new(&stack.url).with_key(&stack.admin_key);
        let client = admin.tenant("papers")?;
        for name in PAPERS {
            let bytes = fs::read(paths::checkout().join("fixtures/formats").join(name))?;
            let reply = client.put_as(name, "application/octet-stream", &bytes)?;
            ensure!(reply.status == 202, "{name}: {} {}", reply.status, reply.text());
        }
        for name in PAPERS {
            let document = client.wait(name)?;
            ensure!(matches!(document["status"].as_str(), Some("searchable" | "indexed")), "{document}");
        }
        let twin = Twin::new(&stack.twin_url);
        Ok(Self { stack, admin, client, twin, turn: Mutex::default() })
    }

    /// What an answer that says this, to this question, rests on: of all sources that were sent, the one that supports it most.
    fn citation(&self, question: &str, answer: &str) -> Result<Value> {
        let _turn = self.turn.lock().unwrap_or_else(PoisonError::into_inner);
        let answer = format!("{answer} [S1] [S2] [S3] [S4] [S5] [S6] [S7] [S8].");
        self.twin
            .faults(&json!([{"match": {"service": "ai", "op": "chat"}, "action": {"answer": answer}}]))?;
        let body = json!({"messages": [{"role": "user", "content": question}], "top_k": 8, "stream": false});
        let reply = self.client.post("/v1/chat", &body)?.expect(200)?;
        self.twin.faults(&json!([]))?;
        let supported = |citation: &&Value| (citation["supported"].as_f64().unwrap_or_default() * 1e6) as u64;
        let best = reply["citations"].as_array().and_then(|all| all.iter().rev().max_by_key(supported));
        best.cloned().with_context(|| format!("nothing is cited: {reply}"))
    }
}

fn main() -> ExitCode {
    let cases: &[Case<World>] = &[
        ("a page of a PDF is cited", a_page),
        ("a heading of a Word file is cited", a_heading),
        ("a row of a spreadsheet is cited", a_row),
        ("a symbol of source code is cited", a_symbol),
        ("a slide is cited", a_slide),
        ("a book is read", a_book),
        ("what is found tells its place", hits_tell_their_place),
        ("text and original of a converted document", texts_and_originals),
        ("text in any encoding", encodings),
        ("what can't be read fails with a reason", unreadable),
        ("files that unfold, or nest without end", unfolding),
        ("chunks of one's own", own_chunks),
        ("strings that break software", naughty::strings_do_no_harm),
        ("a folder of files", folder::is_read),
    ];
    run(World::start, cases)
}

fn a_page(world: &World) -> Result<()> {
    let cited = world.citation(
        "When is the storm cone hoisted?",
        "It is hoisted when the barometer falls by more than seven hectopascals between two readings",
    )?;
    ensure!(cited["document_id"] == "manual.pdf" && cited["page"] == 3, "{cited}");
    let sentence = cited["sentence"]["text"].as_str().unwrap_or_default();
    ensure!(sentence.contains("seven hectopascals"), "{cited}");
    // Chinese, in a font that PDF readers bring themselves.
    let cited = world.citation("雾号多久鸣响一次？", "每九十秒鸣响一次")?;
    ensure!(cited["document_id"] == "manual.pdf" && cited["page"] == 4, "{cited}");
    Ok(())
}

fn a_heading(world: &World) -> Result<()> {
    let cited = world.citation(
        "How much drinking water does each person have?",
        "Each person has eleven litres of drinking water a week",
    )?;
    ensure!(cited["document_id"] == "rules.docx", "{cited}");
    ensure!(cited["headings"] == json!(["Kitchen", "Water"]), "{cited}");
    Ok(())
}

fn a_row(world: &World) -> Result<()> {
    let cited = world.citation("Where are the signal flags kept?", "The signal flags are on shelf A5")?;
    ensure!(cited["document_id"] == "stores.xlsx", "{cited}");
    ensure!(cited["headings"].as_array().is_some_and(|path| path.contains(&json!("Stores"))), "{cited}");
    // The header is row 1, the flags are the 21st item.
    ensure!(cited["row"] == 22, "{cited}");
    let cited = world.citation(
        "What did the hinge of the gallery door cost?",
        "The hinge of the gallery door cost 200.5",
    )?;
    ensure!(cited["row"] == 4 && cited["page"] == 2, "{cited}");
    ensure!(cited["headings"].as_array().is_some_and(|path| path.contains(&json!("Repairs"))), "{cited}");
    Ok(())
}

fn a_symbol(world: &World) -> Result<()> {
    let code = include_str!("../../crates/core/src/conversion.rs");
    world.client.put_as("src/conversion.rs", "text/plain", code.as_bytes())?;
    let document = world.client.wait("src/conversion.rs")?;
    ensure!(matches!(document["status"].as_str(), Some("searchable" | "indexed")), "{document}");
    let cited = world.citation(
        "Which function of conversion.rs says whether places are in order when it reads a map?",
        "TextMap::read returns an error \"its places are not in order\" if map.places is not sorted by key",
    )?;
    ensure!(cited["document_id"] == "src/conversion.rs", "{cited}");
    ensure!(cited["headings"] == json!(["impl TextMap", "fn read"]), "{cited}");
    Ok(())
}

fn a_slide(world: &World) -> Result<()> {
    let cited = world.citation("What do the prisms weigh?", "The prisms weigh thirty-one kilograms each")?;
    ensure!(cited["document_id"] == "lens.pptx" && cited["page"] == 3, "{cited}");
    let slide = cited["headings"][0].as_str().unwrap_or_default();
    ensure!(slide.contains("Order of work"), "{cited}");
    Ok(())
}

fn a_book(world: &World) -> Result<()> {
    let cited = world.citation(
        "How long did the seal sleep on the landing?",
        "A grey seal slept on the landing for eleven days",
    )?;
    ensure!(cited["document_id"] == "log.epub", "{cited}");
    ensure!(cited["headings"].as_array().is_some_and(|path| path.contains(&json!("January"))), "{cited}");
    Ok(())
}

fn hits_tell_their_place(world: &World) -> Result<()> {
    let hits = world.client.search(&json!({"query": "brass polish shelf", "mode": "keyword", "top_k": 1}))?;
    let hit = hits.first().context("no hit")?;
    ensure!(hit["document_id"] == "stores.xlsx" && hit["page"] == 1, "{hit}");
    let (first, last) = (hit["rows"]["first"].as_u64(), hit["rows"]["last"].as_u64());
    ensure!(first.zip(last).is_some_and(|(first, last)| (first..=last).contains(&21)), "{hit}");
    let listed = world.client.get("/v1/documents/stores.xlsx/chunks?limit=100")?.expect(200)?;
    let chunks = listed["chunks"].as_array().context("no chunks")?;
    for chunk in chunks {
        // A row without the names of its columns says nothing.
        let text = format!("{}\n{}", chunk["table_header"].as_str().unwrap_or_default(), chunk["text"]);
        ensure!(text.contains("Shelf") || text.contains("Cost"), "{chunk}");
    }
    Ok(())
}

fn texts_and_originals(world: &World) -> Result<()> {
    let client = &world.client;
    let document = client.get("/v1/documents/manual.pdf")?.expect(200)?;
    ensure!(document["media_type"] == "application/pdf", "{document}");
    let text = client.get("/v1/documents/manual.pdf/text")?;
    ensure!(text.status == 200, "{}", text.text());
    let text = text.text();
    for wanted in
        ["# Keeper's manual", "# The weather book", "| Davits | every week |", "能见度低于两海里时开启雾号"]
    {
        ensure!(text.contains(wanted), "`{wanted}` is not in {text}");
    }
    let original = client.get("/v1/documents/manual.pdf/content")?;
    ensure!(original.bytes == fs::read(paths::checkout().join("fixtures/formats/manual.pdf"))?);
    ensure!(original.header("content-type") == Some("application/pdf"), "{:?}", original.headers);
    let listed = client.get("/v1/documents/manual.pdf/chunks?limit=100")?.expect(200)?;
    for chunk in listed["chunks"].as_array().context("no chunks")? {
        let (start, end) =
            (chunk["start"].as_u64().context("no start")?, chunk["end"].as_u64().context("no end")?);
        ensure!(text.get(start as usize..end as usize) == chunk["text"].as_str(), "{chunk}");
    }
    // Everything made of it goes with it.
    client.put_as("gone.pdf", "application/pdf", &original.bytes)?;
    client.wait("gone.pdf")?;
    ensure!(client.delete("/v1/documents/gone.pdf")?.status == 204);
    ensure!(client.get("/v1/documents/gone.pdf/text")?.status == 404);
    Ok(())
}

fn encodings(world: &World) -> Result<()> {
    let client = world.admin.tenant("encodings")?;
    let text = "Der Wärter hört das Nebelhorn. Größe: dreißig Ellen.\n".repeat(4);
    let latin: Vec<u8> = text.chars().map(|letter| u32::from(letter) as u8).collect();
    let wide: Vec<u8> = text.encode_utf16().flat_map(u16::to_le_bytes).collect();
    // Longer than a window, and not UTF-8 behind it only.
    let mut late = "The lamp is lit at dusk.\n\n".repeat(60_000).into_bytes();
    late.extend(&latin);
    for (id, media_type, bytes) in [
        ("latin.txt", "text/plain", &latin),
        ("declared.txt", "text/plain; charset=ISO-8859-1", &latin),
        ("wide.txt", "text/plain", &wide),
        ("late.txt", "text/plain", &late),
    ] {
        let reply = client.put_as(id, media_type, bytes)?;
        ensure!(reply.status == 202, "{id}: {}", reply.text());
        let document = client.wait(id)?;
        ensure!(matches!(document["status"].as_str(), Some("searchable" | "indexed")), "{document}");
        let shown = client.get(&format!("/v1/documents/{id}/text"))?.text();
        let end: String = shown.chars().skip(shown.chars().count().saturating_sub(250)).collect();
        ensure!(shown.ends_with(&text), "{id}: {end}");
    }
    let hits = client.search(&json!({"query": "Nebelhorn", "mode": "keyword", "top_k": 10}))?;
    let found: Vec<&str> = hits.iter().filter_map(|hit| hit["document_id"].as_str()).collect();
    ensure!(
        ["latin.txt", "declared.txt", "wide.txt", "late.txt"].iter().all(|id| found.contains(id)),
        "{found:?}"
    );
    Ok(())
}

/// Each is a few KB that a careless reader makes gigabytes of, or a stack overflow.
fn unfolding(world: &World) -> Result<()> {
    let client = world.admin.tenant("unfolding")?;
    let entities = (1..40).map(|level| format!("<!ENTITY e{level} \"&e{0};&e{0};&e{0};\">", level - 1));
    let entities: String = entities.collect();
    let entities = format!("<?xml version=\"1.0\"?><!DOCTYPE a [<!ENTITY e0 \"ha\">{entities}]><a>&e39;</a>");
    let deep = |open: &str, close: &str| format!("{}lamp{}", open.repeat(100_000), close.repeat(100_000));
    let files = [
        ("entities.xml", entities),
        ("deep.xml", deep("<a>", "</a>")),
        ("deep.html", deep("<div>", "</div>")),
        ("deep-list.html", deep("<ul><li>", "</li></ul>")),
        ("deep.json", deep("[", "]").replace("lamp", "\"lamp\"")),
        ("deep.md", deep("> ", "")),
        ("deep.ipynb", format!("{{\"cells\": {}}}", deep("[", "]").replace("lamp", "1"))),
        ("wide.csv", format!("{}\n", "lamp,".repeat(400_000))),
        ("fields.csv", format!("a,b\n\"{}", "x\n".repeat(200_000))),
        (
            "boundary.eml",
            format!(
                "Content-Type: multipart/mixed; boundary=a\n\n{}",
                "--a\nContent-Type: multipart/mixed; boundary=a\n\n".repeat(5000)
            ),
        ),
        (
            "page.pdf",
            "%PDF-1.4\n1 0 obj<</Type/Catalog/Pages 2 0 R>>endobj\n2 0 obj<</Type/Pages/Kids[2 0 R]/Count 99999999>>endobj\n\
             trailer<</Root 1 0 R>>"
                .to_owned(),
        ),
    ];
    for (id, bytes) in &files {
        let reply = client.put_as(id, "application/octet-stream", bytes.as_bytes())?;
        ensure!(reply.status == 202, "{id}: {}", reply.text());
    }
    for (id, _) in &files {
        let document = client.wait(id)?;
        let code = document["error"]["code"].as_str().unwrap_or("none");
        eprintln!("{id}: {} {code}", document["status"]);
        ensure!(code != "conversion_failed", "{document}");
    }
    // And nothing else was harmed.
    client.ingest("words.md", "The heron sleeps on one leg.")?;
    let most =
        world.stack.ledger()?.iter().filter_map(|line| line["spent"]["wasm_memory_bytes"].as_u64()).max();
    ensure!(most.is_some_and(|bytes| bytes < 128 << 20), "{most:?} bytes of memory");
    Ok(())
}

fn own_chunks(world: &World) -> Result<()> {
    let client = world.admin.tenant("own")?;
    let chunks = json!({"chunks": [
        {"text": "The bell is rung twice.", "headings": ["Fog", "By day"], "page": 4},
        {"text": "The bell is rung three times.", "headings": ["Fog", "By night"], "page": 5, "row": 7},
    ]});
    let kind = "application/vnd.ragflare.chunks+json";
    client.put_as("own", kind, chunks.to_string().as_bytes())?.expect(202)?;
    let document = client.wait("own")?;
    ensure!(document["chunk_count"] == 2, "{document}");
    let listed = client.get("/v1/documents/own/chunks")?.expect(200)?;
    for (chunk, given) in
        listed["chunks"].as_array().context("none")?.iter().zip(chunks["chunks"].as_array().context("none")?)
    {
        ensure!(chunk["text"] == given["text"] && chunk["headings"] == given["headings"], "{chunk}");
        ensure!(chunk["page"] == given["page"], "{chunk}");
    }
    let hits = client.search(&json!({"query": "bell by night", "mode": "keyword", "top_k": 1}))?;
    ensure!(hits[0]["page"] == 5 && hits[0]["rows"] == json!({"first": 7, "last": 7}), "{hits:?}");
    let text = client.get("/v1/documents/own/text")?.text();
    ensure!(text == "The bell is rung twice.\n\nThe bell is rung three times.", "{text}");
    for (id, body, code) in [
        ("long", json!({"chunks": [{"text": "bell ".repeat(600)}]}), "chunk_too_long"),
        ("none", json!({"chunks": []}), "no_text"),
        ("other", json!({"pieces": []}), "unreadable"),
    ] {
        client.put_as(id, kind, body.to_string().as_bytes())?.expect(202)?;
        let document = client.wait(id)?;
        ensure!(document["status"] == "failed" && document["error"]["code"] == code, "{document}");
    }
    Ok(())
}

fn unreadable(world: &World) -> Result<()> {
    let client = world.admin.tenant("unreadable")?;
    let picture = b"\x89PNG\r\n\x1a\n\0\0\0\rIHDR";
    for (id, media_type, bytes, code) in [
        ("blank.md", "text/markdown", &b" \n\t\n"[..], "no_text"),
        ("picture.pdf", "application/pdf", picture, "unsupported_type"),
        ("broken.pdf", "application/pdf", b"%PDF-1.7\nnothing else", "unreadable"),
        ("words.pdf", "application/pdf", b"These are words.", "unreadable"),
        (
            "archive.docx",
            "application/octet-stream",
            b"PK\x05\x06\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0",
            "unsupported_type",
        ),
        (
            "noise.bin",
            "application/octet-stream",
            &[0, 159, 146, 150, 3, 0, 1, 255, 254, 0, 7],
            "unsupported_type",
        ),
        ("rich.rtf", "application/rtf", b"{\\rtf1 words}", "unsupported_type"),
    ] {
        let reply = client.put_as(id, media_type, bytes)?;
        ensure!(reply.status == 202, "{id}: {} {}", reply.status, reply.text());
        let document = client.wait(id)?;
        ensure!(document["status"] == "failed" && document["error"]["code"] == code, "{document}");
        ensure!(document["error"]["message"].as_str().is_some_and(|text| text.len() > 10), "{document}");
        let text = client.get(&format!("/v1/documents/{id}/text"))?;
        ensure!(text.status >= 400 || text.text().trim().is_empty(), "{id}: {}", text.text());
    }
    ensure!(client.put_as("empty.txt", "text/plain", b"")?.error(422)? == "empty");
    // What is known to be read by nobody is refused at once.
    for (id, media_type) in [("a.png", "image/png"), ("a.zip", "application/zip"), ("a.mp3", "audio/mpeg")] {
        ensure!(client.put_as(id, media_type, picture)?.error(415)? == "unsupported_media_type");
    }
    // Nothing else was harmed.
    client.ingest("words.md", "The heron sleeps on one leg.")?;
    Ok(())
}
