//! Work to be done later.

use crate::document::{DocumentId, Generation, Millis};
use crate::{Result, Tenant};
use serde::{Deserialize, Serialize};

/// Work to be done later; delivered at least once, in any order.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "job", rename_all = "snake_case")]
pub enum Job {
    /// Process a generation.
    Process {
        /// Whose.
        tenant: Tenant,
        /// The document.
        document: DocumentId,
        /// The generation.
        generation: Generation,
        /// Size of the original, so that a consumer can bound the memory of a batch before reading.
        bytes: u64,
    },
    /// See whether a served generation's vectors are visible.
    Confirm {
        /// Whose.
        tenant: Tenant,
        /// The document.
        document: DocumentId,
        /// The generation.
        generation: Generation,
    },
    /// Clean up after a document.
    Clean {
        /// Whose.
        tenant: Tenant,
        /// The document.
        document: DocumentId,
    },
    /// Process anew what was made with other settings, a slice of documents at a time.
    Reindex {
        /// Whose.
        tenant: Tenant,
        /// Only documents after this one.
        #[serde(default)]
        after: Option<DocumentId>,
        /// Those that are up to date, too: when that was asked for.
        #[serde(default)]
        force: Option<Millis>,
    },
    /// Look at an object of a source, and make its document what it is.
    Look {
        /// The source's name.
        source: String,
        /// The object's key.
        key: String,
    },
    /// Go through a source's bucket, a page at a time.
    Sync {
        /// The source's name.
        source: String,
        /// Which sync.
        run: u64,
        /// Only keys after this one.
        #[serde(default)]
        after: Option<String>,
        /// The listing is over: look at what it did not have.
        #[serde(default)]
        sweep: bool,
    },
}

/// The queue.
pub trait JobQueue {
    /// Sends jobs, to be delivered after `delay_seconds` (86,400 at most).
    async fn send(&self, jobs: &[Job], delay_seconds: u32) -> Result<()>;
}
