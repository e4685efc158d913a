//! R2 behind core's `ObjectStore`.

use crate::ledger::Ledger;
use ragflare_core::ports::{ObjectEntry, ObjectStore};
use ragflare_core::{Error, Result, Retry, Tenant};
use std::ops::Range;
use std::rc::Rc;
use worker::{Bucket, Env, HttpMetadata, Range as WireRange};

/// Keys a bulk delete takes at most.
const DELETE_BATCH: usize = 1000;
/// Where originals are.
pub(crate) const PREFIX: &str = "originals/";

/// A bucket and the ledger its operations are counted in.
#[derive(Clone, Debug)]
pub struct R2Objects {
    bucket: Rc<Bucket>,
    ledger: Ledger,
}

impl R2Objects {
    /// # Errors
    /// When `binding` is no R2 bucket.
    pub fn from_env(env: &Env, binding: &str, ledger: Ledger) -> worker::Result<Self> {
        Ok(Self { bucket: Rc::new(env.bucket(binding)?), ledger })
    }

    /// The bucket, counted as one operation: for bodies that must not pass through wasm.
    pub fn bucket(&self) -> &Bucket {
        self.ledger.count_r2();
        &self.bucket
    }
}

fn fault(error: &worker::Error) -> Error {
    failed(error.to_string())
}

/// A fault of the bucket.
pub(crate) fn failed(message: String) -> Error {
    Error::Service { service: "objects", retry: Retry::Backoff, code: None, message }
}

impl ObjectStore for R2Objects {
    async fn put(&self, _: &Tenant, key: &str, bytes: &[u8], media_type: &str) -> Result<()> {
        let metadata = HttpMetadata { content_type: Some(media_type.to_owned()), ..HttpMetadata::default() };
        self.bucket()
            .put(key, bytes.to_vec())
            .http_metadata(metadata)
            .execute()
            .await
            .map(drop)
            .map_err(|error| fault(&error))
    }

    async fn get(&self, _: &Tenant, key: &str) -> Result<Option<Vec<u8>>> {
        let object = self.bucket().get(key).execute().await.map_err(|error| fault(&error))?;
        match object.as_ref().and_then(worker::Object::body) {
            Some(body) => body.bytes().await.map(Some).map_err(|error| fault(&error)),
            None => Ok(None),
        }
    }

    async fn read(&self, _: &Tenant, key: &str, range: Range<u64>) -> Result<Option<Vec<u8>>> {
        if range.is_empty() {
            // R2 takes no empty ranges.
            let found = self.bucket().head(key).await.map_err(|error| fault(&error))?;
            return Ok(found.map(|_| Vec::new()));
        }
        let wanted = WireRange::OffsetWithLength { offset: range.start, length: range.end - range.start };
        let object = match self.bucket().get(key).range(wanted).execute().await {
            Ok(object) => object,
            // R2 refuses a range that begins past the end, and not always in words that say so.
            Err(error) => {
                let found = self.bucket().head(key).await.map_err(|error| fault(&error))?;
                return match found {
                    Some(object) if object.size() <= range.start => Ok(Some(Vec::new())),
                    _ => Err(fault(&error)),
                };
            }
        };
        match object.as_ref().and_then(worker::Object::body) {
            Some(body) => body.bytes().await.map(Some).map_err(|error| fault(&error)),
            None => Ok(None),
        }
    }

    async fn delete(&self, keys: &[String]) -> Result<()> {
        for keys in keys.chunks(DELETE_BATCH) {
            let keys = keys.iter().map(String::as_str).collect();
            self.bucket().delete_multiple(keys).await.map_err(|error| fault(&error))?;
        }
        Ok(())
    }

    async fn list(&self, cursor: Option<String>) -> Result<(Vec<ObjectEntry>, Option<String>)> {
        let mut request = self.bucket().list().prefix(PREFIX);
        if let Some(cursor) = cursor {
            request = request.cursor(cursor);
        }
        let page = request.execute().await.map_err(|error| fault(&error))?;
        let entries = page
            .objects()
            .iter()
            .map(|object| ObjectEntry { key: object.key(), uploaded: object.uploaded().as_millis() })
            .collect();
        Ok((entries, page.truncated().then(|| page.cursor()).flatten()))
    }
}
