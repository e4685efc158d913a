//! Schemathesis: requests made from the contract, by the thousand, and every reply held against it.

use super::{GUIDE, World};
use anyhow::Result;
use ragflare_tests::Client;
use serde_json::json;
use xtask::{Stack, StackOptions};

/// On a stack of its own, with the admin's key: it deletes documents and keys, and builds indexes anew.
pub(crate) fn finds_nothing(_: &World) -> Result<()> {
    let options = StackOptions { fresh: true, ..StackOptions::new("target/tests/protocols-contract") };
    // What is found, and in which order, is no part of the contract.
    let search = json!({"rerank_model": "ms-marco-MiniLM-L-12-v2", "rerank_candidates": 1, "rerank_timeout_ms": 30_000});
    let stack = Stack::start(&options.var("SETTINGS", &json!({"search": search}).to_string()))?;
    let client = Client::new(&stack.url).with_key(&stack.admin_key);
    client.ingest("lighthouse.md", GUIDE)?;
    client.wait_for("lighthouse.md", |document| document["status"] == "indexed")?;
    // The model itself would take longer than all else: it says the same to everyone, in the form that is asked for.
    let chat = |contains: Option<&str>, answer: &str| {
        let matching = json!({"service": "ai", "op": "chat", "contains": contains});
        json!({"match": matching, "action": {"answer": answer}})
    };
    let rules = json!([
        chat(Some("\"seconds\""), r#"{"seconds": 90, "said": "Every ninety seconds [S1]."}"#),
        chat(Some("\"response_format\""), "{}"),
        chat(None, "It sounds every ninety seconds [S1]."),
    ]);
    let twin = Client::new(&stack.twin_url);
    twin.send("PUT", "/control/faults", &[], rules.to_string().as_bytes())?.expect(200)?;
    super::show("contract.py", &stack, &stack.admin_key)
}
