//! The wire of both services, without models: errors, Vectorize, control routes, and HTTP as the runtime speaks it.
#![allow(clippy::unwrap_used, reason = "a failed unwrap is a failed test")]

use std::sync::Arc;
use std::time::Duration;

use axum::body::Body;
use axum::http::{Request, Response};
use futures::StreamExt;
use ragflare_local::VectorStore;
use ragflare_local::ai::Ai;
use ragflare_local::server::{Twin, router, serve};
use ragflare_local::vectorize::store::{FieldType, IndexConfig, Metric};
use serde_json::{Value, json};
use tower::ServiceExt;

struct Bench {
    twin: Arc<Twin>,
    _folder: tempfile::TempDir,
}

impl Bench {
    fn new() -> Self {
        let folder = tempfile::tempdir().unwrap();
        let store = VectorStore::open(&folder.path().join("v.redb"), Duration::from_hours(1)).unwrap();
        let metadata_indexes = [("lang".to_owned(), FieldType::String)].into();
        store
            .create_index("a", &IndexConfig { dimensions: 3, metric: Metric::Cosine, metadata_indexes })
            .unwrap();
        let plain = IndexConfig { dimensions: 2, metric: Metric::Euclidean, metadata_indexes: [].into() };
        store.create_index("b", &plain).unwrap();
        Self { twin: Arc::new(Twin::new(Ai::default(), store)), _folder: folder }
    }

    async fn send(&self, request: Request<Body>) -> Response<Body> {
        router(Arc::clone(&self.twin)).oneshot(request).await.unwrap()
    }

    async fn call(
        &self,
        method: &str,
        path: &str,
        headers: &[(&str, &str)],
        body: impl Into<String>,
    ) -> (u16, Value) {
        let mut request = Request::builder().method(method).uri(path);
        for (name, value) in headers {
            request = request.header(*name, *value);
        }
        let response = self.send(request.body(Body::from(body.into())).unwrap()).await;
        assert_eq!(response.headers()["content-type"], "application/json", "{method} {path}");
        let status = response.status().as_u16();
        let bytes = axum::body::to_bytes(response.into_body(), usize::MAX).await.unwrap();
        (status, serde_json::from_slice(&bytes).unwrap())
    }

    async fn vectorize(&self, operation: &str, body: impl Into<String>) -> (u16, Value) {
        self.call("POST", &format!("/{operation}"), &[], body).await
    }

    async fn code(&self, operation: &str, body: impl Into<String>) -> (u16, u64) {
        let (status, error) = self.vectorize(operation, body).await;
        assert!(error["error"].is_string(), "{error}");
        (status, error["code"].as_u64().unwrap())
    }

    async fn ai(&self, model: &str, body: impl Into<String>) -> (u16, Value) {
        self.call("POST", "/run?version=3", &[("cf-consn-model-id", model)], body).await
    }
}

#[tokio::test]
async fn vectors_go_in_and_come_out() {
    let bench = Bench::new();
    let lines = [
        r#"{"id":"x","values":[1,0,0],"namespace":"n","metadata":{"lang":"en","more":true}}"#,
        r#"{"id":"y","values":[0,1,0],"metadata":{"lang":"de"}}"#,
    ]
    .join("\n");
    let (status, reply) = bench.vectorize("upsert", lines).await;
    assert_eq!(status, 200);
    let mutation = reply["mutationId"].as_str().unwrap().to_owned();

    let before = bench.vectorize("query", json!({"vector": [1, 0, 0]}).to_string()).await;
    assert_eq!(before, (200, json!({"count": 0, "matches": []})));
    let (_, info) = bench.call("GET", "/info", &[], "").await;
    assert_eq!((&info["vectorCount"], &info["processedUpToMutation"]), (&json!(0), &Value::Null));

    assert_eq!(bench.call("POST", "/control/flush", &[], "").await, (200, json!({"applied": 1})));
    let (_, info) = bench.call("GET", "/info", &[], "").await;
    assert_eq!((&info["vectorCount"], &info["dimensions"]), (&json!(2), &json!(3)));
    assert_eq!(info["processedUpToMutation"], json!(mutation));

    let query = json!({"vector": [1, 0, 0], "topK": 1, "returnMetadata": "all", "returnValues": true});
    let (_, found) = bench.vectorize("query", query.to_string()).await;
    let expected = json!({"count": 1, "matches": [{
        "id": "x", "score": 1.0, "values": [1.0, 0.0, 0.0], "namespace": "n", "metadata": {"lang": "en", "more": true}
    }]});
    assert_eq!(found, expected);
    let query = json!({"vectorId": "x", "filter": {"lang": {"$ne": "en"}}});
    let (_, found) = bench.vectorize("query", query.to_string()).await;
    assert_eq!(found["matches"][0]["id"], "y");

    let (_, got) = bench.vectorize("getByIds", r#"{"ids":["y","nothing"]}"#).await;
    assert_eq!(got, json!([{"id": "y", "values": [0.0, 1.0, 0.0], "metadata": {"lang": "de"}}]));
    assert_eq!(bench.vectorize("deleteByIds", r#"{"ids":["y"]}"#).await.0, 200);
    bench.call("POST", "/control/flush", &[], "").await;
    assert_eq!(bench.call("GET", "/control/indexes/a/ids", &[], "").await.1, json!({"ids": ["x"]}));
}

#[tokio::test]
async fn the_header_chooses_the_index() {
    let bench = Bench::new();
    let (_, info) = bench.call("GET", "/info", &[("x-ragflare-index", "b")], "").await;
    assert_eq!(info["dimensions"], 2);
    let (status, error) = bench.call("GET", "/info", &[("x-ragflare-index", "c")], "").await;
    assert_eq!((status, &error["code"]), (404, &json!(3000)));
    let settings =
        json!({"dimensions": 5, "metric": "dot-product", "metadata_indexes": {"n": "number"}}).to_string();
    let (status, config) = bench.call("PUT", "/control/indexes/c", &[], settings.clone()).await;
    assert_eq!((status, &config["metric"]), (200, &json!("dot-product")));
    let (_, info) = bench.call("GET", "/info", &[("x-ragflare-index", "c")], "").await;
    assert_eq!(info["dimensions"], 5);
    let other = settings.replace('5', "6");
    assert_eq!(bench.call("PUT", "/control/indexes/c", &[], other).await.0, 409);
}

#[tokio::test]
async fn vectorize_errors_carry_their_codes() {
    let bench = Bench::new();
    let query = |extra: Value| {
        let mut query = json!({"vector": [1, 0, 0]});
        query.as_object_mut().unwrap().extend(extra.as_object().unwrap().clone());
        query.to_string()
    };
    for (operation, body, code) in [
        ("query", json!({"vector": [1, 0]}).to_string(), 40006),
        ("query", query(json!({"topK": 101})), 40025),
        ("query", query(json!({"topK": 51, "returnMetadata": "all"})), 40025),
        ("query", query(json!({"topK": 51, "returnValues": true})), 40025),
        ("query", query(json!({"topK": 0})), 40025),
        ("query", query(json!({"returnMetadata": false})), 40026),
        ("query", query(json!({"filter": {"a": {"$or": 1}}})), 40026),
        ("query", query(json!({"filter": {}})), 40026),
        ("query", query(json!({"namespace": "n".repeat(65)})), 40026),
        ("query", "{".to_owned(), 40026),
        ("query", "{}".to_owned(), 40026),
        ("query", json!({"vectorId": "nothing"}).to_string(), 40026),
        ("upsert", json!({"id": "a", "values": [1]}).to_string(), 40010),
        ("insert", json!({"id": "i".repeat(65), "values": [1, 0, 0]}).to_string(), 40008),
        ("insert", "{\"id\":\"a\"}".to_owned(), 40023),
        ("insert", "nonsense".to_owned(), 40023),
        ("insert", String::new(), 40023),
        ("getByIds", json!({"ids": vec!["a"; 21]}).to_string(), 40007),
        ("deleteByIds", json!({"ids": vec!["a"; 101]}).to_string(), 40007),
        ("deleteByIds", "[]".to_owned(), 40026),
    ] {
        assert_eq!(bench.code(operation, body.clone()).await, (400, code), "{operation} {body:.80}");
    }
    assert_eq!(
        bench.vectorize("query", query(json!({"topK": 100, "returnMetadata": "indexed"}))).await.0,
        200
    );
    let line = json!({"id": "a", "values": [1, 0, 0]}).to_string();
    assert_eq!(bench.code("upsert", vec![line.as_str(); 1001].join("\n")).await, (400, 40026));
    assert_eq!(bench.vectorize("upsert", vec![line.as_str(); 1000].join("\n")).await.0, 200);
    // Nothing of a refused batch is written.
    let mixed =
        format!("{}\n{}", json!({"id": "good", "values": [1, 0, 0]}), json!({"id": "bad", "values": [1]}));
    assert_eq!(bench.code("upsert", mixed).await, (400, 40010));
    bench.call("POST", "/control/flush", &[], "").await;
    assert_eq!(bench.call("GET", "/control/indexes/a/ids", &[], "").await.1, json!({"ids": ["a"]}));
}

#[tokio::test]
async fn ai_errors_have_the_platforms_shape() {
    let bench = Bench::new();
    let body = r#"{"inputs":{"text":"a"},"options":{}}"#;
    let (status, error) = bench.ai("@cf/nobody/nothing", body).await;
    assert_eq!(status, 400);
    assert_eq!(error["internalCode"], 5007);
    assert_eq!(error["description"], "No such model @cf/nobody/nothing or task");
    assert_eq!(error["message"], "5007: No such model @cf/nobody/nothing or task");
    assert!(error["name"].is_string());
    // Known, but not installed.
    assert_eq!(bench.ai("@cf/baai/bge-small-en-v1.5", body).await.1["internalCode"], 5007);
    assert_eq!(
        bench.ai("@cf/baai/bge-small-en-v1.5", "{").await,
        bench.ai("@cf/baai/bge-small-en-v1.5", "{").await
    );
    let (status, error) = bench.ai("@cf/baai/bge-small-en-v1.5", "{").await;
    assert_eq!((status, &error["internalCode"]), (400, &json!(3003)));
    let (status, error) = bench.call("POST", "/run", &[], body).await;
    assert_eq!((status, &error["internalCode"]), (400, &json!(3003)));
    let (status, error) = bench.ai("@cf/baai/bge-small-en-v1.5", " ".repeat(10_000_001)).await;
    assert_eq!((status, &error["internalCode"]), (413, &json!(3006)));
    // The binding reads this one's text from `errors`.
    let (status, error) = bench.call("POST", "/to-everything/markdown/transformer", &[], "{}").await;
    assert_eq!((status, &error["errors"][0]["code"]), (400, &json!(5007)));
    assert!(
        error["errors"][0]["message"].as_str().is_some_and(|text| text.starts_with("5007: The twin has no"))
    );
    // What only the platform has is called by its name.
    for (model, what) in
        [("@cf/openai/whisper-large-v3-turbo", "speech"), ("@cf/google/gemma-4-26b-a4b-it", "vision")]
    {
        let (_, error) = bench.ai(model, r#"{"inputs":{"audio":""},"options":{}}"#).await;
        assert_eq!(error["internalCode"], 5007);
        assert_eq!(
            error["description"],
            format!("No such model {model} or task: the twin has no {what} models, only the platform does")
        );
    }
    let (status, models) = bench.call("GET", "/ai-api/models/search?search=x", &[], "").await;
    assert_eq!((status, &models["result"]), (200, &json!([])));
}

#[tokio::test]
async fn replies_carry_ids() {
    let bench = Bench::new();
    let send = |path: &str, body: &'static str| {
        let request = Request::builder().method("POST").uri(path).header("cf-consn-model-id", "@cf/x/y");
        bench.send(request.body(Body::from(body)).unwrap())
    };
    let one = send("/run", r#"{"inputs":{}}"#).await;
    let two = send("/ai-gateway/run", r#"{"inputs":{},"options":{"gateway":{"id":"g"}}}"#).await;
    assert_ne!(one.headers()["cf-ai-req-id"], two.headers()["cf-ai-req-id"]);
    assert!(one.headers().get("cf-aig-log-id").is_none());
    assert!(two.headers().get("cf-aig-log-id").is_some());
}

#[tokio::test]
async fn the_gateway_logs_and_takes_feedback() {
    let bench = Bench::new();
    let call = async |gateway: Value| {
        let body = json!({"inputs": {}, "options": {"gateway": gateway}}).to_string();
        let request = Request::builder().method("POST").uri("/ai-gateway/run?version=3");
        bench.send(request.header("cf-consn-model-id", "@cf/x/y").body(Body::from(body)).unwrap()).await
    };
    let reply = call(json!({"id": "g", "metadata": {"tenant": "a", "n": 1}, "cacheTtl": 60})).await;
    let id = reply.headers()["cf-aig-log-id"].to_str().unwrap().to_owned();
    assert_eq!(reply.headers()["cf-aig-cache-status"], "MISS");
    axum::body::to_bytes(reply.into_body(), usize::MAX).await.unwrap();
    let unlogged = call(json!({"id": "g", "collectLog": false, "cacheTtl": 60, "skipCache": true})).await;
    assert!(unlogged.headers().get("cf-aig-log-id").is_none());
    assert!(unlogged.headers().get("cf-aig-cache-status").is_none());
    for wrong in
        [json!({"id": 1}), json!({"id": "g", "cacheTtl": "1"}), json!({"id": "g", "metadata": {"a": {}}})]
    {
        assert_eq!(call(wrong.clone()).await.status(), 400, "{wrong}");
    }

    let path = format!("/ai-gateway/gateways/g/logs/{id}");
    let (status, log) = bench.call("GET", &path, &[], "").await;
    let log = &log["result"];
    assert_eq!((status, &log["status_code"], &log["success"]), (200, &json!(400), &json!(false)));
    assert_eq!(log["metadata"], json!({"tenant": "a", "n": 1}));
    assert_eq!((&log["model"], &log["cached"]), (&json!("@cf/x/y"), &json!(false)));
    let feedback = json!({"feedback": -1, "score": 40, "metadata": {"why": "wrong"}}).to_string();
    assert_eq!(bench.call("PATCH", &path, &[], feedback).await.0, 200);
    assert_eq!(bench.call("PATCH", &path, &[], r#"{"score": null}"#).await.0, 200);
    let (_, log) = bench.call("GET", &path, &[], "").await;
    let log = &log["result"];
    assert_eq!(
        (&log["feedback"], log.get("score"), &log["metadata"]),
        (&json!(-1), None, &json!({"why": "wrong"}))
    );
    for wrong in ["[]", "{", r#"{"feedback": 2}"#, r#"{"score": 101}"#, r#"{"metadata": {"a": []}}"#] {
        assert_eq!(bench.call("PATCH", &path, &[], wrong).await.0, 400, "{wrong}");
    }
    for (method, path) in [("GET", "/ai-gateway/gateways/g/logs/x"), ("PATCH", &path.replace("/g/", "/h/"))] {
        let (status, error) = bench.call(method, path, &[], "{}").await;
        assert_eq!((status, &error["errors"][0]["message"]), (404, &json!("Log Not Found")));
    }
    let (_, logs) = bench.call("GET", "/control/gateway-logs", &[], "").await;
    assert_eq!(logs["logs"].as_array().unwrap().len(), 1);
    bench.call("DELETE", "/control/gateway-logs", &[], "").await;
    assert_eq!(bench.call("GET", &path, &[], "").await.0, 404);
}

#[tokio::test]
async fn the_external_service_fails_in_its_own_shape() {
    let bench = Bench::new();
    let path = "/v1/chat/completions";
    let body = json!({"model": "m", "messages": [{"role": "user", "content": "a"}]}).to_string();
    // No model is installed.
    let (status, error) = bench.call("POST", path, &[], body.clone()).await;
    assert_eq!((status, &error["error"]["code"]), (400, &json!("5007")));
    let rules = json!([{"match": {"service": "external"}, "times": 1, "action": {"error": {"code": 3040}}}]);
    bench.call("PUT", "/control/faults", &[], rules.to_string()).await;
    let (status, error) = bench.call("POST", path, &[], body).await;
    let error = &error["error"];
    assert_eq!((status, &error["code"], &error["type"]), (429, &json!("3040"), &json!("rate_limit_error")));
    assert!(error["message"].is_string());
    for wrong in ["", "{", "{}", r#"{"model": "m"}"#, r#"{"model": "m", "prompt": "p"}"#] {
        let (status, error) = bench.call("POST", path, &[], wrong).await;
        assert_eq!((status, &error["error"]["type"]), (400, &json!("invalid_request_error")), "{wrong}");
    }
    let (_, stats) = bench.call("GET", "/control/stats", &[], "").await;
    assert_eq!(stats["external"]["m"], json!({"400": 3, "429": 1}));
    assert_eq!((&stats["ai"], &stats["faults"]["external"]["chat"]["error 3040"]), (&json!({}), &json!(1)));
}

#[tokio::test]
async fn faults_hit_and_are_counted() {
    let bench = Bench::new();
    let rules = json!([
        {"match": {"service": "ai", "op": "embed"}, "times": 1, "action": {"error": {"code": 3040}}},
        {"match": {"service": "vectorize", "op": "query"}, "action": {"error": {"code": 40041}}},
        {"match": {"service": "vectorize", "op": "info"}, "times": 1, "action": {"disconnect": true}}
    ]);
    assert_eq!(bench.call("PUT", "/control/faults", &[], rules.to_string()).await.0, 200);
    let model = "@cf/baai/bge-small-en-v1.5";
    let (status, error) = bench.ai(model, "{}").await;
    assert_eq!((status, &error["internalCode"]), (429, &json!(3040)));
    assert_eq!(bench.ai(model, "{}").await.0, 400);
    assert_eq!(bench.code("query", "{}").await, (429, 40041));
    let broken = bench.send(Request::builder().uri("/info").body(Body::empty()).unwrap()).await;
    assert!(axum::body::to_bytes(broken.into_body(), usize::MAX).await.is_err());

    let (_, left) = bench.call("GET", "/control/faults", &[], "").await;
    assert_eq!(left[0]["times"], 0);
    assert_eq!(bench.call("DELETE", "/control/faults", &[], "").await, (200, json!([])));
    assert_eq!(bench.code("query", "{}").await.1, 40026);
    assert_eq!(bench.call("PUT", "/control/faults", &[], "[{}]").await.0, 400);

    let (_, stats) = bench.call("GET", "/control/stats", &[], "").await;
    assert_eq!(stats["ai"]["embed"][model], json!({"429": 1, "400": 1}));
    assert_eq!(stats["vectorize"]["query"], json!({"429": 1, "400": 1}));
    bench.call("POST", "/control/stats/reset", &[], "").await;
    let (_, stats) = bench.call("GET", "/control/stats", &[], "").await;
    assert_eq!((&stats["ai"], &stats["vectorize"]), (&json!({}), &json!({})));
}

#[tokio::test]
async fn an_acknowledgement_can_be_lost() {
    let bench = Bench::new();
    let faults = |rules: Value| bench.call("PUT", "/control/faults", &[], rules.to_string());
    let broken = async |operation: &str, body: &str| {
        let request = Request::builder().method("POST").uri(format!("/{operation}"));
        let reply = bench.send(request.body(Body::from(body.to_owned())).unwrap()).await;
        assert_eq!(reply.status(), 200);
        let mut sent = 0;
        let mut chunks = reply.into_body().into_data_stream();
        while let Some(chunk) = chunks.next().await {
            match chunk {
                Ok(bytes) => sent += bytes.len(),
                Err(_) => return sent,
            }
        }
        panic!("the reply came whole");
    };
    let line = |id: &str| json!({"id": id, "values": [1, 0, 0]}).to_string();
    // Carried out, half a reply; carried out, an error; not carried out, no reply.
    faults(json!([
        {"match": {"service": "vectorize", "op": "upsert"}, "times": 1, "action": {"cut_reply": true}},
        {"match": {"service": "vectorize", "op": "upsert"}, "times": 1, "action": {"error_after": {"code": 40041}}},
        {"match": {"service": "vectorize", "op": "upsert"}, "times": 1, "action": {"disconnect": true}},
    ]))
    .await;
    let half = json!({"mutationId": "01234567-0123-0123-0123-0123456789ab"}).to_string().len() / 2;
    assert_eq!(broken("upsert", &line("cut")).await, half);
    assert_eq!(bench.code("upsert", line("failed")).await, (429, 40041));
    assert_eq!(broken("upsert", &line("never")).await, 0);
    assert_eq!(bench.vectorize("upsert", line("last")).await.0, 200);
    bench.call("POST", "/control/flush", &[], "").await;
    let ids = async || bench.call("GET", "/control/indexes/a/ids", &[], "").await.1;
    assert_eq!(ids().await, json!({"ids": ["cut", "failed", "last"]}));

    faults(json!([
        {"match": {"service": "vectorize", "op": "deleteByIds"}, "times": 1, "action": {"cut_reply": true}},
        {"match": {"service": "vectorize", "op": "getByIds"}, "times": 1, "action": {"cut_reply": true}},
    ]))
    .await;
    broken("getByIds", r#"{"ids":["cut","other"]}"#).await;
    broken("deleteByIds", r#"{"ids":["cut"]}"#).await;
    bench.call("POST", "/control/flush", &[], "").await;
    assert_eq!(ids().await, json!({"ids": ["failed", "last"]}));

    let (_, stats) = bench.call("GET", "/control/stats", &[], "").await;
    assert_eq!(stats["vectorize"]["upsert"], json!({"200": 1, "429": 1, "499": 2}));
    assert_eq!(stats["vectorize"]["deleteByIds"], json!({"499": 1}));
    assert_eq!(
        (&stats["vectors_upserted"], &stats["ids_deleted"], &stats["ids_fetched"]),
        (&json!(3), &json!(1), &json!(2))
    );
    let upserts = json!({"cut_reply": 1, "error_after 40041": 1, "disconnect": 1});
    assert_eq!(stats["faults"]["vectorize"]["upsert"], upserts);
}

#[tokio::test]
async fn too_many_requests_is_said_in_vectorizes_shape() {
    let bench = Bench::new();
    let rule = json!([{"match": {"service": "vectorize"}, "action": {"error": {"code": 40041}}}]);
    bench.call("PUT", "/control/faults", &[], rule.to_string()).await;
    for operation in ["upsert", "deleteByIds", "getByIds", "query"] {
        let expected = json!({"code": 40041, "error": "Too Many Requests"});
        assert_eq!(bench.vectorize(operation, "{}").await, (429, expected), "{operation}");
    }
}

#[tokio::test]
async fn a_text_can_poison_the_calls_that_hold_it() {
    let bench = Bench::new();
    let rules = json!([
        {"match": {"service": "ai", "op": "embed", "contains": "POISON"}, "action": {"error": {"code": 5004}}},
        {"match": {"service": "ai"}, "action": {"error": {"code": 3036}}},
    ]);
    bench.call("PUT", "/control/faults", &[], rules.to_string()).await;
    let embed = async |texts: &[&str]| {
        let body = json!({"inputs": {"text": texts, "pooling": "cls"}, "options": {}}).to_string();
        let (status, error) = bench.ai("@cf/baai/bge-small-en-v1.5", body).await;
        (status, error["internalCode"].as_u64().unwrap())
    };
    assert_eq!(embed(&["good", "with POISON in it"]).await, (400, 5004));
    assert_eq!(embed(&["good"]).await, (429, 3036));
}

#[tokio::test]
async fn chance_repeats_with_its_seed() {
    let bench = Bench::new();
    let rule = json!([{"match": {"service": "ai", "op": "embed"}, "probability": 0.3, "seed": 11,
        "action": {"error": {"code": 3040}}}]);
    let run = async || {
        bench.call("PUT", "/control/faults", &[], rule.to_string()).await;
        let mut hits = Vec::new();
        for _ in 0..100 {
            hits.push(bench.ai("@cf/baai/bge-small-en-v1.5", r#"{"inputs":{"text":"a"}}"#).await.0 == 429);
        }
        hits
    };
    let (first, second) = (run().await, run().await);
    assert_eq!(first, second);
    let hits = first.iter().filter(|hit| **hit).count();
    assert!((15..45).contains(&hits), "{hits}");
    let (_, stats) = bench.call("GET", "/control/stats", &[], "").await;
    assert_eq!(stats["faults"]["ai"]["embed"]["error 3040"], 2 * hits);
}

#[tokio::test]
async fn two_indexes_of_different_lengths_serve_side_by_side() {
    let bench = Bench::new();
    for (index, values) in [("a", json!([1, 0, 0])), ("b", json!([1, 0]))] {
        let index = [("x-ragflare-index", index)];
        let line = json!({"id": "same", "values": values, "namespace": "n"}).to_string();
        assert_eq!(bench.call("POST", "/upsert", &index, line).await.0, 200);
        bench.call("POST", "/control/flush", &[], "").await;
        let (_, found) = bench.call("POST", "/getByIds", &index, r#"{"ids":["same"]}"#).await;
        assert_eq!(found[0]["values"].as_array().map(Vec::len), values.as_array().map(Vec::len));
    }
    let line = json!({"id": "short", "values": [1, 0]}).to_string();
    let (status, error) = bench.call("POST", "/upsert", &[("x-ragflare-index", "a")], line).await;
    assert_eq!((status, &error["code"]), (400, &json!(40010)));
}

#[tokio::test]
async fn mutations_become_visible_by_themselves_and_http_is_the_runtimes() {
    use tokio::io::{AsyncReadExt, AsyncWriteExt};

    let bench = Bench::new();
    let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap();
    let (stop, stopped) = tokio::sync::oneshot::channel::<()>();
    let server = tokio::spawn(serve(Arc::clone(&bench.twin), listener, async {
        let _ = stopped.await;
    }));
    // Absolute form, no Host header: the runtime's proxy style.
    let exchange = |head: &'static str, body: &'static str| async move {
        let mut stream = tokio::net::TcpStream::connect(address).await.unwrap();
        let request =
            format!("{head} HTTP/1.1\r\ncontent-length: {}\r\nconnection: close\r\n\r\n{body}", body.len());
        stream.write_all(request.as_bytes()).await.unwrap();
        let mut reply = String::new();
        stream.read_to_string(&mut reply).await.unwrap();
        reply
    };
    let reply = exchange("POST https://workers-binding.ai/run?version=3", "{}").await;
    assert!(reply.starts_with("HTTP/1.1 400") && reply.contains("\"internalCode\":3003"), "{reply}");
    let reply = exchange("POST http://vector-search/upsert", r#"{"id":"a","values":[1,0,0]}"#).await;
    assert!(reply.starts_with("HTTP/1.1 200") && reply.contains("mutationId"), "{reply}");
    let reply = exchange("GET http://vector-search/info", "").await;
    assert!(reply.contains("\"vectorCount\":0"), "{reply}");
    let reply = exchange("PUT /control/mutation-delay", r#"{"ms":100}"#).await;
    assert!(reply.starts_with("HTTP/1.1 200"), "{reply}");
    let visible = async {
        while bench.twin.store.pending() > 0 {
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
    };
    tokio::time::timeout(Duration::from_secs(10), visible).await.expect("the mutation was never applied");
    let reply = exchange("GET http://vector-search/info", "").await;
    assert!(reply.contains("\"vectorCount\":1"), "{reply}");
    stop.send(()).unwrap();
    server.await.unwrap().unwrap();
}
