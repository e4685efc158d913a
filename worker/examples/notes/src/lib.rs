//! Notes that can be asked: a small worker with its own routes and its own D1 table, and Ragflare in three calls,
//! `ingest`, `search` and `answer`.
//!
//! - `POST /notes` `{title, body}` → `{id}`
//! - `GET /notes` → all notes
//! - `DELETE /notes/{id}`
//! - `GET /find?q=` → passages
//! - `GET /ask?q=` → an answer and the notes it rests on

use ragflare_cloudflare::core::Tenant;
use ragflare_cloudflare::core::answer::AnswerRequest;
use ragflare_cloudflare::core::document::DocumentId;
use ragflare_cloudflare::core::search::SearchRequest;
use ragflare_cloudflare::core::settings::Settings;
use ragflare_cloudflare::http::{ApiError, read_json};
use ragflare_cloudflare::{Bindings, NewDocument, Ragflare};
use serde::{Deserialize, Serialize};
use serde_json::json;
use worker::{Context, D1Database, Env, Method, Request, Response, event, query};

#[derive(Deserialize)]
struct NewNote {
    title: String,
    body: String,
}

#[derive(Deserialize, Serialize)]
struct Note {
    id: u32,
    title: String,
    body: String,
}

#[event(fetch)]
async fn fetch(request: Request, env: Env, _context: Context) -> worker::Result<Response> {
    match route(request, &env).await {
        Ok(reply) => Ok(reply),
        Err(error) => error.into_response("notes"),
    }
}

async fn route(mut request: Request, env: &Env) -> Result<Response, ApiError> {
    let database = env.d1("DB")?;
    let bindings = Bindings { database: "RAGFLARE", ..Bindings::default() };
    let rag = Ragflare::from_env(env, bindings, Settings::default())?;
    let owner = Tenant::new("me")?;
    let url = request.url()?;
    let question = url.query_pairs().find(|(name, _)| name == "q").map(|(_, text)| text.into_owned());
    let question = || question.ok_or_else(|| ApiError::new(400, "missing_question", "add ?q="));

    match (request.method(), url.path()) {
        (Method::Post, "/notes") => {
            let note: NewNote = read_json(&mut request).await?;
            let id = insert(&database, &note).await?;
            let document = NewDocument { title: Some(note.title), text: note.body, ..NewDocument::default() };
            rag.ingest(&owner, &document_id(id)?, document).await?;
            Ok(Response::from_json(&json!({ "id": id }))?.with_status(201))
        }
        (Method::Get, "/notes") => {
            let notes = database.prepare("SELECT id, title, body FROM notes ORDER BY id").all().await?;
            Ok(Response::from_json(&notes.results::<Note>()?)?)
        }
        (Method::Delete, path) => {
            let id = path.strip_prefix("/notes/").and_then(|id| id.parse().ok());
            let id: u32 = id.ok_or_else(|| ApiError::not_found("note there"))?;
            query!(&database, "DELETE FROM notes WHERE id = ?1", id)?.run().await?;
            rag.delete(&owner, &document_id(id)?).await?;
            Ok(Response::empty()?.with_status(204))
        }
        (Method::Get, "/find") => {
            let found = rag.search(&owner, &SearchRequest::new(question()?)).await?;
            Ok(Response::from_json(&found.hits)?)
        }
        (Method::Get, "/ask") => {
            let answer = rag.answer(&owner, &AnswerRequest::new(question()?)).await?;
            let notes: Vec<_> = answer.sources.iter().map(|source| &source.hit.document_id).collect();
            Ok(Response::from_json(&json!({ "answer": answer.text, "notes": notes }))?)
        }
        _ => Err(ApiError::not_found("route there")),
    }
}

async fn insert(database: &D1Database, note: &NewNote) -> worker::Result<u32> {
    #[derive(Deserialize)]
    struct Inserted {
        id: u32,
    }
    let statement = query!(
        database,
        "INSERT INTO notes (title, body) VALUES (?1, ?2) RETURNING id",
        &note.title,
        &note.body
    )?;
    let inserted: Option<Inserted> = statement.first(None).await?;
    inserted.map(|row| row.id).ok_or_else(|| worker::Error::RustError("nothing was inserted".into()))
}

fn document_id(note: u32) -> Result<DocumentId, ApiError> {
    Ok(DocumentId::new(format!("notes/{note}"))?)
}
