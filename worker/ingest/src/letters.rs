//! Routes of dead letters: messages that failed too often, or could not be read.

use crate::not_allowed;
use ragflare_cloudflare::core::Error;
use ragflare_cloudflare::core::ports::{Job, JobQueue, Ports};
use ragflare_cloudflare::d1::Letters;
use ragflare_cloudflare::http::{ApiError, json};
use ragflare_cloudflare::invocation::Invocation;
use serde_json::json;
use worker::{Method, Response, ResponseBuilder};

/// Letters listed, or replayed by one request, at most: each costs some D1 statements.
const LIMIT: u32 = 100;

/// What became of a letter.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Replay {
    /// Its job was sent again.
    Sent,
    /// Its document was deleted, replaced or processed since: nothing to do.
    Obsolete,
    /// It can't be read as a job. It stays.
    Unreadable,
}

/// `/v1/admin/dead-letters{rest}`
pub(crate) async fn route(
    invocation: &Invocation,
    method: &Method,
    rest: &str,
) -> Result<Response, ApiError> {
    let letters = Letters::new(invocation.rag.platform().database().clone());
    match (method, rest.trim_start_matches('/')) {
        (Method::Get, "") => json(200, &json!({"dead_letters": letters.list(LIMIT).await?})),
        (Method::Post, "replay") => replay_all(invocation, &letters).await,
        (method, "" | "replay") => Err(not_allowed(method)),
        (method, rest) => {
            let (id, action) = rest.split_once('/').map_or((rest, None), |(id, rest)| (id, Some(rest)));
            let unknown = || ApiError::not_found(format!("dead letter `{id}`"));
            let id: u64 = id.parse().map_err(|_| unknown())?;
            match (method, action) {
                (Method::Post, Some("replay")) => {
                    let body = letters.get(id).await?.ok_or_else(unknown)?;
                    match replay(invocation, &letters, id, &body).await? {
                        Replay::Unreadable => {
                            let message = "this is no job that could be sent again; DELETE it";
                            Err(ApiError::new(422, "not_replayable", message))
                        }
                        outcome => json(200, &json!({"id": id, "replayed": outcome == Replay::Sent})),
                    }
                }
                (Method::Delete, None) => {
                    if !letters.delete(id).await? {
                        return Err(unknown());
                    }
                    Ok(ResponseBuilder::new().with_status(204).empty())
                }
                (method, None | Some("replay")) => Err(not_allowed(method)),
                (_, Some(_)) => Err(ApiError::not_found(format!("route `/v1/admin/dead-letters/{rest}`"))),
            }
        }
    }
}

async fn replay_all(invocation: &Invocation, letters: &Letters) -> Result<Response, ApiError> {
    let (mut sent, mut obsolete, mut unreadable, mut failed) = (0, 0, 0, 0);
    for letter in letters.list(LIMIT).await? {
        let (Some(id), Some(body)) = (letter["id"].as_u64(), letter["body"].as_str()) else { continue };
        match replay(invocation, letters, id, body).await {
            Ok(Replay::Sent) => sent += 1,
            Ok(Replay::Obsolete) => obsolete += 1,
            Ok(Replay::Unreadable) => unreadable += 1,
            // It stays; the others need not wait for it.
            Err(error) => {
                worker::console_error!("dead letter {id}: {error}");
                failed += 1;
            }
        }
    }
    let counts = json!({
        "replayed": sent, "obsolete": obsolete, "not_replayable": unreadable, "failed": failed,
    });
    json(200, &counts)
}

/// Makes what was given up anew, or sends the job of what is still open, and only then forgets the letter.
async fn replay(invocation: &Invocation, letters: &Letters, id: u64, body: &str) -> Result<Replay, Error> {
    let platform = invocation.rag.platform();
    let Ok(job) = serde_json::from_str::<Job>(body) else { return Ok(Replay::Unreadable) };
    let mut outcome = Replay::Sent;
    match &job {
        Job::Process { tenant, document, generation, .. } => {
            if !invocation.rag.pipeline().retry(tenant, document, *generation).await? {
                outcome = Replay::Obsolete;
            }
        }
        _ => platform.jobs().send(&[job], 0).await?,
    }
    letters.delete(id).await?;
    Ok(outcome)
}
