//! The example worker: an outsider's use of the library.

use anyhow::{Result, ensure};
use ragflare_tests::{Case, Client, run};
use serde_json::json;
use std::process::ExitCode;
use xtask::{Stack, StackOptions};

fn main() -> ExitCode {
    let start = || {
        let mut options = StackOptions::new("target/tests/notes").workers(["worker/examples/notes"]);
        options.fresh = true;
        "/notes".clone_into(&mut options.health);
        Stack::start(&options)
    };
    let cases: &[Case<Stack>] = &[("notes are kept, found, asked and forgotten", notes)];
    run(start, cases)
}

fn notes(stack: &Stack) -> Result<()> {
    let client = Client::new(&stack.url);
    for (title, body) in [
        ("Cellar", "The cellar key hangs behind the clock in the hall."),
        ("Bread", "Two parts rye, one part wheat; let it rise over night."),
    ] {
        client.post("/notes", &json!({"title": title, "body": body}))?.expect(201)?;
    }
    ensure!(client.get("/notes")?.expect(200)?.as_array().map(Vec::len) == Some(2));
    let found = client.get("/find?q=where+is+the+key")?.expect(200)?;
    ensure!(found[0]["document_id"] == "notes/1" && found[0]["title"] == "Cellar", "{found}");
    let answer = client.get("/ask?q=Where+is+the+cellar+key%3F")?.expect(200)?;
    ensure!(answer["notes"][0] == "notes/1", "{answer}");
    ensure!(answer["answer"].as_str().is_some_and(|text| !text.is_empty()), "{answer}");
    ensure!(client.delete("/notes/1")?.status == 204);
    let found = client.get("/find?q=where+is+the+key")?.expect(200)?;
    ensure!(found.as_array().into_iter().flatten().all(|hit| hit["document_id"] != "notes/1"), "{found}");
    ensure!(client.get("/ask")?.error(400)? == "missing_question");
    Ok(())
}
