//! The queue's messages: jobs, and those that failed too often.

use ragflare_cloudflare::core::document::{DocumentId, Failure, Generation};
use ragflare_cloudflare::core::ingest::Outcome;
use ragflare_cloudflare::core::ports::{Clock, DocumentStore, Job, JobQueue, Ports};
use ragflare_cloudflare::core::{Error, Retry, Tenant};
use ragflare_cloudflare::d1::Letters;
use ragflare_cloudflare::http::seconds_to_midnight;
use ragflare_cloudflare::invocation::Invocation;
use serde_json::Value;
use worker::{MessageBatch, MessageExt, QueueRetryOptionsBuilder, RawMessage};

/// Bytes of originals processed together: bounds the memory of a batch.
const GROUP_BYTES: u64 = 2 * 1024 * 1024;
/// D1 statements after which an invocation takes no further group on: the largest document needs about 620 more, and
/// 1,000 are allowed.
const MAX_STATEMENTS: u32 = 200;
/// Seconds before a message comes again after a passing failure.
const RETRY_AFTER: u32 = 10;
/// Seconds before the next look whether vectors are visible.
const LOOK_AGAIN: u32 = 5;
/// A message that was buried so often before is given up. Until then the sweeper sends it anew: outages may last longer than a
/// message's retries.
const BURIALS: u64 = 3;

/// A message, and what it asks to be processed: tenant, document, generation, bytes.
type Waiting = (RawMessage, Tenant, DocumentId, Generation, u64);

/// Works a batch off. Every message is acknowledged or retried on its own; what is not retried is acknowledged when the
/// handler returns, so nothing may be passed over.
pub(crate) async fn consume(invocation: &Invocation, batch: &MessageBatch<String>) {
    let mut documents: Vec<Waiting> = Vec::new();
    for message in batch.raw_iter() {
        let body = text_of(&message);
        if batch.queue().ends_with("-dead") {
            settle(&message, bury(invocation, &body).await);
            continue;
        }
        match serde_json::from_str(&body) {
            Ok(Job::Process { tenant, document, generation, bytes }) => {
                documents.push((message, tenant, document, generation, bytes));
            }
            Ok(Job::Confirm { tenant, document, generation }) => {
                match invocation.rag.pipeline().confirm(&tenant, &document, generation).await {
                    Ok(true) => message.ack(),
                    Ok(false) => later(&message, LOOK_AGAIN),
                    Err(error) => again(&message, &error),
                }
            }
            Ok(Job::Clean { tenant, document }) => {
                settle(&message, clean(invocation, &tenant, &document).await);
            }
            Err(error) => {
                worker::console_error!("corrupt message: {error}");
                settle(&message, bury(invocation, &body).await);
            }
        }
    }
    documents.sort_by(|left, right| left.1.cmp(&right.1));
    let mut rest = documents.as_slice();
    while let Some((_, tenant, ..)) = rest.first() {
        let mut bytes = 0;
        let size = rest
            .iter()
            .take_while(|(_, owner, _, _, size)| {
                bytes += size;
                owner == tenant && bytes <= GROUP_BYTES
            })
            .count()
            .max(1);
        let (group, others) = rest.split_at(size);
        if invocation.rag.ledger().snapshot().d1_statements < MAX_STATEMENTS {
            process(invocation, tenant, group).await;
        } else {
            send_on(invocation, group).await;
        }
        rest = others;
    }
}

/// A message's body as it was sent: our jobs are text, anything else is shown as JSON.
fn text_of(message: &RawMessage) -> String {
    let body = message.body();
    body.as_string()
        .or_else(|| worker::js_sys::JSON::stringify(&body).ok().map(String::from))
        .unwrap_or_else(|| "unreadable".to_owned())
}

fn settle(message: &RawMessage, outcome: Result<(), Error>) {
    match outcome {
        Ok(()) => message.ack(),
        Err(error) => again(message, &error),
    }
}

/// Cleans up slice by slice; what is too much for one invocation is left to another.
async fn clean(invocation: &Invocation, tenant: &Tenant, document: &DocumentId) -> Result<(), Error> {
    while invocation.rag.pipeline().clean(tenant, document).await?.1 {
        if invocation.rag.ledger().snapshot().d1_statements > MAX_STATEMENTS {
            let job = Job::Clean { tenant: tenant.clone(), document: document.clone() };
            return invocation.rag.platform().jobs().send(&job, 0).await;
        }
    }
    Ok(())
}

async fn process(invocation: &Invocation, tenant: &Tenant, group: &[Waiting]) {
    let jobs: Vec<_> =
        group.iter().map(|(_, _, document, generation, _)| (document.clone(), *generation)).collect();
    let outcomes = invocation.rag.pipeline().process(tenant, &jobs).await;
    for ((message, tenant, document, generation, _), outcome) in group.iter().zip(outcomes) {
        match outcome {
            Ok(Outcome::Served | Outcome::Obsolete | Outcome::Failed) => message.ack(),
            Err(error) => {
                if error.retry() == Retry::AfterMidnightUtc {
                    // The sweeper must not send copies of it until then.
                    let midnight = worker::Date::now().as_millis() + u64::from(seconds_to_midnight()) * 1000;
                    let documents = invocation.rag.platform().documents();
                    let _ = documents.sent(tenant, document, *generation, midnight).await;
                }
                again(message, &error);
            }
        }
    }
}

/// Leaves a group to another invocation. A new message, not a retry: nothing has failed.
async fn send_on(invocation: &Invocation, group: &[Waiting]) {
    for (message, tenant, document, generation, bytes) in group {
        let job = Job::Process {
            tenant: tenant.clone(),
            document: document.clone(),
            generation: *generation,
            bytes: *bytes,
        };
        match invocation.rag.platform().jobs().send(&job, 0).await {
            Ok(()) => message.ack(),
            Err(error) => again(message, &error),
        }
    }
}

fn again(message: &RawMessage, error: &Error) {
    worker::console_error!("to be repeated: {error}");
    match error.retry() {
        Retry::AfterMidnightUtc => later(message, seconds_to_midnight()),
        _ => later(message, RETRY_AFTER),
    }
}

fn later(message: &RawMessage, seconds: u32) {
    message.retry_with_options(&QueueRetryOptionsBuilder::new().with_delay_seconds(seconds).build());
}

/// Keeps a message that failed too often. Its document stays open for the sweeper, and fails when that did not help either.
async fn bury(invocation: &Invocation, body: &str) -> Result<(), Error> {
    let platform = invocation.rag.platform();
    let letters = Letters::new(platform.database().clone());
    let now = platform.clock().now();
    match serde_json::from_str(body) {
        // A look or a clean-up: the sweeper sends it again as long as it is needed.
        Ok(Job::Confirm { .. } | Job::Clean { .. }) => return Ok(()),
        Ok(Job::Process { tenant, document, generation, .. }) => {
            if letters.times(body).await? + 1 >= BURIALS {
                let failure = Failure {
                    code: "retries_exhausted".into(),
                    message: "processing failed again and again; upload it again later".into(),
                };
                platform.documents().fail(&tenant, &document, generation, &failure, now).await?;
            }
        }
        Err(_) => {}
    }
    letters.keep(body, now).await
}

/// The messages kept, newest first.
pub(crate) async fn dead_letters(invocation: &Invocation) -> Result<Vec<Value>, Error> {
    Letters::new(invocation.rag.platform().database().clone()).list(100).await
}
