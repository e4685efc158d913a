//! Queues behind core's `JobQueue`. A job travels as JSON text, so that a message that can't be read is one that can be
//! shown.

use crate::ledger::Ledger;
use ragflare_core::ports::{Job, JobQueue};
use ragflare_core::{Error, Result, Retry};
use std::rc::Rc;
use worker::{Env, MessageBuilder, Queue};

/// A queue and the ledger its sends are counted in; without a queue every send fails, and the sweeper does the work.
#[derive(Clone, Debug)]
pub struct CloudflareQueue {
    queue: Option<Rc<Queue>>,
    ledger: Ledger,
}

impl CloudflareQueue {
    /// The queue bound as `binding`, if there is one.
    pub fn from_env(env: &Env, binding: &str, ledger: Ledger) -> Self {
        Self { queue: env.queue(binding).ok().map(Rc::new), ledger }
    }
}

impl JobQueue for CloudflareQueue {
    async fn send(&self, job: &Job, delay_seconds: u32) -> Result<()> {
        let fault =
            |message: String| Error::Service { service: "queue", retry: Retry::Backoff, code: None, message };
        let queue = self.queue.as_ref().ok_or_else(|| fault("no queue is bound".into()))?;
        let body = serde_json::to_string(job).map_err(|error| fault(error.to_string()))?;
        self.ledger.count_queue_send();
        let message = MessageBuilder::new(body).delay_seconds(delay_seconds).build();
        queue.send(message).await.map_err(|error| fault(error.to_string()))
    }
}
