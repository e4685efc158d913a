//! The product over HTTP: both workers in the real runtime, the twin with real models behind the genuine bindings.

use anyhow::{Context, Result, ensure};
use ragflare_tests::{Case, Client, run};
use serde_json::{Value, json};
use std::process::ExitCode;
use xtask::{Stack, StackOptions};

const GUIDE: &str = include_str!("../../fixtures/lighthouse.md");

struct World {
    stack: Stack,
    admin: Client,
}

impl World {
    fn start() -> Result<Self> {
        let options = StackOptions { fresh: true, ..StackOptions::new("target/tests/product") };
        let stack = Stack::start(&options)?;
        let admin = Client::new(&stack.url).with_key(&stack.admin_key);
        let world = Self { stack, admin };
        anonymous_until_there_is_a_key(&world)?;
        Ok(world)
    }

    fn anonymous(&self) -> Client {
        Client::new(&self.stack.url)
    }
}

fn main() -> ExitCode {
    let cases: &[Case<World>] = &[
        ("a document goes up and is found", a_document_goes_up_and_is_found),
        ("chunks point exactly into the text", chunks_point_exactly_into_the_text),
        ("the same upload again is 200", the_same_upload_again_is_200),
        ("a changed document embeds only what is new", a_changed_document_embeds_only_what_is_new),
        ("deleted while vectors linger: never shown", deleted_while_vectors_linger),
        ("documents are listed in pages", documents_are_listed_in_pages),
        ("a prefix is deleted", a_prefix_is_deleted),
        ("each mode has its scores", each_mode_has_its_scores),
        ("uploads of tenant B change no score of tenant A", tenant_b_changes_no_score_of_tenant_a),
        ("two Chinese characters find their text", two_chinese_characters_find_their_text),
        ("filters hold in every mode", filters_hold_in_every_mode),
        ("an answer streams with its sources", an_answer_streams_with_its_sources),
        ("an answer comes whole", an_answer_comes_whole),
        ("OpenAI's shapes", openai_shapes),
        ("a question without documents", a_question_without_documents),
        ("keys and scopes", keys_and_scopes),
        ("bad uploads", bad_uploads),
        ("bad questions", bad_questions),
        ("uploads of one id at once", uploads_of_one_id_at_once),
        ("a long history is trimmed", a_long_history_is_trimmed),
        ("a megabyte in one line", a_megabyte_in_one_line),
        ("a body over the limit", a_body_over_the_limit),
        ("one upload and one question stay within the limits", the_limits_hold),
    ];
    run(World::start, cases)
}

/// Runs before any key is made.
fn anonymous_until_there_is_a_key(world: &World) -> Result<()> {
    let anyone = world.anonymous();
    anyone.get("/v1/documents")?.expect(200)?;
    anyone.ingest("open.md", "The door is open to everybody.")?;
    ensure!(anyone.with_key("wrong").get("/v1/documents")?.error(401)? == "invalid_api_key");
    world.admin.tenant("first")?;
    ensure!(anyone.get("/v1/documents")?.error(401)? == "invalid_api_key");
    ensure!(anyone.post("/v1/search", &json!({"query": "door"}))?.error(401)? == "invalid_api_key");
    world.admin.get("/v1/documents/open.md")?.expect(200)?;
    Ok(())
}

fn a_document_goes_up_and_is_found(world: &World) -> Result<()> {
    let client = world.admin.tenant("found")?;
    let reply =
        client.put_as("guides/lighthouse.md?title=Keeper%27s+guide", "text/markdown", GUIDE.as_bytes())?;
    let queued = reply.expect(202)?;
    ensure!(queued["status"] == "queued" && queued["generation"].is_null(), "{queued}");
    let document = client.wait("guides/lighthouse.md")?;
    ensure!(matches!(document["status"].as_str(), Some("searchable" | "indexed")), "{document}");
    ensure!(document["generation"] == 1 && document["bytes"] == GUIDE.len(), "{document}");
    ensure!(document["title"] == "Keeper's guide", "{document}");
    ensure!(document["counts"]["embedded"] == document["chunk_count"], "{document}");
    // Vectorize lags: the keyword leg finds it at once.
    let hits = client.search(&json!({"query": "How long does the fog signal sound?"}))?;
    ensure!(hits[0]["text"].as_str().is_some_and(|text| text.contains("fog signal")), "{hits:?}");
    client.wait_for("guides/lighthouse.md", |document| document["status"] == "indexed")?;
    let query = "What must be done when the mist comes in?";
    let hits = client.search(&json!({"query": query, "mode": "vector", "rerank": false}))?;
    ensure!(hits[0]["headings"].as_array().is_some_and(|path| path.contains(&json!("Fog"))), "{hits:?}");
    Ok(())
}

fn chunks_point_exactly_into_the_text(world: &World) -> Result<()> {
    let client = world.admin.tenant("chunks")?;
    client.ingest("a.md", GUIDE)?;
    let text = client.get("/v1/documents/a.md/text")?.text();
    ensure!(text == GUIDE);
    ensure!(client.get("/v1/documents/a.md/content")?.bytes == GUIDE.as_bytes());
    let (mut cursor, mut seen) = (String::new(), 0);
    loop {
        let page = client.get(&format!("/v1/documents/a.md/chunks?limit=3{cursor}"))?.expect(200)?;
        for chunk in page["chunks"].as_array().context("no chunks")? {
            let at = |name: &str| chunk[name].as_u64().unwrap_or(u64::MAX) as usize;
            ensure!(chunk["text"] == text[at("start")..at("end")], "{chunk}");
            ensure!(at("ordinal") == seen && at("tokens") <= 512);
            seen += 1;
        }
        match page["next_cursor"].as_str() {
            Some(next) => cursor = format!("&cursor={next}"),
            None => break,
        }
    }
    let document = client.get("/v1/documents/a.md")?.expect(200)?;
    ensure!(document["chunk_count"] == seen && seen > 3, "{document}");
    Ok(())
}

fn the_same_upload_again_is_200(world: &World) -> Result<()> {
    let client = world.admin.tenant("same")?;
    client.ingest("a.md", GUIDE)?;
    let again = client.put("a.md", GUIDE)?.expect(200)?;
    ensure!(again["generation"] == 1, "{again}");
    ensure!(client.put("a.md?title=other", GUIDE)?.status == 202);
    ensure!(client.wait("a.md")?["generation"] == 2);
    Ok(())
}

fn a_changed_document_embeds_only_what_is_new(world: &World) -> Result<()> {
    let client = world.admin.tenant("changed")?;
    let before = client.ingest("a.md", GUIDE)?;
    let changed = GUIDE.replace("every ninety seconds", "every sixty seconds");
    let after = client.ingest("a.md", &changed)?;
    let counts = &after["counts"];
    ensure!(counts["embedded"] == 1 && after["generation"] == 2, "{before} {after}");
    ensure!(counts["reused"].as_u64() == before["chunk_count"].as_u64().map(|count| count - 1), "{after}");
    let hits = client.search(&json!({"query": "fog signal sixty seconds", "mode": "keyword"}))?;
    ensure!(hits[0]["text"].as_str().is_some_and(|text| text.contains("every sixty seconds")));
    let stale = client.search(&json!({"query": "ninety seconds", "mode": "keyword"}))?;
    ensure!(stale.iter().all(|hit| !hit["text"].as_str().unwrap_or_default().contains("ninety seconds")));
    Ok(())
}

fn deleted_while_vectors_linger(world: &World) -> Result<()> {
    let client = world.admin.tenant("deleted")?;
    client.ingest("a.md", GUIDE)?;
    client.wait_for("a.md", |document| document["status"] == "indexed")?;
    ensure!(client.delete("/v1/documents/a.md")?.status == 204);
    for mode in ["hybrid", "vector", "keyword"] {
        let hits = client.search(&json!({"query": "fog signal", "mode": mode}))?;
        ensure!(hits.is_empty(), "{mode}: {hits:?}");
    }
    ensure!(client.get("/v1/documents/a.md")?.error(404)? == "not_found");
    ensure!(client.get("/v1/documents/a.md/text")?.error(404)? == "not_found");
    ensure!(client.delete("/v1/documents/a.md")?.error(404)? == "not_found");
    let again = client.ingest("a.md", GUIDE)?;
    ensure!(again["generation"] == 2 && again["counts"]["reused"] == 0, "{again}");
    Ok(())
}

fn documents_are_listed_in_pages(world: &World) -> Result<()> {
    let client = world.admin.tenant("listed")?;
    for number in 0..5 {
        client.put(&format!("d/{number}.md"), "Some text.")?.expect(202)?;
    }
    let page = client.get("/v1/documents?limit=2&prefix=d/")?.expect(200)?;
    ensure!(page["documents"].as_array().map(Vec::len) == Some(2), "{page}");
    ensure!(page["next_cursor"] == "d/1.md", "{page}");
    let rest = client.get("/v1/documents?limit=100&cursor=d/1.md")?.expect(200)?;
    ensure!(rest["documents"].as_array().map(Vec::len) == Some(3) && rest["next_cursor"].is_null(), "{rest}");
    ensure!(client.get("/v1/documents?limit=0")?.error(400)? == "invalid_value");
    ensure!(client.get("/v1/documents?status=lost")?.error(400)? == "invalid_value");
    Ok(())
}

fn a_prefix_is_deleted(world: &World) -> Result<()> {
    let client = world.admin.tenant("prefix")?;
    for id in ["a/1.md", "a/2.md", "b/1.md"] {
        client.put(id, "Some text.")?.expect(202)?;
    }
    ensure!(client.delete("/v1/documents")?.error(400)? == "invalid_value");
    ensure!(client.delete("/v1/documents?prefix=a/")?.expect(200)? == json!({"deleted": 2}));
    let left = client.get("/v1/documents")?.expect(200)?;
    ensure!(left["documents"].as_array().map(Vec::len) == Some(1), "{left}");
    Ok(())
}

fn each_mode_has_its_scores(world: &World) -> Result<()> {
    let client = world.admin.tenant("modes")?;
    client.ingest("a.md", GUIDE)?;
    client.wait_for("a.md", |document| document["status"] == "indexed")?;
    let scores = |mode: &str, rerank: bool| -> Result<Value> {
        let hits = client.search(&json!({"query": "fog signal", "mode": mode, "rerank": rerank}))?;
        ensure!(hits.windows(2).all(|pair| pair[0]["score"].as_f64() >= pair[1]["score"].as_f64()));
        Ok(hits.first().context("no hit")?["scores"].clone())
    };
    let hybrid = scores("hybrid", true)?;
    for name in ["vector", "keyword", "fused", "rerank"] {
        ensure!(hybrid[name].is_number(), "{name} in {hybrid}");
    }
    let vector = scores("vector", false)?;
    ensure!(vector["vector"].is_number() && vector["keyword"].is_null() && vector["rerank"].is_null());
    ensure!(scores("keyword", false)?["vector"].is_null());
    let reply = client.post("/v1/search", &json!({"query": "fog signal"}))?.expect(200)?;
    ensure!(reply["timings_ms"]["total"].is_number() && reply["usage"]["embedding_tokens"].is_number());
    ensure!(reply["degraded"].is_null(), "{reply}");
    Ok(())
}

fn tenant_b_changes_no_score_of_tenant_a(world: &World) -> Result<()> {
    let (own, other) = (world.admin.tenant("tenant-a")?, world.admin.tenant("tenant-b")?);
    own.ingest("a.md", GUIDE)?;
    own.wait_for("a.md", |document| document["status"] == "indexed")?;
    let ask = |mode: &str| own.search(&json!({"query": "fog signal lamp oil", "mode": mode}));
    let before: Vec<_> = ["hybrid", "keyword", "vector"].into_iter().map(ask).collect::<Result<_>>()?;
    for number in 0..5 {
        other.ingest(&format!("{number}.md"), &format!("fog fog signal {number} lamp\n\n{GUIDE}"))?;
    }
    let after: Vec<_> = ["hybrid", "keyword", "vector"].into_iter().map(ask).collect::<Result<_>>()?;
    ensure!(before == after, "{before:#?}\n{after:#?}");
    ensure!(other.get("/v1/documents/a.md")?.error(404)? == "not_found");
    Ok(())
}

fn two_chinese_characters_find_their_text(world: &World) -> Result<()> {
    let client = world.admin.tenant("chinese")?;
    client.ingest("weather.md", "今天天气很好，适合出门散步。")?;
    client.ingest("search.md", "全文检索的速度很快，中文也能找到。")?;
    let hits = client.search(&json!({"query": "检索", "mode": "keyword"}))?;
    ensure!(hits.len() == 1 && hits[0]["document_id"] == "search.md", "{hits:?}");
    Ok(())
}

fn filters_hold_in_every_mode(world: &World) -> Result<()> {
    let client = world.admin.tenant("filters")?;
    for (id, metadata) in [("en", r#"{"lang":"en","year":1999}"#), ("de", r#"{"lang":"de","year":2005}"#)] {
        let metadata = metadata.replace('"', "%22").replace('{', "%7B").replace('}', "%7D");
        client.ingest(&format!("{id}.md?metadata={metadata}"), "The lamp burns all night.")?;
        client.wait_for(&format!("{id}.md"), |document| document["status"] == "indexed")?;
    }
    for mode in ["hybrid", "vector", "keyword"] {
        for (filter, wanted) in [
            (json!({"lang": "de"}), vec!["de.md"]),
            (json!({"year": {"$lt": 2000}}), vec!["en.md"]),
            (json!({"lang": {"$ne": "en"}, "year": {"$gte": 2000}}), vec!["de.md"]),
            (json!({"lang": {"$in": ["fr"]}}), vec![]),
        ] {
            let hits = client.search(&json!({"query": "lamp", "mode": mode, "filter": filter}))?;
            let ids: Vec<_> = hits.iter().filter_map(|hit| hit["document_id"].as_str()).collect();
            ensure!(ids == wanted, "{mode} {filter}: {ids:?}");
        }
    }
    let undeclared = client.post("/v1/search", &json!({"query": "lamp", "filter": {"owner": "me"}}))?;
    ensure!(undeclared.error(400)? == "filter_field_not_declared");
    let wrong = client.put_as("x.md?metadata=%7B%22year%22:%22old%22%7D", "text/markdown", b"x")?;
    ensure!(wrong.error(400)? == "invalid_value");
    Ok(())
}

fn question(text: &str) -> Value {
    json!({"messages": [{"role": "user", "content": text}], "max_tokens": 48})
}

fn an_answer_streams_with_its_sources(world: &World) -> Result<()> {
    let client = world.admin.tenant("chat")?;
    client.ingest("a.md", GUIDE)?;
    let events = client.stream("/v1/chat", &question("How often does the fog signal sound?"))?;
    let names: Vec<_> = events.iter().map(|event| event.name.as_str()).collect();
    ensure!(names.first() == Some(&"sources") && names.last() == Some(&"done"), "{names:?}");
    ensure!(names.contains(&"delta") && names.contains(&"usage"), "{names:?}");
    let sources = events[0].json()?;
    let passages = sources["sources"].as_array().context("no sources")?;
    let answers =
        |source: &Value| source["text"].as_str().is_some_and(|text| text.contains("every ninety seconds"));
    ensure!(passages.iter().any(answers), "{sources}");
    let count = passages.len();
    for event in &events {
        if event.name == "citation" {
            let number = event.json()?["source"].as_u64().context("no number")? as usize;
            ensure!((1..=count).contains(&number), "source {number} of {count}");
        }
    }
    let usage = events.iter().find(|event| event.name == "usage").context("no usage")?.json()?;
    // What was counted before sending covers what the model counted.
    let counted = usage["counted_prompt_tokens"].as_u64().context("not counted")?;
    ensure!(usage["prompt_tokens"].as_u64().is_some_and(|used| used > 0), "{usage}");
    eprintln!("prompt: counted {counted}, used {}", usage["prompt_tokens"]);
    let first = events.iter().find(|event| event.name == "delta").context("no delta")?;
    eprintln!("first event {:?}, first token {:?}", events[0].after, first.after);
    Ok(())
}

fn an_answer_comes_whole(world: &World) -> Result<()> {
    let client = world.admin.tenant("whole")?;
    client.ingest("a.md", GUIDE)?;
    let mut body = question("Which oil does the lamp burn?");
    body["stream"] = false.into();
    let answer = client.post("/v1/chat", &body)?.expect(200)?;
    ensure!(!answer["sources"].as_array().context("no sources")?.is_empty());
    ensure!(answer["text"].as_str().is_some_and(|text| !text.is_empty()), "{answer}");
    ensure!(
        answer["done"]["grounded"] == true && answer["usage"]["completion_tokens"].is_number(),
        "{answer}"
    );
    Ok(())
}

fn openai_shapes(world: &World) -> Result<()> {
    let client = world.admin.tenant("openai")?;
    client.ingest("a.md", GUIDE)?;
    let mut body = question("Which oil does the lamp burn?");
    body["model"] = "gpt-9".into();
    ensure!(client.post("/v1/chat/completions", &body)?.error(404)? == "model_not_found", "an allow-list");
    body["model"] = "@cf/meta/llama-3.1-8b-instruct-fp8-fast".into();
    let whole = client.post("/v1/chat/completions", &body)?.expect(200)?;
    ensure!(whole["object"] == "chat.completion" && whole["choices"][0]["message"]["role"] == "assistant");
    ensure!(whole["usage"]["total_tokens"].is_number(), "{whole}");
    ensure!(!whole["ragflare"]["sources"].as_array().context("no sources")?.is_empty());
    body["stream"] = true.into();
    body["stream_options"] = json!({"include_usage": true});
    let events = client.stream("/v1/chat/completions", &body)?;
    ensure!(events.last().is_some_and(|event| event.data == "[DONE]"));
    let chunks: Vec<Value> =
        events[..events.len() - 1].iter().map(ragflare_tests::Sse::json).collect::<Result<_>>()?;
    ensure!(chunks[0]["choices"][0]["delta"]["role"] == "assistant", "{}", chunks[0]);
    ensure!(chunks.iter().any(|chunk| chunk["choices"][0]["finish_reason"].is_string()));
    let last = chunks.last().context("no chunk")?;
    ensure!(last["choices"] == json!([]) && last["usage"]["prompt_tokens"].is_number(), "{last}");
    let models = client.get("/v1/models")?.expect(200)?;
    ensure!(models["object"] == "list" && models["data"][0]["id"].is_string());
    Ok(())
}

fn a_question_without_documents(world: &World) -> Result<()> {
    let client = world.admin.tenant("empty")?;
    ensure!(client.search(&json!({"query": "anything"}))?.is_empty());
    let events = client.stream("/v1/chat", &question("Anything?"))?;
    ensure!(events[0].json()? == json!({"query": "Anything?", "sources": []}));
    let done = events.last().context("no events")?.json()?;
    ensure!(done["grounded"] == false && done["model"].is_null(), "{done}");
    Ok(())
}

fn keys_and_scopes(world: &World) -> Result<()> {
    let body = json!({"tenant": "scoped", "name": "reader", "scopes": ["read"]});
    let made = world.admin.post("/v1/admin/keys", &body)?.expect(201)?;
    let reader = world.admin.with_key(made["key"].as_str().context("no key")?);
    reader.get("/v1/documents")?.expect(200)?;
    ensure!(reader.put("a.md", "x")?.error(403)? == "insufficient_scope");
    ensure!(reader.delete("/v1/documents/a.md")?.error(403)? == "insufficient_scope");
    ensure!(reader.get("/v1/admin/keys")?.error(403)? == "insufficient_scope");
    let listed = world.admin.get("/v1/admin/keys")?.expect(200)?;
    ensure!(
        !listed.to_string().contains(made["key"].as_str().context("no key")?),
        "keys are not shown again"
    );
    let body = json!({"tenant": "scoped", "scopes": ["read", "admin"]});
    let own = world.admin.post("/v1/admin/keys", &body)?.expect(201)?;
    let own = world.admin.with_key(own["key"].as_str().context("no key")?);
    let foreign = own.post("/v1/admin/keys", &json!({"tenant": "other"}))?;
    ensure!(foreign.error(403)? == "operator_only", "an admin of one tenant makes no keys of another");
    ensure!(own.post("/v1/admin/sweep", &json!({}))?.error(403)? == "operator_only");
    let listed = own.get("/v1/admin/keys")?.expect(200)?;
    let tenants: Vec<_> = listed["keys"].as_array().into_iter().flatten().map(|key| &key["tenant"]).collect();
    ensure!(tenants.iter().all(|tenant| **tenant == "scoped"), "{listed}");
    let id = made["id"].as_str().context("no id")?;
    ensure!(world.admin.delete(&format!("/v1/admin/keys/{id}"))?.status == 204);
    ensure!(reader.get("/v1/documents")?.error(401)? == "invalid_api_key");
    ensure!(world.admin.post("/v1/admin/keys", &json!({"tenant": "a b"}))?.error(400)? == "invalid_json");
    ensure!(world.admin.post("/v1/admin/keys", &json!({"scopes": ["root"]}))?.error(400)? == "invalid_json");
    Ok(())
}

fn bad_uploads(world: &World) -> Result<()> {
    let client = world.admin.tenant("bad")?;
    ensure!(client.put("a.md", "")?.error(422)? == "empty");
    ensure!(client.put_as("a.xyz", "video/mp4", b"x")?.error(415)? == "unsupported_media_type");
    for id in ["a//b", "..", "a%2F..%2Fb", "%E4%BD%A0", "a%20b", "%ff", &"x".repeat(129), "a%2", "a%00"] {
        let reply = client.put(id, "text")?;
        // A plain `..` is resolved by the client or the runtime before it reaches a route.
        ensure!(matches!(reply.status, 400 | 404 | 405), "{id}: {} {}", reply.status, reply.text());
    }
    ensure!(client.put("foo/chunks", "text")?.error(400)? == "invalid_value");
    ensure!(client.put("foo%2Fchunks", "text")?.status == 202);
    let headers = [("content-type", "text/plain"), ("content-encoding", "gzip")];
    let zipped = client.send("PUT", "/v1/documents/a.txt", &headers, b"\x1f\x8b")?;
    ensure!(zipped.error(415)? == "unsupported_encoding");
    ensure!(client.send("HEAD", "/v1/documents", &[], b"")?.status == 200);
    let long = "t".repeat(600);
    ensure!(client.put(&format!("a.md?title={long}"), "x")?.error(400)? == "invalid_value");
    ensure!(client.put("a.md?metadata=%5B1%5D", "x")?.error(400)? == "invalid_value");
    ensure!(client.post("/v1/documents/a.md", &json!({}))?.error(405)? == "method_not_allowed");
    ensure!(client.get("/v1/documents/unknown")?.error(404)? == "not_found");
    ensure!(client.get("/v1/nothing")?.error(404)? == "not_found");
    for (id, bytes, code) in [
        ("blank.md", b" \n\t \n".as_slice(), "no_text"),
        ("noise.md", b"\0\x01\xff\xfe\x02\0\x03\x04", "unreadable"),
        ("nul.md", b"\0\0\0", "unreadable"),
    ] {
        client.put_as(id, "text/markdown", bytes)?.expect(202)?;
        let document = client.wait(id)?;
        ensure!(document["status"] == "failed" && document["error"]["code"] == code, "{document}");
    }
    // A failed replacement leaves what is served.
    client.ingest("kept.md", "The lamp burns.")?;
    client.put_as("kept.md", "text/markdown", b" \n")?.expect(202)?;
    let document = client.wait("kept.md")?;
    ensure!(document["generation"] == 1 && document["pending"]["error"]["code"] == "no_text", "{document}");
    ensure!(client.search(&json!({"query": "lamp", "mode": "keyword"}))?.len() == 1);
    Ok(())
}

fn bad_questions(world: &World) -> Result<()> {
    let client = world.admin.tenant("badq")?;
    client.ingest("a.md", GUIDE)?;
    for body in [
        json!({"query": ""}),
        json!({"query": "   "}),
        json!({"query": "x", "top_k": 100_000}),
        json!({"query": "x", "top_k": 0}),
        json!({"query": "x", "min_score": 2}),
        json!({"query": "x", "filter": []}),
        json!({"query": "x".repeat(100_000)}),
        json!({"query": "x", "filter": {"public": {"$gt": false}}}),
        json!({"query": "x", "filter": {"year": {"$eq": 1, "$in": [1]}}, "mode": "keyword"}),
    ] {
        let code = client.post("/v1/search", &body)?.error(400)?;
        ensure!(code == "invalid_value", "{code}");
    }
    for body in [
        json!({}),
        json!({"query": 1}),
        json!({"query": "x", "mode": "psychic"}),
        json!(["x", 5, "hybrid", false, null, null]),
        json!([]),
        json!({"query": "x", "top_k": -1}),
        json!({"query": "x", "unknown": 1}),
    ] {
        ensure!(client.post("/v1/search", &body)?.error(400)? == "invalid_json", "{body}");
    }
    let broken =
        client.send("POST", "/v1/search", &[("content-type", "application/json")], b"{\"query\": ")?;
    ensure!(broken.error(400)? == "invalid_json");
    let typed = client.send("POST", "/v1/search", &[("content-type", "text/plain")], b"{}")?;
    ensure!(typed.error(415)? == "unsupported_media_type");
    ensure!(client.get("/v1/search")?.error(405)? == "method_not_allowed");
    let many: String = (0..500).map(|number| format!("w{number} ")).collect();
    for query in [
        "\" OR 1=1; DROP TABLE chunks; --",
        "NEAR(a b) {x}: ^a* -b AND OR NOT",
        "\0\u{202e}",
        "a",
        many.as_str(),
    ] {
        client.search(&json!({"query": query}))?;
    }
    for body in [
        json!({"messages": []}),
        json!({"messages": [{"role": "assistant", "content": "x"}]}),
        json!({"messages": [{"role": "user", "content": " "}]}),
        json!({"messages": [{"role": "user", "content": "x"}], "max_tokens": 0}),
        json!({"messages": [{"role": "user", "content": "x"}], "top_k": 100_000}),
        json!({"messages": [{"role": "user", "content": "x"}], "temperature": -1}),
    ] {
        ensure!(client.post("/v1/chat", &body)?.error(400)? == "invalid_value", "{body}");
    }
    ensure!(
        client.post("/v1/chat", &json!({"messages": [{"role": "robot", "content": "x"}]}))?.error(400)?
            == "invalid_json"
    );
    ensure!(client.post("/v1/chat/completions", &json!({"messages": "x"}))?.error(400)? == "invalid_json");
    // Still there.
    ensure!(!client.search(&json!({"query": "fog signal"}))?.is_empty());
    Ok(())
}

fn uploads_of_one_id_at_once(world: &World) -> Result<()> {
    let client = world.admin.tenant("race")?;
    let texts: Vec<String> = (0..8).map(|number| format!("Uploader {number} wins.")).collect();
    let replies: Vec<Value> = std::thread::scope(|scope| {
        let put = |text: &String| {
            let text = text.clone();
            let client = &client;
            scope.spawn(move || client.put("race.md", &text)?.expect(202))
        };
        let started: Vec<_> = texts.iter().map(put).collect();
        started.into_iter().map(|thread| thread.join().expect("a thread panicked")).collect::<Result<_>>()
    })?;
    let mut numbers: Vec<_> = replies.iter().map(|reply| reply["pending"]["generation"].as_u64()).collect();
    numbers.sort_unstable();
    ensure!(numbers == (1..=8).map(Some).collect::<Vec<_>>(), "each is told of its own: {numbers:?}");
    let document = client.wait_for("race.md", |document| document["generation"] == 8)?;
    let text = client.get("/v1/documents/race.md/text")?.text();
    ensure!(texts.contains(&text), "{text}");
    let hits = client.search(&json!({"query": "uploader wins", "mode": "keyword"}))?;
    ensure!(hits.len() == 1 && hits[0]["text"] == text && document["bytes"] == text.len(), "{hits:?}");
    Ok(())
}

fn a_long_history_is_trimmed(world: &World) -> Result<()> {
    let client = world.admin.tenant("history")?;
    client.ingest("a.md", GUIDE)?;
    let turn = |role: &str| json!({"role": role, "content": "the fog and the lamp ".repeat(600)});
    let messages = json!([turn("user"), turn("assistant"), turn("user"), turn("assistant"),
        {"role": "user", "content": "How often does the fog signal sound?"}]);
    let body = json!({"messages": messages, "max_tokens": 8, "stream": false, "top_k": 2});
    let answer = client.post("/v1/chat", &body)?.expect(200)?;
    let degraded = answer["done"]["degraded"].as_array();
    ensure!(degraded.is_some_and(|all| all.contains(&json!("history_trimmed"))), "{answer}");
    let system = json!({"messages": [{"role": "system", "content": "s ".repeat(20_000)},
        {"role": "user", "content": "fog?"}], "max_tokens": 8});
    ensure!(client.post("/v1/chat", &system)?.error(400)? == "context_length_exceeded");
    Ok(())
}

fn a_megabyte_in_one_line(world: &World) -> Result<()> {
    let client = world.admin.tenant("line")?;
    let words = "lamp oil wick glass ".repeat(50) + "needle ";
    let line = words.repeat(8) + &"x".repeat(1_000_000 - 8 * words.len());
    ensure!(line.len() == 1_000_000);
    let document = client.ingest("line.md", &line)?;
    ensure!(document["bytes"] == 1_000_000 && document["chunk_count"].as_u64() > Some(100), "{document}");
    ensure!(!client.search(&json!({"query": "needle", "mode": "keyword"}))?.is_empty());
    Ok(())
}

fn a_body_over_the_limit(world: &World) -> Result<()> {
    let client = world.admin.tenant("large")?;
    let body = vec![b'a'; 100_000_001];
    ensure!(client.put_as("large.txt", "text/plain", &body)?.error(413)? == "too_large");
    let body = json!({"query": "x".repeat(2 * 1024 * 1024)});
    ensure!(client.post("/v1/search", &body)?.error(413)? == "too_large");
    client.get("/v1/documents")?.expect(200)?;
    Ok(())
}

/// Paid plan: 128 MB of memory, 10,000 subrequests, 1,000 D1 statements per invocation (Workers and D1 limits pages).
fn the_limits_hold(world: &World) -> Result<()> {
    let client = world.admin.tenant("limits")?;
    client.ingest("guide.md", GUIDE)?;
    client.stream("/v1/chat", &question("How often does the fog signal sound?"))?;
    let lines = world.stack.ledger()?;
    ensure!(!lines.is_empty(), "no ledger in {}", world.stack.log().display());
    let mut most = std::collections::BTreeMap::new();
    for line in &lines {
        let spent = &line["spent"];
        let within = |name: &str, limit: u64| {
            let value = spent[name].as_u64().unwrap_or(u64::MAX);
            ensure!(value <= limit, "{name} = {value} > {limit}: {line}");
            Ok(value)
        };
        let memory = within("wasm_memory_bytes", 128_000_000)?;
        within("subrequests", 10_000)?;
        within("d1_statements", 1_000)?;
        let what = line["invocation"].as_str().unwrap_or_default().to_owned();
        let what = what.split("/documents/").next().unwrap_or_default().to_owned();
        let entry = most.entry(what).or_insert((0, Value::Null));
        if memory >= entry.0 {
            *entry = (memory, spent.clone());
        }
    }
    for (what, (_, spent)) in most {
        eprintln!("ledger {what}: {spent}");
    }
    Ok(())
}
