//! Originals.

use crate::document::Millis;
use crate::{Result, Tenant};
use std::ops::Range;

/// An object's key and age.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ObjectEntry {
    /// The key.
    pub key: String,
    /// When it was written.
    pub uploaded: Millis,
}

/// Originals.
pub trait ObjectStore {
    /// Stores bytes under a fresh key.
    async fn put(&self, tenant: &Tenant, key: &str, bytes: &[u8], media_type: &str) -> Result<()>;
    /// The bytes.
    async fn get(&self, tenant: &Tenant, key: &str) -> Result<Option<Vec<u8>>>;
    /// Those of the bytes that lie in `range`; fewer where the object ends, none past its end.
    async fn read(&self, tenant: &Tenant, key: &str, range: Range<u64>) -> Result<Option<Vec<u8>>>;
    /// Deletes; unknown keys are no error.
    async fn delete(&self, keys: &[String]) -> Result<()>;
    /// A page of all objects and the cursor of the next.
    async fn list(&self, cursor: Option<String>) -> Result<(Vec<ObjectEntry>, Option<String>)>;
}
