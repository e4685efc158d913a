//! Queues behind core's `JobQueue`. A job travels as JSON text, so that a message that can't be read is one that can be
//! shown.

use crate::ledger::Ledger;
use ragflare_core::ports::{Job, JobQueue};
use ragflare_core::{Error, Result, Retry};
use std::rc::Rc;
use worker::{BatchMessageBuilder, Env, Queue};

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

/// Messages a batch takes at most, and their bytes (Queues limits page: 100 messages, 256 KB; each message 128 KB, and a job
/// is far below one).
const BATCH: usize = 100;
const BATCH_BYTES: usize = 256_000;
/// The platform's own data about a message, counted with it.
const OVERHEAD: usize = 100;
/// The longest delay.
const DAY_SECONDS: u32 = 86_400;

/// Messages in groups of one batch each.
fn batches(bodies: Vec<String>) -> Vec<Vec<String>> {
    let mut batches: Vec<Vec<String>> = Vec::new();
    let mut room = 0;
    for body in bodies {
        let size = body.len() + OVERHEAD;
        match batches.last_mut() {
            Some(batch) if batch.len() < BATCH && size <= room => batch.push(body),
            _ => {
                batches.push(vec![body]);
                room = BATCH_BYTES;
            }
        }
        room = room.saturating_sub(size);
    }
    batches
}

impl JobQueue for CloudflareQueue {
    async fn send(&self, jobs: &[Job], delay_seconds: u32) -> Result<()> {
        let fault =
            |message: String| Error::Service { service: "queue", retry: Retry::Backoff, code: None, message };
        let queue = self.queue.as_ref().ok_or_else(|| fault("no queue is bound".into()))?;
        let bodies = jobs
            .iter()
            .map(|job| serde_json::to_string(job).map_err(|error| fault(error.to_string())))
            .collect::<Result<Vec<String>>>()?;
        for batch in batches(bodies) {
            self.ledger.count_queue_send();
            let messages = BatchMessageBuilder::new()
                .messages(batch)
                .delay_seconds(delay_seconds.min(DAY_SECONDS))
                .build();
            queue.send_batch(messages).await.map_err(|error| fault(error.to_string()))?;
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn batches_stay_within_the_limits() {
        let sizes = |bodies| batches(bodies).iter().map(Vec::len).collect::<Vec<_>>();
        assert_eq!(sizes(vec![String::new(); 250]), [100, 100, 50]);
        assert_eq!(sizes(vec!["x".repeat(100_000); 5]), [2, 2, 1]);
        assert!(sizes(Vec::new()).is_empty());
    }
}
