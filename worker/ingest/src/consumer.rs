//! The queues' messages: jobs, events of R2, and those that failed too often.

use crate::sources;
use ragflare_cloudflare::R2Event;
use ragflare_cloudflare::core::document::{DocumentId, Failure, Generation};
use ragflare_cloudflare::core::ports::{Clock, DocumentStore, Job, JobQueue, Ports};
use ragflare_cloudflare::core::{Error, Retry, Tenant};
use ragflare_cloudflare::d1::Letters;
use ragflare_cloudflare::http::seconds_to_midnight;
use ragflare_cloudflare::invocation::Invocation;
use std::collections::BTreeMap;
use worker::{MessageBatch, MessageExt, QueueRetryOptionsBuilder, RawMessage};

/// What is left of an invocation's means.
pub(crate) struct Budget<'a> {
    invocation: &'a Invocation,
    since: u64,
}

impl<'a> Budget<'a> {
    /// D1 statements of an invocation (1,000 are allowed), with a margin.
    const STATEMENTS: u32 = 950;
    /// Statements until a document is taken up: claim, plan, a look for vectors to be reused.
    const BEGINNING: u32 = 10;
    /// Statements that follow its last part: flip, clean-up.
    const END: u32 = 15;
    /// Statements that may still come when the pipeline is told to stop: the parts it holds back are written.
    const FLUSH: u32 = 200;
    /// Subrequests after which nothing new is begun: 10,000 are allowed, and a part costs at most 20.
    const SUBREQUESTS: u32 = 8000;
    /// Milliseconds after which nothing new is begun: a consumer has 15 minutes, a call up to two.
    const TIME: u64 = 10 * 60 * 1000;

    pub(crate) fn new(invocation: &'a Invocation) -> Self {
        Self { invocation, since: worker::Date::now().as_millis() }
    }

    /// Whether this many statements are left, and everything else.
    pub(crate) fn has(&self, statements: u32) -> bool {
        let spent = self.invocation.rag.ledger().snapshot();
        spent.d1_statements + statements <= Self::STATEMENTS
            && spent.subrequests < Self::SUBREQUESTS
            && self.spent() < Self::TIME
    }

    /// Milliseconds since it began.
    pub(crate) fn spent(&self) -> u64 {
        worker::Date::now().as_millis().saturating_sub(self.since)
    }

    /// Whether the processing of so many documents can begin.
    fn fits(&self, documents: usize) -> bool {
        self.has(Self::FLUSH + (Self::BEGINNING + Self::END) * documents as u32)
    }

    /// Whether it can go on.
    fn lasts(&self, documents: usize) -> bool {
        self.has(Self::FLUSH + Self::END * documents as u32)
    }
}

/// Bytes of originals processed together. Text is read in windows, so a document counts at most one of them.
const GROUP_BYTES: u64 = 8 * 1024 * 1024;
const WINDOW: u64 = 1024 * 1024;
/// Seconds before a message comes again after a passing failure.
const RETRY_AFTER: u32 = 10;
/// Seconds before a job comes again when a service is out of capacity; as often as it takes.
const BUSY_AFTER: u32 = 30;
/// Seconds before a dead letter comes again that could not be kept.
const BURY_AFTER: u32 = 600;
/// Seconds before the next look whether vectors are visible.
const LOOK_AGAIN: u32 = 5;
/// Statements that a slice of a clean-up costs at most.
const CLEAN: u32 = 50;
/// Statements that a slice of a re-index costs at most: 50 documents get new generations.
const REINDEX: u32 = 350;
/// A message that was buried so often before is given up. Until then the sweeper sends it anew: outages may last longer than a
/// message's retries.
const BURIALS: u64 = 3;
/// The code of documents given up so.
const EXHAUSTED: &str = "retries_exhausted";

/// A document to be processed, and the message that asks for it.
struct Waiting {
    message: RawMessage,
    document: DocumentId,
    generation: Generation,
    bytes: u64,
}

/// Works a batch off. Every message is acknowledged or retried on its own; what is not retried is acknowledged when the
/// handler returns, so nothing may be passed over.
pub(crate) async fn consume(invocation: &Invocation, batch: &MessageBatch<String>) {
    let budget = Budget::new(invocation);
    let mut documents: BTreeMap<Tenant, Vec<Waiting>> = BTreeMap::new();
    for message in batch.raw_iter() {
        let body = text_of(&message);
        if batch.queue().ends_with("-dead") {
            match bury(invocation, &body).await {
                Ok(()) => message.ack(),
                // Nothing keeps it when its retries are used up: 100 of them last a night.
                Err(error) => {
                    worker::console_error!("to be kept later: {error}");
                    later(&message, BURY_AFTER);
                }
            }
            continue;
        }
        match serde_json::from_str(&body) {
            Ok(Job::Process { tenant, document, generation, bytes }) => {
                documents.entry(tenant).or_default().push(Waiting { message, document, generation, bytes });
            }
            Ok(job) => {
                let outcome = if budget.has(cost(&job)) {
                    work(invocation, &budget, &job).await
                } else {
                    send(invocation, &job, 0).await.map(|()| true)
                };
                match outcome {
                    Ok(false) => later(&message, LOOK_AGAIN),
                    other => settle(invocation, &message, Some(&job), other.map(drop)).await,
                }
            }
            Err(error) => {
                let outcome = if let Ok(event) = serde_json::from_str::<R2Event>(&body) {
                    sources::take_event(invocation, &budget, &event.object.key).await
                } else {
                    worker::console_error!("corrupt message: {error}");
                    bury(invocation, &body).await
                };
                settle(invocation, &message, None, outcome).await;
            }
        }
    }
    for (tenant, documents) in &documents {
        let mut rest = documents.as_slice();
        while !rest.is_empty() {
            let (mut bytes, mut count) = (0, 0);
            let size = rest
                .iter()
                .take_while(|waiting| {
                    bytes += waiting.bytes.min(WINDOW);
                    count += 1;
                    bytes <= GROUP_BYTES && budget.fits(count)
                })
                .count();
            if size == 0 {
                send_on(invocation, tenant, rest).await;
                break;
            }
            let (group, others) = rest.split_at(size);
            process(invocation, &budget, tenant, group).await;
            rest = others;
        }
    }
}

/// A message's body as it was sent: our jobs are text, anything else is shown as JSON.
fn text_of(message: &RawMessage) -> String {
    let body = message.body();
    body.as_string()
        .or_else(|| worker::js_sys::JSON::stringify(&body).ok().map(String::from))
        .unwrap_or_else(|| "unreadable".to_owned())
}

fn cost(job: &Job) -> u32 {
    match job {
        Job::Reindex { .. } => REINDEX,
        _ => CLEAN,
    }
}

/// Does a job that is not about processing a document; whether it is done.
async fn work(invocation: &Invocation, budget: &Budget<'_>, job: &Job) -> Result<bool, Error> {
    let pipeline = invocation.rag.pipeline();
    let go_on = || budget.has(cost(job));
    match job {
        Job::Process { .. } => {}
        Job::Confirm { tenant, document, generation } => {
            return pipeline.confirm(tenant, document, *generation).await;
        }
        Job::Clean { tenant, document } => {
            // Slice by slice; what is too much for one invocation is left to another.
            while pipeline.clean(tenant, document).await?.1 {
                if !go_on() {
                    send(invocation, job, 0).await?;
                    break;
                }
            }
        }
        Job::Reindex { tenant, after, force } => {
            pipeline.reindex_step(tenant, after.as_ref(), *force, &go_on).await?;
        }
        Job::Look { source, key } => sources::look(invocation, source, key).await?,
        Job::Sync { source, run, after, sweep } => {
            sources::step(invocation, source, *run, after.as_deref(), *sweep, &go_on).await?;
        }
    }
    Ok(true)
}

/// What is left to be done, the pipeline has sent jobs for: an `Ok` is the end of a message.
async fn process(invocation: &Invocation, budget: &Budget<'_>, tenant: &Tenant, group: &[Waiting]) {
    let jobs: Vec<_> = group.iter().map(|waiting| (waiting.document.clone(), waiting.generation)).collect();
    let go_on = || budget.lasts(group.len());
    let outcomes = invocation.rag.pipeline().process(tenant, &jobs, &go_on).await;
    for (waiting, outcome) in group.iter().zip(outcomes) {
        settle(invocation, &waiting.message, None, outcome.map(drop)).await;
    }
}

/// Leaves documents to another invocation. New messages, not retries: nothing has failed.
async fn send_on(invocation: &Invocation, tenant: &Tenant, rest: &[Waiting]) {
    let jobs: Vec<Job> = rest
        .iter()
        .map(|waiting| Job::Process {
            tenant: tenant.clone(),
            document: waiting.document.clone(),
            generation: waiting.generation,
            bytes: waiting.bytes,
        })
        .collect();
    let sent = invocation.rag.platform().jobs().send(&jobs, 0).await;
    for waiting in rest {
        settle(invocation, &waiting.message, None, sent.clone()).await;
    }
}

async fn send(invocation: &Invocation, job: &Job, delay_seconds: u32) -> Result<(), Error> {
    invocation.rag.platform().jobs().send(std::slice::from_ref(job), delay_seconds).await
}

/// Acknowledges a message, or has it repeated. A service that is out of capacity costs none of its retries: `job` is sent
/// anew, if it is given.
async fn settle(
    invocation: &Invocation,
    message: &RawMessage,
    job: Option<&Job>,
    outcome: Result<(), Error>,
) {
    let Err(error) = outcome else { return message.ack() };
    worker::console_error!("to be repeated: {error}");
    match error.retry() {
        Retry::AfterMidnightUtc => later(message, seconds_to_midnight()),
        Retry::Busy => match job {
            Some(job) if send(invocation, job, BUSY_AFTER).await.is_ok() => message.ack(),
            _ => later(message, BUSY_AFTER),
        },
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
        // The sweeper, or the next sync, sends it again as long as it is needed.
        Ok(
            Job::Confirm { .. }
            | Job::Clean { .. }
            | Job::Reindex { .. }
            | Job::Look { .. }
            | Job::Sync { .. },
        ) => return Ok(()),
        Ok(Job::Process { tenant, document, generation, .. }) => {
            if letters.times(body).await? + 1 >= BURIALS {
                let failure = Failure {
                    code: EXHAUSTED.into(),
                    message: "processing failed again and again; upload it again later".into(),
                };
                platform.documents().fail(&tenant, &document, generation, &failure, now).await?;
            }
        }
        // The next sync finds what it was about.
        Err(_) if serde_json::from_str::<R2Event>(body).is_ok() => return Ok(()),
        Err(_) => {}
    }
    letters.keep(body, now).await
}
