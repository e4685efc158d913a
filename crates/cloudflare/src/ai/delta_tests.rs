use super::*;
use serde_json::json;

type Outcome = (Vec<StreamEvent>, Result<(), AiError>);

fn decode(chunks: &[&[u8]]) -> Outcome {
    let (mut decoder, mut events) = (StreamDecoder::new(None), Vec::new());
    for chunk in chunks {
        if let Err(error) = decoder.feed(chunk, &mut events) {
            return (events, Err(error));
        }
    }
    let end = decoder.finish(&mut events);
    (events, end)
}

fn fixture(name: &str) -> Vec<u8> {
    std::fs::read(format!("{}/../../fixtures/wire/{name}", env!("CARGO_MANIFEST_DIR"))).unwrap()
}

fn text(events: &[StreamEvent]) -> String {
    events
        .iter()
        .filter_map(|event| if let StreamEvent::Delta(text) = event { Some(&**text) } else { None })
        .collect()
}

fn done(finish_reason: Option<FinishReason>, truncated: bool) -> StreamEvent {
    StreamEvent::Done { finish_reason, truncated }
}

#[test]
fn the_native_transcript_reads_the_same_however_it_is_cut() {
    let bytes = fixture("sse-native.txt");
    let whole = decode(&[&bytes]);
    assert_eq!(whole.1, Ok(()));
    assert_eq!(text(&whole.0), "Hello, Zürich 😀 42!");
    let usage = Usage { prompt_tokens: 418, completion_tokens: 41, total_tokens: 459, ..Usage::default() };
    assert_eq!(whole.0[whole.0.len() - 2..], [StreamEvent::Usage(usage), done(None, false)]);
    for at in 0..=bytes.len() {
        assert_eq!(decode(&[&bytes[..at], &bytes[at..]]), whole, "cut at {at}");
    }
    let single: Vec<&[u8]> = bytes.chunks(1).collect();
    assert_eq!(decode(&single), whole);
}

#[test]
fn the_openai_transcript() {
    let (events, end) = decode(&[&fixture("sse-openai.txt")]);
    assert_eq!((text(&events).as_str(), end), ("Hello there", Ok(())));
    assert!(matches!(events[events.len() - 2], StreamEvent::Usage(Usage { total_tokens: 12, .. })));
    assert_eq!(events.last(), Some(&done(Some(FinishReason::Stop), false)));
}

#[test]
fn tool_calls_come_once_and_whole() {
    let (events, _) = decode(&[&fixture("sse-openai-tools.txt")]);
    let call =
        |id: &str, name: &str, arguments| ToolCall { id: Some(id.into()), name: name.into(), arguments };
    let calls = vec![call("c0", "search", json!({ "q": "rust" })), call("c1", "now", Value::Null)];
    assert_eq!(events, [StreamEvent::ToolCalls(calls), done(Some(FinishReason::ToolCalls), false)]);
}

#[test]
fn native_tool_calls_are_whole_already() {
    let stream = b"data: {\"response\":null,\"tool_calls\":[{\"name\":\"a\",\"arguments\":{\"x\":1}}]}\n\ndata: [DONE]\n\n";
    let (events, _) = decode(&[stream]);
    let call = ToolCall { id: None, name: "a".into(), arguments: json!({ "x": 1 }) };
    assert_eq!(events, [StreamEvent::ToolCalls(vec![call]), done(None, false)]);
}

#[test]
fn a_cut_stream_is_marked_truncated_wherever_the_cut_is() {
    let bytes = fixture("sse-native.txt");
    let mark = bytes.windows(6).position(|window| window == b"[DONE]").unwrap();
    for at in 0..mark {
        let (events, end) = decode(&[&bytes[..at]]);
        assert_eq!(end, Ok(()), "cut at {at}");
        assert_eq!(events.last(), Some(&done(None, true)), "cut at {at}");
    }
    let (events, _) = decode(&[&bytes[..mark + 6]]);
    assert_eq!(events.last(), Some(&done(None, false)), "the mark needs no empty line after it");
}

#[test]
fn the_finish_reason_survives_a_missing_mark() {
    let (events, _) = decode(&[
        b"data: {\"response\":\"a\",\"finish_reason\":\"length\"}\n\ndata: {\"response\":\"\"}\n\n",
    ]);
    assert_eq!(events.last(), Some(&done(Some(FinishReason::Length), true)));
}

#[test]
fn errors_inside_the_stream_keep_what_came_before() {
    for (data, code) in [
        (r#"{"error":"AiError: 3040: Capacity temporarily exceeded"}"#, Some(3040)),
        (r#"{"errors":[{"code":3046,"message":"Request timeout"}]}"#, Some(3046)),
        (r#"{"internalCode":3007,"description":"Timeout"}"#, Some(3007)),
        (r#"{"error":{"message":"broken"}}"#, None),
        ("AiError: 3040: full", Some(3040)),
    ] {
        let stream =
            format!("data: {{\"response\":\"a\"}}\n\ndata: {data}\n\ndata: {{\"response\":\"b\"}}\n\n");
        let (events, end) = decode(&[stream.as_bytes()]);
        assert_eq!(events, [StreamEvent::Delta("a".into())], "{data}");
        assert!(matches!(&end, Err(AiError::Platform { code: found, .. }) if *found == code), "{end:?}");
    }
}

#[test]
fn data_of_no_known_shape_is_an_error() {
    let (_, end) = decode(&[b"data: <html>\n\n"]);
    assert!(matches!(end, Err(AiError::Malformed { what: "stream", .. })));
}

#[test]
fn padding_comments_and_unknown_chunks_give_nothing() {
    let stream = b": hi\n\ndata: {\"p\":\"abcdef\"}\n\ndata: {}\n\ndata: {\"response\":\"\"}\n\ndata: {\"choices\":[]}\n\ndata:\n\ndata: 7\n\ndata: [DONE]\n\n";
    assert_eq!(decode(&[stream]), (vec![done(None, false)], Ok(())));
}

#[test]
fn nothing_follows_the_mark() {
    let (events, _) =
        decode(&[b"data: [DONE]\n\ndata: {\"response\":\"late\"}\n\n", b"data: {\"error\":\"late\"}\n\n"]);
    assert_eq!(events, [done(None, false)]);
}

#[test]
fn text_in_both_shapes_is_given_once() {
    let (events, _) =
        decode(&[b"data: {\"response\":\"a\",\"choices\":[{\"delta\":{\"content\":\"a\"}}]}\n\n"]);
    assert_eq!(text(&events), "a");
}

#[test]
fn a_hostile_tool_index_is_ignored() {
    let (events, _) = decode(&[
        b"data: {\"tool_calls\":[{\"index\":4000000000,\"function\":{\"name\":\"x\"}}]}\n\ndata: [DONE]\n\n",
    ]);
    assert_eq!(events, [done(None, false)]);
}

#[test]
fn a_whole_reply_becomes_the_same_events() {
    let generation = Generation { text: "hi".into(), ..Generation::default() };
    assert_eq!(events_of(generation), [StreamEvent::Delta("hi".into()), done(None, false)]);
}
