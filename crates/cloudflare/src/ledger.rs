//! What one invocation has spent so far.
//!
//! The platform bounds each invocation (50 subrequests on the free plan and 10,000 on the paid one, 1,000
//! D1 queries, 128 MB of memory: Workers and D1 limits pages, 2026), and the local simulator enforces none of
//! it. So the clients of this crate count, and a test can fail an invocation that went over.
//!
//! A [`Ledger`] belongs to one invocation: make it in the handler and hand a clone to each client. Clones share
//! the counters. Calls are counted when they start, and every retry counts, since each is a subrequest.
//!
//! ```
//! use ragflare_cloudflare::ledger::Ledger;
//!
//! let ledger = Ledger::new();
//! ledger.count_ai();
//! ledger.clone().count_d1(3);
//! let spent = ledger.snapshot();
//! assert_eq!((spent.subrequests, spent.ai_calls, spent.d1_statements), (2, 1, 3));
//! ```

use std::cell::Cell;
use std::rc::Rc;

use serde::{Deserialize, Serialize};

/// Counters shared by the clients of one invocation. Cloning is cheap and shares them.
#[derive(Debug, Clone, Default)]
pub struct Ledger(Rc<Counters>);

#[derive(Debug, Default)]
struct Counters {
    subrequests: Cell<u32>,
    ai_calls: Cell<u32>,
    vectorize_calls: Cell<u32>,
    d1_statements: Cell<u32>,
    r2_operations: Cell<u32>,
    queue_sends: Cell<u32>,
}

/// The counters at one moment.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct LedgerSnapshot {
    /// Calls that leave the worker, of every kind below and any other.
    pub subrequests: u32,
    /// Calls of the Workers AI binding.
    pub ai_calls: u32,
    /// Calls of the Vectorize binding.
    pub vectorize_calls: u32,
    /// SQL statements sent to D1. A batch of n statements is n here and one subrequest.
    pub d1_statements: u32,
    /// R2 operations.
    pub r2_operations: u32,
    /// Queue sends. A batch of messages is one.
    pub queue_sends: u32,
    /// Size of the wasm linear memory in bytes. It never shrinks, so this is the high-water mark of the
    /// isolate, not of the invocation alone. 0 in a native build.
    pub wasm_memory_bytes: u64,
}

impl Ledger {
    /// A ledger with nothing spent.
    pub fn new() -> Self {
        Self::default()
    }

    /// Counts a subrequest that none of the other methods covers, such as a `fetch`.
    pub fn count_subrequest(&self) {
        add(&self.0.subrequests, 1);
    }

    /// Counts one Workers AI call.
    pub fn count_ai(&self) {
        self.count_subrequest();
        add(&self.0.ai_calls, 1);
    }

    /// Counts one Vectorize call.
    pub fn count_vectorize(&self) {
        self.count_subrequest();
        add(&self.0.vectorize_calls, 1);
    }

    /// Counts one D1 call that carries this many statements.
    pub fn count_d1(&self, statements: u32) {
        self.count_subrequest();
        add(&self.0.d1_statements, statements);
    }

    /// Counts one R2 operation.
    pub fn count_r2(&self) {
        self.count_subrequest();
        add(&self.0.r2_operations, 1);
    }

    /// Counts one queue send, of a single message or of a batch.
    pub fn count_queue_send(&self) {
        self.count_subrequest();
        add(&self.0.queue_sends, 1);
    }

    /// What has been spent so far.
    pub fn snapshot(&self) -> LedgerSnapshot {
        let counters = &*self.0;
        LedgerSnapshot {
            subrequests: counters.subrequests.get(),
            ai_calls: counters.ai_calls.get(),
            vectorize_calls: counters.vectorize_calls.get(),
            d1_statements: counters.d1_statements.get(),
            r2_operations: counters.r2_operations.get(),
            queue_sends: counters.queue_sends.get(),
            wasm_memory_bytes: wasm_memory_bytes(),
        }
    }
}

fn add(counter: &Cell<u32>, n: u32) {
    counter.set(counter.get().saturating_add(n));
}

#[cfg(target_arch = "wasm32")]
fn wasm_memory_bytes() -> u64 {
    const PAGE: u64 = 65_536;
    core::arch::wasm32::memory_size::<0>() as u64 * PAGE
}

#[cfg(not(target_arch = "wasm32"))]
fn wasm_memory_bytes() -> u64 {
    0
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_platform_call_is_a_subrequest() {
        let ledger = Ledger::new();
        ledger.count_subrequest();
        ledger.count_ai();
        ledger.count_vectorize();
        ledger.count_d1(7);
        ledger.count_r2();
        ledger.count_queue_send();
        let expected = LedgerSnapshot {
            subrequests: 6,
            ai_calls: 1,
            vectorize_calls: 1,
            d1_statements: 7,
            r2_operations: 1,
            queue_sends: 1,
            wasm_memory_bytes: 0,
        };
        assert_eq!(ledger.snapshot(), expected);
    }

    #[test]
    fn clones_share_the_counters() {
        let ledger = Ledger::new();
        ledger.clone().count_ai();
        assert_eq!(ledger.snapshot().ai_calls, 1);
    }
}
