//! The queue's messages: jobs, and those that failed too often.

use ragflare_cloudflare::core::document::{DocumentId, Failure, Generation};
use ragflare_cloudflare::core::ingest::Outcome;
use ragflare_cloudflare::core::ports::{Clock, DocumentStore, Job, Ports};
use ragflare_cloudflare::core::{Error, Retry, Tenant};
use ragflare_cloudflare::d1::Letters;
use ragflare_cloudflare::invocation::Invocation;
use serde_json::Value;
use worker::{Message, MessageBatch, MessageExt, QueueRetryOptionsBuilder};

/// Bytes of originals processed together: bounds the memory of a batch.
const GROUP_BYTES: u64 = 4 * 1024 * 1024;
/// Seconds before a message comes again after a passing failure.
const RETRY_AFTER: u32 = 10;
/// Seconds before the next look whether vectors are visible.
const LOOK_AGAIN: u32 = 5;
/// The longest delay a message may have (Queues: 24 hours).
const MAX_DELAY: u64 = 86_400;

/// Works a batch off. Every message is acknowledged or retried on its own.
pub(crate) async fn consume(invocation: &Invocation, batch: &MessageBatch<String>) {
    if batch.queue().ends_with("-dead") {
        for message in batch.iter().flatten() {
            match bury(invocation, message.body()).await {
                Ok(()) => message.ack(),
                Err(error) => again(&message, &error),
            }
        }
        return;
    }
    let mut documents: Vec<(Message<String>, Tenant, DocumentId, Generation, u64)> = Vec::new();
    for message in batch.iter() {
        let message = match message {
            Ok(message) => message,
            Err(error) => {
                // Not even text: nothing that could be shown or replayed. It comes again and ends as a dead letter.
                worker::console_error!("unreadable message: {error}");
                continue;
            }
        };
        match serde_json::from_str(message.body()) {
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
            Ok(Job::Clean { tenant, document }) => loop {
                match invocation.rag.pipeline().clean(&tenant, &document).await {
                    Ok((_, true)) => {}
                    Ok((_, false)) => break message.ack(),
                    Err(error) => break again(&message, &error),
                }
            },
            Err(error) => {
                worker::console_error!("corrupt message: {error}");
                match bury(invocation, message.body()).await {
                    Ok(()) => message.ack(),
                    Err(error) => again(&message, &error),
                }
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
        process(invocation, tenant, group).await;
        rest = others;
    }
}

async fn process(
    invocation: &Invocation,
    tenant: &Tenant,
    group: &[(Message<String>, Tenant, DocumentId, Generation, u64)],
) {
    let jobs: Vec<_> =
        group.iter().map(|(_, _, document, generation, _)| (document.clone(), *generation)).collect();
    let outcomes = invocation.rag.pipeline().process(tenant, &jobs).await;
    for ((message, ..), outcome) in group.iter().zip(outcomes) {
        match outcome {
            Ok(Outcome::Served | Outcome::Obsolete | Outcome::Failed) => message.ack(),
            Err(error) => again(message, &error),
        }
    }
}

fn again(message: &Message<String>, error: &Error) {
    worker::console_error!("to be repeated: {error}");
    match error.retry() {
        Retry::AfterMidnightUtc => {
            let now = worker::Date::now().as_millis() / 1000;
            later(message, (MAX_DELAY - now % MAX_DELAY) as u32);
        }
        _ => later(message, RETRY_AFTER),
    }
}

fn later(message: &Message<String>, seconds: u32) {
    message.retry_with_options(&QueueRetryOptionsBuilder::new().with_delay_seconds(seconds).build());
}

/// Keeps a message that failed too often, and says so in its document.
async fn bury(invocation: &Invocation, body: &str) -> Result<(), Error> {
    let platform = invocation.rag.platform();
    let now = platform.clock().now();
    if let Ok(Job::Process { tenant, document, generation, .. }) = serde_json::from_str(body) {
        let failure = Failure {
            code: "retries_exhausted".into(),
            message: "processing failed again and again; upload it again later".into(),
        };
        platform.documents().fail(&tenant, &document, generation, &failure, now).await?;
    } else if serde_json::from_str::<Job>(body).is_ok() {
        // A look or a clean-up: the sweeper sends it again as long as it is needed.
        return Ok(());
    }
    Letters::new(platform.database().clone()).keep(body, now).await
}

/// The messages kept, newest first.
pub(crate) async fn dead_letters(invocation: &Invocation) -> Result<Vec<Value>, Error> {
    Letters::new(invocation.rag.platform().database().clone()).list(100).await
}
