use super::*;

fn read(body: &str) -> Generation {
    Generation::from_wire(body, None).unwrap()
}

#[test]
fn native_replies_of_every_type() {
    for (body, text) in [
        (r#"{"response":"hello"}"#, "hello"),
        (r#"{"response":null}"#, ""),
        (r#"{"response":42}"#, "42"),
        (r#"{"response":{"a":1}}"#, r#"{"a":1}"#),
        (r#"{"response":["x"]}"#, r#"["x"]"#),
    ] {
        assert_eq!(read(body).text, text, "{body}");
    }
}

#[test]
fn native_tool_calls_and_usage() {
    let generation = read(
        r#"{"response":null,"tool_calls":[{"name":"add","arguments":{"a":1}}],
            "usage":{"prompt_tokens":10,"completion_tokens":2,"total_tokens":12,"neurons":0.5,
            "prompt_tokens_details":{"cached_tokens":4}}}"#,
    );
    let call = ToolCall { id: None, name: "add".into(), arguments: json!({ "a": 1 }) };
    assert_eq!(generation.tool_calls, [call]);
    let usage = generation.usage.unwrap();
    assert_eq!((usage.prompt_tokens, usage.completion_tokens, usage.total_tokens), (10, 2, 12));
    assert_eq!((usage.cached_tokens, usage.neurons), (Some(4), Some(0.5)));
}

#[test]
fn openai_replies() {
    let generation = read(
        r#"{"choices":[{"message":{"role":"assistant","content":"hi","tool_calls":[
            {"id":"c1","type":"function","function":{"name":"add","arguments":"{\"a\":1}"}},
            {"id":"c2","type":"function","function":{"name":"raw","arguments":"not json"}}]},
            "finish_reason":"tool_calls"}],"usage":{"prompt_tokens":3,"completion_tokens":1}}"#,
    );
    assert_eq!((generation.text.as_str(), generation.finish_reason), ("hi", Some(FinishReason::ToolCalls)));
    assert_eq!(generation.tool_calls[0].arguments, json!({ "a": 1 }));
    assert_eq!(generation.tool_calls[1].arguments, json!("not json"));
    assert_eq!(generation.usage.unwrap().total_tokens, 4);
}

#[test]
fn openai_content_may_be_null_or_parts() {
    assert_eq!(read(r#"{"choices":[{"message":{"content":null}}]}"#).text, "");
    let parts =
        r#"{"choices":[{"message":{"content":[{"type":"text","text":"a"},{"type":"text","text":"b"}]}}]}"#;
    assert_eq!(read(parts).text, "ab");
}

#[test]
fn an_error_inside_a_200_is_an_error() {
    let error = Generation::from_wire(r#"{"errors":[{"code":3040,"message":"full"}]}"#, None).unwrap_err();
    assert_eq!(error.code(), Some(3040));
}

#[test]
fn other_replies_are_malformed() {
    for body in ["", "hello", "[]", "{}", r#"{"request_id":"later"}"#, r#"{"response":"cut"#] {
        let error = Generation::from_wire(body, Some("r".into())).unwrap_err();
        assert!(matches!(error, AiError::Malformed { request_id: Some(_), .. }), "{body}: {error}");
    }
}

#[test]
fn the_request_sends_max_tokens_and_nothing_unset() {
    let request = GenerationRequest::new(vec![Message::user("hi")], 512);
    let expected = json!({ "messages": [{ "role": "user", "content": "hi" }], "max_tokens": 512 });
    assert_eq!(serde_json::from_str::<Value>(&request.to_wire(false).unwrap()).unwrap(), expected);
    let streamed: Value = serde_json::from_str(&request.to_wire(true).unwrap()).unwrap();
    assert_eq!(streamed["stream"], json!(true));
}

#[test]
fn the_request_sends_everything_set() {
    let mut request = GenerationRequest::new(vec![Message::user("hi")], 1);
    request.temperature = Some(0.2);
    request.seed = Some(7);
    request.response_format = Some(ResponseFormat::JsonSchema(json!({ "type": "object" })));
    let (name, description) = ("add".into(), "adds".into());
    request.tools = vec![Tool::Function { name, description, parameters: json!({}) }];
    request.extra.insert("lora".into(), json!("mine"));
    let mut assistant = Message::assistant("");
    let call = ToolCall { id: Some("c".into()), name: "add".into(), arguments: json!({ "a": 1 }) };
    assistant.tool_calls = vec![call];
    request.messages.push(assistant);
    let wire: Value = serde_json::from_str(&request.to_wire(false).unwrap()).unwrap();
    assert_eq!(wire["temperature"], json!(0.2));
    assert_eq!(wire["seed"], json!(7));
    assert_eq!(wire["lora"], json!("mine"));
    assert_eq!(
        wire["response_format"],
        json!({ "type": "json_schema", "json_schema": { "type": "object" } })
    );
    let function = json!({ "name": "add", "description": "adds", "parameters": {} });
    assert_eq!(wire["tools"], json!([{ "type": "function", "function": function }]));
    let call =
        json!({ "id": "c", "type": "function", "function": { "name": "add", "arguments": "{\"a\":1}" } });
    assert_eq!(wire["messages"][1]["tool_calls"], json!([call]));
}

#[test]
fn json_mode_without_a_schema() {
    assert_eq!(serde_json::to_value(ResponseFormat::JsonObject).unwrap(), json!({ "type": "json_object" }));
}

#[test]
fn requests_that_cannot_be_right_are_refused() {
    assert!(GenerationRequest::new(vec![], 10).to_wire(false).is_err());
    assert!(GenerationRequest::new(vec![Message::user("x")], 0).to_wire(false).is_err());
}

#[test]
fn finish_reasons() {
    let read = |text: &str| FinishReason::from_wire(&json!(text));
    assert_eq!(read("length"), Some(FinishReason::Length));
    assert_eq!(read("odd"), Some(FinishReason::Other("odd".into())));
    assert_eq!(read(""), None);
    assert_eq!(FinishReason::from_wire(&Value::Null), None);
    assert_eq!(serde_json::to_value(FinishReason::Other("odd".into())).unwrap(), json!("odd"));
}
