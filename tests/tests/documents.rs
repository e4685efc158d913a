//! Documents over HTTP: conditions, changes of metadata, forms, large bodies, and what an interrupted upload leaves.

use anyhow::{Context, Result, ensure};
use ragflare_tests::{Case, Client, Reply, form, run};
use serde_json::{Value, json};
use std::io::{Read, Write};
use std::net::{Shutdown, TcpStream};
use std::process::ExitCode;
use std::sync::{Mutex, PoisonError};
use std::time::Duration;
use xtask::{Stack, StackOptions};

const GUIDE: &str = include_str!("../../fixtures/lighthouse.md");
const MARKDOWN: (&str, &str) = ("content-type", "text/markdown");

struct World {
    stack: Stack,
    admin: Client,
    twin: Client,
    /// The twin has one list of faults.
    faults: Mutex<()>,
}

impl World {
    fn start() -> Result<Self> {
        let options = StackOptions { fresh: true, ..StackOptions::new("target/tests/documents") };
        let stack = Stack::start(&options)?;
        let admin = Client::new(&stack.url).with_key(&stack.admin_key);
        let twin = Client::new(&stack.twin_url);
        Ok(Self { stack, admin, twin, faults: Mutex::new(()) })
    }

    /// While the twin does this to calls whose body holds `marker`.
    fn with_fault<T>(
        &self,
        op: &str,
        marker: &str,
        action: &Value,
        work: impl FnOnce() -> Result<T>,
    ) -> Result<T> {
        let _one = self.faults.lock().unwrap_or_else(PoisonError::into_inner);
        let rule = json!([{"match": {"service": "ai", "op": op, "contains": marker}, "action": action}]);
        let headers = [("content-type", "application/json")];
        self.twin.send("PUT", "/control/faults", &headers, rule.to_string().as_bytes())?.expect(200)?;
        let outcome = work();
        self.twin.delete("/control/faults")?;
        outcome
    }
}

fn main() -> ExitCode {
    let cases: &[Case<World>] = &[
        ("a new title embeds nothing", a_new_title_embeds_nothing),
        ("new metadata is what filters see", new_metadata_is_what_filters_see),
        ("metadata changes while vectors lag", metadata_changes_while_vectors_lag),
        ("changes that are none, or can't be", changes_that_are_none),
        ("conditions hold", conditions_hold),
        ("conditions that can't be meant are refused", conditions_are_read),
        ("of two conditional uploads one is taken", one_of_two_is_taken),
        ("the same upload while it is pending", the_same_upload_while_pending),
        ("a replaced document's counts", a_replaced_documents_counts),
        ("a prefix of many is deleted at once", a_prefix_of_many),
        ("a form of files", a_form_of_files),
        ("forms that can't be taken", forms_that_can_not_be_taken),
        ("as many files as a form may have", as_many_files_as_a_form_may_have),
        ("bytes with a file name", bytes_with_a_file_name),
        ("12 MB of unknown length", twelve_megabytes_of_unknown_length),
        ("uploads that are cut, refused or needless leave nothing", uploads_that_come_to_nothing),
        ("text and content come as they went", text_and_content),
        ("a re-index of one document", a_reindex_of_one_document),
        ("administration asks for its scope", administration),
        ("no invocation goes over the limits", no_invocation_goes_over),
        ("nothing is left behind", nothing_is_left_behind),
    ];
    run(World::start, cases)
}

fn number(value: &Value) -> u64 {
    value.as_u64().unwrap_or(u64::MAX)
}

/// Percent-encodes what a query can't hold.
fn encoded(text: &str) -> String {
    text.bytes().fold(String::new(), |encoded, byte| match byte {
        b'0'..=b'9' | b'a'..=b'z' | b'A'..=b'Z' | b'.' | b'-' | b'_' => {
            encoded + &char::from(byte).to_string()
        }
        _ => encoded + &format!("%{byte:02X}"),
    })
}

fn ids(hits: &[Value]) -> Vec<&str> {
    hits.iter().filter_map(|hit| hit["document_id"].as_str()).collect()
}

/// The guide, told from every other one.
fn guide(marker: &str) -> String {
    GUIDE.replace("Skerry Light", &format!("Skerry Light {marker}"))
}

fn a_new_title_embeds_nothing(world: &World) -> Result<()> {
    let client = world.admin.tenant("title")?;
    let before = client.ingest("a.md?title=Old%20title", &guide("Titlemarker"))?;
    let patched = world.with_fault("embed", "Titlemarker", &json!({"error": {"code": 5004}}), || {
        let reply = client.patch("/v1/documents/a.md", &json!({"title": "New title"}))?;
        ensure!(reply.expect(202)?["pending"]["generation"] == 2, "{}", reply.text());
        ensure!(reply.header("etag") == Some("\"2\""), "{:?}", reply.headers);
        client.wait("a.md")
    })?;
    ensure!(patched["title"] == "New title" && patched["generation"] == 2, "{patched}");
    let counts = &patched["counts"];
    ensure!(counts["embedded"] == 0 && counts["reused"] == before["chunk_count"], "{patched}");
    ensure!(counts["deleted"] == 0 && patched["content_hash"] == before["content_hash"], "{patched}");
    for mode in ["keyword", "hybrid"] {
        let hits = client.search(&json!({"query": "fog signal", "mode": mode}))?;
        ensure!(hits[0]["title"] == "New title", "{mode}: {hits:?}");
    }
    let removed = client.patch("/v1/documents/a.md", &json!({"title": null}))?.expect(202)?;
    ensure!(removed["pending"]["generation"] == 3, "{removed}");
    ensure!(client.wait("a.md")?["title"].is_null());
    // The same bytes with the new title again: another embedded title, so not the same document.
    ensure!(client.put("a.md?title=Old%20title", &guide("Titlemarker"))?.status == 202);
    client.wait("a.md")?;
    Ok(())
}

fn new_metadata_is_what_filters_see(world: &World) -> Result<()> {
    let client = world.admin.tenant("metadata")?;
    let metadata = encoded(r#"{"lang":"en","year":1999,"note":"kept"}"#);
    let before = client.ingest(&format!("a.md?metadata={metadata}"), &guide("Metadatamarker"))?;
    client.wait_for("a.md", |document| document["status"] == "indexed")?;
    world.with_fault("embed", "Metadatamarker", &json!({"error": {"code": 5004}}), || {
        // A field that no filter sees: vectors stay as they are.
        let change = json!({"metadata": {"lang": "en", "year": 1999, "note": "changed"}});
        client.patch("/v1/documents/a.md", &change)?.expect(202)?;
        let document = client.wait("a.md")?;
        ensure!(document["counts"]["reused"] == before["chunk_count"], "{document}");
        ensure!(document["metadata"]["note"] == "changed" && document["generation"] == 2, "{document}");
        let change = json!({"metadata": {"lang": "de", "year": 2005}});
        client.patch("/v1/documents/a.md", &change)?.expect(202)?;
        let document = client.wait_for("a.md", |document| document["status"] == "indexed")?;
        ensure!(document["generation"] == 3 && document["counts"]["embedded"] == 0, "{document}");
        ensure!(document["counts"]["reused"] == before["chunk_count"], "{document}");
        ensure!(document["metadata"] == change["metadata"], "all of it is replaced: {document}");
        Ok(())
    })?;
    for mode in ["hybrid", "vector", "keyword"] {
        for (filter, found) in [
            (json!({"lang": "de"}), true),
            (json!({"lang": "en"}), false),
            (json!({"year": {"$gt": 2000}}), true),
        ] {
            let hits = client.search(&json!({"query": "fog signal", "mode": mode, "filter": filter}))?;
            ensure!(hits.is_empty() != found, "{mode} {filter}: {hits:?}");
            let metadata = hits.iter().all(|hit| hit["metadata"] == json!({"lang": "de", "year": 2005}));
            ensure!(metadata, "{hits:?}");
        }
    }
    Ok(())
}

fn metadata_changes_while_vectors_lag(world: &World) -> Result<()> {
    let client = world.admin.tenant("lagging")?;
    let document = client.ingest("a.md", &guide("Lagmarker"))?;
    let chunks = number(&document["chunk_count"]);
    world.with_fault("embed", "Lagmarker", &json!({"error": {"code": 5004}}), || {
        client.patch("/v1/documents/a.md", &json!({"metadata": {"lang": "de"}}))?.expect(202)?;
        // Still there meanwhile.
        ensure!(!client.search(&json!({"query": "fog signal"}))?.is_empty());
        let document = client.wait_for("a.md", |document| document["generation"] == 2)?;
        let counts = &document["counts"];
        ensure!(counts["embedded"] == 0 && number(&counts["reused"]) == chunks, "{document}");
        Ok(())
    })?;
    client.wait_for("a.md", |document| document["status"] == "indexed")?;
    let hits = client.search(&json!({"query": "fog signal", "mode": "vector", "filter": {"lang": "de"}}))?;
    ensure!(!hits.is_empty());
    Ok(())
}

fn changes_that_are_none(world: &World) -> Result<()> {
    let client = world.admin.tenant("unchanged")?;
    client.ingest("a.md?title=T", "The lamp burns.")?;
    let path = "/v1/documents/a.md";
    for body in
        [json!({}), json!({"title": "T"}), json!({"metadata": {}}), json!({"title": "T", "metadata": {}})]
    {
        let reply = client.patch(path, &body)?;
        ensure!(reply.expect(200)?["generation"] == 1 && reply.header("etag") == Some("\"1\""), "{body}");
    }
    for (body, code) in [
        (json!({"titel": "x"}), "invalid_json"),
        (json!({"title": 1}), "invalid_json"),
        (json!({"metadata": null}), "invalid_json"),
        (json!({"metadata": []}), "invalid_json"),
        (json!({"metadata": {"year": "old"}}), "invalid_value"),
        (json!({"title": "t".repeat(600)}), "invalid_value"),
    ] {
        ensure!(client.patch(path, &body)?.error(400)? == code, "{body}");
    }
    ensure!(client.patch("/v1/documents/unknown", &json!({"title": "x"}))?.error(404)? == "not_found");
    ensure!(client.patch("/v1/documents/a.md/text", &json!({"title": "x"}))?.error(400)? == "invalid_value");
    let reader = json!({"tenant": "unchanged", "name": "reader", "scopes": ["read"]});
    let key = world.admin.post("/v1/admin/keys", &reader)?.expect(201)?;
    let reader = client.with_key(key["key"].as_str().context("no key")?);
    ensure!(reader.patch(path, &json!({"title": "x"}))?.error(403)? == "insufficient_scope");
    ensure!(reader.form("/v1/documents", &[])?.error(403)? == "insufficient_scope");
    ensure!(client.get(path)?.expect(200)?["generation"] == 1);
    Ok(())
}

fn conditions_hold(world: &World) -> Result<()> {
    let client = world.admin.tenant("conditions")?;
    let refused = |reply: Reply| -> Result<()> {
        ensure!(reply.error(412)? == "precondition_failed", "{}", reply.text());
        Ok(())
    };
    refused(client.put_if("a.md", "One.", ("if-match", "*"))?)?;
    refused(client.put_if("a.md", "One.", ("if-match", "\"1\""))?)?;
    ensure!(client.get("/v1/documents/a.md")?.status == 404);
    let first = client.put_if("a.md", "One.", ("if-none-match", "*"))?;
    ensure!(first.expect(202)?["pending"]["generation"] == 1 && first.header("etag") == Some("\"1\""));
    refused(client.put_if("a.md", "One.", ("if-none-match", "*"))?)?;
    client.wait("a.md")?;
    let same = client.put_if("a.md", "One.", ("if-match", "\"1\""))?;
    ensure!(same.expect(200)?["generation"] == 1 && same.header("etag") == Some("\"1\""));
    let second = client.put_if("a.md", "Two.", ("if-match", "\"1\""))?;
    ensure!(second.expect(202)?["pending"]["generation"] == 2 && second.header("etag") == Some("\"2\""));
    refused(client.put_if("a.md", "Three.", ("if-match", "\"1\""))?)?;
    client.wait("a.md")?;
    let shown = client.get("/v1/documents/a.md")?;
    ensure!(shown.header("etag") == Some("\"2\"") && shown.expect(200)?["generation"] == 2);
    // A failed replacement is not what is there.
    client.put_as("a.md", "text/markdown", b" \n")?.expect(202)?;
    client.wait("a.md")?;
    let shown = client.get("/v1/documents/a.md")?;
    ensure!(shown.header("etag") == Some("\"2\""), "{:?}", shown.text());
    refused(client.put_if("a.md", "Four.", ("if-match", "\"3\""))?)?;
    let fourth = client.put_if("a.md", "Four.", ("if-match", "\"1\", \"2\""))?;
    ensure!(fourth.header("etag") == Some("\"4\""), "{}", fourth.text());
    client.wait("a.md")?;
    let change = json!({"title": "T"}).to_string();
    let patch = |tag: &str| {
        let headers = [("content-type", "application/json"), ("if-match", tag)];
        client.send("PATCH", "/v1/documents/a.md", &headers, change.as_bytes())
    };
    refused(patch("\"3\"")?)?;
    patch("\"4\"")?.expect(202)?;
    client.wait("a.md")?;
    let delete = |tag: &str| client.send("DELETE", "/v1/documents/a.md", &[("if-match", tag)], b"");
    refused(delete("\"4\"")?)?;
    ensure!(delete("5")?.status == 204);
    refused(delete("\"5\"")?)?;
    refused(client.put_if("a.md", "Six.", ("if-match", "*"))?)?;
    ensure!(
        client.put_if("a.md", "Six.", ("if-none-match", "*"))?.expect(202)?["pending"]["generation"] == 6
    );
    client.wait("a.md")?;
    Ok(())
}

fn conditions_are_read(world: &World) -> Result<()> {
    let client = world.admin.tenant("malformed")?;
    for (header, value) in [
        ("if-match", "W/\"1\""),
        ("if-match", "\"one\""),
        ("if-match", "\"1"),
        ("if-match", "\"1\", "),
        ("if-none-match", "\"1\""),
        ("if-none-match", "1"),
    ] {
        let reply = client.put_if("a.md", "text", (header, value))?;
        ensure!(reply.error(400)? == "invalid_value", "{header}: {value}");
        let param = reply.expect(400)?["error"]["param"].as_str().map(str::to_ascii_lowercase);
        ensure!(param.as_deref() == Some(header), "{}", reply.text());
    }
    let both = [MARKDOWN, ("if-match", "*"), ("if-none-match", "*")];
    ensure!(client.send("PUT", "/v1/documents/a.md", &both, b"text")?.error(400)? == "invalid_value");
    ensure!(client.get("/v1/documents/a.md")?.status == 404);
    Ok(())
}

fn one_of_two_is_taken(world: &World) -> Result<()> {
    let client = world.admin.tenant("conditional-race")?;
    let race = |count: usize, condition: (&str, &str), round: u64| -> Result<usize> {
        let replies: Vec<Reply> = std::thread::scope(|scope| {
            let put = |number| {
                let client = &client;
                let text = format!("Round {round}, uploader {number}.");
                scope.spawn(move || client.put_if("race.md", &text, condition))
            };
            let started: Vec<_> = (0..count).map(put).collect();
            started.into_iter().map(|thread| thread.join().expect("a thread panicked")).collect::<Result<_>>()
        })?;
        for reply in &replies {
            ensure!(matches!(reply.status, 202 | 412), "{}: {}", reply.status, reply.text());
        }
        Ok(replies.iter().filter(|reply| reply.status == 202).count())
    };
    ensure!(race(8, ("if-none-match", "*"), 0)? == 1);
    for generation in 1..=5 {
        let tag = format!("\"{generation}\"");
        let taken = race(2, ("if-match", &tag), generation)?;
        ensure!(taken == 1, "{taken} of two were taken at generation {generation}");
    }
    let document = client.wait_for("race.md", |document| document["generation"] == 6)?;
    ensure!(document["pending"].is_null(), "{document}");
    let hits = client.search(&json!({"query": "round uploader", "mode": "keyword"}))?;
    ensure!(hits.len() == 1, "{hits:?}");
    Ok(())
}

fn the_same_upload_while_pending(world: &World) -> Result<()> {
    let client = world.admin.tenant("pending")?;
    let text = guide("Pendingmarker");
    world.with_fault("embed", "Pendingmarker", &json!({"delay_ms": 3000}), || {
        ensure!(client.put("a.md", &text)?.expect(202)?["pending"]["generation"] == 1);
        let again = client.put("a.md", &text)?;
        ensure!(again.expect(202)?["pending"]["generation"] == 1, "{}", again.text());
        let other = client.put("a.md?title=other", &text)?.expect(202)?;
        ensure!(other["pending"]["generation"] == 2, "{other}");
        let document = client.wait("a.md")?;
        ensure!(document["generation"] == 2 && document["title"] == "other", "{document}");
        Ok(())
    })
}

fn a_replaced_documents_counts(world: &World) -> Result<()> {
    let client = world.admin.tenant("counts")?;
    let section = |number: usize| {
        let words = format!("Section {number} tells of harbour {number} and its light. ").repeat(30);
        format!("## Harbour {number}\n\n{words}\n\n")
    };
    let whole = |numbers: &[usize]| numbers.iter().map(|number| section(*number)).collect::<String>();
    let first = client.ingest("a.md", &whole(&[0, 1, 2, 3]))?;
    let chunks = number(&first["chunk_count"]);
    ensure!(first["counts"] == json!({"embedded": chunks, "reused": 0, "deleted": 0}), "{first}");
    client.ingest("a.md", &whole(&[0, 1, 2, 4, 5]))?;
    let second = client.wait_for("a.md", |document| {
        document["generation"] == 2 && number(&document["counts"]["deleted"]) > 0
    })?;
    let counts = &second["counts"];
    ensure!(
        number(&counts["embedded"]) + number(&counts["reused"]) == number(&second["chunk_count"]),
        "{second}"
    );
    ensure!(number(&counts["reused"]) + number(&counts["deleted"]) == chunks, "{first} {second}");
    ensure!(number(&counts["reused"]) >= 3, "{second}");
    Ok(())
}

fn a_prefix_of_many(world: &World) -> Result<()> {
    let client = world.admin.tenant("many")?;
    for number in 0..40 {
        client.put(&format!("gone/{number}.md"), &format!("Pebble number {number}."))?.expect(202)?;
    }
    client.ingest("gone-not.md", "A pebble that stays.")?;
    ensure!(client.delete("/v1/documents?prefix=gone/")?.expect(200)? == json!({"deleted": 40}));
    for mode in ["hybrid", "keyword"] {
        let hits = client.search(&json!({"query": "pebble", "mode": mode, "top_k": 50}))?;
        ensure!(ids(&hits) == ["gone-not.md"], "{mode}: {hits:?}");
    }
    ensure!(client.delete("/v1/documents?prefix=gone/")?.expect(200)? == json!({"deleted": 0}));
    Ok(())
}

fn a_form_of_files(world: &World) -> Result<()> {
    let client = world.admin.tenant("form")?;
    let reply = client.form(
        "/v1/documents",
        &[
            ("file", "notes/one.md", "text/markdown", b"# One\n\nThe first stone."),
            ("metadata", "", "", br#"{"lang":"en"}"#),
            ("file", "My notes (2).md", "application/octet-stream", b"The second stone."),
            ("file", "image.png", "image/png", b"\x89PNG"),
            ("file", "empty.md", "text/markdown", b""),
            ("file", "notes/one.md", "text/markdown", b"The same name again."),
            ("file", "\u{4eca}\u{5929}.txt", "", "The third stone.".as_bytes()),
            ("file", "latin.txt", "text/plain; charset=iso-8859-1", b"caf\xe9"),
        ],
    )?;
    let body = reply.expect(202)?;
    let entries = body["documents"].as_array().context("no documents")?;
    let codes: Vec<_> = entries.iter().map(|entry| entry["error"]["code"].as_str()).collect();
    let wanted =
        [None, None, Some("unsupported_media_type"), Some("empty"), Some("duplicate_file"), None, None];
    ensure!(codes == wanted, "{body}");
    ensure!(entries[0]["id"] == "notes/one.md" && entries[0]["filename"] == "notes/one.md", "{body}");
    let second = entries[1]["id"].as_str().context("no id")?;
    ensure!(
        second.starts_with("My-notes-2-")
            && second.rsplit_once('.').is_some_and(|(_, ending)| ending == "md")
            && second.len() == 22,
        "{second}"
    );
    let third = entries[5]["id"].as_str().context("no id")?;
    ensure!(
        third.len() == 12 && third.rsplit_once('.').is_some_and(|(_, ending)| ending == "txt"),
        "{third}"
    );
    for id in ["notes/one.md", second, third] {
        let document = client.wait(id)?;
        ensure!(document["generation"] == 1 && document["metadata"] == json!({"lang": "en"}), "{document}");
    }
    ensure!(client.get("/v1/documents/notes/one.md/text")?.text() == "# One\n\nThe first stone.");
    let hits = client.search(&json!({"query": "stone", "mode": "keyword", "filter": {"lang": "en"}}))?;
    ensure!(hits.len() == 3, "{hits:?}");
    // The same again: the same ids, and nothing to do.
    let again = client.form(
        "/v1/documents",
        &[
            ("metadata", "", "", br#"{"lang":"en"}"#),
            ("file", "My notes (2).md", "application/octet-stream", b"The second stone."),
        ],
    )?;
    let body = again.expect(200)?;
    ensure!(body["documents"][0]["id"] == second && body["documents"][0]["generation"] == 1, "{body}");
    // Of unknown length.
    let file = [("file", "streamed.md", "text/markdown", b"The fourth stone.".as_slice())];
    let (kind, body) = form(&file);
    let headers = [("content-type", kind.as_str())];
    let reply = client.send_unsized("POST", "/v1/documents", &headers, body.as_slice())?;
    ensure!(reply.expect(202)?["documents"][0]["id"] == "streamed.md", "{}", reply.text());
    let (_, mut endless) = form(&file);
    endless.resize(26_000_000, b'a');
    let reply = client.send_unsized("POST", "/v1/documents", &headers, endless.as_slice())?;
    ensure!(reply.error(413)? == "too_large");
    client.wait("streamed.md")?;
    Ok(())
}

fn forms_that_can_not_be_taken(world: &World) -> Result<()> {
    let client = world.admin.tenant("badform")?;
    let file = ("file", "a.md", "text/markdown", b"text".as_slice());
    for (parts, code) in [
        (vec![], "file"),
        (vec![("metadata", "", "", b"{}".as_slice())], "file"),
        (vec![("file", "", "", b"text")], "file"),
        (vec![("files", "a.md", "text/markdown", b"text")], "files"),
        (vec![file, ("title", "", "", b"T")], "title"),
        (vec![file, ("metadata", "", "", b"[1]")], "metadata"),
        (vec![file, ("metadata", "", "", br#"{"year":"old"}"#)], "metadata"),
    ] {
        let reply = client.form("/v1/documents", &parts)?;
        ensure!(reply.error(400)? == "invalid_value", "{parts:?}: {}", reply.text());
        let param = reply.expect(400)?["error"]["param"].as_str().unwrap_or_default().to_owned();
        ensure!(param.starts_with(code), "{parts:?}: {}", reply.text());
    }
    let broken = client.send(
        "POST",
        "/v1/documents",
        &[("content-type", "multipart/form-data; boundary=x")],
        b"--x\r\nContent-Disp",
    )?;
    ensure!(broken.error(400)? == "invalid_form", "{}", broken.text());
    let bare = client.send("POST", "/v1/documents", &[("content-type", "multipart/form-data")], b"x")?;
    ensure!(bare.error(400)? == "invalid_form", "{}", bare.text());
    let large = vec![b'a'; 25_000_000];
    let large = client.form("/v1/documents", &[("file", "a.md", "text/markdown", &large)])?;
    ensure!(large.error(413)? == "too_large");
    // Nothing was taken: the first reason, and all of them.
    let refused = client.form(
        "/v1/documents",
        &[("file", "a.png", "image/png", b"x"), ("file", "b.md", "text/markdown", b"")],
    )?;
    ensure!(refused.error(415)? == "unsupported_media_type");
    let body = refused.expect(415)?;
    ensure!(body["documents"][1]["error"]["code"] == "empty", "{body}");
    ensure!(client.get("/v1/documents")?.expect(200)?["documents"] == json!([]));
    Ok(())
}

fn as_many_files_as_a_form_may_have(world: &World) -> Result<()> {
    let client = world.admin.tenant("manyfiles")?;
    let texts: Vec<(String, String)> =
        (0..81).map(|number| (format!("{number}.md"), guide(&format!("of rock {number}")))).collect();
    let parts: Vec<_> =
        texts.iter().map(|(name, text)| ("file", name.as_str(), "text/markdown", text.as_bytes())).collect();
    ensure!(client.form("/v1/documents", &parts)?.error(400)? == "invalid_value");
    let taken = client.form("/v1/documents", &parts[..80])?.expect(202)?;
    ensure!(taken["documents"].as_array().map(Vec::len) == Some(80));
    for (name, _) in &texts[..80] {
        let document = client.wait(name)?;
        ensure!(document["generation"] == 1 && document["error"].is_null(), "{document}");
    }
    Ok(())
}

fn bytes_with_a_file_name(world: &World) -> Result<()> {
    let client = world.admin.tenant("filename")?;
    let post = |query: &str, kind: &str, bytes: &[u8]| {
        client.send("POST", &format!("/v1/documents{query}"), &[("content-type", kind)], bytes)
    };
    ensure!(post("", "text/markdown", b"x")?.error(400)? == "invalid_value");
    ensure!(post("?filename=", "text/markdown", b"x")?.error(400)? == "invalid_value");
    ensure!(post("?filename=a.mp4", "video/mp4", b"x")?.error(415)? == "unsupported_media_type");
    ensure!(post("?filename=a.md", "application/octet-stream", b"")?.error(422)? == "empty");
    let body = post("?filename=a%20b.md&title=T&metadata=%7B%22lang%22%3A%22de%22%7D", "", b"The stone.")?;
    let body = body.expect(202)?;
    let id = body["documents"][0]["id"].as_str().context("no id")?;
    ensure!(
        id.starts_with("a-b-")
            && id.rsplit_once('.').is_some_and(|(_, ending)| ending == "md")
            && id.len() == 15,
        "{body}"
    );
    let document = client.wait(id)?;
    ensure!(document["title"] == "T" && document["metadata"]["lang"] == "de", "{document}");
    ensure!(document["media_type"] == "text/markdown", "{document}");
    let plain = post("?filename=dir/a.md", "text/plain", b"The stone.")?.expect(202)?;
    ensure!(plain["documents"][0]["id"] == "dir/a.md", "{plain}");
    ensure!(client.wait("dir/a.md")?["media_type"] == "text/plain");
    ensure!(post("?filename=dir/a.md", "text/plain", b"The stone.")?.status == 200);
    Ok(())
}

/// The same paragraph over and over: many chunks, few texts to embed.
fn twelve_megabytes_of_unknown_length(world: &World) -> Result<()> {
    let client = world.admin.tenant("stream")?;
    let line = "The lamp is lit half an hour before sunset, and the keeper writes the time into the log.\n\n";
    let text = line.repeat(12_000_000 / line.len());
    let started = std::time::Instant::now();
    let reply = client.send_unsized(
        "PUT",
        "/v1/documents/long.txt",
        &[("content-type", "text/plain")],
        text.as_bytes(),
    )?;
    let queued = reply.expect(202)?;
    ensure!(queued["bytes"] == text.len(), "{queued}");
    eprintln!("12 MB stored after {:?}", started.elapsed());
    ensure!(client.get("/v1/documents/long.txt/content")?.bytes == text.as_bytes());
    ensure!(client.get("/v1/documents/long.txt/text")?.bytes == text.as_bytes());
    // The same bytes, their length announced: the same hash.
    let announced = client.put_as("long.txt", "text/plain", text.as_bytes())?;
    ensure!(matches!(announced.status, 200 | 202), "{}", announced.text());
    let announced: Value = serde_json::from_slice(&announced.bytes)?;
    ensure!(announced["content_hash"] == queued["content_hash"], "{announced}");
    ensure!(announced["pending"]["generation"] == 1 || announced["generation"] == 1, "{announced}");
    let document = client.wait_for("long.txt", |document| document["generation"] == 1)?;
    eprintln!("12 MB searchable after {:?}: {} chunks", started.elapsed(), document["chunk_count"]);
    let counts = &document["counts"];
    ensure!(number(&counts["embedded"]) < 20, "{document}");
    let small =
        client.send_unsized("PUT", "/v1/documents/small.md", &[MARKDOWN], b"A small one.".as_slice())?;
    ensure!(small.expect(202)?["bytes"] == 12, "{}", small.text());
    let empty = client.send_unsized("PUT", "/v1/documents/none.md", &[MARKDOWN], b"".as_slice())?;
    ensure!(empty.error(422)? == "empty");
    ensure!(client.delete("/v1/documents/long.txt")?.status == 204);
    Ok(())
}

/// On a stack of its own, so that its objects can be counted.
fn uploads_that_come_to_nothing(_: &World) -> Result<()> {
    let options = StackOptions { fresh: true, ..StackOptions::new("target/tests/documents-cut") };
    let stack = Stack::start(&options)?;
    let client = Client::new(&stack.url);
    let plain = [("content-type", "text/plain")];
    let announced = client.send("PUT", "/v1/documents/a.txt", &plain, &vec![b'a'; 100_000_001])?;
    ensure!(announced.error(413)? == "too_large");
    let endless = std::io::repeat(b'a').take(100_000_001);
    let unknown = client.send_unsized("PUT", "/v1/documents/a.txt", &plain, endless)?;
    ensure!(unknown.error(413)? == "too_large");
    let address = stack.url.trim_start_matches("http://");
    let piece = vec![b'a'; 1_000_000];
    for (id, length) in [("b.txt", "content-length: 20000000"), ("c.txt", "transfer-encoding: chunked")] {
        for pieces in [0, 1, 12] {
            let mut stream = TcpStream::connect(address)?;
            write!(
                stream,
                "PUT /v1/documents/{id} HTTP/1.1\r\nhost: {address}\r\ncontent-type: text/plain\r\n{length}\r\n\r\n"
            )?;
            for _ in 0..pieces {
                if id == "c.txt" {
                    write!(stream, "{:x}\r\n", piece.len())?;
                }
                stream.write_all(&piece)?;
                if id == "c.txt" {
                    stream.write_all(b"\r\n")?;
                }
            }
            stream.flush()?;
            std::thread::sleep(Duration::from_millis(500));
            stream.shutdown(Shutdown::Both)?;
        }
    }
    ensure!(client.put("d.md", "")?.error(422)? == "empty");
    ensure!(client.put_if("e.md", "text", ("if-match", "*"))?.error(412)? == "precondition_failed");
    client.ingest("whole.md", "This one came whole.")?;
    ensure!(client.put("whole.md", "This one came whole.")?.status == 200);
    let listed = client.get("/v1/documents")?.expect(200)?;
    ensure!(listed["documents"].as_array().map(Vec::len) == Some(1), "{listed}");
    stack.stop();
    let objects = xtask::stack::objects(&options.data)?;
    ensure!(objects.len() == 1, "{objects:?}");
    Ok(())
}

fn text_and_content(world: &World) -> Result<()> {
    let client = world.admin.tenant("views")?;
    let text = "caf\u{e9} \u{4eca}\u{5929}\u{1f600} ".repeat(60_000) + "\0end";
    let original = format!("\u{feff}{text}");
    client.put_as("a.txt", "text/plain", original.as_bytes())?.expect(202)?;
    ensure!(client.get("/v1/documents/a.txt/content")?.bytes == original.as_bytes());
    let shown = client.get("/v1/documents/a.txt/text")?;
    ensure!(shown.text() == text.replace('\0', " "), "{} of {} bytes", shown.bytes.len(), text.len());
    ensure!(client.send("HEAD", "/v1/documents/a.txt/text", &[], b"")?.bytes.is_empty());
    let noise = b"\0\x01\xff\xfe\x02\0\x03\x04";
    client.put_as("bad.txt", "text/plain", noise)?.expect(202)?;
    ensure!(client.wait("bad.txt")?["error"]["code"] == "unreadable");
    ensure!(client.get("/v1/documents/bad.txt/text")?.error(422)? == "not_converted");
    ensure!(client.get("/v1/documents/bad.txt/content")?.bytes == noise);
    // After a failure the same bytes are tried again.
    let again = client.put_as("bad.txt", "text/plain", noise)?.expect(202)?;
    ensure!(again["pending"]["generation"] == 2, "{again}");
    client.delete("/v1/documents/a.txt")?;
    Ok(())
}

fn a_reindex_of_one_document(world: &World) -> Result<()> {
    let client = world.admin.tenant("again")?;
    let body = json!({"tenant": "again", "scopes": ["admin"]});
    let own = world.admin.post("/v1/admin/keys", &body)?.expect(201)?;
    let own = world.admin.with_key(own["key"].as_str().context("no key")?);
    let before = client.ingest("a.md", &guide("Againmarker"))?;
    client.ingest("b.md", "Another document.")?;
    let progress = own.get("/v1/admin/reindex")?.expect(200)?;
    ensure!(
        progress["documents"] == 2 && progress["done"] == 2 && progress["reindexing"] == false,
        "{progress}"
    );
    ensure!(progress["embedding"].is_string() && progress["next"].is_null(), "{progress}");
    own.post("/v1/admin/reindex", &json!({"document": "a.md"}))?.expect(202)?;
    ensure!(client.get("/v1/documents/a.md")?.expect(200)?["pending"].is_null(), "it is up to date");
    client.wait_for("a.md", |document| document["status"] == "indexed")?;
    world.with_fault("embed", "Againmarker", &json!({"error": {"code": 5004}}), || {
        own.post("/v1/admin/reindex", &json!({"document": "a.md", "force": true}))?.expect(202)?;
        let after = client.wait_for("a.md", |document| document["generation"] == 2)?;
        let counts = &after["counts"];
        ensure!(counts["embedded"] == 0 && counts["reused"] == before["chunk_count"], "{after}");
        Ok(())
    })?;
    ensure!(client.get("/v1/documents/b.md")?.expect(200)?["generation"] == 1);
    let unknown = own.post("/v1/admin/reindex", &json!({"document": "none.md"}))?;
    ensure!(unknown.error(404)? == "not_found");
    ensure!(own.post("/v1/admin/reindex", &json!({"documents": "a.md"}))?.error(400)? == "invalid_json");
    // All of the tenant's, without a body.
    own.send("POST", "/v1/admin/reindex", &[], b"")?.expect(202)?;
    for _ in 0..100 {
        if own.get("/v1/admin/reindex")?.expect(200)?["reindexing"] == false {
            return Ok(());
        }
        std::thread::sleep(Duration::from_millis(200));
    }
    anyhow::bail!("still re-indexing")
}

fn administration(world: &World) -> Result<()> {
    let member = world.admin.tenant("member")?;
    let body = json!({"tenant": "member", "scopes": ["admin"]});
    let own = world.admin.post("/v1/admin/keys", &body)?.expect(201)?;
    let own = world.admin.with_key(own["key"].as_str().context("no key")?);
    for (method, path) in [
        ("POST", "reindex"),
        ("GET", "dead-letters"),
        ("POST", "dead-letters/replay"),
        ("GET", "audit"),
        ("POST", "rebuild-keywords"),
        ("POST", "sweep"),
    ] {
        let path = format!("/v1/admin/{path}");
        ensure!(member.send(method, &path, &[], b"")?.error(403)? == "insufficient_scope", "{path}");
        if path != "/v1/admin/reindex" {
            ensure!(own.send(method, &path, &[], b"")?.error(403)? == "operator_only", "{path}");
        }
    }
    let foreign = json!({"tenant": "other"});
    ensure!(own.post("/v1/admin/reindex", &foreign)?.error(403)? == "operator_only");
    ensure!(own.get("/v1/admin/reindex?tenant=other")?.error(403)? == "operator_only");
    ensure!(world.admin.get("/v1/admin/reindex?tenant=member")?.expect(200)?["documents"] == 0);
    for (method, path) in [
        ("GET", "sweep"),
        ("DELETE", "reindex"),
        ("POST", "audit"),
        ("POST", "dead-letters"),
        ("GET", "dead-letters/replay"),
        ("GET", "dead-letters/1"),
        ("GET", "keys/1"),
        ("GET", "rebuild-keywords"),
    ] {
        let reply = world.admin.send(method, &format!("/v1/admin/{path}"), &[], b"")?;
        ensure!(reply.error(405)? == "method_not_allowed", "{method} {path}: {}", reply.text());
    }
    for path in ["nothing", "dead-letters/x", "dead-letters/1/open", "dead-letters-x"] {
        ensure!(world.admin.get(&format!("/v1/admin/{path}"))?.error(404)? == "not_found", "{path}");
    }
    ensure!(world.admin.delete("/v1/admin/dead-letters/4711")?.error(404)? == "not_found");
    Ok(())
}

/// Paid plan: 128 MB of memory, 10,000 subrequests, 1,000 D1 statements per invocation (Workers and D1 limits pages).
fn no_invocation_goes_over(world: &World) -> Result<()> {
    let limits = [("wasm_memory_bytes", 128_000_000), ("subrequests", 10_000), ("d1_statements", 1_000)];
    let mut most = [0; 3];
    for line in world.stack.ledger()? {
        for ((name, limit), most) in limits.iter().zip(&mut most) {
            let value = number(&line["spent"][*name]);
            ensure!(value <= *limit, "{name} = {value} > {limit}: {line}");
            *most = value.max(*most);
        }
    }
    eprintln!("most of {limits:?}: {most:?}");
    Ok(())
}

/// Comes last: what is being cleaned up still gets some time.
fn nothing_is_left_behind(world: &World) -> Result<()> {
    let mut audit = Value::Null;
    for _ in 0..60 {
        audit = world.admin.get("/v1/admin/audit")?.expect(200)?;
        let zero = audit["inconsistencies"]
            .as_object()
            .is_some_and(|faults| faults.values().all(|count| *count == 0));
        if zero {
            return Ok(());
        }
        std::thread::sleep(Duration::from_secs(1));
    }
    anyhow::bail!("{audit}")
}
