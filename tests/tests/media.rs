//! Images and recordings: models read them where the settings say so. The twin has no such models: its faults answer for
//! them with what fixtures/wire has recorded, and without these it says what it lacks.

mod shared;

use anyhow::{Context, Result, ensure};
use ragflare_tests::{Case, Client, run};
use serde_json::{Value, json};
use shared::{Twin, sum};
use std::fs;
use std::process::ExitCode;
use std::sync::{Mutex, PoisonError};
use xtask::{Stack, StackOptions, paths};

const VISION: &str = "@cf/google/gemma-4-26b-a4b-it";
const SPEECH: &str = "@cf/openai/whisper-large-v3-turbo";
const PNG: &[u8] = b"\x89PNG\r\n\x1a\n\0\0\0\rIHDR\0\0\0\x01\0\0\0\x01\x08\x02\0\0\0";
/// Bytes of a second of a recording of 8 kHz: a part has at most 4 MB.
const SPEAKING: u32 = 16_000;
/// And of one of 500 Hz: a part has at most 600 seconds, which cost 466 neurons.
const HUMMING: u32 = 1_000;
/// What a tenant may spend here in a day.
const NEURONS: f64 = 5000.0;

struct World {
    stack: Stack,
    admin: Client,
    twin: Twin,
    turn: Mutex<()>,
}

impl World {
    fn start() -> Result<Self> {
        let settings = json!({
            "search": {"rerank_model": "ms-marco-MiniLM-L-12-v2", "rerank_timeout_ms": 60_000},
            "answer": {"min_relevance": 0.0},
            "limits": {"neurons_per_day": NEURONS},
            "ingest": {
                "image": {"with": "vision", "model": VISION},
                "audio": {"with": "whisper", "language": "en"},
                "to_markdown": ["csv"],
            },
        });
        let stack = start("media", &settings)?;
        let admin = Client::new(&stack.url).with_key(&stack.admin_key);
        let twin = Twin::new(&stack.twin_url);
        Ok(Self { stack, admin, twin, turn: Mutex::default() })
    }

    /// Does something under rules that no other case sees.
    fn under<T>(&self, rules: &Value, work: impl FnOnce() -> Result<T>) -> Result<T> {
        let _turn = self.turn.lock().unwrap_or_else(PoisonError::into_inner);
        self.twin.faults(rules)?;
        self.twin.reset_stats()?;
        let done = work();
        self.twin.faults(&json!([]))?;
        done
    }

    /// Calls of a model since the rules were set.
    fn calls(&self) -> Result<u64> {
        Ok(sum(&self.twin.stats()?["ai"]["run"]))
    }
}

fn start(name: &str, settings: &Value) -> Result<Stack> {
    let options = StackOptions { fresh: true, ..StackOptions::new(format!("target/tests/{name}")) };
    Stack::start(&options.var("SETTINGS", &settings.to_string()))
}

fn main() -> ExitCode {
    let cases: &[Case<World>] = &[
        ("what is seen in an image is found and cited", an_image),
        ("a long recording is heard in parts", a_recording),
        ("a recording of more parts than an invocation hears", many_parts),
        ("a part that can't be heard fails the recording", a_part_fails),
        ("a part whose replies make no sense fails it after three, which are paid", a_garbled_part),
        ("an image of more text than the model may write says so", a_long_image),
        ("a licence not agreed to is waited for", a_licence),
        ("a recording in a format that is not cut", an_uncut_recording),
        ("the day's neurons bound what is heard", a_limit),
        ("toMarkdown reads what it is handed", markdown),
        ("the twin says what it lacks", what_the_twin_lacks),
        ("without the settings both are refused", refused),
    ];
    run(World::start, cases)
}

/// The reply of a recorded exchange.
fn recorded(name: &str) -> Result<Value> {
    let text = fs::read_to_string(paths::checkout().join("fixtures/wire").join(name))?;
    let (_, reply) = text.split_once("\n\n").context("no reply")?;
    Ok(serde_json::from_str(reply)?)
}

fn replies(model: &str, reply: &Value) -> Value {
    json!({"match": {"service": "ai", "op": "run", "model": model}, "times": 1, "action": {"reply": reply}})
}

/// A recording of so many bytes of sound, none of which is heard: 16 bits, one channel.
fn wav(second: u32, bytes: usize) -> Vec<u8> {
    let mut file = b"RIFF".to_vec();
    file.extend((bytes as u32 + 36).to_le_bytes());
    file.extend(b"WAVEfmt \x10\0\0\0\x01\0\x01\0");
    file.extend((second / 2).to_le_bytes());
    file.extend(second.to_le_bytes());
    file.extend(b"\x02\0\x10\0data");
    file.extend((bytes as u32).to_le_bytes());
    file.resize(44 + bytes, 0);
    file
}

fn searchable(client: &Client, id: &str) -> Result<()> {
    let document = client.wait(id)?;
    ensure!(matches!(document["status"].as_str(), Some("searchable" | "indexed")), "{document}");
    Ok(())
}

fn failed(client: &Client, id: &str, media_type: &str, bytes: &[u8], code: &str) -> Result<String> {
    let reply = client.put_as(id, media_type, bytes)?;
    ensure!(reply.status == 202, "{id}: {} {}", reply.status, reply.text());
    let document = client.wait(id)?;
    ensure!(document["status"] == "failed" && document["error"]["code"] == code, "{document}");
    Ok(document["error"]["message"].as_str().unwrap_or_default().to_owned())
}

/// The first citation of an answer that says this, to this question.
fn citation(client: &Client, question: &str) -> Result<Value> {
    let body = json!({"messages": [{"role": "user", "content": question}], "top_k": 1, "stream": false, "max_tokens": 100});
    let reply = client.post("/v1/chat", &body)?.expect(200)?;
    let citation = reply["citations"][0].clone();
    ensure!(citation.is_object(), "nothing is cited: {reply}");
    Ok(citation)
}

fn says(answer: &str) -> Value {
    json!({"match": {"service": "ai", "op": "chat"}, "action": {"answer": answer}})
}

fn an_image(world: &World) -> Result<()> {
    let client = world.admin.tenant("seeing")?;
    let reply = recorded("ai-vision-openai.txt")?;
    let rules = json!([replies(VISION, &reply), says("The cone is hoisted at 990 hPa [S1].")]);
    let cited = world.under(&rules, || {
        let put = client.put_as("signals/cone.png", "image/png", PNG)?;
        ensure!(put.status == 202, "{} {}", put.status, put.text());
        searchable(&client, "signals/cone.png")?;
        citation(&client, "When is the cone hoisted?")
    })?;
    ensure!(cited["document_id"] == "signals/cone.png", "{cited}");
    ensure!(cited["headings"] == json!(["cone.png", "Storm signals"]), "{cited}");
    let text = client.get("/v1/documents/signals%2Fcone.png/text")?.text();
    ensure!(text == "# cone.png\n\n## Storm signals\n\nHoist the cone at 990 hPa.\n", "{text}");
    let original = client.get("/v1/documents/signals%2Fcone.png/content")?;
    ensure!(original.bytes == PNG && original.header("content-type") == Some("image/png"));
    Ok(())
}

fn a_recording(world: &World) -> Result<()> {
    let client = world.admin.tenant("hearing")?;
    let first = recorded("ai-whisper-turbo.txt")?;
    let second = json!({
        "transcription_info": {"language": "en", "duration": 62.5},
        "text": "The relief boat came in at noon. She brought a new mantle.",
        "segments": [
            {"start": 1.0, "end": 4.5, "text": " The keeper sleeps."},
            {"start": 40.0, "end": 44.0, "text": " The relief boat came in at noon."},
        ],
    });
    let busy = json!({"match": {"service": "ai", "op": "run", "model": SPEECH}, "times": 1, "action": {"error": {"code": 3040}}});
    let rules = json!([
        replies(SPEECH, &first),
        busy,
        replies(SPEECH, &second),
        says("The relief boat came in at noon [S1]."),
    ]);
    let (calls, cited) = world.under(&rules, || {
        // 250 seconds fit into a part of 4 MB.
        let put = client.put_as("log.wav", "audio/wav", &wav(SPEAKING, 5_000_000))?;
        ensure!(put.status == 202, "{} {}", put.status, put.text());
        searchable(&client, "log.wav")?;
        Ok((world.calls()?, citation(&client, "When did the relief boat come in?")?))
    })?;
    ensure!(calls == 3, "{calls} calls for two parts, one of which had to be sent twice");
    let text = client.get("/v1/documents/log.wav/text")?.text();
    let expected = "# log.wav\n\n[00:00:00] The lamp was lit at dusk. The wind is from the north.\n\n\
        [00:00:17] At four the storm cone was hoisted.\n\n[00:04:10] The keeper sleeps.\n\n\
        [00:04:49] The relief boat came in at noon.\n";
    ensure!(text == expected, "{text}");
    // Whoever wants to hear it knows where.
    let sentence = cited["sentence"]["text"].as_str().unwrap_or_default();
    ensure!(
        cited["document_id"] == "log.wav" && sentence.starts_with("[00:04:49] The relief boat"),
        "{cited}"
    );
    Ok(())
}

fn a_part_fails(world: &World) -> Result<()> {
    let client = world.admin.tenant("deaf")?;
    let invalid = json!({"match": {"service": "ai", "op": "run", "model": SPEECH}, "action": {"error": {"code": 5004}}});
    let rules = json!([replies(SPEECH, &recorded("ai-whisper-turbo.txt")?), invalid]);
    world.under(&rules, || {
        failed(&client, "log.wav", "audio/wav", &wav(SPEAKING, 5_000_000), "speech_5004")?;
        ensure!(world.calls()? == 2, "invalid data stays invalid");
        Ok(())
    })?;
    let silence = json!({"text": "", "segments": [], "transcription_info": {"duration": 2.0}});
    world.under(&json!([replies(SPEECH, &silence)]), || {
        let why = failed(&client, "silence.wav", "audio/wav", &wav(SPEAKING, 32_000), "no_text")?;
        ensure!(why.contains("no speech"), "{why}");
        Ok(())
    })?;
    let why = failed(&client, "broken.wav", "audio/wav", b"RIFF\x24\0\0\0WAVEfmt \x10\0\0\0", "unreadable")?;
    ensure!(why.contains("WAV"), "{why}");
    Ok(())
}

fn a_garbled_part(world: &World) -> Result<()> {
    let client = world.admin.tenant("garbled")?;
    let reply = |reply: &Value| json!([{"match": {"service": "ai", "op": "run", "model": SPEECH}, "action": {"reply": reply}}]);
    world.under(&reply(&json!({"segments": []})), || {
        let recording = wav(HUMMING, 600_000);
        let why = failed(&client, "garbled.wav", "audio/wav", &recording, "speech_failed")?;
        ensure!(why.contains("failed 3 times") && why.contains("malformed"), "{why}");
        let calls = world.calls()?;
        ensure!(calls == 3, "{calls} calls");
        Ok(())
    })?;
    // Three of ten parts that a day's neurons are enough for are paid.
    world.under(&reply(&recorded("ai-whisper-turbo.txt")?), || {
        client.put_as("later.wav", "audio/wav", &wav(HUMMING, 8 * 600_000))?;
        let document = client.wait_for("later.wav", |document| document["pending"]["waiting"].is_object())?;
        ensure!(document["pending"]["waiting"]["code"] == "daily_allowance_used_up", "{document}");
        let calls = world.calls()?;
        ensure!(calls == 7, "{calls} calls");
        Ok(())
    })
}

fn a_long_image(world: &World) -> Result<()> {
    let client = world.admin.tenant("dense")?;
    let mut reply = recorded("ai-vision-openai.txt")?;
    reply["choices"][0]["finish_reason"] = "length".into();
    world.under(&json!([replies(VISION, &reply)]), || {
        let why = failed(&client, "dense.png", "image/png", PNG, "image_too_long")?;
        ensure!(why.contains("`ingest.image.max_tokens` is 1024"), "{why}");
        Ok(())
    })
}

fn a_licence(world: &World) -> Result<()> {
    let client = world.admin.tenant("licensed")?;
    let refusal = json!({"match": {"service": "ai", "op": "run", "model": VISION}, "times": 1, "action": {"error": {"code": 5016}}});
    let rules = json!([refusal, replies(VISION, &recorded("ai-vision-openai.txt")?)]);
    world.under(&rules, || {
        let put = client.put_as("cone.png", "image/png", PNG)?;
        ensure!(put.status == 202, "{} {}", put.status, put.text());
        let document = client.wait_for("cone.png", |document| document["pending"]["waiting"].is_object())?;
        ensure!(document["pending"]["waiting"]["code"] == "vision_refused", "{document}");
        searchable(&client, "cone.png")
    })
}

fn an_uncut_recording(world: &World) -> Result<()> {
    let client = world.admin.tenant("uncut")?;
    let mut ogg = b"OggS\0\x02".to_vec();
    ogg.resize(20_000, 0);
    world.under(&json!([replies(SPEECH, &recorded("ai-whisper-turbo.txt")?)]), || {
        let put = client.put_as("note.ogg", "audio/ogg", &ogg)?;
        ensure!(put.status == 202, "{} {}", put.status, put.text());
        searchable(&client, "note.ogg")
    })?;
    let hits = client.search(&json!({"query": "storm cone hoisted", "mode": "keyword"}))?;
    ensure!(hits.first().is_some_and(|hit| hit["document_id"] == "note.ogg"), "{hits:?}");
    ogg.resize(7_000_001, 0);
    let why = failed(&client, "long.ogg", "audio/ogg", &ogg, "too_large")?;
    ensure!(why.contains("only WAV and MP3"), "{why}");
    Ok(())
}

fn a_limit(world: &World) -> Result<()> {
    let client = world.admin.tenant("thrifty")?;
    let reply = recorded("ai-whisper-turbo.txt")?;
    let heard =
        json!([{"match": {"service": "ai", "op": "run", "model": SPEECH}, "action": {"reply": reply}}]);
    world.under(&heard, || {
        let recording = wav(HUMMING, 6 * 600_000);
        client.put_as("first.wav", "audio/wav", &recording)?;
        searchable(&client, "first.wav")?;
        client.put_as("second.wav", "audio/wav", &recording)?;
        let document =
            client.wait_for("second.wav", |document| document["pending"]["waiting"].is_object())?;
        let waiting = &document["pending"]["waiting"];
        ensure!(waiting["code"] == "daily_allowance_used_up", "{document}");
        ensure!(waiting["message"].as_str().is_some_and(|text| text.contains("neurons")), "{document}");
        let calls = world.calls()?;
        ensure!(calls == 10, "{calls} parts of 466 neurons for a day's {NEURONS}");
        Ok(())
    })
}

fn many_parts(world: &World) -> Result<()> {
    let client = world.admin.tenant("patient")?;
    let reply = json!({"text": "", "segments": [{"start": 1.5, "end": 3.0, "text": " The hour strikes."}]});
    let heard =
        json!([{"match": {"service": "ai", "op": "run", "model": SPEECH}, "action": {"reply": reply}}]);
    world.under(&heard, || {
        // An invocation hears eight parts.
        client.put_as("clock.wav", "audio/wav", &wav(HUMMING, 9 * 600_000))?;
        searchable(&client, "clock.wav")?;
        let calls = world.calls()?;
        ensure!(calls == 9, "{calls} calls for nine parts");
        let text = client.get("/v1/documents/clock.wav/text")?.text();
        let said = text.matches("The hour strikes.").count();
        ensure!(said == 9 && text.ends_with("[01:20:01] The hour strikes.\n"), "{text}");
        Ok(())
    })
}

fn markdown(world: &World) -> Result<()> {
    let client = world.admin.tenant("handed")?;
    let converted = json!([{"id": "1", "name": "stores.csv", "mimeType": "text/csv", "format": "markdown", "tokens": 9,
        "data": "| item | shelf |\n| --- | --- |\n| mantle | B7 |\n"}]);
    let refusal = json!([{"id": "2", "name": "other.csv", "mimeType": "text/csv", "format": "error", "error": "no rows"}]);
    let rule = |reply: &Value| json!({"match": {"service": "ai", "op": "toMarkdown"}, "times": 1, "action": {"reply": reply}});
    world.under(&json!([rule(&converted), rule(&refusal)]), || {
        client.put_as("stores.csv", "text/csv", b"item,shelf\nmantle,B7\n")?;
        searchable(&client, "stores.csv")?;
        let why = failed(&client, "other.csv", "text/csv", b"item,shelf\n", "unreadable")?;
        ensure!(why.contains("no rows"), "{why}");
        // Tabs are no CSV: the converter reads them.
        client.put_as("stores.tsv", "text/tab-separated-values", b"item\tshelf\nwick\tC2\n")?;
        searchable(&client, "stores.tsv")
    })?;
    let text = client.get("/v1/documents/stores.csv/text")?.text();
    ensure!(text.contains("| mantle | B7 |"), "{text}");
    Ok(())
}

fn what_the_twin_lacks(world: &World) -> Result<()> {
    let client = world.admin.tenant("lacking")?;
    world.under(&json!([]), || {
        for (id, media_type, bytes, code, says) in [
            ("a.png", "image/png", PNG.to_vec(), "vision_5007", "the twin has no vision models"),
            ("a.wav", "audio/wav", wav(SPEAKING, 16_000), "speech_5007", "the twin has no speech models"),
            (
                "a.csv",
                "text/csv",
                b"a,b\n1,2\n".to_vec(),
                "to_markdown_5007",
                "The twin has no Markdown conversion",
            ),
        ] {
            let why = failed(&client, id, media_type, &bytes, code)?;
            ensure!(why.contains(says), "{why}");
        }
        Ok(())
    })
}

fn refused(world: &World) -> Result<()> {
    let stack = start("media-refused", &json!({}))?;
    ensure!(stack.url != world.stack.url);
    let client = Client::new(&stack.url).with_key(&stack.admin_key).tenant("refused")?;
    for (id, media_type, bytes, setting) in [
        ("a.png", "image/png", PNG.to_vec(), "ingest.image"),
        ("a.wav", "audio/wav", wav(SPEAKING, 16_000), "ingest.audio"),
    ] {
        let reply = client.put_as(id, media_type, &bytes)?;
        ensure!(
            reply.error(415)? == "unsupported_media_type" && reply.text().contains(setting),
            "{}",
            reply.text()
        );
        let why = failed(&client, id, "application/octet-stream", &bytes, "unsupported_type")?;
        ensure!(why.contains(setting), "{why}");
    }
    let reply = client.put_as("a.mp4", "video/mp4", b"\0\0\0\x20ftypisom")?;
    ensure!(reply.error(415)? == "unsupported_media_type");
    Ok(())
}
