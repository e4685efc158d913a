//! The contract, `openapi.json`: that it is complete, and true.

use super::World;
use anyhow::{Context, Result, bail, ensure};
use ragflare_tests::Client;
use serde_json::{Value, json};
use std::collections::BTreeSet;
use std::sync::PoisonError;

const CONTRACT: &str = include_str!("../../../worker/query/src/openapi.json");
/// Where the workers match routes, and what stands before what each file matches.
const SOURCES: [(&str, &str); 4] = [
    ("", include_str!("../../../worker/query/src/lib.rs")),
    ("/v1/admin/", include_str!("../../../worker/ingest/src/admin.rs")),
    ("/v1/admin/dead-letters/", include_str!("../../../worker/ingest/src/letters.rs")),
    ("/v1/documents/{id}/", include_str!("../../../worker/ingest/src/documents.rs")),
];

pub(crate) fn is_served(world: &World) -> Result<()> {
    let reply = Client::new(&world.stack.url).get("/openapi.json")?;
    ensure!(reply.header("content-type") == Some("application/json") && reply.bytes == CONTRACT.as_bytes());
    ensure!(reply.expect(200)?["openapi"] == "3.1.0");
    Ok(())
}

/// `METHOD /path` of all operations.
fn documented() -> Result<BTreeSet<String>> {
    let contract: Value = serde_json::from_str(CONTRACT)?;
    let paths = contract["paths"].as_object().context("paths")?;
    let operations = paths.iter().flat_map(|(path, item)| {
        let methods = item.as_object().into_iter().flatten();
        methods.map(move |(method, _)| format!("{} {path}", method.to_uppercase()))
    });
    Ok(operations.collect())
}

/// What the sources match: every `(Method::M, "…")`, with what stands before it.
pub(crate) fn every_route_is_in_it(_: &World) -> Result<()> {
    let documented = documented()?;
    let (mut found, mut missing) = (0, Vec::new());
    for (before, source) in SOURCES {
        for arm in source.split("(Method::").skip(1) {
            let Some((method, rest)) = arm.split_once(", ") else { continue };
            let rest = rest.strip_prefix("Some(").unwrap_or(rest);
            let Some((literal, _)) = rest.strip_prefix('"').and_then(|rest| rest.split_once('"')) else {
                continue;
            };
            if !method.bytes().all(|byte| byte.is_ascii_alphabetic()) {
                continue;
            }
            found += 1;
            let method = method.to_uppercase();
            let path = format!("{before}{literal}");
            let path = if path.len() > 1 { path.trim_end_matches('/') } else { &path };
            // A letter's own routes come after its id.
            let of_one = path.replace("dead-letters/", "dead-letters/{letter}/");
            let is = |path: &str| documented.contains(&format!("{method} {path}"));
            if !is(path) && !is(&of_one) {
                missing.push(format!("{method} {path}"));
            }
        }
    }
    ensure!(missing.is_empty(), "not in the contract: {missing:?}");
    ensure!(found >= 23, "{found} routes found in the sources: are they matched another way now?");
    Ok(())
}

/// Each path takes the methods that the contract names, and no others.
pub(crate) fn its_routes_are_there(world: &World) -> Result<()> {
    let documented = documented()?;
    let paths: BTreeSet<&str> = documented.iter().filter_map(|one| one.split(' ').nth(1)).collect();
    ensure!(paths.len() > 20, "{paths:?}");
    for path in &paths {
        let concrete = path
            .replace("{id}", "none")
            .replace("{model}", "none")
            .replace("{key_id}", "none")
            .replace("{letter}", "999");
        for method in ["GET", "POST", "PUT", "PATCH", "DELETE", "OPTIONS"] {
            // Bodies that no route takes: nothing is done.
            let reply = world.admin.send(method, &concrete, &[("content-type", "x/y")], b"")?;
            ensure!(reply.header("x-request-id").is_some() || *path == "/healthz", "{method} {path}");
            if reply.status == 405 {
                let allowed: BTreeSet<&str> =
                    reply.header("allow").context("no allow")?.split(", ").collect();
                let methods = documented.iter().filter_map(|one| one.split_once(' '));
                let methods: BTreeSet<&str> =
                    methods.filter(|(_, one)| one == path).map(|(method, _)| method).collect();
                ensure!(allowed == methods, "{method} {path}: {allowed:?}, not {methods:?}");
            }
            let text = reply.text();
            let none = reply.status == 404 && text.contains("there is no route");
            // A slash in an id is to be encoded where its last part could be a view.
            let view = reply.status == 400 && text.contains("send its slash as");
            let there = !none && !view && reply.status != 405;
            let wanted = documented.contains(&format!("{method} {path}"));
            if there != wanted {
                bail!("{method} {path}: in the contract {wanted}, answered {}: {text}", reply.status);
            }
        }
    }
    Ok(())
}

/// A place in the contract.
fn at<'a>(contract: &'a Value, pointer: &str) -> Result<&'a Value> {
    contract.pointer(pointer).with_context(|| format!("the contract has no {pointer}"))
}

/// What a reference names, or the thing itself.
fn resolved<'a>(contract: &'a Value, entry: &'a Value) -> Result<&'a Value> {
    match entry["$ref"].as_str() {
        Some(path) => at(contract, path.trim_start_matches('#')),
        None => Ok(entry),
    }
}

/// Whether a JSON reply is what the contract says of its operation and status.
fn check(contract: &Value, operation: &Value, reply: &ragflare_tests::Reply) -> Result<()> {
    let documented = &operation["responses"][reply.status.to_string()];
    ensure!(documented.is_object(), "the status {} is not in the contract: {}", reply.status, reply.text());
    let media_type = reply.header("content-type").unwrap_or_default();
    if media_type != "application/json" {
        return Ok(());
    }
    let response = resolved(contract, documented)?;
    let mut schema = response["content"]["application/json"]["schema"].clone();
    ensure!(schema.is_object(), "no schema of {}", reply.status);
    // References in it begin at the root.
    schema["components"] = contract["components"].clone();
    let validator = jsonschema::validator_for(&schema)?;
    let body: Value = serde_json::from_slice(&reply.bytes)?;
    let wrong: Vec<String> =
        validator.iter_errors(&body).map(|error| format!("{}: {error}", error.instance_path())).collect();
    ensure!(wrong.is_empty(), "{wrong:?}: {body}");
    Ok(())
}

/// Every example of a request is sent, and `{}` and `[]`; what comes back is held against the schemas.
pub(crate) fn its_examples_work(world: &World) -> Result<()> {
    let _turn = world.twin.lock().unwrap_or_else(PoisonError::into_inner);
    let contract: Value = serde_json::from_str(CONTRACT)?;
    let twin = Client::new(&world.stack.twin_url);
    let mut sent = 0;
    for (path, item) in contract["paths"].as_object().context("paths")? {
        let Some(operation) = item.get("post") else { continue };
        let schema = &operation["requestBody"]["content"]["application/json"]["schema"];
        if schema.is_null() || path.starts_with("/v1/admin/") {
            continue;
        }
        for nonsense in [json!({}), json!([]), json!({"messages": 1, "query": 1})] {
            check(&contract, operation, &world.client.post(path, &nonsense)?).context(path.clone())?;
        }
        let schema = resolved(&contract, schema)?;
        for example in schema["examples"].as_array().context("no examples")? {
            let answer = match example {
                example if example["response_format"].is_object() => {
                    json!({"text": r#"{"seconds": 90, "said": "Every ninety seconds [S1]."}"#})
                }
                example if example["tools"].is_array() => {
                    json!({"tool_calls": [{"name": "report_outage", "arguments": {"signal": "fog"}}]})
                }
                _ => json!("It sounds every ninety seconds [S1]."),
            };
            let rule = json!([{"match": {"service": "ai", "op": "chat"}, "action": {"answer": answer}}]);
            twin.send("PUT", "/control/faults", &[], rule.to_string().as_bytes())?.expect(200)?;
            let mut forms = vec![example.clone()];
            if path.starts_with("/v1/chat") {
                forms = [true, false]
                    .map(|stream| {
                        let mut form = example.clone();
                        form["stream"] = stream.into();
                        form
                    })
                    .into();
            }
            for form in forms {
                let reply = world.client.post(path, &form)?;
                // This stack has no gateway, which has its own tests.
                let expected = if path == "/v1/feedback" { 400 } else { 200 };
                ensure!(reply.status == expected, "{path}: {}", reply.text());
                ensure!(!reply.text().contains("event: error"), "{path}: {}", reply.text());
                check(&contract, operation, &reply).with_context(|| format!("{path}: {form}"))?;
                sent += 1;
            }
        }
    }
    twin.delete("/control/faults")?;
    ensure!(sent >= 16, "{sent} examples");
    Ok(())
}
